//! A delivery as replies show it (contract 3.8).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use outrider_config::Kind;
use outrider_config::resource::EndpointSpec;
use outrider_config::snapshot::ProjectTable;
use outrider_store::{DeliveryItem, DeliveryStatus};
use outrider_webhook::event::DeliveryMode;
use outrider_webhook::id::{EndpointId, ProjectId, Uid};
use outrider_webhook::retry::{Backoff, Policy, denial_of};
use outrider_webhook::url_template::is_template;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::super::error::ApiError;
use super::super::events::{EventShape, Shapes, data_of, headers_of, raw_of, shown_id};
use super::super::time::rfc3339;
use crate::View;

/// A delivery.
#[derive(Serialize)]
pub(super) struct DeliveryShape<'d> {
    uid: Uid,
    project_id: ProjectId,
    event_id: Uid,
    endpoint_id: EndpointId,
    device_id: &'static str,
    subscription_id: String,
    headers: BTreeMap<&'d str, Vec<Cow<'d, str>>>,
    target_url: String,
    url_query_params: &'d str,
    idempotency_key: &'d str,
    latency: String,
    latency_seconds: f64,
    event_type: &'d str,
    delivery_mode: &'static str,
    endpoint_metadata: Option<Value>,
    event_metadata: EventShape<'d>,
    source_metadata: Option<Value>,
    device_metadata: Option<Value>,
    status: &'static str,
    metadata: Metadata<'d>,
    cli_metadata: Option<Value>,
    description: String,
    /// Ours: the stable code of why it ended without success.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'d str>,
    acknowledged_at: String,
    created_at: String,
    updated_at: String,
    deleted_at: Option<String>,
}

/// How a delivery is retried.
#[derive(Serialize)]
pub(in crate::api) struct Metadata<'d> {
    data: Option<&'d RawValue>,
    raw: Cow<'d, str>,
    strategy: &'static str,
    next_send_time: String,
    num_trials: u32,
    interval_seconds: u64,
    retry_limit: u32,
    max_retry_seconds: u64,
}

pub(super) fn delivery<'d>(
    shapes: &mut Shapes<'_>,
    item: &'d DeliveryItem,
) -> Result<DeliveryShape<'d>, ApiError> {
    let (event, facts) = (&item.event, &item.event.facts);
    let accepted_ms = event.id.unix_ms();
    let latency_s = latency_s(item, accepted_ms);
    Ok(DeliveryShape {
        uid: shapes.uids().delivery(item.key),
        project_id: facts.project,
        event_id: shapes.uids().event(shown_id(event)),
        endpoint_id: item.target.endpoint,
        device_id: "",
        subscription_id: item
            .target
            .subscription
            .map_or_else(String::new, |id| id.to_string()),
        headers: headers_of(&facts.headers),
        target_url: target_url(shapes.view(), item)?,
        url_query_params: &facts.query,
        idempotency_key: facts.idempotency_key.as_deref().unwrap_or_default(),
        latency: match latency_s > 0.0 {
            true => format!("{latency_s}s"),
            false => String::new(),
        },
        latency_seconds: latency_s,
        event_type: &facts.event_type,
        delivery_mode: match item.target.mode {
            DeliveryMode::AtLeastOnce => "at_least_once",
            DeliveryMode::AtMostOnce => "at_most_once",
        },
        endpoint_metadata: shapes.endpoint(item.target.endpoint)?,
        event_metadata: shapes.brief(event),
        source_metadata: shapes.source(facts.origin)?,
        device_metadata: None,
        status: status_word(item.status),
        metadata: metadata(shapes, item),
        cli_metadata: None,
        description: description(item),
        reason: reason(item),
        acknowledged_at: rfc3339(accepted_ms),
        created_at: rfc3339(accepted_ms),
        updated_at: rfc3339(item.updated_ms),
        deleted_at: None,
    })
}

/// Convoy's word for a state.
pub(in crate::api) const fn status_word(status: DeliveryStatus) -> &'static str {
    match status {
        DeliveryStatus::Scheduled => "Scheduled",
        DeliveryStatus::Processing => "Processing",
        DeliveryStatus::Retry => "Retry",
        DeliveryStatus::Success => "Success",
        DeliveryStatus::Failure => "Failure",
        DeliveryStatus::Discarded => "Discarded",
    }
}

/// From acknowledged to delivered, seconds; 0 before that.
fn latency_s(item: &DeliveryItem, accepted_ms: i64) -> f64 {
    let Some(attempt) = item
        .attempt
        .as_ref()
        .filter(|_| item.status == DeliveryStatus::Success)
    else {
        return 0.0;
    };
    let took_ms = i64::try_from(attempt.duration_us / 1_000).unwrap_or(i64::MAX);
    let ms = attempt
        .started_ms
        .saturating_add(took_ms)
        .saturating_sub(accepted_ms);
    std::time::Duration::from_millis(u64::try_from(ms).unwrap_or(0)).as_secs_f64()
}

/// The URL as it is configured now, empty when the endpoint is gone; where that is a template or
/// gone, the one that the event named, if it named one.
pub(in crate::api) fn target_url(view: &View<'_>, item: &DeliveryItem) -> Result<String, ApiError> {
    let (facts, endpoint) = (&item.event.facts, item.target.endpoint);
    let found = view.get(Kind::Endpoint, facts.project, endpoint.uid())?;
    let spec: Option<EndpointSpec> = found.map(|found| found.spec()).transpose()?;
    let configured = spec.and_then(|spec| spec.url);
    let is_settled = configured.as_deref().is_some_and(|url| !is_template(url));
    let named = facts.audience.named_url().filter(|_| !is_settled);
    Ok(named.map(str::to_owned).or(configured).unwrap_or_default())
}

pub(in crate::api) fn metadata<'d>(shapes: &Shapes<'_>, item: &'d DeliveryItem) -> Metadata<'d> {
    let body = &item.event.facts.body;
    let table = shapes
        .view()
        .snapshot()
        .project_of_delivery(item.event.facts.project);
    let policy = table.map(|table| policy_of(table, item.target.endpoint));
    let (strategy, wait, longest) = policy.map_or(("linear", 0, 0), schedule);
    Metadata {
        data: data_of(body),
        raw: raw_of(body),
        strategy,
        next_send_time: rfc3339(item.due_ms.unwrap_or(item.updated_ms)),
        num_trials: item.attempts,
        interval_seconds: wait,
        retry_limit: policy.map_or(0, |policy| policy.attempts_max()),
        max_retry_seconds: longest,
    }
}

fn policy_of(table: &ProjectTable, endpoint: EndpointId) -> &Policy {
    let (project, endpoint) = (table.project(), table.endpoint(endpoint));
    let strategy = endpoint.map_or(project.strategy(), |endpoint| endpoint.strategy(project));
    &strategy.policy
}

/// Convoy's words for a policy, with its first and its longest wait in seconds.
fn schedule(policy: &Policy) -> (&'static str, u64, u64) {
    match policy.backoff() {
        Backoff::Exponential { base, max } => ("exponential", base.as_secs(), max.as_secs()),
        Backoff::Linear { interval } => ("linear", interval.as_secs(), interval.as_secs()),
        Backoff::List(waits) => {
            let seconds = |wait: Option<&Duration>| wait.map_or(0, Duration::as_secs);
            ("list", seconds(waits.first()), seconds(waits.iter().max()))
        }
    }
}

/// Why it ended without success.
fn reason(item: &DeliveryItem) -> Option<&str> {
    let is_undelivered = item.status.is_final() && item.status != DeliveryStatus::Success;
    item.reason.as_deref().filter(|_| is_undelivered)
}

/// Why it ended; empty while it has not, and for a success.
pub(in crate::api) fn description(item: &DeliveryItem) -> String {
    match reason(item) {
        // Convoy's text.
        Some("retry_limit_exceeded") => "Retry limit exceeded".to_owned(),
        Some(code) => code.replace('_', " "),
        None => String::new(),
    }
}

/// An attempt as replies show it (contract 3.9).
pub(super) fn attempt(
    uids: &outrider_webhook::id::UidCodec,
    item: &DeliveryItem,
    url: &str,
    attempt: &outrider_store::AttemptRecord,
) -> Value {
    let took_ms = i64::try_from(attempt.duration_us / 1_000).unwrap_or(i64::MAX);
    let ended_ms = attempt.started_ms.saturating_add(took_ms);
    let error = attempt.error.as_deref();
    json!({
        "uid": uids.attempt(attempt.key, attempt.number, attempt.started_ms),
        "url": url,
        "method": "POST",
        "endpoint_id": item.target.endpoint,
        "api_version": super::super::version::CURRENT,
        "project_id": item.event.facts.project,
        "msg_id": uids.delivery(attempt.key),
        "ip_address": attempt.destination.map_or_else(String::new, |to| to.ip().to_string()),
        "request_http_header": flat(&attempt.request_headers),
        "response_http_header": flat(&attempt.response_headers),
        "http_status": attempt.status.map_or_else(String::new, status_line),
        "response_data": String::from_utf8_lossy(&attempt.excerpt),
        "error": error.map_or_else(String::new, error_words),
        "status": attempt.result == DeliveryStatus::Success,
        "requested_at": rfc3339(attempt.started_ms),
        "responded_at": attempt.status.map(|_| rfc3339(ended_ms)),
        "created_at": rfc3339(attempt.started_ms),
        "updated_at": rfc3339(ended_ms),
        "deleted_at": null,
    })
}

/// What a record says of an attempt without an answer, in words.
pub(in crate::api) fn error_words(error: &str) -> String {
    let class = error.split(':').next().unwrap_or_default();
    let said = match denial_of(error) {
        None => class.to_owned(),
        Some((reason, None)) => format!("{class}: {reason}"),
        Some((reason, Some(policy))) => {
            let said = format!("{class}: {reason}").replace('_', " ");
            return format!("{said} by the egress policy `{policy}`");
        }
    };
    said.replace('_', " ")
}

/// Why the address policy refused, and which policy of the configuration; null where it did not.
pub(in crate::api) fn denial(error: Option<&str>) -> Value {
    let Some((reason, policy)) = error.and_then(denial_of) else {
        return Value::Null;
    };
    json!({"reason": reason, "policy": policy})
}

fn status_line(status: u16) -> String {
    let known = axum::http::StatusCode::from_u16(status).ok();
    match known.and_then(|status| status.canonical_reason()) {
        Some(reason) => format!("{status} {reason}"),
        None => status.to_string(),
    }
}

/// One value per header, repeated ones joined.
pub(in crate::api) fn flat(
    headers: &outrider_webhook::event::HeaderList,
) -> BTreeMap<&str, String> {
    let all = headers_of(headers).into_iter();
    all.map(|(name, values)| (name, values.join(", ")))
        .collect()
}
