//! The thread that keeps the index up to date.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use outrider_webhook::id::EventId;
use rusqlite::Connection;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, Semaphore, watch};

use super::fold::{Batch, Fold};
use super::mark::Mark;
use super::names::Names;
use super::readers::Readers;
use super::{Index, IndexError, Inner, Progress, Shared, WeakIndex, apply, mark, schema};
use crate::codec::Chain;
use crate::event::Position;
use crate::log::LocalLog;
use crate::scan::{ScanError, Scanner, Step};
use crate::segment::HEADER_BYTES;

/// Records may gather for this long while nobody waits for them: the more of them there are in a
/// batch, the more of them need no row of their own.
const GATHER: Duration = Duration::from_millis(500);
/// Rows of a batch.
const BATCH_ROWS: usize = 20_000;
/// Reads at a time: each has a thread and a connection while it runs.
const READS_MAX: usize = 16;
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
    let (shared, readers) = (Arc::new(shared()), Readers::new(dir.to_owned()));
    let inner = Arc::new(Inner {
        log: log.clone(),
        readers,
        turns: Arc::new(Semaphore::new(READS_MAX)),
        shared,
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
    let start = Progress {
        position: Position {
            segment: 0,
            offset: 0,
        },
        events: EventId::ZERO,
        at_ms: 0,
    };
    Shared {
        progress: watch::Sender::new(start),
        wake: Notify::new(),
        stop: Notify::new(),
        is_stopping: AtomicBool::new(false),
        is_damaged: AtomicBool::new(false),
        records: AtomicU64::new(0),
        batches: AtomicU64::new(0),
        rebuilds: AtomicU64::new(0),
    }
}

/// The state of the thread.
struct Follower {
    dir: PathBuf,
    inner: Arc<Inner>,
    /// Of its own: it waits also while the process has no other any more.
    runtime: Runtime,
    writer: Connection,
    work: Work,
    /// Rows of events before this segment are deleted.
    cleaned_before: u32,
}

/// Where reading and writing stand.
struct Work {
    scanner: Option<Scanner>,
    names: Names,
    fold: Fold,
    mark: Mark,
    is_in_transaction: bool,
}

impl Work {
    fn at(mark: Mark) -> Self {
        Self {
            scanner: None,
            names: Names::default(),
            fold: Fold::default(),
            mark,
            is_in_transaction: false,
        }
    }
}

impl Follower {
    fn open(dir: PathBuf, inner: Arc<Inner>) -> Result<Self, IndexError> {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(IndexError::Thread)?;
        let (writer, mark) = match usable(&dir, &inner.log) {
            Ok(Some(usable)) => usable,
            Ok(None) => rebuilt(&dir, &inner)?,
            Err(error) if error.is_damage() => {
                tracing::warn!(%error, "the index is damaged");
                rebuilt(&dir, &inner)?
            }
            Err(error) => return Err(error),
        };
        mark::write(&writer, inner.log.identity(), &mark, false)?;
        inner.log.keep_from(mark.position.segment);
        inner.shared.progress.send_replace(mark.progress());
        Ok(Self {
            dir,
            inner,
            runtime,
            writer,
            work: Work::at(mark),
            cleaned_before: 0,
        })
    }

    fn run(mut self) {
        while !self.inner.shared.is_stopping.load(Ordering::Acquire) {
            let wait = match self.step() {
                Ok(true) => continue,
                Ok(false) => None,
                Err(error) => {
                    tracing::error!(%error, code = error.code(), "the index cannot follow the log");
                    self.recover(&error);
                    Some(RETRY)
                }
            };
            self.wait(wait);
        }
        self.end();
    }

    /// Follows up to what is durable, or a batch of it; whether there is more.
    fn step(&mut self) -> Result<bool, IndexError> {
        if self.inner.shared.is_damaged.swap(false, Ordering::AcqRel) {
            self.rebuild()?;
        }
        let durable = *self.inner.log.durable().borrow();
        let is_more = self.follow(durable)?;
        Ok(self.clean()? || is_more)
    }

    /// Deletes rows whose segments were dropped, some of them; whether there are more.
    fn clean(&mut self) -> Result<bool, IndexError> {
        let first = self.inner.log.first_segment();
        if first <= self.cleaned_before || self.work.is_in_transaction {
            return Ok(false);
        }
        let before = Position {
            segment: first,
            offset: 0,
        };
        let is_more = apply::delete_before(&self.writer, before)?;
        if !is_more {
            self.cleaned_before = first;
        }
        Ok(is_more)
    }

    fn follow(&mut self, durable: Position) -> Result<bool, IndexError> {
        if self.inner.shared.progress.borrow().position >= durable {
            return Ok(false);
        }
        let mut batch = Batch::new();
        let mut is_at_end = false;
        while batch.rows() < BATCH_ROWS {
            if !self.next_group(durable, &mut batch)? {
                is_at_end = true;
                break;
            }
        }
        self.write(&mut batch)?;
        if self.work.fold.is_whole() {
            self.commit()?;
            let position = match is_at_end {
                true => durable.max(self.work.mark.position),
                false => self.work.mark.position,
            };
            self.inner.shared.progress.send_replace(Progress {
                position,
                ..self.work.mark.progress()
            });
        }
        Ok(!is_at_end)
    }

    /// Folds one group in; false at the end of what is durable.
    fn next_group(&mut self, durable: Position, batch: &mut Batch) -> Result<bool, IndexError> {
        let work = &mut self.work;
        if work.scanner.is_none() {
            let scanner = self.inner.log.scanner(work.mark.position)?;
            work.scanner = Some(scanner);
        }
        let Some(scanner) = &mut work.scanner else {
            return Ok(false);
        };
        if scanner.position() >= durable {
            return Ok(false);
        }
        let found = match scanner.next()? {
            Step::Group(found) => found,
            Step::End(_) => return Ok(false),
        };
        if !work.is_in_transaction {
            self.writer.execute_batch("BEGIN IMMEDIATE")?;
            work.is_in_transaction = true;
        }
        let bytes = scanner.bytes(&found)?;
        work.fold
            .group((&self.writer, &mut work.names), bytes, &found, batch)?;
        work.mark = Mark {
            position: scanner.position(),
            chain: found.head.chain,
            events: batch.last_id.max(work.mark.events),
            at_ms: found.head.at_ms,
        };
        Ok(true)
    }

    fn write(&mut self, batch: &mut Batch) -> Result<(), IndexError> {
        let records = batch.records;
        apply::batch(&self.writer, batch)?;
        self.inner
            .shared
            .records
            .fetch_add(records, Ordering::Relaxed);
        Ok(())
    }

    fn commit(&mut self) -> Result<(), IndexError> {
        if !self.work.is_in_transaction {
            return Ok(());
        }
        mark::write(
            &self.writer,
            self.inner.log.identity(),
            &self.work.mark,
            false,
        )?;
        self.writer.execute_batch("COMMIT")?;
        self.work.is_in_transaction = false;
        self.inner.log.keep_from(self.work.mark.position.segment);
        self.inner.shared.batches.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Waits for something to do: for more of the log, and then a little longer unless somebody
    /// waits for it.
    fn wait(&mut self, after_failure: Option<Duration>) {
        if let Some(scanner) = &mut self.work.scanner {
            scanner.forget(); // what was read ahead may have been written since
        }
        let shared = &self.inner.shared;
        let mut durable = self.inner.log.durable();
        let position = shared.progress.borrow().position;
        self.runtime.block_on(async {
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
            tokio::select! {
                () = shared.stop.notified() => {}
                () = shared.wake.notified() => {}
                () = tokio::time::sleep(GATHER) => {}
            }
        });
    }

    /// After a failure nothing in memory is trusted: it goes on from what is committed.
    fn recover(&mut self, error: &IndexError) {
        if self.work.is_in_transaction && self.writer.execute_batch("ROLLBACK").is_err() {
            tracing::debug!("there was nothing to roll back");
        }
        let result = match error.is_damage() {
            true => self.rebuild(),
            false => self.reload(),
        };
        if let Err(error) = result {
            tracing::error!(%error, "the index cannot be opened again");
        }
    }

    fn reload(&mut self) -> Result<(), IndexError> {
        match mark::read(&self.writer)? {
            Some(found) => self.work = Work::at(found.mark),
            None => self.rebuild()?,
        }
        Ok(())
    }

    fn rebuild(&mut self) -> Result<(), IndexError> {
        self.writer = Connection::open_in_memory()?; // lets go of the file
        let (writer, mark) = rebuilt(&self.dir, &self.inner)?;
        mark::write(&writer, self.inner.log.identity(), &mark, false)?;
        self.writer = writer;
        self.work = Work::at(mark);
        self.cleaned_before = 0;
        self.inner.log.keep_from(mark.position.segment);
        self.inner.shared.progress.send_replace(mark.progress());
        Ok(())
    }

    fn end(mut self) {
        let log = self.inner.log.identity();
        let ended = match self.work.is_in_transaction {
            true => self.writer.execute_batch("ROLLBACK").map_err(Into::into),
            false => mark::write(&self.writer, log, &self.work.mark, true),
        };
        if let Err(error) = ended {
            tracing::warn!(%error, "the index was not closed in good order");
        }
        self.inner.readers.close();
        self.work.scanner = None;
    }
}

/// The index in `dir`, if it is one of this log and whole.
fn usable(dir: &Path, log: &LocalLog) -> Result<Option<(Connection, Mark)>, IndexError> {
    let Some(writer) = schema::writer(dir)? else {
        return Ok(None);
    };
    let Some(found) = mark::read(&writer)? else {
        return Ok(None);
    };
    if found.log != log.identity() || !is_on_the_way(log, &found.mark)? {
        tracing::warn!("the index is of another state of the log");
        return Ok(None);
    }
    if !found.is_clean && !schema::is_sound(&writer) {
        tracing::warn!("the index does not read through");
        return Ok(None);
    }
    Ok(Some((writer, found.mark)))
}

/// Whether the log as it is now leads through the mark. One that lost its unsynced end and went
/// on, or whose segments there were dropped, does not.
fn is_on_the_way(log: &LocalLog, mark: &Mark) -> Result<bool, IndexError> {
    let (end, chain): (Position, Chain) = log.opened_at();
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

/// An empty index, from the first segment on.
fn rebuilt(dir: &Path, inner: &Inner) -> Result<(Connection, Mark), IndexError> {
    tracing::info!(dir = %dir.display(), "the index is made from the log");
    inner.readers.close();
    schema::delete(dir)?;
    inner.shared.rebuilds.fetch_add(1, Ordering::Relaxed);
    let writer = schema::writer(dir)?.ok_or(IndexError::Interrupted)?;
    let first = inner.log.first_segment();
    let mark = Mark {
        position: Position {
            segment: first,
            offset: HEADER_BYTES,
        },
        chain: [0; 32],
        events: EventId::ZERO,
        at_ms: 0,
    };
    Ok((writer, mark))
}
