//! What an audit has to say.

use outrider_webhook::id::{DeliveryKey, EventId, Uid, UidCodec};
use serde::Serialize;

use crate::event::Position;

/// What an audit found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Segments that are there, spares included.
    pub segments: u64,
    /// The first and the last of them.
    pub segment_range: Option<(u32, u32)>,
    /// Groups before the first one that is there: retention dropped their segments.
    pub groups_before: u64,
    /// Groups read.
    pub groups: u64,
    /// Bytes of these groups.
    pub bytes: u64,
    /// Where the log ends.
    pub end: Option<Position>,
    /// Where bytes of a group begin that is not whole, and that no later one calls synced. The
    /// next start cuts them off: nothing in them was acknowledged.
    pub torn_tail: Option<Position>,
    /// Whether the last record says that the log was closed in good order.
    pub is_closed: bool,
    /// What an earlier salvage gave up. Told, and no violation: somebody accepted it.
    pub given_up: Vec<Stretch>,
    /// The records, counted.
    pub records: Records,
    /// What became of the deliveries.
    pub deliveries: Fates,
    /// The first event of the log.
    pub first_event: Option<EventPoint>,
    /// The last event of the log.
    pub last_event: Option<EventPoint>,
    /// Bytes the audit took to remember events, deliveries and keys.
    pub memory_bytes: u64,
    /// What is wrong, the first [`Report::VIOLATIONS_MAX`] in the order they were found.
    pub violations: Vec<Violation>,
    /// How many more there are.
    pub violations_more: u64,
}

impl Report {
    /// Violations that are listed.
    pub const VIOLATIONS_MAX: usize = 100;

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty() && self.violations_more == 0
    }
}

/// Records by what they say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Records {
    /// Events that were accepted.
    pub events: u64,
    /// Events without their last TARGETS record: never accepted.
    pub events_unfinished: u64,
    /// Repeats of an idempotency key.
    pub duplicates: u64,
    /// Attempts.
    pub attempts: u64,
    /// Outcomes recorded behind the end of their delivery by a worker that had lost its lease.
    /// They change nothing.
    pub late: u64,
    /// Records about an event that is not there any more, or may have been in a missing stretch.
    /// They could not be judged.
    pub unjudged: u64,
    /// Payloads that were erased, each with the ERASE record that says so.
    pub payloads_erased: u64,
}

/// Deliveries by their one fate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Fates {
    /// All of them.
    pub total: u64,
    /// The receiver has it.
    pub delivered: u64,
    /// Dead letters that gave up.
    pub failed: u64,
    /// Dead letters that nobody wanted any more.
    pub discarded: u64,
    /// Open, and waiting for an attempt that was never made or was asked for.
    pub scheduled: u64,
    /// Open, and waiting for another attempt.
    pub retrying: u64,
}

impl Fates {
    /// Deliveries that are open.
    #[must_use]
    pub const fn pending(&self) -> u64 {
        self.scheduled + self.retrying
    }
}

/// An event and its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct EventPoint {
    /// Its uid.
    pub uid: Uid,
    /// When it was accepted, Unix milliseconds.
    pub at_ms: i64,
}

/// A part of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Stretch {
    /// Where it begins.
    pub start: Position,
    /// Where the log goes on.
    pub end: Position,
}

/// Something that a log written by this product never holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Which kind.
    pub code: Code,
    /// Where.
    pub position: Position,
    /// The event it is about.
    pub event: Option<Uid>,
    /// The delivery it is about.
    pub delivery: Option<Uid>,
    /// What is wrong, as a sentence without its end.
    pub says: String,
}

/// Kinds of violations: a closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// There is no segment at all.
    NoSegment,
    /// A segment in the middle is missing.
    SegmentMissing,
    /// The header of a segment is damaged or of another segment.
    SegmentHeader,
    /// A group that was synced cannot be read.
    Corrupt,
    /// So much is damaged that the rest was not read.
    TooDamaged,
    /// The hash chain is broken: something was replaced.
    Chain,
    /// A group claims what cannot be about what was synced.
    SyncedThrough,
    /// Event ids do not count on.
    EventIds,
    /// A whole record that cannot be understood.
    Malformed,
    /// A payload of zeros that no ERASE explains.
    PayloadZeroed,
    /// Targets that do not fit their event.
    Targets,
    /// A record for a delivery that was never accepted.
    NeverAccepted,
    /// A record that takes its event for one at another place.
    WrongPosition,
    /// A delivery ended twice, and was not opened in between.
    SecondFate,
    /// An attempt's number goes back or skips.
    AttemptNumber,
    /// A key was accepted twice within its window.
    RepeatedKey,
    /// A repeat of an event that is not there.
    DuplicateOfNothing,
    /// The writer counted other open deliveries than there are.
    PendingCount,
}

impl Code {
    /// The code as text; never changes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoSegment => "no_segment",
            Self::SegmentMissing => "segment_missing",
            Self::SegmentHeader => "segment_header",
            Self::Corrupt => "corrupt",
            Self::TooDamaged => "too_damaged",
            Self::Chain => "chain",
            Self::SyncedThrough => "synced_through",
            Self::EventIds => "event_ids",
            Self::Malformed => "malformed",
            Self::PayloadZeroed => "payload_zeroed",
            Self::Targets => "targets",
            Self::NeverAccepted => "never_accepted",
            Self::WrongPosition => "wrong_position",
            Self::SecondFate => "second_fate",
            Self::AttemptNumber => "attempt_number",
            Self::RepeatedKey => "repeated_key",
            Self::DuplicateOfNothing => "duplicate_of_nothing",
            Self::PendingCount => "pending_count",
        }
    }
}

/// What a violation is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum About {
    Log,
    Event(EventId),
    Delivery(DeliveryKey),
}

/// Collects violations, and names events as people know them.
#[derive(Debug)]
pub(super) struct Findings {
    uids: UidCodec,
    list: Vec<Violation>,
    more: u64,
}

impl Findings {
    pub(super) fn new(uids: UidCodec) -> Self {
        Self {
            uids,
            list: Vec::new(),
            more: 0,
        }
    }

    pub(super) fn add(&mut self, code: Code, position: Position, about: About, says: String) {
        if self.list.len() == Report::VIOLATIONS_MAX {
            self.more += 1;
            return;
        }
        let (event, delivery) = match about {
            About::Log => (None, None),
            About::Event(event) => (Some(self.uids.event(event)), None),
            About::Delivery(key) => (
                Some(self.uids.event(key.event)),
                Some(self.uids.delivery(key)),
            ),
        };
        self.list.push(Violation {
            code,
            position,
            event,
            delivery,
            says,
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn uid(&self, event: EventId) -> Uid {
        self.uids.event(event)
    }

    pub(super) fn point(&self, event: EventId) -> EventPoint {
        EventPoint {
            uid: self.uids.event(event),
            at_ms: event.unix_ms(),
        }
    }

    pub(super) fn into_parts(self) -> (Vec<Violation>, u64) {
        (self.list, self.more)
    }
}
