//! A tenant with a huge backlog for receivers that never answer, beside another tenant.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::Args;
use super::figures::{Pair, Scenario};
use super::rig::{Load, Rig, Stretch, attempts};
use super::rotation::Rotation;
use super::rude::{Manners, Rude};
use super::world::{Project, World};
use crate::latency::Latency;
use crate::process::{peak_kib, resident_kib, until_at_rest};
use crate::report::{float, per_second};
use crate::sink::Sink;

const ENDPOINTS: usize = 1_000;
/// So many ports never answer: connections to one are limited.
const PORTS: usize = 8;
const RATE: u32 = 500;
const SECONDS: u64 = 20;

/// In turn a gateway whose queue is empty and one with the backlog, each of the same age. With a
/// long time for each attempt all that is under way stays so; with a short one hundreds run out
/// of time in each stretch, and as many begin.
pub(super) async fn run(
    args: &Args,
    timeout_s: u64,
    scenario: &mut Scenario,
) -> anyhow::Result<()> {
    let sink = Sink::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let mute = (0..PORTS).map(|_| Rude::start(Manners::NeverReads));
    let mute = mute.collect::<anyhow::Result<Vec<_>>>()?;
    let bench = Bench {
        args,
        timeout_s,
        sink,
        mute,
    };
    let mut pair = Pair::default();
    for round in 1..=args.rounds {
        eprintln!("round {round}");
        pair.without(bench.stretch(false, scenario).await?);
        pair.with(bench.stretch(true, scenario).await?);
    }
    pair.tell(scenario)
}

struct Bench<'a> {
    args: &'a Args,
    timeout_s: u64,
    sink: Sink,
    mute: Vec<Rude>,
}

impl Bench<'_> {
    async fn stretch(&self, has_backlog: bool, scenario: &mut Scenario) -> anyhow::Result<Latency> {
        let urls = self.mute.iter().map(Rude::url).cycle().take(ENDPOINTS);
        let mut large = Project::new(0, urls.collect());
        large.strategy = json!({"type": "linear", "duration": 600, "retry_count": 100});
        large.timeout_s = self.timeout_s;
        let small = Project::new(1, vec![format!("http://{}/", self.sink.address())]);
        let (many, one) = (large.fanout(), small.target(0));
        let mut rig = Rig::start(self.args, &World(vec![large, small])).await?;
        let (many, one) = (rig.rotation(&[many], 0)?, rig.rotation(&[one], 1)?);
        let load = Load {
            rotation: &one,
            rate: Some(RATE),
            duration: Duration::from_secs(self.args.seconds.unwrap_or(SECONDS)),
            sink: &self.sink,
        };
        rig.warm_up(load).await?;
        if has_backlog {
            self.queue(&mut rig, &many, scenario).await?;
        }
        until_at_rest(rig.id()).await?;
        let stretch = rig.stretch(load).await?;
        stretch.check(scenario);
        if has_backlog {
            scenario.add("pending_deliveries_after", rig.pending().await?);
            scenario.add("attempts", attempts(&rig.metrics().await?));
            restart(&mut rig, scenario).await?;
        }
        acks(scenario, has_backlog, &stretch);
        Ok(stretch.received.latency)
    }

    async fn queue(
        &self,
        rig: &mut Rig,
        many: &Arc<Rotation>,
        scenario: &mut Scenario,
    ) -> anyhow::Result<()> {
        let (before_kib, begin) = (resident_kib(rig.id())?, Instant::now());
        let sent = rig.queue(many, self.args.backlog).await?;
        let queued = sent.count() * u64::try_from(ENDPOINTS)?;
        scenario.add("backlog_per_s", per_second(queued, begin.elapsed()));
        if sent.count() < self.args.backlog {
            let errors = sent.errors.join("; ");
            scenario.fault(format!("the backlog was not accepted: {errors}"));
        }
        until_at_rest(rig.id()).await?;
        let (pending, after_kib) = (rig.pending().await?, resident_kib(rig.id())?);
        let took = float(after_kib.saturating_sub(before_kib)) * 1_024.0;
        scenario.add("pending_deliveries", pending);
        let resident_mib = json!([before_kib / 1_024, after_kib / 1_024]);
        scenario.add("resident_mib", resident_mib);
        scenario.add("bytes_per_pending_delivery", took / float(pending.max(1)));
        Ok(())
    }
}

/// What a start takes that finds the backlog.
async fn restart(rig: &mut Rig, scenario: &mut Scenario) -> anyhow::Result<()> {
    let peak_mib = peak_kib(rig.id())? / 1_024;
    let took = rig.restart().await?;
    scenario.add("restart_s", took.as_secs_f64());
    let again_mib = peak_kib(rig.id())? / 1_024;
    scenario.add("peak_mib_and_of_restart", json!([peak_mib, again_mib]));
    scenario.add("pending_deliveries_after_restart", rig.pending().await?);
    Ok(())
}

/// How long it takes to accept an event, which no delivery is part of.
fn acks(scenario: &mut Scenario, has_backlog: bool, stretch: &Stretch) {
    let word = if has_backlog { "with" } else { "without" };
    let ack = json!([stretch.sent.ack.ms(0.5), stretch.sent.ack.ms(0.99)]);
    scenario.add(&format!("ack_p50_and_p99_ms_{word}"), ack);
}
