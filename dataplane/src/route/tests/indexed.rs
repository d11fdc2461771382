//! Filters that are found by what they demand: the same deliveries as when each is asked.

use outrider_webhook::filter::{Budget, Scope, Views};
use outrider_webhook::id::SubscriptionId;
use proptest::prelude::*;

use super::*;

const TYPES: &[&[&str]] = &[
    &["*"],
    &["a.b"],
    &["a.*"],
    &["*b"],
    &["a.*", "*b"],
    &["c", "a.b"],
];

fn filters() -> Vec<Value> {
    let mut filters = vec![
        json!({"headers": {"X-KIND": "a"}, "body": {"n": {"$gt": 1}}}),
        json!({"headers": {"x-kind": "b"}, "body": {"n": 1}}),
        json!({"headers": {"x-none": "b"}, "body": {"n": 1}}),
        json!({"query": {"tag": "y"}}),
        json!({"body": {"n": {"$neq": 1}}}),
        json!({"body": {"n": {"$in": [1, 2, "x"]}}}),
        json!({"body": {"n": {"$in": []}}}),
        json!({"body": {"list.$.k": 1}}),
        json!({"body": {"list.$.list.$.k": 1}}),
        json!({"body": {"a.b": 1}}),
        json!({"body": {"$or": [{"n": 1}, {"k": "v", "n": 2}]}}),
        json!({"body": {"$and": [{"n": 1}, {"k": "v"}]}}),
        json!({"body": {"$or": [{"n": 1}, {"k": {"$exist": true}}]}}),
        json!({"body": {"n": null}}),
        json!({}),
    ];
    filters.extend((0..8).map(|n| json!({"body": {"k": "v", "n": n}})));
    filters
}

fn bodies() -> Vec<Value> {
    vec![
        json!({}),
        json!({"n": 1}),
        json!({"n": 2.0, "k": "v"}),
        json!({"n": "1", "k": ["u", "v"]}),
        json!({"n": [0, 3, 3], "k": "v"}),
        json!({"n": null}),
        json!({"k": "v", "list": [{"k": 0}, {"k": 1}]}),
        json!({"list": [{"list": [{"k": 0}, {"k": 1}]}]}),
        json!({"a": {"b": [{"x": 1}, 1]}, "a.b": 5}),
        json!([1]),
    ]
}

#[derive(Debug, Clone)]
struct Wants {
    types: usize,
    filter: usize,
    row: Option<usize>,
    mode: Option<&'static str>,
}

fn wants() -> impl Strategy<Value = Wants> {
    let mode = prop_oneof![4 => Just(None), 1 => Just(Some("convoy")), 1 => Just(Some("strict"))];
    let row = prop_oneof![4 => Just(None), 1 => (0..filters().len()).prop_map(Some)];
    (0..TYPES.len(), 0..filters().len(), row, mode).prop_map(|(types, filter, row, mode)| Wants {
        types,
        filter,
        row,
        mode,
    })
}

fn subscription(id: u128, wants: &Wants) -> Document {
    let mut spec = json!({
        "name": format!("b{id}"),
        "endpoint_id": Uid::from_bits(20).to_string(),
        "filter_config": {"event_types": TYPES[wants.types], "filter": filters()[wants.filter]},
        "filter_mode": wants.mode,
    });
    if let Some(row) = wants.row {
        let mut row = filters()[row].clone();
        row["event_type"] = "a.b".into();
        spec["filters"] = json!([row]);
    }
    Document {
        kind: Kind::Subscription,
        uid: Uid::from_bits(id),
        project: ProjectId::new(Uid::from_bits(PROJECT)),
        revision: 1,
        spec: spec.to_string().into(),
    }
}

/// Which subscriptions match, when each is asked.
fn asked_one_by_one(table: &ProjectTable, event_type: &str, body: &Value) -> Vec<SubscriptionId> {
    let views = Views::given([
        (Scope::Headers, json!({"x-kind": "a"})),
        (Scope::Query, json!({"tag": ["x", "y"]})),
        (Scope::Body, body.clone()),
    ]);
    let matches = |one: &&Arc<Subscription>| {
        let filter = one.filter(event_type);
        filter.is_some_and(|filter| {
            let mode = one.filter_mode(table.project());
            filter.evaluate(&views, mode, &mut Budget::for_event()) == Verdict::Match
        })
    };
    let all = table.subscriptions_by_type().all();
    all.filter(matches).map(|one| one.id()).collect()
}

fn change(revision: u64, upserts: Vec<Document>, removals: Vec<u128>) -> Transaction {
    let upserts = upserts.into_iter().map(|document| Document {
        revision,
        ..document
    });
    let removals = removals.into_iter();
    Transaction {
        version: Version {
            journal: Uid::from_bits(9),
            revision,
        },
        is_full: false,
        upserts: upserts.collect(),
        removals: removals
            .map(|id| (Kind::Subscription, Uid::from_bits(id)))
            .collect(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_index_of_filters_finds_what_asking_each_does(
        mode in prop_oneof![Just("strict"), Just("convoy")],
        first in prop::collection::vec(wants(), 40..120),
        later in prop::collection::vec((30_u128..150, prop::option::of(wants())), 0..60),
    ) {
        let mut snapshot = World::in_mode(mode).snapshot();
        let documents = (30..).zip(&first).map(|(id, wants)| subscription(id, wants));
        let (next, quarantined) = snapshot.apply(&change(2, documents.collect(), Vec::new()));
        prop_assert_eq!(quarantined, vec![]);
        snapshot = next;
        for ((id, wants), revision) in later.iter().zip(3..) {
            let edit = match wants {
                Some(wants) => change(revision, vec![subscription(*id, wants)], Vec::new()),
                None => change(revision, Vec::new(), vec![*id]),
            };
            snapshot = snapshot.apply(&edit).0;
        }
        let table = snapshot.project(ProjectId::new(Uid::from_bits(PROJECT))).unwrap();
        let endpoint = Audience::Endpoint(EndpointId::new(Uid::from_bits(20)));
        for (body, event_type) in bodies().iter().flat_map(|body| ["a.b", "a.c", "c"].map(|of| (body, of))) {
            let routed = route(event(endpoint.clone(), event_type, body), table, 1).event;
            let found: Vec<_> = routed.targets().iter().filter_map(|target| target.subscription).collect();
            prop_assert_eq!(&found, &asked_one_by_one(table, event_type, body), "{} {}", event_type, body);
            let decision = routed.decision();
            let refused = decision.refusals.len() + decision.refusals_more as usize;
            let wanting = table.subscriptions_by_type().all().filter(|one| one.wants(event_type)).count();
            prop_assert_eq!(found.len() + refused, wanting);
            prop_assert_eq!(decision.refusals.len(), refused.min(Decision::REFUSALS_MAX));
            let all = table.subscriptions_by_type().len();
            prop_assert_eq!(wanting + decision.type_mismatches as usize, all);
        }
    }
}

/// Looking for filters takes more than the budget of all of them; asking each takes next to nothing.
#[test]
fn what_looking_costs_is_not_taken_from_the_filters() {
    let mut world = World::new();
    for id in 0..40_u128 {
        let filter = json!({"event_types": ["a"], "filter": {"body": {"n": id}}});
        world = world.subscribed(100 + id, 20, filter);
    }
    let mut first = json!({});
    for id in 0..75_u128 {
        first[format!("p{id}")] = 1.into();
        let filter = json!({"event_types": ["a"], "filter": {"body": {format!("l.$.p{id}"): 1}}});
        world = world.subscribed(200 + id, 20, filter);
    }
    let mut list = vec![json!({}); 16_700];
    list[0] = first;
    let routed = world.route_with(Audience::Broadcast, "a", &json!({"l": list}));
    assert_eq!(routed.faults, []);
    let endpoint = Audience::Endpoint(EndpointId::new(Uid::from_bits(20)));
    let routed = world.route_with(endpoint, "a", &json!({"l": list}));
    assert_eq!((routed.faults, routed.event.targets().len()), (vec![], 75));
}

/// All are refused, and only some are asked.
#[test]
fn filters_that_cannot_match_are_counted_and_not_asked() {
    let (mut world, others) = (World::new(), 1000);
    for id in 0..others {
        let filter = json!({"event_types": ["a"], "filter": {"body": {"tenant": id, "kind": "k"}}});
        world = world.subscribed(100 + id, 20, filter);
    }
    let routed = world.route_with(
        Audience::Broadcast,
        "a",
        &json!({"tenant": 777, "kind": "k"}),
    );
    assert_eq!(pairs(&routed.event), [(20, Some(877))]);
    let decision = routed.event.decision();
    assert_eq!((decision.refusals.len(), decision.refusals_more), (32, 967));
}
