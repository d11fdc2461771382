//! Meta events: what a project's owner is told of the project itself, at a URL of its own
//! (contract 3.11).
//!
//! They are events like others: of a project that only this gateway knows, with one endpoint.
//! So everything that holds for deliveries holds for them, and no list of the project shows them.

use std::sync::Arc;

use outrider_webhook::id::{EndpointId, ProjectId};
use outrider_webhook::secret::Secret;
use outrider_webhook::url_template::is_template;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::check::{Checks, Reason};
use super::endpoint::Endpoint;
use super::endpoint_spec::EndpointSpec;
use super::field::given;
use super::project::Project;
use super::project_spec::{ConfigSpec, ProjectSpec, SslSpec};
use super::spec::expose;

/// What people write of the meta events of a project.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetaEventSpec {
    /// Whether there are any; default false, and then nothing else is looked at.
    pub is_enabled: Option<bool>,
    /// `http`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Which of them are wanted; at least one.
    pub event_type: Option<Vec<String>>,
    /// Where they go; required.
    pub url: Option<String>,
    /// What signs them; required.
    #[serde(serialize_with = "expose")]
    pub secret: Option<Secret>,
}

/// What a meta event tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MetaKind {
    /// The project was changed.
    ProjectUpdated,
    /// An endpoint was made.
    EndpointCreated,
    /// An endpoint was changed.
    EndpointUpdated,
    /// An endpoint was removed.
    EndpointDeleted,
    /// An endpoint was switched off, by a person or by what its receiver did.
    EndpointDisabled,
    /// An endpoint was switched on again.
    EndpointEnabled,
    /// A delivery reached its receiver.
    DeliverySuccess,
    /// A delivery ended as a dead letter.
    DeliveryFailed,
    /// Convoy has the word, and never sends it; neither does this.
    DeliveryUpdated,
    /// An endpoint keeps failing and is left alone for a while.
    BreakerOpened,
    /// An endpoint that was left alone is served again.
    BreakerClosed,
    /// More of what an endpoint gets fails than its alert says.
    FailureRateExceeded,
    /// That is over.
    FailureRateRecovered,
    /// Source addresses that the project may see were announced, changed or removed.
    EgressIpsUpdated,
}

impl MetaKind {
    const ALL: [Self; 14] = [
        Self::ProjectUpdated,
        Self::EndpointCreated,
        Self::EndpointUpdated,
        Self::EndpointDeleted,
        Self::EndpointDisabled,
        Self::EndpointEnabled,
        Self::DeliverySuccess,
        Self::DeliveryFailed,
        Self::DeliveryUpdated,
        Self::BreakerOpened,
        Self::BreakerClosed,
        Self::FailureRateExceeded,
        Self::FailureRateRecovered,
        Self::EgressIpsUpdated,
    ];
    const WORDS: &[&str] = &[
        "project.updated",
        "endpoint.created",
        "endpoint.updated",
        "endpoint.deleted",
        "endpoint.disabled",
        "endpoint.enabled",
        "eventdelivery.success",
        "eventdelivery.failed",
        "eventdelivery.updated",
        "breaker.opened",
        "breaker.closed",
        "failure_rate.exceeded",
        "failure_rate.recovered",
        "egress_ips.updated",
    ];

    /// The event type of such meta events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ProjectUpdated => "project.updated",
            Self::EndpointCreated => "endpoint.created",
            Self::EndpointUpdated => "endpoint.updated",
            Self::EndpointDeleted => "endpoint.deleted",
            Self::EndpointDisabled => "endpoint.disabled",
            Self::EndpointEnabled => "endpoint.enabled",
            Self::DeliverySuccess => "eventdelivery.success",
            Self::DeliveryFailed => "eventdelivery.failed",
            Self::DeliveryUpdated => "eventdelivery.updated",
            Self::BreakerOpened => "breaker.opened",
            Self::BreakerClosed => "breaker.closed",
            Self::FailureRateExceeded => "failure_rate.exceeded",
            Self::FailureRateRecovered => "failure_rate.recovered",
            Self::EgressIpsUpdated => "egress_ips.updated",
        }
    }

    /// The kind of an event type.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// The checked meta events of a project.
#[derive(Debug)]
pub struct MetaEvents {
    kinds: u16,
    project: Arc<Project>,
    endpoint: Arc<Endpoint>,
}

impl MetaEvents {
    /// The project that the meta events of a project belong to.
    #[must_use]
    pub fn project_of(project: ProjectId) -> ProjectId {
        // Beyond what numbers the parts of anything else.
        ProjectId::new(project.uid().part(usize::MAX >> 1))
    }

    /// The project that what belongs to one is about.
    #[must_use]
    pub fn home_of(own: ProjectId) -> ProjectId {
        Self::project_of(own) // the way there and the way back are the same
    }

    /// Whether such events are wanted.
    #[must_use]
    pub fn wants(&self, kind: MetaKind) -> bool {
        self.kinds & kind.bit() != 0
    }

    /// The project that they belong to.
    #[must_use]
    pub fn project(&self) -> &Arc<Project> {
        &self.project
    }

    /// What they belong to, and where they go.
    #[must_use]
    pub fn place(&self) -> (&Project, EndpointId) {
        (&self.project, self.endpoint.id())
    }

    /// Where they go.
    #[must_use]
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// `None` when there are none, or something is wrong with them, which is reported.
    pub(super) fn compile(
        own: Option<&Arc<Project>>,
        revision: u64,
        of: &ProjectSpec,
        checks: &mut Checks,
    ) -> Option<Self> {
        let config = of.config.as_ref()?;
        let spec = config.meta_event.as_ref()?;
        if spec.is_enabled != Some(true) {
            return None;
        }
        if given(spec.kind.as_deref()).is_some_and(|kind| kind != "http") {
            checks.fail("config.meta_event.type", Reason::NotOneOf(&["http"]));
        }
        let kinds = spec.kinds(checks);
        let project = Arc::clone(own?); // there is none where the project itself is wrong
        let is_template = spec.url.as_deref().is_some_and(is_template);
        if is_template {
            let shape = Reason::Shape("one URL, no template");
            checks.fail("config.meta_event.url", shape);
        }
        let endpoint = EndpointSpec {
            name: Some("meta events".to_owned()),
            url: spec.url.clone(),
            secret: spec.secret.clone(),
            advanced_signatures: Some(false),
            ..EndpointSpec::default()
        };
        let endpoint_id = EndpointId::new(project.id().uid());
        match Endpoint::compile(endpoint_id, revision, &project, &endpoint) {
            Ok(endpoint) => Some(Self {
                kinds,
                project,
                endpoint: Arc::new(endpoint),
            }),
            Err(errors) => {
                for error in errors {
                    checks.fail(format!("config.meta_event.{}", error.field), error.reason);
                }
                None
            }
        }
    }

    pub(super) fn dump(&self) -> Value {
        let kinds = MetaKind::ALL.into_iter().filter(|kind| self.wants(*kind));
        json!({
            "event_type": kinds.map(MetaKind::as_str).collect::<Vec<_>>(),
            "url": self.endpoint.url().redacted(),
        })
    }
}

impl MetaEventSpec {
    fn kinds(&self, checks: &mut Checks) -> u16 {
        let words = self.event_type.as_deref().unwrap_or_default();
        if words.is_empty() {
            checks.fail("config.meta_event.event_type", Reason::Missing);
        }
        let mut kinds = 0;
        for (at, word) in words.iter().enumerate() {
            match MetaKind::parse(word) {
                Some(kind) => kinds |= kind.bit(),
                None => {
                    let field = format!("config.meta_event.event_type[{at}]");
                    checks.fail(field, Reason::NotOneOf(MetaKind::WORDS));
                    break;
                }
            }
        }
        kinds
    }
}

/// The project of the meta events: its name and its retries are those of the project, its
/// signatures are Convoy's plain ones. `None` when the project itself is wrong.
pub(super) fn own_project((id, revision): (ProjectId, u64), of: &ProjectSpec) -> Option<Project> {
    let nothing = ConfigSpec::default();
    let config = of.config.as_ref().unwrap_or(&nothing);
    let enforces = config.ssl.as_ref();
    let enforces = enforces.and_then(|ssl| ssl.enforce_secure_endpoints);
    let mut own = ConfigSpec::default();
    own.strategy.clone_from(&config.strategy);
    own.ssl = Some(SslSpec {
        enforce_secure_endpoints: enforces,
    });
    let spec = ProjectSpec {
        name: of.name.clone(),
        kind: Some("outgoing".to_owned()),
        egress_pool: of.egress_pool.clone(),
        config: Some(own),
        ..ProjectSpec::default()
    };
    let project = Project::compile_own(MetaEvents::project_of(id), revision, &spec);
    project.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use outrider_webhook::id::Uid;
    use outrider_webhook::sign;

    fn compile(meta: &Value) -> Result<Project, Vec<String>> {
        let spec = json!({"name": "shop", "type": "incoming", "config": {"meta_event": meta}});
        let spec: ProjectSpec = serde_json::from_value(spec).unwrap();
        let project = Project::compile(ProjectId::new(Uid::from_bits(77)), 3, &spec);
        project.map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_is_wrong_with_them_is_named() {
        let good = json!({
            "is_enabled": true, "type": "http", "event_type": ["endpoint.created"], "url": "https://a.example/meta", "secret": "s",
        });
        for (field, value, error) in [
            (
                "type",
                json!("smtp"),
                "`config.meta_event.type`: must be `http`",
            ),
            (
                "event_type",
                json!([]),
                "`config.meta_event.event_type`: is missing",
            ),
            (
                "event_type",
                json!(["endpoint.gone"]),
                "`config.meta_event.event_type[0]`: must be `project.updated`",
            ),
            ("url", json!(""), "`config.meta_event.url`: is missing"),
            (
                "url",
                json!("https://a.example/{b}"),
                "`config.meta_event.url`: must be one URL, no template",
            ),
            (
                "url",
                json!("ftp://a.example/"),
                "`config.meta_event.url`: ",
            ),
            (
                "secret",
                json!(""),
                "`config.meta_event.secret`: is missing",
            ),
        ] {
            let mut bad = good.clone();
            bad[field] = value;
            let errors = compile(&bad).unwrap_err();
            assert!(errors[0].starts_with(error), "{errors:?}");
            bad["is_enabled"] = false.into();
            assert!(compile(&bad).unwrap().meta().is_none(), "{field}");
        }
        assert!(compile(&good).unwrap().meta().is_some());
    }

    #[test]
    fn they_are_signed_plainly_and_are_nobody_elses() {
        let all: Vec<&str> = MetaKind::ALL.into_iter().map(MetaKind::as_str).collect();
        assert_eq!(all, MetaKind::WORDS);
        let project = compile(&json!({
            "is_enabled": true, "event_type": ["endpoint.created", "eventdelivery.failed"], "url": "https://a.example/", "secret": "s",
        }));
        let project = project.unwrap();
        let meta = project.meta().unwrap();
        for kind in MetaKind::ALL {
            let wanted = [MetaKind::EndpointCreated, MetaKind::DeliveryFailed].contains(&kind);
            assert_eq!(
                (meta.wants(kind), MetaKind::parse(kind.as_str())),
                (wanted, Some(kind))
            );
        }
        assert_eq!(meta.endpoint().mode(), sign::Mode::Simple);
        assert_eq!(meta.project().id(), MetaEvents::project_of(project.id()));
        assert!(meta.project().is_own() && !project.is_own());
        assert!(meta.project().meta().is_none());
    }
}
