//! A hundred endpoints of one project, up to three of which go bad: what the others notice.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::ValueEnum;
use serde_json::json;

use super::Args;
use super::figures::{Pair, Scenario};
use super::rig::{Load, Rig, Stretch, attempts};
use super::rude::{Dead, Manners, Rude};
use super::world::{Project, World};
use crate::process::cpu_time;
use crate::report::{float, per_second};
use crate::run::whole_rate;
use crate::sink::Sink;

/// A way to be bad. Those that are not asked for are well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Bad {
    /// Nobody listens
    Dead,
    /// Answers after 5 s
    Slow,
    /// Resets each connection when it has read the request
    Resets,
}

const WELL: usize = 97;
/// Share of the capacity at which is measured.
const LOAD_PART: f64 = 0.6;
const SLOW: Duration = Duration::from_secs(5);
const SECONDS: u64 = 10;
const CAPACITY: Duration = Duration::from_secs(5);

/// One stretch with all receivers well, one with three bad ones, each through a new gateway.
pub(super) async fn run(
    args: &Args,
    has_breaker: bool,
    scenario: &mut Scenario,
) -> anyhow::Result<()> {
    let bench = Bench {
        args,
        has_breaker,
        duration: Duration::from_secs(args.seconds.unwrap_or(SECONDS)),
        sink: Sink::start(local()).await?,
        other: Sink::start(local()).await?,
        dead: Dead::bind()?,
        slow: Rude::start(Manners::Answers(SLOW))?,
        resets: Rude::start(Manners::Resets)?,
    };
    let capacity = bench.capacity(scenario).await?;
    let rate = whole_rate(capacity * LOAD_PART);
    scenario.add("capacity_per_s", capacity);
    scenario.add("rate_per_s", rate);
    let mut pair = Pair::default();
    for round in 1..=args.rounds {
        eprintln!("round {round}: {rate} per second");
        pair.without(bench.stretch(false, rate, scenario).await?);
        pair.with(bench.stretch(true, rate, scenario).await?);
    }
    pair.tell(scenario)
}

struct Bench<'a> {
    args: &'a Args,
    has_breaker: bool,
    duration: Duration,
    /// For the receivers that are always well.
    sink: Sink,
    /// For the three others as long as they are well.
    other: Sink,
    dead: Dead,
    slow: Rude,
    resets: Rude,
}

impl Bench<'_> {
    /// Deliveries per second when all are well.
    async fn capacity(&self, scenario: &mut Scenario) -> anyhow::Result<f64> {
        let (rig, stretch, _) = self.through(false, None, CAPACITY).await?;
        stretch.check(scenario);
        drop(rig);
        let sent = stretch.sent.count();
        let slower = stretch.delivered_in.max(stretch.sent.elapsed);
        Ok(per_second(sent, slower))
    }

    async fn stretch(
        &self,
        is_bad: bool,
        rate: u32,
        scenario: &mut Scenario,
    ) -> anyhow::Result<crate::latency::Latency> {
        let (rig, stretch, cpu) = self.through(is_bad, Some(rate), self.duration).await?;
        stretch.check(scenario);
        if is_bad {
            scenario.add("attempts_with", attempts(&rig.metrics().await?));
        }
        let cpu = cpu.as_secs_f64() * 1e6 / float(stretch.sent.count().max(1));
        let word = if is_bad { "with" } else { "without" };
        scenario.add(&format!("cpu_us_per_event_{word}"), cpu);
        let ack = json!([stretch.sent.ack.ms(0.5), stretch.sent.ack.ms(0.99)]);
        scenario.add(&format!("ack_p50_and_p99_ms_{word}"), ack);
        Ok(stretch.received.latency)
    }

    async fn through(
        &self,
        is_bad: bool,
        rate: Option<u32>,
        duration: Duration,
    ) -> anyhow::Result<(Rig, Stretch, Duration)> {
        let project = self.project(is_bad);
        let targets: Vec<_> = (0..project.endpoints.len())
            .map(|number| project.target(number))
            .collect();
        let mut rig = Rig::start(self.args, &World(vec![project])).await?;
        let rotation = rig.rotation(&targets, WELL)?;
        let load = Load {
            rotation: &rotation,
            rate,
            duration,
            sink: &self.sink,
        };
        rig.warm_up(load).await?;
        let before = cpu_time(rig.id())?;
        let stretch = rig.stretch(load).await?;
        let cpu = cpu_time(rig.id())?.saturating_sub(before);
        Ok((rig, stretch, cpu))
    }

    fn project(&self, is_bad: bool) -> Project {
        let well = (0..WELL).map(|number| format!("http://{}/{number}", self.sink.address()));
        let bad = [
            (Bad::Dead, self.dead.url()),
            (Bad::Slow, self.slow.url()),
            (Bad::Resets, self.resets.url()),
        ];
        let last = bad.into_iter().map(|(bad, url)| {
            if is_bad && self.args.bad.contains(&bad) {
                url
            } else {
                format!("http://{}/{bad:?}", self.other.address())
            }
        });
        let mut project = Project::new(0, well.chain(last).collect());
        project.has_breaker = self.has_breaker;
        project
    }
}

fn local() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}
