//! The generator: sends events over keep-alive connections and measures their acknowledgement.
//!
//! When an event is due says `feed`: at a rate, or when a client is free.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args as ClapArgs;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::clock::now_us;
pub(crate) use crate::feed::End;
use crate::feed::{Due, Feed, Feeding};
use crate::http1::Connection;
use crate::latency::Latency;
use crate::payload::{Mode, Payloads, Requests, Target};

/// Messages of errors kept, of different texts.
const ERRORS_KEPT: usize = 8;

/// Arguments of `load`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Address of the gateway's public listener
    #[arg(long, default_value = "127.0.0.1:5005")]
    target: SocketAddr,
    /// What to send
    #[arg(long, value_enum, default_value = "ingest")]
    mode: Mode,
    /// `ingest`: the source's mask
    #[arg(long)]
    mask: Option<String>,
    /// `ingest`: the source's secret
    #[arg(long)]
    secret: Option<String>,
    /// `events`: the project's uid
    #[arg(long)]
    project: Option<String>,
    /// `events`: the endpoint's uid
    #[arg(long)]
    endpoint: Option<String>,
    /// `events`: the API key
    #[arg(long, env = "OUTRIDER_BENCH_KEY", hide_env_values = true)]
    key: Option<String>,
    /// Events per second; without it every client sends as fast as it is answered
    #[arg(long)]
    rate: Option<u32>,
    /// Connections, each with one event at a time
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// How long to send, seconds
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Bytes of each event's JSON, about
    #[arg(long, default_value_t = 1_024)]
    body_bytes: usize,
}

impl Args {
    fn to_target(&self) -> anyhow::Result<Target> {
        let given = |value: &Option<String>, flag| {
            value
                .clone()
                .with_context(|| format!("`--mode {}` needs `{flag}`", self.mode.as_str()))
        };
        Ok(match self.mode {
            Mode::Plain => Target::Plain,
            Mode::Ingest | Mode::Intake => Target::Ingest {
                mask: given(&self.mask, "--mask")?,
                secret: given(&self.secret, "--secret")?,
            },
            Mode::Events => Target::Events {
                project: given(&self.project, "--project")?,
                endpoint: given(&self.endpoint, "--endpoint")?,
                key: given(&self.key, "--key")?,
            },
        })
    }
}

/// Loads a running gateway and prints what it answered.
pub(crate) async fn command(args: Args) -> anyhow::Result<()> {
    let target = args.to_target()?;
    let plan = Plan {
        address: args.target,
        rate: args.rate,
        clients: args.clients,
        end: End::After(Duration::from_secs(args.seconds)),
        // Numbers of different runs must differ at a sink that outlives them.
        first: now_us(),
    };
    let payloads = Payloads::new(&target, &args.target.to_string(), args.body_bytes)?;
    let outcome = run(&plan, Arc::new(payloads)).await?;
    println!("{:#}", outcome.json());
    if outcome.accepted.is_empty() {
        bail!("nothing was accepted");
    }
    Ok(())
}

/// What to send, how fast, how long.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    /// Events per second; `None` is the closed loop.
    pub(crate) rate: Option<u32>,
    pub(crate) clients: usize,
    pub(crate) end: End,
    /// The number of the first event.
    pub(crate) first: u64,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Numbers of the events answered with 2xx.
    pub(crate) accepted: Vec<u64>,
    /// Other answers, by status.
    pub(crate) refused: BTreeMap<u16, u64>,
    /// Events without an answer.
    pub(crate) failed: u64,
    /// Some of the reasons.
    pub(crate) errors: Vec<String>,
    /// From the time an event was due to its 2xx.
    pub(crate) ack: Latency,
    /// From the first event to the last answer.
    pub(crate) elapsed: Duration,
}

impl Outcome {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            accepted: Vec::new(),
            refused: BTreeMap::new(),
            failed: 0,
            errors: Vec::new(),
            ack: Latency::new()?,
            elapsed: Duration::ZERO,
        })
    }

    /// Accepted events.
    pub(crate) fn count(&self) -> u64 {
        u64::try_from(self.accepted.len()).unwrap_or(u64::MAX)
    }

    pub(crate) fn refused_count(&self) -> u64 {
        self.refused.values().sum()
    }

    pub(crate) fn json(&self) -> Value {
        let seconds = self.elapsed.as_secs_f64();
        json!({
            "accepted": self.count(),
            "accepted_per_s": crate::report::per_second(self.count(), self.elapsed),
            "refused": self.refused,
            "failed": self.failed,
            "errors": self.errors,
            "ack": self.ack.json(),
            "seconds": seconds,
        })
    }

    fn note(&mut self, error: String) {
        if self.errors.len() < ERRORS_KEPT && !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    fn join(&mut self, other: Self) -> anyhow::Result<()> {
        self.accepted.extend(other.accepted);
        for (status, count) in other.refused {
            *self.refused.entry(status).or_default() += count;
        }
        self.failed += other.failed;
        for error in other.errors {
            self.note(error);
        }
        self.ack.join(&other.ack)
    }
}

/// Runs a plan to its end.
pub(crate) async fn run(plan: &Plan, requests: Arc<dyn Requests>) -> anyhow::Result<Outcome> {
    if plan.clients == 0 || plan.rate == Some(0) {
        bail!("the rate and the number of clients must be at least 1");
    }
    let mut connections = Vec::with_capacity(plan.clients);
    for _ in 0..plan.clients {
        connections.push(Connection::open(plan.address).await?);
    }
    let begin_us = now_us();
    let feeding = Feeding::start(plan.rate, plan.end.clone(), plan.first)?;
    let begin = feeding.begin();
    let mut clients = JoinSet::new();
    for connection in connections {
        let client = Client {
            address: plan.address,
            connection: Some(connection),
            requests: Arc::clone(&requests),
            begin,
            begin_us,
            outcome: Outcome::new()?,
        };
        clients.spawn(client.run(feeding.feed()));
    }
    let mut outcome = Outcome::new()?;
    while let Some(client) = clients.join_next().await {
        outcome.join(client??)?;
    }
    outcome.elapsed = begin.elapsed();
    feeding.finish()?;
    Ok(outcome)
}

/// One connection and what it has measured.
struct Client {
    address: SocketAddr,
    connection: Option<Connection>,
    requests: Arc<dyn Requests>,
    /// The same moment on both clocks.
    begin: Instant,
    begin_us: u64,
    outcome: Outcome,
}

impl Client {
    async fn run(mut self, feed: Feed) -> anyhow::Result<Outcome> {
        while let Some(due) = feed.next().await {
            if let Err(error) = self.send(due).await {
                self.connection = None;
                self.outcome.failed += 1;
                self.outcome.note(format!("{error:#}"));
                // A gateway that is gone would otherwise be asked as fast as it refuses.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        Ok(self.outcome)
    }

    async fn send(&mut self, due: Due) -> anyhow::Result<()> {
        let after = due.at.saturating_duration_since(self.begin).as_micros();
        let sent_us = self
            .begin_us
            .saturating_add(u64::try_from(after).unwrap_or(u64::MAX));
        let request = self.requests.request(due.number, sent_us)?;
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(self.address).await?,
        };
        let answer = connection.send(request).await?;
        let status = answer.status();
        self.connection = self.requests.keeps_connections().then_some(connection);
        if status.is_success() {
            let us = u64::try_from(due.at.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.outcome.ack.record_us(us);
            self.outcome.accepted.push(due.number);
            self.requests.accepted(due.number, answer.body());
        } else {
            *self.outcome.refused.entry(status.as_u16()).or_default() += 1;
            let text: String = String::from_utf8_lossy(answer.body())
                .chars()
                .take(200)
                .collect();
            self.outcome.note(format!("{status}: {text}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::Sink;

    fn plan(address: SocketAddr, rate: Option<u32>, clients: usize) -> Plan {
        Plan {
            address,
            rate,
            clients,
            end: End::After(Duration::from_millis(200)),
            first: 5_000,
        }
    }

    fn payloads() -> Arc<dyn Requests> {
        Arc::new(Payloads::new(&Target::Plain, "localhost", 256).unwrap())
    }

    async fn sink() -> Sink {
        let sink = Sink::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
        sink.begin(5_000);
        sink
    }

    #[tokio::test]
    async fn no_clients_or_no_rate_is_refused() {
        let sink = sink().await;
        let none = plan(sink.address(), None, 0);
        assert!(run(&none, payloads()).await.is_err());
        let still = plan(sink.address(), Some(0), 1);
        assert!(run(&still, payloads()).await.is_err());
    }

    #[tokio::test]
    async fn a_target_that_is_not_there_is_an_error() {
        let address = sink().await.address(); // closed again
        assert!(run(&plan(address, None, 1), payloads()).await.is_err());
    }

    #[tokio::test]
    async fn an_open_loop_sends_each_due_event_once() {
        let sink = sink().await;
        let plan = plan(sink.address(), Some(1_000), 4);
        let outcome = run(&plan, payloads()).await.unwrap();
        assert_eq!((outcome.count(), outcome.failed), (200, 0));
        assert_eq!(sink.missing(&outcome.accepted), 0);
        let counts = sink.counts();
        assert_eq!((counts.events, counts.repeats, counts.foreign), (200, 0, 0));
    }

    #[tokio::test]
    async fn a_number_of_events_is_sent_exactly() {
        let sink = sink().await;
        for rate in [None, Some(10_000)] {
            let mut plan = plan(sink.address(), rate, 4);
            plan.end = End::Events(77);
            let outcome = run(&plan, payloads()).await.unwrap();
            assert_eq!((outcome.count(), outcome.failed), (77, 0));
        }
    }

    #[tokio::test]
    async fn a_closed_loop_delivers_what_it_counts() {
        let sink = sink().await;
        let plan = plan(sink.address(), None, 4);
        let outcome = run(&plan, payloads()).await.unwrap();
        assert!(outcome.count() > 0);
        assert_eq!(sink.missing(&outcome.accepted), 0);
        assert_eq!(sink.missing(&[u64::MAX]), 1);
        assert_eq!(sink.events(), outcome.count());
    }
}
