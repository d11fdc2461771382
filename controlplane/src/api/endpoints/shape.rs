//! An endpoint as replies show it.

use outrider_config::resource::{EndpointSecretSpec, EndpointSpec};
use outrider_config::snapshot::ProjectKind;
use outrider_webhook::id::Uid;
use outrider_webhook::sign::{SecretType, is_private_key, public_key_of};
use serde_json::{Value, json};

use super::super::error::ApiError;
use super::super::projects::shape as projects;
use super::super::time::{at, rfc3339};
use super::{authentication, secrets};
use crate::{Stored, View};

/// Seconds of an attempt when nothing is set.
const TIMEOUT_DEFAULT_S: u64 = 10;

/// The whole reply shape. Figures that this version does not keep are null.
pub(super) fn reply(one: &Stored, is_incoming: bool, now_ms: i64) -> Result<Value, ApiError> {
    let mut spec: EndpointSpec = one.spec()?;
    let secrets: Vec<Value> = secrets::all(&mut spec)
        .into_iter()
        .enumerate()
        .filter(|(_, secret)| secrets::is_live(secret, now_ms))
        .map(|(index, secret)| secret_reply(one, one.uid().part(index), secret))
        .collect();
    let status = status(&spec);
    let own_tls = spec.tls.take().filter(|tls| !tls.is_blank());
    let connect_timeout_s = spec.connect_timeout_s.filter(|seconds| *seconds != 0);
    let (strategy, concurrency) = (spec.strategy.take(), spec.concurrency);
    let rate_alert = spec.failure_rate_alert.take();
    let egress_pool = spec.egress_pool.take().filter(|name| !name.is_empty());
    let (epoch, reason) = (spec.activation_epoch.take(), spec.disabled_reason.take());
    let mut shown = json!({
        "uid": one.uid(),
        "project_id": one.document.project,
        "owner_id": spec.owner_id.unwrap_or_default(),
        "url": spec.url.unwrap_or_default(),
        "name": one.name,
        "secrets": secrets,
        "advanced_signatures": spec.advanced_signatures.unwrap_or(true) || is_incoming,
        "description": spec.description.unwrap_or_default(),
        "slack_webhook_url": spec.slack_webhook_url.unwrap_or_default(),
        "teams_webhook_url": spec.teams_webhook_url.unwrap_or_default(),
        "support_email": spec.support_email.unwrap_or_default(),
        "status": status,
        "http_timeout": spec.http_timeout.filter(|s| *s != 0).unwrap_or(TIMEOUT_DEFAULT_S),
        "authentication": spec.authentication.and_then(authentication::shown),
        "rate_limit": spec.rate_limit.unwrap_or(0),
        "rate_limit_duration": spec.rate_limit_duration.unwrap_or(0),
        "content_type": spec.content_type.filter(|text| !text.is_empty())
            .unwrap_or_else(|| "application/json".to_owned()),
        "failure_rate": null,
        "cb_state": null,
        "period_failure_rate": null,
        "success_count": null,
        "failure_count": null,
        "retry_count": null,
        "mtls_client_cert": spec.mtls_client_cert.and_then(authentication::shown_certificate),
        "created_at": at(one.created_ms),
        "updated_at": at(one.updated_ms),
        "deleted_at": null,
    });
    // Ours, and only where it was set: clients of Convoy do not know it.
    if let Value::Object(fields) = &mut shown {
        let own = [
            ("strategy", strategy.map(projects::strategy)),
            ("tls", own_tls.map(|tls| json!(tls))),
            ("connect_timeout_s", connect_timeout_s.map(Value::from)),
        ];
        let set = own
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)));
        fields.extend(set);
    }
    let natives = [
        ("activation_epoch", epoch.map(Value::from)),
        (
            "failure_rate_alert",
            rate_alert.and_then(|alert| alert.shown()),
        ),
        (
            "concurrency",
            concurrency.filter(|count| *count != 0).map(Value::from),
        ),
        ("disabled_reason", reason.map(Value::from)),
        ("egress_pool", egress_pool.map(Value::from)),
    ];
    for (name, value) in natives {
        if let (Some(value), Value::Object(fields)) = (value, &mut shown) {
            fields.insert(name.to_owned(), value);
        }
    }
    Ok(shown)
}

/// An endpoint inside of another reply: without its secrets.
pub(in crate::api) fn metadata(one: &Stored, is_incoming: bool) -> Result<Value, ApiError> {
    let mut shown = reply(one, is_incoming, 0)?;
    if let Value::Object(fields) = &mut shown {
        fields.insert("secrets".to_owned(), json!([]));
        for hidden in ["authentication", "mtls_client_cert"] {
            fields.insert(hidden.to_owned(), Value::Null);
        }
    }
    Ok(shown)
}

/// Whether the project of a resource takes events in, which decides some settings.
pub(in crate::api) fn is_incoming(view: &View<'_>, one: &Stored) -> bool {
    let table = view.snapshot().project(one.document.project);
    table.is_some_and(|table| table.project().kind() == ProjectKind::Incoming)
}

/// Convoy's word for the status.
pub(super) fn status(spec: &EndpointSpec) -> &'static str {
    match spec.status.as_deref() {
        Some("paused") => "paused",
        Some("inactive") => "inactive",
        None | Some("") if spec.is_disabled == Some(true) => "inactive",
        _ => "active",
    }
}

fn secret_reply(one: &Stored, uid: Uid, secret: EndpointSecretSpec) -> Value {
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let created_at = given(secret.created_at).unwrap_or_else(|| rfc3339(one.created_ms));
    let value = secret.value.as_ref().map(|value| value.expose());
    let value = value.unwrap_or_default();
    let mut shown = json!({
        "uid": given(secret.uid).unwrap_or_else(|| uid.to_string()),
        "value": value,
        "expires_at": given(secret.expires_at),
        "created_at": created_at,
        "updated_at": created_at,
        "deleted_at": null,
    });
    if is_private_key(value) {
        // What the receiver verifies with. The private half leaves this place in no reply.
        let public = public_key_of(value).unwrap_or_default();
        shown["value"] = public.as_str().into();
        shown["public_key"] = public.into();
        shown["secret_type"] = SecretType::Ed25519.as_str().into();
    }
    shown
}
