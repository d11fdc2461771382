//! What a delivery costs when an event has one, ten or a thousand of them.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use serde_json::json;

use super::Args;
use super::figures::Scenario;
use super::rig::Rig;
use super::world::{Project, World};
use crate::process::{MemoryWatch, cpu_time, until_at_rest};
use crate::report::{float, per_second};
use crate::sink::Sink;
use crate::threads::Threads;

/// So many sinks: connections to one are limited.
const SINKS: usize = 4;
/// Deliveries of a stretch.
const DELIVERIES: u64 = 200_000;
const WARM_UP_DELIVERIES: u64 = 20_000;

pub(super) async fn run(args: &Args, wide: usize, scenario: &mut Scenario) -> anyhow::Result<()> {
    let mut sinks = Vec::new();
    for _ in 0..SINKS {
        sinks.push(Sink::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?);
    }
    let urls = sinks
        .iter()
        .map(|sink| format!("http://{}/", sink.address()))
        .cycle();
    let project = Project::new(0, urls.take(wide).collect());
    let target = project.fanout();
    let mut rig = Rig::start(args, &World(vec![project])).await?;
    let rotation = rig.rotation(&[target], 1)?;
    let per_event = u64::try_from(wide)?;
    let memory = MemoryWatch::start(rig.id());
    let (mut cpu_us, mut per_s, mut events_per_s) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=args.rounds {
        let deliveries = match round {
            0 => WARM_UP_DELIVERIES,
            _ => DELIVERIES,
        };
        let events = deliveries.div_ceil(per_event);
        sinks.iter().for_each(|sink| sink.begin(0));
        let (begin, cpu) = (Instant::now(), cpu_time(rig.id())?);
        let threads = Threads::of(rig.id())?;
        let sent = rig.queue(&rotation, events).await?;
        let due = sent.count() * per_event;
        let arrived = || sinks.iter().map(Sink::requests).sum();
        let is_all = rig.until(due, arrived).await?;
        let took = begin.elapsed();
        until_at_rest(rig.id()).await?;
        if !is_all || sent.count() < events {
            let errors = sent.errors.join("; ");
            scenario.fault(format!(
                "{} of {due} deliveries arrived {errors}",
                arrived()
            ));
        }
        if round == 0 {
            continue;
        }
        let cpu = cpu_time(rig.id())?.saturating_sub(cpu);
        cpu_us.push(cpu.as_secs_f64() * 1e6 / float(due.max(1)));
        per_s.push(per_second(due, took));
        events_per_s.push(per_second(sent.count(), sent.elapsed));
        let used = Threads::of(rig.id())?.since(&threads).cpu;
        let used = used.into_iter().map(|(name, cpu)| {
            let us = cpu.as_secs_f64() * 1e6 / float(due.max(1));
            (name, json!(us))
        });
        let used = used.filter(|(_, us)| us.as_f64().is_some_and(|us| us >= 0.1));
        let used: serde_json::Map<_, _> = used.collect();
        scenario.add(&format!("cpu_us_by_thread_{round}"), used);
    }
    scenario.add("deliveries_per_stretch", DELIVERIES);
    scenario.add("cpu_us_per_delivery", json!(cpu_us));
    scenario.add("deliveries_per_s", json!(per_s));
    scenario.add("events_accepted_per_s", json!(events_per_s));
    scenario.add("resident_peak_mib", memory.peak_kib() / 1_024);
    Ok(())
}
