//! The thread that keeps the index up to date.
//!
//! After any failure nothing in memory is trusted: what was begun is rolled back, and it goes on
//! from what is committed. What cannot be gone on from is made again.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, Semaphore, watch};

use super::fold::{Batch, Fold, Unfinished};
use super::items::found;
use super::mark::{self, Mark, unpacked};
use super::names::Names;
use super::readers::Readers;
use super::{Index, IndexError, Inner, START, Shared, WeakIndex, apply, schema, unsynced};
use crate::codec::Entry;
use crate::event::Position;
use crate::log::LocalLog;
use crate::scan::{ScanError, Scanner, Step};
use crate::segment::HEADER_BYTES;

/// Records may gather for this long while nobody waits for them: the more of them there are in a
/// batch, the more of them need no row of their own. Not longer than that: the batch is worked off
/// in one go, beside the requests of the moment (half a second of events took a core for 12 ms).
const GATHER: Duration = Duration::from_millis(100);
/// Rows of a batch.
const BATCH_ROWS: usize = 20_000;
/// Reads at a time: each has a thread and a connection while it runs.
const READS_MAX: usize = 16;
/// Look-ups of idempotency keys at a time, beside the reads: intake waits for no list.
const KEYS_MAX: usize = 4;
/// Wait before a failure is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Opens the index and starts its thread.
pub(super) fn start(dir: &Path, log: &LocalLog) -> Result<Index, IndexError> {
    if !schema::is_new_enough() {
        tracing::warn!(
            version = rusqlite::version(),
            "this SQLite may damage the index; it is then made again"
        );
    }
    let inner = Arc::new(Inner {
        log: log.clone(),
        readers: Readers::new(dir.to_owned()),
        reads: Arc::new(Semaphore::new(READS_MAX)),
        keys: Arc::new(Semaphore::new(KEYS_MAX)),
        shared: shared(),
        thread: Mutex::default(),
    });
    let follower = Follower::open(dir.to_owned(), Arc::clone(&inner))?;
    let thread = std::thread::Builder::new()
        .name("outrider-index".into())
        .spawn(move || follower.run())
        .map_err(IndexError::Thread)?;
    *inner.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
    log.attach(WeakIndex(Arc::downgrade(&inner)));
    Ok(Index { inner })
}

fn shared() -> Shared {
    Shared {
        progress: watch::Sender::new(START),
        behind_since_ms: AtomicI64::new(0),
        wake: Notify::new(),
        stop: Notify::new(),
        is_stopping: AtomicBool::new(false),
        damaged: AtomicU64::new(0),
        records: AtomicU64::new(0),
        batches: AtomicU64::new(0),
        rebuilds: AtomicU64::new(0),
        failures: AtomicU64::new(0),
    }
}

/// A runtime to wait on, of its own: also while the process has no other any more.
struct Waits(Option<Runtime>);

impl Drop for Waits {
    /// Also where it is not allowed to block: an index that cannot be opened is an error of a task.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// The state of the thread.
struct Follower {
    dir: PathBuf,
    inner: Arc<Inner>,
    waits: Waits,
    /// `None`: the index has to be made again.
    writer: Option<Connection>,
    /// `None`: to be taken from what is committed.
    work: Option<Work>,
    /// Rows of events before this segment are deleted.
    cleaned_before: u32,
}

/// Where reading and writing stand.
struct Work {
    scanner: Scanner,
    /// The end of what was durable when the scanner read ahead.
    seen: Position,
    names: Names,
    fold: Fold,
    mark: Mark,
}

impl Follower {
    fn open(dir: PathBuf, inner: Arc<Inner>) -> Result<Self, IndexError> {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(IndexError::Thread)?;
        let writer = match usable(&dir, &inner.log) {
            Ok(writer) => writer,
            Err(error) if error.is_no_start() => {
                tracing::warn!(%error, "the index is damaged");
                None
            }
            Err(error) => return Err(error),
        };
        let mut follower = Self {
            dir,
            inner,
            waits: Waits(Some(runtime)),
            writer,
            work: None,
            cleaned_before: 0,
        };
        if let Err(error) = follower.ready() {
            if !error.is_no_start() {
                return Err(error);
            }
            tracing::warn!(%error, "the index is damaged");
            follower.give_up(&error);
            follower.ready()?;
        }
        Ok(follower)
    }

    fn run(mut self) {
        yield_to_requests();
        while !self.inner.shared.is_stopping.load(Ordering::Acquire) {
            let wait = match self.step() {
                Ok(true) => continue,
                Ok(false) => None,
                Err(error) => {
                    tracing::error!(%error, code = error.code(), "the index cannot follow the log");
                    self.give_up(&error);
                    Some(RETRY)
                }
            };
            self.wait(wait);
        }
        self.work = None;
        self.inner.readers.close();
        if let Some(writer) = &self.writer
            && let Err(error) = unsynced::end(&self.dir, writer)
        {
            tracing::warn!(%error, "the index was not closed in good order");
        }
    }

    /// Follows up to what is durable, or a batch of it; whether there is more.
    fn step(&mut self) -> Result<bool, IndexError> {
        // A report counts for the file that it is of.
        let damaged = self.inner.shared.damaged.swap(0, Ordering::AcqRel);
        if damaged == self.inner.readers.generation() + 1 {
            self.writer = None;
        }
        let durable = *self.inner.log.durable().borrow();
        if *self.inner.shared.progress.borrow() < durable {
            self.inner.shared.behind_since(self.inner.log.now_ms());
        }
        self.ready()?;
        let is_more = self.follow(durable)?;
        Ok(self.clean()? || is_more)
    }

    /// What was begun is undone. The writer stays unless its file is of no use.
    fn give_up(&mut self, error: &IndexError) {
        self.work = None;
        self.inner.shared.failures.fetch_add(1, Ordering::Relaxed);
        let is_idle = self.writer.as_ref().is_none_or(|writer| {
            writer.is_autocommit() || writer.execute_batch("ROLLBACK").is_ok()
        });
        if !is_idle || error.is_no_start() || matches!(error, IndexError::Scan(ScanError::Gap(_))) {
            self.writer = None;
        }
    }

    /// Has an index to write to, and knows where it ends.
    fn ready(&mut self) -> Result<(), IndexError> {
        if self.writer.is_none() {
            self.work = None;
            self.writer = Some(self.rebuilt()?);
        }
        if let (Some(writer), None) = (&self.writer, &self.work) {
            unsynced::begin(&self.dir, writer)?;
            let Some(mark) = mark::read(writer)? else {
                self.writer = None; // somebody emptied it under our hands
                return self.ready();
            };
            let fold = Fold::resume(unfinished(writer, &self.inner.log, &mark)?);
            self.inner.log.keep_from(mark.position.segment);
            self.work = Some(Work {
                scanner: self.inner.log.scanner(mark.position)?,
                seen: *self.inner.log.durable().borrow(),
                names: Names::default(),
                fold,
                mark,
            });
            self.inner.shared.progress.send_replace(mark.position);
        }
        Ok(())
    }

    /// An empty index, from the first segment on. Nobody is told that it is anywhere before it
    /// is, and no connection to the old file outlives this.
    fn rebuilt(&mut self) -> Result<Connection, IndexError> {
        tracing::info!(dir = %self.dir.display(), "the index is made from the log");
        let shared = &self.inner.shared;
        shared.progress.send_replace(START);
        shared.behind_since(self.inner.log.now_ms());
        self.inner.readers.begin_change();
        schema::delete(&self.dir)?;
        let writer = schema::writer(&self.dir)?.ok_or(IndexError::Interrupted)?;
        let mark = Mark {
            log: self.inner.log.identity(),
            position: Position {
                segment: self.inner.log.keep_all(),
                offset: HEADER_BYTES,
            },
            chain: [0; 32],
            open: None,
        };
        mark::write(&writer, &mark)?;
        self.inner.readers.end_change();
        self.cleaned_before = 0;
        shared.rebuilds.fetch_add(1, Ordering::Relaxed);
        Ok(writer)
    }

    fn follow(&mut self, durable: Position) -> Result<bool, IndexError> {
        let (Some(writer), Some(work)) = (&self.writer, &mut self.work) else {
            return Ok(false);
        };
        let shared = &self.inner.shared;
        if work.seen != durable {
            work.scanner.forget(); // what was read ahead may have been written since
            work.seen = durable;
        }
        let mut batch = Batch::new();
        while batch.rows() < BATCH_ROWS && work.mark.position < durable {
            work.next_group(writer, &mut batch)?;
        }
        if batch.records > 0 {
            let records = batch.records;
            apply::batch(writer, &mut batch)?;
            mark::write(writer, &work.mark)?;
            writer.execute_batch("COMMIT")?;
            shared.records.fetch_add(records, Ordering::Relaxed);
            shared.batches.fetch_add(1, Ordering::Relaxed);
            self.inner.log.keep_from(work.mark.position.segment);
        }
        let is_at_end = work.mark.position >= durable;
        if is_at_end {
            shared.behind_since_ms.store(0, Ordering::Relaxed);
        }
        shared.progress.send_replace(work.mark.position);
        Ok(!is_at_end)
    }

    /// Deletes rows whose segments were dropped, some of them; whether there are more.
    fn clean(&mut self) -> Result<bool, IndexError> {
        let first = self.inner.log.first_segment();
        let Some(writer) = self.writer.as_ref().filter(|_| first > self.cleaned_before) else {
            return Ok(false);
        };
        let before = Position {
            segment: first,
            offset: 0,
        };
        let is_more = apply::delete_before(writer, before)?;
        if !is_more {
            self.cleaned_before = first;
        }
        Ok(is_more)
    }

    /// Waits for something to do: for more of the log, and then a little longer unless somebody
    /// waits for it.
    fn wait(&mut self, after_failure: Option<Duration>) {
        let shared = &self.inner.shared;
        let mut durable = self.inner.log.durable();
        let position = *shared.progress.borrow();
        let Some(runtime) = &self.waits.0 else {
            return; // it is there until the drop
        };
        runtime.block_on(async {
            if let Some(wait) = after_failure {
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = shared.stop.notified() => {}
                }
                return;
            }
            let grown = durable.wait_for(|durable| *durable > position);
            tokio::select! {
                () = shared.stop.notified() => return,
                () = shared.wake.notified() => return,
                grown = grown => if grown.is_err() { return },
            }
            shared.behind_since(self.inner.log.now_ms());
            tokio::select! {
                () = shared.stop.notified() => {}
                () = shared.wake.notified() => {}
                () = tokio::time::sleep(GATHER) => {}
            }
        });
    }
}

/// Who waits for an answer goes first: at this niceness the thread gets a third of the share of
/// another one, which is several times what it needs to keep up.
fn yield_to_requests() {
    const NICE: i32 = 5;
    // On Linux this is the calling thread alone.
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "the index's thread keeps its priority");
    }
}

impl Work {
    /// Folds one group in. What is durable is there, so an end before it is a fault.
    fn next_group(&mut self, writer: &Connection, batch: &mut Batch) -> Result<(), IndexError> {
        let found = match self.scanner.next()? {
            Step::Group(found) => found,
            Step::End(end) => return Err(IndexError::Lost(end.position)),
        };
        if writer.is_autocommit() {
            writer.execute_batch("BEGIN IMMEDIATE")?;
        }
        let bytes = self.scanner.bytes(&found)?;
        self.fold
            .group((writer, &mut self.names), bytes, &found, batch)?;
        self.mark = Mark {
            position: self.scanner.position(),
            chain: found.head.chain,
            open: self.fold.open(),
            ..self.mark
        };
        Ok(())
    }
}

/// The event that the tables end in the middle of.
fn unfinished(
    writer: &Connection,
    log: &LocalLog,
    mark: &Mark,
) -> Result<Option<Unfinished>, IndexError> {
    let Some(event) = mark.open else {
        return Ok(None);
    };
    let sql = "SELECT project, type, (SELECT count(*) FROM deliveries WHERE event = ?1), place
               FROM events WHERE id = ?1";
    let row = |row: &rusqlite::Row<'_>| {
        let unfinished = Unfinished {
            event,
            project: row.get(0)?,
            event_type: row.get(1)?,
            next: row.get(2)?,
            command: None,
        };
        Ok((unfinished, row.get::<_, i64>(3)?))
    };
    let (mut unfinished, place) = writer.query_row(sql, [event.raw()], row)?;
    if let Some(Entry::Accept { event, .. }) = found(log.entry_head(unpacked(place)))? {
        let replay = event.decision.replay;
        unfinished.command = replay.map(|replay| replay.command.bits());
    }
    Ok(Some(unfinished))
}

/// The index in `dir`, if it is one of this log and whole.
fn usable(dir: &Path, log: &LocalLog) -> Result<Option<Connection>, IndexError> {
    let Some(writer) = schema::writer(dir)? else {
        return Ok(None);
    };
    let Some(mark) = mark::read(&writer)? else {
        return Ok(None);
    };
    if mark.log != log.identity() || !is_on_the_way(log, &mark)? {
        tracing::warn!("the index is of another state of the log");
        return Ok(None);
    }
    if unsynced::is_suspect(dir)? {
        tracing::warn!("the system went down while the index was written");
        return Ok(None);
    }
    if !schema::is_whole(dir)? {
        tracing::warn!("the index is shorter than it says");
        return Ok(None);
    }
    Ok(Some(writer))
}

/// Whether the log as it is now leads through the mark. One that lost its unsynced end and went
/// on, or whose segments there were dropped, does not.
fn is_on_the_way(log: &LocalLog, mark: &Mark) -> Result<bool, IndexError> {
    let (end, chain) = log.opened_at();
    if mark.position >= end {
        return Ok(mark.chain == chain);
    }
    let mut scanner = match log.scanner(mark.position) {
        Ok(scanner) => scanner,
        Err(ScanError::Gap(_) | ScanError::Corrupt { .. }) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    match scanner.next() {
        Ok(Step::Group(found)) => Ok(found.head.previous == mark.chain),
        Ok(Step::End(_)) => Ok(mark.chain == chain),
        Err(ScanError::Gap(_) | ScanError::Corrupt { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
