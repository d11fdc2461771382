//! A customer's server: records what it gets, and fails as it is told to.

use std::collections::HashMap;
use std::convert::Infallible;
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::{SockRef, Socket};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Interval, interval, timeout};

use super::listed::{Callers, Witness};
use super::ports::free_port;
use super::wait::DEADLINE;

/// What the system reads ahead of a receiver. Small, so that a large request to one that never
/// reads does not fit into it.
const READ_AHEAD_BYTES: u32 = 4096;

/// How the receiver treats one request, after reading it whole, or a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// None: 200 with a short body.
    None,
    /// This status.
    Status(u16),
    /// This status, with this `Retry-After`.
    Later(u16, &'static str),
    /// 302 to this address.
    Redirect(String),
    /// The connection is reset (RST) instead of an answer.
    Reset,
    /// No answer, ever.
    Stall,
    /// 200, and then a body that drips and never ends.
    Trickle,
    /// 200 with this many bytes of body.
    Oversize(usize),
    /// The connection is taken and nothing is read from it: for connections alone.
    NeverReads,
}

impl Fault {
    /// Answers 200 to its end, so that the sender may take it for delivered.
    pub(crate) fn is_success(&self) -> bool {
        matches!(self, Self::None | Self::Oversize(_))
    }
}

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    /// Whom the connection comes from.
    pub(crate) peer: SocketAddr,
    pub(crate) path_and_query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Which request with this `webhook-id` and path it is, from 1.
    pub(crate) attempt: u32,
    /// What the receiver did.
    pub(crate) fault: Fault,
}

impl Received {
    /// A header as text; empty when it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The event's id on the wire.
    pub(crate) fn webhook_id(&self) -> &str {
        self.header("webhook-id")
    }

    /// Answered with 200 to its end, so that the sender may take it for delivered.
    pub(crate) fn is_success(&self) -> bool {
        self.fault.is_success()
    }
}

type Script = Box<dyn Fn(&Received) -> Fault + Send + Sync>;
/// What the connection with this number, from 1, meets before anything is read from it.
type Greeting = Box<dyn Fn(usize) -> Fault + Send + Sync>;

struct Shared {
    script: Script,
    greeting: Greeting,
    received: watch::Sender<Vec<Received>>,
    attempts: Mutex<HashMap<(String, String), u32>>,
    connections: watch::Sender<usize>,
    callers: Callers,
}

/// A running receiver; it ends when dropped.
pub(crate) struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: Option<JoinHandle<()>>,
    _witness: Witness,
}

impl Receiver {
    /// Answers 200 to everything.
    pub(crate) async fn start() -> Self {
        Self::with(|_| Fault::None).await
    }

    /// Treats each request as the script says.
    pub(crate) async fn with(script: impl Fn(&Received) -> Fault + Send + Sync + 'static) -> Self {
        let mut receiver = Self::refusing(script);
        receiver.open().await;
        receiver
    }

    /// Fails the first `count` attempts of every event like this, and then works.
    pub(crate) async fn failing_first(count: u32, fault: Fault) -> Self {
        Self::with(move |request| {
            if request.attempt <= count {
                fault.clone()
            } else {
                Fault::None
            }
        })
        .await
    }

    /// Has an address at which connections are refused until [`Receiver::open`].
    pub(crate) fn refusing(script: impl Fn(&Received) -> Fault + Send + Sync + 'static) -> Self {
        Self::greeting(|_| Fault::None, script)
    }

    /// The same, and each connection first meets what `greeting` says: [`Fault::NeverReads`],
    /// [`Fault::Reset`] or nothing.
    pub(crate) fn greeting(
        greeting: impl Fn(usize) -> Fault + Send + Sync + 'static,
        script: impl Fn(&Received) -> Fault + Send + Sync + 'static,
    ) -> Self {
        let witness = Witness::default();
        let shared = Shared {
            script: Box::new(script),
            greeting: Box::new(greeting),
            received: watch::Sender::new(Vec::new()),
            attempts: Mutex::default(),
            connections: watch::Sender::new(0),
            callers: witness.callers(),
        };
        Self {
            address: free_port(),
            shared: Arc::new(shared),
            task: None,
            _witness: witness,
        }
    }

    /// Starts to accept connections.
    pub(crate) async fn open(&mut self) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.set_recv_buffer_size(READ_AHEAD_BYTES).unwrap();
        socket
            .bind((Ipv4Addr::LOCALHOST, self.address.port()).into())
            .unwrap();
        let listener = socket.listen(1024).unwrap();
        self.task = Some(tokio::spawn(accept(listener, Arc::clone(&self.shared))));
    }

    /// Ends its connections and refuses new ones until [`Receiver::open`].
    pub(crate) async fn close(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await; // says that it was aborted
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// An endpoint URL at this receiver.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Everything received up to now.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared.received.borrow().clone()
    }

    /// Connections accepted up to now, with or without a request.
    pub(crate) fn connections(&self) -> usize {
        *self.shared.connections.borrow()
    }

    /// Waits until at least `count` requests were received.
    pub(crate) async fn wait_for(&self, count: usize, deadline: Duration) -> Vec<Received> {
        self.wait_until(&format!("{count} requests"), deadline, |received| {
            received.len() >= count
        })
        .await
    }

    /// Waits until what was received meets a condition.
    pub(crate) async fn wait_until(
        &self,
        what: &str,
        deadline: Duration,
        condition: impl Fn(&[Received]) -> bool,
    ) -> Vec<Received> {
        let mut watch = self.shared.received.subscribe();
        match timeout(deadline, watch.wait_for(|received| condition(received))).await {
            Ok(received) => received.unwrap().clone(),
            Err(_) => panic!(
                "not within {deadline:?}: {what}; {} requests received",
                self.received().len()
            ),
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new(); // aborts them when this task is aborted
    loop {
        let (stream, peer) = listener.accept().await.unwrap();
        shared.callers.saw(peer);
        shared.connections.send_modify(|count| *count += 1);
        let number = *shared.connections.borrow();
        while connections.try_join_next().is_some() {}
        match (shared.greeting)(number) {
            Fault::NeverReads => drop(connections.spawn(hold(stream))),
            Fault::Reset => drop(SockRef::from(&stream).set_linger(Some(Duration::ZERO))),
            _ => drop(connections.spawn(serve(stream, Arc::clone(&shared)))),
        }
    }
}

/// Keeps a connection, reading nothing, for longer than anybody waits for it. That its peer has
/// given up does not show: what it has sent lies in front of its end.
async fn hold(stream: TcpStream) {
    tokio::time::sleep(DEADLINE).await;
    drop(stream);
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let Ok(peer) = stream.peer_addr() else {
        return; // it has gone already
    };
    let socket = Arc::new(SockRef::from(&stream).try_clone().unwrap());
    let service =
        service_fn(move |request| answer(request, peer, Arc::clone(&shared), Arc::clone(&socket)));
    // Ends with an error whenever a fault breaks the connection, which is what was asked for.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    request: Request<Incoming>,
    peer: SocketAddr,
    shared: Arc<Shared>,
    socket: Arc<Socket>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Box<dyn Error + Send + Sync>> {
    let (head, body) = request.into_parts();
    let mut received = Received {
        peer,
        path_and_query: head.uri.to_string(),
        headers: head.headers,
        body: body.collect().await?.to_bytes(),
        attempt: 0,
        fault: Fault::None,
    };
    let key = (
        received.webhook_id().to_owned(),
        received.path_and_query.clone(),
    );
    received.attempt = count(&shared.attempts, key);
    let fault = (shared.script)(&received);
    received.fault = fault.clone();
    shared.received.send_modify(|all| all.push(received));
    Ok(match fault {
        Fault::None => reply(200, b"ok".as_slice().into()),
        Fault::Status(status) => reply(status, b"no".as_slice().into()),
        Fault::Later(status, retry_after) => {
            let mut reply = reply(status, b"later".as_slice().into());
            let value = retry_after.parse().unwrap();
            reply.headers_mut().insert(http::header::RETRY_AFTER, value);
            reply
        }
        Fault::Redirect(to) => {
            let mut reply = reply(302, Bytes::new());
            reply
                .headers_mut()
                .insert(http::header::LOCATION, to.parse().unwrap());
            reply
        }
        Fault::Reset => {
            // With no time to linger, closing sends an RST; the error is what makes hyper close.
            socket.set_linger(Some(Duration::ZERO))?;
            return Err("reset, as the script says".into());
        }
        Fault::Stall => std::future::pending().await,
        Fault::Trickle => Response::new(BoxBody::new(Drip(interval(Duration::from_millis(50))))),
        Fault::Oversize(bytes) => reply(200, vec![b'x'; bytes].into()),
        Fault::NeverReads => return Err("it has been read: this is for connections".into()),
    })
}

fn count(attempts: &Mutex<HashMap<(String, String), u32>>, key: (String, String)) -> u32 {
    let mut attempts = attempts.lock().unwrap();
    let count = attempts.entry(key).or_default();
    *count += 1;
    *count
}

fn reply(status: u16, body: Bytes) -> Response<BoxBody<Bytes, Infallible>> {
    let mut reply = Response::new(BoxBody::new(Full::new(body)));
    *reply.status_mut() = StatusCode::from_u16(status).unwrap();
    reply
}

/// A body that sends a byte now and then and never ends.
struct Drip(Interval);

impl Body for Drip {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_tick(cx)
            .map(|_| Some(Ok(Frame::data(Bytes::from_static(b".")))))
    }
}

mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A fault that is not what it says would make its test pass for nothing.
    #[tokio::test]
    async fn a_reset_reaches_the_sender_as_a_reset_and_a_refusal_as_a_refusal() {
        let mut receiver = Receiver::refusing(|_| Fault::Reset);
        let refused = TcpStream::connect(receiver.address()).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        receiver.open().await;
        let mut stream = TcpStream::connect(receiver.address()).await.unwrap();
        stream
            .write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}")
            .await
            .unwrap();
        let reset = stream.read(&mut [0; 16]).await.unwrap_err();
        assert_eq!(reset.kind(), std::io::ErrorKind::ConnectionReset);
        assert_eq!(receiver.wait_for(1, DEADLINE).await[0].body, "{}");
        receiver.close().await;
        let refused = TcpStream::connect(receiver.address()).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn one_that_never_reads_takes_no_more_than_a_buffer_and_a_greeting_is_for_one() {
        let greeting = |number| match number {
            1 => Fault::NeverReads,
            _ => Fault::None,
        };
        let mut receiver = Receiver::greeting(greeting, |_| Fault::None);
        receiver.open().await;
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(READ_AHEAD_BYTES).unwrap();
        let held = socket.connect(receiver.address()).await.unwrap();
        let mut other = TcpStream::connect(receiver.address()).await.unwrap();
        other
            .write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}")
            .await
            .unwrap();
        receiver.wait_for(1, DEADLINE).await;
        // Buffers take some; a megabyte they do not.
        let mut taken = 0;
        while let Ok(count) = held.try_write(&[b'x'; 1024]) {
            taken += count;
            assert!(taken < 1 << 20, "{taken} bytes and still room");
        }
        assert_eq!((receiver.connections(), receiver.received().len()), (2, 1));
    }
}
