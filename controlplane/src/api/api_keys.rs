//! Keys of a project: native routes. A token is shown once, when it is made; what is kept of it
//! is a digest. Only the instance admin makes and removes them: who finds a key must not be able
//! to make others that outlast it, or to shut out its owner.

use axum::Router;
use axum::routing::{delete, get};
use outrider_config::Kind;
use outrider_config::resource::{ApiKey, ApiKeySpec, FieldError, RateSpec, Reason};
use outrider_webhook::id::ApiKeyId;
use outrider_webhook::secret::Secret;
use outrider_webhook::verify::ApiKeyDigest;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Api;
use super::body::JsonBody;
use super::call::{AdminProjectCall, ProjectCall};
use super::error::{Answer, ApiError};
use super::reply::Reply;
use super::time::{at, unix_ms};
use super::write::Writing;
use crate::{Edit, Selection, Stored, random};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/api-keys", get(list).post(create))
        .route("/api-keys/{id}", delete(remove))
}

/// What a client says of a new key. The token is ours to make.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct NewKey {
    name: Option<String>,
    expires_at: Option<String>,
    rate_limit: Option<RateSpec>,
}

impl NewKey {
    /// One that is good for ever, and for any number of events.
    pub(super) fn named(name: &str) -> Self {
        Self {
            name: Some(name.to_owned()),
            ..Self::default()
        }
    }
}

async fn list(call: ProjectCall) -> Answer {
    let selection = Selection::all(Kind::ApiKey, call.project);
    call.list("API keys fetched successfully", selection, |_, key| {
        reply(key, None)
    })
    .await
}

async fn create(AdminProjectCall(call): AdminProjectCall, body: JsonBody) -> Answer {
    let (new, ignored) = body.read::<NewKey>()?;
    let create = move |writing: &Writing<'_>| {
        let (key, token) = fresh(writing, new)?;
        let spec: ApiKeySpec = key.spec()?;
        ApiKey::compile(ApiKeyId::new(key.uid()), 0, writing.rules()?, &spec)?;
        refuse_expired(&spec, writing.now_ms())?;
        let reply = reply(&key, Some(&token))?;
        Ok((vec![Edit::create(key)], reply))
    };
    let done = call.change(create).await?;
    Ok(Reply::created("API key created successfully", done.value)
        .in_force(done.in_force)
        .ignoring(ignored))
}

async fn remove(AdminProjectCall(call): AdminProjectCall) -> Answer {
    let done = call.delete(Kind::ApiKey).await?;
    Ok(Reply::ok("API key deleted successfully", Value::Null).in_force(done.in_force))
}

/// A new key, and its token.
pub(super) fn fresh(writing: &Writing<'_>, new: NewKey) -> Result<(Stored, Secret), ApiError> {
    let token = random::api_key();
    let spec = ApiKeySpec {
        name: Some(new.name.unwrap_or_default()),
        key: None,
        key_sha256: Some(ApiKeyDigest::of(token.expose()).to_hex()),
        expires_at: new.expires_at.filter(|text| !text.is_empty()),
        rate_limit: new.rate_limit,
    };
    let key = writing.made(Kind::ApiKey, writing.new_uid(), &spec)?;
    Ok((key, token))
}

/// A key that never works is a mistake.
fn refuse_expired(spec: &ApiKeySpec, now_ms: i64) -> Result<(), ApiError> {
    let end_ms = spec.expires_at.as_deref().and_then(unix_ms);
    if end_ms.is_none_or(|end_ms| end_ms > now_ms) {
        return Ok(());
    }
    Err(ApiError::Fields(vec![FieldError {
        field: "expires_at".to_owned(),
        reason: Reason::Shape("in the future"),
    }]))
}

/// Convoy's shape; with the token only when it is new.
pub(super) fn reply(key: &Stored, token: Option<&Secret>) -> Result<Value, ApiError> {
    let spec: ApiKeySpec = key.spec()?;
    let mut reply = json!({
        "uid": key.uid(),
        "name": spec.name,
        "role": {"type": "project_admin", "project": key.document.project},
        "key_type": "project",
        "expires_at": spec.expires_at,
        "created_at": at(key.created_ms),
        "updated_at": at(key.updated_ms),
        "deleted_at": null,
    });
    if let Value::Object(fields) = &mut reply {
        // Ours, and only where it is set.
        let rate = spec.rate_limit.map(|rate| json!(rate));
        fields.extend(rate.map(|rate| ("rate_limit".to_owned(), rate)));
        let token = token.map(|token| token.expose().into());
        fields.extend(token.map(|token| ("key".to_owned(), token)));
    }
    Ok(reply)
}
