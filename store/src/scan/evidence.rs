//! What the rest of a log says about a place that cannot be read.

use std::path::Path;

use memchr::memmem;

use super::ScanError;
use super::window::{WINDOW_BYTES, Window};
use crate::codec::{GROUP_BYTES, GroupHead, MARK, MARK_AT, Seed};
use crate::dir::FileError;
use crate::event::Position;
use crate::segment::HEADER_BYTES;

/// The segments of a log, to be searched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Evidence<'a> {
    pub(super) dir: &'a Path,
    pub(super) salt: u64,
}

impl Evidence<'_> {
    /// Whether a GROUP behind `from` says that `group` was synced.
    pub(super) fn is_synced(&self, from: Position, group: u64) -> Result<bool, ScanError> {
        let mut is_synced = false;
        self.each_head(from, |_, head| {
            is_synced = head.synced_through >= group;
            !is_synced
        })?;
        Ok(is_synced)
    }

    /// Whether the segment of `from` has a GROUP record from there on.
    pub(super) fn has_heads_in_segment(&self, from: Position) -> Result<bool, ScanError> {
        let mut first = None;
        self.each_head(from, |position, _| {
            first = Some(position);
            false
        })?;
        Ok(first.is_some_and(|position| position.segment == from.segment))
    }

    /// Calls `look` with every GROUP record from `from` on, wherever it stands, until it
    /// answers `false`.
    pub(super) fn each_head(
        &self,
        from: Position,
        mut look: impl FnMut(Position, &GroupHead) -> bool,
    ) -> Result<(), ScanError> {
        let mut at = from;
        while let Some(mut window) = Window::open(self.dir, at.segment)? {
            let seed = Seed::new(self.salt, at.segment);
            while let Some(offset) = next_head(&mut window, at.offset)? {
                let head = GroupHead::decode(window.get(offset, GROUP_BYTES)?, seed);
                if let Ok(head) = head
                    && !look(Position { offset, ..at }, &head)
                {
                    return Ok(());
                }
                at.offset = offset + 1;
            }
            at = Position {
                segment: at.segment.saturating_add(1),
                offset: HEADER_BYTES,
            };
        }
        Ok(())
    }

    /// Whether anything but zeros is behind a position of its segment.
    pub(super) fn has_bytes(&self, from: Position) -> Result<bool, ScanError> {
        let Some(mut window) = Window::open(self.dir, from.segment)? else {
            return Ok(false);
        };
        let mut offset = from.offset;
        while let Some(data) = window.next_data(offset) {
            let part = window.get(data, WINDOW_BYTES)?;
            if part.iter().any(|byte| *byte != 0) {
                return Ok(true);
            }
            if part.is_empty() {
                break;
            }
            offset = data + part.len() as u64;
        }
        Ok(false)
    }
}

/// Where the next thing that looks like a GROUP record starts, from `offset` on.
fn next_head(window: &mut Window, mut offset: u64) -> Result<Option<u64>, FileError> {
    while let Some(data) = window.next_data(offset) {
        // A mark may begin just before the data found: holes end at block boundaries.
        let start = data.saturating_sub(GROUP_BYTES as u64).max(offset);
        let part = window.get(start, WINDOW_BYTES)?;
        let marks = part.get(MARK_AT..).unwrap_or_default();
        if let Some(found) = memmem::find(marks, &MARK) {
            return Ok(Some(start + found as u64));
        }
        if part.len() < WINDOW_BYTES {
            return Ok(None);
        }
        // The last bytes may hold the beginning of a mark.
        offset = start + (part.len() - MARK_AT - MARK.len()) as u64;
    }
    Ok(None)
}
