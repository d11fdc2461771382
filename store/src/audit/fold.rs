//! What the records say about events and deliveries, folded in order and judged.

mod outcome;

use std::collections::BTreeSet;

use outrider_webhook::id::EventId;

use self::outcome::Outcome;
use super::known::{Found, Known};
use super::report::{About, Code, Findings, Records};
use crate::codec::{Entry, IdemKey, Located, PayloadState};
use crate::event::{Position, StoredEvent};
use crate::options::Options;
use crate::record::{BarrierRecord, DuplicateRecord};
use crate::writer::Idempotency;

/// Bytes of an idempotency key in memory, about.
const KEY_BYTES: usize = 100;

/// The state of the log as far as it was read.
#[derive(Debug)]
pub(super) struct Fold {
    pub(super) findings: Findings,
    pub(super) known: Known,
    pub(super) records: Records,
    pub(super) is_closed: bool,
    /// The newest id of an event or a repeat.
    last_id: EventId,
    unfinished: Option<Unfinished>,
    keys: Idempotency,
    /// Payloads of nothing but zeros that no ERASE has named yet.
    zeroed: BTreeSet<Position>,
    /// Deliveries that are open, as the writer counts them.
    open: u64,
    /// Stretches of the log that were missing so far.
    missing: u16,
    /// Whether some event of the log's life is not there.
    is_partial: bool,
    clock: Clock,
}

/// An event whose last TARGETS record has not come yet.
#[derive(Debug)]
struct Unfinished {
    id: EventId,
    position: Position,
    targets: u32,
    targets_total: u32,
    key: Option<(IdemKey, i64)>,
}

/// How far the writer's clock ever stepped back. A key is forgotten by that clock, and its event
/// knows only the time of its id, which never steps back.
#[derive(Debug, Default)]
struct Clock {
    newest_ms: i64,
    back_ms: i64,
}

impl Clock {
    fn reads(&mut self, at_ms: i64) {
        self.back_ms = self.back_ms.max(self.newest_ms.saturating_sub(at_ms));
        self.newest_ms = self.newest_ms.max(at_ms);
    }
}

impl Fold {
    pub(super) fn new(findings: Findings) -> Self {
        Self {
            findings,
            known: Known::default(),
            records: Records::default(),
            is_closed: false,
            last_id: EventId::ZERO,
            unfinished: None,
            // Not one more than the default bound: whether an older one was still known depends
            // on the settings.
            keys: Idempotency::new(Options::IDEMPOTENCY_KEYS_MAX, 0),
            zeroed: BTreeSet::new(),
            open: 0,
            missing: 0,
            is_partial: false,
            clock: Clock::default(),
        }
    }

    /// Groups are missing before the next one, before which `through` was the last id given out.
    pub(super) fn gap(&mut self, through: EventId) {
        self.is_partial = true;
        self.missing = self.missing.saturating_add(1);
        // The end of an event may be among what is missing.
        let after = match self.unfinished.take() {
            Some(event) => EventId::from_raw(event.id.raw() - 1).unwrap_or(EventId::ZERO),
            None => self.last_id,
        };
        self.known.add_gap(after, through);
        self.last_id = self.last_id.max(through);
    }

    /// A group begins; `last_id` was given out before it.
    pub(super) fn group(&mut self, position: Position, at_ms: i64, last_id: EventId) {
        self.clock.reads(at_ms);
        if last_id != self.last_id {
            let says = format!(
                "the group says that {} was the last id given out before it, and it was {}",
                self.findings.uid(last_id),
                self.findings.uid(self.last_id)
            );
            self.add(Code::EventIds, position, About::Log, says);
            self.last_id = self.last_id.max(last_id);
        }
    }

    /// A record of the group.
    pub(super) fn record(&mut self, located: Located) {
        let at = located.position;
        if located.payload == PayloadState::Erased {
            self.zeroed.insert(at);
        }
        if !matches!(located.entry, Entry::Targets { .. }) {
            self.drop_unfinished();
        }
        self.is_closed = matches!(&located.entry, Entry::Barrier(barrier) if barrier.is_close);
        match located.entry {
            Entry::Accept {
                event,
                targets_total,
                is_end,
            } => self.accept(&event, targets_total, is_end),
            Entry::Targets {
                event,
                first,
                targets,
                is_end,
            } => self.targets(at, event, (first, targets.len()), is_end),
            Entry::Duplicate(record) => self.duplicate(at, &record),
            Entry::Attempt(record) => {
                self.records.attempts += 1;
                self.outcome(at, Outcome::from(&*record));
            }
            Entry::State(record) => self.outcome(at, Outcome::from(&record)),
            Entry::Started(record) => self.started(at, &record),
            Entry::Erase(record) => {
                for position in record.also.iter().chain([&record.position]) {
                    self.records.payloads_erased += u64::from(self.zeroed.remove(position));
                }
            }
            Entry::Barrier(record) => self.barrier(at, &record),
            Entry::Command(_) | Entry::EndpointState(_) | Entry::Ignored { .. } => {}
        }
    }

    /// A record that is whole and cannot be understood.
    pub(super) fn malformed(&mut self, at: Position, what: crate::Malformed) {
        self.drop_unfinished();
        let says = format!("the record is whole and cannot be understood: {what}");
        self.add(Code::Malformed, at, About::Log, says);
    }

    /// The log ends here.
    pub(super) fn finish(&mut self) {
        self.drop_unfinished();
        for position in std::mem::take(&mut self.zeroed) {
            let says = "the payload is nothing but zeros, and no ERASE explains it".into();
            self.add(Code::PayloadZeroed, position, About::Log, says);
        }
    }

    /// Bytes taken.
    pub(super) fn bytes(&self) -> usize {
        self.known.bytes() + self.keys.len() * KEY_BYTES
    }

    pub(super) fn add(&mut self, code: Code, at: Position, about: About, says: String) {
        self.findings.add(code, at, about, says);
    }

    fn drop_unfinished(&mut self) {
        self.records.events_unfinished += u64::from(self.unfinished.take().is_some());
    }

    /// Notes an id that was given out; whether it is newer than all others.
    fn is_next(&mut self, at: Position, id: EventId) -> bool {
        self.clock.newest_ms = self.clock.newest_ms.max(id.unix_ms());
        if id > self.last_id {
            self.last_id = id;
            return true;
        }
        let last = self.findings.uid(self.last_id);
        let says = format!("the id was given out before: {last} came before it");
        self.add(Code::EventIds, at, About::Event(id), says);
        false
    }

    fn accept(&mut self, event: &StoredEvent, targets_total: u32, is_end: bool) {
        if !self.is_next(event.position, event.id) {
            return;
        }
        let facts = &event.facts;
        let key = facts
            .idempotency_key
            .as_deref()
            .filter(|_| event.decision.replay.is_none())
            .map(|key| IdemKey::new(facts.project, key));
        let expires_ms = event
            .id
            .unix_ms()
            .saturating_add(facts.idempotency_window_ms);
        let event = Unfinished {
            id: event.id,
            position: event.position,
            targets: u32::try_from(event.targets.len()).unwrap_or(u32::MAX),
            targets_total,
            key: key.map(|key| (key, expires_ms)),
        };
        if is_end {
            self.commit(event);
        } else {
            self.unfinished = Some(event);
        }
    }

    fn targets(&mut self, at: Position, id: EventId, (first, count): (u32, usize), is_end: bool) {
        let Some(mut event) = self.unfinished.take() else {
            if self.known.find(id) != Found::Missing {
                let says = "targets of an event that is not right before them".into();
                self.add(Code::Targets, at, About::Event(id), says);
            }
            return;
        };
        if (id, first) != (event.id, event.targets) {
            let says = format!(
                "targets from {first} on follow an event with {} so far, {}",
                event.targets,
                self.findings.uid(event.id)
            );
            self.add(Code::Targets, at, About::Event(id), says);
            self.records.events_unfinished += 1;
            return;
        }
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        event.targets = event.targets.saturating_add(count);
        if is_end {
            self.commit(event);
        } else {
            self.unfinished = Some(event);
        }
    }

    /// The event is whole: it was accepted.
    fn commit(&mut self, event: Unfinished) {
        let (id, at) = (event.id, event.position);
        if event.targets != event.targets_total {
            let says = format!(
                "the event says it has {} targets, and {} are there",
                event.targets_total, event.targets
            );
            self.add(Code::Targets, at, About::Event(id), says);
        }
        self.records.events += 1;
        self.open += u64::from(event.targets);
        self.known.add(id, at, event.targets, self.missing);
        if let Some((key, expires_ms)) = event.key {
            self.key(id, at, key, expires_ms);
        }
    }

    /// The key of an event may not be one that its writer must have known.
    fn key(&mut self, id: EventId, at: Position, key: IdemKey, expires_ms: i64) {
        let now_ms = id.unix_ms();
        let surely_ms = now_ms.saturating_add(self.clock.back_ms);
        if let Some(first) = self.keys.first(key, surely_ms) {
            let first = self.findings.uid(first);
            let says = format!("its idempotency key is that of {first}, and its window not over");
            self.add(Code::RepeatedKey, at, About::Event(id), says);
        }
        self.keys.insert(key, id, expires_ms, now_ms);
    }

    fn duplicate(&mut self, at: Position, record: &DuplicateRecord) {
        self.records.duplicates += 1;
        self.is_next(at, record.id);
        match self.known.find(record.first) {
            Found::Event(_) => {}
            Found::Missing => self.records.unjudged += 1,
            Found::Never => {
                let first = self.findings.uid(record.first);
                let says = format!("it repeats {first}, which was never accepted");
                self.add(Code::DuplicateOfNothing, at, About::Event(record.id), says);
            }
        }
    }

    /// The writer counts as well, by other means.
    fn barrier(&mut self, at: Position, record: &BarrierRecord) {
        // Without all events, or behind what is wrong already, the counts may differ; and an erased
        // event that is opened again is none for the writer.
        let is_sure =
            !self.is_partial && self.findings.is_empty() && self.records.payloads_erased == 0;
        if is_sure && record.pending != self.open {
            let says = format!(
                "the writer closed with {} open deliveries, and {} are open",
                record.pending, self.open
            );
            self.add(Code::PendingCount, at, About::Log, says);
        }
    }
}
