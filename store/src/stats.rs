//! Figures of the log, counted by the writer and read by anybody.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the sync duration buckets, microseconds. The last bucket is beyond them.
pub const SYNC_BUCKETS_US: [u64; 10] = [
    50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 50_000, 200_000,
];

/// Figures at one moment. Counters run from the opening of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes of disk the segments take, preallocated ones included.
    pub bytes: u64,
    /// Segments with records.
    pub segments: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Groups written.
    pub groups: u64,
    /// Records written.
    pub records: u64,
    /// Events accepted.
    pub accepted: u64,
    /// Repeats of an idempotency key.
    pub duplicates: u64,
    /// Events refused because the queue was full.
    pub overloaded: u64,
    /// Events refused because the disk was full.
    pub disk_full: u64,
    /// Syncs done.
    pub syncs: u64,
    /// Time spent in syncs, microseconds.
    pub sync_us: u64,
    /// Syncs by duration: one more than [`SYNC_BUCKETS_US`] has bounds.
    pub sync_buckets: [u64; SYNC_BUCKETS_US.len() + 1],
    /// Records that wait for the writer.
    pub queue_records: u64,
    /// Bytes that wait for the writer.
    pub queue_bytes: u64,
    /// Free bytes of the volume.
    pub free_bytes: u64,
    /// Whether events are refused because of that: 0 or 1.
    pub is_disk_full: u64,
    /// Idempotency keys remembered.
    pub idempotency_keys: u64,
    /// Deliveries that are not final.
    pub open_deliveries: u64,
}

impl Stats {
    /// Name and value of every figure but the buckets. The names are a closed list.
    #[must_use]
    pub fn figures(&self) -> [(&'static str, u64); 17] {
        [
            ("bytes", self.bytes),
            ("segments", self.segments),
            ("written_bytes", self.written_bytes),
            ("groups", self.groups),
            ("records", self.records),
            ("accepted", self.accepted),
            ("duplicates", self.duplicates),
            ("overloaded", self.overloaded),
            ("disk_full", self.disk_full),
            ("syncs", self.syncs),
            ("sync_us", self.sync_us),
            ("queue_records", self.queue_records),
            ("queue_bytes", self.queue_bytes),
            ("free_bytes", self.free_bytes),
            ("is_disk_full", self.is_disk_full),
            ("idempotency_keys", self.idempotency_keys),
            ("open_deliveries", self.open_deliveries),
        ]
    }
}

/// A number that one thread writes and others read.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }
    pub(crate) fn set(&self, to: usize) {
        self.0.store(to as u64, Ordering::Relaxed);
    }
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is counted.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) written_bytes: Counter,
    pub(crate) groups: Counter,
    pub(crate) records: Counter,
    pub(crate) accepted: Counter,
    pub(crate) duplicates: Counter,
    pub(crate) overloaded: Counter,
    pub(crate) disk_full: Counter,
    pub(crate) syncs: Counter,
    pub(crate) sync_us: Counter,
    pub(crate) sync_buckets: [Counter; SYNC_BUCKETS_US.len() + 1],
    pub(crate) idempotency_keys: Counter,
    pub(crate) open_deliveries: Counter,
}

impl Counters {
    pub(crate) fn synced(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.syncs.add(1);
        self.sync_us.add(us);
        let bucket = SYNC_BUCKETS_US.partition_point(|bound| *bound < us);
        if let Some(counter) = self.sync_buckets.get(bucket) {
            counter.add(1);
        }
    }
}
