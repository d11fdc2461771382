//! Tunnels by CONNECT, and direct connections to compare them with.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::echo::Echo;
use crate::feed::{Due, End, Feed, Feeding};
use crate::latency::Latency;

/// Longest wait for a tunnel, from its opening to its end.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Most bytes of the answer to a CONNECT.
const HEAD_BYTES_MAX: usize = 4_096;
/// What is sent through each tunnel and has to come back.
const BLOCK: [u8; 1_024] = [0x5a; 1_024];

/// How a destination is reached.
#[derive(Debug, Clone)]
pub(super) enum Way {
    Direct,
    Through(Proxy),
}

/// What a client has to know of a proxy.
#[derive(Debug, Clone)]
pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    /// For whom is asked, in turn, in [`TENANT`]. None where the proxy knows no tenants.
    pub(super) tenants: Arc<[String]>,
}

/// Names the tenant a connection is for.
pub(super) const TENANT: &str = "x-outrider-tenant";

impl Proxy {
    /// The tenant of tunnel or request `number`.
    pub(super) fn tenant(&self, number: u64) -> Option<&str> {
        let count = u64::try_from(self.tenants.len()).unwrap_or(u64::MAX);
        let at = number.checked_rem(count)?;
        self.tenants
            .get(usize::try_from(at).ok()?)
            .map(String::as_str)
    }

    fn connect_to(&self, destination: SocketAddr, number: u64) -> String {
        let mut head = format!("CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\n");
        if let Some(tenant) = self.tenant(number) {
            head.push_str(&format!("{TENANT}: {tenant}\r\n"));
        }
        head.push_str("\r\n");
        head
    }
}

/// Opens connection `number` to the echo, ready for its first byte.
pub(super) async fn open(way: &Way, echo: &Echo, number: u64) -> anyhow::Result<TcpStream> {
    let destination = echo.address(number);
    let address = match way {
        Way::Direct => destination,
        Way::Through(proxy) => proxy.address,
    };
    let mut stream = TcpStream::connect(address)
        .await
        .with_context(|| format!("cannot connect to {address}"))?;
    stream.set_nodelay(true)?;
    if let Way::Through(proxy) = way {
        let head = proxy.connect_to(destination, number);
        stream.write_all(head.as_bytes()).await?;
        read_answer(&mut stream).await?;
    }
    Ok(stream)
}

/// The destination speaks second, so nothing may stand behind the head.
async fn read_answer(stream: &mut TcpStream) -> anyhow::Result<()> {
    let mut head = Vec::with_capacity(512);
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(
            head.len() < HEAD_BYTES_MAX,
            "the answer to CONNECT does not end"
        );
        let count = stream.read_buf(&mut head).await?;
        ensure!(count > 0, "closed before CONNECT was answered");
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    match (words.next(), words.next()) {
        (Some("HTTP/1.1" | "HTTP/1.0"), Some("200")) => Ok(()),
        _ => bail!("CONNECT was answered with `{line}`"),
    }
}

/// Sends a block and reads it back.
pub(super) async fn echo(stream: &mut TcpStream) -> anyhow::Result<()> {
    let mut back = [0; BLOCK.len()];
    stream.write_all(&BLOCK).await?;
    stream.read_exact(&mut back).await?;
    ensure!(back == BLOCK, "something else came back");
    Ok(())
}

/// What came of many tunnels.
#[derive(Debug)]
pub(super) struct Tunnels {
    pub(super) done: u64,
    pub(super) failed: u64,
    /// Reasons, and how often each.
    pub(super) errors: BTreeMap<String, u64>,
    /// From the time it was due until it could be sent to.
    pub(super) set_up: Latency,
    /// From the time it was due until the block was back.
    pub(super) echoed: Latency,
    pub(super) elapsed: Duration,
}

impl Tunnels {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            done: 0,
            failed: 0,
            errors: BTreeMap::new(),
            set_up: Latency::new()?,
            echoed: Latency::new()?,
            elapsed: Duration::ZERO,
        })
    }

    fn join(&mut self, other: &Self) -> anyhow::Result<()> {
        self.done += other.done;
        self.failed += other.failed;
        for (error, count) in &other.errors {
            *self.errors.entry(error.clone()).or_default() += count;
        }
        self.set_up.join(&other.set_up)?;
        self.echoed.join(&other.echoed)
    }

    /// Opens a tunnel, sends a block through it and back, and closes it.
    async fn one(&mut self, way: &Way, to: &Echo, due: Due) -> anyhow::Result<()> {
        let mut stream = open(way, to, due.number).await?;
        let set_up = us_since(due.at);
        echo(&mut stream).await?;
        let echoed = us_since(due.at);
        // To its end: the proxy has done all its work when the other side's end is here.
        stream.shutdown().await?;
        let rest = stream.read(&mut [0; 16]).await?;
        ensure!(rest == 0, "more came back than was sent");
        self.set_up.record_us(set_up);
        self.echoed.record_us(echoed);
        self.done += 1;
        Ok(())
    }
}

/// Opens and closes tunnels, at a rate or as fast as the clients can.
pub(super) async fn run(
    way: &Way,
    echo: &Arc<Echo>,
    rate: Option<u32>,
    clients: usize,
    duration: Duration,
) -> anyhow::Result<Tunnels> {
    let feeding = Feeding::start(rate, End::After(duration), 0)?;
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        tasks.spawn(client(way.clone(), Arc::clone(echo), feeding.feed()));
    }
    let mut all = Tunnels::new()?;
    while let Some(tunnels) = tasks.join_next().await {
        all.join(&tunnels??)?;
    }
    all.elapsed = feeding.begin().elapsed();
    feeding.finish()?;
    Ok(all)
}

async fn client(way: Way, echo: Arc<Echo>, feed: Feed) -> anyhow::Result<Tunnels> {
    let mut tunnels = Tunnels::new()?;
    while let Some(due) = feed.next().await {
        let one = timeout(TIMEOUT, tunnels.one(&way, &echo, due));
        if let Err(error) = one.await.context("timed out").and_then(|done| done) {
            tunnels.failed += 1;
            *tunnels.errors.entry(format!("{error:#}")).or_default() += 1;
            // A proxy that is gone would otherwise be asked as fast as it refuses.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    Ok(tunnels)
}

fn us_since(begin: Instant) -> u64 {
    u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    const SHORT: Duration = Duration::from_millis(200);

    /// Answers every CONNECT with `answer`, and then is the destination itself.
    async fn proxy(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        stream.read_buf(&mut head).await.unwrap();
                    }
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        address
    }

    fn through(address: SocketAddr) -> Way {
        let tenants = Arc::new([]);
        Way::Through(Proxy { address, tenants })
    }

    async fn tried(answer: &'static str) -> Tunnels {
        let echo = Arc::new(Echo::start().await.unwrap());
        let way = through(proxy(answer).await);
        run(&way, &echo, Some(100), 2, SHORT).await.unwrap()
    }

    #[test]
    fn tenants_are_named_in_turn_where_there_are_any() {
        let mut proxy = Proxy {
            address: "127.0.0.1:3128".parse().unwrap(),
            tenants: ["a", "b"].map(str::to_owned).into(),
        };
        let connect = |proxy: &Proxy, number| proxy.connect_to(proxy.address, number);
        let head = "CONNECT 127.0.0.1:3128 HTTP/1.1\r\nHost: 127.0.0.1:3128\r\n";
        for (number, tenant) in [(0, "a"), (1, "b"), (2, "a")] {
            let expected = format!("{head}x-outrider-tenant: {tenant}\r\n\r\n");
            assert_eq!(connect(&proxy, number), expected);
        }
        proxy.tenants = Arc::new([]);
        assert_eq!(connect(&proxy, 1), format!("{head}\r\n"));
    }

    #[tokio::test]
    async fn a_refused_tunnel_is_not_counted_as_done() {
        for answer in [
            "HTTP/1.1 403 Forbidden\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "200 OK\r\n\r\n",
        ] {
            let tunnels = tried(answer).await;
            assert_eq!((tunnels.done, tunnels.failed), (0, 20), "{answer}");
            let error = tunnels.errors.keys().next().unwrap();
            assert!(error.starts_with("CONNECT was answered with"), "{error}");
            assert_eq!(tunnels.set_up.count(), 0);
        }
    }

    #[tokio::test]
    async fn what_is_refused_at_the_port_is_counted() {
        let echo = Arc::new(Echo::start().await.unwrap());
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let way = through(closed.local_addr().unwrap());
        drop(closed);
        let tunnels = run(&way, &echo, Some(100), 2, SHORT).await.unwrap();
        assert_eq!((tunnels.done, tunnels.failed), (0, 20));
    }

    #[tokio::test]
    async fn tunnels_and_direct_connections_bring_back_what_is_sent() {
        let tunnels = tried("HTTP/1.0 200 Connection established\r\nX: y\r\n\r\n").await;
        assert_eq!((tunnels.done, tunnels.failed), (20, 0), "{tunnels:?}");
        let echo = Arc::new(Echo::start().await.unwrap());
        for rate in [Some(100), None] {
            let direct = run(&Way::Direct, &echo, rate, 2, SHORT).await.unwrap();
            assert!(direct.done > 0 && direct.failed == 0, "{direct:?}");
            assert_eq!(direct.set_up.count(), direct.done);
        }
    }
}
