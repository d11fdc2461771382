//! A source as replies show it.

use outrider_config::resource::{SourceSpec, VerifierSpec};
use outrider_webhook::secret::Secret;
use serde_json::{Value, json};

use super::super::Api;
use super::super::error::ApiError;
use super::super::time::at;
use crate::Stored;

/// The whole reply shape, with the secrets, as Convoy's.
pub(super) fn reply(api: &Api, one: &Stored) -> Result<Value, ApiError> {
    let spec: SourceSpec = one.spec()?;
    let mask = spec.mask_id.unwrap_or_default();
    let response = spec.custom_response.unwrap_or_default();
    let mut shown = json!({
        "uid": one.uid(),
        "project_id": one.document.project,
        "mask_id": mask,
        "name": one.name,
        "url": format!("{}/ingest/{mask}", api.public_url()),
        "type": spec.kind.filter(|kind| !kind.is_empty()).unwrap_or_else(|| "http".to_owned()),
        "provider": spec.provider.unwrap_or_default(),
        "is_disabled": spec.is_disabled.unwrap_or(false),
        "verifier": spec.verifier.map(verifier),
        "custom_response": {
            "body": response.body.unwrap_or_default(),
            "content_type": response.content_type.unwrap_or_default(),
        },
        "provider_config": null,
        "forward_headers": spec.forward_headers.unwrap_or_default(),
        "pub_sub": null,
        "idempotency_keys": spec.idempotency_keys.unwrap_or_default(),
        "event_type_location": spec.event_type_location.unwrap_or_default(),
        "body_function": null,
        "header_function": null,
        "created_at": at(one.created_ms),
        "updated_at": at(one.updated_ms),
        "deleted_at": null,
    });
    if let Value::Object(fields) = &mut shown {
        // Ours, and only where they are set: clients of Convoy do not know them.
        let secrets = spec.secrets.map(|secrets| {
            let texts: Vec<&str> = secrets.iter().map(Secret::expose).collect();
            json!(texts)
        });
        let natives = [
            ("preset", spec.preset.map(|preset| json!(preset))),
            ("secrets", secrets),
            ("params", spec.params.map(|params| json!(params))),
            ("public_url", spec.public_url.map(Value::from)),
            (
                "idempotency_window_s",
                spec.idempotency_window_s.map(Value::from),
            ),
            ("deduplicate", spec.deduplicate.map(Value::from)),
            ("event_format", spec.event_format.map(Value::from)),
            ("alerts", spec.alerts.map(|alerts| json!(alerts))),
            ("deny_headers", spec.deny_headers.map(|names| json!(names))),
            ("allow_cidrs", spec.allow_cidrs.map(|cidrs| json!(cidrs))),
            ("deny_cidrs", spec.deny_cidrs.map(|cidrs| json!(cidrs))),
            ("rate_limit", spec.rate_limit.map(|rate| json!(rate))),
            (
                "client_certificate",
                spec.client_certificate.map(|rule| json!(rule)),
            ),
        ];
        for (name, value) in natives {
            if let Some(value) = value {
                fields.insert(name.to_owned(), value);
            }
        }
    }
    Ok(shown)
}

/// A source inside of another reply: without what it verifies with.
pub(in crate::api) fn metadata(api: &Api, one: &Stored) -> Result<Value, ApiError> {
    let mut shown = reply(api, one)?;
    if let Value::Object(fields) = &mut shown {
        fields.insert("verifier".to_owned(), Value::Null);
        fields.remove("secrets");
    }
    Ok(shown)
}

/// Convoy's shape: what does not belong to the type is null, no text ever is.
fn verifier(spec: VerifierSpec) -> Value {
    let text = Option::<String>::unwrap_or_default;
    let secret =
        |secret: Option<Secret>| secret.map_or_else(String::new, |one| one.expose().to_owned());
    let hmac = spec.hmac.map(|hmac| {
        let mut shown = json!({
            "header": text(hmac.header),
            "hash": text(hmac.hash),
            "secret": secret(hmac.secret),
            "encoding": text(hmac.encoding),
        });
        if let (Some(prefix), Value::Object(fields)) = (hmac.prefix, &mut shown) {
            fields.insert("prefix".to_owned(), prefix.into());
        }
        shown
    });
    let basic_auth = spec
        .basic_auth
        .map(|auth| json!({"username": text(auth.username), "password": secret(auth.password)}));
    let api_key = spec.api_key.map(|key| {
        json!({"header_name": text(key.header_name), "header_value": secret(key.header_value)})
    });
    json!({
        "type": text(spec.kind),
        "hmac": hmac,
        "basic_auth": basic_auth,
        "api_key": api_key,
    })
}
