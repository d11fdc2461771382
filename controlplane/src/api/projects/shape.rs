//! A project as replies show it.

use outrider_config::Kind;
use outrider_config::resource::{
    BODY_BYTES_DEFAULT, ConfigSpec, MetaEventSpec, ProjectSpec, SignatureSpec,
    SignatureVersionSpec, StrategySpec,
};
use serde_json::{Value, json};

use super::super::Api;
use super::super::error::ApiError;
use super::super::time::{at, rfc3339};
use crate::{Stored, View};

/// The whole reply shape. What is not set shows its default.
pub(in crate::api) fn reply(api: &Api, view: &View<'_>, one: &Stored) -> Result<Value, ApiError> {
    let spec: ProjectSpec = one.spec()?;
    let project = one.document.project;
    let has = |kind| view.has(kind, project);
    let mut shown = json!({
        "uid": one.uid(),
        "name": spec.name,
        "logo_url": spec.logo_url.unwrap_or_default(),
        "organisation_id": api.control().journal().organisation(),
        "type": spec.kind.unwrap_or_default(),
        "config": config(spec.config.unwrap_or_default(), one),
        "statistics": {
            "endpoints_exist": has(Kind::Endpoint)?,
            "sources_exist": has(Kind::Source)?,
            "subscriptions_exist": has(Kind::Subscription)?,
        },
        "retained_events": 0,
        "created_at": at(one.created_ms),
        "updated_at": at(one.updated_ms),
        "deleted_at": null,
    });
    if let (Some(pool), Value::Object(fields)) = (given(spec.egress_pool), &mut shown) {
        fields.insert("egress_pool".to_owned(), pool.into()); // ours, and only where it is set
    }
    Ok(shown)
}

fn config(spec: ConfigSpec, one: &Stored) -> Value {
    let ssl = spec.ssl.unwrap_or_default();
    let ratelimit = spec.ratelimit.unwrap_or_default();
    let (enforcement, unknown) = (spec.schema_enforcement, spec.unknown_event_types);
    let natives = [
        ("filter_mode", given(spec.filter_mode).map(Value::from)),
        (
            "idempotency_window_s",
            spec.idempotency_window_s.map(Value::from),
        ),
        (
            "ingest_allow_cidrs",
            spec.ingest_allow_cidrs.map(|cidrs| json!(cidrs)),
        ),
        (
            "ingest_deny_cidrs",
            spec.ingest_deny_cidrs.map(|cidrs| json!(cidrs)),
        ),
        (
            "ingest_rate_limit",
            spec.ingest_rate_limit.map(|rate| json!(rate)),
        ),
        (
            "failure_rate_alert",
            spec.failure_rate_alert.and_then(|alert| alert.shown()),
        ),
    ];
    let text =
        |text: Option<String>, default: &str| given(text).unwrap_or_else(|| default.to_owned());
    let mut shown = json!({
        "max_payload_read_size": number(spec.max_payload_read_size, BODY_BYTES_DEFAULT as u64),
        "replay_attacks_prevention_enabled": spec.replay_attacks_prevention_enabled.unwrap_or(false),
        "add_event_id_trace_headers": spec.add_event_id_trace_headers.unwrap_or(false),
        "disable_endpoint": spec.disable_endpoint.unwrap_or(false),
        "multiple_endpoint_subscriptions": spec.multiple_endpoint_subscriptions.unwrap_or(false),
        "search_policy": "",
        "ssl": {"enforce_secure_endpoints": ssl.enforce_secure_endpoints.unwrap_or(false)},
        "ratelimit": {"count": number(ratelimit.count, 1000), "duration": number(ratelimit.duration, 60)},
        "strategy": strategy(spec.strategy.unwrap_or_default()),
        "signature": signature(spec.signature.unwrap_or_default(), one),
        "request_id_header": text(spec.request_id_header, "X-Convoy-Idempotency-Key"),
        "schema_enforcement": text(enforcement, "off"),
        "unknown_event_types": text(unknown, "accept"),
        "meta_event": meta_event(spec.meta_event.unwrap_or_default()),
        "verify_dynamic_events": spec.verify_dynamic_events.unwrap_or(false),
        "allow_unmatched_dynamic_urls": spec.allow_unmatched_dynamic_urls.unwrap_or(false),
        "circuit_breaker": spec.circuit_breaker.unwrap_or_default().shown(),
    });
    if let Value::Object(fields) = &mut shown {
        // Ours, and only where they are set: clients of Convoy do not know them.
        for (name, value) in natives {
            fields.extend(value.map(|value| (name.to_owned(), value)));
        }
    }
    shown
}

/// The secret is in clear, as those of endpoints are.
fn meta_event(spec: MetaEventSpec) -> Value {
    let secret = spec.secret.as_ref().map_or("", |secret| secret.expose());
    json!({
        "is_enabled": spec.is_enabled.unwrap_or(false),
        "type": given(spec.kind).unwrap_or_else(|| "http".to_owned()),
        "event_type": spec.event_type.unwrap_or_default(),
        "url": spec.url.unwrap_or_default(),
        "secret": secret,
    })
}

/// What is Convoy's always, and what is ours only where it was set: clients of Convoy do not know
/// that.
pub(in crate::api) fn strategy(spec: StrategySpec) -> Value {
    let kind = given(spec.kind).unwrap_or_else(|| "linear".to_owned());
    let mut shown = json!({
        "duration": number(spec.duration, 100),
        "retry_count": number(spec.retry_count, retry_count(&kind, spec.intervals.as_deref())),
        "type": kind,
    });
    for (name, value) in [
        ("jitter", given(spec.jitter).map(Value::from)),
        ("intervals", list(spec.intervals)),
        ("max_age_s", spec.max_age_s.map(Value::from)),
        ("success_statuses", list(spec.success_statuses)),
        ("permanent_statuses", list(spec.permanent_statuses)),
    ] {
        if let (Some(value), Value::Object(fields)) = (value, &mut shown) {
            fields.insert(name.to_owned(), value);
        }
    }
    shown
}

/// Attempts of a strategy that does not say how many.
fn retry_count(kind: &str, intervals: Option<&[u64]>) -> u64 {
    match (kind, intervals) {
        ("list", Some(waits)) => waits.len() as u64 + 1,
        _ => 10,
    }
}

fn list<T>(entries: Option<Vec<T>>) -> Option<Value>
where
    Value: From<Vec<T>>,
{
    entries.filter(|list| !list.is_empty()).map(Value::from)
}

fn signature(spec: SignatureSpec, one: &Stored) -> Value {
    let mut versions = spec.versions.unwrap_or_default();
    if versions.is_empty() {
        versions.push(SignatureVersionSpec {
            hash: Some("SHA256".to_owned()),
            encoding: Some("hex".to_owned()),
            ..SignatureVersionSpec::default()
        });
    }
    let version = |(index, version): (usize, SignatureVersionSpec)| {
        json!({
            "uid": given(version.uid).unwrap_or_else(|| one.uid().part(index).to_string()),
            "hash": version.hash.unwrap_or_default(),
            "encoding": version.encoding.unwrap_or_default(),
            "created_at": given(version.created_at).unwrap_or_else(|| rfc3339(one.created_ms)),
        })
    };
    let versions: Vec<Value> = versions.into_iter().enumerate().map(version).collect();
    let mut signature = json!({
        "header": given(spec.header).unwrap_or_else(|| "X-Convoy-Signature".to_owned()),
        "versions": versions,
    });
    if let Value::Object(fields) = &mut signature {
        for (name, value) in [
            ("format", spec.format),
            ("input", spec.input),
            ("secret_type", spec.secret_type),
        ] {
            if let Some(value) = given(value) {
                fields.insert(name.to_owned(), value.into());
            }
        }
        if let Some(headers) = spec.headers.filter(|headers| !headers.is_empty()) {
            fields.insert("headers".to_owned(), json!(headers));
        }
        if let Some(message) = spec.message_signature {
            fields.insert("message_signature".to_owned(), json!(message));
        }
    }
    signature
}

fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// 0 stands for the default, as in requests.
fn number(value: Option<u64>, default: u64) -> u64 {
    value.filter(|value| *value != 0).unwrap_or(default)
}
