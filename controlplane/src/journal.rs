//! The revision journal: every change of the configuration is one revision, with who, when,
//! what, before and after. History, diff, rollback and audit are views of it.
//!
//! SQLite in `<dir>/journal.sqlite`. One connection writes, behind a mutex; every read has its
//! own, so that a slow data plane never holds up a change. The calls block.
//!
//! Documents are opaque here but for the few columns that lists are filtered by. Documents hold
//! secrets, so directory and files are their owner's alone.
//!
//! The snapshot of the newest revision is kept in memory, so that a change is tried on it before
//! it is written, and keys are looked up without the database.

mod apply;
mod change;
mod columns;
mod read;
mod resource;
mod schema;
mod told;
mod view;

#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use outrider_config::{Document, Kind, Snapshot, Version};
use outrider_webhook::id::{ProjectId, Uid};
use rusqlite::{Connection, OpenFlags, Row};
use tokio::sync::watch;

pub use apply::ApplyError;
pub use change::{ChangeError, Changed};
pub use resource::{Author, Edit, Origin, Stored};
pub use view::{Selection, View};

/// Number of a revision, from 1.
pub type Revision = u64;

/// How many revisions back a data plane may resume from; from further back it gets everything.
pub(crate) const TAIL_REVISIONS: u64 = 10_000;

const FILE_NAME: &str = "journal.sqlite";

/// Reading connections that are kept while nobody reads.
const IDLE_READERS_MAX: usize = 8;

/// The journal of one installation.
pub struct Journal {
    path: PathBuf,
    writer: Mutex<Connection>,
    idle_readers: Mutex<Vec<Connection>>,
    head: watch::Sender<Version>,
    /// The configuration of the head, as a data plane has it.
    snapshot: ArcSwap<Snapshot>,
    organisation: Uid,
    /// Held as long as the journal is open.
    _lock: fs::File,
}

/// The journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A file or directory cannot be had.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has it.
    #[error("{} is in use by another process: a journal has one control plane", .0.display())]
    Locked(PathBuf),
    /// SQLite refused.
    #[error("the journal database failed: {0}")]
    Database(#[from] rusqlite::Error),
    /// Written by a newer version of this program.
    #[error(
        "the journal has schema {found}, this version knows up to {known}: use a newer version"
    )]
    TooNew {
        /// What it has.
        found: i64,
        /// What we know.
        known: i64,
    },
    /// A row is not what was written.
    #[error("the journal holds what it should not: {0}")]
    Corrupt(String),
}

impl JournalError {
    /// Stable code for metric labels and API bodies: a closed set.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::File { .. } => "journal_file",
            Self::Locked(_) => "journal_locked",
            Self::Database(_) => "journal_database",
            Self::TooNew { .. } => "journal_too_new",
            Self::Corrupt(_) => "journal_corrupt",
        }
    }
}

/// What a change did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// There was nothing before.
    Create,
    /// There was something, and is something else.
    Update,
    /// There is nothing after.
    Delete,
}

impl Op {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }

    fn parse(text: &str) -> Result<Self, JournalError> {
        match text {
            "create" => Ok(Self::Create),
            "update" => Ok(Self::Update),
            "delete" => Ok(Self::Delete),
            other => Err(JournalError::Corrupt(format!("operation `{other}`"))),
        }
    }
}

/// One change of one revision. There is no `Debug`: the documents hold secrets.
pub struct Change {
    /// The revision.
    pub revision: Revision,
    /// When, Unix milliseconds.
    pub at_ms: i64,
    /// Who.
    pub actor: String,
    /// What it did.
    pub op: Op,
    /// What it is.
    pub kind: Kind,
    /// Its id.
    pub uid: Uid,
    /// The project that owns it.
    pub project: ProjectId,
    /// The document before; `None` for a creation.
    pub before: Option<Vec<u8>>,
    /// The document after; `None` for a deletion.
    pub after: Option<Vec<u8>>,
}

impl Journal {
    /// Opens the journal in `dir`, or creates both.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn open(dir: &Path, now_ms: i64) -> Result<Self, JournalError> {
        let path = private_file(dir)?;
        let lock = lock(dir)?;
        let mut writer = Connection::open_with_flags(
            &path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        let opened = schema::prepare(&mut writer, now_ms)?;
        let journal = Self {
            path,
            writer: Mutex::new(writer),
            idle_readers: Mutex::default(),
            head: watch::Sender::new(opened.version),
            snapshot: ArcSwap::from_pointee(Snapshot::empty()),
            organisation: opened.organisation,
            _lock: lock,
        };
        journal.snapshot.store(Arc::new(journal.compile()?));
        Ok(journal)
    }

    /// The newest version.
    #[must_use]
    pub fn version(&self) -> Version {
        *self.head.borrow()
    }

    /// What is in force at the newest version.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// The one organisation that owns all projects (RULINGS 37).
    #[must_use]
    pub fn organisation(&self) -> Uid {
        self.organisation
    }

    /// The writing connection. A panic in a writer rolled its transaction back, so the
    /// connection is good after it.
    fn writer(&self) -> MutexGuard<'_, Connection> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection of one's own, which sees one state of the journal per transaction.
    fn reader(&self) -> Result<Connection, JournalError> {
        let reader = Connection::open_with_flags(
            &self.path,
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        reader.busy_timeout(schema::BUSY_TIMEOUT)?;
        Ok(reader)
    }
}

/// Makes directory and database file, for their owner alone, also when they were there before.
fn private_file(dir: &Path) -> Result<PathBuf, JournalError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| JournalError::File { path, source }
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(failed(dir))?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(failed(dir))?;
    let path = dir.join(FILE_NAME);
    // SQLite gives its side files the mode of the database, so making this one first is enough.
    fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed(&path))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(failed(&path))?;
    Ok(path)
}

/// Takes the journal for as long as the file is open: the newest snapshot is kept in memory, so
/// there is one writer.
fn lock(dir: &Path) -> Result<fs::File, JournalError> {
    let path = dir.join("LOCK");
    let failed = |source| JournalError::File {
        path: path.clone(),
        source,
    };
    let file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(JournalError::Locked(dir.to_owned())),
        Err(fs::TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// A uid as it was written.
fn uid(text: &str) -> Result<Uid, JournalError> {
    text.parse()
        .map_err(|error| JournalError::Corrupt(format!("{error}")))
}

fn number(raw: i64) -> Result<u64, JournalError> {
    u64::try_from(raw).map_err(|_| JournalError::Corrupt(format!("revision {raw}")))
}

/// SQLite has signed numbers only; no journal gets beyond them.
fn raw(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A document out of the columns kind, uid, project, revision, document.
fn document(row: &Row<'_>) -> Result<Document, JournalError> {
    let (kind, id, project): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let spec: Vec<u8> = row.get(4)?;
    Ok(Document {
        kind: kind_of(&kind)?,
        uid: uid(&id)?,
        project: ProjectId::new(uid(&project)?),
        revision: number(row.get(3)?)?,
        spec: spec.into(),
    })
}

fn kind_of(text: &str) -> Result<Kind, JournalError> {
    text.parse()
        .map_err(|error| JournalError::Corrupt(format!("{error}")))
}
