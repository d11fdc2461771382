//! Applying transactions: what is in force, what is held and why, and that it does not depend on
//! the way there.

mod egress_policies;
mod egress_pools;
mod event_types;
mod url_templates;

use outrider_webhook::id::EndpointId;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const JOURNAL: u128 = 9;

fn uid(number: u128) -> Uid {
    Uid::from_bits(number)
}

fn text(number: u128) -> String {
    uid(number).to_string()
}

fn document(kind: Kind, id: u128, project: u128, revision: u64, spec: &Value) -> Document {
    let spec = spec.to_string().into();
    Document {
        kind,
        uid: uid(id),
        project: ProjectId::new(uid(project)),
        revision,
        spec,
    }
}

fn project(id: u128, kind: &str) -> Document {
    document(
        Kind::Project,
        id,
        id,
        1,
        &json!({"name": format!("project-{id}"), "type": kind}),
    )
}

fn source(id: u128, project: u128, mask: &str) -> Document {
    let spec = json!({"name": format!("s{id}"), "mask_id": mask, "provider": "github", "verifier": {"hmac": {"secret": "hunter2"}}});
    document(Kind::Source, id, project, 1, &spec)
}

fn endpoint(id: u128, project: u128, owner: &str) -> Document {
    let spec = json!({"name": format!("e{id}"), "url": "http://example.com/", "secret": "hunter2", "owner_id": owner});
    document(Kind::Endpoint, id, project, 1, &spec)
}

fn subscription(
    id: u128,
    project: u128,
    endpoint: u128,
    source: Option<u128>,
    types: &[&str],
) -> Document {
    let mut spec = json!({"name": format!("b{id}"), "endpoint_id": text(endpoint), "filter_config": {"event_types": types}});
    if let Some(source) = source {
        spec["source_id"] = text(source).into();
    }
    document(Kind::Subscription, id, project, 1, &spec)
}

fn api_key(id: u128, project: u128, token: &str) -> Document {
    let spec = json!({"name": format!("k{id}"), "key_sha256": ApiKeyDigest::of(token).to_hex()});
    document(Kind::ApiKey, id, project, 1, &spec)
}

fn transaction(revision: u64, upserts: Vec<Document>, removals: &[(Kind, u128)]) -> Transaction {
    Transaction {
        version: Version {
            journal: uid(JOURNAL),
            revision,
        },
        is_full: false,
        upserts: upserts
            .into_iter()
            .map(|document| Document {
                revision,
                ..document
            })
            .collect(),
        removals: removals
            .iter()
            .map(|(kind, id)| (*kind, uid(*id)))
            .collect(),
    }
}

fn full(revision: u64, upserts: Vec<Document>) -> Transaction {
    Transaction {
        is_full: true,
        ..transaction(revision, upserts, &[])
    }
}

/// An incoming project 1 with source 10, endpoints 20 and 21, and subscriptions 30 and 31.
fn incoming() -> Vec<Document> {
    vec![
        // Deliberately not in the order in which they refer to each other.
        subscription(30, 1, 20, Some(10), &["push"]),
        subscription(31, 1, 21, Some(10), &["*", "push"]),
        endpoint(20, 1, "a"),
        source(10, 1, "mask"),
        project(1, "incoming"),
        endpoint(21, 1, "a"),
    ]
}

fn start(documents: Vec<Document>) -> Snapshot {
    let (snapshot, quarantined) = Snapshot::empty().apply(&full(1, documents));
    assert_eq!(quarantined, []);
    snapshot
}

/// All that want a type, whatever their filters say.
fn wanting<'i>(index: &'i TypeIndex, event_type: &'i str) -> Vec<&'i Arc<Subscription>> {
    let found = index.matching(event_type).map(|wanting| match wanting {
        Wanting::One(one) => vec![one],
        Wanting::Filtered(filters) => filters.all().collect(),
    });
    found.flatten().collect()
}

fn matching(snapshot: &Snapshot, source: u128, event_type: &str) -> Vec<u128> {
    let index = snapshot
        .project(ProjectId::new(uid(1)))
        .unwrap()
        .subscriptions_of_source(SourceId::new(uid(source)));
    let found = wanting(index, event_type);
    let mut ids: Vec<u128> = found.iter().map(|one| one.id().uid().bits()).collect();
    ids.sort_unstable();
    ids
}

fn reasons(quarantined: &[Quarantined]) -> Vec<(Kind, u128, &str)> {
    quarantined
        .iter()
        .map(|one| (one.kind, one.uid.bits(), one.reason.as_str()))
        .collect()
}

#[test]
fn a_document_that_cannot_be_used_is_held_and_the_rest_applies() {
    let mut documents = incoming();
    documents.push(document(
        Kind::Endpoint,
        22,
        1,
        1,
        &json!({"name": "e", "url": "ftp://x/", "secret": "hunter2"}),
    ));
    documents.push(document(
        Kind::Endpoint,
        23,
        1,
        1,
        &json!({"nmae": "hunter2"}),
    ));
    documents.push(Document {
        spec: "not json: hunter2".into(),
        ..endpoint(24, 1, "a")
    });
    documents.push(endpoint(25, 77, "a"));
    documents.push(subscription(32, 1, 99, Some(10), &["*"]));
    documents.push(subscription(33, 1, 20, Some(98), &["*"]));
    documents.push(source(11, 1, "mask"));
    let (snapshot, quarantined) = Snapshot::empty().apply(&full(1, documents));
    let held: Vec<_> = reasons(&quarantined)
        .into_iter()
        .map(|(kind, id, _)| (kind, id))
        .collect();
    let expected = [
        (Kind::Source, 11),
        (Kind::Endpoint, 22),
        (Kind::Endpoint, 23),
        (Kind::Endpoint, 24),
        (Kind::Subscription, 32),
        (Kind::Subscription, 33),
        (Kind::Endpoint, 25),
    ];
    assert_eq!(held, expected);
    assert!(
        quarantined
            .iter()
            .all(|one| !one.reason.contains("hunter2")),
        "{quarantined:?}"
    );
    assert_eq!(matching(&snapshot, 10, "push"), [30, 31]);
    let counts = snapshot.counts();
    assert_eq!(
        (
            counts.projects,
            counts.sources,
            counts.endpoints,
            counts.subscriptions,
            counts.quarantined
        ),
        (1, 1, 2, 2, 7)
    );
}

#[test]
fn the_old_version_stays_until_a_later_one_can_be_used() {
    let old = start(incoming());
    let broken = document(
        Kind::Endpoint,
        20,
        1,
        2,
        &json!({"name": "e20", "url": "http://example.com/"}),
    );
    let (held, quarantined) = old.apply(&transaction(2, vec![broken], &[]));
    assert_eq!(
        reasons(&quarantined),
        [(Kind::Endpoint, 20, "`secret`: is missing")]
    );
    let id = EndpointId::new(uid(20));
    let in_force = |snapshot: &Snapshot| {
        snapshot
            .project(ProjectId::new(uid(1)))
            .unwrap()
            .endpoint(id)
            .unwrap()
            .revision()
    };
    assert_eq!(in_force(&held), 1);
    assert_eq!(held.version().unwrap().revision, 2);
    let (mended, quarantined) = held.apply(&transaction(3, vec![endpoint(20, 1, "b")], &[]));
    assert_eq!((in_force(&mended), quarantined), (3, Vec::new()));
    assert_eq!(in_force(&old), 1, "a snapshot never changes");
}

#[test]
fn held_resources_come_in_force_when_what_they_need_does() {
    let documents: Vec<_> = incoming()
        .into_iter()
        .filter(|document| document.kind != Kind::Project)
        .collect();
    let (snapshot, quarantined) = Snapshot::empty().apply(&full(1, documents));
    assert_eq!((quarantined.len(), snapshot.counts().endpoints), (5, 0));
    // Another project's change does not try them again, this one's does.
    let (snapshot, quarantined) =
        snapshot.apply(&transaction(2, vec![project(2, "outgoing")], &[]));
    assert_eq!(quarantined.len(), 5);
    let (snapshot, quarantined) =
        snapshot.apply(&transaction(3, vec![project(1, "incoming")], &[]));
    assert_eq!(quarantined, []);
    assert_eq!(matching(&snapshot, 10, "push"), [30, 31]);
}

#[test]
fn a_subscription_goes_and_comes_with_its_endpoint_and_source() {
    let snapshot = start(incoming());
    let (without, quarantined) = snapshot.apply(&transaction(2, vec![], &[(Kind::Endpoint, 21)]));
    assert_eq!(quarantined.len(), 1);
    assert!(quarantined[0].reason.contains(&text(21)), "{quarantined:?}");
    assert_eq!(matching(&without, 10, "push"), [30]);
    let (back, quarantined) = without.apply(&transaction(3, vec![endpoint(21, 1, "a")], &[]));
    assert_eq!(
        (matching(&back, 10, "push"), quarantined),
        (vec![30, 31], Vec::new())
    );
    let (without, quarantined) = back.apply(&transaction(4, vec![], &[(Kind::Source, 10)]));
    assert_eq!(quarantined.len(), 2);
    assert!(without.source_by_mask("mask").is_none());
    let gone = [(Kind::Subscription, 30), (Kind::Subscription, 31)];
    let (without, quarantined) = without.apply(&transaction(5, vec![], &gone));
    assert_eq!((quarantined, without.counts().quarantined), (Vec::new(), 0));
}

#[test]
fn a_removal_takes_a_resource_out_of_every_index() {
    let mut documents = incoming();
    documents.push(api_key(40, 1, "token"));
    let snapshot = start(documents);
    let all = [
        (Kind::Source, 10),
        (Kind::Endpoint, 20),
        (Kind::Endpoint, 21),
        (Kind::Subscription, 30),
        (Kind::Subscription, 31),
        (Kind::ApiKey, 40),
        (Kind::ApiKey, 4711), // nobody knows it
    ];
    let (snapshot, quarantined) = snapshot.apply(&transaction(2, vec![], &all));
    assert_eq!(quarantined, []);
    assert_eq!(
        snapshot.counts(),
        Counts {
            projects: 1,
            ..Counts::default()
        }
    );
    let table = snapshot.project(ProjectId::new(uid(1))).unwrap();
    assert_eq!(table.endpoints_of_owner("a").count(), 0);
    assert_eq!(
        table
            .subscriptions_of_endpoint(EndpointId::new(uid(20)))
            .all()
            .count(),
        0
    );
    assert!(
        table
            .subscriptions_of_source(SourceId::new(uid(10)))
            .is_empty()
    );
    assert!(
        snapshot.source_by_mask("mask").is_none()
            && snapshot.api_key(&ApiKeyDigest::of("token")).is_none()
    );
}

#[test]
fn a_project_goes_with_all_in_it() {
    let mut documents = incoming();
    documents.push(api_key(40, 1, "token"));
    let (snapshot, quarantined) =
        start(documents).apply(&transaction(2, vec![], &[(Kind::Project, 1)]));
    assert_eq!(
        (snapshot.counts(), quarantined),
        (Counts::default(), Vec::new())
    );
    assert!(
        snapshot.source_by_mask("mask").is_none()
            && snapshot.api_key(&ApiKeyDigest::of("token")).is_none()
    );
}

#[test]
fn a_full_transaction_removes_what_it_does_not_name_also_from_quarantine() {
    let mut documents = incoming();
    documents.push(endpoint(25, 77, "a"));
    let (snapshot, _) = Snapshot::empty().apply(&full(1, documents));
    let other = Version {
        journal: uid(JOURNAL + 1),
        revision: 1,
    };
    let replacement = vec![project(2, "outgoing"), endpoint(26, 2, "z")];
    let (snapshot, quarantined) = snapshot.apply(&Transaction {
        version: other,
        ..full(1, replacement)
    });
    assert_eq!(quarantined, []);
    assert_eq!(
        snapshot.counts(),
        Counts {
            projects: 1,
            endpoints: 1,
            ..Counts::default()
        }
    );
    assert_eq!(snapshot.version(), Some(other));
}

#[test]
fn a_full_transaction_of_the_same_journal_keeps_what_has_not_changed() {
    let before = start(incoming());
    let mut documents = full(1, incoming()).upserts;
    documents[2].revision = 5;
    let (after, _) = before.apply(&Transaction {
        upserts: documents,
        ..full(5, vec![])
    });
    let same = |id| {
        let of = |snapshot: &Snapshot| {
            Arc::clone(
                snapshot
                    .project(ProjectId::new(uid(1)))
                    .unwrap()
                    .endpoint(EndpointId::new(uid(id)))
                    .unwrap(),
            )
        };
        Arc::ptr_eq(&of(&before), &of(&after))
    };
    assert!(same(21) && !same(20));
}

#[test]
fn masks_and_keys_have_one_owner_and_can_change_hands() {
    let base = vec![
        project(1, "incoming"),
        project(2, "incoming"),
        source(10, 1, "m"),
        source(11, 2, "n"),
    ];
    let snapshot = start(base);
    let (held, quarantined) = snapshot.apply(&transaction(2, vec![source(11, 2, "m")], &[]));
    assert_eq!(
        reasons(&quarantined),
        [(
            Kind::Source,
            11,
            "`mask_id`: another resource has the same one"
        )]
    );
    assert_eq!(
        held.source_by_mask("n").unwrap().1.id(),
        SourceId::new(uid(11)),
        "it keeps the mask it had"
    );
    // The owner lets go in a transaction that does not touch project 2.
    let (freed, quarantined) = held.apply(&transaction(3, vec![source(10, 1, "o")], &[]));
    assert_eq!(quarantined, []);
    assert_eq!(
        freed.source_by_mask("m").unwrap().1.id(),
        SourceId::new(uid(11))
    );
    assert!(freed.source_by_mask("n").is_none());
    let (swapped, quarantined) = freed.apply(&transaction(
        4,
        vec![source(10, 1, "m"), source(11, 2, "o")],
        &[],
    ));
    assert_eq!(quarantined, []);
    assert_eq!(
        swapped.source_by_mask("m").unwrap().1.id(),
        SourceId::new(uid(10))
    );
    assert_eq!(
        swapped.source_by_mask("o").unwrap().1.id(),
        SourceId::new(uid(11))
    );
    let keys = vec![api_key(40, 1, "token"), api_key(41, 2, "token")];
    let (_, quarantined) = swapped.apply(&transaction(5, keys, &[]));
    assert_eq!(
        reasons(&quarantined),
        [(Kind::ApiKey, 41, "`key`: another resource has the same one")]
    );
}

#[test]
fn a_project_cannot_demand_what_its_endpoints_do_not_do() {
    let snapshot = start(incoming());
    let secure = |revision| {
        let config = json!({"ssl": {"enforce_secure_endpoints": true}});
        document(
            Kind::Project,
            1,
            1,
            revision,
            &json!({"name": "p", "type": "incoming", "config": config}),
        )
    };
    let (snapshot, quarantined) = snapshot.apply(&transaction(2, vec![secure(2)], &[]));
    assert_eq!((quarantined.len(), quarantined[0].kind), (1, Kind::Project));
    assert!(quarantined[0].reason.contains("https"), "{quarantined:?}");
    assert!(
        !snapshot
            .project(ProjectId::new(uid(1)))
            .unwrap()
            .project()
            .is_https_enforced()
    );
    // In one transaction with endpoints that fit it is fine.
    let https = |id| {
        let spec = json!({"name": "e", "url": "https://example.com/", "secret": "s"});
        document(Kind::Endpoint, id, 1, 3, &spec)
    };
    let (snapshot, quarantined) =
        snapshot.apply(&transaction(3, vec![https(20), https(21), secure(3)], &[]));
    assert_eq!(quarantined, []);
    assert!(
        snapshot
            .project(ProjectId::new(uid(1)))
            .unwrap()
            .project()
            .is_https_enforced()
    );
}

#[test]
fn a_project_never_changes_its_type_and_a_resource_never_its_project() {
    let mut documents = incoming();
    documents.push(project(2, "incoming"));
    let moved = vec![
        project(1, "outgoing"),
        endpoint(20, 2, "a"),
        document(Kind::Project, 3, 1, 1, &json!({})),
    ];
    let (snapshot, quarantined) = start(documents).apply(&transaction(2, moved, &[]));
    let held: Vec<_> = reasons(&quarantined)
        .into_iter()
        .map(|(kind, id, _)| (kind, id))
        .collect();
    assert_eq!(
        held,
        [(Kind::Project, 1), (Kind::Project, 3), (Kind::Endpoint, 20)]
    );
    assert_eq!(matching(&snapshot, 10, "push"), [30, 31]);
}

#[test]
fn the_dump_shows_everything_but_secrets() {
    let mut documents = incoming();
    documents.push(api_key(40, 1, "a-token-that-is-hunter2"));
    documents.push(endpoint(25, 77, "a"));
    let (snapshot, _) = Snapshot::empty().apply(&full(7, documents));
    let dump = snapshot.dump();
    assert_eq!(dump["version"]["revision"], 7);
    assert_eq!(
        dump["projects"][0]["endpoints"].as_array().unwrap().len(),
        2
    );
    assert_eq!(
        dump["projects"][0]["endpoints"][0]["secrets"],
        json!(["***"])
    );
    assert_eq!(dump["quarantined"][0]["uid"], text(25));
    let digest = ApiKeyDigest::of("a-token-that-is-hunter2").to_hex();
    assert!(!dump.to_string().contains("hunter2") && !dump.to_string().contains(&digest));
}

#[derive(Debug, Clone)]
enum Edit {
    Project(u128),
    Source(u128, u8),
    Endpoint(u128, u8),
    Subscription(u128, u128, u128, usize),
    Remove(Kind, u128),
}

/// What subscriptions want. The long ones make an index that looks up, and does not walk.
const TYPES: &[&[&str]] = &[
    &["*"],
    &["push"],
    &["push", "pull"],
    &["pull", "*"],
    &["pu*", "*l", "push"],
    &["p*", "pu*", "pus*", "*h", "*sh", "*u*", "x*", "*x", "y*"],
    &["a", "b", "c", "d", "e", "f", "g", "pul*", "*ull", "p*l"],
];

/// The ids an index finds for each of some types, which are those that asking each gives.
fn found(index: &TypeIndex) -> Value {
    let types = ["push", "pull", "other", "xy", "p"].map(|event_type| {
        let sorted = |ids: Vec<&Arc<Subscription>>| {
            let mut ids: Vec<_> = ids.iter().map(|one| one.id().to_string()).collect();
            ids.sort();
            ids
        };
        let found = sorted(wanting(index, event_type));
        let wanting = index.all().filter(|one| one.wants(event_type));
        assert_eq!(found, sorted(wanting.collect()), "{event_type}");
        Value::from(found)
    });
    json!([index.len(), index.is_empty(), types])
}

fn edit() -> impl Strategy<Value = Edit> {
    let kinds = [
        Kind::Project,
        Kind::Source,
        Kind::Endpoint,
        Kind::Subscription,
    ];
    prop_oneof![
        1 => (1_u128..3).prop_map(Edit::Project),
        3 => (10_u128..13, 0_u8..5).prop_map(|(id, mask)| Edit::Source(id, mask)),
        3 => (20_u128..23, 0_u8..3).prop_map(|(id, owner)| Edit::Endpoint(id, owner)),
        4 => (30_u128..34, 20_u128..23, 10_u128..13, 0..TYPES.len()).prop_map(|(id, e, s, t)| Edit::Subscription(id, e, s, t)),
        2 => (0_usize..4, 0_u128..4).prop_map(move |(kind, n)| Edit::Remove(kinds[kind], [1, 10, 20, 30][kind] + n)),
    ]
}

/// Two projects; resources with even ids belong to the second.
fn home(id: u128) -> u128 {
    1 + (id + 1) % 2
}

fn apply_edit(edit: &Edit) -> (Vec<Document>, Vec<(Kind, u128)>) {
    let document = match *edit {
        Edit::Project(id) => project(id, "incoming"),
        Edit::Source(id, mask) => source(id, home(id), &format!("mask-{mask}")),
        Edit::Endpoint(id, owner) => endpoint(id, home(id), &format!("owner-{owner}")),
        Edit::Subscription(id, endpoint, source, types) => {
            let types: &[&str] = TYPES[types];
            subscription(id, home(id), endpoint, Some(source), types)
        }
        Edit::Remove(kind, id) => return (Vec::new(), vec![(kind, id)]),
    };
    (vec![document], Vec::new())
}

/// What a snapshot answers, from its indexes.
fn view(snapshot: &Snapshot) -> Value {
    let mut view = snapshot.dump();
    view["version"] = Value::Null;
    for project in 1..3 {
        let Some(table) = snapshot.project(ProjectId::new(uid(project))) else {
            continue;
        };
        view[format!("{project} all")] = found(table.subscriptions_by_type());
        for source in 10..13 {
            let index = table.subscriptions_of_source(SourceId::new(uid(source)));
            view[format!("{project} {source}")] = found(index);
        }
        for endpoint in 20..23 {
            let index = table.subscriptions_of_endpoint(EndpointId::new(uid(endpoint)));
            view[format!("{project} {endpoint}")] = found(index);
        }
        for owner in 0..3 {
            let owner = format!("owner-{owner}");
            let endpoints: Vec<_> = table.endpoints_of_owner(&owner).collect();
            let index = table.subscriptions_of_owner(&owner);
            assert!(index.all().all(|one| endpoints.contains(&one.endpoint())));
            let of_each = endpoints
                .iter()
                .map(|id| table.subscriptions_of_endpoint(*id).len());
            assert_eq!(index.len(), of_each.sum::<usize>());
            let ids: Vec<_> = endpoints.iter().map(EndpointId::to_string).collect();
            view[format!("{project} {owner}")] = json!([ids, found(index)]);
        }
    }
    for mask in 0..5 {
        let found = snapshot
            .source_by_mask(&format!("mask-{mask}"))
            .map(|(_, source)| source.id().to_string());
        view[format!("mask-{mask}")] = found.into();
    }
    view["counts"] = format!("{:?}", snapshot.counts()).into();
    view
}

proptest! {
    /// After any edits, the indexes agree with a snapshot that was made in one go from what is
    /// in force: nothing is left behind and nothing is missing.
    #[test]
    fn the_indexes_hold_exactly_what_is_in_force(edits in prop::collection::vec(edit(), 1..60)) {
        let mut snapshot = Snapshot::empty();
        let mut latest = std::collections::BTreeMap::new();
        for (edit, revision) in edits.iter().zip(1_u64..) {
            let (upserts, removals) = apply_edit(edit);
            let change = transaction(revision, upserts, &removals);
            for document in &change.upserts {
                latest.insert((document.kind, document.uid, document.revision), document.clone());
            }
            snapshot = snapshot.apply(&change).0;
        }
        let in_force = snapshot.homes.keys().map(|(kind, uid)| {
            let project = snapshot.homes.get(kind, uid).unwrap();
            let table = snapshot.project(project).unwrap();
            let revision = match kind {
                Kind::Project => table.project().revision(),
                Kind::Source => table.source(SourceId::new(uid)).unwrap().revision(),
                Kind::Endpoint => table.endpoint(EndpointId::new(uid)).unwrap().revision(),
                Kind::Subscription => table.subscription(outrider_webhook::id::SubscriptionId::new(uid)).unwrap().revision(),
                Kind::EgressPolicy | Kind::EgressPool | Kind::ApiKey | Kind::EventType => 0,
            };
            latest[&(kind, uid, revision)].clone()
        });
        let documents: Vec<Document> = in_force.collect();
        let fresh = Transaction { upserts: documents, ..full(1, vec![]) };
        let (fresh, quarantined) = Snapshot::empty().apply(&fresh);
        prop_assert_eq!(quarantined, vec![]);
        let mut expected = view(&fresh);
        let mut found = view(&snapshot);
        for view in [&mut expected, &mut found] {
            view["quarantined"] = Value::Null;
            view["counts"] = Value::Null;
        }
        prop_assert_eq!(found, expected);
        let counts = snapshot.counts();
        prop_assert_eq!(Counts { quarantined: 0, ..counts }, fresh.counts());
    }
}

/// A project whose owner is told something, or not.
fn told(id: u128, revision: u64, is_enabled: bool) -> Document {
    let meta = json!({"is_enabled": is_enabled, "event_type": ["endpoint.created"], "url": "http://a.example/", "secret": "s"});
    let spec = json!({"name": format!("project-{id}"), "type": "incoming", "config": {"meta_event": meta}});
    document(Kind::Project, id, id, revision, &spec)
}

#[test]
fn what_meta_events_belong_to_is_there_as_long_as_there_are_some() {
    let id = ProjectId::new(uid(1));
    let own = MetaEvents::project_of(id);
    let endpoint = |snapshot: &Snapshot| {
        let table = snapshot.project_of_delivery(own)?;
        assert!(table.project().is_own());
        table.endpoint(EndpointId::new(own.uid())).cloned()
    };
    let on = start(vec![told(1, 1, true), project(2, "outgoing")]);
    assert!(endpoint(&on).is_some());
    assert!(on.project(own).is_none(), "it is no project of anybody");
    assert_eq!(on.counts().projects, 2);
    let (other, _) = on.apply(&transaction(2, vec![project(2, "outgoing")], &[]));
    assert!(endpoint(&other).is_some());
    let (off, _) = on.apply(&transaction(2, vec![told(1, 2, false)], &[]));
    assert!(endpoint(&off).is_none());
    let (gone, _) = on.apply(&transaction(2, vec![], &[(Kind::Project, 1)]));
    assert!(endpoint(&gone).is_none());
    let (anew, _) = on.apply(&full(2, vec![project(2, "outgoing")]));
    assert!(endpoint(&anew).is_none());
    let (anew, _) = on.apply(&full(2, vec![told(1, 2, true)]));
    assert!(endpoint(&anew).is_some());
}
