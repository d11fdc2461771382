//! Which deliveries an event gets, through a real snapshot.

use bytes::Bytes;
use outrider_config::snapshot::{Document, Kind, Snapshot, Transaction, Version};
use outrider_webhook::event::{Audience, EventFacts, Origin, RoutedEvent, VerifiedEvent};
use outrider_webhook::id::{EndpointId, ProjectId, Uid};
use outrider_webhook::verify::ApiKeyDigest;
use serde_json::{Value, json};

use super::*;

const PROJECT: u128 = 1;

/// A project of endpoints 20 to 22; the first two have the owner `a`.
struct World {
    documents: Vec<Document>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            documents: Vec::new(),
        };
        let config = json!({"multiple_endpoint_subscriptions": true});
        let project = json!({"name": "p", "type": "outgoing", "config": config});
        world.add(Kind::Project, PROJECT, &project);
        for id in 20..23_u128 {
            let owner = if id < 22 { "a" } else { "b" };
            let spec = json!({"name": format!("e{id}"), "url": "http://example.com/", "secret": "s", "owner_id": owner});
            world.add(Kind::Endpoint, id, &spec);
        }
        world
    }

    fn add(&mut self, kind: Kind, id: u128, spec: &Value) {
        self.documents.push(Document {
            kind,
            uid: Uid::from_bits(id),
            project: ProjectId::new(Uid::from_bits(PROJECT)),
            revision: 1,
            spec: spec.to_string().into(),
        });
    }

    fn subscribed(mut self, id: u128, endpoint: u128, filter_config: Value) -> Self {
        let endpoint = Uid::from_bits(endpoint).to_string();
        let spec = json!({"name": format!("b{id}"), "endpoint_id": endpoint, "filter_config": filter_config});
        self.add(Kind::Subscription, id, &spec);
        self
    }

    fn snapshot(&self) -> Snapshot {
        let transaction = Transaction {
            version: Version {
                journal: Uid::from_bits(9),
                revision: 1,
            },
            is_full: true,
            upserts: self.documents.clone(),
            removals: Vec::new(),
        };
        let (snapshot, quarantined) = Snapshot::empty().apply(&transaction);
        assert_eq!(quarantined, []);
        snapshot
    }

    fn route(&self, audience: Audience, event_type: &str) -> RoutedEvent {
        let project = ProjectId::new(Uid::from_bits(PROJECT));
        let facts = EventFacts {
            project,
            origin: Origin::Api,
            audience,
            event_type: event_type.into(),
            headers: Vec::new(),
            query: Box::default(),
            path: Box::default(),
            body: Bytes::from_static(b"{}"),
            idempotency_key: None,
            idempotency_window_ms: 0,
            received_ms: 0,
        };
        let key = ApiKeyDigest::of("key");
        let event = VerifiedEvent::new(key.prove(&key).unwrap(), facts);
        let snapshot = self.snapshot();
        route(event, snapshot.project(project).unwrap(), 7)
    }
}

fn pairs(routed: &RoutedEvent) -> Vec<(u128, Option<u128>)> {
    let pair = |target: &Target| {
        let subscription = target.subscription.map(|id| id.uid().bits());
        (target.endpoint.uid().bits(), subscription)
    };
    routed.targets().iter().map(pair).collect()
}

fn types(types: &[&str]) -> Value {
    json!({"event_types": types})
}

#[test]
fn a_broadcast_to_nobody_is_a_result_that_says_why() {
    let routed = World::new()
        .subscribed(30, 20, types(&["a"]))
        .route(Audience::Broadcast, "b");
    assert_eq!(pairs(&routed), []);
    assert_eq!(routed.decision().type_mismatches, 1);
    assert_eq!(routed.decision().revision, 7);
    let nobody = World::new().route(Audience::Broadcast, "b");
    assert_eq!(pairs(&nobody), []);
}

#[test]
fn a_broadcast_reaches_each_endpoint_once_whoever_owns_it() {
    let world = World::new()
        .subscribed(34, 20, types(&["*"]))
        .subscribed(31, 20, types(&["a", "b"]))
        .subscribed(32, 22, types(&["a"]))
        .subscribed(33, 21, types(&["b"]));
    let routed = world.route(Audience::Broadcast, "a");
    // Of two subscriptions of one endpoint the first by id has the delivery.
    assert_eq!(pairs(&routed), [(20, Some(31)), (22, Some(32))]);
    assert_eq!(routed.decision().type_mismatches, 1);
}

#[test]
fn a_fanout_reaches_every_subscription_of_the_owner_and_nobody_else() {
    let world = World::new()
        .subscribed(31, 21, types(&["a"]))
        .subscribed(30, 20, types(&["*"]))
        .subscribed(32, 22, types(&["a"]))
        .subscribed(33, 20, types(&["c"]));
    let routed = world.route(Audience::Owner("a".into()), "a");
    assert_eq!(pairs(&routed), [(20, Some(30)), (21, Some(31))]);
    assert_eq!(routed.decision().type_mismatches, 1);
}

#[test]
fn a_directed_event_has_the_implicit_subscription_only_without_any() {
    let world = World::new().subscribed(30, 20, types(&["a"]));
    let directed = |id| Audience::Endpoint(EndpointId::new(Uid::from_bits(id)));
    assert_eq!(pairs(&world.route(directed(20), "a")), [(20, Some(30))]);
    assert_eq!(pairs(&world.route(directed(20), "b")), []);
    assert_eq!(pairs(&world.route(directed(21), "b")), [(21, None)]);
    assert_eq!(pairs(&world.route(directed(99), "b")), []);
}
