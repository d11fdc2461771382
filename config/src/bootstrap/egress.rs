//! What the bootstrap says of the way out.

use std::net::SocketAddr;

use ipnet::IpNet;
use outrider_webhook::address::{self, InternalRule, SelfAddress};

use super::{ForwardSettings, NamedCertificate, ViaSettings};

/// The way out (RULINGS 31).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressSettings {
    /// The forward proxy.
    pub forward: ForwardSettings,
    /// The forward proxy that deliveries go through; straight to their receivers without.
    pub via: Option<ViaSettings>,
    /// Certificates that endpoints name.
    pub client_certificates: Vec<NamedCertificate>,
    /// Parts of the inside, opened to named projects.
    pub internal: Vec<InternalRule>,
    /// Private ranges, opened to every project.
    pub allow_cidrs: Vec<IpNet>,
    /// Closed ranges; they win over everything that opens.
    pub deny_cidrs: Vec<IpNet>,
    /// Names that are opened to every project although their form is refused.
    pub allow_names: Vec<String>,
    /// The allowed ports, when not the default ones.
    pub ports: Option<Vec<u16>>,
    /// Addresses of the gateway beside its listeners.
    pub self_addresses: Vec<SelfAddress>,
    /// Where source addresses are tried on; two to eight, or none.
    pub reflectors: Vec<Reflector>,
    /// New connections of a project to one host and port, in a second; by the cores of the machine
    /// without.
    pub new_connections_per_destination: Option<u32>,
    /// Who is asked for the addresses of names; none for the name servers of the host.
    pub name_servers: Vec<SocketAddr>,
}

/// A place of the operator's that takes connections from our source addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reflector {
    /// At an address.
    At(SocketAddr),
    /// At a name and a port.
    Named(String, u16),
}

impl EgressSettings {
    /// Families of which there is one reflector: it is never enough to take an address down. What
    /// names have is not known before they are asked for.
    #[must_use]
    pub fn lone_reflectors(&self) -> Vec<(&'static str, SocketAddr)> {
        let literal = |reflector: &Reflector| match reflector {
            Reflector::At(address) => Some(*address),
            Reflector::Named(..) => None,
        };
        let Some(all) = self
            .reflectors
            .iter()
            .map(literal)
            .collect::<Option<Vec<_>>>()
        else {
            return Vec::new();
        };
        let families = [("IPv4", true), ("IPv6", false)];
        let lone = families.into_iter().filter_map(|(family, is_ipv4)| {
            let mut own = all.iter().filter(|address| address.is_ipv4() == is_ipv4);
            let first = own.next()?;
            own.next().is_none().then_some((family, *first))
        });
        lone.collect()
    }

    /// The policy, for a gateway that listens on `listeners`.
    #[must_use]
    pub fn policy(&self, listeners: &[SocketAddr]) -> address::Policy {
        let mut policy = address::Policy::default();
        self.internal
            .iter()
            .cloned()
            .for_each(|rule| policy.internal(rule));
        self.allow_cidrs
            .iter()
            .for_each(|range| policy.allow(*range));
        self.deny_cidrs.iter().for_each(|range| policy.deny(*range));
        self.allow_names
            .iter()
            .for_each(|name| policy.allow_name(name));
        if let Some(ports) = &self.ports {
            policy.ports(ports.clone());
        }
        let own = listeners
            .iter()
            .map(|listener| SelfAddress::Listener(*listener));
        own.chain(self.self_addresses.iter().copied())
            .for_each(|address| policy.own(address));
        policy
    }
}
