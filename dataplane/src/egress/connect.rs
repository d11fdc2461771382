//! New connections: TCP to a checked address, the peer compared, TLS where asked, HTTP/1.1.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use outrider_webhook::retry::Failure;
use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::task::TaskTracker;

use super::exchange::{Draft, Phase};
use super::fault::Fault;
use super::gate::{Entered, Gate, Permit};
use super::pool::{Alive, Connection, Key, Pool};
use super::tls::{Profile, Profiles};

/// Head of an answer: headers and bytes accepted (`egress` section 9).
const HEADERS_MAX: usize = 100;
/// Read and write buffer of one connection, at most.
const BUFFER_BYTES_MAX: usize = 128 * 1024;

/// How long an orderly close may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Time limits of opening a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) connect: Duration,
    pub(super) connect_total: Duration,
    pub(super) tls: Duration,
}

/// When opening one connection has to be done.
#[derive(Debug, Clone, Copy)]
struct Until {
    /// For one address.
    each: Duration,
    /// For all of them.
    connected: Instant,
    /// With TLS, where that has no limit of its own.
    encrypted: Option<Instant>,
}

impl Limits {
    /// From now on; `own` is the limit of an endpoint that has one, for all of it.
    fn until(&self, own: Option<Duration>) -> Until {
        let now = Instant::now();
        Until {
            each: own.unwrap_or(self.connect),
            connected: now + own.unwrap_or(self.connect_total),
            encrypted: own.map(|own| now + own),
        }
    }
}

/// A connection to one of the addresses asked for.
pub(super) struct Dialled {
    pub(super) key: Key,
    pub(super) connection: Connection,
    /// It was open already and became idle while this attempt waited for room.
    pub(super) is_reused: bool,
}

/// A stream to make a connection of, or a connection.
enum Way {
    New(TcpStream, Permit),
    Idle(Connection),
}

/// Opens connections and owns their tasks.
pub(super) struct Dialler {
    limits: Limits,
    profiles: Profiles,
    gate: Arc<Gate>,
    tasks: TaskTracker,
    http: Builder,
}

impl Dialler {
    pub(super) fn new(
        limits: Limits,
        profiles: Profiles,
        gate: Arc<Gate>,
        tasks: TaskTracker,
        head_bytes_max: usize,
    ) -> Self {
        let mut http = Builder::new();
        // Only when it differs from the default of hyper: a set number costs an allocation.
        const { assert!(HEADERS_MAX == 100) };
        http.max_header_size(head_bytes_max);
        http.max_buf_size(BUFFER_BYTES_MAX.max(head_bytes_max));
        Self {
            limits,
            profiles,
            gate,
            tasks,
            http,
        }
    }

    /// The roots that TLS trusts.
    pub(super) fn roots(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.profiles.roots)
    }

    /// Opens a connection to the first checked address that can be reached; gives back which one
    /// it was.
    pub(super) async fn dial(
        &self,
        keys: Vec<Key>,
        pool: &Pool,
        own_limit: Option<Duration>,
        draft: &mut Draft,
    ) -> Result<Dialled, Fault> {
        draft.enter(Phase::Connect);
        let until = self.limits.until(own_limit);
        let mut failed: Option<Fault> = None;
        for key in keys {
            match self.connect(&key, pool, until).await {
                Ok(Way::New(stream, permit)) => {
                    let connection = self.establish(&key, (stream, permit), until, draft).await?;
                    return Ok(Dialled {
                        key,
                        connection,
                        is_reused: false,
                    });
                }
                Ok(Way::Idle(connection)) => {
                    return Ok(Dialled {
                        key,
                        connection,
                        is_reused: true,
                    });
                }
                // The first address is the preferred one: its class stands for all.
                Err(fault) => match &mut failed {
                    Some(first) => {
                        first.detail.push_str("; ");
                        first.detail.push_str(&fault.detail);
                    }
                    None => failed = Some(fault),
                },
            }
            if Instant::now() >= until.connected {
                break;
            }
        }
        Err(failed
            .unwrap_or_else(|| Fault::new(Failure::ConnectUnreachable, "no address to connect to")))
    }

    async fn connect(&self, key: &Key, pool: &Pool, until: Until) -> Result<Way, Fault> {
        let address = key.address;
        let entered = timeout_at(until.connected, self.gate.enter(key, pool))
            .await
            .map_err(|_| {
                let detail = format!("no connection to {address} may be opened: limit reached");
                Fault::new(Failure::Internal, detail)
            })?;
        let permit = match entered {
            Entered::Room(permit) => permit,
            Entered::Idle(connection) => return Ok(Way::Idle(connection)),
        };
        let limit = until.connected.min(Instant::now() + until.each);
        let stream = match timeout_at(limit, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(Fault::connect(address, &error)),
            Err(_) => {
                let detail = format!("connect to {address}: no answer in time");
                return Err(Fault::new(Failure::ConnectTimeout, detail));
            }
        };
        Ok(Way::New(stream, permit))
    }

    async fn establish(
        &self,
        key: &Key,
        (stream, permit): (TcpStream, Permit),
        until: Until,
        draft: &mut Draft,
    ) -> Result<Connection, Fault> {
        let (local, remote) = ends(&stream, key.address)?;
        draft.on(local, remote);
        let (sender, alive) = match &key.tls {
            None => self.speak(stream, permit).await?,
            Some(profile) => {
                draft.enter(Phase::Handshake);
                let stream = self.encrypt(key, profile, stream, until).await?;
                self.speak(stream, permit).await?
            }
        };
        Ok(Connection {
            sender,
            _alive: alive,
            opened: Instant::now(),
            local,
            remote,
        })
    }

    async fn encrypt(
        &self,
        key: &Key,
        profile: &Profile,
        stream: TcpStream,
        until: Until,
    ) -> Result<TlsStream<TcpStream>, Fault> {
        // An address is checked against the addresses in the certificate, and sent in no SNI.
        let name = ServerName::try_from(key.server_name.to_string()).map_err(|_| {
            let detail = format!("no certificate can be for `{}`", key.server_name);
            Fault::new(Failure::TlsFailure, detail)
        })?;
        let config = self.profiles.config(key.project, profile);
        let config = config.map_err(|error| Fault::new(Failure::Internal, error.to_string()))?;
        let started = Instant::now();
        let limit = until.encrypted.unwrap_or(started + self.limits.tls);
        let connecting = TlsConnector::from(config).connect(name, stream);
        match timeout_at(limit, connecting).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(Fault::handshake(&error)),
            Err(_) => Err(Fault::new(
                Failure::TlsFailure,
                format!("TLS handshake: not finished within {:?}", limit - started),
            )),
        }
    }

    async fn speak<S>(
        &self,
        stream: S,
        permit: Permit,
    ) -> Result<(SendRequest<Full<Bytes>>, Alive), Fault>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = self
            .http
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Fault::http(&error, "HTTP set-up"))?;
        let (alive, dropped) = oneshot::channel();
        self.tasks.spawn(async move {
            let _permit = permit; // until the socket is closed
            drive(connection, dropped).await;
        });
        Ok((sender, alive))
    }
}

/// Runs a connection until it ends, and not much longer than somebody holds its sending half: a
/// receiver that does not read would otherwise keep the socket and the request for ever.
async fn drive<C>(connection: C, dropped: oneshot::Receiver<Infallible>)
where
    C: Future<Output = hyper::Result<()>>,
{
    tokio::pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = &mut connection => ended, // polled on below if not at its end
        _ = dropped => timeout(CLOSE_TIMEOUT, connection).await.unwrap_or(Ok(())),
    };
    if let Err(error) = ended {
        // Whoever waits for an answer gets it as well; this one may have been idle.
        tracing::debug!(%error, "connection ended");
    }
}

/// Both ends of a connection, the far one compared with the address that was checked.
fn ends(stream: &TcpStream, checked: SocketAddr) -> Result<(SocketAddr, SocketAddr), Fault> {
    let look = || -> io::Result<(SocketAddr, SocketAddr)> {
        stream.set_nodelay(true)?; // one small request at a time: nothing to wait for
        Ok((stream.local_addr()?, stream.peer_addr()?))
    };
    let (local, remote) = look().map_err(|error| Fault::connect(checked, &error))?;
    if remote.ip().to_canonical() != checked.ip().to_canonical() || remote.port() != checked.port()
    {
        let detail = format!("connected to {remote} instead of the checked {checked}");
        return Err(Fault::new(Failure::Internal, detail));
    }
    Ok((local, remote))
}
