//! The tables, and the settings of the connections.
//!
//! Rows are small: numbers, and names as numbers. An event's id is its row id, a delivery's key
//! is (event, ordinal), so every secondary index is in the order of the lists for nothing.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::{IndexError, file};
use crate::dir::{self, FileError};

/// Number of the tables below, kept in `user_version`. An index with another one is made again.
pub(super) const SCHEMA: i64 = 3;

/// SQLite before 3.51.3 loses committed pages when two connections write and checkpoint at once.
const SQLITE_MIN: i32 = 3_051_003;
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pages of 4 KiB after which a commit copies the write-ahead log into the file.
const CHECKPOINT_PAGES: i64 = 16_000;
/// KiB of cache of the writing connection.
const WRITER_CACHE_KIB: i64 = 64 << 10;
/// KiB of cache of each reading connection.
const READER_CACHE_KIB: i64 = 16 << 10;

const TABLES: &str = "
CREATE TABLE mark (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    log      INTEGER NOT NULL,  -- which log, so that another one's index is not taken for ours
    segment  INTEGER NOT NULL,  -- everything before segment and offset is in the tables
    place    INTEGER NOT NULL,
    chain    BLOB NOT NULL,     -- hash chain up to there: a log that was cut and went on differs
    open     INTEGER NOT NULL   -- event whose last target has not come: not to be shown; or 0
) STRICT;

CREATE TABLE names (
    id   INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,      -- 1 project, 2 source, 3 event type, 4 owner, 5 reason
    key  BLOB NOT NULL,         -- uid; uid of the project and text; of a reason nothing and its code
    UNIQUE (kind, key)
) STRICT;

CREATE TABLE routes (
    id           INTEGER PRIMARY KEY,
    endpoint     BLOB NOT NULL,
    subscription BLOB NOT NULL, -- empty for the implicit one
    UNIQUE (endpoint, subscription)
) STRICT;
CREATE INDEX routes_by_subscription ON routes (subscription);

CREATE TABLE events (
    id      INTEGER PRIMARY KEY,
    project INTEGER NOT NULL,
    type    INTEGER NOT NULL,
    source  INTEGER,
    owner   INTEGER,
    idem    INTEGER,            -- first 64 bits of the hash of project and idempotency key
    expires INTEGER,            -- until when that key is remembered, Unix milliseconds
    first   INTEGER,            -- of a repeat or a replay: the event it is of
    replay  INTEGER,            -- of a replay: the how many-th, from 1
    place   INTEGER NOT NULL    -- of its record: segment << 32 | offset
) STRICT;
CREATE INDEX events_by_project ON events (project);
CREATE INDEX events_by_type ON events (type);
CREATE INDEX events_by_source ON events (source) WHERE source IS NOT NULL;
CREATE INDEX events_by_owner ON events (owner) WHERE owner IS NOT NULL;
CREATE INDEX events_by_idem ON events (idem) WHERE idem IS NOT NULL;
CREATE INDEX events_by_first ON events (first) WHERE first IS NOT NULL;
-- A key has one first event and any number of repeats.
CREATE INDEX events_by_key ON events (idem) WHERE idem IS NOT NULL AND first IS NULL;

CREATE TABLE deliveries (
    event    INTEGER NOT NULL,
    ordinal  INTEGER NOT NULL,
    project  INTEGER NOT NULL,
    type     INTEGER NOT NULL,  -- of the event
    route    INTEGER NOT NULL,
    status   INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    due      INTEGER,           -- Unix milliseconds
    at       INTEGER NOT NULL,  -- of the newest change, Unix milliseconds
    attempt  INTEGER,           -- place of the newest ATTEMPT
    state    INTEGER,           -- place of a STATE that came after it
    reason   INTEGER,           -- why it ended without success
    PRIMARY KEY (event, ordinal)
) STRICT, WITHOUT ROWID;
-- What lists are filtered by is in the indexes that are walked: rows are fetched for a page only.
CREATE INDEX deliveries_by_route
    ON deliveries (route, event, ordinal, project, type, status, reason);
CREATE INDEX deliveries_by_status
    ON deliveries (project, status, event, ordinal, type, route, reason);
CREATE INDEX deliveries_by_reason
    ON deliveries (project, reason, event, ordinal, type, route, status) WHERE reason IS NOT NULL;

-- All attempts but the newest of each delivery: most deliveries have one.
CREATE TABLE attempts (
    event   INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    place   INTEGER NOT NULL,
    PRIMARY KEY (event, ordinal, place)
) STRICT, WITHOUT ROWID;

-- What data planes decided about endpoints by themselves, by when.
CREATE TABLE endpoint_states (
    endpoint BLOB NOT NULL,
    at       INTEGER NOT NULL,  -- Unix milliseconds
    place    INTEGER NOT NULL,
    PRIMARY KEY (endpoint, at, place)
) STRICT, WITHOUT ROWID;

-- Commands that were carried out: a repeat of one has no further effect.
CREATE TABLE commands (
    id BLOB PRIMARY KEY,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX commands_by_time ON commands (at);
";

/// Opens the writing connection, and makes the tables if there are none. `None` when what is
/// there is no index of this version.
pub(super) fn writer(dir: &Path) -> Result<Option<Connection>, IndexError> {
    dir::create(dir)?;
    private(&file(dir))?;
    let mut writer = Connection::open_with_flags(
        file(dir),
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    writer.busy_timeout(BUSY_TIMEOUT)?;
    writer.set_prepared_statement_cache_capacity(64);
    writer.pragma_update(None, "journal_mode", "WAL")?;
    writer.pragma_update(None, "temp_store", "MEMORY")?;
    writer.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    writer.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    writer.pragma_update(None, "journal_size_limit", 64 << 20)?;
    let found: i64 = writer.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let tables: i64 =
        writer.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
    match (found, tables) {
        (SCHEMA, _) => Ok(Some(writer)),
        (0, 0) => {
            let transaction = writer.transaction()?;
            transaction.execute_batch(TABLES)?;
            transaction.pragma_update(None, "user_version", SCHEMA)?;
            transaction.commit()?;
            Ok(Some(writer))
        }
        _ => Ok(None),
    }
}

/// Whether a connection leads to an index of this version.
pub(super) fn is_ours(connection: &Connection) -> Result<bool, IndexError> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(found == SCHEMA)
}

/// Opens a reading connection.
pub(super) fn reader(dir: &Path) -> Result<Connection, IndexError> {
    let reader = Connection::open_with_flags(
        file(dir),
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    reader.busy_timeout(BUSY_TIMEOUT)?;
    reader.set_prepared_statement_cache_capacity(64);
    reader.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
    reader.pragma_update(None, "query_only", true)?;
    Ok(reader)
}

/// Whether the file is as long as it says. Anything else that is wrong with it shows when it is
/// read, and then it is made again: reading through all of it would hold up every start.
pub(super) fn is_whole(dir: &Path) -> Result<bool, IndexError> {
    let path = file(dir);
    let failed = |error| FileError::at("read", &path)(error);
    let opened = File::open(&path).map_err(failed)?;
    let mut head = [0; 100];
    if opened.read_exact_at(&mut head, 0).is_err() {
        return Ok(false);
    }
    // The file format: bytes of a page (1 stands for 65,536), pages of the database.
    let page = match u16::from_be_bytes([head[16], head[17]]) {
        1 => 65_536,
        bytes => u64::from(bytes),
    };
    let pages = u32::from_be_bytes([head[28], head[29], head[30], head[31]]);
    let bytes = opened.metadata().map_err(failed)?.len();
    Ok(bytes >= page * u64::from(pages))
}

/// Deletes the index.
pub(super) fn delete(dir: &Path) -> Result<(), IndexError> {
    for suffix in ["", "-wal", "-shm"] {
        let mut path = file(dir).into_os_string();
        path.push(suffix);
        let path = PathBuf::from(path);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(FileError::at("remove", &path)(error).into());
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether the bundled SQLite is new enough to be trusted with two connections.
pub(super) fn is_new_enough() -> bool {
    rusqlite::version_number() >= SQLITE_MIN
}

/// SQLite gives its side files the mode of the database, so making this one first is enough.
fn private(path: &Path) -> Result<(), FileError> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map(drop)
        .map_err(FileError::at("create", path))
}
