//! The stages of an event on its way in: raw, verified, routed.
//!
//! Each stage can only be made from the one before it (CONVENTIONS section 2): a
//! [`VerifiedEvent`] needs a [`Proof`], which only the rules of this crate hand out, and a
//! [`RoutedEvent`] needs a verified one. So nothing unverified can reach the store.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use serde_json::Value;

use crate::id::{EndpointId, EventId, ProjectId, SourceId, SubscriptionId, Uid};
use crate::view;

/// A request as it was read: within its limits, but nobody has vouched for it.
#[derive(Debug)]
pub struct RawEvent {
    /// Request method.
    pub method: Method,
    /// Raw path, as on the request line.
    pub path: String,
    /// Raw query without the question mark; empty when there is none.
    pub query: String,
    /// All request headers.
    pub headers: HeaderMap,
    /// The body exactly as received.
    pub body: Bytes,
    /// When the head was read, Unix milliseconds.
    pub received_ms: i64,
}

/// Evidence that a request was checked. Made by [`crate::verify`] only; a request that carries
/// several events vouches for each of them.
#[derive(Debug, Clone)]
pub struct Proof(pub(crate) ());

/// Who the event came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A source of an incoming project.
    Source(SourceId),
    /// The event API of an outgoing project.
    Api,
}

/// Whom the event is for, as its sender said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// The subscriptions of the source it came in through.
    Source(SourceId),
    /// The subscriptions of one endpoint.
    Endpoint(EndpointId),
    /// The subscriptions of all endpoints with this owner id.
    Owner(Box<str>),
    /// All subscriptions of the project, at most one delivery for each endpoint.
    Broadcast,
    /// One endpoint, whatever its subscriptions want; it need not be there yet.
    Dynamic(Box<Dynamic>),
}

impl Audience {
    /// The URL that the sender named, where that says more than whose it is: the endpoint has a
    /// template that this URL matched.
    #[must_use]
    pub fn named_url(&self) -> Option<&str> {
        match self {
            Self::Dynamic(dynamic) => dynamic.url.as_deref(),
            Self::Source(_) | Self::Endpoint(_) | Self::Owner(_) | Self::Broadcast => None,
        }
    }
}

/// The endpoint of an event that named it by its URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dynamic {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// What it is made of, when the configuration did not have it.
    pub made: Option<MadeEndpoint>,
    /// Where the event goes when the endpoint has a URL template: the URL as the sender named it,
    /// in the form in which it travels.
    pub url: Option<Box<str>>,
}

/// An endpoint that an event made. It travels with the event, so that it is there as soon as
/// the event is, and as long as it may have to be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeEndpoint {
    /// Its subscription.
    pub subscription: SubscriptionId,
    /// URL, secret and event types, sealed by the data plane that made it.
    pub sealed: Box<[u8]>,
}

/// Headers kept with an event, in order; names are lower case.
pub type HeaderList = Vec<(HeaderName, HeaderValue)>;

/// What is kept of a verified request: the facts of the event.
#[derive(Debug, Clone)]
pub struct EventFacts {
    /// The project it belongs to.
    pub project: ProjectId,
    /// Who it came from.
    pub origin: Origin,
    /// Whom it is for.
    pub audience: Audience,
    /// Its type, 1 to 255 bytes.
    pub event_type: Box<str>,
    /// Headers to be stored and forwarded.
    pub headers: HeaderList,
    /// Raw query string to be appended on delivery; empty when none.
    pub query: Box<str>,
    /// Path it came in on; empty for the event API.
    pub path: Box<str>,
    /// The bytes that are stored, signed and sent.
    pub body: Bytes,
    /// Key against repeats, when the sender gave one; 1 to 255 bytes.
    pub idempotency_key: Option<Box<str>>,
    /// How long that key is remembered, milliseconds.
    pub idempotency_window_ms: i64,
    /// When it was received, Unix milliseconds.
    pub received_ms: i64,
}

/// An event somebody vouched for.
#[derive(Debug)]
pub struct VerifiedEvent {
    facts: EventFacts,
    view: view::Cell,
}

impl VerifiedEvent {
    /// Joins the evidence and the facts.
    #[must_use]
    pub fn new(proof: Proof, facts: EventFacts) -> Self {
        Self::read(proof, facts, view::Cell::new())
    }

    /// An event that was accepted before, out of the log: somebody vouched for it then.
    #[must_use]
    pub fn accepted_before(facts: EventFacts) -> Self {
        Self::read(Proof(()), facts, view::Cell::new())
    }

    /// The same of an event whose body may have been looked into already.
    #[must_use]
    pub fn read(_proof: Proof, facts: EventFacts, view: view::Cell) -> Self {
        Self { facts, view }
    }

    /// The facts.
    #[must_use]
    pub fn facts(&self) -> &EventFacts {
        &self.facts
    }

    /// The JSON view of the body, made when it is first asked for. `None` when it has none. What a
    /// call of the event API says is JSON, whatever headers it is to travel with.
    #[must_use]
    pub fn view(&self) -> Option<&Value> {
        let facts = &self.facts;
        let view = || {
            let is_api = facts.origin == Origin::Api;
            let data = is_api.then(|| serde_json::from_slice(&facts.body).ok());
            data.flatten().or_else(|| {
                let headers: HeaderMap = facts.headers.iter().cloned().collect();
                view::of_request(&headers, &facts.query, &facts.body)
            })
        };
        self.view.get_or_init(view).as_ref()
    }

    /// Adds the deliveries that routing decided on.
    #[must_use]
    pub fn route(self, targets: Vec<Target>, decision: Decision) -> RoutedEvent {
        RoutedEvent {
            facts: self.facts,
            targets,
            decision,
        }
    }
}

/// How often a delivery may reach its receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DeliveryMode {
    /// Sent until it succeeded or gave up; may repeat after a crash.
    #[default]
    AtLeastOnce,
    /// Never sent twice; may be lost to a crash.
    AtMostOnce,
}

/// One receiver of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Where it goes.
    pub endpoint: EndpointId,
    /// The subscription that asked for it; `None` for the implicit catch-all of a directed event.
    pub subscription: Option<SubscriptionId>,
    /// How often it may arrive.
    pub mode: DeliveryMode,
    /// Hash of the order key, when the subscription orders its deliveries.
    pub order_key: Option<u64>,
}

/// Why a subscription of matching type did not get the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// Index of the filter leaf that failed.
    pub leaf: u16,
}

/// What routing decided, kept for `explain` (RULINGS 28).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// Configuration revision the decision was made under.
    pub revision: u64,
    /// At most [`Decision::REFUSALS_MAX`] refusals among subscriptions whose type matched.
    pub refusals: Vec<Refusal>,
    /// Further refusals that were not recorded one by one.
    pub refusals_more: u32,
    /// Candidates whose event type did not match.
    pub type_mismatches: u32,
    /// What the schema of its type has against the event, when it was accepted all the same; at
    /// most [`Decision::FLAW_BYTES_MAX`] bytes. Places and rules, no values.
    pub schema_flaw: Option<Box<str>>,
    /// What its source verified it by, as [`RoutedEvent`]s of sources have it; a stable word.
    pub verified_by: Option<Arc<str>>,
    /// Which event it is again, and by whose order.
    pub replay: Option<Box<Replay>>,
}

/// An event that goes through the subscriptions again: the same for its receivers, and with
/// deliveries of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replay {
    /// The event that was accepted from outside.
    pub of: EventId,
    /// The how many-th replay of it this is, from 1.
    pub number: u32,
    /// The command that asked for it: it is done as soon as this event is accepted.
    pub command: Uid,
}

impl Decision {
    /// Refusals recorded one by one (RULINGS 28).
    pub const REFUSALS_MAX: usize = 32;
    /// Bytes of a flaw that are kept.
    pub const FLAW_BYTES_MAX: usize = 1024;
}

/// An event with its deliveries, ready to be made durable.
#[derive(Debug)]
pub struct RoutedEvent {
    facts: EventFacts,
    targets: Vec<Target>,
    decision: Decision,
}

impl RoutedEvent {
    /// The facts of the event.
    #[must_use]
    pub fn facts(&self) -> &EventFacts {
        &self.facts
    }

    /// Its deliveries, in order of their ordinals.
    #[must_use]
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The same event as another one again, with what that one was verified by.
    #[must_use]
    pub fn replayed(mut self, replay: Replay, verified_by: Option<Arc<str>>) -> Self {
        self.decision.replay = Some(Box::new(replay));
        self.decision.verified_by = verified_by;
        self
    }

    /// The same event with what its schema has against it, as much of that as is kept.
    #[must_use]
    pub fn flawed(mut self, flaw: &str) -> Self {
        let kept = flaw.floor_char_boundary(Decision::FLAW_BYTES_MAX);
        self.decision.schema_flaw = flaw.get(..kept).map(Box::from);
        self
    }

    /// How they came about.
    #[must_use]
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// Gives up the parts, for the store.
    #[must_use]
    pub fn into_parts(self) -> (EventFacts, Vec<Target>, Decision) {
        (self.facts, self.targets, self.decision)
    }
}
