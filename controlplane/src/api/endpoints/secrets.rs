//! The secrets of an endpoint over time: new ones come, old ones go on for a while (RULINGS 30).

use outrider_config::resource::{EndpointSecretSpec, EndpointSpec, FieldError, Reason};
use outrider_config::snapshot::{Project, Snapshot};
use outrider_webhook::id::EndpointId;
use outrider_webhook::secret::Secret;
use outrider_webhook::sign::{SecretType, is_private_key, public_key_of};
use serde::Deserialize;

use super::super::error::ApiError;
use super::super::time::{rfc3339, unix_ms};
use crate::{Author, Stored, random};

/// Longest overlap of two secrets, hours: ten years.
const EXPIRATION_HOURS_MAX: u64 = 10 * 365 * 24;
/// Overlap of two secrets when nothing is said, hours: what other senders leave.
const EXPIRATION_HOURS_DEFAULT: u64 = 24;
const HOUR_MS: u64 = 3_600_000;

/// What a client says of a rotation.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ExpireSpec {
    /// The new secret; made up when absent.
    secret: Option<Secret>,
    /// Hours for which the old one goes on; 24 when absent, none with 0.
    expiration: Option<u64>,
    /// Native: when the old one ends, RFC 3339; instead of `expiration`.
    expires_at: Option<String>,
    /// Native: of which type one is made up, `shared` or `ed25519`; as the project says when absent.
    secret_type: Option<String>,
}

impl ExpireSpec {
    /// When the present secrets end, Unix milliseconds.
    fn end_ms(&self, now_ms: i64) -> Result<i64, ApiError> {
        let latest_ms = now_ms.saturating_add_unsigned(EXPIRATION_HOURS_MAX * HOUR_MS);
        match (self.expiration, self.expires_at.as_deref()) {
            (None, Some(text)) if !text.is_empty() => {
                let end_ms = unix_ms(text).filter(|end_ms| (now_ms..=latest_ms).contains(end_ms));
                let shape = "a time to come within ten years, like 2027-01-31T12:00:00Z";
                end_ms.ok_or_else(|| refused("expires_at", Reason::Shape(shape)))
            }
            (Some(_), Some(text)) if !text.is_empty() => {
                Err(refused("expires_at", Reason::Conflict("expiration")))
            }
            (hours, _) => match hours.unwrap_or(EXPIRATION_HOURS_DEFAULT) {
                hours @ 0..=EXPIRATION_HOURS_MAX => {
                    Ok(now_ms.saturating_add_unsigned(hours * HOUR_MS))
                }
                _ => {
                    let reason = Reason::OutOfRange {
                        min: 0,
                        max: EXPIRATION_HOURS_MAX,
                        unit: "hours",
                    };
                    Err(refused("expiration", reason))
                }
            },
        }
    }

    /// The new secret.
    fn new_secret(&mut self, project: &Project) -> Result<Secret, ApiError> {
        let secret = self.secret.take().filter(is_given);
        let word = self.secret_type.as_deref().filter(|word| !word.is_empty());
        let made = match (secret, word) {
            (Some(secret), None) => Ok(secret),
            (Some(_), Some(_)) => Err(Reason::Conflict("secret")),
            (None, None) => Ok(made_up(project, project.signature().secret_type())),
            (None, Some(word)) => SecretType::of_word(word)
                .map(|kind| made_up(project, kind))
                .ok_or(Reason::NotOneOf(SecretType::WORDS)),
        };
        made.map_err(|reason| refused("secret_type", reason))
    }
}

fn refused(field: &str, reason: Reason) -> ApiError {
    ApiError::Fields(vec![FieldError {
        field: field.to_owned(),
        reason,
    }])
}

/// Gives the endpoint a new secret. The present ones end after the hours asked for, or sooner
/// where that was settled before. Where a shared secret is needed whatever private keys there are,
/// only those of the type of the new one end.
pub(super) fn expire(
    mut spec: EndpointSpec,
    mut given: ExpireSpec,
    project: &Project,
    by: &Author<'_>,
) -> Result<EndpointSpec, ApiError> {
    let end_ms = given.end_ms(by.now_ms)?;
    let value = given.new_secret(project)?;
    let is_replaced = |old: &EndpointSecretSpec| {
        !project.signature().needs_shared_secret()
            || is_private(old) == is_private_key(value.expose())
    };
    let mut secrets = all(&mut spec);
    for secret in &mut secrets {
        name(secret, by);
        if is_replaced(secret) && end_of(secret).is_none_or(|end| end > end_ms) {
            secret.expires_at = Some(rfc3339(end_ms));
        }
    }
    secrets.retain(|secret| is_live(secret, by.now_ms));
    let mut new = EndpointSecretSpec {
        value: Some(value),
        ..EndpointSecretSpec::default()
    };
    name(&mut new, by);
    secrets.push(new);
    spec.secrets = Some(secrets);
    Ok(spec)
}

/// What a rotation does not do for receivers: where one secret signs it is the new one, and the
/// time that the old one has left is of no use to them (RULINGS 30).
pub(super) fn warning(
    snapshot: &Snapshot,
    stored: &Stored,
) -> Result<Option<&'static str>, ApiError> {
    let spec: EndpointSpec = stored.spec()?;
    let has_several = spec.secrets.is_some_and(|secrets| secrets.len() > 1);
    let endpoint = || {
        let table = snapshot.project(stored.document.project)?;
        let endpoint = table.endpoint(EndpointId::new(stored.uid()))?;
        Some((table.project().signature(), endpoint.mode()))
    };
    let is_single = endpoint().is_some_and(|(scheme, mode)| scheme.is_by_newest_only(mode));
    Ok((has_several && is_single).then_some(
        "a signature of this endpoint is made with the newest secret only: give it to the receiver now",
    ))
}

/// A new secret of this type, in the form that the project's signatures need.
pub(super) fn made_up(project: &Project, kind: SecretType) -> Secret {
    match kind {
        SecretType::Ed25519 => random::private_key(),
        SecretType::Shared if project.signature().needs_standard_keys() => {
            random::standard_secret()
        }
        SecretType::Shared => random::secret(),
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

fn is_private(secret: &EndpointSecretSpec) -> bool {
    let value = secret.value.as_ref();
    value.is_some_and(|value| is_private_key(value.expose()))
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
    let Some((newest, given)) = newest.zip(secret) else {
        return false;
    };
    // Of a private key clients have seen the public half, and may send that back.
    newest == given || public_key_of(newest.expose()).is_some_and(|public| public == given.expose())
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
