//! What egress can be told, and what it says about itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use outrider_webhook::address::Policy;
use outrider_webhook::client_tls::ClientTls;
use outrider_webhook::id::ProjectId;
use rustls::pki_types::CertificateDer;

use super::via::ProxySettings;

use crate::metrics::EgressMetrics;

/// How egress behaves. Made with [`Settings::new`]; the defaults are those of `egress` section 9.
pub struct Settings {
    /// Which addresses may be called.
    pub policy: Policy,
    /// Names with a fixed address, for tests (`--unsafe-resolve HOST=IP:PORT`): the connection
    /// goes to that address and port, after the same checks as any other. Lower case.
    pub resolve_overrides: Vec<(String, SocketAddr)>,
    /// A forward proxy that everything goes through, instead of straight to the destination.
    pub via: Option<ProxySettings>,
    /// Certificates that endpoints name.
    pub certificates: Vec<NamedTls>,
    /// Roots trusted besides the public ones.
    pub extra_roots: Vec<CertificateDer<'static>>,
    /// Name servers to ask; empty for those of the host.
    pub name_servers: Vec<SocketAddr>,
    /// One look-up of a name.
    pub dns_timeout: Duration,
    /// One TCP connect.
    pub connect_timeout: Duration,
    /// TCP connects of one attempt, all addresses together.
    pub connect_total_timeout: Duration,
    /// One TLS handshake.
    pub tls_timeout: Duration,
    /// How long a connection is kept without use.
    pub idle_timeout: Duration,
    /// How long a connection is used at all: its address was checked when it was opened.
    pub age_max: Duration,
    /// Idle connections per key (project, address, name).
    pub idle_per_key_max: usize,
    /// Idle connections in all.
    pub idle_max: usize,
    /// Open connections per project.
    pub connections_per_project_max: usize,
    /// Open connections per address and port.
    pub connections_per_destination_max: usize,
    /// Open connections in all.
    pub connections_max: usize,
    /// New connections of a project to a host and port in a second; at least one. What the forward
    /// proxy's clients open is not among them.
    pub new_connections_per_destination: u32,
    /// Bytes of a response head; a longer one is a protocol error.
    pub response_head_bytes_max: usize,
    /// Bytes of a response body that are read; then the connection is closed. Of one that does not
    /// say how long it is, 64 KiB, and of a longer one its beginning alone.
    pub response_bytes_max: u64,
    /// Where our addresses are tried from, to see that they reach anything; at least two, or none.
    pub reflectors: Vec<Reflector>,
    /// Where connections and denials are counted; `None` for figures of its own.
    pub metrics: Option<EgressMetrics>,
}

/// A place of the operator's that takes connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reflector {
    /// At an address.
    At(SocketAddr),
    /// At a name and a port.
    Named(Box<str>, u16),
}

/// TLS by a certificate that endpoints name.
#[derive(Debug, Clone)]
pub struct NamedTls {
    /// Its name.
    pub name: Arc<str>,
    /// The settings.
    pub tls: Arc<ClientTls>,
    /// Whose endpoints may name it; `None` for all.
    pub projects: Option<Vec<ProjectId>>,
}

impl NamedTls {
    pub(super) fn is_for(&self, project: ProjectId) -> bool {
        let projects = self.projects.as_ref();
        projects.is_none_or(|projects| projects.contains(&project))
    }
}

impl Settings {
    /// The defaults with this address policy.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            resolve_overrides: Vec::new(),
            via: None,
            certificates: Vec::new(),
            extra_roots: Vec::new(),
            name_servers: Vec::new(),
            dns_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            connect_total_timeout: Duration::from_secs(10),
            tls_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(30),
            age_max: Duration::from_secs(300),
            idle_per_key_max: 32,
            idle_max: 10_000,
            connections_per_project_max: 1_000,
            connections_per_destination_max: 256,
            connections_max: 100_000,
            new_connections_per_destination: new_connections_per_destination(),
            response_head_bytes_max: 64 * 1024,
            response_bytes_max: 1024 * 1024,
            reflectors: Vec::new(),
            metrics: None,
        }
    }
}

/// Opening one, with a delivery on it, was measured at 0.2 ms of CPU time without TLS: 500 a
/// second are a tenth of a core (docs/decisions/0025).
const NEW_CONNECTIONS_PER_CORE: u32 = 500;

/// New connections to one destination in a second, by the cores that there are.
fn new_connections_per_destination() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    NEW_CONNECTIONS_PER_CORE.saturating_mul(u32::try_from(cores).unwrap_or(u32::MAX))
}

/// Egress cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// An extra root is not a certificate that can be trusted.
    #[error("extra root certificate {index} is not usable: {source}")]
    Root {
        /// Position among the extra roots, from 0.
        index: usize,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// The TLS library refused the settings.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[source] rustls::Error),
    /// The resolver refused the settings.
    #[error("name resolution cannot be set up: {0}")]
    Resolver(#[source] hickory_resolver::net::NetError),
    /// A metric cannot be declared: a programming error.
    #[error("metrics of egress: {0}")]
    Metrics(#[source] prometheus::Error),
}

/// Figures since the start, and of now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EgressStats {
    /// Connections opened.
    pub opened: u64,
    /// Requests sent on a connection that was open already.
    pub reused: u64,
    /// Requests moved from a connection that had been closed meanwhile to a new one.
    pub stale: u64,
    /// Connections idle now.
    pub idle: u64,
    /// Connections open now, idle ones included.
    pub open: u64,
    /// Look-ups that went to the name servers.
    pub dns_lookups: u64,
}

impl EgressStats {
    /// Name and value of each figure.
    #[must_use]
    pub const fn figures(&self) -> [(&'static str, u64); 6] {
        [
            ("connections_opened", self.opened),
            ("connections_reused", self.reused),
            ("connections_stale", self.stale),
            ("connections_idle", self.idle),
            ("connections_open", self.open),
            ("dns_lookups", self.dns_lookups),
        ]
    }
}
