//! What happens to deliveries and endpoints after an event was accepted, as the log keeps it.

use std::net::SocketAddr;

use bytes::Bytes;
use outrider_webhook::event::{HeaderList, Origin};
use outrider_webhook::id::{DeliveryKey, EndpointId, EventId, ProjectId};
use serde::{Deserialize, Serialize};

use crate::event::Position;

/// State of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// Waits for its first attempt, or for one a person asked for.
    Scheduled,
    /// An attempt is under way.
    Processing,
    /// Waits for another attempt.
    Retry,
    /// The receiver has it.
    Success,
    /// Gave up: a dead letter.
    Failure,
    /// Ended without delivery because nobody wants it any more.
    Discarded,
}

impl DeliveryStatus {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Scheduled,
        Self::Processing,
        Self::Retry,
        Self::Success,
        Self::Failure,
        Self::Discarded,
    ];

    /// Whether nothing more happens unless a person asks.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Success | Self::Failure | Self::Discarded)
    }

    /// Number in the log; never changes.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Scheduled => 1,
            Self::Processing => 2,
            Self::Retry => 3,
            Self::Success => 4,
            Self::Failure => 5,
            Self::Discarded => 6,
        }
    }

    /// The status of a number in the log.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Scheduled,
            2 => Self::Processing,
            3 => Self::Retry,
            4 => Self::Success,
            5 => Self::Failure,
            6 => Self::Discarded,
            _ => return None,
        })
    }
}

/// One HTTP request of a delivery, with its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRecord {
    /// The delivery.
    pub key: DeliveryKey,
    /// Where the ACCEPT record of its event is.
    pub position: Position,
    /// Number of the attempt, from 1.
    pub number: u32,
    /// When it began, Unix milliseconds.
    pub started_ms: i64,
    /// How long it took in all, microseconds.
    pub duration_us: u64,
    /// HTTP status, when there was an answer.
    pub status: Option<u16>,
    /// Stable code of the failure, when there was none.
    pub error: Option<Box<str>>,
    /// Our address.
    pub source: Option<SocketAddr>,
    /// The receiver's address.
    pub destination: Option<SocketAddr>,
    /// Name to addresses, microseconds.
    pub dns_us: u64,
    /// TCP connect, microseconds.
    pub connect_us: u64,
    /// TLS handshake, microseconds.
    pub tls_us: u64,
    /// Request sent to head of the answer, microseconds.
    pub first_byte_us: u64,
    /// Bits: the constants, and in 8 to 29 `outrider_webhook::retry::ResponseFlags`.
    pub flags: u32,
    /// Configuration revision it was made under.
    pub revision: u64,
    /// Headers that were sent; at most [`AttemptRecord::HEADER_BYTES_MAX`] are kept.
    pub request_headers: HeaderList,
    /// Headers of the answer; at most [`AttemptRecord::HEADER_BYTES_MAX`] are kept.
    pub response_headers: HeaderList,
    /// The beginning of the answer's body; at most [`AttemptRecord::EXCERPT_BYTES_MAX`] are kept.
    pub excerpt: Bytes,
    /// State of the delivery after it.
    pub result: DeliveryStatus,
    /// When the delivery is due again, Unix milliseconds; `None` when the state is final.
    pub next_due_ms: Option<i64>,
    /// Stable code of why the delivery ended.
    pub reason: Option<Box<str>>,
}

impl AttemptRecord {
    /// Bytes of an answer's body kept at most: 50 KiB (RULINGS E).
    pub const EXCERPT_BYTES_MAX: usize = 50 << 10;
    /// Bytes of names and values kept of each header list: 64 KiB.
    pub const HEADER_BYTES_MAX: usize = 64 << 10;
    /// Flag: the attempt does not count against the limit of attempts.
    pub const FREE: u32 = 1;
    /// Flag: the delivery leaves the line of its order key; the next one goes on.
    pub const PARKED: u32 = 1 << 1;
    /// Flag: the answer's body was longer than the excerpt. Set by the log for what it cuts.
    pub const EXCERPT_CUT: u32 = 1 << 31;
    /// Flag set by the log: headers beyond the bound were left out.
    pub const HEADERS_CUT: u32 = 1 << 30;
}

/// A change of a delivery's state without an attempt: cancel, pause, replay, discard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateRecord {
    /// The delivery.
    pub key: DeliveryKey,
    /// Where the ACCEPT record of its event is.
    pub position: Position,
    /// When, Unix milliseconds.
    pub at_ms: i64,
    /// The new state.
    pub status: DeliveryStatus,
    /// When the delivery is due, Unix milliseconds; `None` when the state is final.
    pub next_due_ms: Option<i64>,
    /// Attempts made so far: what a delivery that is opened again goes on from.
    pub attempts: u32,
    /// Stable code of the cause.
    pub reason: Option<Box<str>>,
}

/// An at-most-once attempt is about to send its first byte (RULINGS 27). Goes through
/// [`crate::LocalLog::record_synced`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartedRecord {
    /// The delivery.
    pub key: DeliveryKey,
    /// Where the ACCEPT record of its event is.
    pub position: Position,
    /// Number of the attempt, from 1.
    pub number: u32,
    /// When, Unix milliseconds.
    pub at_ms: i64,
    /// Configuration revision it is made under.
    pub revision: u64,
}

/// What the data plane decided about an endpoint by itself (RULINGS 16).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndpointCondition {
    /// Serves.
    Active,
    /// Gets nothing until somebody activates it.
    Disabled,
    /// Gets nothing until a time, because it asked for that.
    Held,
    /// Gets nothing until a time, because it keeps failing.
    BreakerOpen,
    /// Gets a probe.
    BreakerHalfOpen,
}

impl EndpointCondition {
    /// Number in the log; never changes.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Active => 1,
            Self::Disabled => 2,
            Self::Held => 3,
            Self::BreakerOpen => 4,
            Self::BreakerHalfOpen => 5,
        }
    }

    /// The condition of a number in the log.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Active,
            2 => Self::Disabled,
            3 => Self::Held,
            4 => Self::BreakerOpen,
            5 => Self::BreakerHalfOpen,
            _ => return None,
        })
    }
}

/// What a condition is about. The classes do not hide each other: recovery keeps the last
/// condition of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConditionClass {
    /// Whether it may receive at all.
    Disabling,
    /// What the receiver asked for.
    Hold,
    /// What its failures caused.
    Breaker,
}

impl EndpointCondition {
    /// What the condition is about. [`EndpointCondition::Active`] ends an open breaker: a hold
    /// ends by its time, and a disabling by the configuration's epoch.
    #[must_use]
    pub const fn class(self) -> ConditionClass {
        match self {
            Self::Disabled => ConditionClass::Disabling,
            Self::Held => ConditionClass::Hold,
            Self::Active | Self::BreakerOpen | Self::BreakerHalfOpen => ConditionClass::Breaker,
        }
    }
}

/// A change of an endpoint's condition that the data plane made by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointStateRecord {
    /// Project of the endpoint.
    pub project: ProjectId,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// When, Unix milliseconds.
    pub at_ms: i64,
    /// The new condition.
    pub condition: EndpointCondition,
    /// Until when it holds at most, Unix milliseconds.
    pub until_ms: Option<i64>,
    /// The configuration's activation epoch it was decided under.
    pub activation_epoch: u64,
    /// Stable code of the cause.
    pub reason: Option<Box<str>>,
    /// How often its breaker has opened in a row, this time included; 0 where that is not what
    /// the record is about, and where it was written before this was kept.
    pub trips: u32,
}

/// A command that was carried out, in the same group as its effect (RULINGS 15, 18).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandRecord {
    /// Id of the command; a repeat of it has no further effect.
    pub id: u128,
    /// When, Unix milliseconds.
    pub at_ms: i64,
    /// What was asked for: a stable word.
    pub verb: Box<str>,
    /// How far a batch has come.
    pub cursor: Option<EventId>,
    /// Deliveries touched so far.
    pub affected: u64,
    /// Whether nothing of it is left to do.
    pub is_done: bool,
    /// What belongs to it, opaque to the log.
    pub body: Bytes,
}

impl CommandRecord {
    /// Verb of a command that no person gave: an endpoint that events made is the control
    /// plane's business from here on. The id is the endpoint's.
    pub const ENDPOINT_SETTLED: &'static str = "endpoint_settled";
    /// Verb of a command that cancels the deliveries whose keys are its body. One that is not
    /// final then ends when nobody works on it any more, at the latest at the next start.
    pub const CANCEL: &'static str = "cancel";
    /// What the verbs of batches begin with. Each record of a batch has its whole state as its
    /// body, so that the newest one is enough.
    pub const BATCH: &'static str = "batch_";

    /// Whether it is a state of a batch.
    #[must_use]
    pub fn is_batch(&self) -> bool {
        self.verb.starts_with(Self::BATCH)
    }

    /// Keys as the body of [`CommandRecord::CANCEL`]: of each the event's id and the ordinal,
    /// little-endian, 12 bytes.
    #[must_use]
    pub fn body_of(keys: &[DeliveryKey]) -> Bytes {
        let bytes = keys.iter().flat_map(|key| {
            let event = key.event.raw().to_le_bytes();
            event.into_iter().chain(key.ordinal.to_le_bytes())
        });
        bytes.collect::<Vec<u8>>().into()
    }

    /// The keys in such a body.
    #[must_use]
    pub fn keys_of(body: &[u8]) -> Vec<DeliveryKey> {
        let (keys, _) = body.as_chunks::<12>();
        let key = |bytes: &[u8; 12]| {
            let [a, b, c, d, e, f, g, h, ordinal @ ..] = *bytes;
            let event = EventId::from_raw(i64::from_le_bytes([a, b, c, d, e, f, g, h]))?;
            let ordinal = u32::from_le_bytes(ordinal);
            Some(DeliveryKey { event, ordinal })
        };
        keys.iter().filter_map(key).collect()
    }
}

/// The payload of an event is to be erased (RULINGS 4). This is the order, which comes before
/// the deed: the log itself does not overwrite anything on seeing it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EraseRecord {
    /// The event.
    pub event: EventId,
    /// Where its ACCEPT record is.
    pub position: Position,
    /// Further records whose payload goes with it: attempts.
    pub also: Vec<Position>,
    /// When, Unix milliseconds.
    pub at_ms: i64,
    /// Stable code of the cause.
    pub reason: Option<Box<str>>,
}

/// A repeat of an event that carried the idempotency key of an earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DuplicateRecord {
    /// Id of the repeat.
    pub id: EventId,
    /// Id of the first event with the key.
    pub first: EventId,
    /// Project of both.
    pub project: ProjectId,
    /// Who the repeat came from.
    pub origin: Origin,
    /// Type the repeat gave.
    pub event_type: Box<str>,
    /// The key.
    pub idempotency_key: Box<str>,
    /// When it was received, Unix milliseconds.
    pub received_ms: i64,
    /// Configuration revision at the time.
    pub revision: u64,
}

/// A point the log reached in good order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BarrierRecord {
    /// When, Unix milliseconds.
    pub at_ms: i64,
    /// Deliveries that were open.
    pub pending: u64,
    /// Last event id that was given out.
    pub last_id: EventId,
    /// End of what was durable before it.
    pub watermark: Position,
    /// Whether the log was closed with it.
    pub is_close: bool,
}

/// Something that happened after accept; see [`crate::LocalLog::record`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// An attempt with its outcome.
    Attempt(AttemptRecord),
    /// A state without an attempt.
    State(StateRecord),
    /// An at-most-once attempt begins.
    Started(StartedRecord),
    /// An endpoint's condition.
    EndpointState(EndpointStateRecord),
    /// A command.
    Command(CommandRecord),
    /// An erasure.
    Erase(EraseRecord),
}
