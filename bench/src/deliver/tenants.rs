//! A tenant with a huge backlog for receivers that never answer, beside another tenant.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::json;

use super::Args;
use super::figures::{Pair, Scenario};
use super::rig::{Load, Rig, attempts};
use super::rude::{Manners, Rude};
use super::world::{Project, World};
use crate::process::{resident_kib, until_at_rest};
use crate::report::{float, per_second};
use crate::sink::Sink;

const ENDPOINTS: usize = 1_000;
/// So many ports never answer: connections to one are limited.
const PORTS: usize = 8;
const RATE: u32 = 500;
const SECONDS: u64 = 20;

pub(super) async fn run(args: &Args, scenario: &mut Scenario) -> anyhow::Result<()> {
    let sink = Sink::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let mute = (0..PORTS).map(|_| Rude::start(Manners::NeverReads));
    let mute = mute.collect::<anyhow::Result<Vec<_>>>()?;
    let urls = mute.iter().map(Rude::url).cycle().take(ENDPOINTS);
    let mut large = Project::new(0, urls.collect());
    large.strategy = json!({"type": "linear", "duration": 600, "retry_count": 100});
    let small = Project::new(1, vec![format!("http://{}/", sink.address())]);
    let (many, one) = (large.fanout(), small.target(0));
    let mut rig = Rig::start(args, &World(vec![large, small])).await?;
    let (many, one) = (rig.rotation(&[many], 0)?, rig.rotation(&[one], 1)?);
    let load = Load {
        rotation: &one,
        rate: Some(RATE),
        duration: Duration::from_secs(args.seconds.unwrap_or(SECONDS)),
        sink: &sink,
    };
    let mut pair = Pair::default();
    rig.warm_up(load).await?;
    for _ in 0..args.rounds {
        let stretch = rig.stretch(load).await?;
        stretch.check(scenario);
        pair.without(stretch.received.latency);
    }

    let (before_kib, begin) = (resident_kib(rig.id())?, Instant::now());
    let sent = rig.queue(&many, args.backlog).await?;
    scenario.add("backlog_accepted_in_s", begin.elapsed().as_secs_f64());
    let queued = sent.count() * u64::try_from(ENDPOINTS)?;
    scenario.add("backlog_per_s", per_second(queued, begin.elapsed()));
    if sent.count() < args.backlog {
        let errors = sent.errors.join("; ");
        scenario.fault(format!("the backlog was not accepted: {errors}"));
    }
    until_at_rest(rig.id()).await?;
    let (pending, after_kib) = (rig.pending().await?, resident_kib(rig.id())?);
    let took = float(after_kib.saturating_sub(before_kib)) * 1_024.0;
    scenario.add("pending_deliveries", pending);
    scenario.add(
        "resident_mib",
        json!([before_kib / 1_024, after_kib / 1_024]),
    );
    scenario.add("bytes_per_pending_delivery", took / float(pending.max(1)));
    eprintln!("{pending} deliveries wait");

    for _ in 0..args.rounds {
        let stretch = rig.stretch(load).await?;
        stretch.check(scenario);
        pair.with(stretch.received.latency);
    }
    scenario.add("pending_deliveries_after", rig.pending().await?);
    scenario.add("attempts", attempts(&rig.metrics().await?));
    pair.tell(scenario)
}
