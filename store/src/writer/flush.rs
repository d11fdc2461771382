//! Making groups durable, and telling who waits.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::op::Stop;
use super::{Change, Writer};
use crate::codec::{self, Seed};
use crate::dir::{self, FileError};
use crate::event::Position;
use crate::options::Sync;
use crate::record::BarrierRecord;
use crate::segment::{HEADER_BYTES, SegmentHeader, salt_print};
use crate::spare::Taken;

impl Writer {
    /// Notes what the group changes in a segment.
    pub(super) fn note(&mut self, change: Change) {
        let (segment, by) = match change {
            Change::None => return,
            Change::Opened(segment) => (segment, 1),
            Change::Closed(segment) => (segment, -1),
        };
        match self
            .changes
            .iter_mut()
            .rev()
            .find(|(number, _)| *number == segment)
        {
            Some((_, sum)) => *sum += by,
            None => self.changes.push((segment, by)),
        }
    }

    /// Makes the group durable and tells everybody.
    pub(super) fn flush(&mut self) -> Result<(), Stop> {
        if self.group.is_empty() {
            return Ok(());
        }
        let (len, count) = (self.group.len() as u64, self.group.count());
        let (at_ms, records) = (self.group.at_ms(), u64::from(count));
        self.chain = self.group.seal(self.synced_through, self.seed);
        self.segment
            .write_at(self.group.bytes(), self.offset)
            .map_err(|error| FileError::at("write", &self.path())(error))?;
        self.group.clear();
        self.offset += len;
        self.next_group += 1;
        match self.sync {
            Sync::Always => self.sync_segment()?,
            Sync::Interval(_) if self.needs_sync => self.sync_segment()?,
            Sync::Interval(_) => {
                self.unsynced_since.get_or_insert_with(Instant::now);
            }
            Sync::Off => self.publish_end(),
        }
        self.shared.counters.written_bytes.add(len);
        self.shared.counters.groups.add(1);
        self.shared.counters.records.add(records);
        self.publish(at_ms);
        self.tell();
        Ok(())
    }

    fn publish(&mut self, at_ms: i64) {
        let mut catalog = self.shared.catalog();
        catalog.touch(self.segment.number, at_ms);
        for (segment, by) in self.changes.drain(..) {
            catalog.change_open(segment, by);
        }
        drop(catalog);
        self.shared
            .counters
            .idempotency_keys
            .set(self.idempotency.len());
        self.shared.keys_gone(self.idempotency.gone_through());
        self.shared.counters.open_deliveries.set(self.open.len());
    }

    /// Figures and room come before the replies: who got his reply finds both in order.
    fn tell(&mut self) {
        let counters = &self.shared.counters;
        counters.duplicates.add(std::mem::take(&mut self.repeats));
        counters.accepted.add(self.events.len() as u64);
        if !self.events.is_empty() {
            self.sink.accepted(&mut self.events);
            self.events.clear();
        }
        self.needs_sync = false;
        self.shared.queue.release(std::mem::take(&mut self.cost));
        self.answers.tell();
        for synced in self.synced.drain(..) {
            // Who has gone needs no answer.
            let _ = synced.send(());
        }
    }

    /// Syncs what was written. A failure is final: it is never tried again, because the system
    /// may have dropped the pages and would report success.
    pub(super) fn sync_segment(&mut self) -> Result<(), Stop> {
        let started = Instant::now();
        self.segment
            .sync()
            .map_err(|error| FileError::at("sync", &self.path())(error))?;
        self.shared.counters.synced(started.elapsed());
        self.synced_through = self.next_group - 1;
        self.unsynced_since = None;
        self.publish_end();
        Ok(())
    }

    fn publish_end(&self) {
        let end = Position {
            segment: self.segment.number,
            offset: self.offset,
        };
        self.shared.durable.send_replace(end);
    }

    pub(super) fn sync_deadline(&self) -> Option<Instant> {
        match self.sync {
            Sync::Interval(every) => self
                .unsynced_since
                .and_then(|since| since.checked_add(every.max(Duration::from_millis(1)))),
            Sync::Always | Sync::Off => None,
        }
    }

    /// Goes on in the next segment. The group is empty.
    pub(super) fn roll(&mut self) -> Result<(), Stop> {
        if self.sync != Sync::Always {
            self.sync_segment()?; // so that only the current segment is ever unsynced
        }
        let next = match self.spares.take()? {
            Taken::NoSpace => return Err(Stop::NoSpace),
            Taken::Segment(next) => next,
        };
        self.segment = next;
        self.seed = Seed::new(self.salt, self.segment.number);
        self.offset = HEADER_BYTES;
        self.shared
            .add_segment(self.segment.number, self.segment.bytes);
        self.spares.want(self.next_header());
        Ok(())
    }

    fn next_header(&self) -> SegmentHeader {
        SegmentHeader {
            segment: self.segment.number + 1,
            node: self.node.get(),
            epoch: self.epoch,
            id_floor: self.last_id,
            created_ms: self.now_ms,
            salt_print: salt_print(self.salt),
        }
    }

    /// Ends the log in good order.
    pub(super) fn finish(&mut self) -> Result<(), Stop> {
        self.flush()?;
        if self.sync != Sync::Always {
            self.sync_segment()?; // so that the barrier's group proves all before it
        }
        let barrier = codec::barrier(&BarrierRecord {
            at_ms: self.now_ms,
            pending: self.open.len() as u64,
            last_id: self.last_id,
            watermark: Position {
                segment: self.segment.number,
                offset: self.offset,
            },
            is_close: true,
        });
        let placed = self.place(&barrier, 0).map(|_| ());
        if matches!(placed, Err(Stop::Fatal(_))) {
            return placed;
        }
        self.flush()?;
        self.sync_segment()?;
        placed
    }

    fn path(&self) -> PathBuf {
        dir::segment_path(&self.shared.dir, self.segment.number)
    }
}
