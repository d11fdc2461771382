//! The index: SQLite tables derived from the log, for lists and for reading back what happened.
//!
//! Never a truth of its own: it may be deleted at any time and is made again from the segments.
//! One thread folds the records that are durable into it, a batch at a time, with the place it
//! has come to in the same transaction, so that it is always the state of the log at one place.
//! Accepting never waits for it. Readers have connections of their own and see whole batches.
//!
//! What a list shows beyond a few columns is read from the log itself: the index says which
//! events and deliveries there are, the log what they are.

mod apply;
mod fold;
mod follow;
mod items;
mod keys;
mod mark;
mod names;
mod page;
mod query;
mod readers;
mod schema;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use outrider_webhook::id::{EventId, UidCodec};
use tokio::sync::{Notify, Semaphore, watch};

pub use self::items::{DeliveryItem, EventContent, EventItem};
pub use self::page::{Direction, Page, PageRequest, Sort};
pub use self::query::{DeliveryFilter, EventFilter, OwnerFilter, Search};
use self::readers::Readers;
use crate::dir::FileError;
use crate::event::Position;
use crate::log::LocalLog;
use crate::read::ReadError;
use crate::scan::ScanError;

/// How long a list waits for the index to reach what was durable when it was asked (RULINGS 9).
pub const LIST_WAIT: Duration = Duration::from_millis(200);
/// How long a look-up by id waits for the same: it has to be consistent.
const GET_WAIT: Duration = Duration::from_secs(5);

/// The index cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// SQLite refused.
    #[error("the index failed: {0}")]
    Database(#[from] rusqlite::Error),
    /// A file or directory cannot be had.
    #[error(transparent)]
    File(#[from] FileError),
    /// The segments cannot be read any further.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// A record cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The thread could not be started.
    #[error("cannot start the index's thread: {0}")]
    Thread(std::io::Error),
    /// It is too far behind the log to answer for certain.
    #[error("the index is {lag_ms} ms behind the log, try again")]
    Behind {
        /// Age of the oldest record it has not seen, milliseconds.
        lag_ms: u64,
    },
    /// The process is stopping.
    #[error("reading was interrupted")]
    Interrupted,
}

impl IndexError {
    /// Stable code for metric labels and API bodies: a closed set.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Database(_) => "index_database",
            Self::File(_) => "index_file",
            Self::Scan(_) => "index_scan",
            Self::Read(error) => error.code(),
            Self::Thread(_) => "index_thread",
            Self::Behind { .. } => "index_behind",
            Self::Interrupted => "interrupted",
        }
    }

    /// Whether the database file itself is bad, and making it again helps.
    fn is_damage(&self) -> bool {
        use rusqlite::ErrorCode::{ConstraintViolation, DatabaseCorrupt, NotADatabase};
        match self {
            Self::Database(error) => matches!(
                error.sqlite_error_code(),
                // No row comes twice, unless the tables are not what was written.
                Some(DatabaseCorrupt | NotADatabase | ConstraintViolation)
            ),
            _ => false,
        }
    }
}

/// How far the index is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Everything in the log before it is in the index.
    pub position: Position,
    /// Every event up to this one is in it.
    pub events: EventId,
    /// When the newest record it has seen was written, Unix milliseconds; 0 before the first.
    pub at_ms: i64,
}

/// Figures of the index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IndexStats {
    /// Bytes of the log it has not seen, about: whole segments in between count by their size.
    pub lag_bytes: u64,
    /// Age of the oldest record it has not seen, milliseconds; 0 when there is none.
    pub lag_ms: u64,
    /// Records folded in since the start.
    pub records: u64,
    /// Transactions since the start.
    pub batches: u64,
    /// How often it was made again from the segments since the start.
    pub rebuilds: u64,
}

impl IndexStats {
    /// Name and value of every figure. The names are a closed list.
    #[must_use]
    pub fn figures(&self) -> [(&'static str, u64); 5] {
        [
            ("lag_bytes", self.lag_bytes),
            ("lag_ms", self.lag_ms),
            ("records", self.records),
            ("batches", self.batches),
            ("rebuilds", self.rebuilds),
        ]
    }
}

/// The index of a log. Cheap to clone; all clones are one index.
#[derive(Debug, Clone)]
pub struct Index {
    inner: Arc<Inner>,
}

/// What a log has of its index, which has the log.
#[derive(Debug)]
pub(crate) struct WeakIndex(Weak<Inner>);

impl WeakIndex {
    pub(crate) fn upgrade(&self) -> Option<Index> {
        self.0.upgrade().map(|inner| Index { inner })
    }
}

#[derive(Debug)]
struct Inner {
    log: LocalLog,
    readers: Readers,
    /// Whose turn it is to read.
    turns: Arc<Semaphore>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the thread and the handles share.
#[derive(Debug)]
struct Shared {
    progress: watch::Sender<Progress>,
    /// Somebody waits: the batch ends now.
    wake: Notify,
    stop: Notify,
    is_stopping: AtomicBool,
    /// A reader found the file damaged.
    is_damaged: AtomicBool,
    records: AtomicU64,
    batches: AtomicU64,
    rebuilds: AtomicU64,
}

impl Index {
    /// Opens the index of `log` in `dir`, makes it anew when it is missing, damaged or not of
    /// this log, and starts the thread that keeps it up to date. Blocks for the checks only: what
    /// is missing is caught up in the background.
    ///
    /// # Errors
    /// [`IndexError`]: the directory cannot be used.
    pub fn open(dir: &Path, log: &LocalLog) -> Result<Self, IndexError> {
        follow::start(dir, log)
    }

    /// Ends the thread. What is not in the index yet is read from the log at the next start.
    pub async fn close(&self) {
        self.inner.shared.is_stopping.store(true, Ordering::Release);
        self.inner.shared.stop.notify_one();
        let thread = self
            .inner
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(thread) = thread else { return };
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        if !joined.is_ok_and(|ended| ended.is_ok()) {
            tracing::error!("the index's thread ended with a panic");
        }
        self.inner.readers.close();
    }

    /// Makes and checks the public ids of this installation.
    #[must_use]
    pub fn uids(&self) -> &UidCodec {
        self.inner.log.uids()
    }

    /// How far it is; changes with every batch.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.inner.shared.progress.subscribe()
    }

    /// Waits until everything that is durable now is in the index, at most `limit`. `None` when
    /// it is; else the age of what is missing, milliseconds.
    pub async fn catch_up(&self, limit: Duration) -> Option<u64> {
        let durable = *self.inner.log.durable().borrow();
        let mut progress = self.progress();
        if progress.borrow().position >= durable {
            return None;
        }
        self.inner.shared.wake.notify_one();
        let reached = progress.wait_for(|progress| progress.position >= durable);
        match tokio::time::timeout(limit, reached).await {
            Ok(Ok(_)) => None,
            _ => Some(self.stats().lag_ms.max(1)),
        }
    }

    /// As [`Index::catch_up`], for who needs all of it.
    async fn caught_up(&self) -> Result<(), IndexError> {
        match self.catch_up(GET_WAIT).await {
            None => Ok(()),
            Some(lag_ms) => Err(IndexError::Behind { lag_ms }),
        }
    }

    /// Figures.
    #[must_use]
    pub fn stats(&self) -> IndexStats {
        let shared = &self.inner.shared;
        let progress = *shared.progress.borrow();
        let durable = *self.inner.log.durable().borrow();
        let is_behind = progress.position < durable;
        let lag_ms = match is_behind {
            true => self
                .inner
                .log
                .now_ms()
                .saturating_sub(progress.at_ms)
                .max(0),
            false => 0,
        };
        IndexStats {
            lag_bytes: self.inner.log.bytes_between(progress.position, durable),
            lag_ms: u64::try_from(lag_ms).unwrap_or(0),
            records: shared.records.load(Ordering::Relaxed),
            batches: shared.batches.load(Ordering::Relaxed),
            rebuilds: shared.rebuilds.load(Ordering::Relaxed),
        }
    }

    /// Runs `read` on a reading connection, off the runtime.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&rusqlite::Connection, &LocalLog) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, IndexError> {
        let turn = Arc::clone(&self.inner.turns).acquire_owned().await;
        let turn = turn.map_err(|_| IndexError::Interrupted)?;
        let inner = Arc::clone(&self.inner);
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn; // freed with the work, also when nobody waits for it any more
            inner
                .readers
                .with(|connection| read(connection, &inner.log))
        });
        let result = done.await.unwrap_or(Err(IndexError::Interrupted));
        if let Err(error) = &result
            && error.is_damage()
        {
            tracing::error!(%error, "the index is damaged and is made again from the log");
            self.inner.shared.is_damaged.store(true, Ordering::Release);
            self.inner.shared.wake.notify_one();
        }
        result
    }
}

/// The file of the index in its directory.
fn file(dir: &Path) -> PathBuf {
    dir.join("index.sqlite")
}
