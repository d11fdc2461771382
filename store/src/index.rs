//! The index: SQLite tables derived from the log, for lists and for reading back what happened.
//!
//! Never a truth of its own: it may be deleted at any time and is made again from the segments.
//! One thread folds the records that are durable into it, a batch at a time, with the place it
//! has come to in the same transaction, so that it is always the state of the log at one place.
//! Accepting does not wait for it, unless memory has let go of idempotency keys. Readers have
//! connections of their own and see whole batches.
//!
//! What a list shows beyond a few columns is read from the log itself: the index says which
//! events and deliveries there are, the log what they are.

mod apply;
mod fold;
mod follow;
mod items;
mod keys;
mod known;
mod mark;
mod names;
mod page;
mod query;
mod readers;
mod schema;
mod unsynced;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use outrider_webhook::id::{EventId, UidCodec};
use rusqlite::Connection;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, timeout_at};

pub use self::items::{DeliveryItem, DeliveryState, EventContent, EventItem};
pub use self::known::Synced;
use self::mark::Mark;
pub use self::page::{Direction, Page, PageRequest, Sort};
pub use self::query::{
    CONDITIONS_MAX, Count, DeliveryFilter, EventFilter, Kin, OwnerFilter, Search,
};
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
/// Wait before a read is tried again that met an index in the making.
const AGAIN: Duration = Duration::from_millis(10);

/// Before everything.
const START: Position = Position {
    segment: 0,
    offset: 0,
};

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
    /// The log ends before what is durable.
    #[error("the log ends at {0}, before what was synced")]
    Lost(Position),
    /// A record cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The thread could not be started.
    #[error("cannot start the index's thread: {0}")]
    Thread(std::io::Error),
    /// It is too far behind the log to answer for certain.
    #[error("the index is {lag_ms} ms behind the log, try again")]
    Behind {
        /// For how long, milliseconds.
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
            Self::Scan(_) | Self::Lost(_) => "index_scan",
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

    /// Whether what was committed cannot be gone on from: also when a row of the mark, or the one
    /// that it speaks of, is missing or is not what was written.
    fn is_no_start(&self) -> bool {
        use rusqlite::Error::{
            FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType,
            QueryReturnedNoRows,
        };
        let is_odd = matches!(
            self,
            Self::Database(
                QueryReturnedNoRows
                    | FromSqlConversionFailure(..)
                    | IntegralValueOutOfRange(..)
                    | InvalidColumnType(..)
            )
        );
        is_odd || self.is_damage()
    }
}

/// Figures of the index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IndexStats {
    /// Bytes of the log it has not seen, about: whole segments in between count by their size.
    pub lag_bytes: u64,
    /// For how long something has been missing, milliseconds; 0 when nothing is.
    pub lag_ms: u64,
    /// Records folded in since the start.
    pub records: u64,
    /// Transactions since the start.
    pub batches: u64,
    /// How often it was made again from the segments since the start.
    pub rebuilds: u64,
    /// How often it could not follow the log since the start, and began again.
    pub failures: u64,
}

impl IndexStats {
    /// Name and value of every figure. The names are a closed list.
    #[must_use]
    pub fn figures(&self) -> [(&'static str, u64); 6] {
        [
            ("lag_bytes", self.lag_bytes),
            ("lag_ms", self.lag_ms),
            ("records", self.records),
            ("batches", self.batches),
            ("rebuilds", self.rebuilds),
            ("failures", self.failures),
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
    reads: Arc<Semaphore>,
    /// Whose turn it is to look up an idempotency key.
    keys: Arc<Semaphore>,
    shared: Shared,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the thread and the handles share.
#[derive(Debug)]
struct Shared {
    /// Everything in the log before it is in the index.
    progress: watch::Sender<Position>,
    /// Since when something is missing, Unix milliseconds; 0 when nothing is.
    behind_since_ms: AtomicI64,
    /// Somebody waits: the batch ends now.
    wake: Notify,
    stop: Notify,
    is_stopping: AtomicBool,
    /// One more than the generation of the file that a reader found damaged; 0 for none.
    damaged: AtomicU64,
    records: AtomicU64,
    batches: AtomicU64,
    rebuilds: AtomicU64,
    failures: AtomicU64,
}

impl Shared {
    /// Notes that something is missing, unless that is known.
    fn behind_since(&self, now_ms: i64) {
        let known = self.behind_since_ms.load(Ordering::Relaxed);
        if known == 0 {
            self.behind_since_ms.store(now_ms, Ordering::Relaxed);
        }
    }
}

/// How far a connection's index has to be for a read.
#[derive(Debug, Clone, Copy)]
enum Need {
    /// Anywhere.
    Nothing,
    /// Everything before this place is in it.
    Everything(Position),
    /// Every event up to this one is in it.
    Events(EventId),
}

impl Need {
    fn is_met(self, connection: &Connection, mark: &Mark) -> Result<bool, IndexError> {
        match self {
            Self::Nothing => Ok(true),
            Self::Everything(position) => Ok(mark.position >= position),
            Self::Events(through) => {
                let sql = "SELECT max(id) FROM events";
                let newest: Option<i64> = connection
                    .prepare_cached(sql)?
                    .query_row((), |row| row.get(0))?;
                Ok(newest.is_some_and(|newest| newest >= through.raw()))
            }
        }
    }
}

/// One state of the index, in one transaction.
struct View<'v> {
    connection: &'v Connection,
    log: &'v LocalLog,
    /// An event that is not whole yet: not accepted, and not to be shown.
    open: Option<EventId>,
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
    }

    /// Makes and checks the public ids of this installation.
    #[must_use]
    pub fn uids(&self) -> &UidCodec {
        self.inner.log.uids()
    }

    /// Waits until everything that is durable now is in the index, at most `limit`. `None` when
    /// it is; else for how long something has been missing, milliseconds.
    pub async fn catch_up(&self, limit: Duration) -> Option<u64> {
        let durable = self.durable();
        match self.reach(durable, Instant::now() + limit).await {
            true => None,
            false => Some(self.lag_ms(durable)),
        }
    }

    /// Figures.
    #[must_use]
    pub fn stats(&self) -> IndexStats {
        let shared = &self.inner.shared;
        let (progress, durable) = (*shared.progress.borrow(), self.durable());
        IndexStats {
            lag_bytes: self.inner.log.bytes_between(progress, durable),
            lag_ms: match progress < durable {
                true => self.lag_ms(durable),
                false => 0,
            },
            records: shared.records.load(Ordering::Relaxed),
            batches: shared.batches.load(Ordering::Relaxed),
            rebuilds: shared.rebuilds.load(Ordering::Relaxed),
            failures: shared.failures.load(Ordering::Relaxed),
        }
    }

    /// As a reader does that finds the file damaged.
    #[cfg(test)]
    pub(crate) fn report_damage(&self) {
        let generation = self.inner.readers.generation();
        let shared = &self.inner.shared;
        shared.damaged.store(generation + 1, Ordering::Release);
        shared.wake.notify_one();
    }

    fn durable(&self) -> Position {
        *self.inner.log.durable().borrow()
    }

    /// For how long something has been missing, at least 1 ms.
    fn lag_ms(&self, durable: Position) -> u64 {
        let since_ms = self.inner.shared.behind_since_ms.load(Ordering::Relaxed);
        if since_ms == 0 || *self.inner.shared.progress.borrow() >= durable {
            return 1;
        }
        let ms = self.inner.log.now_ms().saturating_sub(since_ms);
        u64::try_from(ms).unwrap_or(0).max(1)
    }

    /// Waits until the index is at `position`; whether it came there.
    async fn reach(&self, position: Position, deadline: Instant) -> bool {
        let mut progress = self.inner.shared.progress.subscribe();
        if *progress.borrow() >= position {
            return true;
        }
        self.inner.shared.wake.notify_one();
        let reached = progress.wait_for(|progress| *progress >= position);
        matches!(timeout_at(deadline, reached).await, Ok(Ok(_)))
    }

    /// A list: waits a little for what is durable now, and says how far behind it is otherwise.
    async fn list<T: Send + 'static>(
        &self,
        read: impl Fn(&View<'_>) -> Result<T, IndexError> + Send + Sync + 'static,
    ) -> Result<(T, Option<u64>), IndexError> {
        let (durable, read) = (self.durable(), Arc::new(read));
        let deadline = Instant::now() + LIST_WAIT;
        self.reach(durable, deadline).await;
        loop {
            match self.read(&self.inner.reads, Need::Nothing, &read).await? {
                Some((value, seen)) => {
                    return Ok((value, (seen < durable).then(|| self.lag_ms(durable))));
                }
                None if Instant::now() < deadline => tokio::time::sleep(AGAIN).await,
                None => {
                    let lag_ms = self.lag_ms(durable);
                    return Err(IndexError::Behind { lag_ms });
                }
            }
        }
    }

    /// A look-up: sees everything that is durable now.
    async fn get<T: Send + 'static>(
        &self,
        turns: &Arc<Semaphore>,
        read: impl Fn(&View<'_>) -> Result<T, IndexError> + Send + Sync + 'static,
    ) -> Result<T, IndexError> {
        let (durable, read) = (self.durable(), Arc::new(read));
        let deadline = Instant::now() + GET_WAIT;
        while self.reach(durable, deadline).await {
            let turn = self.read(turns, Need::Everything(durable), &read);
            match timeout_at(deadline, turn).await {
                Ok(Ok(Some((value, _)))) => return Ok(value),
                Ok(Ok(None)) if Instant::now() < deadline => tokio::time::sleep(AGAIN).await,
                Ok(Err(error)) => return Err(error),
                Ok(Ok(None)) | Err(_) => break,
            }
        }
        let lag_ms = self.lag_ms(durable);
        Err(IndexError::Behind { lag_ms })
    }

    /// Runs `read` on a reading connection, off the runtime, and says how far that connection's
    /// index is. `None` when it is not at `need`, or is being made again: how far it is, and what
    /// is in it, are looked at in one transaction.
    async fn read<T: Send + 'static>(
        &self,
        turns: &Arc<Semaphore>,
        need: Need,
        read: &Arc<impl Fn(&View<'_>) -> Result<T, IndexError> + Send + Sync + 'static>,
    ) -> Result<Option<(T, Position)>, IndexError> {
        let turn = Arc::clone(turns).acquire_owned().await;
        let turn = turn.map_err(|_| IndexError::Interrupted)?;
        let (inner, read) = (Arc::clone(&self.inner), Arc::clone(read));
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn; // freed with the work, also when nobody waits for it any more
            inner.readers.with(|connection| {
                let Some(mark) = mark::read(connection)? else {
                    return Ok((None, false));
                };
                if !need.is_met(connection, &mark)? {
                    return Ok((None, true));
                }
                let view = View {
                    connection,
                    log: &inner.log,
                    open: mark.open,
                };
                Ok((Some((read(&view)?, mark.position)), true))
            })
        });
        match done.await.map_err(|_| IndexError::Interrupted)? {
            Ok(found) => Ok(found),
            // The file was taken away meanwhile.
            Err((_, generation)) if !self.inner.readers.is_present(generation) => Ok(None),
            Err((error, generation)) if error.is_damage() || self.inner.readers.is_gone() => {
                tracing::error!(%error, "the index is damaged and is made again from the log");
                let shared = &self.inner.shared;
                shared.damaged.store(generation + 1, Ordering::Release);
                shared.wake.notify_one();
                Ok(None)
            }
            Err((error, _)) => Err(error),
        }
    }
}

impl View<'_> {
    /// The newest event up to `to` that may be shown. One that is not whole is the newest of all.
    fn up_to(&self, to: Option<EventId>) -> EventId {
        let to = to.unwrap_or(EventId::MAX);
        let before = self.open.and_then(|open| EventId::from_raw(open.raw() - 1));
        before.map_or(to, |before| to.min(before))
    }
}

/// The file of the index in its directory.
fn file(dir: &Path) -> PathBuf {
    dir.join("index.sqlite")
}
