//! Policies that close destinations: what is closed after each change, and that nothing is open for
//! want of one that is there.

use outrider_webhook::address::TargetUrl;

use super::*;

fn policy(id: u128, name: &str, deny: &str, projects: &[u128]) -> Document {
    let mut spec = json!({"name": name, "deny": [deny]});
    if !projects.is_empty() {
        spec["projects"] = projects.iter().map(|id| text(*id)).collect();
    }
    document(Kind::EgressPolicy, id, id, 1, &spec)
}

/// One that a newer control plane wrote.
fn odd(id: u128, projects: &[u128]) -> Document {
    let projects: Vec<String> = projects.iter().map(|id| text(*id)).collect();
    let spec = json!({"name": "odd", "deny": ["c.example"], "projects": projects, "later": 1});
    document(Kind::EgressPolicy, id, id, 1, &spec)
}

/// The verdict over a name, for a project.
fn verdict(snapshot: &Snapshot, project: u128, name: &str) -> &'static str {
    let target = TargetUrl::parse(&format!("https://{name}/")).unwrap();
    let id = ProjectId::new(uid(project));
    let checked = snapshot
        .closings()
        .check_place(id, target.host(), target.port());
    checked.map_or_else(|denied| denied.code(), |()| "ok")
}

#[test]
fn a_policy_closes_until_it_goes() {
    let snapshot = start(vec![
        policy(60, "all", "a.example", &[]),
        policy(61, "one", "b.example", &[1]),
        project(1, "outgoing"),
    ]);
    let said = |snapshot: &Snapshot| {
        [(1, "a.example"), (1, "b.example"), (2, "b.example")]
            .map(|(project, name)| verdict(snapshot, project, name))
    };
    assert_eq!(said(&snapshot), ["policy_denied", "policy_denied", "ok"]);
    let counts = snapshot.counts();
    assert_eq!((counts.egress_policies, counts.quarantined), (2, 0));
    assert_eq!(snapshot.closings().revision(), 1);
    let wider = policy(61, "one", "b.example", &[]);
    let (wider, _) = snapshot.apply(&transaction(2, vec![wider], &[]));
    assert_eq!(said(&wider), ["policy_denied"; 3]);
    assert_eq!(wider.closings().revision(), 2);
    let (gone, _) = wider.apply(&transaction(3, vec![], &[(Kind::EgressPolicy, 61)]));
    assert_eq!(said(&gone), ["policy_denied", "ok", "ok"]);
    assert_eq!(gone.closings().revision(), 1);
    let (none, held) = gone.apply(&full(4, vec![project(1, "outgoing")]));
    assert_eq!((said(&none), held), (["ok"; 3], vec![]));
    assert_eq!(none.closings().revision(), 0);
}

#[test]
fn what_is_closed_stays_the_same_one_while_other_things_change() {
    let first = vec![policy(60, "all", "a.example", &[]), project(1, "outgoing")];
    let snapshot = start(first.clone());
    let is_same = |next: &Snapshot| Arc::ptr_eq(next.closings(), snapshot.closings());
    let (next, _) = snapshot.apply(&transaction(2, vec![endpoint(20, 1, "o")], &[]));
    assert!(is_same(&next));
    // All of it once more, as after a long absence.
    let again = Transaction {
        version: next.version().unwrap(),
        ..full(1, first.clone())
    };
    let (next, _) = next.apply(&again);
    assert!(is_same(&next));
    // Of another journal, in which the same revision may say something else.
    let other = Transaction {
        version: Version {
            journal: uid(JOURNAL + 1),
            revision: 1,
        },
        ..full(1, vec![policy(60, "all", "b.example", &[])])
    };
    let (next, _) = next.apply(&other);
    assert_eq!(verdict(&next, 1, "b.example"), "policy_denied");
    assert_eq!(verdict(&next, 1, "a.example"), "ok");
}

#[test]
fn one_that_cannot_be_read_closes_what_it_may_unless_an_older_one_is_in_force() {
    let snapshot = start(vec![project(1, "outgoing")]);
    let (held, quarantined) = snapshot.apply(&transaction(2, vec![odd(60, &[1])], &[]));
    assert_eq!(quarantined.len(), 1);
    assert!(quarantined[0].reason.contains("later"), "{quarantined:?}");
    assert_eq!(verdict(&held, 1, "any.example"), "policy_unreadable");
    assert_eq!(verdict(&held, 2, "any.example"), "ok");
    assert_eq!(held.closings().revision(), 2);
    let (all, _) = held.apply(&transaction(3, vec![odd(61, &[])], &[]));
    assert_eq!(verdict(&all, 2, "any.example"), "policy_unreadable");
    let both = [(Kind::EgressPolicy, 60), (Kind::EgressPolicy, 61)];
    let (gone, held) = all.apply(&transaction(4, vec![], &both));
    assert_eq!((verdict(&gone, 1, "any.example"), held), ("ok", vec![]));
    // The version before it stays, as of all resources.
    let (old, _) = gone.apply(&transaction(
        5,
        vec![policy(60, "p", "a.example", &[])],
        &[],
    ));
    let (newer, held) = old.apply(&transaction(6, vec![odd(60, &[])], &[]));
    assert_eq!(held.len(), 1);
    assert!(newer.serves_older());
    assert_eq!(verdict(&newer, 1, "a.example"), "policy_denied");
    assert_eq!(verdict(&newer, 1, "any.example"), "ok");
}

#[test]
fn a_policy_is_of_no_project_and_no_pool_even_of_the_same_uid() {
    let of_project = policy(61, "p", "a.example", &[]);
    let of_project = Document {
        project: ProjectId::new(uid(1)),
        ..of_project
    };
    let (held, quarantined) = Snapshot::empty().apply(&transaction(1, vec![of_project], &[]));
    assert_eq!(
        quarantined[0].reason,
        "an egress policy belongs to no project"
    );
    assert_eq!(verdict(&held, 1, "b.example"), "policy_unreadable");
    let pool = json!({"name": "eu", "addresses": [{"address": "192.0.2.1"}]});
    let snapshot = start(vec![
        policy(1, "p", "a.example", &[]),
        document(Kind::EgressPool, 1, 1, 1, &pool),
        project(1, "outgoing"),
    ]);
    for kind in [Kind::EgressPool, Kind::Project] {
        let (next, _) = snapshot.apply(&transaction(2, vec![], &[(kind, 1)]));
        assert_eq!(verdict(&next, 1, "a.example"), "policy_denied");
    }
    let (next, _) = snapshot.apply(&transaction(2, vec![], &[(Kind::EgressPolicy, 1)]));
    let counts = next.counts();
    assert_eq!((counts.projects, counts.egress_pools), (1, 1));
    assert_eq!(verdict(&next, 1, "a.example"), "ok");
}

/// Something that happens to policies.
fn step() -> impl Strategy<Value = Result<Document, u128>> {
    let names = prop_oneof![Just("a.example"), Just("b.example")];
    let whom = prop::collection::btree_set(1_u128..3, 0..2);
    let whom = whom.prop_map(|whom| whom.into_iter().collect::<Vec<_>>());
    prop_oneof![
        3 => (60_u128..63, names, whom.clone()).prop_map(|(id, deny, whom)| Ok(policy(id, "p", deny, &whom))),
        1 => (60_u128..63, whom).prop_map(|(id, whom)| Ok(odd(id, &whom))),
        2 => (60_u128..63).prop_map(Err),
    ]
}

proptest! {
    #[test]
    fn what_is_closed_does_not_depend_on_the_way_there(
        steps in prop::collection::vec(step(), 1..8),
    ) {
        let mut snapshot = start(vec![]);
        let mut present: std::collections::BTreeMap<u128, Document> = std::collections::BTreeMap::new();
        let mut has_been_read = std::collections::BTreeSet::new();
        for (revision, step) in (2..).zip(steps) {
            let change = match step {
                Ok(document) => {
                    let id = document.uid.bits();
                    let is_readable = !String::from_utf8_lossy(&document.spec).contains("later");
                    if is_readable {
                        has_been_read.insert(id);
                    }
                    // What is held beside an older version counts for nothing.
                    if is_readable || !has_been_read.contains(&id) {
                        present.insert(id, Document { revision, ..document.clone() });
                    }
                    transaction(revision, vec![document], &[])
                }
                Err(id) => {
                    present.remove(&id);
                    has_been_read.remove(&id);
                    transaction(revision, vec![], &[(Kind::EgressPolicy, id)])
                }
            };
            snapshot = snapshot.apply(&change).0;
        }
        let anew = Transaction {
            upserts: present.into_values().collect(),
            ..full(99, vec![])
        };
        let (anew, _) = Snapshot::empty().apply(&anew);
        for project in 1..4 {
            for name in ["a.example", "b.example", "d.example"] {
                prop_assert_eq!(verdict(&snapshot, project, name), verdict(&anew, project, name));
            }
        }
        prop_assert_eq!(snapshot.closings().revision(), anew.closings().revision());
    }
}
