//! Encoding on the thread of the caller: everything but place, number and id.

use outrider_webhook::event::{Decision, EventFacts, Target};
use outrider_webhook::id::EventId;

use crate::codec::{self, Draft, IdemKey};
use crate::event::{Position, StoredEvent, Targets};
use crate::queue::Cost;
use crate::record::{DeliveryStatus, Record};
use crate::writer::{Effect, Recorded};

/// An event with its records, ready for the writer.
pub(super) struct Encoded {
    pub(super) draft: Draft,
    pub(super) more: Vec<Draft>,
    pub(super) event: StoredEvent,
    pub(super) key: Option<IdemKey>,
}

impl Encoded {
    pub(super) fn new(facts: EventFacts, targets: Vec<Target>, decision: Decision) -> Self {
        let key = facts
            .idempotency_key
            .as_deref()
            // A replay repeats what it is a replay of, and is no repeat.
            .filter(|_| decision.replay.is_none())
            .map(|key| IdemKey::new(facts.project, key));
        let draft = codec::accept(&facts, &targets, &decision, key);
        let more = codec::targets(&targets);
        let event = StoredEvent {
            id: EventId::ZERO,
            position: Position {
                segment: 0,
                offset: 0,
            },
            facts,
            targets: Targets::from(targets),
            revision: decision.revision,
            decision,
        };
        Self {
            draft,
            more,
            event,
            key,
        }
    }

    pub(super) fn cost(&self) -> Cost {
        let bytes: usize = self.more.iter().map(Draft::len).sum();
        Cost {
            records: 1 + self.more.len(),
            bytes: self.draft.len() + bytes,
        }
    }
}

/// The record as bytes, the event it is about, and what it does to a delivery.
pub(super) fn recorded(record: &Record) -> Recorded {
    let (draft, id, effect) = parts(record);
    Recorded { draft, id, effect }
}

fn parts(record: &Record) -> (Draft, i64, Option<Effect>) {
    match record {
        Record::Attempt(record) => {
            let effect = record
                .result
                .is_final()
                .then_some(Effect::Close(record.key));
            (codec::attempt(record), record.key.event.raw(), effect)
        }
        Record::State(record) => {
            let effect = match record.status {
                status if status.is_final() => Some(Effect::Close(record.key)),
                DeliveryStatus::Processing => None,
                _ => Some(Effect::Open(record.key, record.position.segment)),
            };
            (codec::state(record), record.key.event.raw(), effect)
        }
        Record::Started(record) => (codec::started(record), record.key.event.raw(), None),
        Record::EndpointState(record) => (codec::endpoint_state(record), 0, None),
        Record::Command(record) => (codec::command(record), 0, None),
        Record::Erase(record) => (codec::erase(record), record.event.raw(), None),
    }
}
