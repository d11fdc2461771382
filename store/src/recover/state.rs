//! What the records say about events and deliveries, folded in order.

use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasherDefault;
use std::path::Path;

use bytes::Bytes;
use outrider_webhook::event::{DeliveryMode, Replay};
use outrider_webhook::id::{DeliveryKey, EndpointId, EventId};

use super::commands::{Batch, Commands};
use super::gaps::Gaps;
use super::made::Made;
use super::pending::Found;
use super::{Gap, Lost, OpenDeliveries, Pending, Unsettled};
use crate::codec::{
    AcceptHead, Entry, IdemKey, Malformed, OutcomeHead, PayloadCheck, Prefix, RawRecord,
    decode_erase, flag, kind, targets_of,
};
use crate::event::Position;
use crate::packed::Mixed;
use crate::read::{self, ReadError};
use crate::record::{ConditionClass, DeliveryStatus, EndpointStateRecord};
use crate::scan::{FoundGroup, ScanError, for_each_member};
use crate::writer::Idempotency;

type Deliveries<T> = HashMap<DeliveryKey, T, BuildHasherDefault<Mixed>>;

/// State of the log, as far as it was read.
#[derive(Debug)]
pub(crate) struct State {
    pending: Found,
    /// Ended deliveries that were opened again; their target is read back at the end.
    reopened: Deliveries<Reopened>,
    /// Those of them whose event is gone.
    lost: Vec<Lost>,
    /// At-most-once attempts without outcome.
    started: Deliveries<()>,
    unfinished: Option<Unfinished>,
    endpoint_states: HashMap<(EndpointId, ConditionClass), EndpointStateRecord>,
    made: Made,
    commands: Commands,
    /// Open deliveries that end as soon as nobody works on them.
    cancelled: Deliveries<()>,
    gaps: Gaps,
    pub(crate) idempotency: Idempotency,
    /// Payloads of nothing but zeros that no ERASE has named yet.
    zeroed: BTreeSet<Position>,
    last_id: EventId,
    /// When the group being applied was begun, by the clock of then.
    group_ms: i64,
    pub(crate) events: u64,
    now_ms: i64,
}

/// Open deliveries.
pub(crate) struct Open {
    /// Those to be driven.
    pub(crate) driven: OpenDeliveries,
    /// Those whose last attempt may or may not have arrived.
    pub(crate) outcome_unknown: Vec<Pending>,
    /// Those that only wait for their end.
    pub(crate) cancelled: Vec<Pending>,
}

#[derive(Debug, Clone, Copy)]
struct Reopened {
    position: Position,
    due_ms: i64,
    attempts: u32,
    attempts_free: u32,
}

/// An event whose last TARGETS record has not come yet.
#[derive(Debug)]
struct Unfinished {
    event: EventId,
    targets_total: u32,
    deliveries: Vec<Pending>,
    idempotency: Option<(IdemKey, i64)>,
    replay: Option<Box<Replay>>,
}

impl State {
    pub(crate) fn new(idempotency: Idempotency, now_ms: i64) -> Self {
        Self {
            pending: Found::new(now_ms),
            reopened: HashMap::default(),
            lost: Vec::new(),
            started: HashMap::default(),
            unfinished: None,
            endpoint_states: HashMap::new(),
            made: Made::default(),
            commands: Commands::default(),
            cancelled: HashMap::default(),
            gaps: Gaps::default(),
            idempotency,
            zeroed: BTreeSet::new(),
            last_id: EventId::ZERO,
            group_ms: 0,
            events: 0,
            now_ms,
        }
    }

    pub(crate) fn last_id(&self) -> EventId {
        self.last_id
    }

    /// Applies a whole group.
    pub(crate) fn apply(&mut self, group: &[u8], found: &FoundGroup) -> Result<(), ScanError> {
        self.last_id = self.last_id.max(found.head.last_id);
        self.group_ms = found.head.at_ms;
        for_each_member(group, |offset, bytes, prefix| {
            let position = Position {
                offset: found.start.offset + offset as u64,
                ..found.start
            };
            self.record(bytes, prefix, position, found.has_zeroed)
                .map_err(|what| ScanError::Corrupt { position, what })
        })
    }

    fn record(
        &mut self,
        bytes: &[u8],
        prefix: Prefix,
        position: Position,
        may_be_zeroed: bool,
    ) -> Result<(), Malformed> {
        let record = RawRecord::trust(bytes)?;
        if prefix.is_reserved() {
            return Err(Malformed("flags: written by a later version"));
        }
        if may_be_zeroed && is_zeroed(&record) {
            self.zeroed.insert(position);
        }
        if prefix.kind != kind::TARGETS {
            self.unfinished = None; // nothing may come between an event and its targets
        }
        match prefix.kind {
            kind::ACCEPT => self.accept(&record, position)?,
            kind::TARGETS => self.targets(&record)?,
            kind::DUPLICATE => self.see(prefix.id)?,
            kind::ATTEMPT | kind::STATE => self.outcome(&OutcomeHead::decode(&record)?),
            kind::STARTED => self.start(prefix)?,
            kind::ENDPOINT_STATE => self.endpoint_state(&record, position)?,
            kind::ERASE => {
                let erase = decode_erase(&record)?;
                for position in erase.also.iter().chain([&erase.position]) {
                    self.zeroed.remove(position);
                }
            }
            kind::COMMAND => self.command(&record, position)?,
            kind::BARRIER => {}
            _ if prefix.has(flag::IGNORABLE) => {}
            _ => return Err(Malformed("kind: written by a later version")),
        }
        Ok(())
    }

    fn command(&mut self, record: &RawRecord<'_>, position: Position) -> Result<(), Malformed> {
        self.made.command(record, position)?;
        for key in self.commands.command(record, position)? {
            // What has ended stays as it is.
            if self.pending.contains(key) || self.reopened.contains_key(&key) {
                self.cancelled.insert(key, ());
            }
        }
        Ok(())
    }

    fn see(&mut self, id: i64) -> Result<(), Malformed> {
        self.last_id = self
            .last_id
            .max(EventId::from_raw(id).ok_or(Malformed("event id"))?);
        Ok(())
    }

    fn accept(&mut self, record: &RawRecord<'_>, position: Position) -> Result<(), Malformed> {
        self.see(record.prefix.id)?;
        let head = AcceptHead::decode(record)?;
        // One that needs TARGETS records, and may miss them, has many endpoints and made none.
        self.made.accepted(&head, position);
        // Ids count on when the clock steps back, so an id may be of a time that is still to come.
        let due_ms = head.id.unix_ms().min(self.now_ms);
        let template = |(ordinal, target)| Pending {
            key: DeliveryKey {
                event: head.id,
                ordinal,
            },
            position,
            project: head.project,
            target,
            attempts: 0,
            attempts_free: 0,
            is_parked: false,
            due_ms,
            revision: head.decision.revision,
            is_reopened: false,
            is_replay: head.decision.replay.is_some(),
        };
        let deliveries: Vec<Pending> = (0..).zip(head.targets).map(template).collect();
        let idempotency = head
            .idempotency
            .map(|(key, _)| (key, due_ms.saturating_add(head.window_ms)));
        let event = Unfinished {
            event: head.id,
            targets_total: head.targets_total,
            deliveries,
            idempotency,
            replay: head.decision.replay,
        };
        if head.is_end {
            return self.commit(event);
        }
        self.unfinished = Some(event);
        Ok(())
    }

    fn targets(&mut self, record: &RawRecord<'_>) -> Result<(), Malformed> {
        let Some(mut event) = self.unfinished.take() else {
            return Ok(());
        };
        let Some(like) = event.deliveries.first().cloned() else {
            return Ok(());
        };
        let is_next = record.prefix.id == event.event.raw()
            && usize::try_from(record.prefix.ordinal) == Ok(event.deliveries.len());
        if !is_next {
            return Ok(());
        }
        for (ordinal, target) in (record.prefix.ordinal..).zip(targets_of(record)?) {
            let key = DeliveryKey {
                event: event.event,
                ordinal,
            };
            event.deliveries.push(Pending {
                key,
                target,
                ..like.clone()
            });
        }
        if record.prefix.has(flag::END) {
            return self.commit(event);
        }
        self.unfinished = Some(event);
        Ok(())
    }

    /// The event is whole: it was accepted.
    fn commit(&mut self, event: Unfinished) -> Result<(), Malformed> {
        if usize::try_from(event.targets_total) != Ok(event.deliveries.len()) {
            return Err(Malformed("targets: not as many as the event says"));
        }
        self.events += 1;
        if let Some((key, expires_ms)) = event.idempotency {
            self.idempotency
                .insert(key, event.event, expires_ms, self.now_ms);
        }
        if let Some(replay) = &event.replay {
            self.commands.replayed(replay);
        }
        let deliveries = event.deliveries.iter();
        deliveries
            .into_iter()
            .try_for_each(|one| self.pending.insert(one))
    }

    fn outcome(&mut self, outcome: &OutcomeHead) {
        self.started.remove(&outcome.key);
        if outcome.status.is_final() {
            let is_delivered = outcome.status == DeliveryStatus::Success;
            if let Some(ended) = self.pending.remove(outcome.key) {
                self.gaps.ended(&ended, is_delivered);
            }
            if self.reopened.remove(&outcome.key).is_some() && is_delivered {
                self.gaps.arrived(outcome.key);
            }
            self.cancelled.remove(&outcome.key);
            return;
        }
        let free = u32::from(outcome.is_free);
        let next_due_ms = outcome.next_due_ms.map(|due_ms| self.by_our_clock(due_ms));
        let change = |pending: &mut Pending| {
            pending.attempts = outcome.attempts;
            pending.attempts_free = pending.attempts_free.saturating_add(free);
            pending.due_ms = next_due_ms.unwrap_or(pending.due_ms);
            pending.is_parked |= outcome.is_parked;
        };
        if self.pending.change(outcome.key, change) {
            // It stays open.
        } else if let Some(reopened) = self.reopened.get_mut(&outcome.key) {
            reopened.attempts = outcome.attempts;
            reopened.attempts_free = reopened.attempts_free.saturating_add(free);
            reopened.due_ms = next_due_ms.unwrap_or(reopened.due_ms);
        } else if !outcome.is_attempt && outcome.status != DeliveryStatus::Processing {
            let due_ms = next_due_ms.unwrap_or(self.now_ms);
            self.reopened.insert(
                outcome.key,
                Reopened {
                    position: outcome.position,
                    due_ms,
                    attempts: outcome.attempts,
                    attempts_free: 0,
                },
            );
        }
    }

    /// A time that was set when the group was written. If the clock was ahead then, it is kept as
    /// the wait it was: the time itself may be years away.
    fn by_our_clock(&self, due_ms: i64) -> i64 {
        if self.group_ms <= self.now_ms {
            return due_ms;
        }
        let wait_ms = due_ms.saturating_sub(self.group_ms).max(0);
        self.now_ms.saturating_add(wait_ms)
    }

    fn start(&mut self, prefix: Prefix) -> Result<(), Malformed> {
        let event = EventId::from_raw(prefix.id).ok_or(Malformed("event id"))?;
        self.started.insert(
            DeliveryKey {
                event,
                ordinal: prefix.ordinal,
            },
            (),
        );
        Ok(())
    }

    fn endpoint_state(
        &mut self,
        record: &RawRecord<'_>,
        position: Position,
    ) -> Result<(), Malformed> {
        if let Entry::EndpointState(state) =
            Entry::decode(record, PayloadCheck::Intact, position, &Bytes::new())?
        {
            let about = (state.endpoint, state.condition.class());
            self.endpoint_states.insert(about, state);
        }
        Ok(())
    }

    /// The end of the log was reached: what is left open is open.
    pub(crate) fn finish(&mut self, dir: &Path, salt: u64) -> Result<(), ScanError> {
        self.unfinished = None;
        if let Some(position) = self.zeroed.first().copied() {
            return Err(ScanError::Corrupt {
                position,
                what: Malformed("payload: zeros that no ERASE explains"),
            });
        }
        for (key, reopened) in std::mem::take(&mut self.reopened) {
            match read::event_at(dir, salt, reopened.position) {
                Ok(event) => {
                    self.reopen(key, reopened, &event)
                        .map_err(|what| ScanError::Corrupt {
                            position: reopened.position,
                            what,
                        })?
                }
                // Gone by retention, or damaged: nothing can be sent any more.
                Err(error) if error.is_permanent() => {
                    tracing::error!(event = key.event.raw(), %error, "a delivery that was opened again is lost");
                    self.lost.push(Lost {
                        key,
                        position: reopened.position,
                        attempts: reopened.attempts,
                    });
                }
                Err(ReadError::File(error)) => return Err(error.into()),
                Err(error) => {
                    // Only a reader on another thread is interrupted.
                    tracing::error!(event = key.event.raw(), %error, "not read");
                }
            }
        }
        Ok(())
    }

    fn reopen(
        &mut self,
        key: DeliveryKey,
        reopened: Reopened,
        event: &crate::StoredEvent,
    ) -> Result<(), Malformed> {
        let target = usize::try_from(key.ordinal)
            .ok()
            .and_then(|ordinal| event.targets.get(ordinal));
        let Some(target) = target.filter(|_| event.id == key.event) else {
            return Ok(());
        };
        let pending = Pending {
            key,
            position: reopened.position,
            project: event.facts.project,
            target: target.clone(),
            attempts: reopened.attempts,
            attempts_free: reopened.attempts_free,
            is_parked: false,
            due_ms: reopened.due_ms,
            revision: event.revision,
            is_reopened: true,
            is_replay: event.decision.replay.is_some(),
        };
        self.pending.insert(&pending)
    }

    /// The open deliveries in order.
    pub(crate) fn take_open(&mut self) -> Open {
        let mut found = std::mem::replace(&mut self.pending, Found::new(self.now_ms));
        let take = |found: &mut Found, mut keys: Vec<DeliveryKey>| {
            keys.sort_unstable();
            let taken = keys.into_iter().filter_map(|key| found.remove(key));
            taken.collect::<Vec<_>>()
        };
        let started = std::mem::take(&mut self.started).into_keys();
        let started = started.filter(|key| found.mode(*key) == Some(DeliveryMode::AtMostOnce));
        let started = started.collect();
        let outcome_unknown = take(&mut found, started);
        let cancelled = std::mem::take(&mut self.cancelled).into_keys();
        let cancelled = take(&mut found, cancelled.collect());
        Open {
            driven: found.in_order(),
            outcome_unknown,
            cancelled,
        }
    }

    pub(crate) fn take_batches(&mut self) -> Vec<Batch> {
        self.commands.take()
    }

    pub(crate) fn take_lost(&mut self) -> Vec<Lost> {
        std::mem::take(&mut self.lost)
    }

    pub(crate) fn take_gaps(&mut self) -> Vec<Gap> {
        self.gaps.take()
    }

    pub(crate) fn take_unsettled(&mut self) -> Vec<Unsettled> {
        self.made.take()
    }

    pub(crate) fn take_endpoint_states(&mut self) -> Vec<EndpointStateRecord> {
        let mut states: Vec<_> = std::mem::take(&mut self.endpoint_states)
            .into_values()
            .collect();
        states.sort_unstable_by_key(|state| (state.endpoint, state.condition.class()));
        states
    }
}

fn is_zeroed(record: &RawRecord<'_>) -> bool {
    let payload = record.payload();
    crc32c::crc32c(payload) != record.prefix.payload_crc && payload.iter().all(|byte| *byte == 0)
}
