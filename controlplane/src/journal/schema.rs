//! The tables, and the pragmas that make a committed revision durable.

mod from_1;

use std::time::Duration;

use outrider_config::Version;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::{JournalError, number, uid};
use crate::random;

/// Number of the schema below, kept in `user_version`.
pub(super) const SCHEMA: i64 = 6;

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
";

/// The present state. All names are unique where people tell things apart by them: projects, pools
/// of source addresses, egress policies, what one resource file says, the event types of a project, and the endpoints
/// that the API made of one. A file does not care for what the API made, lest who may call the API
/// could stop a start with a file: such an endpoint stands beside the file's, such an event type
/// makes way.
const RESOURCES: &str = "
CREATE TABLE resources (
    uid         TEXT PRIMARY KEY,
    kind        TEXT NOT NULL,
    project     TEXT NOT NULL,
    name        TEXT NOT NULL,
    folded      TEXT NOT NULL,     -- the name in lower case
    owner       TEXT,              -- of an endpoint
    endpoint    TEXT,              -- of a subscription
    source      TEXT,              -- of a subscription
    source_type TEXT,              -- of a source
    provider    TEXT,              -- of a source
    origin      TEXT NOT NULL,
    revision    INTEGER NOT NULL,
    created_ms  INTEGER NOT NULL,  -- Unix milliseconds
    updated_ms  INTEGER NOT NULL,  -- Unix milliseconds
    document    BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX projects_by_name ON resources (name) WHERE kind = 'project';
CREATE UNIQUE INDEX endpoints_by_name ON resources (project, name) WHERE kind = 'endpoint' AND origin = 'api';
CREATE UNIQUE INDEX files_by_name ON resources (project, kind, name) WHERE origin = 'file';
CREATE UNIQUE INDEX event_types_by_name ON resources (project, name) WHERE kind = 'event_type';
CREATE UNIQUE INDEX egress_pools_by_name ON resources (name) WHERE kind = 'egress_pool';
CREATE UNIQUE INDEX egress_policies_by_name ON resources (name) WHERE kind = 'egress_policy';
CREATE INDEX resources_by_page ON resources (project, kind, uid, folded);
CREATE INDEX resources_by_owner ON resources (project, owner, uid) WHERE owner IS NOT NULL;
CREATE INDEX resources_by_endpoint ON resources (endpoint, uid) WHERE endpoint IS NOT NULL;
CREATE INDEX resources_by_source ON resources (source, uid) WHERE source IS NOT NULL;
";

/// To schema 3: before it, the endpoints of a file had their names for themselves alone.
const FROM_2: &str = "
DROP INDEX endpoints_by_name;
CREATE UNIQUE INDEX endpoints_by_name ON resources (project, name) WHERE kind = 'endpoint' AND origin = 'api';
";

/// To schema 4: before it, there were no event types.
const FROM_3: &str = "
CREATE UNIQUE INDEX event_types_by_name ON resources (project, name) WHERE kind = 'event_type';
";

/// To schema 5: before it, there were no pools of source addresses.
const FROM_4: &str = "
CREATE UNIQUE INDEX egress_pools_by_name ON resources (name) WHERE kind = 'egress_pool';
";

/// To schema 6: before it, there were no egress policies.
const FROM_5: &str = "
CREATE UNIQUE INDEX egress_policies_by_name ON resources (name) WHERE kind = 'egress_policy';
";

/// What is known of a journal beside its revisions.
pub(super) struct Opened {
    /// The newest version.
    pub(super) version: Version,
    /// The one organisation that owns all projects.
    pub(super) organisation: outrider_webhook::id::Uid,
}

/// Makes the connection ready, and the tables if there are none or old ones.
pub(super) fn prepare(writer: &mut Connection, now_ms: i64) -> Result<Opened, JournalError> {
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
            transaction.execute_batch(RESOURCES)?;
            transaction.execute(
                "INSERT INTO meta (key, value) VALUES ('journal', ?1), ('created_ms', ?2), ('organisation', ?3)",
                (new_id(now_ms), now_ms.to_string(), new_id(now_ms)),
            )?;
        }
        1 => {
            transaction.execute(
                "INSERT INTO meta (key, value) VALUES ('organisation', ?1)",
                [new_id(now_ms)],
            )?;
            from_1::migrate(&transaction)?;
        }
        2..SCHEMA => {
            let steps = [(2, FROM_2), (3, FROM_3), (4, FROM_4), (5, FROM_5)];
            for (_, step) in steps.into_iter().filter(|(from, _)| *from >= found) {
                transaction.execute_batch(step)?;
            }
        }
        SCHEMA => {}
        found => {
            return Err(JournalError::TooNew {
                found,
                known: SCHEMA,
            });
        }
    }
    transaction.pragma_update(None, "user_version", SCHEMA)?;
    let opened = Opened {
        version: version(&transaction)?,
        organisation: meta_uid(&transaction, "organisation")?,
    };
    transaction.commit()?;
    Ok(opened)
}

fn new_id(now_ms: i64) -> String {
    random::uid(now_ms).to_string()
}

fn meta_uid(connection: &Connection, key: &str) -> Result<outrider_webhook::id::Uid, JournalError> {
    let text: Option<String> = connection
        .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| {
            row.get(0)
        })
        .optional()?;
    uid(&text.ok_or_else(|| JournalError::Corrupt(format!("no {key} id")))?)
}

/// The newest version that this connection sees.
pub(super) fn version(connection: &Connection) -> Result<Version, JournalError> {
    let revision: i64 = connection.query_row(
        "SELECT coalesce(max(number), 0) FROM revisions",
        (),
        |row| row.get(0),
    )?;
    Ok(Version {
        journal: meta_uid(connection, "journal")?,
        revision: number(revision)?,
    })
}
