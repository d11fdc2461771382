//! The segments there are, for retention and figures. Shared between writer and readers.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::dir::{self, FileError};

/// A segment with records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SegmentFacts {
    /// Bytes allocated.
    pub(crate) bytes: u64,
    /// Time of its newest group, Unix milliseconds.
    pub(crate) newest_ms: i64,
    /// Open deliveries whose event is in it.
    pub(crate) open: u64,
}

/// All segments, by number. The last one is being written.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    pub(crate) segments: BTreeMap<u32, SegmentFacts>,
    /// Nothing may be deleted any more: the lock is given up.
    pub(crate) is_closed: bool,
    /// The segment the index reads, which has to stay with all later ones.
    pub(crate) kept_from: Option<u32>,
}

impl Catalog {
    /// Changes the number of open deliveries of a segment. One that is gone has none.
    pub(crate) fn change_open(&mut self, segment: u32, by: i64) {
        if let Some(facts) = self.segments.get_mut(&segment) {
            facts.open = facts.open.saturating_add_signed(by);
        }
    }

    /// Notes the newest group of a segment.
    pub(crate) fn touch(&mut self, segment: u32, at_ms: i64) {
        if let Some(facts) = self.segments.get_mut(&segment) {
            facts.newest_ms = facts.newest_ms.max(at_ms);
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.segments.values().map(|facts| facts.bytes).sum()
    }

    /// Deletes the oldest segments while they are older than `cut_ms` and nothing open needs
    /// them. Only from the front: a segment in the middle may hold the end of a delivery whose
    /// event stands before it.
    pub(crate) fn drop_expired(&mut self, dir: &Path, cut_ms: i64) -> Result<u64, FileError> {
        let mut dropped = 0;
        while !self.is_closed && self.segments.len() > 1 {
            let Some(first) = self.segments.first_entry() else {
                break;
            };
            let is_kept = self.kept_from.is_some_and(|from| *first.key() >= from);
            if is_kept || first.get().open > 0 || first.get().newest_ms >= cut_ms {
                break;
            }
            let path = dir::segment_path(dir, *first.key());
            fs::remove_file(&path).map_err(FileError::at("remove", &path))?;
            first.remove();
            dropped += 1;
        }
        if dropped > 0 {
            dir::sync_dir(dir)?;
        }
        Ok(dropped)
    }
}
