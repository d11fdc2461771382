//! From the schemas before this one.

use super::*;

/// The tables as version 1 made them.
const OLD: &str = "
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;
CREATE TABLE revisions (
    number  INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,  -- Unix milliseconds
    actor   TEXT NOT NULL,
    summary TEXT NOT NULL
) STRICT;
CREATE TABLE changes (
    revision INTEGER NOT NULL REFERENCES revisions (number),
    seq      INTEGER NOT NULL,
    kind     TEXT NOT NULL,
    uid      TEXT NOT NULL,
    project  TEXT NOT NULL,
    op       TEXT NOT NULL CHECK (op IN ('create', 'update', 'delete')),
    before   BLOB,
    after    BLOB,
    PRIMARY KEY (revision, seq)
) STRICT;
CREATE INDEX changes_by_uid ON changes (uid, revision);
CREATE TABLE resources (
    uid      TEXT PRIMARY KEY,
    kind     TEXT NOT NULL,
    project  TEXT NOT NULL,
    name     TEXT NOT NULL,
    owner    TEXT,
    origin   TEXT NOT NULL,
    revision INTEGER NOT NULL,
    document BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX resources_by_name ON resources (project, kind, name);
CREATE UNIQUE INDEX projects_by_name ON resources (name) WHERE kind = 'project';
CREATE INDEX resources_by_owner ON resources (project, owner) WHERE owner IS NOT NULL;
";

/// A journal of version 1 with everything that `ONE` makes: revision 1 all of it, revision 2 the
/// endpoint anew, revision 3 a change of it.
fn old_journal(dir: &TempDir) -> (Vec<Document>, Version) {
    let journal = open(dir);
    apply(&journal, ONE);
    let (version, documents) = full(&journal);
    drop(journal);
    let control = dir.path().join("control");
    fs::remove_dir_all(&control).unwrap();
    fs::create_dir(&control).unwrap();
    let old = Connection::open(control.join(FILE_NAME)).unwrap();
    old.execute_batch(OLD).unwrap();
    let journal = version.journal.to_string();
    old.execute(
        "INSERT INTO meta VALUES ('journal', ?1), ('created_ms', '1')",
        [journal],
    )
    .unwrap();
    for (number, at) in [(1, NOW), (2, NOW + 20), (3, NOW + 30)] {
        old.execute(
            "INSERT INTO revisions VALUES (?1, ?2, 'test', '')",
            (number, at),
        )
        .unwrap();
    }
    for (seq, one) in documents.iter().enumerate() {
        let row = (
            one.uid.to_string(),
            one.kind.as_str(),
            one.project.to_string(),
        );
        let is_endpoint = one.kind == Kind::Endpoint;
        let revision = if is_endpoint { 3 } else { 1 };
        let fields: serde_json::Value = serde_json::from_slice(&one.spec).unwrap();
        old.execute(
            "INSERT INTO resources VALUES (?1, ?2, ?3, ?4, ?5, 'file', ?6, ?7)",
            (
                &row.0,
                row.1,
                &row.2,
                fields["name"].as_str().unwrap(),
                is_endpoint.then_some("o"),
                revision,
                &one.spec[..],
            ),
        )
        .unwrap();
        let record = |revision: i64, op: &str| {
            old.execute(
                "INSERT INTO changes VALUES (?1, ?2, ?3, ?4, ?5, ?6, NULL, ?7)",
                (
                    revision,
                    i64::try_from(seq).unwrap() + 1,
                    row.1,
                    &row.0,
                    &row.2,
                    op,
                    &one.spec[..],
                ),
            )
            .unwrap();
        };
        record(1, "create");
        if is_endpoint {
            record(2, "create");
            record(3, "update");
        }
    }
    old.pragma_update(None, "user_version", 1).unwrap();
    let version = Version {
        revision: 3,
        ..version
    };
    (documents, version)
}

#[test]
fn a_journal_of_version_1_keeps_everything_and_learns_its_times() {
    let dir = TempDir::new().unwrap();
    let (documents, version) = old_journal(&dir);
    let journal = open(&dir);
    let (found, after) = full(&journal);
    assert_eq!(found, version);
    let specs = |documents: &[Document]| -> Vec<_> {
        documents
            .iter()
            .map(|one| (one.uid, one.spec.clone()))
            .collect()
    };
    assert_eq!(specs(&after), specs(&documents));
    assert_eq!(journal.snapshot().counts().quarantined, 0);
    assert_eq!(journal.snapshot().counts().endpoints, 1);
    for one in journal.read(|view| view.made_by_files()).unwrap() {
        let expected = match one.document.kind {
            Kind::Endpoint => (NOW + 20, NOW + 30),
            _ => (NOW, NOW),
        };
        assert_eq!((one.created_ms, one.updated_ms), expected, "{}", one.name);
    }
    // Lists are filtered by columns that were not there.
    let (project, endpoint) = (
        after[0].project,
        documents
            .iter()
            .find(|one| one.kind == Kind::Endpoint)
            .unwrap()
            .uid,
    );
    let found = |selection: Selection| {
        let scan = crate::api::page::Scan {
            order: crate::api::page::Order::Ascending,
            from: None,
            limit: 10,
        };
        journal
            .read(|view| view.list(&selection, &scan))
            .unwrap()
            .len()
    };
    let home = documents
        .iter()
        .find(|one| one.kind == Kind::Endpoint)
        .unwrap()
        .project;
    assert_eq!(
        found(Selection {
            owner: Some("o".into()),
            ..Selection::all(Kind::Endpoint, home)
        }),
        1
    );
    assert_eq!(
        found(Selection {
            name_part: Some("E".into()),
            ..Selection::all(Kind::Endpoint, home)
        }),
        1
    );
    assert_eq!(
        found(Selection {
            source_type: Some("http".into()),
            ..Selection::all(Kind::Source, home)
        }),
        1
    );
    assert_eq!(
        found(Selection {
            endpoints: vec![endpoint.to_string()],
            ..Selection::all(Kind::Subscription, home)
        }),
        1
    );
    assert_eq!(
        found(Selection {
            endpoints: vec![project.to_string()],
            ..Selection::all(Kind::Subscription, home)
        }),
        0
    );
    // And it is one of today now: the same file holds nothing new, and it opens again.
    assert_eq!(apply(&journal, ONE), None);
    let organisation = journal.organisation();
    drop(journal);
    assert_eq!(open(&dir).organisation(), organisation);
}

#[test]
fn a_journal_of_version_2_lets_a_file_name_an_endpoint_as_the_api_did() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    apply(&journal, ONE);
    journal
        .writer()
        .execute_batch(
            "DROP INDEX endpoints_by_name;
             CREATE UNIQUE INDEX endpoints_by_name ON resources (project, name) WHERE kind = 'endpoint';
             DROP INDEX event_types_by_name;
             DROP INDEX egress_pools_by_name;
             DROP INDEX egress_policies_by_name;
             UPDATE resources SET origin = 'api' WHERE name IN ('e', 'b');
             PRAGMA user_version = 2;",
        )
        .unwrap();
    drop(journal);
    let journal = open(&dir);
    assert_eq!(apply(&journal, ONE), Some(2));
    assert_eq!(journal.snapshot().counts().endpoints, 2);
}

#[test]
fn a_journal_of_version_3_learns_of_event_types() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    apply(&journal, ONE);
    let old = "DROP INDEX event_types_by_name; DROP INDEX egress_pools_by_name;
        DROP INDEX egress_policies_by_name; PRAGMA user_version = 3;";
    journal.writer().execute_batch(old).unwrap();
    drop(journal);
    let journal = open(&dir);
    assert_eq!(apply(&journal, ONE), None);
    let schema = ONE.replacen("endpoints:", "event_types: [{name: x}]\n    endpoints:", 1);
    assert_eq!(apply(&journal, &schema), Some(2));
    assert_eq!(journal.snapshot().counts().event_types, 1);
    let twice = "INSERT INTO resources SELECT 'x', kind, project, name, folded, owner, endpoint, source,
        source_type, provider, 'api', revision, created_ms, updated_ms, document FROM resources WHERE kind = 'event_type'";
    let refused = journal.writer().execute_batch(twice).unwrap_err();
    assert!(refused.to_string().contains("UNIQUE"), "{refused}");
}

#[test]
fn a_journal_of_version_4_learns_of_egress_pools() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    apply(&journal, ONE);
    let old = "DROP INDEX egress_pools_by_name; DROP INDEX egress_policies_by_name;
        PRAGMA user_version = 4;";
    journal.writer().execute_batch(old).unwrap();
    drop(journal);
    let journal = open(&dir);
    assert_eq!(apply(&journal, ONE), None);
    let pools = format!("egress_pools: [{{name: eu, addresses: [{{address: 192.0.2.1}}]}}]{ONE}");
    assert_eq!(apply(&journal, &pools), Some(2));
    assert_eq!(journal.snapshot().counts().egress_pools, 1);
    let twice = "INSERT INTO resources SELECT 'x', kind, project, name, folded, owner, endpoint, source,
        source_type, provider, 'api', revision, created_ms, updated_ms, document FROM resources WHERE kind = 'egress_pool'";
    let refused = journal.writer().execute_batch(twice).unwrap_err();
    assert!(refused.to_string().contains("UNIQUE"), "{refused}");
}

#[test]
fn a_journal_of_version_5_learns_of_egress_policies() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    apply(&journal, ONE);
    let old = "DROP INDEX egress_policies_by_name; PRAGMA user_version = 5;";
    journal.writer().execute_batch(old).unwrap();
    drop(journal);
    let journal = open(&dir);
    assert_eq!(apply(&journal, ONE), None);
    let policies = format!("egress_policies: [{{name: web, ports: [443]}}]{ONE}");
    assert_eq!(apply(&journal, &policies), Some(2));
    assert_eq!(journal.snapshot().counts().egress_policies, 1);
    let twice = "INSERT INTO resources SELECT 'x', kind, project, name, folded, owner, endpoint, source,
        source_type, provider, 'api', revision, created_ms, updated_ms, document FROM resources WHERE kind = 'egress_policy'";
    let refused = journal.writer().execute_batch(twice).unwrap_err();
    assert!(refused.to_string().contains("UNIQUE"), "{refused}");
}

#[test]
fn a_journal_that_cannot_be_migrated_is_left_as_it_is() {
    let dir = TempDir::new().unwrap();
    old_journal(&dir);
    let path = dir.path().join("control").join(FILE_NAME);
    let old = Connection::open(&path).unwrap();
    old.execute("UPDATE resources SET document = x'00' WHERE name = 'e'", ())
        .unwrap();
    drop(old);
    let refused = Journal::open(&dir.path().join("control"), NOW).map(|_| ());
    assert_eq!(refused.unwrap_err().code(), "journal_corrupt");
    let old = Connection::open(&path).unwrap();
    let schema: i64 = old
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    let rows: i64 = old
        .query_row("SELECT count(*) FROM resources", (), |row| row.get(0))
        .unwrap();
    assert_eq!((schema, rows), (1, 6));
}
