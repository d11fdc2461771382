//! The journal over its life, and that the tail and a full read always agree.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use outrider_config::file::{self, File};
use outrider_config::{Document, Kind, Version};
use outrider_webhook::id::Uid;
use outrider_xds::Since;
use proptest::prelude::*;
use rusqlite::Connection;

use super::ControlPlane;

const NOW_MS: i64 = 1_800_000_000_000;
const SECRET: &str = "a long enough secret for tests";

fn parsed(text: &str) -> File {
    file::parse(text).unwrap_or_else(|problems| {
        panic!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })
}

/// An outgoing project with these endpoints: name and number in the URL.
fn project(name: &str, endpoints: &[(u8, u8)]) -> String {
    let mut text = format!("  - name: {name}\n    type: outgoing\n    endpoints:\n");
    for (endpoint, version) in endpoints {
        text += &format!("      - {{name: e{endpoint}, url: 'https://example.com/{version}', secret: {SECRET}}}\n");
    }
    if endpoints.is_empty() {
        text = text.replace("    endpoints:\n", "");
    }
    text
}

async fn load(plane: &ControlPlane, text: &str) -> Option<u64> {
    plane.load_resources(parsed(text), NOW_MS).await.unwrap()
}

type State = BTreeMap<(Kind, Uid), (u64, Vec<u8>)>;

fn full(plane: &ControlPlane) -> (Version, State) {
    let mut state = State::new();
    let mut each = |documents: Vec<Document>| {
        state.extend(documents.into_iter().map(|d| ((d.kind, d.uid), (d.revision, d.spec.to_vec()))));
        ControlFlow::Continue(())
    };
    let version = plane.revision_log().read_full(&mut each).unwrap();
    (version, state)
}

/// Brings `state` at `revision` up to date by the tail.
fn catch_up(plane: &ControlPlane, revision: u64, mut state: State) -> (Since, State) {
    let mut each = |transaction: outrider_config::Transaction| {
        for d in transaction.upserts {
            state.insert((d.kind, d.uid), (d.revision, d.spec.to_vec()));
        }
        for key in transaction.removals {
            state.remove(&key);
        }
        ControlFlow::Continue(())
    };
    let since = plane.revision_log().read_since(revision, &mut each).unwrap();
    (since, state)
}

#[tokio::test]
async fn the_same_file_again_is_no_revision_and_ids_stay() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!("projects:\n{}", project("a", &[(1, 1), (2, 1)]));
    let plane = ControlPlane::open(dir.path(), NOW_MS).unwrap();
    assert_eq!(load(&plane, &text).await, Some(1));
    assert_eq!(load(&plane, &text).await, None);
    let (version, before) = full(&plane);
    drop(plane);
    let plane = ControlPlane::open(dir.path(), NOW_MS + 1).unwrap();
    assert_eq!(load(&plane, &text).await, None);
    assert_eq!(full(&plane), (version, before));
}

#[tokio::test]
async fn a_changed_resource_keeps_its_id_and_what_is_gone_from_the_file_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let plane = ControlPlane::open(dir.path(), NOW_MS).unwrap();
    load(&plane, &format!("projects:\n{}", project("a", &[(1, 1), (2, 1)]))).await;
    let before = full(&plane).1;
    assert_eq!(load(&plane, &format!("projects:\n{}", project("a", &[(1, 9)]))).await, Some(2));
    let after = full(&plane).1;
    assert_eq!(after.len(), 2);
    let changed: Vec<_> = after.iter().filter(|(_, (revision, _))| *revision == 2).map(|(key, _)| key).collect();
    assert_eq!(changed.len(), 1);
    assert!(before.contains_key(changed[0]));
    let history: Vec<String> = Connection::open(dir.path().join("journal.sqlite"))
        .unwrap()
        .prepare("SELECT actor || ': ' || summary FROM revisions ORDER BY number")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let expected = ["resource file: 3 added, 0 changed, 0 removed", "resource file: 0 added, 1 changed, 1 removed"];
    assert_eq!(history, expected);
}

#[tokio::test]
async fn a_uid_of_another_resource_is_refused_and_nothing_changes() {
    let dir = tempfile::tempdir().unwrap();
    let plane = ControlPlane::open(dir.path(), NOW_MS).unwrap();
    load(&plane, &format!("projects:\n{}", project("a", &[(1, 1)]))).await;
    let before = full(&plane);
    let taken = before.1.keys().find(|(kind, _)| *kind == Kind::Endpoint).unwrap().1;
    let text = format!("projects:\n  - {{name: b, type: outgoing, uid: {taken}}}\n");
    let error = plane.load_resources(parsed(&text), NOW_MS).await.unwrap_err();
    assert!(error.to_string().contains(&taken.to_string()), "{error}");
    assert_eq!(full(&plane), before);
}

#[tokio::test]
async fn a_revision_ahead_of_the_head_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let plane = ControlPlane::open(dir.path(), NOW_MS).unwrap();
    assert_eq!(catch_up(&plane, 1, State::new()).0, Since::Gone);
    assert!(matches!(catch_up(&plane, 0, State::new()).0, Since::UpTo(Version { revision: 0, .. })));
}

#[test]
fn a_journal_of_another_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(ControlPlane::open(dir.path(), NOW_MS).unwrap());
    let connection = Connection::open(dir.path().join("journal.sqlite")).unwrap();
    connection.execute("UPDATE meta SET value = '99' WHERE key = 'format'", []).unwrap();
    let error = ControlPlane::open(dir.path(), NOW_MS).err().unwrap();
    assert!(error.to_string().contains("format 99"), "{error}");
}

#[test]
fn only_the_owner_can_read_the_journal() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("control");
    drop(ControlPlane::open(&dir, NOW_MS).unwrap());
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(dir.clone()), 0o700);
    assert_eq!(mode(dir.join("journal.sqlite")), 0o600);
}

fn edits() -> impl Strategy<Value = Vec<BTreeMap<u8, BTreeMap<u8, u8>>>> {
    let endpoints = proptest::collection::btree_map(0_u8..5, 0_u8..3, 0..5);
    proptest::collection::vec(proptest::collection::btree_map(0_u8..3, endpoints, 1..3), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_tail_applied_to_any_old_state_gives_the_full_read(edits in edits()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let plane = ControlPlane::open(dir.path(), NOW_MS).unwrap();
        let mut states = vec![full(&plane)];
        for edit in edits {
            let mut text = "projects:\n".to_owned();
            for (name, endpoints) in &edit {
                let endpoints: Vec<_> = endpoints.iter().map(|(e, v)| (*e, *v)).collect();
                text += &project(&format!("p{name}"), &endpoints);
            }
            runtime.block_on(load(&plane, &text));
            states.push(full(&plane));
        }
        let newest = states.last().unwrap().clone();
        for (version, state) in states {
            let (since, caught_up) = catch_up(&plane, version.revision, state);
            prop_assert_eq!(since, Since::UpTo(newest.0));
            prop_assert_eq!(&caught_up, &newest.1);
        }
    }
}
