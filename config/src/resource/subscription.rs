//! A subscription: which events go to which endpoint.

use outrider_webhook::event::DeliveryMode;
use outrider_webhook::event_type::{Glob, Pattern};
use outrider_webhook::filter::{self, Filter};
use outrider_webhook::id::{EndpointId, ProjectId, SourceId, SubscriptionId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::alert_config::{AlertConfigSpec, FailureAlert};
use super::check::{Checks, FieldError, Reason};
use super::field::{self, given, refuse_unsupported};
use super::filter_spec::{FilterRowSpec, FilterSpec, filter_mode};
use super::interest::Interest;
use super::order_key::{Order, OrderSpec};
use super::project::{Project, ProjectKind};
use super::spec::Unsupported;

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
    /// Conditions for single event types, at most 100, instead of those for all of them.
    pub filters: Option<Vec<FilterRowSpec>>,
    /// How its filters are read, `strict` or `convoy`; as the project says when absent.
    pub filter_mode: Option<String>,
    /// `at_least_once` (default) or `at_most_once`.
    pub delivery_mode: Option<String>,
    /// Native: which of its deliveries come one after the other; none when absent.
    pub order: Option<OrderSpec>,
    function: Unsupported,
    /// When people hear of deliveries that failed.
    pub alert_config: Option<AlertConfigSpec>,
    rate_limit_config: Unsupported,
    retry_config: Unsupported,
}

/// Which events a subscription wants.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilterConfigSpec {
    /// Event types, or patterns with stars; all when empty and there are no `filters`.
    pub event_types: Option<Vec<String>>,
    /// Conditions for all of them but those with a row in `filters`.
    pub filter: Option<FilterSpec>,
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
    interest: Interest,
    filter_mode: Option<filter::Mode>,
    mode: DeliveryMode,
    /// Few subscriptions have one.
    order: Option<Box<Order>>,
    alert: Option<FailureAlert>,
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
            [function, rate_limit_config, retry_config]
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
        let interest = Interest::compile(spec, &mut checks);
        let alert = spec.alert_config.as_ref();
        let alert = alert.and_then(|alert| alert.compile(&mut checks));
        let filter_mode = filter_mode(&mut checks, "filter_mode", spec.filter_mode.as_deref());
        let mode = match given(spec.delivery_mode.as_deref()).unwrap_or("at_least_once") {
            "at_least_once" => Some(DeliveryMode::AtLeastOnce),
            "at_most_once" => Some(DeliveryMode::AtMostOnce),
            _ => {
                checks.fail(
                    "delivery_mode",
                    Reason::NotOneOf(&["at_least_once", "at_most_once"]),
                );
                None
            }
        };
        let order = spec.order.as_ref().filter(|order| !order.is_none());
        let order = order.map(|order| order.compile(&mut checks).map(Box::new));
        let subscription = (|| {
            Some(Self {
                id,
                project: project.id(),
                revision,
                name: name?,
                endpoint: endpoint?,
                source,
                interest: interest?,
                filter_mode: filter_mode?,
                mode: mode?,
                order: order.map_or(Some(None), |order| order.map(Some))?,
                alert,
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

    /// The event types it wants, most particular first. None at all when all its filters are
    /// disabled.
    pub fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        self.interest.patterns()
    }

    /// Whether it wants events of this type, as far as their type goes.
    #[must_use]
    pub fn wants(&self, event_type: &str) -> bool {
        self.interest.filter(event_type).is_some()
    }

    /// The conditions for events of this type; `None` when it does not want them.
    #[must_use]
    pub fn filter(&self, event_type: &str) -> Option<&Filter> {
        self.interest.filter(event_type)
    }

    /// Its filter, if it has but one pattern: then it stands in one place of an index.
    pub(crate) fn sole_filter(&self) -> Option<&Filter> {
        self.interest.sole_filter()
    }

    /// The pattern with stars that brings it events of this type: the most particular one that
    /// matches; `None` when it names the type itself.
    pub(crate) fn leading_glob(&self, event_type: &str) -> Option<&Glob> {
        self.interest.leading_glob(event_type)
    }

    /// How its filters are read, if it says so itself.
    pub(crate) fn own_filter_mode(&self) -> Option<filter::Mode> {
        self.filter_mode
    }

    /// How its filters are read in its project.
    #[must_use]
    pub fn filter_mode(&self, project: &Project) -> filter::Mode {
        self.filter_mode.unwrap_or(project.filter_mode())
    }

    /// When people hear of deliveries that failed.
    #[must_use]
    pub fn alert(&self) -> Option<FailureAlert> {
        self.alert
    }

    /// How often a delivery may arrive.
    #[must_use]
    pub fn mode(&self) -> DeliveryMode {
        self.mode
    }

    /// Which of its deliveries come one after the other.
    #[must_use]
    pub fn order(&self) -> Option<&Order> {
        self.order.as_deref()
    }

    pub(crate) fn dump(&self) -> Value {
        json!({
            "uid": self.id.to_string(),
            "revision": self.revision,
            "name": self.name,
            "endpoint_id": self.endpoint.to_string(),
            "source_id": self.source.map(|source| source.to_string()),
            "event_types": self.patterns().map(Pattern::as_str).collect::<Vec<_>>(),
            "filter_mode": self.filter_mode.map(filter::Mode::as_str),
            "alert_config": self.alert.as_ref().map(FailureAlert::dump),
            "delivery_mode": match self.mode {
                DeliveryMode::AtLeastOnce => "at_least_once",
                DeliveryMode::AtMostOnce => "at_most_once",
            },
            "order": self.order.as_deref().map(Order::dump),
        })
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
}
