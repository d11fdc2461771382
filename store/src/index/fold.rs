//! What records mean for the rows, several of them at once: most deliveries are accepted and
//! finished inside one batch, and then cost one row and no update.
//!
//! A final state is final: after it only a STATE opens a delivery again. An attempt recorded
//! behind it came from a worker that had lost its lease; it is listed and changes nothing else.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use bytes::Bytes;
use outrider_webhook::event::{Audience, Origin, Target};
use outrider_webhook::id::{DeliveryKey, EndpointId, EventId};
use rusqlite::Connection;

use super::mark::packed;
use super::names::Names;
use super::{DeliveryFilter, IndexError};
use crate::codec::{
    AcceptHead, Entry, IdemKey, Malformed, OutcomeHead, PayloadCheck, RawRecord, flag, kind,
    reason_of, targets_of,
};
use crate::event::Position;
use crate::packed::Mixed;
use crate::record::DeliveryStatus;
use crate::scan::{FoundGroup, ScanError, for_each_member};

/// A new row of `events`.
#[derive(Debug)]
pub(super) struct EventRow {
    pub(super) id: EventId,
    pub(super) project: i64,
    pub(super) event_type: i64,
    pub(super) source: Option<i64>,
    pub(super) owner: Option<i64>,
    /// Hash of project and key, and until when it is remembered.
    pub(super) idempotency: Option<(i64, i64)>,
    pub(super) first: Option<EventId>,
    /// Of a replay: the how many-th.
    pub(super) replay: Option<u32>,
    pub(super) place: i64,
}

/// What becomes of a row of `deliveries`.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// What a row that is new begins with.
    pub(super) made: Option<Made>,
    /// The new state; `None` while no record of the batch sets one.
    pub(super) state: Option<StateChange>,
    /// Whether a STATE of the batch opens it again, whatever it was before.
    pub(super) is_reopened: bool,
    /// Places of the batch's attempts, oldest first.
    pub(super) attempts: Vec<i64>,
}

/// What never changes of a delivery.
#[derive(Debug, Clone, Copy)]
pub(super) struct Made {
    pub(super) project: i64,
    pub(super) event_type: i64,
    pub(super) route: i64,
}

/// A state of a delivery.
#[derive(Debug, Clone, Copy)]
pub(super) struct StateChange {
    pub(super) status: DeliveryStatus,
    pub(super) attempts: u32,
    pub(super) due_ms: Option<i64>,
    pub(super) at_ms: i64,
    /// Place of the STATE that set it; `None` for an attempt.
    pub(super) state: Option<i64>,
    /// Why it ended without success.
    pub(super) reason: Option<i64>,
}

impl Change {
    fn outcome(&mut self, head: &OutcomeHead, reason: Option<i64>, place: i64) {
        if head.is_attempt {
            self.attempts.push(place);
        }
        let opens = !head.is_attempt && !head.status.is_final();
        if !opens && self.state.is_some_and(|state| state.status.is_final()) {
            return;
        }
        self.is_reopened |= opens;
        self.state = Some(StateChange {
            status: head.status,
            attempts: head.attempts,
            due_ms: head.next_due_ms,
            at_ms: head.at_ms,
            state: (!head.is_attempt).then_some(place),
            reason,
        });
    }
}

/// Changes that go into the tables together.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) events: Vec<EventRow>,
    pub(super) deliveries: HashMap<DeliveryKey, Change, BuildHasherDefault<Mixed>>,
    /// Events whose last target never came: they were not accepted.
    pub(super) removed: Vec<EventId>,
    /// Id and time of commands.
    pub(super) commands: Vec<(u128, i64)>,
    /// Endpoint, time and place of conditions.
    pub(super) endpoint_states: Vec<(EndpointId, i64, i64)>,
    /// Records folded in.
    pub(super) records: u64,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            events: Vec::new(),
            deliveries: HashMap::default(),
            removed: Vec::new(),
            commands: Vec::new(),
            endpoint_states: Vec::new(),
            records: 0,
        }
    }

    /// Rows that are waiting to be written.
    pub(super) fn rows(&self) -> usize {
        self.events.len() + self.deliveries.len() + self.commands.len() + self.endpoint_states.len()
    }

    fn remove(&mut self, event: EventId) {
        self.events.retain(|row| row.id != event);
        self.deliveries.retain(|key, _| key.event != event);
        self.removed.push(event);
    }
}

/// An event whose last TARGETS record has not come yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unfinished {
    pub(super) event: EventId,
    pub(super) project: i64,
    pub(super) event_type: i64,
    /// The next ordinal.
    pub(super) next: u32,
    /// The command that is carried out when the event is whole.
    pub(super) command: Option<u128>,
}

/// Folds groups into batches.
#[derive(Debug, Default)]
pub(super) struct Fold {
    unfinished: Option<Unfinished>,
}

impl Fold {
    /// Goes on where the tables end.
    pub(super) fn resume(unfinished: Option<Unfinished>) -> Self {
        Self { unfinished }
    }

    /// The event whose rows are not all there.
    pub(super) fn open(&self) -> Option<EventId> {
        self.unfinished.map(|unfinished| unfinished.event)
    }

    /// Folds a whole group in.
    pub(super) fn group(
        &mut self,
        (connection, names): (&Connection, &mut Names),
        group: &[u8],
        found: &FoundGroup,
        batch: &mut Batch,
    ) -> Result<(), IndexError> {
        for_each_member(group, |offset, bytes, _| {
            let position = Position {
                offset: found.start.offset + offset as u64,
                ..found.start
            };
            let record = RawRecord::trust(bytes).map_err(corrupt(position))?;
            batch.records += 1;
            self.record((connection, &mut *names), &record, position, batch)
        })
    }

    fn record(
        &mut self,
        names: (&Connection, &mut Names),
        record: &RawRecord<'_>,
        position: Position,
        batch: &mut Batch,
    ) -> Result<(), IndexError> {
        if record.prefix.kind != kind::TARGETS
            && let Some(unfinished) = self.unfinished.take()
        {
            batch.remove(unfinished.event);
        }
        match record.prefix.kind {
            kind::ACCEPT => self.accept(names, record, position, batch),
            kind::TARGETS => self.targets(names, record, position, batch),
            kind::ATTEMPT | kind::STATE => outcome(names, record, position, batch),
            kind::DUPLICATE | kind::COMMAND | kind::STARTED | kind::ENDPOINT_STATE => {
                let entry = Entry::decode(record, PayloadCheck::Intact, position, &Bytes::new());
                small(names, entry.map_err(corrupt(position))?, position, batch)
            }
            _ => Ok(()), // what only recovery needs, or a later version
        }
    }

    fn accept(
        &mut self,
        (connection, names): (&Connection, &mut Names),
        record: &RawRecord<'_>,
        position: Position,
        batch: &mut Batch,
    ) -> Result<(), IndexError> {
        let head = AcceptHead::decode(record).map_err(corrupt(position))?;
        let project = names.project(connection, head.project)?;
        let event_type = names.event_type(connection, head.project, head.event_type)?;
        let owner = match &head.audience {
            Audience::Owner(owner) => Some(names.owner(connection, head.project, owner)?),
            Audience::Source(_)
            | Audience::Endpoint(_)
            | Audience::Broadcast
            | Audience::Dynamic(_) => None,
        };
        let expires_ms = head.id.unix_ms().saturating_add(head.window_ms);
        batch.events.push(EventRow {
            id: head.id,
            project,
            event_type,
            source: source(connection, names, head.origin)?,
            owner,
            idempotency: head
                .idempotency
                .map(|(key, _)| (first_word(key), expires_ms)),
            first: head.decision.replay.as_ref().map(|replay| replay.of),
            replay: head.decision.replay.as_ref().map(|replay| replay.number),
            place: packed(position),
        });
        let mut event = Unfinished {
            event: head.id,
            project,
            event_type,
            next: 0,
            command: head.decision.replay.map(|replay| replay.command.bits()),
        };
        event.add((connection, names), &head.targets, batch)?;
        match head.is_end {
            true => event.end(batch),
            false => self.unfinished = Some(event),
        }
        Ok(())
    }

    fn targets(
        &mut self,
        (connection, names): (&Connection, &mut Names),
        record: &RawRecord<'_>,
        position: Position,
        batch: &mut Batch,
    ) -> Result<(), IndexError> {
        let Some(unfinished) = &mut self.unfinished else {
            return Ok(()); // of an event that was given up
        };
        let first = record.prefix.ordinal;
        if record.prefix.id != unfinished.event.raw() || first != unfinished.next {
            return Ok(());
        }
        let targets = targets_of(record).map_err(corrupt(position))?;
        unfinished.add((connection, names), &targets, batch)?;
        if record.prefix.has(flag::END)
            && let Some(event) = self.unfinished.take()
        {
            event.end(batch);
        }
        Ok(())
    }
}

impl Unfinished {
    /// It is whole.
    fn end(self, batch: &mut Batch) {
        let at_ms = self.event.unix_ms();
        batch.commands.extend(self.command.map(|id| (id, at_ms)));
    }

    /// Adds the rows of its next targets.
    fn add(
        &mut self,
        (connection, names): (&Connection, &mut Names),
        targets: &[Target],
        batch: &mut Batch,
    ) -> Result<(), IndexError> {
        for target in targets {
            let key = DeliveryKey {
                event: self.event,
                ordinal: self.next,
            };
            let made = Made {
                project: self.project,
                event_type: self.event_type,
                route: names.route(connection, target.endpoint, target.subscription)?,
            };
            batch.deliveries.insert(key, scheduled(key, made));
            self.next = self.next.saturating_add(1);
        }
        Ok(())
    }
}

/// A row as it is when its event was accepted.
fn scheduled(key: DeliveryKey, made: Made) -> Change {
    let at_ms = key.event.unix_ms();
    let state = StateChange {
        status: DeliveryStatus::Scheduled,
        attempts: 0,
        due_ms: Some(at_ms),
        at_ms,
        state: None,
        reason: None,
    };
    Change {
        made: Some(made),
        state: Some(state),
        ..Change::default()
    }
}

fn outcome(
    (connection, names): (&Connection, &mut Names),
    record: &RawRecord<'_>,
    position: Position,
    batch: &mut Batch,
) -> Result<(), IndexError> {
    let head = OutcomeHead::decode(record).map_err(corrupt(position))?;
    let code = match DeliveryFilter::UNDELIVERED.contains(&head.status) {
        true => reason_of(record).map_err(corrupt(position))?,
        false => None, // what a STATE says there is who opened it again
    };
    let reason = code.map(|code| names.reason(connection, code));
    let change = batch.deliveries.entry(head.key).or_default();
    change.outcome(&head, reason.transpose()?, packed(position));
    Ok(())
}

/// The kinds that are rare.
fn small(
    (connection, names): (&Connection, &mut Names),
    entry: Entry,
    position: Position,
    batch: &mut Batch,
) -> Result<(), IndexError> {
    match entry {
        Entry::Duplicate(record) => batch.events.push(EventRow {
            id: record.id,
            project: names.project(connection, record.project)?,
            event_type: names.event_type(connection, record.project, &record.event_type)?,
            source: source(connection, names, record.origin)?,
            owner: None,
            idempotency: Some((
                first_word(IdemKey::new(record.project, &record.idempotency_key)),
                i64::MIN, // the first event remembers the key, its repeats do not
            )),
            first: Some(record.first),
            replay: None,
            place: packed(position),
        }),
        Entry::Command(record) => batch.commands.push((record.id, record.at_ms)),
        Entry::EndpointState(record) => {
            let state = (record.endpoint, record.at_ms, packed(position));
            batch.endpoint_states.push(state);
        }
        Entry::Started(record) => {
            let change = batch.deliveries.entry(record.key).or_default();
            let is_final = change.state.is_some_and(|state| state.status.is_final());
            if !is_final {
                change.state = Some(StateChange {
                    status: DeliveryStatus::Processing,
                    attempts: record.number.saturating_sub(1),
                    due_ms: None,
                    at_ms: record.at_ms,
                    state: None,
                    reason: None,
                });
            }
        }
        _ => {}
    }
    Ok(())
}

fn source(
    connection: &Connection,
    names: &mut Names,
    origin: Origin,
) -> Result<Option<i64>, IndexError> {
    match origin {
        Origin::Api => Ok(None),
        Origin::Source(source) => names.source(connection, source).map(Some),
    }
}

/// What the table keeps of a key's hash.
pub(super) fn first_word(key: IdemKey) -> i64 {
    key.0[0].cast_signed()
}

fn corrupt(position: Position) -> impl Fn(Malformed) -> IndexError {
    move |what| ScanError::Corrupt { position, what }.into()
}
