//! The receiver at the other end: answers 200, counts, and measures how long events took. Below
//! [`FAILING_PATH`] it answers 500.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use clap::Args as ClapArgs;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::clock::now_us;
use crate::latency::Latency;
use crate::payload::{SENT_HEADER, SEQUENCE_HEADER};
use crate::sequence::{Added, Sequence};

/// Where every request is refused.
pub(crate) const FAILING_PATH: &str = "/fail";

/// Connections at a time; more are not accepted until one ends.
const CONNECTIONS_MAX: usize = 4_096;

/// Arguments of `sink`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:9099")]
    listen: SocketAddr,
}

/// Runs a sink until Ctrl-C, with a line each second.
pub(crate) async fn command(args: Args) -> anyhow::Result<()> {
    let sink = Sink::start(args.listen).await?;
    eprintln!("listening on http://{}", sink.address());
    let mut before = 0;
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.tick().await; // the first one is due at once
    loop {
        // Both arms are cancel-safe.
        tokio::select! {
            signal = tokio::signal::ctrl_c() => {
                signal?;
                break;
            }
            _ = ticks.tick() => {}
        }
        let counts = sink.counts();
        let requests = counts.requests;
        eprintln!(
            "{requests} requests, {} in the last second",
            requests - before
        );
        before = requests;
    }
    println!("{:#}", sink.counts().json());
    Ok(())
}

/// A running sink. Dropping it closes the listener and every connection.
pub(crate) struct Sink {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _tasks: JoinSet<()>,
}

struct State {
    seen: Sequence,
    counts: Counts,
}

/// What a sink has seen since it began to count.
#[derive(Debug, Clone)]
pub(crate) struct Counts {
    pub(crate) requests: u64,
    /// Different events, of those that carry a number.
    pub(crate) events: u64,
    /// Deliveries of an event that had arrived before.
    pub(crate) repeats: u64,
    /// Requests without a number, or with one of another run.
    pub(crate) foreign: u64,
    /// From the time an event was meant to be sent to its first arrival.
    pub(crate) latency: Latency,
    /// When the newest event arrived.
    pub(crate) last_at: Option<Instant>,
}

impl Counts {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            requests: 0,
            events: 0,
            repeats: 0,
            foreign: 0,
            latency: Latency::new()?,
            last_at: None,
        })
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "requests": self.requests,
            "events": self.events,
            "repeats": self.repeats,
            "foreign": self.foreign,
            "latency": self.latency.json(),
        })
    }
}

impl Sink {
    pub(crate) async fn start(listen: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("the sink cannot listen on {listen}"))?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State {
            seen: Sequence::from(0),
            counts: Counts::new()?,
        }));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&state)));
        Ok(Self {
            address,
            state,
            _tasks: tasks,
        })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Counts from zero; events below `first` are of another run.
    pub(crate) fn begin(&self, first: u64) {
        let mut state = lock(&self.state);
        state.seen = Sequence::from(first);
        let counts = &mut state.counts;
        counts.latency.clear();
        (counts.requests, counts.events) = (0, 0);
        (counts.repeats, counts.foreign) = (0, 0);
        counts.last_at = None;
    }

    /// Different events that have arrived.
    pub(crate) fn events(&self) -> u64 {
        lock(&self.state).seen.count()
    }

    /// All that arrived, repeats too.
    pub(crate) fn requests(&self) -> u64 {
        lock(&self.state).counts.requests
    }

    pub(crate) fn counts(&self) -> Counts {
        let state = lock(&self.state);
        Counts {
            events: state.seen.count(),
            ..state.counts.clone()
        }
    }

    /// How many of these events have not arrived.
    pub(crate) fn missing(&self, events: &[u64]) -> u64 {
        let state = lock(&self.state);
        let missing = events
            .iter()
            .filter(|number| !state.seen.contains(**number));
        u64::try_from(missing.count()).unwrap_or(u64::MAX)
    }
}

/// Counters are plain numbers: a panic elsewhere leaves them usable.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
        }
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(serve(stream, Arc::clone(&state)));
            }
            Err(error) => {
                eprintln!("the sink cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) {
    // Without it small answers wait for the peer's delayed ACK; a failure only costs time.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| answer(request, Arc::clone(&state)));
    // An error here is a peer that went away, which a sink does not mind.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (head, mut body) = request.into_parts();
    while let Some(frame) = body.frame().await {
        if frame.is_err() {
            return Ok(Response::new(Empty::new())); // torn off: not a delivery
        }
    }
    let now = now_us();
    let number = number_of(&head.headers, SEQUENCE_HEADER);
    let sent_us = number_of(&head.headers, SENT_HEADER);
    let mut state = lock(&state);
    state.counts.requests += 1;
    match number.map_or(Added::Foreign, |number| state.seen.add(number)) {
        Added::New => {
            state.counts.last_at = Some(Instant::now());
            if let Some(sent_us) = sent_us {
                state.counts.latency.record_us(now.saturating_sub(sent_us));
            }
        }
        Added::Repeated => state.counts.repeats += 1,
        Added::Foreign => state.counts.foreign += 1,
    }
    let mut answer = Response::new(Empty::new());
    if head.uri.path().starts_with(FAILING_PATH) {
        *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    }
    Ok(answer)
}

fn number_of(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}
