//! Pools of source addresses in the journal: they are of no project.

use super::*;

const POOLS: &str = "
egress_pools:
  - {name: eu, addresses: [{address: 192.0.2.1}]}
  - {name: us, addresses: [{address: 192.0.2.2}]}
projects: [{name: out, type: outgoing, egress_pool: eu}]
";

fn pools(journal: &Journal) -> Vec<(String, Uid)> {
    let view = journal.read(|view| view.egress_pools()).unwrap();
    let mut pools: Vec<_> = view
        .iter()
        .map(|one| (one.name.clone(), one.uid()))
        .collect();
    pools.sort();
    pools
}

#[test]
fn a_pool_keeps_its_uid_from_file_to_file_and_goes_when_no_file_has_it() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    assert_eq!(apply(&journal, POOLS), Some(1));
    let first = pools(&journal);
    assert_eq!(apply(&journal, POOLS), None);
    // Two swap their addresses; a third one has the name of a project.
    let swapped = POOLS
        .replace("2.1}", "2.x}")
        .replace("2.2}", "2.1}")
        .replace("2.x}", "2.2}");
    let swapped = swapped.replace(
        "egress_pools:",
        "egress_pools:\n  - {name: out, addresses: [{address: 192.0.2.3}]}",
    );
    assert_eq!(apply(&journal, &swapped), Some(2));
    let second = pools(&journal);
    assert_eq!([&second[0], &second[2]], [&first[0], &first[1]]);
    let (version, documents) = full(&journal);
    assert_eq!((version.revision, documents.len()), (2, 4));
    assert!(
        documents
            .iter()
            .take(3)
            .all(|one| one.kind == Kind::EgressPool && one.project.uid() == one.uid)
    );
    // Who named a pool that goes waits; the file does not have to ask.
    let without = "egress_pools: []\nprojects: [{name: out, type: outgoing}]";
    assert_eq!(apply(&journal, without), Some(3));
    assert_eq!(
        (pools(&journal), journal.snapshot().counts().projects),
        (vec![], 1)
    );
}

#[test]
fn a_pool_says_when_it_was_changed() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let apply = |text: &str, now_ms| {
        let file = file::parse(text).unwrap_or_else(|problems| panic!("{problems:#?}"));
        journal.apply_file(&file, now_ms, "test").unwrap()
    };
    let times = || {
        let snapshot = journal.snapshot();
        let pools = snapshot.egress_pools();
        let times: Vec<_> = pools
            .map(|pool| pool.updated_at_ms().unwrap() - NOW)
            .collect();
        times
    };
    apply(POOLS, NOW);
    assert_eq!((apply(POOLS, NOW + 5), times()), (None, vec![0, 0]));
    let changed = POOLS.replace("192.0.2.2", "192.0.2.9");
    assert_eq!((apply(&changed, NOW + 7), times()), (Some(2), vec![0, 7]));
    let list = journal.snapshot().published(NOW).to_json();
    assert_eq!(
        (&list["version"], &list["updated_at"]),
        (&2.into(), &"2026-01-01T00:00:00.007Z".into())
    );
}

#[test]
fn a_project_goes_without_the_pool_that_it_names() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    apply(&journal, POOLS);
    let without = POOLS.split("projects:").next().unwrap();
    assert_eq!(apply(&journal, without), Some(2));
    let counts = journal.snapshot().counts();
    assert_eq!((counts.projects, counts.egress_pools), (0, 2));
    drop(journal);
    assert_eq!(
        open(&dir).snapshot().counts(),
        counts,
        "after a restart as well"
    );
}

#[test]
fn a_file_does_not_take_over_what_the_api_made_and_has_no_address_of_it() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    apply(&journal, POOLS);
    let of_api = "UPDATE resources SET origin = 'api' WHERE kind = 'egress_pool'";
    journal.writer().execute(of_api, ()).unwrap();
    let refused = |text: &str| {
        let file = file::parse(text).unwrap_or_else(|problems| panic!("{problems:#?}"));
        journal.apply_file(&file, NOW, "test").unwrap_err()
    };
    assert_eq!(refused(POOLS).code(), "foreign_resource");
    let other = "egress_pools: [{name: other, addresses: [{address: 192.0.2.2}]}]";
    let error = refused(other);
    assert_eq!(error.code(), "refused");
    let says = "`addresses[0].address`: 192.0.2.2 is in the egress pool `us` already";
    assert!(error.to_string().contains(says), "{error}");
    assert_eq!(journal.version().revision, 1);
}
