//! A subscription: which events go to which endpoint.

use outrider_webhook::event::DeliveryMode;
use outrider_webhook::event_type::Pattern;
use outrider_webhook::id::{EndpointId, ProjectId, SourceId, SubscriptionId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::check::{Checks, FieldError, Reason};
use super::field::{self, given, refuse_unsupported};
use super::project::{Project, ProjectKind};
use super::spec::Unsupported;

/// Most event types of one subscription.
const EVENT_TYPES_MAX: usize = 1000;

/// What people write of a subscription.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SubscriptionSpec {
    /// Required.
    pub name: Option<String>,
    /// The endpoint; required. In files also its name.
    pub endpoint_id: Option<String>,
    /// The source; required in incoming projects, absent in outgoing ones. In files also its name.
    pub source_id: Option<String>,
    /// Which events; all when absent.
    pub filter_config: Option<FilterConfigSpec>,
    /// `at_least_once`, which is also the default.
    pub delivery_mode: Option<String>,
    function: Unsupported,
    alert_config: Unsupported,
    rate_limit_config: Unsupported,
    retry_config: Unsupported,
}

/// Which events a subscription wants.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilterConfigSpec {
    /// Event types, or `*`; all when empty.
    pub event_types: Option<Vec<String>>,
    filter: Unsupported,
}

/// A checked subscription.
#[derive(Debug)]
pub struct Subscription {
    id: SubscriptionId,
    project: ProjectId,
    revision: u64,
    name: Box<str>,
    endpoint: EndpointId,
    source: Option<SourceId>,
    event_types: Box<[Pattern]>,
    mode: DeliveryMode,
}

impl Subscription {
    /// Checks a specification for its project. Whether endpoint and source exist is for the
    /// snapshot to say.
    ///
    /// # Errors
    /// Every field that cannot be used.
    pub fn compile(
        id: SubscriptionId,
        revision: u64,
        project: &Project,
        spec: &SubscriptionSpec,
    ) -> Result<Self, Vec<FieldError>> {
        let mut checks = Checks::default();
        refuse_unsupported!(
            checks,
            spec,
            "",
            [function, alert_config, rate_limit_config, retry_config]
        );
        let name = field::name(&mut checks, spec.name.as_deref());
        let endpoint = checks.require("endpoint_id", given(spec.endpoint_id.as_deref()));
        let endpoint = endpoint.and_then(|text| {
            checks.take(
                "endpoint_id",
                text.parse::<EndpointId>().map_err(Reason::refused),
            )
        });
        let source = spec.source(project.kind(), &mut checks);
        let event_types = spec.event_types(&mut checks);
        let mode = match given(spec.delivery_mode.as_deref()).unwrap_or("at_least_once") {
            "at_least_once" => Some(DeliveryMode::AtLeastOnce),
            // A promise the data plane does not keep yet: it writes no STARTED (RULINGS 27).
            "at_most_once" => {
                checks.fail("delivery_mode", Reason::UnsupportedValue("`at_most_once`"));
                None
            }
            _ => {
                checks.fail("delivery_mode", Reason::NotOneOf(&["at_least_once"]));
                None
            }
        };
        let subscription = (|| {
            Some(Self {
                id,
                project: project.id(),
                revision,
                name: name?,
                endpoint: endpoint?,
                source,
                event_types: event_types?.into(),
                mode: mode?,
            })
        })();
        checks.finish(subscription)
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> SubscriptionId {
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

    /// Whom it is for; an endpoint of the same project.
    #[must_use]
    pub fn endpoint(&self) -> EndpointId {
        self.endpoint
    }

    /// Where its events come from; `None` in outgoing projects.
    #[must_use]
    pub fn source(&self) -> Option<SourceId> {
        self.source
    }

    /// The event types it wants; at least one.
    #[must_use]
    pub fn event_types(&self) -> &[Pattern] {
        &self.event_types
    }

    /// How often a delivery may arrive.
    #[must_use]
    pub fn mode(&self) -> DeliveryMode {
        self.mode
    }

    pub(crate) fn dump(&self) -> Value {
        json!({
            "uid": self.id.to_string(),
            "revision": self.revision,
            "name": self.name,
            "endpoint_id": self.endpoint.to_string(),
            "source_id": self.source.map(|source| source.to_string()),
            "event_types": self.event_types.iter().map(text).collect::<Vec<_>>(),
            "delivery_mode": match self.mode {
                DeliveryMode::AtLeastOnce => "at_least_once",
                DeliveryMode::AtMostOnce => "at_most_once",
            },
        })
    }
}

fn text(pattern: &Pattern) -> &str {
    match pattern {
        Pattern::Any => "*",
        Pattern::Exact(name) => name,
    }
}

impl SubscriptionSpec {
    fn source(&self, kind: ProjectKind, checks: &mut Checks) -> Option<SourceId> {
        match (kind, given(self.source_id.as_deref())) {
            (ProjectKind::Incoming, source) => {
                let text = checks.require("source_id", source)?;
                checks.take("source_id", text.parse().map_err(Reason::refused))
            }
            (ProjectKind::Outgoing, None) => None,
            (ProjectKind::Outgoing, Some(_)) => {
                checks.fail(
                    "source_id",
                    Reason::UnsupportedValue("a source in an outgoing project"),
                );
                None
            }
        }
    }

    fn event_types(&self, checks: &mut Checks) -> Option<Vec<Pattern>> {
        let default = FilterConfigSpec::default();
        let config = self.filter_config.as_ref().unwrap_or(&default);
        refuse_unsupported!(checks, config, "filter_config.", [filter]);
        let texts = config.event_types.as_deref().unwrap_or_default();
        if texts.is_empty() {
            return Some(vec![Pattern::Any]);
        }
        if texts.len() > EVENT_TYPES_MAX {
            let reason = Reason::OutOfRange {
                min: 0,
                max: EVENT_TYPES_MAX as u64,
                unit: "event types",
            };
            checks.fail("filter_config.event_types", reason);
            return None;
        }
        let parse = |(index, text): (usize, &String)| {
            checks.take(
                &format!("filter_config.event_types[{index}]"),
                Pattern::parse(text).map_err(Reason::refused),
            )
        };
        let patterns: Vec<Pattern> = texts.iter().enumerate().filter_map(parse).collect();
        (patterns.len() == texts.len()).then_some(patterns)
    }
}
