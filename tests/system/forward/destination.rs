//! A destination that is whatever it is called: it answers on many ports, on all addresses that
//! the host has, with TLS for the name that is asked for or without, over HTTP/1.1 and HTTP/2.

use std::convert::Infallible;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::LazyConfigAcceptor;

use super::super::harness::Authority;

/// First byte of a TLS record that opens a handshake.
const TLS_HANDSHAKE: u8 = 0x16;

struct Shared {
    authority: Authority,
    /// Addresses that were connected to, or asked.
    reached: Mutex<Vec<SocketAddr>>,
    /// Instead of an answer that tells what was asked: a redirect.
    redirect: Mutex<Option<(u16, String)>>,
    /// Each connection ends with its first answer.
    closes: AtomicBool,
}

/// A running destination; it ends when dropped.
pub(super) struct Destination {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

impl Destination {
    /// On these ports of all addresses, IPv4 and IPv6.
    pub(super) async fn everywhere(ports: impl IntoIterator<Item = u16>) -> Self {
        let mut destination = Self::new();
        for port in ports {
            let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
            destination.listen(TcpListener::bind(any).await.unwrap());
        }
        destination
    }

    /// On a loopback port, and which one that is.
    pub(super) async fn start() -> (Self, SocketAddr) {
        let mut destination = Self::new();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = TcpListener::bind(any).await.unwrap();
        let address = listener.local_addr().unwrap();
        destination.listen(listener);
        (destination, address)
    }

    fn new() -> Self {
        let shared = Shared {
            authority: Authority::new(),
            reached: Mutex::default(),
            redirect: Mutex::default(),
            closes: AtomicBool::new(false),
        };
        Self {
            shared: Arc::new(shared),
            tasks: Vec::new(),
        }
    }

    fn listen(&mut self, listener: TcpListener) {
        let accepting = accept(listener, Arc::clone(&self.shared));
        self.tasks.push(tokio::spawn(accepting));
    }

    /// Who signs its certificates, as PEM.
    pub(super) fn root(&self) -> &str {
        self.shared.authority.root()
    }

    /// Addresses that were connected to, or that got a request, since this was asked last.
    pub(super) fn take_reached(&self) -> Vec<SocketAddr> {
        std::mem::take(&mut *self.shared.reached.lock().unwrap())
    }

    /// Ends each connection with its first answer from now on.
    pub(super) fn close_each(&self) {
        self.shared.closes.store(true, Ordering::Relaxed);
    }

    /// Answers with this status and `Location` from now on; `None` for 200.
    pub(super) fn redirect(&self, to: Option<(u16, String)>) {
        *self.shared.redirect.lock().unwrap() = to;
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let mut local = stream.local_addr().unwrap();
        local.set_ip(local.ip().to_canonical());
        shared.reached.lock().unwrap().push(local);
        tokio::spawn(serve(stream, local, Arc::clone(&shared)));
    }
}

/// Ends as the client likes.
async fn serve(stream: TcpStream, local: SocketAddr, shared: Arc<Shared>) -> Option<()> {
    let mut first = [0];
    stream.peek(&mut first).await.ok()?;
    if first != [TLS_HANDSHAKE] {
        return answer(stream, local, shared).await;
    }
    let begun = LazyConfigAcceptor::new(Acceptor::default(), stream);
    let begun = begun.await.ok()?;
    let name = begun.client_hello().server_name().map(str::to_owned);
    let name = name.unwrap_or_else(|| local.ip().to_string());
    let identity = shared.authority.identity(&[&name]);
    let config = identity.server_config(&["h2", "http/1.1"]);
    let stream = begun.into_stream(Arc::new(config)).await.ok()?;
    answer(stream, local, shared).await
}

async fn answer<S>(stream: S, local: SocketAddr, shared: Arc<Shared>) -> Option<()>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let service = service_fn(move |request| reply(request, local, Arc::clone(&shared)));
    let builder = Builder::new(TokioExecutor::new());
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    serving.await.ok()
}

/// Tells what was asked: version, method, path, and how many bytes came with it.
async fn reply(
    request: Request<Incoming>,
    local: SocketAddr,
    shared: Arc<Shared>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    shared.reached.lock().unwrap().push(local);
    let (head, body) = request.into_parts();
    let body = body.collect().await;
    let bytes = body.map_or(0, |body| body.to_bytes().len());
    let path = head.uri.path();
    let told = format!("{:?} {} {path} {bytes}", head.version, head.method);
    let mut response = Response::new(Full::new(told.into()));
    if let Some((status, location)) = &*shared.redirect.lock().unwrap() {
        *response.status_mut() = (*status).try_into().unwrap();
        let location = location.parse().unwrap();
        response.headers_mut().insert("location", location);
    }
    if shared.closes.load(Ordering::Relaxed) {
        let close = "close".parse().unwrap();
        response.headers_mut().insert("connection", close);
    }
    Ok(response)
}
