//! What is asked of deliveries: another attempt, none any more, and the same for many.

use outrider_store::{Count, DeliveryFilter, DeliveryStatus};
use outrider_webhook::id::{DeliveryKey, Uid};
use outrider_xds::{Action, BatchKind};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

use super::super::batches;
use super::super::body::JsonBody;
use super::super::call::ProjectCall;
use super::super::error::{Answer, ApiError};
use super::super::reply::Reply;
use super::{filter, item, key, key_of, shape, shown};
use crate::random;

/// Deliveries of one call that are resent by force.
const FORCED_MAX: usize = 500;
/// Commands under way of one such call.
const AT_ONCE: usize = 16;

/// Opens a delivery that failed for another attempt: a command to the node that has it.
pub(super) async fn resend(call: ProjectCall) -> Answer {
    let key = key(&call)?;
    let action = Action::Resend {
        project: call.project,
        delivery: key,
    };
    one(
        &call,
        key,
        action,
        "App event processed for retry successfully",
    )
    .await
}

/// Ends a delivery that has not ended. Not in the contract.
pub(super) async fn cancel(call: ProjectCall) -> Answer {
    let key = key(&call)?;
    let action = Action::Cancel {
        project: call.project,
        delivery: key,
    };
    one(&call, key, action, "Event delivery cancelled successfully").await
}

async fn one(call: &ProjectCall, key: DeliveryKey, action: Action, says: &'static str) -> Answer {
    let before = item(call, key).await?;
    let id = random::uid(call.api.now_ms());
    batches::send(&call.api, key.event.node(), id, action).await?;
    // It is done, whatever reading it back says.
    let now = item(call, key).await.unwrap_or(before);
    shown(call, now, says).await
}

#[derive(Debug, Deserialize)]
pub(super) struct Ids {
    ids: Vec<String>,
}

/// One more attempt of deliveries that arrived, all of which must have (contract 3.8).
pub(super) async fn force_resend(call: ProjectCall, body: JsonBody) -> Answer {
    let (Ids { ids }, ignored) = body.read()?;
    if ids.is_empty() || ids.len() > FORCED_MAX {
        return Err(ApiError::Parameter(
            "`ids` must list 1 to 500 event deliveries",
        ));
    }
    let mut keys = Vec::with_capacity(ids.len());
    for id in &ids {
        let uid: Option<Uid> = id.parse().ok();
        let key = uid.and_then(|uid| key_of(&call, uid).transpose());
        keys.push(key.unwrap_or_else(|| Err(super::not_found()))?);
    }
    keys.sort_unstable();
    keys.dedup();
    for key in &keys {
        if item(&call, *key).await?.status != DeliveryStatus::Success {
            return Err(ApiError::Parameter(
                "only event deliveries with the status Success are force resent",
            ));
        }
    }
    let (done, failed) = forced(&call, keys).await;
    let message = format!("{done} successful, {failed} failed");
    Ok(Reply::ok("", Value::Null).saying(message).ignoring(ignored))
}

async fn forced(call: &ProjectCall, keys: Vec<DeliveryKey>) -> (u32, u32) {
    let (mut done, mut failed) = (0, 0);
    let mut count = |is_done: bool| match is_done {
        true => done += 1,
        false => failed += 1,
    };
    // Dropped with this call, which ends the tasks.
    let mut sent = JoinSet::new();
    for delivery in keys {
        if sent.len() >= AT_ONCE
            && let Some(ended) = sent.join_next().await
        {
            count(ended.unwrap_or(false));
        }
        let (api, project) = (call.api.clone(), call.project);
        sent.spawn(async move {
            let id = random::uid(api.now_ms());
            let action = Action::ForceResend { project, delivery };
            let sent = batches::send(&api, delivery.event.node(), id, action).await;
            if let Err(error) = &sent {
                tracing::info!(code = error.code(), "a delivery is not resent by force");
            }
            sent.is_ok()
        });
    }
    while let Some(ended) = sent.join_next().await {
        count(ended.unwrap_or(false));
    }
    (done, failed)
}

pub(super) async fn batch_retry(call: ProjectCall) -> Answer {
    if let Some(filter) = wanted(&call, &DeliveryFilter::UNDELIVERED)? {
        batches::begin(&call, BatchKind::Retry, &filter).await?;
    }
    Ok(Reply::ok("Batch retry processing", Value::Null))
}

pub(super) async fn batch_cancel(call: ProjectCall) -> Answer {
    let batch = match wanted(&call, &DeliveryFilter::OPEN)? {
        Some(filter) => {
            let id = batches::begin(&call, BatchKind::Cancel, &filter).await?;
            batches::find(&call, id).await?
        }
        None => Value::Null,
    };
    Ok(Reply::ok("Batch cancel processing", batch))
}

pub(super) async fn count_batch_retry(call: ProjectCall) -> Answer {
    let count = match wanted(&call, &DeliveryFilter::UNDELIVERED)? {
        Some(filter) => call.api.index()?.count_deliveries(filter).await?,
        None => Count::default(),
    };
    Ok(Reply::ok(
        "Event deliveries count successful",
        counted(count),
    ))
}

/// As Convoy has it, and whether there may be more.
pub(in crate::api) fn counted(count: Count) -> Value {
    match count.is_least {
        false => json!({"num": count.rows}),
        true => json!({"num": count.rows, "is_least": true}),
    }
}

pub(super) async fn status_totals(call: ProjectCall) -> Answer {
    let mut totals: Map<String, Value> = DeliveryStatus::ALL
        .into_iter()
        .map(|status| (shape::status_word(status).to_owned(), 0.into()))
        .collect();
    let index = call.api.index()?;
    if let Some(filter) = filter::parse(&call)? {
        for (status, count) in index.status_totals(filter).await? {
            totals.insert(shape::status_word(status).to_owned(), count.rows.into());
        }
    }
    let data = json!({"totals": totals, "source": "live"});
    Ok(Reply::ok("Status totals fetched successfully", data))
}

/// What the query asks for, of what is in these states; `None` when nothing can be.
fn wanted(
    call: &ProjectCall,
    statuses: &[DeliveryStatus],
) -> Result<Option<DeliveryFilter>, ApiError> {
    call.api.index()?;
    let filter = filter::parse(call)?;
    Ok(filter.and_then(|mut filter| filter.keep_only(statuses).then_some(filter)))
}
