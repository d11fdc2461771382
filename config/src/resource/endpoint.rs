//! An endpoint: a receiver's URL and its settings.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use outrider_webhook::address::{Scheme, TargetUrl};
use outrider_webhook::authentication::Authentication;
use outrider_webhook::breaker::alert;
use outrider_webhook::client_tls::ClientTls;
use outrider_webhook::id::{EndpointId, ProjectId};
use outrider_webhook::rate::Rate;
use outrider_webhook::sign::{self, SigningKey};
use outrider_webhook::url_template::EndpointUrl;
use serde_json::{Value, json};

use super::authentication;
use super::check::{Checks, FieldError, Range, Reason};
use super::egress_pool_spec::pool_name;
use super::endpoint_spec::{EndpointSpec, FORM};
use super::endpoint_tls;
use super::failure_rate_alert::FailureRateAlert;
use super::field::{self, given};
use super::hook::Hook;
use super::project::{Project, ProjectKind};
use super::strategy::RetryStrategy;

/// Seconds an attempt may take, from connecting to the last byte (RULINGS section E).
const TIMEOUT_S: Range = Range {
    min: 1,
    max: 120,
    unit: "seconds",
};
const CONCURRENCY: Range = Range {
    min: 1,
    max: 256,
    unit: "attempts",
};
const TIMEOUT_DEFAULT_S: u64 = 10;

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
    pub(super) const WORDS: &[&str] = &["active", "paused", "inactive"];

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
    url: EndpointUrl,
    keys: Box<[SigningKey]>,
    mode: sign::Mode,
    timeout: Duration,
    owner_id: Option<Arc<str>>,
    status: EndpointStatus,
    content_type: HeaderValue,
    rate: Option<Rate>,
    authentication: Option<Authentication>,
    tls: Option<Arc<ClientTls>>,
    certificate: Option<Arc<str>>,
    connect_timeout: Option<Duration>,
    activation_epoch: u64,
    concurrency: Option<u32>,
    hooks: Box<[Hook]>,
    mailbox: Option<Box<str>>,
    rate_alert: Option<FailureRateAlert>,
    egress_pool: Option<Arc<str>>,
    /// Few endpoints have their own.
    strategy: Option<Box<RetryStrategy>>,
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
        spec.refuse_long_texts(&mut checks);
        let name = field::name(&mut checks, spec.name.as_deref());
        let url = checks.require("url", given(spec.url.as_deref()));
        let url = url.and_then(|url| {
            let url = EndpointUrl::parse(url);
            checks.take("url", url.map_err(Reason::refused))
        });
        let keys = spec.keys(&mut checks, id);
        let owner_id = spec.owner_id(&mut checks);
        let status = spec.status(&mut checks);
        let content_type = spec.content_type(&mut checks);
        let rate = spec.rate(&mut checks);
        let owner = project.id().to_string();
        let authentication = spec.authentication.as_ref();
        let authentication = authentication.map(|spec| spec.compile(&owner, &mut checks));
        let activation_epoch = spec.epoch(&mut checks);
        let concurrency = spec.concurrency.filter(|count| *count != 0);
        let concurrency =
            concurrency.map(|count| checks.number("concurrency", Some(count), count, CONCURRENCY));
        let egress_pool = pool_name(&mut checks, "egress_pool", spec.egress_pool.as_deref());
        let hooks = spec.hooks(&mut checks, (id, revision), project);
        let mailbox = spec.mailbox(&mut checks);
        let rate_alert = spec.failure_rate_alert.as_ref();
        let rate_alert =
            rate_alert.and_then(|spec| spec.compile("failure_rate_alert", &mut checks));
        let own = spec.strategy.as_ref();
        let strategy = own.map(|own| own.compile("strategy", &mut checks).map(Box::new));
        let timeout = checks.number(
            "http_timeout",
            spec.http_timeout,
            TIMEOUT_DEFAULT_S,
            TIMEOUT_S,
        );
        let tls = endpoint_tls::compile(spec, &mut checks);
        let needs_https = tls.as_ref().is_some_and(endpoint_tls::OwnTls::is_some);
        if needs_https && url.as_ref().is_some_and(|url| !url.site().is_https()) {
            let says = "must be https: nothing else has certificates";
            checks.fail("url", Reason::Rule(says.to_owned()));
        }
        let connect = spec.connect_timeout_s.filter(|seconds| *seconds != 0);
        let range = Range {
            max: timeout,
            ..TIMEOUT_S
        };
        let connect = connect.map(|own| checks.number("connect_timeout_s", Some(own), own, range));
        let is_advanced =
            spec.advanced_signatures.unwrap_or(true) || project.kind() == ProjectKind::Incoming;
        let endpoint = (|| {
            Some(Self {
                id,
                project: project.id(),
                revision,
                name: name?,
                url: url?,
                keys: keys.into(),
                mode: if is_advanced {
                    sign::Mode::Advanced
                } else {
                    sign::Mode::Simple
                },
                timeout: Duration::from_secs(timeout),
                owner_id,
                status: status?,
                content_type: content_type?,
                rate,
                authentication: authentication.unwrap_or(Some(None))?,
                certificate: tls.as_ref().and_then(|tls| tls.certificate.clone()),
                tls: tls?.settings.map(Arc::new),
                connect_timeout: connect.map(Duration::from_secs),
                activation_epoch,
                concurrency: concurrency.and_then(|count| u32::try_from(count).ok()),
                hooks,
                mailbox,
                rate_alert,
                egress_pool,
                strategy: strategy.map_or(Some(None), |own| own.map(Some))?,
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
        if project.is_https_enforced() && !self.url.site().is_https() {
            return refuse(
                "url",
                Reason::Rule("must be https: the project enforces secure endpoints".to_owned()),
            );
        }
        if let Some(url) = self.token_url()
            && project.is_https_enforced()
            && url.scheme() != Scheme::Https
        {
            let says = "must be https: the project enforces secure endpoints";
            return refuse("authentication.oauth2.url", Reason::Rule(says.to_owned()));
        }
        if let Some(authentication) = &self.authentication {
            let header = authentication.header();
            let free = project.signature().check_free(header);
            free.or_else(|error| refuse("authentication", Reason::refused(error)))?;
            if header == project.idempotency_header() {
                let says = format!("header `{header}` carries the project's idempotency keys");
                return refuse("authentication", Reason::Rule(says));
            }
        }
        let fit = project.signature().check_keys(&self.keys);
        fit.or_else(|error| refuse("secret", Reason::refused(error)))
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

    /// Where deliveries go, or which URLs an event may name for them.
    #[must_use]
    pub fn url(&self) -> &EndpointUrl {
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

    /// How long it may take until there is a connection; as the process says when absent.
    #[must_use]
    pub fn connect_timeout(&self) -> Option<Duration> {
        self.connect_timeout
    }

    /// TLS settings other than those of the process.
    #[must_use]
    pub fn tls(&self) -> Option<&Arc<ClientTls>> {
        self.tls.as_ref()
    }

    /// The name of the certificate by which its receiver knows us, where only the hosts have it
    /// that connect to it.
    #[must_use]
    pub fn certificate(&self) -> Option<&Arc<str>> {
        self.certificate.as_ref()
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

    /// Where people read of its troubles.
    #[must_use]
    pub fn hooks(&self) -> &[Hook] {
        &self.hooks
    }

    /// Whom mails about it go to.
    #[must_use]
    pub fn mailbox(&self) -> Option<&str> {
        self.mailbox.as_deref()
    }

    /// When so much fails that people hear of it, as it says itself or as its project does.
    #[must_use]
    pub fn rate_alert(&self, project: &Project) -> Option<alert::Policy> {
        let alert = self.rate_alert.as_ref().or(project.rate_alert());
        alert.and_then(|alert| alert.policy(project.breaker()))
    }

    /// How often it was switched on again.
    #[must_use]
    pub fn activation_epoch(&self) -> u64 {
        self.activation_epoch
    }

    /// How often its receiver is called at most.
    #[must_use]
    pub fn rate(&self) -> Option<&Rate> {
        self.rate.as_ref()
    }

    /// Attempts under way at once, 1 to 256, if it says so itself.
    #[must_use]
    pub fn concurrency(&self) -> Option<u32> {
        self.concurrency
    }

    /// How its deliveries are retried: its own way, or that of its project.
    #[must_use]
    pub fn strategy<'s>(&'s self, project: &'s Project) -> &'s RetryStrategy {
        self.strategy.as_deref().unwrap_or(project.strategy())
    }

    /// The pool that its deliveries come from, if it names one itself. Which pool that is,
    /// [`crate::Snapshot::pool_of`] says.
    #[must_use]
    pub fn egress_pool(&self) -> Option<&Arc<str>> {
        self.egress_pool.as_ref()
    }

    /// How its receiver knows its caller, beside the signature.
    #[must_use]
    pub fn authentication(&self) -> Option<&Authentication> {
        self.authentication.as_ref()
    }

    /// Where tokens for its deliveries come from, if they need one.
    #[must_use]
    pub fn token_url(&self) -> Option<&TargetUrl> {
        match &self.authentication {
            Some(Authentication::OAuth2(client)) => Some(client.url()),
            Some(Authentication::Fixed(_)) | None => None,
        }
    }

    /// Whether its data is sent as a form.
    #[must_use]
    pub fn takes_forms(&self) -> bool {
        self.content_type == FORM
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
            "url": self.url.redacted(),
            "secrets": self.keys.iter().map(shown).collect::<Vec<_>>(),
            "advanced_signatures": matches!(self.mode, sign::Mode::Advanced),
            "http_timeout": self.timeout.as_secs(),
            "owner_id": self.owner_id.as_deref(),
            "status": self.status.as_str(),
            "activation_epoch": self.activation_epoch,
            "content_type": self.content_type.to_str().unwrap_or_default(),
            "authentication": self.authentication.as_ref().map(authentication::dump),
            "tls": endpoint_tls::dump(self.tls.as_deref(), self.certificate.as_deref()),
            "connect_timeout_s": self.connect_timeout.map(|limit| limit.as_secs()),
            "rate_limit": self.rate.map(|rate| rate.count()),
            "rate_limit_duration": self.rate.map(|rate| rate.window().as_secs()),
            "concurrency": self.concurrency,
            "failure_rate_alert": self.rate_alert.as_ref().map(FailureRateAlert::dump),
            "strategy": self.strategy.as_deref().map(RetryStrategy::dump),
            "egress_pool": self.egress_pool.as_deref(),
        })
    }
}

/// What may be seen of a secret: the public half, if it has one.
fn shown(key: &SigningKey) -> String {
    key.public_key().unwrap_or_else(|| "***".to_owned())
}
