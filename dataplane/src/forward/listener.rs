//! The listener of the forward proxy: accepts, bounds, shakes hands, and drains.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use outrider_webhook::address::AddressSet;
use outrider_webhook::rate::Rate;
use rustls::pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::balancer;
use super::client::{Client, Io};
use super::crowd::Crowd;
use super::{Forward, HEAD_BYTES_MAX, HEADERS_MAX, Limits, Settings};
use crate::buckets::Buckets;
use crate::chance::Chance;
use crate::egress::Egress;
use crate::forward::metrics::ForwardMetrics;
use crate::table::RoutingTable;

/// Connections that may wait to be accepted; the system has a bound of its own below that.
const BACKLOG: u32 = 65_535;
/// A TLS handshake of a client.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// To wait when no connection can be taken, for want of files or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a drain waits for tunnels (`egress` section 9).
const DRAIN_TUNNELS: Duration = Duration::from_secs(600);
/// How long what was cut has to end: not for requests, which go on, but for the lines of tunnels.
const CUT_GRACE: Duration = Duration::from_secs(1);
/// Addresses whose wrong passwords are counted.
const FAILURES_OF_MAX: usize = 65_536;
/// Clients with too many connections that are told so at a time; they have no place of `connections_max`.
const TURNED_AWAY_MAX: usize = 256;

/// The running forward proxy.
pub struct ForwardListener {
    forward: Arc<Forward>,
    address: SocketAddr,
    stop: CancellationToken,
    accepting: JoinHandle<()>,
    clients: TaskTracker,
}

impl ForwardListener {
    /// Binds, and serves on this runtime.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub fn start(
        settings: Settings,
        table: RoutingTable,
        egress: Egress,
        metrics: ForwardMetrics,
    ) -> io::Result<Self> {
        let listener = bind(settings.listen)?;
        let address = listener.local_addr()?;
        let (stop, clients) = (CancellationToken::new(), TaskTracker::new());
        let rate = |count, window_s| Rate::new(count, window_s).ok_or(io::ErrorKind::InvalidInput);
        let forward = Arc::new(Forward {
            table,
            egress,
            identities: settings.identities,
            limits: Limits {
                head: outrider_webhook::http1::HeadLimits {
                    line_bytes_max: HEAD_BYTES_MAX,
                    bytes_max: HEAD_BYTES_MAX,
                    headers_max: HEADERS_MAX,
                },
                tunnel_idle: settings.tunnel_idle,
                tunnel_life: settings.tunnel_life,
                // 500 a second, 1,000 at once; ten wrong passwords a minute (`egress` sections
                // 4 and 9).
                opens: settings.opens.map_or_else(|| rate(1_000, 2), Ok)?,
                failures: rate(10, 60)?,
            },
            failures: Buckets::bounded(FAILURES_OF_MAX),
            opens: Buckets::unbounded(), // configuration bounds it
            metrics,
            ids: Chance::seeded(settings.seed),
            draining: CancellationToken::new(),
            cut: CancellationToken::new(),
            pulses: TaskTracker::new(),
            turned_away: Semaphore::new(TURNED_AWAY_MAX),
        });
        let acceptor = Acceptor {
            listener,
            forward: Arc::clone(&forward),
            way: Way {
                tls: settings.tls.map(TlsAcceptor::from),
                balancers: settings.proxy_protocol.map(Arc::new),
                crowd: Crowd::new(settings.connections_per_address_max),
            },
            places: Arc::new(Semaphore::new(settings.connections_max)),
            clients: clients.clone(),
        };
        Ok(Self {
            forward,
            address,
            accepting: tokio::spawn(acceptor.run(stop.clone())),
            stop,
            clients,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins nothing new from now on: who asks is told so. What is under way goes on.
    pub fn refuse_new(&self) {
        self.forward.draining.cancel();
    }

    /// Begins nothing new: who asks is told so. Waits for requests and tunnels under way, within
    /// their bounds or until `cut` fires, and ends.
    pub async fn drain(self, cut: CancellationToken) {
        self.refuse_new();
        self.clients.close();
        let ended = tokio::select! {
            ended = timeout(DRAIN_TUNNELS, self.clients.wait()) => ended.is_ok(),
            () = cut.cancelled() => false,
        };
        if !ended {
            tracing::warn!(
                connections = self.clients.len(),
                "connections of the forward proxy cut off by the drain"
            );
        }
        self.forward.cut.cancel();
        // What is cut writes its line.
        let _ = timeout(CUT_GRACE, self.clients.wait()).await;
        self.forward.pulses.close();
        self.forward.pulses.wait().await;
        self.stop.cancel();
        if self.accepting.await.is_err() {
            tracing::error!("the listener of the forward proxy ended with a panic");
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

struct Acceptor {
    listener: TcpListener,
    forward: Arc<Forward>,
    way: Way,
    places: Arc<Semaphore>,
    clients: TaskTracker,
}

/// What is spoken before the first request.
#[derive(Clone)]
struct Way {
    tls: Option<TlsAcceptor>,
    balancers: Option<Arc<AddressSet>>,
    crowd: Arc<Crowd>,
}

impl Acceptor {
    async fn run(self, stop: CancellationToken) {
        loop {
            let place = tokio::select! {
                () = stop.cancelled() => return,
                place = Arc::clone(&self.places).acquire_owned() => place,
            };
            let Ok(place) = place else { return };
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.listener.accept() => accepted, // cancel-safe
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "the forward proxy cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (forward, way) = (Arc::clone(&self.forward), self.way.clone());
            self.clients.spawn(async move {
                match arrived(stream, address, way).await {
                    // Boxed: what a request needs is not to be in each task from its begin.
                    Some(Arrived::Client(client)) => {
                        Box::pin(forward.serve(client)).await;
                        drop(place);
                    }
                    Some(Arrived::Crowd(client)) => {
                        drop(place); // it is for others
                        forward.turn_away(client).await;
                    }
                    None => drop(place),
                }
            });
        }
    }
}

/// Who is behind a connection.
enum Arrived {
    /// A client, with TLS where that is spoken.
    Client(Client),
    /// One that has as many connections as it may; with nothing to say it in where TLS is spoken:
    /// a handshake costs more than it is to cost us.
    Crowd(Option<Client>),
}

/// `None` when it is gone.
async fn arrived(mut stream: TcpStream, mut address: SocketAddr, way: Way) -> Option<Arrived> {
    stream.set_nodelay(true).ok()?; // what is passed on does not wait for more
    if let Some(trusted) = &way.balancers {
        match balancer::client(&mut stream, address, trusted).await {
            Ok(client) => address = client,
            Err(error) => {
                tracing::warn!(peer = %address, %error, "a connection of the forward proxy is not taken");
                return None;
            }
        }
    }
    let place = way.crowd.enter(address.ip());
    if place.is_none() {
        let is_plain = way.tls.is_none();
        let client = is_plain.then(|| Client::new(Io::Left(stream), address, Vec::new(), place));
        return Some(Arrived::Crowd(client));
    }
    let (io, names) = match way.tls {
        None => (Io::Left(stream), Vec::new()),
        Some(acceptor) => {
            let shaken = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await;
            let stream = match shaken {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a TLS handshake of the forward proxy failed");
                    return None;
                }
                Err(_) => return None,
            };
            let shown = stream.get_ref().1.peer_certificates();
            let names = shown
                .and_then(<[_]>::first)
                .map(names_in)
                .unwrap_or_default();
            (Io::Right(Box::new(stream)), names)
        }
    };
    Some(Arrived::Client(Client::new(io, address, names, place)))
}

/// The DNS names and URIs of a certificate that the handshake has checked.
fn names_in(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        return Vec::new();
    };
    let Ok(Some(names)) = parsed.subject_alternative_name() else {
        return Vec::new();
    };
    let names = names.value.general_names.iter();
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) | GeneralName::URI(name) => Some((*name).to_owned()),
            _ => None,
        })
        .collect()
}
