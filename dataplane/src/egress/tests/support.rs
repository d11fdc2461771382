//! A receiver whose behaviour is a closure over the raw connection, and requests to send to it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use outrider_webhook::address::{Policy, ProjectRef, TargetUrl};
use outrider_webhook::id::{ProjectId, Uid};
use outrider_webhook::secret::Secret;
use outrider_webhook::sign::{
    self, Encoding, Hash, Mode, Outgoing, Scheme, SignedRequest, SigningKey, Version,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

pub(super) use crate::egress::Terms;
use crate::egress::{Egress, Exchange, Settings};

/// Longer than any of these tests takes: a test that meets it has failed.
pub(super) const LONG: Duration = Duration::from_secs(20);
/// For tests of running out of time.
pub(super) const SHORT: Duration = Duration::from_millis(300);
pub(super) const EXCERPT: usize = 4 * 1024;

/// Answers with a body of two bytes and keeps the connection.
pub(super) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Receiver {
    /// Runs `behave` for each connection; the number counts them from 0.
    pub(super) async fn start<B, F>(behave: B) -> Self
    where
        B: Fn(usize, TcpStream) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&accepted);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new(); // aborted with the receiver
            while let Ok((stream, _)) = listener.accept().await {
                let number = counter.fetch_add(1, Ordering::SeqCst);
                connections.spawn(behave(number, stream));
            }
        });
        Self {
            address,
            accepted,
            task,
        }
    }

    /// Reads a request, sends these bytes, and so on until the sender closes.
    pub(super) async fn answering(answer: impl Into<Bytes>) -> Self {
        let answer = answer.into();
        Self::start(move |_, stream| serve(stream, answer.clone())).await
    }

    pub(super) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers every request with the same bytes.
pub(super) async fn serve(mut stream: TcpStream, answer: Bytes) {
    while read_request(&mut stream).await.is_some() {
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// Reads one request with a `content-length`; `None` at the end of the connection.
pub(super) async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut read = Vec::new();
    loop {
        match stream.read_buf(&mut read).await {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&read).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map_or(0, |(_, value)| value.trim().parse().unwrap());
        if body.len() >= length {
            return Some(text);
        }
    }
}

/// Closes with a reset instead of an orderly end.
pub(super) fn reset(stream: TcpStream) {
    stream.set_zero_linger().unwrap();
}

/// Waits until the sender closes its side.
pub(super) async fn until_closed(stream: &mut TcpStream) {
    let mut sink = [0_u8; 1024];
    while matches!(stream.read(&mut sink).await, Ok(1..)) {}
}

pub(super) fn loopback_allowed() -> Policy {
    let mut policy = Policy::default();
    policy.unsafe_allow("127.0.0.0/8".parse().unwrap());
    policy
}

pub(super) fn settings() -> Settings {
    Settings::new(loopback_allowed())
}

pub(super) fn egress() -> Egress {
    Egress::new(settings()).unwrap()
}

pub(super) fn project(number: u128) -> ProjectRef<'static> {
    ProjectRef {
        id: ProjectId::new(Uid::from_bits(number)),
        name: "test",
    }
}

pub(super) fn request_with(url: &str, body: impl Into<Bytes>) -> SignedRequest {
    let version = Version {
        hash: Hash::Sha256,
        encoding: Encoding::Hex,
    };
    let header = sign::CONVOY_HEADER;
    let scheme = Scheme::try_from(sign::Settings {
        header,
        versions: vec![version],
        ..sign::Settings::default()
    });
    let scheme = scheme.unwrap();
    let outgoing = Outgoing {
        event_uid: Uid::from_bits(1),
        delivery_uid: Uid::from_bits(2),
        ordinal: 0,
        replay: None,
        repeat: false,
        target: &Arc::new(TargetUrl::parse(url).unwrap()),
        query: "",
        event_headers: &Vec::new(),
        content_type: HeaderValue::from_static("application/json"),
        body: &body.into(),
        json: None,
        authentication: None,
        idempotency: None,
        more: &[],
    };
    let keys = [SigningKey::new(Secret::new("a secret of the tests"), None).unwrap()];
    sign::sign(&outgoing, &scheme, Mode::Simple, &keys, 1_700_000_000).unwrap()
}

pub(super) fn request(url: &str) -> SignedRequest {
    request_with(url, "{\"n\":1}")
}

/// Sends for project 1, within [`LONG`].
pub(super) async fn send(egress: &Egress, url: &str) -> Exchange {
    egress
        .send(&project(1), request(url), Terms::new(LONG, EXCERPT))
        .await
}

/// Waits for a condition that other tasks bring about.
pub(super) async fn until(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let reached = tokio::time::timeout(LONG, waiting).await;
    assert!(reached.is_ok(), "never happened: {what}");
}
