//! What the index needs of the log that it follows.

use outrider_webhook::event::Target;

use super::LocalLog;
use crate::codec::{Chain, Entry};
use crate::event::Position;
use crate::index::WeakIndex;
use crate::read::ReadError;
use crate::scan::{ScanError, Scanner};

impl LocalLog {
    /// From now on older idempotency keys are asked of this index.
    pub(crate) fn attach(&self, index: WeakIndex) {
        if self.inner.index.set(index).is_err() {
            tracing::error!("a log has one index");
        }
    }

    /// Reads any record back, of an event without the targets that follow it. Blocks.
    pub(crate) fn entry_head(&self, position: Position) -> Result<Entry, ReadError> {
        self.inner.reader.entry_head(position)
    }

    /// Reads one target of an event back. Blocks.
    pub(crate) fn target(&self, position: Position, ordinal: u32) -> Result<Target, ReadError> {
        self.inner.reader.target(position, ordinal)
    }

    /// A scan of the segments from `from` on; the caller keeps to what is durable.
    pub(crate) fn scanner(&self, from: Position) -> Result<Scanner, ScanError> {
        let meta = &self.inner.meta.0;
        Scanner::new(
            &self.inner.shared.dir,
            meta.salt,
            from,
            &meta.salvaged,
            false,
        )
    }

    /// What tells this log from every other one.
    pub(crate) fn identity(&self) -> u64 {
        self.inner.meta.0.salt
    }

    /// Where the log ended when it was opened, and its chain there.
    pub(crate) fn opened_at(&self) -> (Position, Chain) {
        self.inner.opened_at
    }

    /// The oldest segment there is.
    pub(crate) fn first_segment(&self) -> u32 {
        let catalog = self.inner.shared.catalog();
        catalog.segments.keys().next().copied().unwrap_or(1)
    }

    /// From now on retention keeps everything there is; the oldest segment.
    pub(crate) fn keep_all(&self) -> u32 {
        let mut catalog = self.inner.shared.catalog();
        let first = catalog.segments.keys().next().copied().unwrap_or(1);
        catalog.kept_from = Some(first);
        first
    }

    /// From now on retention keeps this segment and all later ones.
    pub(crate) fn keep_from(&self, segment: u32) {
        self.inner.shared.catalog().kept_from = Some(segment);
    }

    /// Bytes of the log between two places; whole segments in between count by their size.
    pub(crate) fn bytes_between(&self, from: Position, to: Position) -> u64 {
        if from.segment == to.segment {
            return to.offset.saturating_sub(from.offset);
        }
        let catalog = self.inner.shared.catalog();
        let between = catalog.segments.range(from.segment..to.segment);
        let whole: u64 = between.map(|(_, facts)| facts.bytes).sum();
        (whole + to.offset).saturating_sub(from.offset)
    }

    /// The log's clock, Unix milliseconds.
    pub(crate) fn now_ms(&self) -> i64 {
        self.inner.clock.now_ms()
    }
}
