//! What happened to each delivery: when it was due and when it began, what the receiver said, and
//! what followed.

use outrider_config::snapshot::EndpointStatus;
use outrider_store::{
    AttemptRecord, DeliveryItem, DeliveryStatus, EndpointCondition, EndpointStateRecord,
};
use outrider_webhook::event::DeliveryMode;
use outrider_webhook::id::UidCodec;
use serde_json::{Value, json};

use super::super::deliveries::order::{self, Goes};
use super::super::deliveries::{denial, error_words, status_word, target_url};
use super::super::error::ApiError;
use super::super::time::rfc3339;
use crate::View;

/// Less of a delay than this is nobody's doing.
const NOTICED_MS: i64 = 1_000;

pub(super) fn explained(
    view: &View<'_>,
    uids: &UidCodec,
    item: &DeliveryItem,
    attempts: &[AttemptRecord],
    conditions: &[EndpointStateRecord],
) -> Result<Value, ApiError> {
    let mut due_ms = item.key.event.unix_ms();
    let mut told = Vec::with_capacity(attempts.len());
    for attempt in attempts {
        told.push(attempted(uids, attempt, due_ms));
        due_ms = attempt.next_due_ms.unwrap_or(attempt.started_ms);
    }
    let own = conditions
        .iter()
        .filter(|one| one.endpoint == item.target.endpoint);
    let limits: Vec<Value> = own.map(condition).collect();
    Ok(json!({
        "uid": uids.delivery(item.key),
        "endpoint_id": item.target.endpoint,
        "target_url": target_url(view, item)?,
        "subscription_id": item.target.subscription,
        "delivery_mode": match item.target.mode {
            DeliveryMode::AtLeastOnce => "at_least_once",
            DeliveryMode::AtMostOnce => "at_most_once",
        },
        "order": order::shown(item, attempts),
        "replay": item.event.decision.replay.as_ref().map(|replay| replay.number),
        "status": status_word(item.status),
        "reason": item.reason,
        "attempts_total": item.attempts,
        "attempts": told,
        "limits": limits,
        "next_due_at": item.due_ms.filter(|_| !item.status.is_final()).map(rfc3339),
        "says": summary(view, item),
    }))
}

fn summary(view: &View<'_>, item: &DeliveryItem) -> String {
    let attempts = match item.attempts {
        1 => "1 attempt".to_owned(),
        count => format!("{count} attempts"),
    };
    let reason = item.reason.as_deref().map(words).unwrap_or_default();
    match item.status {
        DeliveryStatus::Success => format!("delivered, after {attempts}"),
        DeliveryStatus::Failure => format!("gave up after {attempts}: {reason}"),
        DeliveryStatus::Discarded => format!("ended without delivery after {attempts}: {reason}"),
        DeliveryStatus::Processing => format!("an attempt is under way, after {attempts}"),
        DeliveryStatus::Scheduled | DeliveryStatus::Retry => {
            format!("waits, after {attempts}{}", waits_for(view, item))
        }
    }
}

/// What the configuration has to do with a delivery that waits: the only thing said of now.
fn waits_for(view: &View<'_>, item: &DeliveryItem) -> &'static str {
    let table = view.snapshot().project(item.event.facts.project);
    match table.map(|table| table.endpoint(item.target.endpoint)) {
        Some(Some(endpoint)) => match endpoint.status() {
            EndpointStatus::Active => "",
            EndpointStatus::Paused => ": the endpoint is paused now",
            EndpointStatus::Inactive => ": the endpoint is inactive now",
        },
        _ => ": the endpoint is not configured now",
    }
}

fn attempted(uids: &UidCodec, attempt: &AttemptRecord, due_ms: i64) -> Value {
    let waited_ms = attempt.started_ms.saturating_sub(due_ms).max(0);
    let is_free = attempt.flags & AttemptRecord::FREE != 0;
    json!({
        "uid": uids.attempt(attempt.key, attempt.number, attempt.started_ms),
        "number": attempt.number,
        "due_at": rfc3339(due_ms),
        "started_at": rfc3339(attempt.started_ms),
        "waited_ms": waited_ms,
        "duration_us": attempt.duration_us,
        "http_status": attempt.status,
        "error": attempt.error.as_deref().and_then(|error| error.split(':').next()),
        "denied": denial(attempt.error.as_deref()),
        "destination": attempt.destination,
        "revision": attempt.revision,
        "is_counted": !is_free,
        "order": Goes::of(attempt).map(Goes::word),
        "parked": order::is_parked(attempt),
        "result": status_word(attempt.result),
        "reason": attempt.reason,
        "next_due_at": attempt.next_due_ms.map(rfc3339),
        "says": says(attempt, waited_ms, is_free),
    })
}

fn says(attempt: &AttemptRecord, waited_ms: i64, is_free: bool) -> String {
    let answer = match (attempt.status, attempt.error.as_deref()) {
        (Some(status), _) => format!("answered {status}"),
        (None, Some(error)) => format!("failed without an answer: {}", error_words(error)),
        (None, None) => "failed without an answer".to_owned(),
    };
    let followed = match (attempt.result, attempt.next_due_ms) {
        (DeliveryStatus::Success, _) => "which is a success".to_owned(),
        (_, Some(due_ms)) => format!("the next attempt was due at {}", rfc3339(due_ms)),
        (_, None) => {
            let reason = attempt.reason.as_deref().map(words).unwrap_or_default();
            format!("and that was the end: {reason}")
        }
    };
    let began = match waited_ms {
        NOTICED_MS.. => format!("began {waited_ms} ms after it was due; "),
        _ => String::new(),
    };
    let apart = match Goes::of(attempt) {
        Some(Goes::Apart) => "apart from the order: ",
        Some(Goes::InLine) | None => "",
    };
    let counted = match is_free {
        true => "; it does not count against the limit",
        false => "",
    };
    let parked = match order::is_parked(attempt) {
        true => "; it was parked, and the next one of its order key went",
        false => "",
    };
    format!(
        "{apart}{began}{answer} after {} ms, {followed}{counted}{parked}",
        attempt.duration_us / 1_000
    )
}

/// What the data plane decided about the endpoint by itself.
fn condition(record: &EndpointStateRecord) -> Value {
    let word = match record.condition {
        EndpointCondition::Active => "active",
        EndpointCondition::Disabled => "disabled",
        EndpointCondition::Held => "held",
        EndpointCondition::BreakerOpen => "breaker_open",
        EndpointCondition::BreakerHalfOpen => "breaker_half_open",
    };
    let until = record.until_ms.map(rfc3339);
    let reason = record.reason.as_deref().map(words).unwrap_or_default();
    let says = match (record.condition, &until) {
        (EndpointCondition::Held, Some(until)) => {
            format!("the endpoint got nothing until {until}, as it asked: {reason}")
        }
        (EndpointCondition::BreakerOpen, Some(until)) => {
            format!("the endpoint kept failing and got nothing until {until}: {reason}")
        }
        _ => format!("the endpoint was {}: {reason}", words(word)),
    };
    json!({
        "condition": word, "at": rfc3339(record.at_ms), "until": until,
        "reason": record.reason, "says": says,
    })
}

fn words(code: &str) -> String {
    code.replace('_', " ")
}
