//! The verdict: may this project reach this destination, and this address.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::Denied;
use super::host::Host;
use super::ranges::{self, Embedded};
use super::url::{Authority, TargetUrl};
use crate::id::ProjectId;

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct ProjectRef<'a> {
    /// Its id.
    pub id: ProjectId,
    /// Its name.
    pub name: &'a str,
}

/// What a rule opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InternalTarget {
    /// Private addresses of this range; never loopback, link-local or metadata. In the local
    /// NAT64 prefix only ranges of /96 or longer open anything.
    Cidr(IpNet),
    /// Names that are this one or end in it, with a dot before; their addresses are still checked.
    NameSuffix(Box<str>),
    /// One address and port, loopback included; never link-local or metadata.
    Address(SocketAddr),
}

/// Opens a part of the inside to named projects (bootstrap only, RULINGS 31).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InternalRule {
    /// Uids or names of projects.
    pub projects: Vec<String>,
    /// What they may reach.
    pub target: InternalTarget,
}

/// A rule made ready for judging.
#[derive(Debug, Clone)]
struct Opening {
    projects: Vec<Whom>,
    target: InternalTarget,
}

/// A project, as a rule names it.
#[derive(Debug, Clone)]
enum Whom {
    /// A text that is a uid means that project only: another one could be given it for a name.
    Id(ProjectId),
    Name(Box<str>),
}

impl Opening {
    fn new(rule: InternalRule) -> Self {
        let whom = |text: String| match text.parse() {
            Ok(id) => Whom::Id(id),
            Err(_) => Whom::Name(text.into()),
        };
        let target = match rule.target {
            InternalTarget::Cidr(range) => InternalTarget::Cidr(ranges::unmapped_range(range)),
            InternalTarget::NameSuffix(name) => InternalTarget::NameSuffix(canonical_name(&name)),
            InternalTarget::Address(open) => {
                let ip = ranges::unmapped(open.ip());
                InternalTarget::Address(SocketAddr::new(ip, open.port()))
            }
        };
        Self {
            projects: rule.projects.into_iter().map(whom).collect(),
            target,
        }
    }

    fn is_for(&self, project: &ProjectRef<'_>) -> bool {
        self.projects.iter().any(|whom| match whom {
            Whom::Id(id) => *id == project.id,
            Whom::Name(name) => **name == *project.name,
        })
    }
}

/// An address of the gateway: never a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelfAddress {
    /// On every port.
    Ip(IpAddr),
    /// One listener. An unspecified address stands for all of loopback; which other addresses
    /// the host has is not known here, so those are listed one by one.
    Listener(SocketAddr),
}

impl SelfAddress {
    fn is(self, ip: IpAddr, port: u16) -> bool {
        match self {
            Self::Ip(own) => ranges::unmapped(own) == ip,
            Self::Listener(own) => {
                let is_every_local = own.ip().is_unspecified() && ip.is_loopback();
                own.port() == port && (ranges::unmapped(own.ip()) == ip || is_every_local)
            }
        }
    }
}

/// The address policy. The default refuses everything but the public internet.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    allow: Vec<IpNet>,
    deny: Vec<IpNet>,
    allow_names: Vec<Box<str>>,
    own: Vec<SelfAddress>,
    ports: Option<Vec<u16>>,
    internal: Vec<Opening>,
    unsafe_allow: Vec<IpNet>,
}

impl Policy {
    /// Opens private addresses to every project. In the local NAT64 prefix only ranges of /96 or
    /// longer open anything.
    pub fn allow(&mut self, range: IpNet) {
        self.allow.push(ranges::unmapped_range(range));
    }

    /// Closes addresses; wins over everything that opens.
    pub fn deny(&mut self, range: IpNet) {
        self.deny.push(ranges::unmapped_range(range));
    }

    /// Opens one name to every project; its addresses are still checked.
    pub fn allow_name(&mut self, name: &str) {
        self.allow_names.push(canonical_name(name));
    }

    /// Adds an address of the gateway itself.
    pub fn own(&mut self, address: SelfAddress) {
        self.own.push(address);
    }

    /// Replaces the allowed ports.
    pub fn ports(&mut self, ports: Vec<u16>) {
        self.ports = Some(ports);
    }

    /// Opens a part of the inside to named projects.
    pub fn internal(&mut self, rule: InternalRule) {
        self.internal.push(Opening::new(rule));
    }

    /// Tests only: opens a range, loopback included. The rules of ports stay.
    pub fn unsafe_allow(&mut self, range: IpNet) {
        self.unsafe_allow.push(ranges::unmapped_range(range));
    }

    /// Judges what the URL itself says: port, name, literal address.
    ///
    /// # Errors
    /// The reason it is refused; nothing that a name resolves to could change that.
    pub fn check_target(&self, project: &ProjectRef<'_>, target: &TargetUrl) -> Result<(), Denied> {
        self.check_host(project, target.host(), target.port())
    }

    /// As [`Policy::check_target`], for a CONNECT.
    ///
    /// # Errors
    /// The reason it is refused.
    pub fn check_authority(
        &self,
        project: &ProjectRef<'_>,
        authority: &Authority,
    ) -> Result<(), Denied> {
        self.check_host(project, &authority.host, authority.port)
    }

    /// As [`Policy::check_target`], by host and port.
    ///
    /// # Errors
    /// The reason it is refused.
    pub fn check_place(
        &self,
        project: &ProjectRef<'_>,
        host: &Host,
        port: u16,
    ) -> Result<(), Denied> {
        self.check_host(project, host, port)
    }

    /// Judges every answer for the target's name; one bad answer refuses all. Gives the
    /// addresses that may be connected to, IPv4 in IPv6 clothes undressed.
    ///
    /// # Errors
    /// The reason it is refused.
    pub fn check_addresses(
        &self,
        project: &ProjectRef<'_>,
        target: &TargetUrl,
        answers: &[IpAddr],
    ) -> Result<Vec<IpAddr>, Denied> {
        self.check_answers(project, target.port(), answers)
    }

    /// As [`Policy::check_addresses`], by port.
    ///
    /// # Errors
    /// The reason it is refused.
    pub fn check_answers(
        &self,
        project: &ProjectRef<'_>,
        port: u16,
        answers: &[IpAddr],
    ) -> Result<Vec<IpAddr>, Denied> {
        if answers.is_empty() {
            return Err(Denied::DnsNoAddress);
        }
        answers
            .iter()
            .map(|ip| {
                let ip = ranges::unmapped(*ip);
                self.check_address(project, ip, port).map(|()| ip)
            })
            .collect()
    }

    fn check_host(&self, project: &ProjectRef<'_>, host: &Host, port: u16) -> Result<(), Denied> {
        match host {
            Host::Name(name) => {
                self.check_name(project, name)?;
                self.check_port(port)
            }
            Host::Ip(ip) => {
                let ip = ranges::unmapped(*ip);
                self.check_address(project, ip, port)?;
                if self.is_opened_exactly(project, ip, port) {
                    Ok(())
                } else {
                    self.check_port(port)
                }
            }
        }
    }

    fn check_port(&self, port: u16) -> Result<(), Denied> {
        let is_allowed = match &self.ports {
            Some(ports) => ports.contains(&port),
            None => matches!(port, 80 | 443 | 1024..) && !ranges::PORTS_DENIED.contains(&port),
        };
        if is_allowed {
            Ok(())
        } else {
            Err(Denied::PortNotAllowed(port))
        }
    }

    fn check_name(&self, project: &ProjectRef<'_>, name: &str) -> Result<(), Denied> {
        let is_inside = !name.contains('.')
            || ranges::NAMES
                .iter()
                .any(|denied| is_at_or_below(name, denied));
        let is_opened = || {
            self.allow_names.iter().any(|allowed| **allowed == *name)
                || self.internal.iter().any(|rule| match &rule.target {
                    InternalTarget::NameSuffix(suffix) => {
                        is_at_or_below(name, suffix) && rule.is_for(project)
                    }
                    _ => false,
                })
        };
        if is_inside && !is_opened() {
            Err(Denied::NameDenied(name.into()))
        } else {
            Ok(())
        }
    }

    /// Order of `egress` section 7, step 5: own, hard, deny, allow, soft.
    fn check_address(&self, project: &ProjectRef<'_>, ip: IpAddr, port: u16) -> Result<(), Denied> {
        if self.own.iter().any(|own| own.is(ip, port)) {
            return Err(Denied::SelfAddress(ip));
        }
        if self.deny.iter().any(|range| range.contains(&ip)) {
            return Err(Denied::AddressDenied(ip));
        }
        if self.unsafe_allow.iter().any(|range| range.contains(&ip))
            || self.is_opened_exactly(project, ip, port)
        {
            return Ok(());
        }
        if ranges::is_hard(ip) {
            return Err(Denied::AddressDenied(ip));
        }
        if !ranges::is_soft(ip) {
            return Ok(());
        }
        if self.is_opened(project, ip, port) {
            Ok(())
        } else {
            Err(Denied::AddressDenied(ip))
        }
    }

    fn is_opened(&self, project: &ProjectRef<'_>, ip: IpAddr, port: u16) -> bool {
        // What an address leads to is judged as if it had been named itself.
        let opens = |range: &IpNet| {
            range.contains(&ip)
                && match ranges::embedded(ip, range.prefix_len()) {
                    Embedded::Nothing => true,
                    Embedded::V4(inner) => self.check_address(project, inner, port).is_ok(),
                    Embedded::Unclear => false,
                }
        };
        self.allow.iter().any(opens)
            || self.internal.iter().any(|rule| match &rule.target {
                InternalTarget::Cidr(range) => rule.is_for(project) && opens(range),
                _ => false,
            })
    }

    /// Loopback opens by exact address and port only; metadata and link-local never do, nor do
    /// IPv6 addresses that lead to any of these.
    fn is_opened_exactly(&self, project: &ProjectRef<'_>, ip: IpAddr, port: u16) -> bool {
        if ranges::is_hard(ip) && !ip.is_loopback() {
            return false;
        }
        if matches!(ranges::embedded(ip, 128), Embedded::V4(inner) if !ip.is_loopback() && ranges::is_hard(inner))
        {
            return false;
        }
        self.internal.iter().any(|rule| match &rule.target {
            InternalTarget::Address(open) => {
                *open == SocketAddr::new(ip, port) && rule.is_for(project)
            }
            _ => false,
        })
    }
}

/// A name of a setting in the form that parsed URLs have; what is no name matches none.
fn canonical_name(text: &str) -> Box<str> {
    let text = text.trim_start_matches('.');
    match Host::parse(text) {
        Ok(Host::Name(name)) => name,
        _ => text.into(),
    }
}

fn is_at_or_below(name: &str, suffix: &str) -> bool {
    name.strip_suffix(suffix)
        .is_some_and(|head| head.is_empty() || head.ends_with('.'))
}
