//! `LocalLog`: the handle on a log.

mod encode;
mod followed;
mod open;

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;

use outrider_webhook::event::{Decision, EventFacts, RoutedEvent, Target};
use outrider_webhook::id::{EventId, ORDINAL_MAX, UidCodec};
use tokio::sync::{oneshot, watch};

use self::encode::{Encoded, recorded};
use self::open::Opened;
use crate::catalog::{Catalog, SegmentFacts};
use crate::clock::Clock;
use crate::codec::{self, Chain};
use crate::dir::{FileError, Meta};
use crate::error::{AcceptError, CloseError, FatalError, LogClosed, OpenError, TogetherError};
use crate::event::{Position, StoredEvent};
use crate::index::WeakIndex;
use crate::options::Options;
use crate::queue::{Cost, PushError, Queue, Urgency};
use crate::read::{ReadError, Reader};
use crate::record::Record;
use crate::recover::Recovered;
use crate::spare::Room;
use crate::stats::{Counter, Counters, Stats};
use crate::tail::{Check, Tail, TailError};
use crate::writer::{AcceptOp, Answer, Op, RECORDS_MAX, RecordOp, Recorded, TOGETHER_BYTES_MAX};

/// Bytes of a body from which on encoding is left to a blocking thread.
const BODY_BYTES_INLINE: usize = 128 << 10;

/// Takes over what became durable. Called on the writer's thread after the sync and before the
/// replies, so a delivery can never be durable and driven by nobody.
pub trait AcceptedSink: Send {
    /// Takes the events of a group, in order. Must be short and must not wait.
    fn accepted(&mut self, events: &mut Vec<Arc<StoredEvent>>);
}

/// An event that is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// It is new, and has this id.
    Stored(EventId),
    /// It repeats an event with the same idempotency key.
    Duplicate {
        /// Id of the repeat.
        id: EventId,
        /// Id of the first one.
        first: EventId,
    },
}

/// What writer and handles share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) dir: PathBuf,
    pub(crate) queue: Queue<Op>,
    pub(crate) counters: Counters,
    /// End of what is durable.
    pub(crate) durable: watch::Sender<Position>,
    catalog: Mutex<Catalog>,
    room: Arc<Room>,
    /// The newest event whose key memory may have let go of; 0 when there is none.
    keys_gone: AtomicI64,
    fatal: watch::Sender<Option<Arc<FatalError>>>,
}

impl Shared {
    pub(crate) fn catalog(&self) -> MutexGuard<'_, Catalog> {
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add_segment(&self, number: u32, bytes: u64) {
        let facts = SegmentFacts {
            bytes,
            ..SegmentFacts::default()
        };
        self.catalog().segments.insert(number, facts);
    }

    /// Says that memory may have let go of the keys of events up to this one.
    pub(crate) fn keys_gone(&self, through: Option<EventId>) {
        if let Some(event) = through {
            self.keys_gone.store(event.raw(), Ordering::Release);
        }
    }

    pub(crate) fn fail(&self, error: FatalError) {
        self.fatal.send_replace(Some(Arc::new(error)));
    }

    /// Nothing is written any more: whoever waits is told.
    pub(crate) fn end(&self) {
        self.queue.close();
        drop(self.queue.take_out(|_| true));
        self.catalog().is_closed = true;
    }
}

/// The event log of a node. Cheap to clone; all clones are one log. When the last one is
/// dropped the log is closed in the background; [`LocalLog::close`] waits for that.
#[derive(Debug, Clone)]
pub struct LocalLog {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    reader: Reader,
    clock: Arc<dyn Clock>,
    /// Knows the older idempotency keys.
    index: OnceLock<WeakIndex>,
    /// Where the log ended when it was opened, and its chain there.
    opened_at: (Position, Chain),
    uids: UidCodec,
    meta: MetaFacts,
    record_bytes_max: usize,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What readers need of the meta file; it holds a key, so the rest is not kept.
struct MetaFacts(Meta);

impl std::fmt::Debug for MetaFacts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meta(***)")
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let dir = &self.shared.dir;
        f.debug_struct("Inner")
            .field("dir", dir)
            .finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

impl LocalLog {
    /// Opens the log, recovers it, and starts its writer. Blocks.
    ///
    /// # Errors
    /// [`OpenError`]: another process has it, its files cannot be used, or it is corrupt.
    pub fn open(
        options: Options,
        clock: Arc<dyn Clock>,
        sink: Box<dyn AcceptedSink>,
    ) -> Result<(Self, Recovered), OpenError> {
        let Opened {
            writer,
            inner,
            recovered,
        } = open::open(&options, clock, sink)?;
        let thread = std::thread::Builder::new()
            .name("outrider-log".into())
            .spawn(move || writer.run())
            .map_err(OpenError::Thread)?;
        *inner.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok((
            Self {
                inner: Arc::new(inner),
            },
            recovered,
        ))
    }

    /// Makes an event durable. Resolves after that; a caller that goes away does not undo it.
    ///
    /// Whoever has called this either polls it whenever it is woken, or drops it: with the answer
    /// may come those of others of the same thread, who are told when it is taken or dropped. A
    /// call that is kept and not polled (in a `select!` that goes on with another arm, say) keeps
    /// them waiting.
    ///
    /// # Errors
    /// [`AcceptError`]; nothing was stored, except that after `Unavailable` it may have been.
    pub async fn accept(&self, event: RoutedEvent) -> Result<Accepted, AcceptError> {
        let (facts, targets, decision) = event.into_parts();
        self.accept_parts(facts, targets, decision).await
    }

    pub(crate) async fn accept_parts(
        &self,
        facts: EventFacts,
        targets: Vec<Target>,
        decision: Decision,
    ) -> Result<Accepted, AcceptError> {
        self.push_event(facts, targets, decision, false).await
    }

    /// As [`LocalLog::accept`] for an event that would be refused if it were new: it is answered
    /// if it repeats an accepted one, whose sender may have missed the reply.
    ///
    /// # Errors
    /// [`AcceptError::NoRepeat`] when it is new, and as before.
    pub async fn accept_repeat(&self, event: RoutedEvent) -> Result<Accepted, AcceptError> {
        let (facts, targets, decision) = event.into_parts();
        if facts.idempotency_key.is_none() {
            return Err(AcceptError::NoRepeat);
        }
        self.push_event(facts, targets, decision, true).await
    }

    pub(crate) async fn push_event(
        &self,
        facts: EventFacts,
        targets: Vec<Target>,
        decision: Decision,
        is_repeat_only: bool,
    ) -> Result<Accepted, AcceptError> {
        let shared = &self.inner.shared;
        let max = ORDINAL_MAX as usize + 1;
        if targets.len() > max {
            return Err(AcceptError::TooManyTargets {
                targets: targets.len(),
                max,
            });
        }
        refuse_when_full(shared)?;
        let (older, looked_through) = match decision.replay {
            None => self.older_first(&facts).await?,
            Some(_) => (None, EventId::MAX),
        };
        let is_short =
            facts.body.len() <= BODY_BYTES_INLINE && targets.len() <= codec::ACCEPT_TARGETS_MAX;
        let encoded = match is_short {
            true => Encoded::new(facts, targets, decision),
            // Hashing megabytes would hold up everything else on this thread.
            false => tokio::task::spawn_blocking(move || Encoded::new(facts, targets, decision))
                .await
                .map_err(|_| AcceptError::Unavailable)?,
        };
        let (bytes, max) = (encoded.draft.len(), self.inner.record_bytes_max);
        if bytes > max {
            return Err(AcceptError::TooLarge { bytes, max });
        }
        let cost = shared.queue.charge(encoded.cost());
        let (reply, replied) = oneshot::channel();
        let Encoded {
            draft,
            more,
            event,
            key,
        } = encoded;
        let op = Op::Accept(AcceptOp {
            cost,
            draft,
            more,
            event: Arc::new(event),
            key,
            older,
            looked_through,
            is_repeat_only,
            reply,
            asker: std::thread::current().id(),
        });
        shared
            .queue
            .try_push(cost, op)
            .map_err(|error| refused(shared, error))?;
        // The writer is gone when it does not answer.
        replied
            .await
            .map_or(Err(AcceptError::Unavailable), Answer::take)
    }

    /// The event that the key belongs to, when that is so old that the writer does not know; and
    /// the newest event whose key he had said to be gone before that was looked up.
    async fn older_first(
        &self,
        facts: &EventFacts,
    ) -> Result<(Option<EventId>, EventId), AcceptError> {
        let gone = self.inner.shared.keys_gone.load(Ordering::Acquire);
        let gone = EventId::from_raw(gone).unwrap_or(EventId::ZERO);
        let (Some(key), Some(index)) = (facts.idempotency_key.as_deref(), self.inner.index.get())
        else {
            // Without an index what memory lets go of is forgotten.
            return Ok((None, EventId::MAX));
        };
        if gone == EventId::ZERO {
            return Ok((None, gone));
        }
        let index = index.upgrade().ok_or(AcceptError::KeyUnknown)?;
        let found = index.first_with_key(facts.project, key, self.now_ms(), gone);
        let older = found.await.map_err(|error| {
            // Who refuses the event says so; there may be one for each event.
            tracing::debug!(%error, code = error.code(), "an idempotency key could not be looked up");
            AcceptError::KeyUnknown
        })?;
        Ok((older, gone))
    }

    /// Records what happened. Waits for room in the queue only, not for the sync: an outcome
    /// that is lost to a crash means that the attempt is made again. Cancel-safe.
    ///
    /// # Errors
    /// [`LogClosed`]: the log was closed or has failed.
    pub async fn record(&self, record: Record) -> Result<(), LogClosed> {
        self.push_record(recorded(&record), Vec::new(), None).await
    }

    /// As [`LocalLog::record`], and waits until the record is synced ([`crate::Sync::Off`]: written).
    ///
    /// # Errors
    /// [`LogClosed`]: the log was closed or has failed; the record may be durable or not.
    pub async fn record_synced(&self, record: Record) -> Result<(), LogClosed> {
        self.push_synced(recorded(&record), Vec::new()).await
    }

    /// As [`LocalLog::record_synced`], for records that are durable together or not at all: a
    /// command and its effect. They have to fit in a group: 512 records, 4 MiB.
    ///
    /// # Errors
    /// [`TogetherError`]: they do not fit, or the log was closed or has failed.
    pub async fn record_together(
        &self,
        record: &Record,
        with: &[Record],
    ) -> Result<(), TogetherError> {
        let what = recorded(record);
        let with: Vec<Recorded> = with.iter().map(recorded).collect();
        let bytes = with.iter().map(|one| one.draft.len()).sum::<usize>() + what.draft.len();
        let records = 1 + with.len();
        if records > RECORDS_MAX || bytes > TOGETHER_BYTES_MAX {
            return Err(TogetherError::TooMuch { records, bytes });
        }
        Ok(self.push_synced(what, with).await?)
    }

    async fn push_synced(&self, what: Recorded, with: Vec<Recorded>) -> Result<(), LogClosed> {
        let (synced, is_synced) = oneshot::channel();
        self.push_record(what, with, Some(synced)).await?;
        is_synced.await.map_err(|_| LogClosed)
    }

    async fn push_record(
        &self,
        what: Recorded,
        with: Vec<Recorded>,
        synced: Option<oneshot::Sender<()>>,
    ) -> Result<(), LogClosed> {
        let queue = &self.inner.shared.queue;
        let cost = queue.charge(Cost {
            records: 1 + with.len(),
            bytes: with.iter().map(|one| one.draft.len()).sum::<usize>() + what.draft.len(),
        });
        let urgency = match synced {
            Some(_) => Urgency::Now,
            None => Urgency::Soon,
        };
        let op = Op::Record(RecordOp {
            cost,
            what,
            with,
            synced,
        });
        queue.push(cost, urgency, op).await.map_err(|_| LogClosed)
    }

    /// Reads an event back, for a retry. Its checksums are checked.
    ///
    /// # Errors
    /// [`ReadError`], which says whether trying again can help.
    pub async fn read(&self, position: Position) -> Result<StoredEvent, ReadError> {
        let inner = Arc::clone(&self.inner);
        let read = tokio::task::spawn_blocking(move || inner.reader.event(position)).await;
        read.unwrap_or(Err(ReadError::Interrupted))
    }

    /// Goes through the log from `from` (or its start) to what is durable, and on as it grows.
    /// Blocks; for a thread of its own.
    ///
    /// # Errors
    /// [`TailError`]: `from` is gone or cannot be read.
    pub fn tail(&self, from: Option<Position>, check: Check) -> Result<Tail, TailError> {
        let shared = &self.inner.shared;
        Tail::new(
            &shared.dir,
            &self.inner.meta.0,
            from,
            check,
            Some(shared.durable.subscribe()),
        )
    }

    /// End of what is durable; changes with every group.
    #[must_use]
    pub fn durable(&self) -> watch::Receiver<Position> {
        self.inner.shared.durable.subscribe()
    }

    /// Makes and checks the public ids of this installation.
    #[must_use]
    pub fn uids(&self) -> &UidCodec {
        &self.inner.uids
    }

    /// Figures.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let shared = &self.inner.shared;
        let (depth, counters) = (shared.queue.depth(), &shared.counters);
        let (bytes, segments) = {
            let catalog = shared.catalog();
            (catalog.bytes(), catalog.segments.len() as u64)
        };
        Stats {
            bytes,
            segments,
            written_bytes: counters.written_bytes.get(),
            groups: counters.groups.get(),
            records: counters.records.get(),
            accepted: counters.accepted.get(),
            duplicates: counters.duplicates.get(),
            overloaded: counters.overloaded.get(),
            disk_full: counters.disk_full.get(),
            syncs: counters.syncs.get(),
            sync_us: counters.sync_us.get(),
            sync_buckets: counters.sync_buckets.each_ref().map(Counter::get),
            queue_records: depth.records as u64,
            queue_bytes: depth.bytes as u64,
            free_bytes: shared.room.free_bytes(),
            is_disk_full: u64::from(shared.room.is_full()),
            idempotency_keys: counters.idempotency_keys.get(),
            open_deliveries: counters.open_deliveries.get(),
        }
    }

    /// Set once the log cannot make anything durable any more: the process is expected to end.
    #[must_use]
    pub fn fatal(&self) -> watch::Receiver<Option<Arc<FatalError>>> {
        self.inner.shared.fatal.subscribe()
    }

    /// Deletes the oldest segments, as long as their newest record is older than `cut_ms` (Unix
    /// milliseconds) and no open delivery needs an event in them; how many. A delivery that
    /// stays open keeps its segment and all later ones: events are not copied forward yet.
    /// Blocks.
    ///
    /// # Errors
    /// [`FileError`]: a file cannot be removed. What was removed before stays so.
    pub fn drop_expired(&self, cut_ms: i64) -> Result<u64, FileError> {
        let mut catalog = self.inner.shared.catalog();
        let dropped = catalog.drop_expired(&self.inner.shared.dir, cut_ms);
        if let Some(first) = catalog.segments.keys().next().copied() {
            self.inner.reader.forget_before(first);
        }
        dropped
    }

    /// Writes what waits, then a barrier, syncs, and ends the writer. Other handles may still
    /// read; they write no more.
    ///
    /// # Errors
    /// [`CloseError`]: not everything that waited was written. What was acknowledged is safe.
    pub async fn close(self) -> Result<(), CloseError> {
        let (reply, replied) = oneshot::channel();
        let queue = &self.inner.shared.queue;
        let pushed = queue.push_last(Op::Close(reply));
        let result = match pushed {
            Ok(()) => replied.await.unwrap_or(Err(CloseError::Closed)),
            Err(_) => Err(CloseError::Closed),
        };
        let thread = self
            .inner
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            // It has nothing left to do but return; a panic in it was reported as fatal.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
        result
    }
}

fn refuse_when_full(shared: &Shared) -> Result<(), AcceptError> {
    if shared.room.is_full() {
        shared.counters.disk_full.add(1);
        return Err(AcceptError::DiskFull);
    }
    Ok(())
}

fn refused(shared: &Shared, error: PushError) -> AcceptError {
    match error {
        PushError::Closed => AcceptError::Unavailable,
        PushError::Full => {
            shared.counters.overloaded.add(1);
            AcceptError::Overloaded
        }
    }
}
