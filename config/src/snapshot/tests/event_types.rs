//! The catalogue of event types: names are unique in a project, and schemas are compiled.

use super::*;

fn event_type(id: u128, project: u128, name: &str, revision: u64) -> Document {
    let spec = json!({"name": name, "json_schema": "{\"type\":\"object\"}"});
    document(Kind::EventType, id, project, revision, &spec)
}

fn known(snapshot: &Snapshot, of: u128, name: &str) -> Option<u128> {
    let table = snapshot.project(ProjectId::new(uid(of))).unwrap();
    let found = table.event_type(name)?;
    assert!(table.has_event_type(name) && found.schema().is_some());
    Some(found.id().uid().bits())
}

#[test]
fn a_type_with_a_bad_schema_is_held_and_its_old_version_stays() {
    let first = transaction(
        1,
        vec![project(1, "outgoing"), event_type(30, 1, "a", 1)],
        &[],
    );
    let (snapshot, held) = Snapshot::empty().apply(&first);
    assert_eq!(held, []);
    let spec = json!({"name": "a", "json_schema": {"$ref": "http://127.0.0.1/x"}});
    let bad = document(Kind::EventType, 30, 1, 2, &spec);
    let (snapshot, held) = snapshot.apply(&transaction(2, vec![bad], &[]));
    assert!(
        held[0]
            .reason
            .starts_with("`json_schema`: at `/$ref`: `http://127.0.0.1/x` leads out"),
        "{held:?}"
    );
    assert_eq!(known(&snapshot, 1, "a"), Some(30));
    assert_eq!(snapshot.counts().event_types, 1);
}

#[test]
fn a_name_has_one_type_in_a_project_and_may_be_passed_on() {
    let first = vec![
        project(1, "outgoing"),
        project(2, "incoming"),
        event_type(30, 1, "a", 1),
        event_type(31, 1, "b", 1),
        event_type(32, 2, "a", 1),
        event_type(33, 1, "a", 1),
    ];
    let (snapshot, held) = Snapshot::empty().apply(&transaction(1, first, &[]));
    assert_eq!(held.len(), 1);
    assert_eq!(
        (held[0].uid, held[0].reason.as_str()),
        (uid(33), "`name`: another resource has the same one")
    );
    assert_eq!(
        [known(&snapshot, 1, "a"), known(&snapshot, 2, "a")],
        [Some(30), Some(32)]
    );
    // Two swap their names.
    let swap = vec![event_type(30, 1, "b", 2), event_type(31, 1, "a", 2)];
    let (snapshot, _) = snapshot.apply(&transaction(2, swap, &[]));
    assert_eq!(
        [known(&snapshot, 1, "a"), known(&snapshot, 1, "b")],
        [Some(31), Some(30)]
    );
    // The name is free: who was held gets it.
    let (snapshot, held) = snapshot.apply(&transaction(3, vec![], &[(Kind::EventType, 31)]));
    assert_eq!((held, known(&snapshot, 1, "a")), (vec![], Some(33)));
    let (snapshot, _) = snapshot.apply(&transaction(4, vec![], &[(Kind::Project, 1)]));
    assert_eq!(snapshot.counts().event_types, 1);
}

#[test]
fn every_project_knows_the_star() {
    let (snapshot, _) = Snapshot::empty().apply(&transaction(1, vec![project(1, "outgoing")], &[]));
    let table = snapshot.project(ProjectId::new(uid(1))).unwrap();
    assert!(table.has_event_type("*") && !table.has_event_type("a"));
}
