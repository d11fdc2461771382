//! A project: the settings that hold for everything in it.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use outrider_webhook::id::ProjectId;
use outrider_webhook::{filter, sign};
use serde_json::{Value, json};

use super::breaker_spec::CircuitBreaker;
use super::check::{Checks, FieldError, Reason};
use super::deduplication::WINDOW_S;
use super::egress_pool_spec::pool_name;
use super::failure_rate_alert::FailureRateAlert;
use super::field::{self, given};
use super::filter_spec::filter_mode;
use super::meta_event::{MetaEvents, own_project};
use super::project_spec::{ConfigSpec, ProjectSpec};
use super::protection::Protection;
use super::strategy::RetryStrategy;
use super::type_policy::TypePolicy;

/// Largest body taken unless the project or the source's preset says otherwise: 50 KiB, as
/// Convoy (RULINGS section E).
pub const BODY_BYTES_DEFAULT: usize = 50 * 1024;
/// Largest body any project may allow: 32 MiB (RULINGS section E).
pub const BODY_BYTES_CEILING: usize = 32 * 1024 * 1024;
/// How long events are kept: 30 days (RULINGS section E). Idempotency keys are remembered as
/// long (RULINGS 7).
pub const RETENTION_DEFAULT: Duration = Duration::from_secs(30 * 24 * 3600);

/// Which way a project's events go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProjectKind {
    /// From providers to our services.
    Incoming,
    /// From our services to customers.
    Outgoing,
}

impl ProjectKind {
    const WORDS: &[&str] = &["incoming", "outgoing"];

    /// Convoy's word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Incoming => "incoming",
            Self::Outgoing => "outgoing",
        }
    }

    fn parse(text: &str) -> Result<Self, Reason> {
        match text {
            "incoming" => Ok(Self::Incoming),
            "outgoing" => Ok(Self::Outgoing),
            _ => Err(Reason::NotOneOf(Self::WORDS)),
        }
    }
}

/// A checked project.
#[derive(Debug)]
pub struct Project {
    id: ProjectId,
    revision: u64,
    name: Box<str>,
    kind: ProjectKind,
    body_bytes_max: Option<usize>,
    strategy: RetryStrategy,
    breaker: CircuitBreaker,
    rate_alert: Option<FailureRateAlert>,
    signature: sign::Scheme,
    idempotency_header: HeaderName,
    is_https_enforced: bool,
    has_many_subscriptions: bool,
    filter_mode: filter::Mode,
    idempotency_window_s: u64,
    type_policy: TypePolicy,
    protection: Protection,
    verifies_dynamic_events: bool,
    allows_unmatched_dynamic_urls: bool,
    disables_endpoints: bool,
    egress_pool: Option<Arc<str>>,
    meta: Option<Box<MetaEvents>>,
    /// What meta events and notifications belong to; it has none itself.
    own: Option<Arc<Project>>,
}

impl Project {
    /// Checks a specification.
    ///
    /// # Errors
    /// Every field that cannot be used.
    pub fn compile(
        id: ProjectId,
        revision: u64,
        spec: &ProjectSpec,
    ) -> Result<Self, Vec<FieldError>> {
        let own = own_project((id, revision), spec).map(Arc::new);
        Self::compile_with((id, revision), spec, own)
    }

    /// The same of what meta events belong to.
    pub(super) fn compile_own(
        id: ProjectId,
        revision: u64,
        spec: &ProjectSpec,
    ) -> Result<Self, Vec<FieldError>> {
        Self::compile_with((id, revision), spec, None)
    }

    fn compile_with(
        (id, revision): (ProjectId, u64),
        spec: &ProjectSpec,
        own: Option<Arc<Self>>,
    ) -> Result<Self, Vec<FieldError>> {
        let mut checks = Checks::default();
        let name = field::name(&mut checks, spec.name.as_deref());
        spec.check_logo_url(&mut checks);
        let kind = checks.require("type", given(spec.kind.as_deref()));
        let kind = kind.and_then(|kind| checks.take("type", ProjectKind::parse(kind)));
        let default = ConfigSpec::default();
        let config = spec.config.as_ref().unwrap_or(&default);
        config.refuse_unsupported(&mut checks);
        let strategy = config.strategy.clone().unwrap_or_default();
        let strategy = strategy.compile("config.strategy", &mut checks);
        let breaker = config.circuit_breaker.clone().unwrap_or_default();
        let breaker = breaker.compile("config.circuit_breaker", &mut checks);
        let rate_alert = config.failure_rate_alert.as_ref();
        let rate_alert =
            rate_alert.and_then(|spec| spec.compile("config.failure_rate_alert", &mut checks));
        let signature = config
            .signature
            .clone()
            .unwrap_or_default()
            .compile(&mut checks);
        let idempotency_header = config.idempotency_header(signature.as_ref(), &mut checks);
        let type_policy = TypePolicy::compile(config, &mut checks);
        let body_bytes_max = config.body_bytes_max(&mut checks);
        let mode = config.filter_mode.as_deref();
        let filter_mode = filter_mode(&mut checks, "config.filter_mode", mode);
        let is_https_enforced = config
            .ssl
            .as_ref()
            .and_then(|ssl| ssl.enforce_secure_endpoints)
            .unwrap_or(false);
        let idempotency_window_s = checks.number(
            "config.idempotency_window_s",
            config.idempotency_window_s,
            WINDOW_S.max,
            WINDOW_S,
        );
        let meta = MetaEvents::compile(own.as_ref(), revision, spec, &mut checks);
        let protection = Protection::compile(&mut checks, &config.protection());
        let egress_pool = pool_name(&mut checks, "egress_pool", spec.egress_pool.as_deref());
        let project = (|| {
            Some(Self {
                id,
                revision,
                name: name?,
                kind: kind?,
                body_bytes_max,
                strategy: strategy?,
                breaker,
                rate_alert,
                signature: signature?,
                idempotency_header: idempotency_header?,
                is_https_enforced,
                has_many_subscriptions: config.multiple_endpoint_subscriptions.unwrap_or(false),
                filter_mode: filter_mode?.unwrap_or_default(),
                idempotency_window_s,
                type_policy: type_policy?,
                protection,
                verifies_dynamic_events: config.verify_dynamic_events.unwrap_or(false),
                allows_unmatched_dynamic_urls: config.allow_unmatched_dynamic_urls.unwrap_or(false),
                meta: meta.map(Box::new),
                own,
                disables_endpoints: config.disable_endpoint.unwrap_or(false),
                egress_pool,
            })
        })();
        checks.finish(project)
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> ProjectId {
        self.id
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

    /// Which way its events go.
    #[must_use]
    pub fn kind(&self) -> ProjectKind {
        self.kind
    }

    /// Largest body of an event, bytes, 1 to [`BODY_BYTES_CEILING`]. A source may have another
    /// default: [`super::Source::body_bytes_max`].
    #[must_use]
    pub fn body_bytes_max(&self) -> usize {
        self.body_bytes_max.unwrap_or(BODY_BYTES_DEFAULT)
    }

    /// The limit the project itself sets, if it does.
    pub(crate) fn body_bytes_configured(&self) -> Option<usize> {
        self.body_bytes_max
    }

    /// How deliveries are retried.
    #[must_use]
    pub fn strategy(&self) -> &RetryStrategy {
        &self.strategy
    }

    /// When its endpoints are left alone because they fail.
    #[must_use]
    pub fn breaker(&self) -> &CircuitBreaker {
        &self.breaker
    }

    /// When people hear that an endpoint fails too often, where it does not say so itself.
    pub(super) fn rate_alert(&self) -> Option<&FailureRateAlert> {
        self.rate_alert.as_ref()
    }

    /// How deliveries are signed.
    #[must_use]
    pub fn signature(&self) -> &sign::Scheme {
        &self.signature
    }

    /// Header that carries an event's idempotency key to the receiver.
    #[must_use]
    pub fn idempotency_header(&self) -> &HeaderName {
        &self.idempotency_header
    }

    /// Whether endpoints must be https.
    #[must_use]
    pub fn is_https_enforced(&self) -> bool {
        self.is_https_enforced
    }

    /// How the filters of its subscriptions are read.
    #[must_use]
    pub fn filter_mode(&self) -> filter::Mode {
        self.filter_mode
    }

    /// Whether several subscriptions for one endpoint are wanted. Always in incoming projects,
    /// where they differ by source.
    #[must_use]
    pub fn has_many_subscriptions(&self) -> bool {
        self.has_many_subscriptions || self.kind == ProjectKind::Incoming
    }

    /// What its catalogue of event types decides at intake.
    #[must_use]
    pub fn type_policy(&self) -> TypePolicy {
        self.type_policy
    }

    /// Who may send events to it, and how often.
    #[must_use]
    pub fn protection(&self) -> &Protection {
        &self.protection
    }

    /// Whether a dynamic event waits until its endpoint is in force.
    #[must_use]
    pub fn verifies_dynamic_events(&self) -> bool {
        self.verifies_dynamic_events
    }

    /// Whether a dynamic event may make an endpoint of a URL that matches no URL template, where
    /// there are templates.
    #[must_use]
    pub fn allows_unmatched_dynamic_urls(&self) -> bool {
        self.allows_unmatched_dynamic_urls
    }

    /// What its owner is told of it, if anything.
    #[must_use]
    pub fn meta(&self) -> Option<&MetaEvents> {
        self.meta.as_deref()
    }

    /// What meta events and notifications about it belong to.
    #[must_use]
    pub fn own(&self) -> Option<&Arc<Self>> {
        self.own.as_ref()
    }

    /// Whether no person made it: meta events and notifications belong to it, and nothing else does.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.own.is_none()
    }

    /// Whether an endpoint is switched off when a delivery has used up its attempts.
    #[must_use]
    pub fn disables_endpoints(&self) -> bool {
        self.disables_endpoints
    }

    /// The pool that its connections come from, if it names one. Which pool that is, and for its
    /// endpoints, [`crate::Snapshot::pool_of`] says.
    #[must_use]
    pub fn egress_pool(&self) -> Option<&Arc<str>> {
        self.egress_pool.as_ref()
    }

    /// Whether an endpoint that is right for `old` may be wrong for this version.
    pub(crate) fn demands_more_than(&self, old: &Self) -> bool {
        let is_new = |is: bool, was: bool| is && !was;
        is_new(self.is_https_enforced, old.is_https_enforced)
            || self.signature.demands_more_than(&old.signature)
            || self.signature.takes_more_than(&old.signature)
            || self.idempotency_header != old.idempotency_header
    }

    /// How long its events are kept.
    #[must_use]
    pub fn retention(&self) -> Duration {
        RETENTION_DEFAULT
    }

    /// How long idempotency keys are remembered, milliseconds: as its configuration says, else
    /// the retention (RULINGS 7).
    #[must_use]
    pub fn idempotency_window_ms(&self) -> i64 {
        i64::try_from(self.idempotency_window_s.saturating_mul(1000)).unwrap_or(i64::MAX)
    }

    pub(crate) fn dump(&self) -> Value {
        json!({
            "uid": self.id.to_string(),
            "revision": self.revision,
            "name": self.name,
            "type": self.kind.as_str(),
            "max_payload_read_size": self.body_bytes_max(),
            "strategy": self.strategy.dump(),
            "circuit_breaker": self.breaker.dump(),
            "failure_rate_alert": self.rate_alert.as_ref().map(FailureRateAlert::dump),
            "signature": signature(&self.signature),
            "request_id_header": self.idempotency_header.as_str(),
            "enforce_secure_endpoints": self.is_https_enforced,
            "schema_enforcement": self.type_policy.enforcement.as_str(),
            "unknown_event_types": self.type_policy.unknown_word(),
            "protection": self.protection.dump(),
            "filter_mode": self.filter_mode.as_str(),
            "allow_unmatched_dynamic_urls": self.allows_unmatched_dynamic_urls,
            "meta_event": self.meta.as_deref().map(MetaEvents::dump),
            "disable_endpoint": self.disables_endpoints,
            "egress_pool": self.egress_pool.as_deref(),
            "retention_s": self.retention().as_secs(),
            "idempotency_window_s": self.idempotency_window_s,
        })
    }
}

fn signature(scheme: &sign::Scheme) -> Value {
    let version = |version: &sign::Version| json!({"hash": version.hash.as_str(), "encoding": version.encoding.as_str()});
    let own = |own: &sign::SignatureHeader| json!({"name": own.name().as_str(), "value": own.value(), "signed": own.signed()});
    let message = |message: &sign::MessageSignature| {
        json!({
            "components": message.components().collect::<Vec<_>>(), "expires_in_s": message.expires_in_s(), "tag": message.tag(),
        })
    };
    json!({
        "header": scheme.header().as_str(),
        "versions": scheme.versions().iter().map(version).collect::<Vec<_>>(),
        "format": scheme.format().as_str(),
        "input": scheme.input().as_str(),
        "secret_type": scheme.secret_type().as_str(),
        "headers": scheme.headers().iter().map(own).collect::<Vec<_>>(),
        "message_signature": scheme.message().map(message),
    })
}
