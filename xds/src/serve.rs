//! The two halves joined: over an in-process connection or over TCP.
//!
//! `outrider serve` opens no port for xDS (RULINGS 38): its client speaks HTTP/2 over an
//! in-memory pipe to the same service that a split control plane serves over TCP.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::server::{Connected, TcpConnectInfo};
use tonic::transport::{Channel, Endpoint, Server as Transport, Uri};
use tower::service_fn;

use crate::server::Server;
use crate::tls::Tls;

/// Pings on a connection without traffic, both sides.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// A ping not answered within this time ends the connection, both sides.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the end of connections is waited for once their sessions are over.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Streams one connection may have; a data plane uses two.
const STREAMS_MAX: u32 = 16;
/// Bytes in flight on one stream: about one response.
const STREAM_WINDOW: u32 = 1 << 20;
/// Bytes in flight on one connection: a window for each stream, so that one that is not read
/// cannot starve the others.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS_MAX;
/// The pipe between the two halves in one process, bytes each way.
const PIPE_BYTES: usize = 256 << 10;
/// Connections that may wait to be taken, in one process or from a listener.
const DIALS_MAX: usize = 4;
/// Connections to a listener at a time, also those that have not said yet who they are. A data plane
/// has one, and there are 1,024 numbers for them.
const CONNECTIONS_MAX: usize = 2_048;
/// Wait after a failed accept, which is mostly for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The transport failed.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The listener or the connections failed.
    #[error("the xDS transport failed: {}", crate::tls::causes(.0))]
    Transport(#[from] tonic::transport::Error),
    /// The listener has no address.
    #[error("the xDS listener has no address")]
    Listener(#[source] io::Error),
    /// Configuration carries secrets, and this transport is not encrypted.
    #[error("xDS without TLS is served on loopback only, not on {0}: give it `xds.tls`")]
    NotLoopback(SocketAddr),
}

impl ServeError {
    /// Stable code: a closed set.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Transport(_) => "xds_transport",
            Self::Listener(_) => "xds_listener",
            Self::NotLoopback(_) => "xds_not_loopback",
        }
    }
}

/// Serves `server` inside this process until `shutdown` fires. Returns the task to wait for, and
/// a channel for the [`crate::Client`] that makes a new connection whenever one is needed. A pipe
/// has no way to fail that its owner could mend, so a failure of the transport is logged and
/// ends the task; the client's status shows it too.
///
/// Must be called within a tokio runtime.
#[must_use]
pub fn serve_in_process(server: Server, shutdown: CancellationToken) -> (JoinHandle<()>, Channel) {
    let (dial, dialled) = mpsc::channel::<DuplexStream>(DIALS_MAX);
    let incoming = ReceiverStream::new(dialled).map(Ok::<_, io::Error>);
    let task = tokio::spawn(async move {
        if let Err(error) = serve(server, Transport::builder(), incoming, shutdown).await {
            tracing::error!(%error, code = error.code(), "the in-process xDS transport failed");
        }
    });
    let connector = service_fn(move |_: Uri| {
        let dial = dial.clone();
        async move {
            let (ours, theirs) = duplex(PIPE_BYTES);
            let gone = |_| io::Error::from(io::ErrorKind::ConnectionRefused);
            dial.send(theirs).await.map_err(gone)?;
            Ok::<_, io::Error>(TokioIo::new(ours))
        }
    });
    // Nobody resolves this name: the connector ignores it.
    let endpoint = settle(Endpoint::from_static("http://in-process"));
    (task, endpoint.connect_with_connector_lazy(connector))
}

/// Serves `server` on a TCP listener until `shutdown` fires. With `tls` only clients with a
/// certificate from its roots get in.
///
/// # Errors
/// When the listener is not on loopback and there is no TLS, since the stream carries secrets,
/// when the TLS files are unusable, or when the transport fails.
pub async fn serve_tcp(
    server: Server,
    listener: TcpListener,
    tls: Option<Tls>,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let address = listener.local_addr().map_err(ServeError::Listener)?;
    let mut transport = Transport::builder();
    match tls {
        Some(tls) => transport = transport.tls_config(tls.server())?,
        None if !address.ip().is_loopback() => return Err(ServeError::NotLoopback(address)),
        None => {}
    }
    let (sender, accepted) = mpsc::channel(DIALS_MAX);
    let incoming = ReceiverStream::new(accepted).map(Ok::<_, io::Error>);
    let stop = shutdown.child_token();
    let ended = stop.clone().drop_guard(); // also when this future is dropped
    let accepting = tokio::spawn(accept(listener, sender, stop));
    let served = serve(server, transport, incoming, shutdown).await;
    drop(ended);
    if accepting.await.is_err() {
        tracing::error!("the xDS listener ended with a panic");
    }
    served
}

/// Accepts connections. The transport itself would end for good at the first want of descriptors.
async fn accept(listener: TcpListener, sender: mpsc::Sender<Accepted>, stop: CancellationToken) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // The permit comes first: an accepted connection never waits.
        let permit = tokio::select! {
            () = stop.cancelled() => return,
            permit = Arc::clone(&permits).acquire_owned() => permit, // cancel-safe
        };
        let Ok(permit) = permit else { return };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted, // cancel-safe
        };
        match accepted {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true); // slower without, not wrong
                let accepted = Accepted {
                    stream,
                    _permit: permit,
                };
                if sender.send(accepted).await.is_err() {
                    return; // the transport has ended
                }
            }
            Err(error) => {
                tracing::warn!(%error, "xDS listener: accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await; // not a busy loop
            }
        }
    }
}

/// A channel to a control plane, for the [`crate::Client`]. Connects when it is first used, and
/// again whenever the connection broke.
///
/// # Errors
/// When `uri` is not one (`http://host:port`, or `https://host:port` with `tls`), or the TLS
/// files are unusable.
pub fn channel(uri: &str, tls: Option<&Tls>) -> Result<Channel, ServeError> {
    let mut endpoint = Endpoint::from_shared(uri.to_owned())?;
    if let Some(tls) = tls {
        endpoint = endpoint.tls_config(tls.client())?;
    }
    Ok(settle(endpoint).tcp_nodelay(true).connect_lazy())
}

fn settle(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
}

async fn serve<I, E>(
    server: Server,
    transport: Transport,
    incoming: impl Stream<Item = Result<I, E>>,
    shutdown: CancellationToken,
) -> Result<(), ServeError>
where
    I: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // A child: a transport that fails ends its own sessions, not whatever else hangs on the token.
    let shutdown = shutdown.child_token();
    let sessions = TaskTracker::new();
    let service = server.service(shutdown.clone(), sessions.clone());
    let control = server.control_service(shutdown.clone(), sessions.clone());
    let transport = transport
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .max_concurrent_streams(STREAMS_MAX)
        .add_service(service)
        .add_service(control)
        .serve_with_incoming_shutdown(incoming, shutdown.cancelled());
    // A peer that does not read could hold its connection open; the wait for it has an end.
    let limit = async {
        shutdown.cancelled().await;
        tokio::time::sleep(CLOSE_TIMEOUT).await;
    };
    let result = tokio::select! {
        result = transport => result,
        () = limit => {
            tracing::warn!("an xDS connection did not close in time");
            Ok(())
        }
    };
    // Sessions watch the token themselves; after a transport error nothing else would end them.
    shutdown.cancel();
    sessions.close();
    sessions.wait().await;
    Ok(result?)
}

/// A connection of a listener, and its place among those that may be there.
struct Accepted {
    stream: TcpStream,
    _permit: OwnedSemaphorePermit,
}

impl Connected for Accepted {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
