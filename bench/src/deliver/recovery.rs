//! A receiver that was away comes back and takes less than what waits for it.

use std::time::{Duration, Instant};

use serde_json::json;

use super::Args;
use super::figures::Scenario;
use super::limited::{Limited, Window};
use super::rig::{Rig, attempts};
use super::rude::Dead;
use super::world::{Project, World};
use crate::report::per_second;

/// Requests per second that the receiver takes.
const LIMIT: u64 = 500;
const BACKLOG: u32 = 1_024;
/// How much longer than at the receiver's limit it may take before it is given up.
const PATIENCE: u32 = 4;

pub(super) async fn run(
    args: &Args,
    window: Window,
    scenario: &mut Scenario,
) -> anyhow::Result<()> {
    let dead = Dead::bind()?;
    let mut project = Project::new(0, vec![dead.url()]);
    // As by default, but for the wait: what is refused would come back after 100 s only.
    project.strategy = json!({"type": "linear", "duration": 10, "retry_count": 10});
    let target = project.target(0);
    let mut rig = Rig::start(args, &World(vec![project])).await?;
    let rotation = rig.rotation(&[target], 0)?;
    let sent = rig.queue(&rotation, args.queued).await?;
    if sent.count() < args.queued {
        let errors = sent.errors.join("; ");
        scenario.fault(format!("the events were not accepted: {errors}"));
    }
    // The breaker has opened by then, and made its first probes.
    tokio::time::sleep(Duration::from_secs(2)).await;
    scenario.add("queued", rig.pending().await?);
    scenario.add("attempts_before", attempts(&rig.metrics().await?));

    eprintln!("the receiver is back");
    let (back, receiver) = (
        Instant::now(),
        Limited::start(dead.socket.listen(BACKLOG)?, LIMIT, window),
    );
    let seconds = u32::try_from(args.queued / LIMIT)?;
    let patience = Duration::from_secs(60) + Duration::from_secs(1) * seconds * PATIENCE;
    while receiver.arrived().taken < args.queued && back.elapsed() < patience {
        rig.gateway.check_alive()?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Attempt records come after the answers.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let arrived = receiver.arrived();
    let page = rig.metrics().await?;
    let (Some(first), Some(last)) = (arrived.first_at, arrived.last_at) else {
        anyhow::bail!("nothing arrived at the receiver");
    };
    let drained_in = last.saturating_duration_since(first);
    scenario.add(
        "first_attempt_after_s",
        first.saturating_duration_since(back).as_secs_f64(),
    );
    scenario.add("drained_in_s", drained_in.as_secs_f64());
    scenario.add("taken", arrived.taken);
    scenario.add("answered_429", arrived.refused);
    let mean = per_second(arrived.taken + arrived.refused, drained_in);
    scenario.add("mean_per_s", mean);
    scenario.add("most_in_one_of_its_seconds", arrived.most_in_a_second);
    scenario.add("most_in_any_second", arrived.most_in_any_second);
    let most_at = arrived.most_at.unwrap_or(first);
    let most_at = most_at.saturating_duration_since(first);
    scenario.add("most_in_any_second_at_s", most_at.as_secs_f64());
    scenario.add("attempts", attempts(&page));
    let counted = page.sum("outrider_delivery_attempts_total", "")
        - page.sum("outrider_delivery_attempts_total", "outcome=\"http_429\"");
    scenario.add("attempts_that_counted", counted);
    let finished = page.sum("outrider_deliveries_finished_total", "");
    let success = page.sum("outrider_deliveries_finished_total", "result=\"success\"");
    let dead_letters = finished.saturating_sub(success);
    scenario.add("dead_letters", dead_letters);
    if dead_letters > 0 {
        scenario.fault(format!("{dead_letters} dead letters"));
    }
    if success < args.queued {
        scenario.fault(format!("{success} of {} were delivered", args.queued));
    }
    Ok(())
}
