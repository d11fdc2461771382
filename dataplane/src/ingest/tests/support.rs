//! A listener, a control plane whose behaviour is a closure, and two kinds of clients.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use outrider_config::snapshot::{Document, Kind, Transaction, Version};
use outrider_store::{LocalLog, Options, SystemClock};
use outrider_webhook::http1::HeadLimits;
use outrider_webhook::id::{ProjectId, Uid};
use outrider_xds::Table;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::alerts::Alerts;
use crate::egress::{self, Egress};
use crate::ingest::rejected::Rejected;
use crate::ingest::{Access, Intake, Limits, PublicListener, Settings, Ways};
use crate::made::MadeEndpoints;
use crate::metrics::Metrics;
use crate::queue::{PayloadCache, Queue};
use crate::state_log::StateKey;
use crate::table::{Kept, RoutingTable};
use outrider_webhook::address::Policy;

/// Longer than any of these tests takes: a test that meets it has failed.
pub(super) const LONG: Duration = Duration::from_secs(20);

/// What a listener is started with.
pub(super) struct Made {
    pub(super) intake: Box<Intake>,
    table: RoutingTable,
    metrics: Arc<Metrics>,
    pub(super) dir: TempDir,
}

impl Made {
    pub(super) fn new(control_plane: SocketAddr, body_timeout: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (clock, metrics) = (
            Arc::new(SystemClock::default()),
            Arc::new(Metrics::new().unwrap()),
        );
        let cache = PayloadCache::new(1 << 20);
        let queue = Queue::new(Arc::<SystemClock>::clone(&clock), cache, 1, 1, LONG);
        let mut options = Options::new(dir.path().join("log"));
        options.segment_bytes = Options::SEGMENT_BYTES_MIN;
        let (log, _) =
            LocalLog::open(options, Arc::<SystemClock>::clone(&clock), queue.sink()).unwrap();
        let table = RoutingTable::new(
            dir.path().join("journal.json"),
            Kept::nothing(),
            queue,
            Arc::<SystemClock>::clone(&clock),
            Arc::clone(&metrics),
        )
        .unwrap();
        let settings = Settings {
            limits: Limits {
                head_timeout: LONG,
                body_timeout,
                keepalive: LONG,
                body_rate_min: 0,
                head: HeadLimits {
                    line_bytes_max: 8 * 1024,
                    bytes_max: 32 * 1024,
                    headers_max: 100,
                },
                in_flight_bytes_max: 32 << 20,
                connections_max: 1000,
                connections_per_address_max: 1000,
                requests_per_connection_max: 1000,
                access: Access::default(),
            },
            control_plane: control_plane.to_string(),
            process: 0xabc,
            rejected: Rejected::default(),
            alerts: Alerts::default(),
            made: MadeEndpoints::new(
                &StateKey::from_hex(&"7".repeat(64)).unwrap(),
                Policy::default(),
            ),
        };
        let egress = Egress::new(egress::Settings::new(Policy::default())).unwrap();
        let ways = Ways { log, egress };
        let intake = Intake::new(table.clone(), ways, clock, Arc::clone(&metrics), settings);
        Self {
            intake: Box::new(intake),
            table,
            metrics,
            dir,
        }
    }
}

/// A running data plane without deliveries.
pub(super) struct Gateway {
    pub(super) address: SocketAddr,
    pub(super) table: RoutingTable,
    pub(super) metrics: Arc<Metrics>,
    listener: Option<PublicListener>,
    _dir: TempDir,
}

impl Gateway {
    pub(super) async fn start(control_plane: SocketAddr) -> Self {
        Self::with_body_timeout(control_plane, LONG).await
    }

    pub(super) async fn with_body_timeout(
        control_plane: SocketAddr,
        body_timeout: Duration,
    ) -> Self {
        let made = Made::new(control_plane, body_timeout);
        let address = free_address();
        // Boxed, as an intake is large.
        let starting = Box::pin(PublicListener::start(address, *made.intake, 1, None));
        let listener = starting.await.unwrap();
        Self {
            address,
            table: made.table,
            metrics: made.metrics,
            listener: Some(listener),
            _dir: made.dir,
        }
    }

    /// How often a request of this kind ended this way.
    pub(super) fn counted(&self, kind: &str, result: &str) -> u64 {
        self.metrics
            .ingest_requests
            .with_label_values(&[kind, result])
            .get()
    }

    /// Waits for the count of what was passed on: it is made after the client has its answer.
    pub(super) async fn wait_for_passed_on(&self, result: &str, times: u64) {
        let counting = async {
            while self.counted("control", result) < times {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let counted = timeout(LONG, counting).await;
        counted.unwrap_or_else(|_| panic!("{result}: {}", self.counted("control", result)));
        assert_eq!(self.counted("control", result), times, "{result}");
    }

    /// Fires when the listener is lost.
    pub(super) fn is_lost(&self) -> CancellationToken {
        self.listener.as_ref().unwrap().is_lost()
    }

    /// Drains the listener.
    pub(super) async fn stop(mut self) {
        timeout(LONG, self.listener.take().unwrap().stop())
            .await
            .unwrap();
    }

    pub(super) async fn client(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        let driver = tokio::spawn(async move {
            let _ = connection.await; // its end shows as an error of the request it carries
        });
        Client { sender, driver }
    }

    pub(super) async fn raw(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// One request on a connection of its own.
    pub(super) async fn ask(&self, request: Request<Full<Bytes>>) -> Reply {
        self.client().await.send(request).await.unwrap()
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        self.ask(Request::get(path).body(Full::default()).unwrap())
            .await
    }
}

/// A port that is free now; nothing else in these tests binds a fixed one.
pub(super) fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Reply {
    pub(super) fn code(&self) -> &str {
        self.header("x-outrider-error")
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// One connection of a well-behaved client.
pub(super) struct Client {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Client {
    pub(super) async fn send(&mut self, mut request: Request<Full<Bytes>>) -> hyper::Result<Reply> {
        let headers = request.headers_mut();
        if !headers.contains_key("host") {
            headers.insert("host", "gateway.test".parse().unwrap());
        }
        let exchange = async {
            self.sender.ready().await?;
            let (head, body) = self.sender.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Reply {
                status: head.status,
                headers: head.headers,
                body,
            })
        };
        timeout(LONG, exchange).await.expect("no reply")
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Writes a request and reads until the connection ends.
pub(super) async fn exchange(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    read_to_end(stream).await
}

pub(super) async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut seen = Vec::new();
    let read = timeout(LONG, stream.read_to_end(&mut seen)).await;
    read.expect("the connection stays open").unwrap();
    String::from_utf8(seen).unwrap()
}

/// Reads up to and with `end`.
pub(super) async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut seen = Vec::new();
    let reading = async {
        while !seen.ends_with(end.as_bytes()) {
            seen.push(stream.read_u8().await.unwrap());
        }
    };
    let read = timeout(LONG, reading).await;
    read.unwrap_or_else(|_| panic!("no {end:?}"));
    String::from_utf8(seen).unwrap()
}

/// The head of a request, as the control plane gets it.
pub(super) async fn read_head(stream: &mut TcpStream) -> String {
    read_until(stream, "\r\n\r\n").await
}

/// The control plane, as raw connections.
pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Upstream {
    /// Runs `behave` for each connection.
    pub(super) async fn start<B, F>(behave: B) -> Self
    where
        B: Fn(TcpStream) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&accepted);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new(); // aborted with the control plane
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                connections.spawn(behave(stream));
            }
        });
        Self {
            address,
            accepted,
            task,
        }
    }

    /// Answers every request, whatever its body, with these bytes, and keeps the connection.
    pub(super) async fn answering(answer: impl Into<Bytes>) -> Self {
        let answer = answer.into();
        Self::start(move |mut stream| {
            let answer = answer.clone();
            async move {
                let mut seen = Vec::new();
                while let Ok(byte) = stream.read_u8().await {
                    seen.push(byte);
                    if seen.ends_with(b"\r\n\r\n") {
                        stream.write_all(&answer).await.unwrap();
                    }
                }
            }
        })
        .await
    }

    pub(super) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A resource of project 1.
pub(super) fn document(kind: Kind, id: u128, spec: &Value) -> Document {
    Document {
        kind,
        uid: Uid::from_bits(id),
        project: ProjectId::new(Uid::from_bits(1)),
        revision: 1,
        spec: spec.to_string().into(),
    }
}

/// Puts resources in force as a revision, and gives its version.
pub(super) fn apply(table: &RoutingTable, revision: u64, upserts: Vec<Document>) -> Version {
    let version = Version {
        journal: Uid::from_bits(9),
        revision,
    };
    let upserts = upserts.into_iter();
    let refused = table.apply(Transaction {
        version,
        is_full: revision == 1,
        upserts: upserts
            .map(|document| Document {
                revision,
                ..document
            })
            .collect(),
        removals: Vec::new(),
    });
    assert_eq!(refused.unwrap(), []);
    version
}
