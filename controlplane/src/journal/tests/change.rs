//! Revisions of the API: what goes with what, whose is whose, and names.

use outrider_config::resource::to_document;
use serde_json::{Value, json};

use super::*;

const BY: Author<'static> = Author {
    actor: "admin key",
    origin: Origin::Api,
    now_ms: NOW + 1,
};

/// Everything that `decide` gets, made from JSON.
fn made(kind: Kind, number: u128, project: u128, spec: Value) -> Stored {
    let (uid, project) = (
        Uid::from_bits(number),
        ProjectId::new(Uid::from_bits(project)),
    );
    Stored::new(kind, uid, project, to_document(&spec).unwrap(), &BY).unwrap()
}

fn create(journal: &Journal, all: Vec<Stored>) -> Result<Option<Revision>, ChangeError> {
    change(journal, all.into_iter().map(Edit::create).collect())
}

fn change(journal: &Journal, edits: Vec<Edit>) -> Result<Option<Revision>, ChangeError> {
    let changed = journal.change(&BY, |_| Ok::<_, ChangeError>((edits, ())))?;
    Ok(changed.revision)
}

fn delete(journal: &Journal, uid: Uid) -> Result<Option<Revision>, ChangeError> {
    let changed = journal.change(&BY, |view| {
        let one = view.by_uid(uid)?.unwrap();
        Ok::<_, ChangeError>((vec![Edit::delete(one)], ()))
    })?;
    Ok(changed.revision)
}

/// An incoming project with a bit of everything.
fn incoming(journal: &Journal) {
    let endpoint = |name: &str| json!({"name": name, "url": "https://a.example", "secret": "s"});
    let wants = |source: u128, endpoint: u128| {
        json!({
            "name": "same",
            "source_id": Uid::from_bits(source),
            "endpoint_id": Uid::from_bits(endpoint),
        })
    };
    let source =
        |mask: &str| json!({"name": "same", "mask_id": mask, "verifier": {"type": "noop"}});
    let key = |digit: &str| json!({"name": "same", "key_sha256": digit.repeat(64)});
    let all = vec![
        made(
            Kind::Project,
            1,
            1,
            json!({"name": "p", "type": "incoming"}),
        ),
        made(Kind::Source, 2, 1, source("a")),
        made(Kind::Source, 3, 1, source("b")),
        made(Kind::Endpoint, 4, 1, endpoint("e")),
        made(Kind::Endpoint, 5, 1, endpoint("f")),
        made(Kind::Subscription, 6, 1, wants(2, 4)),
        made(Kind::Subscription, 7, 1, wants(3, 4)),
        made(Kind::Subscription, 8, 1, wants(3, 5)),
        made(Kind::ApiKey, 9, 1, key("a")),
        made(Kind::ApiKey, 10, 1, key("b")),
    ];
    assert_eq!(create(journal, all).unwrap(), Some(1));
}

fn numbers(journal: &Journal) -> Vec<u128> {
    let mut all: Vec<u128> = full(journal).1.iter().map(|one| one.uid.bits()).collect();
    all.sort_unstable();
    assert_eq!(journal.snapshot().dump(), snapshot(journal).dump());
    all
}

#[test]
fn what_cannot_be_without_what_is_deleted_goes_in_the_same_revision() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    incoming(&journal);
    assert_eq!(delete(&journal, Uid::from_bits(4)).unwrap(), Some(2));
    assert_eq!(numbers(&journal), [1, 2, 3, 5, 8, 9, 10]);
    assert_eq!(delete(&journal, Uid::from_bits(3)).unwrap(), Some(3));
    assert_eq!(numbers(&journal), [1, 2, 5, 9, 10]);
    assert_eq!(delete(&journal, Uid::from_bits(1)).unwrap(), Some(4));
    assert!(numbers(&journal).is_empty());
    let told: Vec<_> = journal
        .history(1, 100)
        .unwrap()
        .into_iter()
        .map(|change| (change.revision, change.uid.bits(), change.actor))
        .collect();
    let expected = [
        (2, 7),
        (2, 6),
        (2, 4),
        (3, 8),
        (3, 3),
        (4, 10),
        (4, 9),
        (4, 5),
        (4, 2),
        (4, 1),
    ];
    let expected = expected.map(|(revision, uid)| (revision, uid, "admin key".to_owned()));
    assert_eq!(told, expected);
}

#[test]
fn a_file_that_drops_something_takes_along_what_the_api_put_on_it() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    apply(&journal, ONE);
    let of = |kind, name: &str| {
        let found = journal.read(|view| {
            let all = view.made_by_files()?;
            Ok::<_, JournalError>(
                all.into_iter()
                    .find(|one| one.document.kind == kind && one.name == name),
            )
        });
        found.unwrap().unwrap().document
    };
    let (project, endpoint, source) = (
        of(Kind::Project, "in"),
        of(Kind::Endpoint, "e"),
        of(Kind::Source, "s"),
    );
    let wants = json!({"name": "b", "source_id": source.uid, "endpoint_id": endpoint.uid});
    let own = made(Kind::Subscription, 7, project.uid.bits(), wants);
    let key = made(
        Kind::ApiKey,
        8,
        project.uid.bits(),
        json!({"name": "k", "key_sha256": "c".repeat(64)}),
    );
    assert_eq!(create(&journal, vec![own, key]).unwrap(), Some(2));
    let without_endpoint = ONE
        .replace(
            "{name: e, url: 'https://a.example', secret: hunter2, owner_id: o}",
            "",
        )
        .replace("{name: b, source_id: s, endpoint_id: e}", "");
    assert_eq!(apply(&journal, &without_endpoint), Some(3));
    assert_eq!(full(&journal).1.len(), 5, "the key is left");
    assert_eq!(apply(&journal, "projects: []"), Some(4));
    assert!(numbers(&journal).is_empty());
}

#[test]
fn a_file_may_give_an_endpoint_away_and_move_its_subscription() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    apply(&journal, ONE);
    let moved = ONE
        .replace("name: e,", "name: e2,")
        .replace("endpoint_id: e}", "endpoint_id: e2}");
    assert_eq!(apply(&journal, &moved), Some(2));
    assert_eq!(full(&journal).1.len(), 6);
    assert_eq!(journal.snapshot().counts().subscriptions, 1);
}

#[test]
fn what_a_file_made_is_the_files() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    apply(&journal, ONE);
    for document in full(&journal).1 {
        let refused = delete(&journal, document.uid).unwrap_err();
        assert_eq!(refused.code(), "managed_by_file");
        assert!(refused.to_string().contains("resource file"), "{refused}");
    }
    assert_eq!(journal.version().revision, 1);
}

#[test]
fn names_are_unique_where_they_tell_things_apart() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    incoming(&journal); // sources, subscriptions and keys share a name there
    let project = made(
        Kind::Project,
        11,
        11,
        json!({"name": "p", "type": "outgoing"}),
    );
    let endpoint = json!({"name": "e", "url": "https://a.example", "secret": "s"});
    for one in [project, made(Kind::Endpoint, 12, 1, endpoint)] {
        let refused = create(&journal, vec![one]).unwrap_err();
        assert_eq!(refused.code(), "journal_database");
    }
    let (project, name) = (ProjectId::new(Uid::from_bits(1)), "e");
    journal
        .read(|view| {
            assert!(view.named(Kind::Endpoint, project, name)?.is_some());
            assert!(view.named(Kind::Endpoint, project, "x")?.is_none());
            assert!(view.named(Kind::Project, project, "p")?.is_some());
            assert!(view.named(Kind::Source, project, "same")?.is_none());
            Ok::<_, JournalError>(())
        })
        .unwrap();
    assert_eq!(journal.version().revision, 1);
}

#[test]
fn a_change_that_changes_nothing_or_is_refused_makes_no_revision() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    incoming(&journal);
    let same = journal.change(&BY, |view| {
        let one = view.by_uid(Uid::from_bits(4))?.unwrap();
        let after = one.changed(one.document.spec.clone(), &BY)?;
        Ok::<_, ChangeError>((vec![Edit::update(one, after)], 7))
    });
    let same = same.unwrap();
    assert_eq!(
        (same.revision, same.value, same.version),
        (None, 7, journal.version())
    );
    let bad = made(
        Kind::Endpoint,
        12,
        1,
        json!({"name": "bad", "url": "ftp://x", "secret": "s"}),
    );
    let refused = create(&journal, vec![bad]).unwrap_err();
    assert_eq!(refused.code(), "refused");
    assert_eq!(journal.version().revision, 1);
    assert_eq!(numbers(&journal).len(), 10);
}

#[test]
fn times_say_when_it_was_made_and_changed() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    incoming(&journal);
    let later = Author {
        now_ms: NOW + 100,
        ..BY
    };
    let update = journal.change(&later, |view| {
        let one = view.by_uid(Uid::from_bits(4))?.unwrap();
        let spec = json!({"name": "e", "url": "https://b.example", "secret": "s"});
        let after = one.changed(to_document(&spec).unwrap(), &later)?;
        Ok::<_, ChangeError>((vec![Edit::update(one, after)], ()))
    });
    assert_eq!(update.unwrap().revision, Some(2));
    let times = journal.read(|view| {
        let one = view.by_uid(Uid::from_bits(4))?.unwrap();
        Ok::<_, JournalError>((one.created_ms, one.updated_ms, one.document.revision))
    });
    assert_eq!(times.unwrap(), (NOW + 1, NOW + 100, 2));
}

#[test]
fn a_file_may_name_an_endpoint_as_the_api_did() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let without = ONE
        .replace(
            "{name: e, url: 'https://a.example', secret: hunter2, owner_id: o}",
            "",
        )
        .replace("{name: b, source_id: s, endpoint_id: e}", "");
    apply(&journal, &without);
    let (_, documents) = full(&journal);
    let project = documents.iter().find(|one| one.kind == Kind::Project);
    let project = project.unwrap().uid.bits();
    let spec = json!({"name": "e", "url": "https://b.example", "secret": "s"});
    let own = made(Kind::Endpoint, 7, project, spec);
    assert_eq!(create(&journal, vec![own]).unwrap(), Some(2));
    assert_eq!(apply(&journal, ONE), Some(3));
    assert_eq!(apply(&journal, ONE), None);
    assert_eq!(journal.snapshot().counts().endpoints, 2);
    assert_eq!(apply(&journal, &without), Some(4));
    let (_, left) = full(&journal);
    assert!(left.iter().any(|one| one.uid == Uid::from_bits(7)));
}

#[test]
fn what_was_held_before_blocks_no_change_of_something_else() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    incoming(&journal);
    let write = |uid: u128, spec: Value| {
        let row = (
            Uid::from_bits(uid).to_string(),
            spec.to_string().into_bytes(),
        );
        let sql = "UPDATE resources SET document = ?2 WHERE uid = ?1";
        assert_eq!(journal.writer().execute(sql, row).unwrap(), 1);
    };
    // By the rules of an older version all of this was right.
    let endpoint = json!({"name": "e", "url": "ftp://x", "secret": "s"});
    write(1, json!({"name": "p", "type": "incoming", "logo_url": "x"}));
    write(4, endpoint.clone());
    drop(journal);
    let journal = open(&dir);
    assert_eq!(journal.snapshot().counts().quarantined, 10);
    let update = |uid: u128, spec: Value| {
        journal.change(&BY, |view| {
            let one = view.by_uid(Uid::from_bits(uid))?.unwrap();
            let after = one.changed(to_document(&spec).unwrap(), &BY)?;
            Ok::<_, ChangeError>((vec![Edit::update(one, after)], ()))
        })
    };
    // The endpoint waited for its project, and is now refused for itself.
    let project = json!({"name": "p", "type": "incoming"});
    assert_eq!(update(1, project).unwrap().revision, Some(2));
    let counts = journal.snapshot().counts();
    assert_eq!((counts.endpoints, counts.quarantined), (1, 3));
    // Who touches it has to make it right.
    let mut named = endpoint;
    named["owner_id"] = json!("o");
    assert_eq!(update(4, named).unwrap_err().code(), "refused");
    let right = json!({"name": "e", "url": "https://a.example", "secret": "s"});
    assert_eq!(update(4, right).unwrap().revision, Some(3));
    assert_eq!(journal.snapshot().counts().quarantined, 0);
}

#[test]
fn a_read_sees_rows_that_are_no_newer_than_its_snapshot() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    incoming(&journal);
    let seen = journal.read(|view| {
        let endpoint = json!({"name": "g", "url": "https://a.example", "secret": "s"});
        create(&journal, vec![made(Kind::Endpoint, 12, 1, endpoint)]).unwrap();
        let revision = view.snapshot().version().unwrap().revision;
        Ok::<_, JournalError>((revision, view.by_uid(Uid::from_bits(12))?.is_some()))
    });
    assert_eq!(seen.unwrap(), (1, false));
}
