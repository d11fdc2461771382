//! The tables, and the pragmas that make a committed revision durable.

use std::time::Duration;

use outrider_config::Version;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::{JournalError, number, uid};
use crate::random;

/// Number of the schema below, kept in `user_version`.
pub(super) const SCHEMA: i64 = 1;

/// How long a connection waits for another one's lock.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

const TABLES: &str = "
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

/// Makes the connection ready and the tables if there are none. Answers the newest version.
pub(super) fn prepare(writer: &mut Connection, now_ms: i64) -> Result<Version, JournalError> {
    writer.busy_timeout(BUSY_TIMEOUT)?;
    writer.pragma_update(None, "journal_mode", "WAL")?;
    // In WAL mode only FULL syncs the log on every commit.
    writer.pragma_update(None, "synchronous", "FULL")?;
    writer.pragma_update(None, "foreign_keys", true)?;
    let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match found {
        0 => {
            transaction.execute_batch(TABLES)?;
            let journal = random::uid(now_ms).to_string();
            transaction.execute(
                "INSERT INTO meta (key, value) VALUES ('journal', ?1), ('created_ms', ?2)",
                (journal, now_ms.to_string()),
            )?;
            transaction.pragma_update(None, "user_version", SCHEMA)?;
        }
        SCHEMA => {}
        found => {
            return Err(JournalError::TooNew {
                found,
                known: SCHEMA,
            });
        }
    }
    let version = version(&transaction)?;
    transaction.commit()?;
    Ok(version)
}

/// The newest version that this connection sees.
pub(super) fn version(connection: &Connection) -> Result<Version, JournalError> {
    let journal: Option<String> = connection
        .query_row("SELECT value FROM meta WHERE key = 'journal'", (), |row| {
            row.get(0)
        })
        .optional()?;
    let journal = journal.ok_or_else(|| JournalError::Corrupt("no journal id".to_owned()))?;
    let revision: i64 = connection.query_row(
        "SELECT coalesce(max(number), 0) FROM revisions",
        (),
        |row| row.get(0),
    )?;
    Ok(Version {
        journal: uid(&journal)?,
        revision: number(revision)?,
    })
}
