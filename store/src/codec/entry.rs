//! Records as readers of the log get them.

use bytes::Bytes;
use outrider_webhook::event::Target;
use outrider_webhook::id::EventId;

use super::{Malformed, PayloadCheck, RawRecord, event, flag, kind, outcome, plain};
use crate::event::{Position, StoredEvent};
use crate::record::{
    AttemptRecord, BarrierRecord, CommandRecord, DuplicateRecord, EndpointStateRecord, EraseRecord,
    StartedRecord, StateRecord,
};

/// How the payload of a record was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadState {
    /// As it was written.
    Intact,
    /// Overwritten with zeros; an ERASE record later in the log names it.
    Erased,
}

/// A record with its place in the log.
#[derive(Debug)]
pub struct Located {
    /// Where it starts.
    pub position: Position,
    /// Its number, without gaps over the log.
    pub seq: u64,
    /// Number of its group.
    pub group: u64,
    /// How its payload was found.
    pub payload: PayloadState,
    /// What it says.
    pub entry: Entry,
}

/// What a record says.
#[derive(Debug)]
pub enum Entry {
    /// An event with its first targets. Accepted only when `is_end`, or when the TARGETS
    /// records right behind it come to an end.
    Accept {
        /// The event.
        event: Box<StoredEvent>,
        /// How many targets it has in all.
        targets_total: u32,
        /// Whether these are all.
        is_end: bool,
    },
    /// Further targets of the event before it.
    Targets {
        /// The event.
        event: EventId,
        /// Ordinal of the first one.
        first: u32,
        /// The targets.
        targets: Vec<Target>,
        /// Whether these are the last.
        is_end: bool,
    },
    /// A repeat of an event.
    Duplicate(DuplicateRecord),
    /// An attempt.
    Attempt(Box<AttemptRecord>),
    /// A state without an attempt.
    State(StateRecord),
    /// An at-most-once attempt begins.
    Started(StartedRecord),
    /// A command.
    Command(CommandRecord),
    /// An endpoint's condition.
    EndpointState(EndpointStateRecord),
    /// An erasure.
    Erase(EraseRecord),
    /// A point reached in good order.
    Barrier(BarrierRecord),
    /// A kind of a later version that may be skipped.
    Ignored {
        /// The kind.
        kind: u8,
    },
}

impl Entry {
    /// Decodes a checked record. `whole` is the memory it lies in.
    pub(crate) fn decode(
        record: &RawRecord<'_>,
        check: PayloadCheck,
        position: Position,
        whole: &Bytes,
    ) -> Result<Self, Malformed> {
        if record.prefix.is_reserved() {
            return Err(Malformed("flags: written by a later version"));
        }
        Ok(match record.prefix.kind {
            kind::ACCEPT => {
                let (event, targets_total) = event::stored_event(record, check, position, whole)?;
                Self::Accept {
                    event: Box::new(event),
                    targets_total,
                    is_end: record.prefix.has(flag::END),
                }
            }
            kind::TARGETS => Self::Targets {
                event: event::event_id(record.prefix.id)?,
                first: record.prefix.ordinal,
                targets: event::targets_of(record)?,
                is_end: record.prefix.has(flag::END),
            },
            kind::DUPLICATE => Self::Duplicate(plain::decode_duplicate(record)?),
            kind::ATTEMPT => {
                Self::Attempt(Box::new(outcome::decode_attempt(record, check, whole)?))
            }
            kind::STATE => Self::State(outcome::decode_state(record)?),
            kind::STARTED => Self::Started(plain::decode_started(record)?),
            kind::COMMAND => Self::Command(plain::decode_command(record, check, whole)?),
            kind::ENDPOINT_STATE => Self::EndpointState(plain::decode_endpoint_state(record)?),
            kind::ERASE => Self::Erase(plain::decode_erase(record)?),
            kind::BARRIER => Self::Barrier(plain::decode_barrier(record)?),
            kind if record.prefix.has(flag::IGNORABLE) => Self::Ignored { kind },
            _ => return Err(Malformed("kind: written by a later version")),
        })
    }
}
