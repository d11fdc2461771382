//! A receiver that does what it can, beside one that is well, in one project.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::json;

use super::Args;
use super::figures::{Pair, Scenario};
use super::rig::{Load, Rig, Stretch, attempts};
use super::rude::{Manners, Rude};
use super::world::{Project, World};
use crate::metrics::Page;
use crate::process::{MemoryWatch, cpu_time};
use crate::sink::Sink;

/// Events for the receiver that misbehaves.
pub(super) const QUEUED: u64 = 700;
const RATE: u32 = 50;
const SECONDS: u64 = 20;

/// Each round has a gateway of its own: first without events for the hostile receiver, then with.
pub(super) async fn run(
    args: &Args,
    (manners, queued): (Manners, u64),
    scenario: &mut Scenario,
) -> anyhow::Result<()> {
    let mut pair = Pair::default();
    let (mut tried, mut connections, mut peak_mib) = (Vec::new(), Vec::new(), Vec::new());
    let (mut cpu, mut outcomes) = (Vec::new(), Vec::new());
    for round in 1..=args.rounds {
        eprintln!("round {round}");
        let found = one(args, (manners, queued), scenario).await?;
        tried.push(found.tried);
        connections.push(found.connections);
        peak_mib.push(found.peak_kib / 1_024);
        cpu.push([found.without.1, found.with.1]);
        outcomes.push(found.attempts);
        pair.without(found.without.0.received.latency);
        pair.with(found.with.0.received.latency);
    }
    scenario.add("queued", queued);
    scenario.add("attempted", json!(tried));
    scenario.add("connections", json!(connections));
    scenario.add("attempts", json!(outcomes));
    scenario.add("cpu_s_without_and_with", json!(cpu));
    scenario.add("resident_peak_mib", json!(peak_mib));
    pair.tell(scenario)
}

struct Round {
    /// With the CPU time of the gateway, seconds.
    without: (Stretch, f64),
    with: (Stretch, f64),
    /// Queued events that an attempt was made of, at the end of the stretch.
    tried: u64,
    attempts: serde_json::Value,
    connections: u64,
    peak_kib: u64,
}

async fn one(
    args: &Args,
    (manners, queued): (Manners, u64),
    scenario: &mut Scenario,
) -> anyhow::Result<Round> {
    let sink = Sink::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let rude = Rude::start(manners)?;
    let well = format!("http://{}/", sink.address());
    let project = Project::new(0, vec![well, rude.url()]);
    let (well, hostile) = (project.target(0), project.target(1));
    let mut rig = Rig::start(args, &World(vec![project])).await?;
    let (well, hostile) = (rig.rotation(&[well], 1)?, rig.rotation(&[hostile], 0)?);
    let load = Load {
        rotation: &well,
        rate: Some(RATE),
        duration: Duration::from_secs(args.seconds.unwrap_or(SECONDS)),
        sink: &sink,
    };
    rig.warm_up(load).await?;
    let memory = MemoryWatch::start(rig.id());
    let without = measured(&mut rig, load).await?;

    let before = rig.metrics().await?;
    let sent = rig.queue(&hostile, queued).await?;
    if sent.count() < queued {
        let errors = sent.errors.join("; ");
        scenario.fault(format!("the events were not accepted: {errors}"));
    }
    let with = measured(&mut rig, load).await?;
    let after = rig.metrics().await?;
    let in_flight = after.sum("outrider_delivery_in_flight", "");
    let first = first_attempts(&after).saturating_sub(first_attempts(&before));
    for (stretch, _) in [&without, &with] {
        stretch.check(scenario);
    }
    // A retry under way counts too much; there is at most one of each delivery.
    let tried = (first + in_flight).saturating_sub(with.0.sent.count());
    Ok(Round {
        tried: tried.min(queued),
        without,
        with,
        attempts: attempts(&after),
        connections: rude.connections(),
        peak_kib: memory.peak_kib(),
    })
}

async fn measured(rig: &mut Rig, load: Load<'_>) -> anyhow::Result<(Stretch, f64)> {
    let before = cpu_time(rig.id())?;
    let stretch = rig.stretch(load).await?;
    let cpu = cpu_time(rig.id())?.saturating_sub(before);
    Ok((stretch, cpu.as_secs_f64()))
}

fn first_attempts(page: &Page) -> u64 {
    page.sum("outrider_delivery_attempts_total", "attempt=\"first\"")
}
