//! The forward proxy: lets others reach destinations from our addresses, under the same policy as
//! deliveries and through the same connector. CONNECT and whole URLs over HTTP/1.1.
//!
//! The path of a request: listener -> identity and tenant -> policy, names, connection (all
//! three in [`crate::egress`]) -> a tunnel, or an exchange whose heads are rewritten. Bytes are
//! passed on as they come, heads keep their order and spelling, and nothing the destination sends
//! can look like an error of ours (`egress` section 3).

mod balancer;
mod body;
mod client;
mod connection;
mod crowd;
mod exchange;
mod flow;
mod head;
mod identity;
mod listener;
mod metrics;
mod plane;
mod pulse;
mod record;
mod refusal;
mod scratch;
mod tunnel;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use outrider_webhook::address::AddressSet;
use outrider_webhook::http1::HeadLimits;
use outrider_webhook::id::ProjectId;
use outrider_webhook::rate::Rate;
use rustls::ServerConfig;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::identity::{Identities, Identity, PasswordDigest, Reach};
pub use self::listener::ForwardListener;
pub use self::metrics::ForwardMetrics;
pub use self::plane::{EgressPlane, EgressServing, PlaneSettings};
use crate::buckets::Buckets;
use crate::chance::Chance;
use crate::egress::Egress;
use crate::table::RoutingTable;

/// For a whole head, from its first byte (`egress` section 9).
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes and fields of a head.
const HEAD_BYTES_MAX: usize = 32 * 1024;
const HEADERS_MAX: usize = 100;
/// For the next request of a connection.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// How the proxy behaves. The defaults are those of `egress` section 9.
pub struct Settings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Who may use it; nobody in particular, and so everybody, only on loopback.
    pub identities: Identities,
    /// TLS to clients.
    pub tls: Option<Arc<ServerConfig>>,
    /// Who sends the PROXY protocol, which is then required of all connections.
    pub proxy_protocol: Option<AddressSet>,
    /// A tunnel without a byte.
    pub tunnel_idle: Duration,
    /// A tunnel at all.
    pub tunnel_life: Duration,
    /// Connections of clients at once.
    pub connections_max: usize,
    /// The same of one address, or one /64 of IPv6.
    pub connections_per_address_max: usize,
    /// New connections to destinations, of one project; 500 a second and 1,000 at once when
    /// absent.
    pub opens: Option<Rate>,
    /// Of the ids in its log.
    pub seed: u64,
}

struct Limits {
    head: HeadLimits,
    tunnel_idle: Duration,
    tunnel_life: Duration,
    /// New connections of a project.
    opens: Rate,
    /// Wrong passwords from an address.
    failures: Rate,
}

/// The proxy, without its listener.
struct Forward {
    table: RoutingTable,
    egress: Egress,
    identities: Identities,
    limits: Limits,
    failures: Buckets<IpAddr>,
    opens: Buckets<ProjectId>,
    metrics: ForwardMetrics,
    /// Ids of the lines of the log.
    ids: Chance,
    /// Nothing new is begun.
    draining: CancellationToken,
    /// What is left is cut.
    cut: CancellationToken,
    /// Connections that tell dispatchers that the process lives.
    pulses: TaskTracker,
    /// Clients that are told at the moment that they have too many connections.
    turned_away: Semaphore,
}
