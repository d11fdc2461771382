//! A gateway with a forward proxy, and both ends of what goes through it: a test plays the client
//! and the destination, byte by byte.

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{SockRef, Socket};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::super::harness::{DEADLINE, Outrider, Resources, Setup, Witness, free_port};

/// A running gateway with a forward proxy.
pub(super) struct Proxy {
    pub(super) outrider: Outrider,
    pub(super) address: SocketAddr,
}

impl Proxy {
    /// For everybody on loopback; destinations on loopback are allowed.
    pub(super) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With more settings of `egress`.
    pub(super) async fn with(settings: &[(&str, &str)]) -> Self {
        Self::of(Setup::new(&Resources::outgoing(&[])), settings).await
    }

    /// On this gateway.
    pub(super) async fn of(setup: Setup, settings: &[(&str, &str)]) -> Self {
        let address = free_port();
        let mut setup = setup.env("OUTRIDER__EGRESS__LISTEN", &address.to_string());
        for (name, value) in settings {
            setup = setup.env(&format!("OUTRIDER__EGRESS__{name}"), value);
        }
        Self {
            outrider: setup.start().await,
            address,
        }
    }

    /// A connection of a client.
    pub(super) async fn connect(&self) -> Wire {
        Wire::to(self.address).await
    }

    /// One request on a connection of its own, and what the proxy answers.
    pub(super) async fn ask(&self, request: impl AsRef<[u8]>) -> Answer {
        let mut client = self.connect().await;
        client.write(request).await;
        client.answer().await
    }

    /// A tunnel to an origin, and both its ends.
    pub(super) async fn tunnel(&self, origin: &Origin) -> (Wire, Wire) {
        let mut client = self.connect().await;
        client.write(connect(origin)).await;
        let answer = client.head().await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        (client, origin.accept().await)
    }
}

/// The request for a tunnel to an origin.
pub(super) fn connect(origin: &Origin) -> String {
    let to = origin.address();
    format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n")
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// One end of a connection, on which a test writes and reads what it likes.
pub(super) struct Wire {
    stream: Box<dyn Stream>,
    seen: Vec<u8>,
    /// The same socket, below of TLS if there is any.
    socket: Option<Socket>,
}

impl Wire {
    pub(super) async fn to(address: SocketAddr) -> Self {
        Self::tcp(TcpStream::connect(address).await.unwrap())
    }

    fn tcp(stream: TcpStream) -> Self {
        let socket = SockRef::from(&stream).try_clone().unwrap();
        Self {
            socket: Some(socket),
            ..Self::on(stream)
        }
    }

    pub(super) fn on(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            seen: Vec::new(),
            socket: None,
        }
    }

    /// Writes these bytes. A peer that refuses may have closed before it read them all: what it
    /// said is what counts, so that is no error.
    pub(super) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
        let _ = self.stream.flush().await;
    }

    /// Writes these bytes, unless the peer has ended the connection.
    pub(super) async fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let write = self.stream.write_all(bytes.as_ref());
        timeout(DEADLINE, write).await.expect("nothing is read")
    }

    /// Says that nothing more will be written.
    pub(super) async fn finish(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Reads nothing until nothing more comes: what is there by then fills all there is on its way.
    pub(super) async fn settle(&self) {
        let socket = self.socket.as_ref().expect("its socket is known");
        let mut bytes = vec![MaybeUninit::uninit(); 1 << 22];
        let mut before = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let waiting = socket.peek(&mut bytes).unwrap_or(0);
            if waiting == before && waiting > 0 {
                return;
            }
            before = waiting;
        }
    }

    /// Ends it by a reset.
    pub(super) fn reset(self) {
        let socket = self.socket.as_ref().expect("it is not TCP alone");
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// The next head, with the empty line behind it.
    pub(super) async fn head(&mut self) -> String {
        let mut at = 0;
        while !self.seen[at..].starts_with(b"\r\n\r\n") {
            if at + 4 <= self.seen.len() {
                at += 1;
            } else {
                self.more().await;
            }
        }
        let head: Vec<u8> = self.seen.drain(..at + 4).collect();
        String::from_utf8(head).unwrap()
    }

    /// The next bytes, so many.
    pub(super) async fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.seen.len() < count {
            self.more().await;
        }
        self.seen.drain(..count).collect()
    }

    /// Reads these bytes; they must be the next ones.
    pub(super) async fn expect(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        let found = self.exactly(bytes.len()).await;
        let text = String::from_utf8_lossy;
        assert_eq!(found, bytes, "{:?}, not {:?}", text(&found), text(bytes));
    }

    /// Everything up to the end, however the peer ends it.
    pub(super) async fn rest(&mut self) -> Vec<u8> {
        let read = self.stream.read_to_end(&mut self.seen);
        let ended = timeout(DEADLINE, read).await;
        let _ = ended.expect("the connection stays open"); // a reset is an end
        std::mem::take(&mut self.seen)
    }

    /// Everything up to the end, and whether that is a reset.
    pub(super) async fn end(&mut self) -> (Vec<u8>, bool) {
        let read = self.stream.read_to_end(&mut self.seen);
        let ended = timeout(DEADLINE, read).await;
        let is_reset = match ended.expect("the connection stays open") {
            Ok(_) => false,
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
                true
            }
        };
        (std::mem::take(&mut self.seen), is_reset)
    }

    /// A reply with its body, whose length it says.
    pub(super) async fn answer(&mut self) -> Answer {
        let head = self.head().await;
        let mut answer = Answer {
            head,
            body: Vec::new(),
        };
        let length = answer.header("content-length");
        let length = length.unwrap_or_else(|| panic!("no length in {}", answer.head));
        answer.body = self.exactly(length.parse().unwrap()).await;
        answer
    }

    async fn more(&mut self) {
        let mut bytes = [0; 4_096];
        let read = timeout(DEADLINE, self.stream.read(&mut bytes)).await;
        let count = read.expect("nothing comes").unwrap();
        let seen = String::from_utf8_lossy(&self.seen);
        assert!(count > 0, "ended after {seen:?}");
        self.seen.extend_from_slice(&bytes[..count]);
    }
}

/// A reply as it came.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn status(&self) -> u16 {
        let status = self.head.split(' ').nth(1).unwrap();
        status.trim_end().parse().unwrap()
    }

    /// Value of a field; there may be only one.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1);
        let mut found = lines
            .filter_map(|line| line.split_once(": "))
            .filter(|(own, _)| own.eq_ignore_ascii_case(name));
        let value = found.next().map(|(_, value)| value);
        assert_eq!(found.next(), None, "{name} twice in {}", self.head);
        value
    }

    /// The code of a failure that the proxy made; empty for what the destination answered.
    pub(super) fn error(&self) -> &str {
        self.header("x-outrider-egress-error").unwrap_or_default()
    }

    /// Asserts that it is a failure that the proxy made, as the contract has it.
    pub(super) fn assert_refusal(&self, what: &str, status: u16, error: &str, kind: &str) {
        assert_eq!(
            (self.status(), self.error()),
            (status, error),
            "{what}: {self:?}"
        );
        let expected = format!("outrider; error={kind}");
        assert_eq!(self.header("proxy-status"), Some(&expected[..]), "{what}");
        assert_eq!(self.header("connection"), Some("close"), "{what}");
        assert!(self.body.len() > 10, "{what}: no words: {self:?}");
    }
}

/// A destination that a test plays.
pub(super) struct Origin {
    listener: TcpListener,
    witness: Witness,
}

impl Origin {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let witness = Witness::default();
        Self { listener, witness }
    }

    /// One to whom the sender's system holds next to nothing: that goes by the size of segments.
    pub(super) async fn narrow() -> Self {
        let origin = Self::start().await;
        let socket = SockRef::from(&origin.listener);
        socket.set_tcp_mss(536).unwrap(); // its connections have the same
        origin
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// The next connection to it.
    pub(super) async fn accept(&self) -> Wire {
        self.accept_from().await.0
    }

    /// The next connection to it, and where that comes from.
    pub(super) async fn accept_from(&self) -> (Wire, IpAddr) {
        let (stream, peer) = self.next().await.unwrap();
        (Wire::tcp(stream), peer.ip())
    }

    /// The next connection to it, with TLS.
    pub(super) async fn accept_tls(&self, acceptor: &TlsAcceptor) -> io::Result<Wire> {
        let (stream, _) = self.next().await?;
        let socket = SockRef::from(&stream).try_clone()?;
        let shaken = timeout(DEADLINE, acceptor.accept(stream)).await;
        let wire = Wire::on(shaken.expect("no handshake")?);
        Ok(Wire {
            socket: Some(socket),
            ..wire
        })
    }

    async fn next(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let accepted = timeout(DEADLINE, self.listener.accept()).await;
        let (stream, peer) = accepted.expect("no connection")?;
        self.witness.callers().saw(peer);
        Ok((stream, peer))
    }

    /// Asserts that nobody connects any more once `last` has: a connection of the test itself,
    /// which comes behind all that were there before.
    pub(super) async fn assert_nobody_came(&self) {
        let own = TcpStream::connect(self.address()).await.unwrap();
        let accepted = timeout(DEADLINE, self.listener.accept()).await;
        let (_, peer) = accepted.expect("no connection").unwrap();
        assert_eq!(peer, own.local_addr().unwrap(), "somebody came");
    }
}
