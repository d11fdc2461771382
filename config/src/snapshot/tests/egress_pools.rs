//! Pools of source addresses: which one is whose, and never another one.

use super::*;
use outrider_webhook::id::EgressPoolId;

fn pool(id: u128, name: &str, addresses: &[&str]) -> Document {
    let addresses: Vec<Value> = addresses
        .iter()
        .map(|address| json!({"address": address}))
        .collect();
    let spec = json!({"name": name, "addresses": addresses});
    document(Kind::EgressPool, id, id, 1, &spec)
}

fn dedicated(id: u128, name: &str, address: &str, projects: &[u128]) -> Document {
    let projects: Vec<String> = projects.iter().map(|id| text(*id)).collect();
    let spec = json!({
        "name": name, "mode": "dedicated", "projects": projects, "addresses": [{"address": address}],
    });
    document(Kind::EgressPool, id, id, 1, &spec)
}

fn project_with(id: u128, pool: &str) -> Document {
    let meta = json!({"is_enabled": true, "event_type": ["endpoint.created"], "url": "http://a.example/", "secret": "s"});
    let spec = json!({
        "name": format!("p{id}"), "type": "outgoing", "egress_pool": pool, "config": {"meta_event": meta},
    });
    document(Kind::Project, id, id, 1, &spec)
}

fn endpoint_with(id: u128, project: u128, pool: &str) -> Document {
    let spec = json!({
        "name": format!("e{id}"), "url": "http://a.example/", "secret": "s", "egress_pool": pool,
        "slack_webhook_url": "http://b.example/",
    });
    document(Kind::Endpoint, id, project, 1, &spec)
}

/// The pool of a project, or of an endpoint of it: its name, `-` for the route of the host, and
/// with a `?` when it is not to be had.
fn chosen(snapshot: &Snapshot, of: u128, endpoint: Option<u128>) -> String {
    let table = snapshot.project(ProjectId::new(uid(of))).unwrap();
    let endpoint = endpoint.map(|id| table.endpoint(EndpointId::new(uid(id))).unwrap());
    said(snapshot.pool_of(table, endpoint.map(|one| &**one)))
}

fn said(choice: PoolChoice) -> String {
    match choice {
        PoolChoice::HostRoute => "-".to_owned(),
        PoolChoice::Named(pool) => pool.name().to_string(),
        PoolChoice::Missing(name) => format!("{name}?"),
    }
}

#[test]
fn who_names_a_pool_that_is_not_there_or_not_for_it_waits() {
    let snapshot = start(vec![
        pool(50, "default", &["192.0.2.1"]),
        dedicated(51, "acme", "192.0.2.2", &[2]),
        project_with(1, "acme"),
        project_with(2, "acme"),
        endpoint_with(20, 1, "eu"),
        endpoint_with(21, 2, ""),
        endpoint_with(22, 2, "default"),
    ]);
    assert_eq!(chosen(&snapshot, 1, None), "acme?");
    assert_eq!(chosen(&snapshot, 1, Some(20)), "eu?");
    assert_eq!(chosen(&snapshot, 2, Some(21)), "acme");
    assert_eq!(chosen(&snapshot, 2, Some(22)), "default");
    let (without, held) = snapshot.apply(&transaction(2, vec![], &[(Kind::EgressPool, 51)]));
    assert_eq!(
        (held, chosen(&without, 2, Some(21))),
        (vec![], "acme?".into())
    );
    assert_eq!(chosen(&without, 2, Some(22)), "default");
    assert!(without.egress_pool("acme").is_none());
    let id = ProjectId::new(uid(1));
    for name in ["acme", "eu"] {
        let refused = snapshot.check_pool_use(id, &name.into()).unwrap_err();
        let expected = format!("there is no egress pool `{name}` for this project");
        assert_eq!(
            refused.to_string(),
            expected,
            "others' pools are not told of"
        );
    }
    assert_eq!(snapshot.check_pool_use(id, &"default".into()), Ok(()));
}

#[test]
fn the_host_route_is_for_who_names_none_and_only_while_there_is_no_default() {
    let snapshot = start(vec![project_with(1, ""), endpoint_with(20, 1, "")]);
    assert_eq!(chosen(&snapshot, 1, Some(20)), "-");
    let default = pool(50, "default", &["192.0.2.1"]);
    let (with, _) = snapshot.apply(&transaction(2, vec![default], &[]));
    assert_eq!(chosen(&with, 1, Some(20)), "default");
    // One that a newer control plane wrote, and this version cannot read.
    let mut spec = json!({"name": "default", "addresses": [{"address": "192.0.2.1"}]});
    spec["new_field"] = 1.into();
    let odd = document(Kind::EgressPool, 50, 50, 2, &spec);
    let (held, quarantined) = snapshot.apply(&transaction(2, vec![odd.clone()], &[]));
    assert_eq!(
        (quarantined.len(), chosen(&held, 1, None)),
        (1, "default?".into())
    );
    let (older, quarantined) = with.apply(&transaction(3, vec![odd], &[]));
    assert_eq!(
        (quarantined.len(), chosen(&older, 1, None)),
        (1, "default".into())
    );
    let (gone, _) = held.apply(&transaction(3, vec![], &[(Kind::EgressPool, 50)]));
    assert_eq!(chosen(&gone, 1, None), "-");
}

#[test]
fn what_a_project_tells_comes_from_where_its_deliveries_do() {
    let snapshot = start(vec![
        dedicated(51, "acme", "192.0.2.2", &[1]),
        pool(52, "eu", &["192.0.2.3"]),
        project_with(1, "acme"),
        endpoint_with(20, 1, "eu"),
    ]);
    let id = ProjectId::new(uid(1));
    let own = snapshot
        .project_of_delivery(MetaEvents::project_of(id))
        .unwrap();
    assert_eq!(said(snapshot.pool_of(own, None)), "acme");
    let meta = own
        .endpoint(EndpointId::new(own.project().id().uid()))
        .unwrap();
    assert_eq!(said(snapshot.pool_of(own, Some(meta))), "acme");
    let hook = HookKind::Slack.other_end(EndpointId::new(uid(20)));
    let hook = snapshot.endpoint_of_delivery(own, hook).unwrap();
    assert_eq!(said(snapshot.pool_of(own, Some(hook))), "eu");
}

#[test]
fn a_fallback_is_another_pool_that_is_for_the_project() {
    let mut eu = pool(50, "eu", &["192.0.2.1"]);
    eu.spec = json!({"name": "eu", "fallback": "acme", "addresses": [{"address": "192.0.2.1"}]})
        .to_string()
        .into();
    let acme = dedicated(51, "acme", "192.0.2.2", &[2]);
    let snapshot = start(vec![eu, acme, project_with(1, "eu"), project_with(2, "eu")]);
    let eu = snapshot.egress_pool("eu").unwrap();
    let fallback = |of: u128| {
        let table = snapshot.project(ProjectId::new(uid(of))).unwrap();
        snapshot
            .fallback_of(table, eu)
            .map(|pool| pool.name().to_string())
    };
    assert_eq!([fallback(1), fallback(2)], [None, Some("acme".into())]);
    let errors = snapshot.check_pool(eu);
    assert!(
        errors[0]
            .to_string()
            .contains("not for everybody who uses this one"),
        "{errors:?}"
    );
    let next = snapshot.egress_pool("acme");
    let missed: Vec<_> = misses(&snapshot, 51, "acme", next).collect();
    assert_eq!(missed, ["egress pool `eu`"], "as it was not for all before");
    let wider = dedicated(51, "acme", "192.0.2.2", &[1, 2]);
    let (wider, _) = snapshot.apply(&transaction(2, vec![wider], &[]));
    assert_eq!(
        misses(&snapshot, 51, "acme", wider.egress_pool("acme")).count(),
        1
    );
    let shared = pool(51, "acme", &["192.0.2.2"]);
    let (shared, _) = snapshot.apply(&transaction(2, vec![shared], &[]));
    assert_eq!(
        misses(&snapshot, 51, "acme", shared.egress_pool("acme")).count(),
        0
    );
    assert_eq!(shared.check_pool(eu).len(), 0);
}

#[test]
fn a_name_and_an_address_have_one_pool_and_may_be_passed_on() {
    let first = vec![
        pool(50, "a", &["192.0.2.1", "192.0.2.2"]),
        pool(51, "b", &["192.0.2.3"]),
        pool(52, "a", &["192.0.2.4"]),
        pool(53, "c", &["192.0.2.5", "192.0.2.3"]),
        document(Kind::EgressPool, 54, 1, 1, &json!({"name": "d"})),
    ];
    let (snapshot, held) = Snapshot::empty().apply(&transaction(1, first, &[]));
    let reasons: Vec<_> = held
        .iter()
        .map(|one| (one.uid.bits(), one.reason.as_str()))
        .collect();
    assert_eq!(
        reasons,
        [
            (54, "an egress pool belongs to no project"),
            (52, "`name`: an egress pool called `a` already exists"),
            (
                53,
                "`addresses[1].address`: 192.0.2.3 is in the egress pool `b` already"
            ),
        ]
    );
    assert_eq!(snapshot.counts().egress_pools, 2);
    let swap = vec![pool(50, "b", &["192.0.2.3"]), pool(51, "a", &["192.0.2.1"])];
    let (snapshot, held) = snapshot.apply(&transaction(2, swap, &[]));
    assert_eq!(held.len(), 3);
    let found = |snapshot: &Snapshot, name: &str| {
        let pool = snapshot.egress_pool(name)?;
        Some((
            pool.id().uid().bits(),
            pool.addresses()[0].address.to_string(),
        ))
    };
    assert_eq!(found(&snapshot, "a"), Some((51, "192.0.2.1".into())));
    assert_eq!(found(&snapshot, "b"), Some((50, "192.0.2.3".into())));
    // Who was held gets what is free.
    let both = [(Kind::EgressPool, 50), (Kind::EgressPool, 51)];
    let (snapshot, held) = snapshot.apply(&transaction(3, vec![], &both));
    assert_eq!(
        (held.len(), found(&snapshot, "a")),
        (1, Some((52, "192.0.2.4".into())))
    );
    assert_eq!(found(&snapshot, "c"), Some((53, "192.0.2.5".into())));
    let (snapshot, held) = snapshot.apply(&full(4, vec![]));
    assert_eq!((held, snapshot.counts()), (vec![], Counts::default()));
}

#[test]
fn a_pool_is_no_project_even_of_the_same_uid() {
    // No journal gives a uid twice; a peer that does must not mix them up.
    let snapshot = start(vec![
        pool(1, "eu", &["192.0.2.1"]),
        project_with(1, "eu"),
        endpoint_with(20, 1, ""),
    ]);
    let (without, _) = snapshot.apply(&transaction(2, vec![], &[(Kind::EgressPool, 1)]));
    assert_eq!(
        (without.counts().projects, without.counts().endpoints),
        (1, 1)
    );
    assert_eq!(chosen(&without, 1, Some(20)), "eu?");
    let own = MetaEvents::project_of(ProjectId::new(uid(1)));
    assert!(without.project_of_delivery(own).is_some());
    let (without, _) = snapshot.apply(&transaction(2, vec![], &[(Kind::Project, 1)]));
    assert_eq!(
        (without.counts().projects, without.counts().egress_pools),
        (0, 1)
    );
    assert!(
        without
            .egress_pool("eu")
            .is_some_and(|pool| pool.id() == EgressPoolId::new(uid(1)))
    );
}

#[test]
fn the_users_of_a_pool_are_named() {
    let snapshot = start(vec![
        pool(50, "eu", &["192.0.2.1"]),
        pool(51, "us", &["192.0.2.2"]),
        project_with(1, "eu"),
        project_with(2, "us"),
        endpoint_with(20, 1, "us"),
        endpoint_with(21, 2, "eu"),
        endpoint_with(22, 2, ""),
    ]);
    let users = |snapshot: &Snapshot, name: &str| -> Vec<String> {
        let id = snapshot.egress_pool(name).unwrap().id().uid().bits();
        misses(snapshot, id, name, None).collect()
    };
    assert_eq!(
        users(&snapshot, "eu"),
        ["project `p1`", "endpoint `e21` of project `p2`"]
    );
    // As a dedicated pool of the second project, the first one's endpoint misses it.
    let narrow = dedicated(51, "us", "192.0.2.2", &[2]);
    let (narrow, _) = snapshot.apply(&transaction(2, vec![narrow], &[]));
    let missed: Vec<_> = misses(&snapshot, 51, "us", narrow.egress_pool("us")).collect();
    assert_eq!(missed, ["endpoint `e20` of project `p1`"]);
    // Under another name, everybody does; with other addresses, nobody.
    assert_eq!(
        misses(&snapshot, 51, "us", snapshot.egress_pool("eu")).count(),
        2
    );
    assert_eq!(
        misses(&snapshot, 51, "us", snapshot.egress_pool("us")).count(),
        0
    );
    // One that is held, because of its name, is not the one that is named.
    assert_eq!(misses(&snapshot, 59, "us", None).count(), 0);
    let change = vec![endpoint_with(21, 2, "us"), project_with(1, "")];
    let (snapshot, _) = snapshot.apply(&transaction(2, change, &[(Kind::Endpoint, 20)]));
    assert_eq!(users(&snapshot, "eu"), Vec::<String>::new());
    assert_eq!(
        users(&snapshot, "us"),
        ["project `p2`", "endpoint `e21` of project `p2`"]
    );
}

fn misses<'s>(
    snapshot: &'s Snapshot,
    id: u128,
    name: &'s str,
    next: Option<&'s Arc<EgressPool>>,
) -> impl Iterator<Item = String> + 's {
    let id = EgressPoolId::new(uid(id));
    snapshot.who_misses((id, name), next.map(|next| &**next))
}

/// The names of the pools in a list.
fn listed(list: &crate::published::Published) -> Vec<String> {
    let json = list.to_json();
    let rows = json["pools"].as_array().unwrap();
    rows.iter()
        .map(|row| row["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_dedicated_pool_is_listed_for_its_projects_alone() {
    let mut acme = dedicated(51, "acme", "192.0.2.2", &[1]);
    acme.spec = json!({
        "name": "acme", "mode": "dedicated", "projects": [text(1)], "fallback": "spare",
        "addresses": [{"address": "192.0.2.2"}],
    })
    .to_string()
    .into();
    let snapshot = start(vec![
        pool(50, "default", &["192.0.2.1"]),
        acme,
        pool(52, "spare", &["192.0.2.3"]),
        pool(53, "eu", &["192.0.2.4"]),
        dedicated(54, "other", "192.0.2.5", &[2]),
        project_with(1, "acme"),
        project(2, "outgoing"),
        endpoint_with(20, 1, ""),
        endpoint_with(21, 2, "eu"),
        endpoint_with(22, 2, "acme"),
    ]);
    assert_eq!(listed(&snapshot.published(0)), ["default", "eu", "spare"]);
    let own = |snapshot: &Snapshot, id: u128| {
        let table = snapshot.project(ProjectId::new(uid(id))).unwrap();
        listed(&snapshot.published_for(table, 0))
    };
    assert_eq!(own(&snapshot, 1), ["acme", "spare"]);
    assert_eq!(
        own(&snapshot, 2),
        ["default", "eu"],
        "its own, and not what it may not use"
    );
    let (snapshot, _) = snapshot.apply(&transaction(2, vec![endpoint(23, 2, "o")], &[]));
    assert_eq!(own(&snapshot, 2), ["default", "eu"]);
    let all = [
        (Kind::Endpoint, 21),
        (Kind::Endpoint, 22),
        (Kind::Endpoint, 23),
    ];
    let (snapshot, _) = snapshot.apply(&transaction(3, vec![], &all));
    assert_eq!(
        own(&snapshot, 2),
        ["default"],
        "where its endpoints will be called from"
    );
}

#[test]
fn the_route_of_the_host_is_listed_as_long_as_something_may_come_from_it() {
    let is_dynamic = |snapshot: &Snapshot| {
        let is_public = listed(&snapshot.published(0)).contains(&"dynamic".to_owned());
        let own = snapshot.project(ProjectId::new(uid(1)));
        let own = own.map(|table| listed(&snapshot.published_for(table, 0)));
        (
            is_public,
            own.is_some_and(|own| own.contains(&"dynamic".to_owned())),
        )
    };
    assert_eq!(is_dynamic(&Snapshot::empty()), (true, false));
    let eu = pool(53, "eu", &["192.0.2.4"]);
    let snapshot = start(vec![project(1, "outgoing"), eu]);
    assert_eq!(is_dynamic(&snapshot), (true, true));
    let apply = |upserts| snapshot.apply(&transaction(2, upserts, &[])).0;
    assert_eq!(
        is_dynamic(&apply(vec![endpoint_with(20, 1, "eu")])),
        (true, true),
        "certificates of its providers come from there"
    );
    assert_eq!(
        is_dynamic(&apply(vec![project_with(1, "eu")])),
        (false, false)
    );
    let both = vec![endpoint_with(20, 1, "eu"), endpoint(21, 1, "o")];
    assert_eq!(is_dynamic(&apply(both)), (true, true));
    let default = pool(50, "default", &["192.0.2.1"]);
    assert_eq!(is_dynamic(&apply(vec![default])), (false, false));
    let missing = vec![project_with(1, "gone")];
    assert_eq!(is_dynamic(&apply(missing)), (false, false), "it waits");
}

/// Something that happens to pools and to who names them.
#[derive(Debug, Clone)]
enum Step {
    Pool(u128, usize, Vec<u8>),
    Dedicated(u128, usize, u8, u128),
    Project(u128, usize),
    Endpoint(u128, usize),
    Remove(Kind, u128),
}

const NAMES: [&str; 4] = ["default", "eu", "us", "acme"];

fn step() -> impl Strategy<Value = Step> {
    let removed = prop_oneof![
        (Just(Kind::EgressPool), 50_u128..53),
        (Just(Kind::Endpoint), 20_u128..23),
        (Just(Kind::Project), 1_u128..3)
    ];
    let addresses = prop::collection::btree_set(0_u8..5, 1..3);
    prop_oneof![
        4 => (50_u128..53, 0..4_usize, addresses).prop_map(|(id, name, on)| Step::Pool(id, name, on.into_iter().collect())),
        2 => (50_u128..53, 1..4_usize, 0_u8..5, 1_u128..3).prop_map(|(id, name, on, of)| Step::Dedicated(id, name, on, of)),
        2 => (1_u128..3, 0..5_usize).prop_map(|(id, name)| Step::Project(id, name)),
        3 => (20_u128..23, 0..5_usize).prop_map(|(id, name)| Step::Endpoint(id, name)),
        2 => removed.prop_map(|(kind, id)| Step::Remove(kind, id)),
    ]
}

fn change(step: &Step, revision: u64) -> Transaction {
    let name = |at: usize| NAMES.get(at).copied().unwrap_or_default();
    let on = |n: u8| format!("192.0.2.{n}");
    let document = match step {
        Step::Pool(id, at, addresses) => {
            let texts: Vec<String> = addresses.iter().map(|n| on(*n)).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            pool(*id, name(*at), &texts)
        }
        Step::Dedicated(id, at, n, of) => dedicated(*id, name(*at), &on(*n), &[*of]),
        Step::Project(id, at) => project_with(*id, name(*at)),
        Step::Endpoint(id, at) => endpoint_with(*id, home(*id), name(*at)),
        Step::Remove(kind, id) => return transaction(revision, vec![], &[(*kind, *id)]),
    };
    transaction(revision, vec![document], &[])
}

proptest! {
    /// After any steps: an address has one pool, indexes and counts agree with what is in force,
    /// and nobody gets a pool that it did not name or that is not for it.
    #[test]
    fn nobody_gets_another_pool(steps in prop::collection::vec(step(), 1..50)) {
        let mut snapshot = Snapshot::empty();
        for (step, revision) in steps.iter().zip(1..) {
            snapshot = snapshot.apply(&change(step, revision)).0;
            let pools: Vec<_> = snapshot.egress_pools().collect();
            prop_assert_eq!(pools.len(), snapshot.counts().egress_pools);
            let mut addresses = std::collections::HashSet::new();
            for pool in &pools {
                prop_assert!(pool.addresses().iter().all(|one| addresses.insert(one.address)));
                prop_assert_eq!(snapshot.check_pool(pool).len(), 0);
            }
            for id in [1, 2].map(uid).map(ProjectId::new) {
                let Some(table) = snapshot.project(id) else { continue };
                let endpoints = (20..23).filter_map(|id| table.endpoint(EndpointId::new(uid(id))));
                for endpoint in std::iter::once(None).chain(endpoints.map(Some)) {
                    let endpoint = endpoint.map(|one| &**one);
                    let named = endpoint.and_then(Endpoint::egress_pool).or(table.project().egress_pool());
                    match snapshot.pool_of(table, endpoint) {
                        PoolChoice::HostRoute => prop_assert!(named.is_none() && snapshot.egress_pool("default").is_none()),
                        PoolChoice::Named(pool) => {
                            let own = listed(&snapshot.published_for(table, 0));
                            prop_assert!(own.contains(&pool.name().to_string()));
                            prop_assert_eq!(&**pool.name(), named.map_or("default", |name| name));
                            prop_assert!(pool.serves(id));
                        }
                        PoolChoice::Missing(name) => {
                            let of = snapshot.egress_pool(&name);
                            prop_assert!(of.is_none_or(|pool| !pool.serves(id)));
                        }
                    }
                }
            }
            for name in NAMES {
                let id = snapshot.egress_pool(name).map_or(0, |pool| pool.id().uid().bits());
                let found = misses(&snapshot, id, name, None).count();
                if id == 0 { continue }
                let by_hand: usize = snapshot.projects.values().map(|table| {
                    let is_it = |own: Option<&Arc<str>>| own.is_some_and(|own| **own == *name);
                    let own = usize::from(is_it(table.project().egress_pool()));
                    own + table.endpoints().filter(|one| is_it(one.egress_pool())).count()
                }).sum();
                prop_assert_eq!(found, by_hand);
            }
        }
    }
}
