//! The event log: the one durable truth about events and their deliveries (stage 4, store).
//!
//! Owns that an event exists, what became of each of its deliveries, and when a reply may be
//! sent: after the `fdatasync` of the group its records are in. [`LocalLog`] appends to
//! preallocated segments; one thread writes, and a group of records costs one write and one
//! sync. Recovery reads the segments back, and [`Tail`] reads them for everybody else.
//!
//! Does not know when something is due or who sends it: that is the queue's. Does not know
//! what a header or a body means.
//!
//! # The promise
//! 1. An accepted event and all its deliveries are in a segment whose sync returned success. It
//!    survives `kill -9` and power loss.
//! 2. What happens after is recorded without waiting. Losing it means that a delivery is made
//!    again: at least once, with the same id.
//! 3. An event may exist without its sender having seen the reply. A repeat with the same
//!    idempotency key then gets the id of the first.
//! 4. After an error of write or sync nothing is acknowledged any more, and no sync is tried
//!    again; see [`LocalLog::fatal`].
//!
//! # On disk
//! ```text
//! LOCK           flock'ed by the writer
//! meta.json      format, node, epoch, salt of the checksums, key of the public ids (0600)
//! 00000001.log   segments: a header of 64 bytes, then groups of records
//! ```
//! The current segment and a spare are allocated in full, so an empty log takes twice
//! [`Options::segment_bytes`]. Small installations set less.

pub mod audit;
mod catalog;
mod clock;
mod codec;
mod dir;
mod error;
mod event;
mod index;
mod intern;
mod log;
mod options;
mod packed;
mod queue;
mod read;
mod record;
mod recover;
mod scan;
mod segment;
mod spare;
mod stats;
mod tail;
#[cfg(test)]
mod tests;
mod writer;

pub use self::clock::{Clock, HeldClock, SystemClock};
pub use self::codec::{Entry, Located, Malformed, PayloadState};
pub use self::dir::{Damage, FileError, MetaError};
pub use self::error::{AcceptError, CloseError, FatalError, LogClosed, OpenError, TogetherError};
pub use self::event::{Position, StoredEvent, Targets};
pub use self::index::{
    CONDITIONS_MAX, Count, DeliveryFilter, DeliveryItem, DeliveryState, Direction, EventContent,
    EventFilter, EventItem, Index, IndexError, IndexStats, Kin, LIST_WAIT, OwnerFilter, Page,
    PageRequest, Search, Sort, Synced,
};
pub use self::intern::{Interned, Interner};
pub use self::log::{Accepted, AcceptedSink, LocalLog};
pub use self::options::{Options, Sync};
pub use self::packed::{PackedKey, PackedPosition, Route};
pub use self::read::ReadError;
pub use self::record::{
    AttemptRecord, BarrierRecord, CommandRecord, ConditionClass, DeliveryStatus, DuplicateRecord,
    EndpointCondition, EndpointStateRecord, EraseRecord, Record, StartedRecord, StateRecord,
};
pub use self::recover::{
    Batch, Gap, Lost, OpenDeliveries, Pending, Recovered, TornTail, Unsettled,
};
pub use self::scan::ScanError;
pub use self::stats::{SYNC_BUCKETS_US, Stats};
pub use self::tail::{Check, Tail, TailError};
