//! The secrets of an endpoint over time: new ones come, old ones go on for a while (RULINGS 30).

use outrider_config::resource::{EndpointSecretSpec, EndpointSpec, FieldError, Reason};
use outrider_config::snapshot::Project;
use outrider_webhook::secret::Secret;
use serde::Deserialize;

use super::super::error::ApiError;
use super::super::time::{rfc3339, unix_ms};
use crate::{Author, random};

/// Longest overlap of two secrets, hours: ten years.
const EXPIRATION_HOURS_MAX: u64 = 10 * 365 * 24;

/// What a client says of a rotation.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ExpireSpec {
    /// The new secret; made up when absent.
    secret: Option<Secret>,
    /// Hours for which the old one goes on; 0 when absent.
    expiration: Option<u64>,
}

/// Gives the endpoint a new secret. The present ones end after the hours asked for, or sooner
/// where that was settled before.
pub(super) fn expire(
    mut spec: EndpointSpec,
    given: ExpireSpec,
    project: &Project,
    by: &Author<'_>,
) -> Result<EndpointSpec, ApiError> {
    let hours = given.expiration.unwrap_or(0);
    if hours > EXPIRATION_HOURS_MAX {
        let reason = Reason::OutOfRange {
            min: 0,
            max: EXPIRATION_HOURS_MAX,
            unit: "hours",
        };
        return Err(ApiError::Fields(vec![FieldError {
            field: "expiration".to_owned(),
            reason,
        }]));
    }
    let hours_ms = i64::try_from(hours)
        .unwrap_or(i64::MAX)
        .saturating_mul(3_600_000);
    let end_ms = by.now_ms.saturating_add(hours_ms);
    let mut secrets = all(&mut spec);
    for secret in &mut secrets {
        name(secret, by);
        if end_of(secret).is_none_or(|end| end > end_ms) {
            secret.expires_at = Some(rfc3339(end_ms));
        }
    }
    secrets.retain(|secret| is_live(secret, by.now_ms));
    let secret = given.secret.filter(is_given);
    let mut new = EndpointSecretSpec {
        value: Some(secret.unwrap_or_else(|| made_up(project))),
        ..EndpointSecretSpec::default()
    };
    name(&mut new, by);
    secrets.push(new);
    spec.secrets = Some(secrets);
    Ok(spec)
}

/// A new secret of the form that the project's signatures need.
pub(super) fn made_up(project: &Project) -> Secret {
    match project.signature().format().has_standard() {
        true => random::standard_secret(),
        false => random::secret(),
    }
}

/// Without the secrets that have expired; as it is when nothing would be left.
pub(super) fn without_expired(mut spec: EndpointSpec, now_ms: i64) -> EndpointSpec {
    if let Some(secrets) = &mut spec.secrets
        && secrets.iter().any(|secret| is_live(secret, now_ms))
    {
        secrets.retain(|secret| is_live(secret, now_ms));
    }
    spec
}

/// Whether a secret still signs.
pub(super) fn is_live(secret: &EndpointSecretSpec, now_ms: i64) -> bool {
    end_of(secret).is_none_or(|end_ms| end_ms > now_ms)
}

fn end_of(secret: &EndpointSecretSpec) -> Option<i64> {
    secret.expires_at.as_deref().and_then(unix_ms)
}

/// Whether no secret is given.
pub(super) fn is_without(spec: &EndpointSpec) -> bool {
    let has_list = spec.secrets.as_ref().is_some_and(|list| !list.is_empty());
    !has_list && !spec.secret.as_ref().is_some_and(is_given)
}

/// Whether this is the secret that signs already.
pub(super) fn is_newest(spec: &EndpointSpec, secret: Option<&Secret>) -> bool {
    let last = spec.secrets.iter().flatten().next_back();
    let newest = last
        .and_then(|last| last.value.as_ref())
        .or(spec.secret.as_ref());
    secret.is_some() && newest == secret
}

/// Gives a secret an id and a time, unless it has them.
pub(super) fn name(secret: &mut EndpointSecretSpec, by: &Author<'_>) {
    let is_missing = |text: &Option<String>| text.as_deref().is_none_or(str::is_empty);
    if is_missing(&secret.uid) {
        secret.uid = Some(random::uid(by.now_ms).to_string());
    }
    if is_missing(&secret.created_at) {
        secret.created_at = Some(rfc3339(by.now_ms));
    }
}

/// All secrets, also where there is one outside of the list.
pub(super) fn all(spec: &mut EndpointSpec) -> Vec<EndpointSecretSpec> {
    let single = spec.secret.take().filter(is_given);
    let single = single.map(|value| EndpointSecretSpec {
        value: Some(value),
        ..EndpointSecretSpec::default()
    });
    let list = spec.secrets.take().unwrap_or_default();
    single.into_iter().chain(list).collect()
}

fn is_given(secret: &Secret) -> bool {
    !secret.expose().is_empty()
}
