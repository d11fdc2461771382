//! What people write of an endpoint, and how its settings are checked.

use std::sync::Arc;

use http::HeaderValue;
use outrider_webhook::id::EndpointId;
use outrider_webhook::rate::Rate;
use outrider_webhook::secret::Secret;
use outrider_webhook::sign::SigningKey;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::authentication::AuthenticationSpec;
use super::check::{Checks, Range, Reason};
use super::endpoint::EndpointStatus;
use super::endpoint_tls::{ClientCertSpec, EndpointTlsSpec};
use super::failure_rate_alert::FailureRateAlertSpec;
use super::field::{NOTE_BYTES_MAX, URL_BYTES_MAX, at_most, given};
use super::protection;
use super::spec::expose;
use super::strategy::StrategySpec;

/// Every live secret signs every attempt; a rotation needs two.
const SECRETS_MAX: usize = 16;
/// Longest secret, bytes.
const SECRET_BYTES_MAX: usize = 1024;
const RATE_COUNT: Range = Range {
    unit: "deliveries",
    ..protection::COUNT
};
/// Longest owner id, bytes (the limit of the events API).
const OWNER_BYTES_MAX: usize = 255;
const JSON: &str = "application/json";
/// Data is sent as a form.
pub(super) const FORM: &str = "application/x-www-form-urlencoded";
const DESCRIPTION_BYTES_MAX: usize = 4 * 1024;
/// Longest address of a mailbox, bytes: 64 before the `@`, 255 behind it (RFC 5321).
const EMAIL_BYTES_MAX: usize = 320;

/// What people write of an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EndpointSpec {
    /// Required.
    pub name: Option<String>,
    /// Absolute http or https URL, at most 2048 bytes; required. With tokens like `{name}` in path
    /// or query it is a template of the URLs that dynamic events may name.
    pub url: Option<String>,
    /// The one secret that signs; or `secrets`.
    #[serde(serialize_with = "expose")]
    pub secret: Option<Secret>,
    /// Several secrets, oldest first, while one replaces another.
    pub secrets: Option<Vec<EndpointSecretSpec>>,
    /// Whose endpoint it is; fan-out goes to all endpoints of an owner.
    pub owner_id: Option<String>,
    /// Shown to people only; at most 4 KiB.
    pub description: Option<String>,
    /// Whether the signature carries the time; default true, always true in incoming projects.
    pub advanced_signatures: Option<bool>,
    /// The old way to say `status: inactive`.
    pub is_disabled: Option<bool>,
    /// `active` (default), `paused` or `inactive`.
    pub status: Option<String>,
    /// Seconds an attempt may take; 1 to 120, default 10.
    pub http_timeout: Option<u64>,
    /// `application/json` (default) or `application/x-www-form-urlencoded`.
    pub content_type: Option<String>,
    /// Gets a mail when the endpoint is in trouble, where mails are set up; at most 320 bytes.
    pub support_email: Option<String>,
    /// Native: how its deliveries are retried, instead of its project's way.
    pub strategy: Option<StrategySpec>,
    /// Native: counts how often it was switched on again. A larger one ends what a data plane decided
    /// by itself under a smaller one.
    pub activation_epoch: Option<u64>,
    /// Native: why it was switched off, when no person did it; at most 255 bytes.
    pub disabled_reason: Option<String>,
    /// A Slack-compatible webhook that gets a message when the endpoint is in trouble.
    pub slack_webhook_url: Option<String>,
    /// A Teams-compatible one.
    pub teams_webhook_url: Option<String>,
    /// Deliveries in `rate_limit_duration`, 1 to 1,000,000,000; any number when it is 0.
    pub rate_limit: Option<u64>,
    /// Seconds, 1 to 86,400; 0 without a limit.
    pub rate_limit_duration: Option<u64>,
    /// How its receiver knows its caller, beside the signature.
    pub authentication: Option<AuthenticationSpec>,
    /// Our certificate there, for receivers that ask for one.
    pub mtls_client_cert: Option<ClientCertSpec>,
    /// Native: whom its own certificate has to come from.
    pub tls: Option<EndpointTlsSpec>,
    /// Native: seconds until there is a connection, TLS included; 1 to `http_timeout`. Without it
    /// the limits of the process: 10 to connect, 5 for each address, 5 for TLS.
    pub connect_timeout_s: Option<u64>,
    /// Native: attempts under way at once; 1 to 256, default as the data plane is set up (16).
    pub concurrency: Option<u64>,
    /// Native: when so much of it fails that people hear of it, instead of its project's.
    pub failure_rate_alert: Option<FailureRateAlertSpec>,
    /// Native: the pool of source addresses that its deliveries come from, instead of its
    /// project's.
    pub egress_pool: Option<String>,
}

/// One secret of several.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EndpointSecretSpec {
    /// Required; shared text, `whsec_` and base64, or `whsk_` and the base64 of an Ed25519 key.
    #[serde(serialize_with = "expose")]
    pub value: Option<Secret>,
    /// When it stops signing, RFC 3339; never when absent.
    pub expires_at: Option<String>,
    /// What people call it by: kept, changes nothing.
    pub uid: Option<String>,
    /// When it was made: kept, changes nothing.
    pub created_at: Option<String>,
}

impl EndpointSpec {
    pub(super) fn refuse_long_texts(&self, checks: &mut Checks) {
        for (field, text, bytes_max) in [
            ("url", &self.url, URL_BYTES_MAX),
            ("description", &self.description, DESCRIPTION_BYTES_MAX),
            ("support_email", &self.support_email, EMAIL_BYTES_MAX),
            ("slack_webhook_url", &self.slack_webhook_url, URL_BYTES_MAX),
            ("teams_webhook_url", &self.teams_webhook_url, URL_BYTES_MAX),
        ] {
            at_most(checks, field, text.as_deref(), bytes_max);
        }
    }

    pub(super) fn keys(&self, checks: &mut Checks, id: EndpointId) -> Vec<SigningKey> {
        let single = self
            .secret
            .as_ref()
            .filter(|secret| !secret.expose().is_empty());
        let several = self.secrets.as_deref().unwrap_or_default();
        match single {
            Some(_) if !several.is_empty() => {
                checks.fail("secret", Reason::Conflict("secrets"));
                Vec::new()
            }
            Some(secret) => checks
                .take("secret", key(secret, None))
                .map(|key| key.with_id(&secret_id(id, 0)))
                .into_iter()
                .collect(),
            None if several.is_empty() => {
                checks.fail("secret", Reason::Missing);
                Vec::new()
            }
            None if several.len() > SECRETS_MAX => {
                checks.fail(
                    "secrets",
                    Reason::OutOfRange {
                        min: 1,
                        max: SECRETS_MAX as u64,
                        unit: "secrets",
                    },
                );
                Vec::new()
            }
            None => several
                .iter()
                .enumerate()
                .filter_map(|(index, spec)| {
                    let key = spec.key(index, checks)?;
                    let own = given(spec.uid.as_deref()).map(str::to_owned);
                    Some(key.with_id(&own.unwrap_or_else(|| secret_id(id, index))))
                })
                .collect(),
        }
    }

    pub(super) fn owner_id(&self, checks: &mut Checks) -> Option<Arc<str>> {
        let owner = given(self.owner_id.as_deref())?;
        let fits = owner.len() <= OWNER_BYTES_MAX && !owner.contains(char::is_control);
        let shape = "1 to 255 bytes without control characters";
        checks.take(
            "owner_id",
            fits.then(|| owner.into()).ok_or(Reason::Shape(shape)),
        )
    }

    pub(super) fn status(&self, checks: &mut Checks) -> Option<EndpointStatus> {
        let status = match given(self.status.as_deref()) {
            None if self.is_disabled == Some(true) => return Some(EndpointStatus::Inactive),
            None | Some("active") => EndpointStatus::Active,
            Some("paused") => EndpointStatus::Paused,
            Some("inactive") => return Some(EndpointStatus::Inactive),
            Some(_) => {
                checks.fail("status", Reason::NotOneOf(EndpointStatus::WORDS));
                return None;
            }
        };
        if self.is_disabled == Some(true) {
            checks.fail("is_disabled", Reason::Conflict("status"));
        }
        Some(status)
    }

    /// How often its receiver is called. 0 in either limits nothing (contract 3.2).
    pub(super) fn rate(&self, checks: &mut Checks) -> Option<Rate> {
        let count = self.rate_limit.filter(|count| *count != 0)?;
        let window_s = checks.require("rate_limit_duration", self.rate_limit_duration)?;
        if window_s == 0 {
            return None;
        }
        let fields = ["rate_limit", "rate_limit_duration"];
        protection::rate(checks, fields, (count, window_s), RATE_COUNT)
    }

    pub(super) fn content_type(&self, checks: &mut Checks) -> Option<HeaderValue> {
        match given(self.content_type.as_deref()).unwrap_or(JSON) {
            JSON => Some(HeaderValue::from_static(JSON)),
            FORM => Some(HeaderValue::from_static(FORM)),
            _ => {
                checks.fail("content_type", Reason::NotOneOf(&[JSON, FORM]));
                None
            }
        }
    }
}

impl EndpointSecretSpec {
    fn key(&self, index: usize, checks: &mut Checks) -> Option<SigningKey> {
        for (name, text) in [("uid", &self.uid), ("created_at", &self.created_at)] {
            let field = format!("secrets[{index}].{name}");
            at_most(checks, &field, text.as_deref(), NOTE_BYTES_MAX);
        }
        let secret = checks.require(&format!("secrets[{index}].value"), self.value.as_ref())?;
        let expires_at_s = match given(self.expires_at.as_deref()) {
            Some(text) => Some(checks.take(&format!("secrets[{index}].expires_at"), unix_s(text))?),
            None => None,
        };
        checks.take(
            &format!("secrets[{index}].value"),
            key(secret, expires_at_s),
        )
    }
}

/// The id of a secret that was given none: by its place, so that it is always the same one.
fn secret_id(endpoint: EndpointId, index: usize) -> String {
    endpoint.uid().part(index).to_string()
}

fn key(secret: &Secret, expires_at_s: Option<i64>) -> Result<SigningKey, Reason> {
    if !(1..=SECRET_BYTES_MAX).contains(&secret.expose().len()) {
        return Err(Reason::Shape("1 to 1024 bytes"));
    }
    SigningKey::new(secret.clone(), expires_at_s).map_err(Reason::refused)
}

/// RFC 3339 to Unix seconds.
pub(super) fn unix_s(text: &str) -> Result<i64, Reason> {
    let shape = "a time like 2026-01-31T12:00:00Z";
    // The format sets no end to the digits of a second.
    match OffsetDateTime::parse(text, &Rfc3339) {
        Ok(at) if text.len() <= NOTE_BYTES_MAX => Ok(at.unix_timestamp()),
        _ => Err(Reason::Shape(shape)),
    }
}
