//! Events through today's subscriptions, again: one, or all that a filter finds (contract 3.6).

use std::time::Duration;

use outrider_store::{Count, EventFilter};
use outrider_xds::{Action, BatchKind};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::super::batches;
use super::super::call::ProjectCall;
use super::super::deliveries::actions::counted;
use super::super::error::{Answer, ApiError};
use super::super::reply::Reply;
use super::{filter, find, shown};
use crate::random;

/// How long the call waits for the end of a batch, to say how it went. It goes on without it.
const BATCH_WAIT: Duration = Duration::from_secs(8);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(super) async fn one(call: ProjectCall) -> Answer {
    let item = find(&call, call.id()).await?;
    let action = Action::Replay {
        project: call.project,
        event: item.id,
    };
    let id = random::uid(call.api.now_ms());
    batches::send(&call.api, item.id.node(), id, action).await?;
    shown(&call, item, "App event replayed successfully").await
}

pub(super) async fn count(call: ProjectCall) -> Answer {
    let count = match wanted(&call)? {
        Some(filter) => call.api.index()?.count_events(filter).await?,
        None => Count::default(),
    };
    Ok(Reply::ok("Count fetched successfully", counted(count)))
}

/// Begins a batch, and waits a little for its end: Convoy's answer has the numbers.
pub(super) async fn batch(call: ProjectCall) -> Answer {
    let Some(filter) = wanted(&call)? else {
        let none = "0 successful, 0 failed".to_owned();
        return Ok(Reply::ok("", Value::Null).saying(none));
    };
    let id = batches::begin(&call, BatchKind::Replay, &filter).await?;
    let deadline = Instant::now() + BATCH_WAIT;
    while Instant::now() < deadline {
        let batch = batches::find(&call, id).await?;
        if batch.get("status").and_then(Value::as_str) != Some("running") {
            let message = numbers(&batch);
            return Ok(Reply::ok("", Value::Null).saying(message));
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(Reply::ok("Batch replay processing", Value::Null))
}

fn numbers(batch: &Value) -> String {
    let done = batch.get("done").and_then(Value::as_u64).unwrap_or(0);
    let left_out = batch.get("left_out").and_then(Value::as_object);
    let counts = left_out.into_iter().flat_map(|left_out| left_out.values());
    let failed: u64 = counts.filter_map(Value::as_u64).sum();
    format!("{done} successful, {failed} failed")
}

/// The filter of the query; what searches texts is not for batches (contract 3.6).
fn wanted(call: &ProjectCall) -> Result<Option<EventFilter>, ApiError> {
    call.api.index()?;
    for name in ["query", "body"] {
        if call.query.text(name).is_some() {
            return Err(ApiError::Parameter(
                "`query` and `body` are for lists: a batch has no search",
            ));
        }
    }
    filter::parse(call, Vec::new())
}
