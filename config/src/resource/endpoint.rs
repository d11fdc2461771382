//! An endpoint: a receiver's URL and its settings.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use outrider_webhook::address::TargetUrl;
use outrider_webhook::id::{EndpointId, ProjectId};
use outrider_webhook::secret::Secret;
use outrider_webhook::sign::{self, SigningKey};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::check::{Checks, FieldError, Range, Reason};
use super::field::{self, given, refuse_unsupported};
use super::project::{Project, ProjectKind};
use super::spec::{Unsupported, expose};

/// Seconds an attempt may take, from connecting to the last byte (RULINGS section E).
const TIMEOUT_S: Range = Range {
    min: 1,
    max: 120,
    unit: "seconds",
};
const TIMEOUT_DEFAULT_S: u64 = 10;
/// Every live secret signs every attempt; a rotation needs two.
const SECRETS_MAX: usize = 16;
/// Longest secret, bytes.
const SECRET_BYTES_MAX: usize = 1024;
/// Longest owner id, bytes (the limit of the events API).
const OWNER_BYTES_MAX: usize = 255;

/// What people write of an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EndpointSpec {
    /// Required.
    pub name: Option<String>,
    /// Absolute http or https URL; required.
    pub url: Option<String>,
    /// The one secret that signs; or `secrets`.
    #[serde(serialize_with = "expose")]
    pub secret: Option<Secret>,
    /// Several secrets, oldest first, while one replaces another.
    pub secrets: Option<Vec<EndpointSecretSpec>>,
    /// Whose endpoint it is; fan-out goes to all endpoints of an owner.
    pub owner_id: Option<String>,
    /// Shown to people only.
    pub description: Option<String>,
    /// Whether the signature carries the time; default true, always true in incoming projects.
    pub advanced_signatures: Option<bool>,
    /// The old way to say `status: inactive`.
    pub is_disabled: Option<bool>,
    /// `active` (default), `paused` or `inactive`.
    pub status: Option<String>,
    /// Seconds an attempt may take; 1 to 120, default 10.
    pub http_timeout: Option<u64>,
    /// `application/json`.
    pub content_type: Option<String>,
    support_email: Unsupported,
    slack_webhook_url: Unsupported,
    teams_webhook_url: Unsupported,
    rate_limit: Unsupported,
    rate_limit_duration: Unsupported,
    authentication: Unsupported,
    mtls_client_cert: Unsupported,
}

/// One secret of several.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EndpointSecretSpec {
    /// Required.
    #[serde(serialize_with = "expose")]
    pub value: Option<Secret>,
    /// When it stops signing, RFC 3339; never when absent.
    pub expires_at: Option<String>,
}

/// Whether an endpoint receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointStatus {
    /// It does.
    Active,
    /// A person holds its deliveries back.
    Paused,
    /// It is switched off; deliveries to it are discarded.
    Inactive,
}

impl EndpointStatus {
    const WORDS: &[&str] = &["active", "paused", "inactive"];

    /// Convoy's word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Inactive => "inactive",
        }
    }
}

/// A checked endpoint. Whether its address may be reached is decided when it is.
#[derive(Debug)]
pub struct Endpoint {
    id: EndpointId,
    project: ProjectId,
    revision: u64,
    name: Box<str>,
    url: Arc<TargetUrl>,
    keys: Vec<SigningKey>,
    mode: sign::Mode,
    timeout: Duration,
    owner_id: Option<Arc<str>>,
    status: EndpointStatus,
    content_type: HeaderValue,
}

impl Endpoint {
    /// Checks a specification for its project.
    ///
    /// # Errors
    /// Every field that cannot be used.
    pub fn compile(
        id: EndpointId,
        revision: u64,
        project: &Project,
        spec: &EndpointSpec,
    ) -> Result<Self, Vec<FieldError>> {
        let mut checks = Checks::default();
        refuse_unsupported!(
            checks,
            spec,
            "",
            [
                support_email,
                slack_webhook_url,
                teams_webhook_url,
                rate_limit,
                rate_limit_duration,
                authentication,
                mtls_client_cert,
            ]
        );
        let name = field::name(&mut checks, spec.name.as_deref());
        let url = checks.require("url", given(spec.url.as_deref()));
        let url =
            url.and_then(|url| checks.take("url", TargetUrl::parse(url).map_err(Reason::refused)));
        let keys = spec.keys(&mut checks);
        let owner_id = spec.owner_id(&mut checks);
        let status = spec.status(&mut checks);
        let content_type = spec.content_type(&mut checks);
        let timeout = checks.number(
            "http_timeout",
            spec.http_timeout,
            TIMEOUT_DEFAULT_S,
            TIMEOUT_S,
        );
        let is_advanced =
            spec.advanced_signatures.unwrap_or(true) || project.kind() == ProjectKind::Incoming;
        let endpoint = (|| {
            Some(Self {
                id,
                project: project.id(),
                revision,
                name: name?,
                url: Arc::new(url?),
                keys,
                mode: if is_advanced {
                    sign::Mode::Advanced
                } else {
                    sign::Mode::Simple
                },
                timeout: Duration::from_secs(timeout),
                owner_id,
                status: status?,
                content_type: content_type?,
            })
        })();
        let endpoint = checks.finish(endpoint)?;
        endpoint.fits(project).map_err(|error| vec![error])?;
        Ok(endpoint)
    }

    /// What the project's settings demand of its endpoints.
    pub(crate) fn fits(&self, project: &Project) -> Result<(), FieldError> {
        let refuse = |field: &str, reason| {
            Err(FieldError {
                field: field.to_owned(),
                reason,
            })
        };
        if project.is_https_enforced() && !self.url.is_https() {
            return refuse(
                "url",
                Reason::Rule("must be https: the project enforces secure endpoints".to_owned()),
            );
        }
        if project.needs_standard_keys() {
            for key in &self.keys {
                if let Err(error) = key.check_standard() {
                    return refuse("secret", Reason::refused(error));
                }
            }
        }
        Ok(())
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> EndpointId {
        self.id
    }

    /// The project that owns it.
    #[must_use]
    pub fn project(&self) -> ProjectId {
        self.project
    }

    /// The revision that wrote it.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Its name, 1 to 255 bytes.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where deliveries go.
    #[must_use]
    pub fn url(&self) -> &Arc<TargetUrl> {
        &self.url
    }

    /// The secrets that sign, oldest first; at least one.
    #[must_use]
    pub fn keys(&self) -> &[SigningKey] {
        &self.keys
    }

    /// Whether Convoy's signature carries the time.
    #[must_use]
    pub fn mode(&self) -> sign::Mode {
        self.mode
    }

    /// How long an attempt may take, from connecting to the last byte: 1 to 120 s.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Whose it is, 1 to 255 bytes.
    #[must_use]
    pub fn owner_id(&self) -> Option<&str> {
        self.owner_id.as_deref()
    }

    /// The owner id, shared with the index by owner.
    pub(crate) fn shared_owner_id(&self) -> Option<&Arc<str>> {
        self.owner_id.as_ref()
    }

    /// Whether it receives.
    #[must_use]
    pub fn status(&self) -> EndpointStatus {
        self.status
    }

    /// Content type of deliveries that do not bring their own.
    #[must_use]
    pub fn content_type(&self) -> &HeaderValue {
        &self.content_type
    }

    pub(crate) fn dump(&self) -> Value {
        json!({
            "uid": self.id.to_string(),
            "revision": self.revision,
            "name": self.name,
            "url": self.url.to_string(),
            "secrets": vec!["***"; self.keys.len()],
            "advanced_signatures": matches!(self.mode, sign::Mode::Advanced),
            "http_timeout": self.timeout.as_secs(),
            "owner_id": self.owner_id.as_deref(),
            "status": self.status.as_str(),
            "content_type": self.content_type.to_str().unwrap_or_default(),
        })
    }
}

impl EndpointSpec {
    fn keys(&self, checks: &mut Checks) -> Vec<SigningKey> {
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
                .filter_map(|(index, spec)| spec.key(index, checks))
                .collect(),
        }
    }

    fn owner_id(&self, checks: &mut Checks) -> Option<Arc<str>> {
        let owner = given(self.owner_id.as_deref())?;
        let fits = owner.len() <= OWNER_BYTES_MAX && !owner.contains(char::is_control);
        let shape = "1 to 255 bytes without control characters";
        checks.take(
            "owner_id",
            fits.then(|| owner.into()).ok_or(Reason::Shape(shape)),
        )
    }

    fn status(&self, checks: &mut Checks) -> Option<EndpointStatus> {
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

    fn content_type(&self, checks: &mut Checks) -> Option<HeaderValue> {
        match given(self.content_type.as_deref()).unwrap_or("application/json") {
            "application/json" => Some(HeaderValue::from_static("application/json")),
            "application/x-www-form-urlencoded" => {
                checks.fail(
                    "content_type",
                    Reason::UnsupportedValue("`application/x-www-form-urlencoded`"),
                );
                None
            }
            _ => {
                checks.fail("content_type", Reason::NotOneOf(&["application/json"]));
                None
            }
        }
    }
}

impl EndpointSecretSpec {
    fn key(&self, index: usize, checks: &mut Checks) -> Option<SigningKey> {
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

fn key(secret: &Secret, expires_at_s: Option<i64>) -> Result<SigningKey, Reason> {
    if !(1..=SECRET_BYTES_MAX).contains(&secret.expose().len()) {
        return Err(Reason::Shape("1 to 1024 bytes"));
    }
    Ok(SigningKey::new(secret.clone(), expires_at_s))
}

/// RFC 3339 to Unix seconds.
pub(super) fn unix_s(text: &str) -> Result<i64, Reason> {
    let shape = "a time like 2026-01-31T12:00:00Z";
    OffsetDateTime::parse(text, &Rfc3339)
        .map(OffsetDateTime::unix_timestamp)
        .map_err(|_| Reason::Shape(shape))
}
