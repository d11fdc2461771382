//! The journal: what a file changes, what history says, and that the tail leads where a full
//! read leads.

use std::ops::ControlFlow;

use outrider_config::file;
use outrider_config::{Document, Snapshot, Transaction};
use outrider_xds::{RevisionLog, Since};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

mod change;
mod egress_policies;
mod egress_pools;
mod migrate;
mod pages;

const NOW: i64 = 1_767_225_600_000;

fn open(dir: &TempDir) -> Journal {
    Journal::open(&dir.path().join("control"), NOW).unwrap()
}

fn apply(journal: &Journal, text: &str) -> Option<Revision> {
    let file = file::parse(text).unwrap_or_else(|problems| panic!("{problems:#?}"));
    journal.apply_file(&file, NOW, "test").unwrap()
}

fn full(journal: &Journal) -> (Version, Vec<Document>) {
    let mut documents = Vec::new();
    let version = journal
        .read_full(&mut |chunk| {
            documents.extend(chunk);
            ControlFlow::Continue(())
        })
        .unwrap();
    (version, documents)
}

fn since(journal: &Journal, revision: u64) -> (Since, Vec<Transaction>) {
    let mut transactions = Vec::new();
    let since = journal
        .read_since(revision, &mut |transaction| {
            transactions.push(transaction);
            ControlFlow::Continue(())
        })
        .unwrap();
    (since, transactions)
}

fn snapshot(journal: &Journal) -> Snapshot {
    let (version, upserts) = full(journal);
    let transaction = Transaction {
        version,
        is_full: true,
        upserts,
        removals: Vec::new(),
    };
    let (snapshot, quarantined) = Snapshot::empty().apply(&transaction);
    assert_eq!(quarantined, []);
    snapshot
}

const ONE: &str = "
projects:
  - name: in
    type: incoming
    sources: [{name: s, verifier: {type: noop}}]
    endpoints: [{name: e, url: 'https://a.example', secret: hunter2, owner_id: o}]
    subscriptions: [{name: b, source_id: s, endpoint_id: e}]
  - name: out
    type: outgoing
    api_keys: [{name: k, key: 0123456789abcdef0123456789abcdef}]
";

#[test]
fn a_directory_that_cannot_be_had_and_a_newer_schema_are_refused() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let refused = Journal::open(&dir.path().join("file"), NOW)
        .map(|_| ())
        .unwrap_err();
    assert_eq!(refused.code(), "journal_file");
    drop(open(&dir));
    let database = Connection::open(dir.path().join("control").join(FILE_NAME)).unwrap();
    database
        .pragma_update(None, "user_version", schema::SCHEMA + 1)
        .unwrap();
    drop(database);
    let refused = Journal::open(&dir.path().join("control"), NOW)
        .map(|_| ())
        .unwrap_err();
    assert_eq!(refused.code(), "journal_too_new");
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let dir = TempDir::new().unwrap();
    fs::write(
        dir.path().join(FILE_NAME),
        "certainly not a database, and long enough to tell",
    )
    .unwrap();
    let refused = Journal::open(dir.path(), NOW).map(|_| ()).unwrap_err();
    assert_eq!(refused.code(), "journal_database");
}

#[test]
fn only_the_owner_can_read_the_journal() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    apply(&journal, ONE);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let control = dir.path().join("control");
    assert_eq!(mode(&control), 0o700);
    let mut files = 0;
    for file in fs::read_dir(&control).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
        files += 1;
    }
    assert!(files >= 2, "database and write-ahead log");
}

#[test]
fn nothing_new_makes_no_revision() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let head = journal.head();
    assert_eq!(journal.version().revision, 0);
    assert_eq!(apply(&journal, "projects: []"), None);
    assert_eq!(apply(&journal, ONE), Some(1));
    assert_eq!(apply(&journal, ONE), None);
    assert_eq!(head.borrow().revision, 1);
    let (version, documents) = full(&journal);
    assert_eq!((version, documents.len()), (journal.version(), 6));
}

#[test]
fn resources_keep_their_ids_and_masks_over_changes_and_restarts() {
    let dir = TempDir::new().unwrap();
    let ids = |journal: &Journal| -> Vec<_> {
        full(journal)
            .1
            .into_iter()
            .map(|one| (one.kind, one.uid, one.revision))
            .collect()
    };
    let mask = |journal: &Journal| {
        let (_, documents) = full(journal);
        let source = documents
            .into_iter()
            .find(|one| one.kind == Kind::Source)
            .unwrap();
        outrider_config::resource::mask_of(&source.spec).unwrap()
    };
    let journal = open(&dir);
    apply(&journal, ONE);
    let (version, before, first_mask) = (journal.version(), ids(&journal), mask(&journal));
    drop(journal);
    let journal = open(&dir);
    assert_eq!(
        (journal.version(), ids(&journal)),
        (version, before.clone())
    );
    assert_eq!(
        apply(
            &journal,
            &ONE.replace("noop}}", "noop}, is_disabled: true}")
        ),
        Some(2)
    );
    assert_eq!(mask(&journal), first_mask);
    let changed: Vec<_> = ids(&journal)
        .into_iter()
        .filter(|one| !before.contains(one))
        .collect();
    assert_eq!(changed.len(), 1);
    assert!(
        before
            .iter()
            .any(|(kind, uid, _)| (*kind, *uid) == (changed[0].0, changed[0].1))
            && changed[0].2 == 2
    );
}

#[test]
fn history_says_who_changed_what_from_what_to_what() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    apply(&journal, ONE);
    let changed = ONE
        .replace("https://a.example", "https://b.example")
        .replace("api_keys", "endpoints: []\n    api_keys");
    let without = changed
        .replace("sources: [{name: s, verifier: {type: noop}}]", "")
        .replace(
            "subscriptions: [{name: b, source_id: s, endpoint_id: e}]",
            "",
        );
    assert_eq!(apply(&journal, &changed), Some(2));
    assert_eq!(apply(&journal, &without), Some(3));
    let history = journal.history(1, 100).unwrap();
    let told: Vec<_> = history
        .iter()
        .map(|change| (change.revision, change.op, change.kind))
        .collect();
    let expected = [
        (2, Op::Update, Kind::Endpoint),
        (3, Op::Delete, Kind::Subscription), // before what it refers to
        (3, Op::Delete, Kind::Source),
    ];
    assert_eq!(told, expected);
    let update = &history[0];
    assert_eq!((update.at_ms, update.actor.as_str()), (NOW, "test"));
    let text = |document: &Option<Vec<u8>>| String::from_utf8(document.clone().unwrap()).unwrap();
    assert!(
        text(&update.before).contains("a.example") && text(&update.after).contains("b.example")
    );
    assert!(history[1].after.is_none() && history[1].before.is_some());
    assert_eq!(journal.history(0, 2).unwrap().len(), 2);
}

#[test]
fn a_uid_that_belongs_to_something_else_is_refused_and_nothing_changes() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    apply(&journal, ONE);
    let endpoint = full(&journal)
        .1
        .into_iter()
        .find(|one| one.kind == Kind::Endpoint)
        .unwrap();
    let stolen = ONE.replace(
        "name: out",
        &format!("name: out2\n    uid: {}", endpoint.uid),
    );
    let file = file::parse(&stolen).ok().unwrap();
    assert_eq!(
        journal.apply_file(&file, NOW, "test").unwrap_err().code(),
        "uid_taken"
    );
    assert_eq!((journal.version().revision, full(&journal).1.len()), (1, 6));
}

#[test]
fn what_a_data_plane_would_hold_is_refused_and_nothing_changes() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    apply(&journal, ONE);
    let file = file::parse("projects: [{name: in, type: outgoing}]")
        .ok()
        .unwrap();
    let refused = journal.apply_file(&file, NOW, "test").unwrap_err();
    assert_eq!(refused.code(), "refused");
    assert!(
        refused.to_string().contains("type never changes"),
        "{refused}"
    );
    assert_eq!(
        (
            journal.version().revision,
            full(&journal).1.len(),
            journal.history(1, 9).unwrap().len()
        ),
        (1, 6, 0)
    );
}

#[test]
fn what_did_not_come_from_a_file_is_neither_removed_nor_taken_over() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    apply(&journal, ONE);
    journal
        .writer()
        .execute(
            "UPDATE resources SET origin = 'api' WHERE name IN ('e', 'b')",
            (),
        )
        .unwrap();
    let without = ONE
        .replace(
            "{name: e, url: 'https://a.example', secret: hunter2, owner_id: o}",
            "",
        )
        .replace("{name: b, source_id: s, endpoint_id: e}", "");
    assert_eq!(apply(&journal, &without), None);
    journal
        .writer()
        .execute("UPDATE resources SET origin = 'api'", ())
        .unwrap();
    let file = file::parse(ONE).ok().unwrap();
    assert_eq!(
        journal.apply_file(&file, NOW, "test").unwrap_err().code(),
        "foreign_resource"
    );
}

#[test]
fn names_can_be_swapped_in_one_revision() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let file = |a: &str, b: &str| {
        format!(
            "projects: [{{name: p, type: outgoing, endpoints: [
              {{name: {a}, uid: 01JD4N3T8Q2W5X6Y7Z8A9B0C1D, url: 'https://a.example', secret: s}},
              {{name: {b}, uid: 01JD4N3T8Q2W5X6Y7Z8A9B0C1E, url: 'https://b.example', secret: s}}]}}]"
        )
    };
    assert_eq!(apply(&journal, &file("x", "y")), Some(1));
    assert_eq!(apply(&journal, &file("y", "x")), Some(2));
    assert_eq!(journal.history(1, 10).unwrap().len(), 2);
}

#[test]
fn a_writer_that_dies_before_its_commit_leaves_nothing() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    apply(&journal, ONE);
    let version = journal.version();
    {
        let writer = journal.writer();
        writer.execute_batch("BEGIN IMMEDIATE; INSERT INTO revisions VALUES (2, 0, 'x', 'x'); DELETE FROM resources;").unwrap();
        // What a kill leaves: the files as they are now, without the process that wrote them.
        let copy = dir.path().join("copy");
        fs::create_dir(&copy).unwrap();
        for file in fs::read_dir(dir.path().join("control")).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), copy.join(file.file_name())).unwrap();
        }
    }
    let restored = Journal::open(&dir.path().join("copy"), NOW).unwrap();
    assert_eq!((restored.version(), full(&restored).1.len()), (version, 6));
}

#[test]
fn the_tail_is_refused_ahead_of_the_head_and_far_behind_it() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    apply(&journal, ONE);
    assert_eq!(since(&journal, 2).0, Since::Gone);
    assert_eq!(
        since(&journal, 1),
        (Since::UpTo(journal.version()), Vec::new())
    );
    assert_eq!(since(&journal, 0).1.len(), 1);
    let far = raw(TAIL_REVISIONS) + 1;
    journal
        .writer()
        .execute("INSERT INTO revisions VALUES (?1, 0, 'x', 'x')", [far])
        .unwrap();
    assert_eq!(since(&journal, 0).0, Since::Gone);
    assert!(matches!(since(&journal, 1).0, Since::UpTo(_)));
}

#[test]
fn a_reader_can_stop_and_a_change_does_not_wait_for_one() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let many: String = (0..2_500)
        .map(|n| format!("      - {{name: e{n}, url: 'https://a.example', secret: s}}\n"))
        .collect();
    let text = format!("projects:\n  - name: p\n    type: outgoing\n    endpoints:\n{many}");
    apply(&journal, &text);
    let mut chunks = Vec::new();
    let version = journal
        .read_full(&mut |chunk| {
            if chunks.is_empty() {
                // In the middle of the read: it goes on with the state it began with.
                assert_eq!(
                    apply(
                        &journal,
                        &format!("{text}  - {{name: q, type: outgoing}}\n")
                    ),
                    Some(2)
                );
            }
            chunks.push(chunk.len());
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!((version.revision, chunks), (1, vec![2_000, 501]));
    let mut calls = 0;
    let stop = journal.read_full(&mut |_| {
        calls += 1;
        ControlFlow::Break(())
    });
    assert!(stop.is_ok() && calls == 1);
}

/// A file out of a few switches: `bits` says which resources are there and in which variant.
fn generated(bits: u32) -> String {
    let has = |n: u32| bits >> n & 1 == 1;
    let mut text = "projects:\n".to_owned();
    for (project, at) in [("a", 0), ("b", 12)] {
        if !has(at) {
            continue;
        }
        let enforced = if has(at + 10) { "false" } else { "true" };
        text.push_str(&format!("  - name: {project}\n    type: incoming\n    config: {{ssl: {{enforce_secure_endpoints: {enforced}}}}}\n"));
        let mut lists = [String::new(), String::new(), String::new()];
        for n in 0..2 {
            if has(at + 1 + n) {
                let mask = format!("{project}-{}", if has(at + 11) { n } else { 1 - n });
                lists[0].push_str(&format!(
                    "      - {{name: s{n}, mask_id: {mask}, verifier: {{type: noop}}}}\n"
                ));
            }
            if has(at + 3 + n) {
                let owner = if has(at + 5) { "x" } else { "y" };
                lists[1].push_str(&format!("      - {{name: e{n}, url: 'https://e{n}.example', secret: s, owner_id: {owner}}}\n"));
            }
            if has(at + 1) && has(at + 3) && has(at + 6 + n) {
                let types = if has(at + 8) { "'*'" } else { "push" };
                lists[2].push_str(&format!("      - {{name: b{n}, source_id: s0, endpoint_id: e0, filter_config: {{event_types: [{types}]}}}}\n"));
            }
        }
        for (name, list) in ["sources", "endpoints", "subscriptions"]
            .into_iter()
            .zip(lists)
        {
            if !list.is_empty() {
                text.push_str(&format!("    {name}:\n{list}"));
            }
        }
    }
    if text.ends_with("projects:\n") {
        "projects: []".to_owned()
    } else {
        text
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn the_tail_from_anywhere_leads_where_a_full_read_leads(
        states in prop::collection::vec(0_u32..(1 << 24), 1..8),
        from in 0_usize..8,
    ) {
        let dir = TempDir::new().unwrap();
        let journal = open(&dir);
        let mut old = snapshot(&journal);
        for (state, bits) in states.iter().enumerate() {
            apply(&journal, &generated(*bits));
            if state <= from {
                old = snapshot(&journal);
            }
        }
        let (end, transactions) = since(&journal, old.version().unwrap().revision);
        prop_assert_eq!(end, Since::UpTo(journal.version()));
        for transaction in &transactions {
            let (next, quarantined) = old.apply(transaction);
            prop_assert_eq!(quarantined, vec![]);
            old = next;
        }
        prop_assert_eq!(old.dump(), snapshot(&journal).dump());
        prop_assert_eq!(old.counts(), snapshot(&journal).counts());
    }
}
