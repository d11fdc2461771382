//! What people write of the way out, and its checks.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use outrider_webhook::address::{InternalRule, InternalTarget, SelfAddress};
use serde::Deserialize;

use super::certificates_spec::{self, CertificateSpec};
use super::forward_spec::{ForwardSpec, ForwardTlsSpec, IdentitySpec};
use super::intake::RateSpec;
use super::spec::Checks;
use super::via_spec::ViaSpec;
use super::{EgressSettings, Reflector};

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct EgressSpec {
    listen: Option<String>,
    via: Option<ViaSpec>,
    client_certificates: Option<Vec<CertificateSpec>>,
    tls: Option<ForwardTlsSpec>,
    proxy_protocol: Option<Vec<String>>,
    identities: Option<Vec<IdentitySpec>>,
    tunnel_idle_ms: Option<u64>,
    tunnel_life_ms: Option<u64>,
    connections_max: Option<u64>,
    connections_per_address_max: Option<u64>,
    new_connections_per_project: Option<RateSpec>,
    new_connections_per_destination: Option<u64>,
    internal: Option<Vec<InternalSpec>>,
    allow_cidrs: Option<Vec<String>>,
    deny_cidrs: Option<Vec<String>>,
    allow_names: Option<Vec<String>>,
    ports: Option<Vec<u64>>,
    self_addresses: Option<Vec<String>>,
    reflectors: Option<Vec<String>>,
    name_servers: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct InternalSpec {
    projects: Option<Vec<String>>,
    cidr: Option<String>,
    name_suffix: Option<String>,
    address: Option<String>,
}

impl EgressSpec {
    pub(super) fn check(self, checks: &mut Checks) -> EgressSettings {
        let rules = self.internal.unwrap_or_default();
        let internal = rules
            .into_iter()
            .enumerate()
            .filter_map(|(index, rule)| rule.check(index, checks))
            .collect();
        let names = self.allow_names.unwrap_or_default();
        for (index, _) in names.iter().enumerate().filter(|(_, name)| !is_name(name)) {
            checks.fail(
                format!("egress.allow_names[{index}]"),
                "must be a host name",
            );
        }
        let addresses = self.self_addresses.unwrap_or_default();
        let mut self_addresses = Vec::with_capacity(addresses.len());
        for (index, text) in addresses.iter().enumerate() {
            match (
                text.parse().map(SelfAddress::Ip),
                text.parse().map(SelfAddress::Listener),
            ) {
                (Ok(address), _) | (_, Ok(address)) => self_addresses.push(address),
                _ => checks.fail(
                    format!("egress.self_addresses[{index}]"),
                    "must be an address, or an address and a port",
                ),
            }
        }
        let forward = ForwardSpec {
            listen: self.listen,
            tls: self.tls,
            proxy_protocol: self.proxy_protocol,
            identities: self.identities,
            tunnel_idle_ms: self.tunnel_idle_ms,
            tunnel_life_ms: self.tunnel_life_ms,
            connections_max: self.connections_max,
            connections_per_address_max: self.connections_per_address_max,
            new_connections_per_project: self.new_connections_per_project,
        };
        let forward = forward.check(checks);
        let via = self.via.and_then(|via| via.check(checks));
        if let (Some(listen), Some(via)) = (forward.listen, &via)
            && via.is_at(listen)
        {
            let says = "is `egress.listen` of this process: connections would go in a circle";
            checks.fail("egress.via.proxy", says);
        }
        EgressSettings {
            forward,
            client_certificates: certificates_spec::check(self.client_certificates, checks),
            via,
            internal,
            allow_cidrs: checks.ranges("egress.allow_cidrs", self.allow_cidrs),
            deny_cidrs: checks.ranges("egress.deny_cidrs", self.deny_cidrs),
            allow_names: names,
            ports: ports(self.ports, checks),
            self_addresses,
            new_connections_per_destination: self
                .new_connections_per_destination
                .map(|count| new_connections(count, checks)),
            reflectors: reflectors(self.reflectors.unwrap_or_default(), checks),
            name_servers: name_servers(self.name_servers.unwrap_or_default(), checks),
        }
    }
}

/// New connections to one destination in a second. With the least, what a project has in flight by
/// default (512) still has its turn within half of an attempt's time (10 s by default).
const NEW_CONNECTIONS: (u64, u64) = (100, 1_000_000);

fn new_connections(count: u64, checks: &mut Checks) -> u32 {
    let (least, _) = NEW_CONNECTIONS;
    let path = "egress.new_connections_per_destination";
    let count = checks.size(path, Some(count), least, NEW_CONNECTIONS);
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// More would be more connections, and no better knowledge.
const REFLECTORS_MAX: usize = 8;

fn reflectors(texts: Vec<String>, checks: &mut Checks) -> Vec<Reflector> {
    // One that fails would take every address down.
    if texts.len() == 1 || texts.len() > REFLECTORS_MAX {
        let says = format!("must be 2 to {REFLECTORS_MAX} of them, or none");
        checks.fail("egress.reflectors", says);
    }
    let mut reflectors = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        match reflector(text) {
            Some(reflector) => reflectors.push(reflector),
            None => checks.fail(
                format!("egress.reflectors[{index}]"),
                "must be an address or a name, and a port, like 192.0.2.1:443",
            ),
        }
    }
    reflectors
}

fn reflector(text: &str) -> Option<Reflector> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return (address.port() != 0).then_some(Reflector::At(address));
    }
    let (name, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let is_number = name
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    (is_name(name) && !is_number).then(|| Reflector::Named(name.to_ascii_lowercase(), port))
}

/// As many as a resolver of the C library asks, and some.
const NAME_SERVERS_MAX: usize = 8;

fn name_servers(texts: Vec<String>, checks: &mut Checks) -> Vec<SocketAddr> {
    if texts.len() > NAME_SERVERS_MAX {
        let says = format!("must be at most {NAME_SERVERS_MAX}");
        checks.fail("egress.name_servers", says);
    }
    let mut servers = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let address = text.parse::<SocketAddr>().ok();
        match address.filter(|address| address.port() != 0) {
            Some(address) => servers.push(address),
            None => checks.fail(
                format!("egress.name_servers[{index}]"),
                "must be an address and a port, like 192.0.2.53:53",
            ),
        }
    }
    servers
}

fn ports(numbers: Option<Vec<u64>>, checks: &mut Checks) -> Option<Vec<u16>> {
    let numbers = numbers?;
    if numbers.is_empty() {
        checks.fail(
            "egress.ports",
            "needs at least one port; leave it out for the default ones",
        );
    }
    let mut ports = Vec::with_capacity(numbers.len());
    for (index, number) in numbers.iter().enumerate() {
        match u16::try_from(*number) {
            Ok(port) if port > 0 => ports.push(port),
            _ => checks.fail(format!("egress.ports[{index}]"), "must be from 1 to 65535"),
        }
    }
    Some(ports)
}

impl InternalSpec {
    fn check(self, index: usize, checks: &mut Checks) -> Option<InternalRule> {
        let path = format!("egress.internal[{index}]");
        let projects = self.projects.unwrap_or_default();
        if projects.is_empty() || projects.iter().any(String::is_empty) {
            checks.fail(
                format!("{path}.projects"),
                "must name at least one project, by name or uid",
            );
        }
        let target = match (self.cidr, self.name_suffix, self.address) {
            (Some(text), None, None) => checks
                .range(format!("{path}.cidr"), &text)
                .map(InternalTarget::Cidr),
            (None, Some(name), None) => {
                let name = name.trim_start_matches('.').to_ascii_lowercase();
                if !is_name(&name) {
                    checks.fail(
                        format!("{path}.name_suffix"),
                        "must be a host name or the end of one",
                    );
                }
                Some(InternalTarget::NameSuffix(name.into()))
            }
            (None, None, Some(text)) => {
                let address = text.parse().map(InternalTarget::Address);
                if address.is_err() {
                    checks.fail(
                        format!("{path}.address"),
                        "must be an address and a port, like 127.0.0.1:8080",
                    );
                }
                address.ok()
            }
            _ => {
                checks.fail(
                    path,
                    "needs exactly one of `cidr`, `name_suffix` and `address`",
                );
                None
            }
        };
        Some(InternalRule {
            projects,
            target: target?,
        })
    }
}

fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=253).contains(&text.len()) && text.bytes().all(is_plain) && !text.starts_with('.')
}

impl Checks {
    fn range(&mut self, path: String, text: &str) -> Option<IpNet> {
        let range = text
            .parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        if range.is_err() {
            self.fail(
                path,
                "must be a range of addresses, like 10.0.0.0/8 or fd00::/8",
            );
        }
        range.ok().map(|range| range.trunc())
    }

    pub(super) fn ranges(&mut self, path: &str, texts: Option<Vec<String>>) -> Vec<IpNet> {
        let texts = texts.unwrap_or_default();
        texts
            .iter()
            .enumerate()
            .filter_map(|(index, text)| self.range(format!("{path}[{index}]"), text))
            .collect()
    }
}
