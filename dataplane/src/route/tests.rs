//! Which deliveries an event gets, through a real snapshot.

mod indexed;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
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
        Self::in_mode("strict")
    }

    fn in_mode(mode: &str) -> Self {
        let mut world = Self {
            documents: Vec::new(),
        };
        let config = json!({"multiple_endpoint_subscriptions": true, "filter_mode": mode});
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

    fn subscribed(self, id: u128, endpoint: u128, filter_config: Value) -> Self {
        self.with_rows(id, endpoint, filter_config, json!([]))
    }

    fn with_rows(mut self, id: u128, endpoint: u128, filter_config: Value, rows: Value) -> Self {
        let endpoint = Uid::from_bits(endpoint).to_string();
        let spec = json!({"name": format!("b{id}"), "endpoint_id": endpoint, "filter_config": filter_config, "filters": rows});
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
        self.route_with(audience, event_type, &json!({})).event
    }

    fn route_with(&self, audience: Audience, event_type: &str, body: &Value) -> Routed {
        let snapshot = self.snapshot();
        let project = ProjectId::new(Uid::from_bits(PROJECT));
        let table = snapshot.project(project).unwrap();
        route(event(audience, event_type, body), table, 7)
    }
}

fn event(audience: Audience, event_type: &str, body: &Value) -> VerifiedEvent {
    let facts = EventFacts {
        project: ProjectId::new(Uid::from_bits(PROJECT)),
        origin: Origin::Api,
        audience,
        event_type: event_type.into(),
        headers: vec![(
            HeaderName::from_static("x-kind"),
            HeaderValue::from_static("a"),
        )],
        query: "tag=x&tag=y".into(),
        path: "/in".into(),
        body: Bytes::from(body.to_string()),
        idempotency_key: None,
        idempotency_window_ms: 0,
        received_ms: 0,
    };
    let key = ApiKeyDigest::of("key");
    VerifiedEvent::new(key.prove(&key).unwrap(), facts)
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

#[test]
fn a_filter_that_does_not_match_is_recorded_with_its_leaf() {
    let filter = json!({"event_types": ["a"], "filter": {
        "headers": {"x-kind": "a"}, "query": {"tag": "y"}, "path": {"path": "/in"}, "body": {"n": {"$gt": 1}},
    }});
    let world = World::new()
        .subscribed(30, 20, filter)
        .subscribed(31, 21, types(&["*"]));
    let routed = world.route_with(Audience::Broadcast, "a", &json!({"n": 2}));
    assert_eq!(pairs(&routed.event), [(20, Some(30)), (21, Some(31))]);
    assert_eq!(routed.event.decision().refusals, []);
    let routed = world.route_with(Audience::Broadcast, "a", &json!({"n": 1}));
    assert_eq!(pairs(&routed.event), [(21, Some(31))]);
    let [refusal] = routed.event.decision().refusals[..] else {
        panic!("one subscription refused");
    };
    assert_eq!((refusal.subscription.uid().bits(), refusal.leaf), (30, 3));
    assert_eq!(routed.event.decision().type_mismatches, 0);
    assert_eq!(routed.faults, []);
}

#[test]
fn more_refusals_than_are_recorded_are_counted() {
    let never = json!({"event_types": ["a*"], "filter": {"body": {"n": 1}}});
    let world = (100..140).fold(World::new(), |world, id| {
        world.subscribed(id, 20, never.clone())
    });
    let routed = world.route(
        Audience::Endpoint(EndpointId::new(Uid::from_bits(20))),
        "ab",
    );
    // It has subscriptions, so there is no implicit one.
    assert_eq!(pairs(&routed), []);
    assert_eq!(routed.decision().refusals.len(), 32);
    assert_eq!(routed.decision().refusals_more, 8);
    let other = world.route(Audience::Broadcast, "b");
    assert_eq!(
        (
            other.decision().type_mismatches,
            other.decision().refusals.len()
        ),
        (40, 0)
    );
}

#[test]
fn the_most_particular_row_decides_and_a_disabled_one_does_not_count() {
    let shared = json!({"event_types": ["a.b", "a.*", "z"], "filter": {"body": {"n": 1}}});
    let rows = json!([
        {"event_type": "a.b", "body": {"n": 2}},
        {"event_type": "a.b*", "body": {"n": 3}},
        {"event_type": "z", "is_disabled": true},
        {"event_type": "y"},
    ]);
    let world = World::new().with_rows(30, 20, shared, rows);
    for (event_type, wanted) in [
        ("a.b", Some(2)),
        ("a.bc", Some(3)),
        ("a.c", Some(1)),
        ("z", None),
        ("other", None),
    ] {
        for n in 1..4 {
            let routed = world.route_with(Audience::Broadcast, event_type, &json!({"n": n}));
            let expected = usize::from(wanted == Some(n));
            assert_eq!(routed.event.targets().len(), expected, "{event_type} {n}");
        }
    }
    assert_eq!(world.route(Audience::Broadcast, "y").targets().len(), 1);
}

#[test]
fn the_mode_is_the_projects_or_its_own_and_a_filter_that_cannot_say_does_not_match() {
    let filter = json!({"filter": {"body": {"a": 1, "b": {"$gt": 1}}}});
    let ask = |mode: &str, body: &Value| {
        let world = World::in_mode(mode).subscribed(30, 20, filter.clone());
        let routed = world.route_with(Audience::Broadcast, "x", body);
        (routed.event.targets().len(), routed.faults)
    };
    assert_eq!(ask("strict", &json!({"a": 1})), (0, vec![]));
    assert_eq!(ask("convoy", &json!({"a": 1})), (1, vec![]));
    let odd = json!({"a": 1, "b": "x"});
    // A subscription may say otherwise.
    let mut world = World::in_mode("strict");
    let endpoint = Uid::from_bits(20).to_string();
    let spec = json!({"name": "own", "endpoint_id": endpoint, "filter_config": filter, "filter_mode": "convoy"});
    world.add(Kind::Subscription, 30, &spec);
    let routed = world.route_with(Audience::Broadcast, "x", &json!({"a": 1}));
    assert_eq!(routed.event.targets().len(), 1);
    assert_eq!(ask("strict", &odd), (0, vec![]));
    assert_eq!(ask("convoy", &odd), (0, vec![Fault::NotANumber]));
}

#[test]
fn of_two_subscriptions_a_broadcast_takes_the_one_whose_filter_matches() {
    let never = json!({"filter": {"body": {"n": 1}}});
    let world = World::new()
        .subscribed(30, 20, never)
        .subscribed(31, 20, types(&["*"]));
    let routed = world.route(Audience::Broadcast, "a");
    assert_eq!(pairs(&routed), [(20, Some(31))]);
}
