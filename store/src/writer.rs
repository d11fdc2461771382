//! The writer: one thread that gives every record its place, and makes groups of them durable.
//!
//! While one group is being synced the next one gathers in the queue; there is no other delay.
//! Everything that can be done without the place was done by the author of the record, on his
//! own thread (see [`crate::codec::Draft`]).
//!
//! Order within a group: write, sync, hand events to the sink, reply. A reply therefore means
//! durable *and* driven.

mod answer;
mod flush;
mod group;
mod idempotency;
mod op;
mod open;

use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

use outrider_webhook::id::{DeliveryKey, EventId, NodeId};
use tokio::sync::oneshot;

pub(crate) use self::answer::{Answer, Reply};
use self::answer::{Answers, Waiting};
use self::group::Group;
pub(crate) use self::group::{RECORDS_MAX, TOGETHER_BYTES_MAX};
pub(crate) use self::idempotency::Idempotency;
use self::op::Stop;
pub(crate) use self::op::{AcceptOp, Effect, Op, RecordOp, Recorded};
use self::open::Change;
pub(crate) use self::open::OpenSegments;
use crate::clock::Clock;
use crate::codec::{self, Chain, Draft, GROUP_BYTES, Seed};
use crate::error::{AcceptError, CloseError, FatalError};
use crate::event::{Position, StoredEvent};
use crate::log::{Accepted, AcceptedSink, Shared};
use crate::options::Sync;
use crate::queue::Cost;
use crate::recover::Resume;
use crate::segment::SegmentFile;
use crate::spare::Spares;

/// Everything the writer starts with.
pub(crate) struct Start {
    pub(crate) shared: Arc<Shared>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) sink: Box<dyn AcceptedSink>,
    pub(crate) sync: Sync,
    pub(crate) node: NodeId,
    pub(crate) epoch: u64,
    pub(crate) salt: u64,
    pub(crate) spares: Spares,
    pub(crate) segment: SegmentFile,
    pub(crate) resume: Resume,
    pub(crate) idempotency: Idempotency,
    pub(crate) open: OpenSegments,
    /// Held until the writer has ended.
    pub(crate) lock: File,
}

/// The state of the thread.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    sink: Box<dyn AcceptedSink>,
    sync: Sync,
    node: NodeId,
    epoch: u64,
    salt: u64,
    spares: Spares,
    segment: SegmentFile,
    seed: Seed,
    /// Where the next group goes.
    offset: u64,
    group: Group,
    next_seq: u64,
    next_group: u64,
    synced_through: u64,
    chain: Chain,
    last_id: EventId,
    now_ms: i64,
    idempotency: Idempotency,
    open: OpenSegments,
    batch: VecDeque<Op>,
    events: Vec<Arc<StoredEvent>>,
    /// Who waits for an event of the group, and who waits for something else of it.
    answers: Answers,
    synced: Vec<oneshot::Sender<()>>,
    /// Events of the group that are repeats.
    repeats: u64,
    /// Room to be given back with the group.
    cost: Cost,
    /// Changes of the open deliveries per segment, to be published with the group.
    changes: Vec<(u32, i64)>,
    needs_sync: bool,
    /// Since when something is written and not synced.
    unsynced_since: Option<Instant>,
    lock: File,
}

/// Closes the log when the writer ends, also when it ends by a panic.
struct Ending {
    shared: Arc<Shared>,
    is_regular: bool,
}

impl Drop for Ending {
    fn drop(&mut self) {
        if !self.is_regular {
            self.shared.fail(FatalError::Panicked);
        }
        self.shared.end();
    }
}

impl Writer {
    pub(crate) fn new(start: Start) -> Self {
        let Start {
            shared,
            clock,
            sink,
            sync,
            node,
            epoch,
            salt,
            spares,
            segment,
            resume,
            idempotency,
            open,
            lock,
        } = start;
        let seed = Seed::new(salt, segment.number);
        Self {
            shared,
            now_ms: clock.now_ms(),
            clock,
            sink,
            sync,
            node,
            epoch,
            salt,
            spares,
            segment,
            seed,
            offset: resume.end.offset,
            group: Group::new(),
            next_seq: resume.next_seq,
            next_group: resume.next_group,
            synced_through: resume.next_group.saturating_sub(1),
            chain: resume.chain,
            last_id: resume.last_id,
            idempotency,
            open,
            batch: VecDeque::new(),
            events: Vec::new(),
            answers: Answers::default(),
            synced: Vec::new(),
            repeats: 0,
            cost: Cost::default(),
            changes: Vec::new(),
            needs_sync: false,
            unsynced_since: None,
            lock,
        }
    }

    /// Writes until the log is closed or fails.
    pub(crate) fn run(mut self) {
        let mut ending = Ending {
            shared: Arc::clone(&self.shared),
            is_regular: false,
        };
        let closed = self.serve();
        if let Err(Stop::Fatal(error)) = &closed {
            tracing::error!(%error, "the event log failed");
        }
        let (reply, result) = match closed {
            Ok(reply) => (reply, Ok(())),
            Err(Stop::NoSpace) => (self.take_close(), Err(CloseError::DiskFull)),
            Err(Stop::Fatal(error)) => {
                self.shared.fail(error);
                (self.take_close(), Err(CloseError::Closed))
            }
        };
        ending.is_regular = true;
        // Who waits is told after the lock is free: he may want to open the log again.
        drop(ending);
        let Self {
            lock,
            spares,
            answers,
            synced,
            batch,
            ..
        } = self;
        drop((answers, synced, batch, spares, lock));
        if let Some(reply) = reply {
            // Nobody waits any more when the close was cancelled.
            let _ = reply.send(result);
        }
    }

    fn take_close(&mut self) -> Option<oneshot::Sender<Result<(), CloseError>>> {
        self.batch
            .extend(self.shared.queue.take_out(|op| matches!(op, Op::Close(_))));
        self.batch.drain(..).find_map(|op| match op {
            Op::Close(reply) => Some(reply),
            _ => None,
        })
    }

    /// Serves until the end; whom to tell about it.
    fn serve(&mut self) -> Result<Option<oneshot::Sender<Result<(), CloseError>>>, Stop> {
        let mut batch = VecDeque::new();
        loop {
            let is_open = self.shared.queue.take(&mut batch, self.sync_deadline());
            std::mem::swap(&mut self.batch, &mut batch);
            self.now_ms = self.clock.now_ms();
            while let Some(op) = self.batch.pop_front() {
                match op {
                    Op::Accept(op) => self.accept(op)?,
                    Op::Record(op) => self.record(op)?,
                    Op::Close(reply) => {
                        // On failure the reply must still be found.
                        self.batch.push_front(Op::Close(reply));
                        self.finish()?;
                        return Ok(self.take_close());
                    }
                }
            }
            self.flush()?;
            if self
                .sync_deadline()
                .is_some_and(|deadline| deadline <= Instant::now())
            {
                self.sync_segment()?;
            }
            if !is_open {
                // All handles were dropped without a close.
                self.finish()?;
                return Ok(None);
            }
        }
    }

    fn accept(&mut self, mut op: AcceptOp) -> Result<(), Stop> {
        if let Some(first) = op
            .key
            .and_then(|key| self.idempotency.first(key, self.now_ms))
            .or(op.older)
        {
            return self.repeat(op, first);
        }
        // He looked for it elsewhere when it was still here, and now it is not here any more.
        if op.key.is_some() && self.idempotency.dropped_through() > op.looked_through {
            self.shared.queue.release(op.cost);
            // A caller that has gone needs no answer.
            let _ = op.reply.send(Answer::refused(AcceptError::KeyUnknown));
            return Ok(());
        }
        if op.is_repeat_only {
            self.shared.queue.release(op.cost);
            let _ = op.reply.send(Answer::refused(AcceptError::NoRepeat));
            return Ok(());
        }
        let id = self.last_id.next(self.node, self.now_ms);
        let position = match self.place_event(&op, id) {
            Ok(position) => position,
            Err(Stop::NoSpace) => {
                self.refuse_full(op);
                return Ok(());
            }
            Err(fatal) => return Err(fatal),
        };
        if let Some(key) = op.key {
            let expires_ms = id
                .unix_ms()
                .saturating_add(op.event.facts.idempotency_window_ms);
            self.idempotency.insert(key, id, expires_ms, self.now_ms);
        }
        for (ordinal, _) in (0_u32..).zip(&op.event.targets) {
            let change = self
                .open
                .open(DeliveryKey { event: id, ordinal }, position.segment);
            self.note(change);
        }
        if let Some(event) = Arc::get_mut(&mut op.event) {
            (event.id, event.position) = (id, position);
        }
        self.events.push(Arc::clone(&op.event));
        self.wait(op, Accepted::Stored(id));
        Ok(())
    }

    /// The records of an event, one right after the other.
    fn place_event(&mut self, op: &AcceptOp, id: EventId) -> Result<Position, Stop> {
        let position = self.place(&op.draft, id.raw())?;
        self.last_id = id;
        for draft in &op.more {
            self.place(draft, id.raw())?;
        }
        Ok(position)
    }

    fn repeat(&mut self, op: AcceptOp, first: EventId) -> Result<(), Stop> {
        let id = self.last_id.next(self.node, self.now_ms);
        let draft = codec::duplicate(&op.event.facts, op.event.revision, first);
        match self.place(&draft, id.raw()) {
            Ok(_) => {}
            Err(Stop::NoSpace) => {
                self.refuse_full(op);
                return Ok(());
            }
            Err(fatal) => return Err(fatal),
        }
        self.last_id = id;
        self.repeats += 1;
        self.wait(op, Accepted::Duplicate { id, first });
        Ok(())
    }

    /// Notes whom to tell when the group is durable.
    fn wait(&mut self, op: AcceptOp, accepted: Accepted) {
        self.cost.add(op.cost);
        let waiting = Waiting {
            reply: op.reply,
            accepted,
            spent: (op.draft, op.more, op.event),
        };
        self.answers.add(op.asker, waiting);
    }

    fn refuse_full(&mut self, op: AcceptOp) {
        self.shared.counters.disk_full.add(1);
        self.shared.queue.release(op.cost);
        // A caller that has gone needs no answer.
        let _ = op.reply.send(Answer::refused(AcceptError::DiskFull));
    }

    fn record(&mut self, op: RecordOp) -> Result<(), Stop> {
        let len = op.with.iter().map(|one| one.draft.len()).sum::<usize>() + op.what.draft.len();
        while let Err(stop) = self.make_room(len, op.with.len() + 1) {
            match stop {
                Stop::NoSpace => self.wait_for_space()?,
                Stop::Fatal(_) => return Err(stop),
            }
        }
        for one in std::iter::once(&op.what).chain(&op.with) {
            self.place(&one.draft, one.id)?;
            let change = match one.effect {
                Some(Effect::Open(key, segment)) => self.open.open(key, segment),
                Some(Effect::Close(key)) => self.open.close(key),
                None => Change::None,
            };
            self.note(change);
        }
        self.cost.add(op.cost);
        if let Some(synced) = op.synced {
            self.needs_sync = true;
            self.synced.push(synced);
        }
        Ok(())
    }

    /// Everything is full and a completion has no place: events are refused, and the rest waits,
    /// which holds up who made it. Gives up when the log is to be closed.
    fn wait_for_space(&mut self) -> Result<(), Stop> {
        if self.shared.queue.is_closed() {
            return Err(Stop::NoSpace);
        }
        let mut waiting = std::mem::take(&mut self.batch);
        waiting.extend(self.shared.queue.take_out(|op| matches!(op, Op::Accept(_))));
        for op in waiting {
            match op {
                Op::Accept(op) => self.refuse_full(op),
                op => self.batch.push_back(op),
            }
        }
        self.spares.wait();
        Ok(())
    }

    /// Ends the group, and the segment, when so many records of so many bytes in all would not
    /// fit in it. After that they do.
    fn make_room(&mut self, len: usize, records: usize) -> Result<(), Stop> {
        if !self.group.has_room(len, records) {
            self.flush()?;
        }
        let end = self.offset + (self.group.len().max(GROUP_BYTES) + len) as u64;
        if end > self.segment.bytes {
            self.flush()?;
            self.roll()?;
        }
        Ok(())
    }

    /// Appends a record to the group, or to the next one if it does not fit.
    fn place(&mut self, draft: &Draft, id: i64) -> Result<Position, Stop> {
        self.make_room(draft.len(), 1)?;
        if self.group.is_empty() {
            self.now_ms = self.clock.now_ms();
            self.group.begin(
                &self.chain,
                self.next_group,
                self.now_ms,
                self.next_seq,
                self.last_id,
            );
        }
        let offset = self.offset + self.group.len() as u64;
        self.group.push(draft, self.seed, self.next_seq, id);
        self.next_seq += 1;
        Ok(Position {
            segment: self.segment.number,
            offset,
        })
    }
}
