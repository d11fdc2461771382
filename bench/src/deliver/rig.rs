//! A gateway of its own for a scenario, and stretches of load through it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Map, Value};
use tempfile::TempDir;

use super::Args;
use super::figures::Scenario;
use super::rotation::Rotation;
use super::world::World;
use crate::clock::now_us;
use crate::load::{self, End, Outcome, Plan};
use crate::metrics::Page;
use crate::payload::Target;
use crate::process::Gateway;
use crate::sink::{Counts, Sink};
use crate::start::{Ports, Start};

/// Deliveries that make no progress for this long are given up and counted as missing.
const STALL_TIMEOUT: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Load before the first stretch that is measured.
const WARM_UP: Duration = Duration::from_secs(2);

/// The configuration, in the directory of the gateway.
const WORLD_FILE: &str = "resources.yaml";

/// A running gateway with a configuration.
pub(super) struct Rig {
    pub(super) gateway: Gateway,
    ports: Ports,
    clients: usize,
    body_bytes: usize,
    program: PathBuf,
    /// Gone with it.
    directory: TempDir,
}

/// Events for one stretch.
#[derive(Clone, Copy)]
pub(super) struct Load<'a> {
    pub(super) rotation: &'a Arc<Rotation>,
    /// Per second; `None` is as fast as it goes.
    pub(super) rate: Option<u32>,
    pub(super) duration: Duration,
    /// Where all events for receivers that are well arrive.
    pub(super) sink: &'a Sink,
}

/// What came of them.
#[derive(Debug)]
pub(super) struct Stretch {
    pub(super) sent: Outcome,
    pub(super) received: Counts,
    /// From the first event to the last that arrived.
    pub(super) delivered_in: Duration,
    /// Accepted for receivers that are well, and not there.
    missing: u64,
}

impl Stretch {
    /// What must not be in any stretch, whatever else happens.
    pub(super) fn check(&self, scenario: &mut Scenario) {
        if self.missing > 0 {
            let missing = self.missing;
            scenario.fault(format!(
                "{missing} deliveries to healthy endpoints are missing"
            ));
        }
        let refused = self.sent.refused_count() + self.sent.failed;
        if refused > 0 {
            let errors = self.sent.errors.join("; ");
            scenario.fault(format!("{refused} events were not accepted: {errors}"));
        }
    }
}

async fn start(program: &Path, directory: &Path, ports: Ports) -> anyhow::Result<Gateway> {
    let resources = directory.join(WORLD_FILE);
    let start = Start {
        program,
        directory,
        ports,
        resources: Some(&resources),
        more: &[],
    };
    start.until_ready().await
}

impl Rig {
    pub(super) async fn start(args: &Args, world: &World) -> anyhow::Result<Self> {
        let base = args.dir.clone().unwrap_or_else(std::env::temp_dir);
        let directory = tempfile::Builder::new()
            .prefix("outrider-bench-")
            .tempdir_in(&base)
            .with_context(|| format!("no directory can be made in `{}`", base.display()))?;
        std::fs::write(directory.path().join(WORLD_FILE), world.file())?;
        let ports = Ports::free()?;
        Ok(Self {
            gateway: start(&args.outrider, directory.path(), ports).await?,
            ports,
            clients: args.clients,
            body_bytes: args.body_bytes,
            program: args.outrider.clone(),
            directory,
        })
    }

    /// Kills it and starts it again on what it left; how long that takes.
    pub(super) async fn restart(&mut self) -> anyhow::Result<Duration> {
        self.gateway.kill();
        let begin = Instant::now();
        self.gateway = start(&self.program, self.directory.path(), self.ports).await?;
        Ok(begin.elapsed())
    }

    pub(super) fn id(&self) -> u32 {
        self.gateway.id()
    }

    /// Events for these targets; so many of them, from the first, have receivers that are well.
    pub(super) fn rotation(
        &self,
        targets: &[Target],
        well: usize,
    ) -> anyhow::Result<Arc<Rotation>> {
        let host = self.ports.public.to_string();
        let rotation = Rotation::new(targets, well, &host, self.body_bytes)?;
        Ok(Arc::new(rotation))
    }

    /// Load that is not measured: connections are opened, memory is taken.
    pub(super) async fn warm_up(&mut self, load: Load<'_>) -> anyhow::Result<()> {
        let load = Load {
            duration: WARM_UP,
            ..load
        };
        self.stretch(load).await.map(drop)
    }

    /// One stretch of load, until its last delivery to a receiver that is well.
    pub(super) async fn stretch(&mut self, load: Load<'_>) -> anyhow::Result<Stretch> {
        let plan = self.plan(load.rate, End::After(load.duration));
        load.sink.begin(plan.first);
        let begin = Instant::now();
        let sent = load::run(&plan, Arc::clone(load.rotation) as _).await?;
        let well = load.rotation.well(&sent.accepted);
        let due = u64::try_from(well.len()).unwrap_or(u64::MAX);
        self.until(due, || load.sink.events()).await?;
        let received = load.sink.counts();
        let last_at = received.last_at.unwrap_or(begin);
        Ok(Stretch {
            missing: load.sink.missing(&well),
            delivered_in: last_at.saturating_duration_since(begin),
            sent,
            received,
        })
    }

    /// Has a number of events accepted, as fast as it goes.
    pub(super) async fn queue(
        &mut self,
        rotation: &Arc<Rotation>,
        count: u64,
    ) -> anyhow::Result<Outcome> {
        let plan = self.plan(None, End::Events(count));
        load::run(&plan, Arc::clone(rotation) as _).await
    }

    fn plan(&self, rate: Option<u32>, end: End) -> Plan {
        Plan {
            address: self.ports.public,
            rate,
            clients: self.clients,
            end,
            first: now_us(), // above every number before: no run sends a million per second
        }
    }

    /// Waits until a count is there, or does not move any more. False then.
    pub(super) async fn until(
        &mut self,
        due: u64,
        count: impl Fn() -> u64,
    ) -> anyhow::Result<bool> {
        let (mut before, mut moved) = (0, Instant::now());
        loop {
            let now = count();
            if now >= due {
                return Ok(true);
            }
            if now != before {
                (before, moved) = (now, Instant::now());
            } else if moved.elapsed() >= STALL_TIMEOUT {
                eprintln!("stalled at {now} of {due}");
                return Ok(false);
            }
            self.gateway.check_alive()?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    pub(super) async fn metrics(&self) -> anyhow::Result<Page> {
        Page::read(self.ports.admin).await
    }

    /// Deliveries without a final state.
    pub(super) async fn pending(&self) -> anyhow::Result<u64> {
        Ok(self.metrics().await?.sum("outrider_queue_depth", ""))
    }
}

/// Outcomes of attempts that a page of metrics may show.
const OUTCOMES: [&str; 13] = [
    "success",
    "http_429",
    "http_3xx",
    "http_4xx",
    "http_5xx",
    "connect_refused",
    "connect_reset",
    "connect_timeout",
    "response_timeout",
    "protocol_error",
    "port_exhausted",
    "no_healthy_source",
    "proxy_lost",
];

/// Attempts by their outcome, those that there were.
pub(super) fn attempts(page: &Page) -> Value {
    let count = |outcome: &str| {
        let label = format!("outcome=\"{outcome}\"");
        page.sum("outrider_delivery_attempts_total", &label)
    };
    let counts = OUTCOMES.iter().map(|outcome| (*outcome, count(outcome)));
    let mut shown: Map<String, Value> = counts
        .filter(|(_, count)| *count > 0)
        .map(|(outcome, count)| (outcome.to_owned(), count.into()))
        .collect();
    let all = page.sum("outrider_delivery_attempts_total", "");
    shown.insert("all".to_owned(), all.into());
    shown.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_of_first_attempts_and_retries_are_one() {
        let page = "outrider_delivery_attempts_total{attempt=\"first\",outcome=\"success\"} 3\n\
            outrider_delivery_attempts_total{attempt=\"retry\",outcome=\"success\"} 4\n\
            outrider_delivery_attempts_total{attempt=\"first\",outcome=\"of_later\"} 5\n";
        let shown = attempts(&Page::from(page));
        assert_eq!(shown, serde_json::json!({"success": 7, "all": 12}));
    }
}
