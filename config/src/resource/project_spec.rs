//! What people write of a project, and how its settings are checked.

use http::HeaderName;
use outrider_webhook::sign;
use serde::{Deserialize, Serialize};

use super::breaker_spec::BreakerSpec;
use super::check::{Checks, Range, Reason};
use super::failure_rate_alert::FailureRateAlertSpec;
use super::field::{URL_BYTES_MAX, at_most, given, header_name, is_framing, refuse_unsupported};
use super::meta_event::MetaEventSpec;
use super::project::BODY_BYTES_CEILING;
use super::protection::{ProtectionSpec, RateSpec};
use super::signature_spec::SignatureSpec;
use super::spec::Unsupported;
use super::strategy::StrategySpec;

const IDEMPOTENCY_HEADER_DEFAULT: &str = "x-convoy-idempotency-key";

/// What people write of a project.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProjectSpec {
    /// Required.
    pub name: Option<String>,
    /// `incoming` or `outgoing`; required, and never changes.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Shown to people only: an http or https URL, at most 2048 bytes.
    pub logo_url: Option<String>,
    /// Native: the pool of source addresses that its deliveries come from.
    pub egress_pool: Option<String>,
    /// Settings; those not given have their defaults.
    pub config: Option<ConfigSpec>,
}

/// The settings of a project, Convoy's `ProjectConfig`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConfigSpec {
    /// Largest body, bytes; 1 to 33554432, default 51200 (26214400 for GitHub sources).
    pub max_payload_read_size: Option<u64>,
    /// Convoy's: changes nothing, the endpoint's `advanced_signatures` decides.
    pub replay_attacks_prevention_enabled: Option<bool>,
    /// Convoy's: changes nothing, the id headers are always sent (RULINGS 21).
    pub add_event_id_trace_headers: Option<bool>,
    /// Whether an outgoing project may have several subscriptions for one endpoint.
    pub multiple_endpoint_subscriptions: Option<bool>,
    /// Whether endpoints must be https.
    #[serde(alias = "SSL")]
    pub ssl: Option<SslSpec>,
    /// How deliveries are retried.
    pub strategy: Option<StrategySpec>,
    /// How deliveries are signed.
    pub signature: Option<SignatureSpec>,
    /// Header that carries an event's idempotency key; default `X-Convoy-Idempotency-Key`.
    pub request_id_header: Option<String>,
    /// Native: how long idempotency keys are remembered, seconds; 1 to 2592000 (30 days, default).
    pub idempotency_window_s: Option<u64>,
    /// How filters are read: `strict` (default), or `convoy` with the surprises of its matcher.
    pub filter_mode: Option<String>,
    /// Convoy's: kept, changes nothing, there too.
    pub ratelimit: Option<RateLimitSpec>,
    /// What is done with an event that is not as the schema of its type wants it: `off` (default),
    /// `flag` or `reject`.
    pub schema_enforcement: Option<String>,
    /// What is done with an event whose type is not in the catalogue: `accept` (default) or `reject`.
    pub unknown_event_types: Option<String>,
    /// Native: ranges of addresses that may send events; all when there are none.
    pub ingest_allow_cidrs: Option<Vec<String>>,
    /// Native: ranges of addresses that may not send events, whatever is allowed.
    pub ingest_deny_cidrs: Option<Vec<String>>,
    /// Native: how many requests with events are taken.
    pub ingest_rate_limit: Option<RateSpec>,
    /// Whether an endpoint is switched off when a delivery to it has used up its attempts.
    pub disable_endpoint: Option<bool>,
    search_policy: Unsupported,
    /// What its owner is told of the project itself.
    pub meta_event: Option<MetaEventSpec>,
    /// Whether a dynamic event is answered only once its endpoint is configuration, at most 30 s.
    pub verify_dynamic_events: Option<bool>,
    /// Whether a dynamic event whose URL matches none of the project's URL templates makes an
    /// endpoint of it. Without templates it does so anyway.
    pub allow_unmatched_dynamic_urls: Option<bool>,
    /// When its endpoints are left alone because they fail.
    pub circuit_breaker: Option<BreakerSpec>,
    /// Native: when so much of what an endpoint gets fails that people hear of it.
    pub failure_rate_alert: Option<FailureRateAlertSpec>,
}

/// Convoy's `ratelimit` of a project.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimitSpec {
    /// Events; default 1000.
    pub count: Option<u64>,
    /// In so many seconds; default 60.
    pub duration: Option<u64>,
}

/// Convoy's `ssl`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SslSpec {
    /// Whether endpoints must be https.
    pub enforce_secure_endpoints: Option<bool>,
}

impl ProjectSpec {
    /// A page shows it, so a script must not get there.
    pub(super) fn check_logo_url(&self, checks: &mut Checks) {
        let Some(url) = given(self.logo_url.as_deref()) else {
            return;
        };
        at_most(checks, "logo_url", Some(url), URL_BYTES_MAX);
        let is_web = url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        if !is_web {
            checks.fail("logo_url", Reason::Shape("an http or https URL"));
        }
    }
}

impl ConfigSpec {
    pub(super) fn refuse_unsupported(&self, checks: &mut Checks) {
        refuse_unsupported!(checks, self, "config.", [search_policy]);
    }

    pub(super) fn protection(&self) -> ProtectionSpec<'_> {
        ProtectionSpec {
            names: [
                "config.ingest_allow_cidrs",
                "config.ingest_deny_cidrs",
                "config.ingest_rate_limit",
            ],
            allow: self.ingest_allow_cidrs.as_deref(),
            deny: self.ingest_deny_cidrs.as_deref(),
            rate: self.ingest_rate_limit.as_ref(),
        }
    }

    pub(super) fn body_bytes_max(&self, checks: &mut Checks) -> Option<usize> {
        let field = "config.max_payload_read_size";
        let range = Range {
            min: 1,
            max: BODY_BYTES_CEILING as u64,
            unit: "bytes",
        };
        let bytes = self.max_payload_read_size.filter(|bytes| *bytes != 0)?;
        usize::try_from(checks.number(field, Some(bytes), bytes, range)).ok()
    }

    /// The header of the idempotency key; it must not be one that signing writes.
    pub(super) fn idempotency_header(
        &self,
        signature: Option<&sign::Scheme>,
        checks: &mut Checks,
    ) -> Option<HeaderName> {
        let field = "config.request_id_header";
        let text = given(self.request_id_header.as_deref()).unwrap_or(IDEMPOTENCY_HEADER_DEFAULT);
        let name = checks.take(field, own_header(text))?;
        let fits = signature.map_or(Ok(()), |scheme| scheme.check_free(&name));
        checks.take(field, fits.map(|()| name).map_err(Reason::refused))
    }
}

/// A header that we write on every delivery.
pub(super) fn own_header(text: &str) -> Result<HeaderName, Reason> {
    let name = header_name(text)?;
    if is_framing(&name) {
        return Err(Reason::Shape("a header that does not frame the message"));
    }
    Ok(name)
}
