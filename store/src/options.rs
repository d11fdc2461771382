//! How a log is set up. Defaults stand next to the fields they fill.

use std::path::PathBuf;
use std::time::Duration;

use outrider_webhook::id::{EventId, NodeId};

use crate::index::Synced;

/// When a group of records counts as durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sync {
    /// After its `fdatasync`. A reply never precedes durability.
    #[default]
    Always,
    /// After its write; synced at least this often while there is something to sync. A power
    /// cut loses at most this much of what was acknowledged.
    Interval(Duration),
    /// After its write; synced when the log is closed. For tests.
    Off,
}

/// Settings of a [`crate::LocalLog`].
#[derive(Debug, Clone)]
pub struct Options {
    /// Directory of the log: `LOCK`, `meta.json` and the segments. Made when missing.
    pub dir: PathBuf,
    /// Bytes of one segment, allocated in full beforehand; at least [`Options::SEGMENT_BYTES_MIN`].
    /// Two segments exist from the start (the current one and a spare). Also the bound of one
    /// record: an event must fit in a segment.
    pub segment_bytes: u64,
    /// When a reply may be sent.
    pub sync: Sync,
    /// This node; must be the one the log was made by.
    pub node: NodeId,
    /// Records that may wait for the writer. An accept beyond that is refused as overloaded.
    pub queue_records: usize,
    /// Bytes that may wait for the writer, at most 4 GiB; one record larger than that passes
    /// alone.
    pub queue_bytes: usize,
    /// Free bytes of the volume below which events are refused. `None`: the smaller of 5 % of
    /// the volume and 2 GiB (RULINGS 10).
    pub free_bytes_min: Option<u64>,
    /// Idempotency keys remembered in memory; older ones are looked up in the index.
    pub idempotency_keys_max: usize,
    /// Start in spite of corruption: damaged groups are reported, skipped and remembered in
    /// `meta.json`. What they held is lost.
    pub salvage: bool,
    /// How far the log is known to have been synced; one that ends before is not opened. See
    /// [`crate::Index::synced`].
    pub synced: Option<Synced>,
    /// Faults to inject.
    #[cfg(test)]
    pub(crate) faults: crate::segment::Faults,
}

impl Options {
    /// Smallest size of a segment: 1 MiB.
    pub const SEGMENT_BYTES_MIN: u64 = 1 << 20;
    /// Default size of a segment: 256 MiB.
    pub const SEGMENT_BYTES: u64 = 256 << 20;

    /// Default of the idempotency keys remembered in memory.
    pub const IDEMPOTENCY_KEYS_MAX: usize = 2_000_000;

    /// Idempotency keys kept beyond the bound: what waits in the queue, and what the writer has
    /// taken out of it at once.
    pub(crate) const fn idempotency_slack(&self) -> usize {
        2 * self.queue_records + 1_024
    }

    /// The defaults, for a log in `dir` made by node 0.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            segment_bytes: Self::SEGMENT_BYTES,
            sync: Sync::default(),
            node: EventId::ZERO.node(),
            queue_records: 16_384,
            queue_bytes: 64 << 20,
            free_bytes_min: None,
            idempotency_keys_max: Self::IDEMPOTENCY_KEYS_MAX,
            salvage: false,
            synced: None,
            #[cfg(test)]
            faults: crate::segment::Faults::default(),
        }
    }
}
