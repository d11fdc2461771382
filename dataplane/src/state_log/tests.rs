use std::os::unix::fs::PermissionsExt;

use outrider_webhook::id::ProjectId;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const PROJECT: u128 = 1;

fn key(byte: u8) -> StateKey {
    StateKey::from_hex(&hex::encode([byte; 32])).unwrap()
}

fn document(kind: Kind, uid: u128, revision: u64, spec: &str) -> Document {
    Document {
        kind,
        uid: Uid::from_bits(uid),
        project: ProjectId::new(Uid::from_bits(PROJECT)),
        revision,
        spec: spec.to_owned().into(),
    }
}

fn project(revision: u64) -> Document {
    let spec = r#"{"name":"shop","type":"outgoing"}"#;
    document(Kind::Project, PROJECT, revision, spec)
}

fn endpoint(uid: u128, revision: u64) -> Document {
    let spec = format!(
        r#"{{"name":"e{uid}-{revision}","url":"https://example.com/{uid}","secret":"very-secret-words"}}"#
    );
    document(Kind::Endpoint, uid, revision, &spec)
}

fn transaction(revision: u64, is_full: bool, upserts: Vec<Document>) -> Transaction {
    Transaction {
        version: Version {
            journal: Uid::from_bits(7),
            revision,
        },
        is_full,
        upserts,
        removals: Vec::new(),
    }
}

fn full(revision: u64, endpoints: std::ops::Range<u128>) -> Transaction {
    let endpoints = endpoints.map(|uid| endpoint(uid, revision));
    transaction(
        revision,
        true,
        std::iter::once(project(revision))
            .chain(endpoints)
            .collect(),
    )
}

fn open(dir: &TempDir) -> (StateLog, Snapshot) {
    StateLog::open(dir.path().join("state"), key(1)).unwrap()
}

fn file(dir: &TempDir) -> PathBuf {
    dir.path().join("state").join(FILE_NAME)
}

/// A log of one full transaction and some deltas; what is in force after each, and the bytes of
/// the file then.
fn kept(dir: &TempDir, deltas: u64) -> Vec<(Snapshot, u64)> {
    let (mut log, mut snapshot) = open(dir);
    let mut steps = Vec::new();
    for revision in 1..=deltas + 1 {
        let step = match revision {
            1 => full(1, 10..13),
            even if even % 2 == 0 => transaction(even, false, vec![endpoint(10, even)]),
            odd => Transaction {
                removals: vec![(Kind::Endpoint, Uid::from_bits(11))],
                ..transaction(odd, false, vec![endpoint(100 + u128::from(odd), odd)])
            },
        };
        snapshot = put(&mut log, &snapshot, &step);
        steps.push((snapshot.clone(), log.bytes()));
    }
    steps
}

/// Puts a transaction in force and keeps it.
fn put(log: &mut StateLog, before: &Snapshot, transaction: &Transaction) -> Snapshot {
    let (after, _) = before.apply(transaction);
    log.keep(transaction, &after).unwrap();
    after
}

fn same(a: &Snapshot, b: &Snapshot) -> bool {
    a.dump() == b.dump()
}

#[test]
fn another_key_or_another_file_is_refused_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    kept(&dir, 1);
    let state = dir.path().join("state");
    let error = StateLog::open(state.clone(), key(2)).err().unwrap();
    assert!(matches!(error, StateLogError::Key(_)), "{error}");
    assert!(error.to_string().contains("state.log"), "{error}");
    for other in ["", "OUTRSTAT", "something else altogether, and long enough"] {
        fs::write(file(&dir), other).unwrap();
        let error = StateLog::open(state.clone(), key(1)).err().unwrap();
        assert!(
            matches!(error, StateLogError::Foreign(_)),
            "{other} {error}"
        );
    }
    assert!(StateKey::from_hex("00").is_none() && StateKey::from_hex(&"g".repeat(64)).is_none());
}

#[test]
fn a_delta_without_anything_before_it_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, snapshot) = open(&dir);
    assert_eq!(snapshot.version(), None);
    let delta = transaction(2, false, vec![endpoint(1, 2)]);
    assert!(log.keep(&delta, &snapshot).is_err());
    put(&mut log, &snapshot, &full(3, 10..12));
    drop(log);
    assert_eq!(open(&dir).1.counts().endpoints, 2);
}

#[test]
fn a_cut_anywhere_leaves_the_last_whole_transaction() {
    let dir = tempfile::tempdir().unwrap();
    let steps = kept(&dir, 4);
    let whole = fs::read(file(&dir)).unwrap();
    for length in (0..whole.len()).rev().step_by(7) {
        fs::write(file(&dir), &whole[..length]).unwrap();
        let before = steps
            .iter()
            .rev()
            .find(|(_, bytes)| *bytes <= length as u64);
        match (StateLog::open(dir.path().join("state"), key(1)), before) {
            (Ok((_, snapshot)), Some((expected, _))) => {
                assert!(same(&snapshot, expected), "{length}")
            }
            (Ok((_, snapshot)), None) => assert_eq!(snapshot.version(), None, "{length}"),
            // Less than a header and a first record: a power cut cannot leave it, because a file
            // gets its name when it is whole.
            (Err(_), None) => {}
            (Err(error), Some(_)) => panic!("{length}: {error}"),
        }
    }
}

#[test]
fn after_a_cut_the_log_goes_on_where_it_was_whole() {
    let dir = tempfile::tempdir().unwrap();
    let steps = kept(&dir, 2);
    let whole = fs::read(file(&dir)).unwrap();
    fs::write(file(&dir), &whole[..whole.len() - 1]).unwrap();
    let (mut log, snapshot) = open(&dir);
    assert!(same(&snapshot, &steps[1].0));
    let again = transaction(3, false, vec![endpoint(77, 3)]);
    let after = put(&mut log, &snapshot, &again);
    drop(log);
    assert!(same(&open(&dir).1, &after));
}

#[test]
fn a_changed_byte_that_was_synced_is_found_and_nothing_old_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let steps = kept(&dir, 4);
    let whole = fs::read(file(&dir)).unwrap();
    // In the records of the full transaction: what follows proves that they were synced.
    let inside = usize::try_from(steps[0].1).unwrap() - 20;
    let mut damaged = whole.clone();
    damaged[inside] ^= 1;
    fs::write(file(&dir), &damaged).unwrap();
    let (mut log, snapshot) = open(&dir);
    assert_eq!(snapshot.version(), None);
    assert_eq!(
        fs::read(dir.path().join("state/state.log.damaged")).unwrap(),
        damaged
    );
    put(&mut log, &snapshot, &full(9, 10..11));
    drop(log);
    assert_eq!(open(&dir).1.counts().endpoints, 1);
}

#[test]
fn nothing_readable_is_on_disk_and_only_its_owner_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    kept(&dir, 3);
    let bytes = fs::read(file(&dir)).unwrap();
    for words in ["very-secret-words", "example.com", "shop"] {
        assert!(
            !bytes
                .windows(words.len())
                .any(|window| window == words.as_bytes())
        );
    }
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode(&file(&dir)), mode(&dir.path().join("state"))),
        (0o600, 0o700)
    );
}

#[test]
fn a_file_that_outgrew_its_content_is_written_anew_and_says_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, mut snapshot) = open(&dir);
    let first = full(1, 10..40);
    snapshot = put(&mut log, &snapshot, &first);
    let large = format!(
        r#"{{"name":"large","url":"https://example.com/","description":"{}"}}"#,
        "x".repeat(20_000)
    );
    let (mut largest, mut revision) = (0, 1);
    // More than the slack, twice; the second half while or after a compaction ran.
    while revision < 2_000 {
        revision += 1;
        let mut step = transaction(revision, false, Vec::new());
        step.upserts.push(document(
            Kind::Endpoint,
            10 + u128::from(revision % 7),
            revision,
            &large,
        ));
        if revision % 5 == 0 {
            step.removals.push((
                Kind::Endpoint,
                Uid::from_bits(20 + u128::from(revision % 20)),
            ));
        }
        snapshot = put(&mut log, &snapshot, &step);
        largest = largest.max(log.bytes());
    }
    assert!(largest > SLACK_BYTES, "{largest}");
    assert!(
        log.bytes() < 30_000_000,
        "{} bytes for 40 MB of deltas",
        log.bytes()
    );
    drop(log);
    let (_, restored) = open(&dir);
    assert!(
        same(&restored, &snapshot),
        "{:#}\n{:#}",
        restored.dump(),
        snapshot.dump()
    );
    assert_eq!(restored.version(), snapshot.version());
}

#[test]
fn what_is_served_in_place_of_a_quarantined_version_is_served_again() {
    let bad = |revision| {
        document(
            Kind::Endpoint,
            10,
            revision,
            r#"{"name":"bad","url":"nowhere"}"#,
        )
    };
    let dir = tempfile::tempdir().unwrap();
    let (mut log, mut snapshot) = open(&dir);
    let again = transaction(3, true, vec![project(1), endpoint(11, 1), bad(3)]);
    for step in [full(1, 10..12), transaction(2, false, vec![bad(2)]), again] {
        snapshot = put(&mut log, &snapshot, &step);
        let counts = snapshot.counts();
        let is_bad = usize::from(step.version.revision > 1);
        assert_eq!((counts.endpoints, counts.quarantined), (2, is_bad));
    }
    drop(log);
    assert!(same(&open(&dir).1, &snapshot));
}

#[test]
fn what_could_not_be_written_leaves_what_was_there_and_is_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, snapshot) = open(&dir);
    let (first, second) = (
        full(1, 10..12),
        transaction(2, false, vec![endpoint(20, 2)]),
    );
    let before = put(&mut log, &snapshot, &first);
    let good = log.writer.replace(Writer::broken(&file(&dir), &log.key));
    let after = before.apply(&second).0;
    assert!(log.keep(&second, &after).is_err());
    assert_eq!(log.version(), Some(first.version));
    assert!(same(&open(&dir).1, &before));
    log.writer = good;
    log.keep(&second, &after).unwrap();
    assert_eq!(log.version(), Some(second.version));
    drop(log);
    assert!(same(&open(&dir).1, &after));
}

#[test]
fn a_transaction_that_says_nothing_new_takes_no_room() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, snapshot) = open(&dir);
    let snapshot = put(&mut log, &snapshot, &full(1, 10..12));
    let bytes = log.bytes();
    put(&mut log, &snapshot, &transaction(1, false, Vec::new()));
    assert_eq!(log.bytes(), bytes);
    put(&mut log, &snapshot, &transaction(2, false, Vec::new()));
    assert!(log.bytes() > bytes, "another version is something new");
    drop(log);
    assert_eq!(open(&dir).1.version().unwrap().revision, 2);
}

#[test]
fn a_full_transaction_that_could_not_be_written_leaves_nothing_old_to_serve() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, snapshot) = open(&dir);
    let before = put(&mut log, &snapshot, &full(1, 10..12));
    // Where the new file would be made is something that no file replaces.
    fs::create_dir(dir.path().join("state/state.log.new")).unwrap();
    let again = full(2, 10..11);
    let after = before.apply(&again).0;
    assert!(log.keep(&again, &after).is_err());
    assert_eq!((log.version(), file(&dir).exists()), (None, false));
    assert!(
        log.keep(&transaction(3, false, Vec::new()), &after)
            .is_err()
    );
    fs::remove_dir(dir.path().join("state/state.log.new")).unwrap();
    log.keep(&again, &after).unwrap();
    drop(log);
    assert!(same(&open(&dir).1, &after));
}

#[test]
fn an_append_of_several_records_may_lose_any_of_them_to_a_power_cut() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, snapshot) = open(&dir);
    let before = put(&mut log, &snapshot, &full(1, 10..12));
    let start = usize::try_from(log.bytes()).unwrap();
    // Two parts, because each document is most of one.
    let large = |uid, revision| {
        let spec = format!(
            r#"{{"name":"{}","url":"https://example.com/"}}"#,
            "x".repeat(900_000)
        );
        document(Kind::Endpoint, uid, revision, &spec)
    };
    put(
        &mut log,
        &before,
        &transaction(2, false, vec![large(30, 2), large(31, 2)]),
    );
    drop(log);
    let whole = fs::read(file(&dir)).unwrap();
    // The first part of the append never reached the disk, the second did.
    let mut torn = whole.clone();
    torn[start..start + 500_000].fill(0);
    fs::write(file(&dir), &torn).unwrap();
    let (mut log, snapshot) = open(&dir);
    assert!(same(&snapshot, &before), "nothing of it was acknowledged");
    // The same with something behind it: it had been synced.
    let after = put(
        &mut log,
        &snapshot,
        &transaction(2, false, vec![large(30, 2), large(31, 2)]),
    );
    put(
        &mut log,
        &after,
        &transaction(3, false, vec![endpoint(40, 3)]),
    );
    drop(log);
    let mut damaged = fs::read(file(&dir)).unwrap();
    damaged[start..start + 500_000].fill(0);
    fs::write(file(&dir), &damaged).unwrap();
    assert_eq!(open(&dir).1.version(), None);
    assert!(dir.path().join("state/state.log.damaged").exists());
}

/// Where the records of a file begin, by the lengths in front of them.
fn records(bytes: &[u8]) -> Vec<usize> {
    let (mut starts, mut at) = (Vec::new(), 28);
    while at < bytes.len() {
        starts.push(at);
        let length = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        at += 20 + usize::try_from(length).unwrap();
    }
    starts
}

#[test]
fn every_flipped_byte_of_what_was_synced_is_found() {
    let dir = tempfile::tempdir().unwrap();
    kept(&dir, 3);
    let whole = fs::read(file(&dir)).unwrap();
    let starts = records(&whole);
    // All but the key check in front and the last record, behind which there is no proof.
    let (from, to) = (starts[1], *starts.last().unwrap());
    for at in (from..to)
        .step_by(3)
        .chain(starts[1..starts.len() - 1].iter().copied())
    {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        fs::write(file(&dir), &damaged).unwrap();
        assert_eq!(open(&dir).1.version(), None, "byte {at} of {}", whole.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_flipped_bit_never_panics_and_never_invents(bit in 0_usize..100_000) {
        let dir = tempfile::tempdir().unwrap();
        let steps = kept(&dir, 2);
        let mut bytes = fs::read(file(&dir)).unwrap();
        let bit = bit % (bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(file(&dir), &bytes).unwrap();
        if let Ok((_, snapshot)) = StateLog::open(dir.path().join("state"), key(1)) {
            let is_known = steps.iter().any(|(step, _)| same(step, &snapshot));
            prop_assert!(is_known || snapshot.version().is_none());
        }
    }
}
