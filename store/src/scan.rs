//! Reading segments group by group, and telling a torn tail from corruption (RULINGS 1).
//!
//! A group that cannot be read is the torn tail of the log unless a later GROUP says that it
//! was synced: then it is corruption, and nothing behind it is trusted without a salvage.

mod evidence;
mod members;
mod window;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use self::evidence::Evidence;
use self::members::check_members;
pub(crate) use self::members::for_each_member;
pub(crate) use self::window::Window;

use crate::codec::{GROUP_BYTES, GroupHead, Malformed, Seed};
use crate::dir::{Damage, FileError};
use crate::event::Position;
use crate::segment::{HEADER_BYTES, SegmentHeader, salt_print};

/// The log cannot be read any further.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// Bytes that were durable are not what was written.
    #[error("the log is corrupt at {position}: {what}; a start with salvage skips what is damaged")]
    Corrupt {
        /// Where.
        position: Position,
        /// What is wrong.
        what: Malformed,
    },
    /// A segment in the middle is gone.
    #[error("segment {0} is missing")]
    Gap(u32),
    /// The hash chain is broken: bytes were replaced by ones with right checksums.
    #[error("the hash chain is broken at {0}")]
    Chain(Position),
}

/// A whole group, checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FoundGroup {
    pub(crate) head: GroupHead,
    pub(crate) start: Position,
    /// Some payload in it is all zeros.
    pub(crate) has_zeroed: bool,
}

impl FoundGroup {
    pub(crate) fn bytes(&self) -> usize {
        GROUP_BYTES + self.head.bytes as usize
    }

    /// Where a member starts that is `offset` bytes behind the start of the group.
    pub(crate) fn member(&self, offset: usize) -> Position {
        Position {
            offset: self.start.offset + offset as u64,
            ..self.start
        }
    }

    /// Where the next group starts, unless a segment begins.
    pub(crate) fn end(&self) -> Position {
        Position {
            offset: self.start.offset + self.bytes() as u64,
            ..self.start
        }
    }
}

/// Where the log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) position: Position,
    /// There are bytes behind it, of a group that was never acknowledged.
    pub(crate) is_torn: bool,
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Step {
    Group(FoundGroup),
    End(End),
}

/// Numbers the next group must have.
#[derive(Debug, Clone, Copy)]
struct Expected {
    group: u64,
    seq: u64,
}

/// Goes through the groups of a log in order.
#[derive(Debug)]
pub(crate) struct Scanner {
    dir: PathBuf,
    salt: u64,
    at: Position,
    seed: Seed,
    window: Window,
    /// Unknown at the start of a log whose first segments are gone, and behind damage.
    expected: Option<Expected>,
    given_up: VecDeque<Damage>,
    is_salvage: bool,
    /// What this scan gave up.
    pub(crate) damage: Vec<Damage>,
    /// What was wrong where each of them starts.
    pub(crate) faults: Vec<Malformed>,
}

impl Scanner {
    /// A scan from `from`, which is the start of a group or of a segment's records. `given_up`:
    /// damage that an earlier salvage accepted.
    pub(crate) fn new(
        dir: &Path,
        salt: u64,
        from: Position,
        given_up: &[Damage],
        is_salvage: bool,
    ) -> Result<Self, ScanError> {
        let window = Window::open(dir, from.segment)?.ok_or(ScanError::Gap(from.segment))?;
        let mut given_up: Vec<Damage> = given_up
            .iter()
            .copied()
            .filter(|damage| damage.start >= from)
            .collect();
        given_up.sort_by_key(|damage| damage.start);
        let is_start = from
            == Position {
                segment: 1,
                offset: HEADER_BYTES,
            };
        let mut scanner = Self {
            dir: dir.to_owned(),
            salt,
            at: from,
            seed: Seed::new(salt, from.segment),
            window,
            expected: is_start.then_some(Expected { group: 1, seq: 1 }),
            given_up: given_up.into(),
            is_salvage,
            damage: Vec::new(),
            faults: Vec::new(),
        };
        scanner.check_salt()?;
        if scanner.group_at(from.offset)?.is_ok() {
            scanner.check_header()?;
        }
        Ok(scanner)
    }

    /// Where the next group is expected.
    pub(crate) fn position(&self) -> Position {
        self.at
    }

    /// Reads what was in memory again; the log has grown.
    pub(crate) fn forget(&mut self) {
        self.window.forget();
    }

    /// The next group, or the end.
    pub(crate) fn next(&mut self) -> Result<Step, ScanError> {
        loop {
            if let Some(damage) = self.given_up.pop_front_if(|damage| damage.start == self.at) {
                self.jump(damage.end)?;
                continue;
            }
            let fault = match self.group_at(self.at.offset)? {
                Ok(found) if !self.is_expected(&found.head) => Malformed("group number"),
                Ok(found) if found.has_zeroed && !self.is_synced(&found)? => {
                    Malformed("payload checksum")
                }
                Ok(found) => {
                    let seq = found.head.first_seq + u64::from(found.head.count);
                    self.expected = Some(Expected {
                        group: found.head.number + 1,
                        seq,
                    });
                    self.at = found.end();
                    return Ok(Step::Group(found));
                }
                Err(fault) => fault,
            };
            if self.enter_next_segment()? {
                continue;
            }
            if let Some(end) = self.judge(fault)? {
                return Ok(Step::End(end));
            }
        }
    }

    /// The bytes of a group that was just found.
    pub(crate) fn bytes(&mut self, found: &FoundGroup) -> Result<&[u8], ScanError> {
        Ok(self.window.get(found.start.offset, found.bytes())?)
    }

    /// The whole group at an offset of the current segment.
    fn group_at(&mut self, offset: u64) -> Result<Result<FoundGroup, Malformed>, ScanError> {
        let (seed, start) = (self.seed, Position { offset, ..self.at });
        let head = match GroupHead::decode(self.window.get(offset, GROUP_BYTES)?, seed) {
            Ok(head) => head,
            Err(fault) => return Ok(Err(fault)),
        };
        let bytes = self.window.get(offset, GROUP_BYTES + head.bytes as usize)?;
        let members = bytes.get(GROUP_BYTES..).unwrap_or_default();
        Ok(
            check_members(members, &head, seed).map(|has_zeroed| FoundGroup {
                head,
                start,
                has_zeroed,
            }),
        )
    }

    /// Whether a later group says that this one was synced; mostly the next one does.
    fn is_synced(&mut self, found: &FoundGroup) -> Result<bool, ScanError> {
        let (end, number) = (found.end(), found.head.number);
        match GroupHead::decode(self.window.get(end.offset, GROUP_BYTES)?, self.seed) {
            Ok(next) if next.synced_through >= number => Ok(true),
            _ => self.evidence().is_synced(end, number),
        }
    }

    fn evidence(&self) -> Evidence<'_> {
        Evidence {
            dir: &self.dir,
            salt: self.salt,
        }
    }

    fn is_expected(&self, head: &GroupHead) -> bool {
        self.expected
            .is_none_or(|expected| expected.group == head.number && expected.seq == head.first_seq)
    }

    /// Goes on in the next segment if its first group is the one that is expected. A reader that
    /// resumes at the end of a segment expects nothing: then it must be an end, with no group
    /// anywhere behind it.
    fn enter_next_segment(&mut self) -> Result<bool, ScanError> {
        if self.expected.is_none()
            && (self.at.offset == HEADER_BYTES || self.evidence().has_heads_in_segment(self.at)?)
        {
            return Ok(false);
        }
        let next = Position {
            segment: self.at.segment.saturating_add(1),
            offset: HEADER_BYTES,
        };
        let Some(window) = Window::open(&self.dir, next.segment)? else {
            return Ok(false);
        };
        let before = (
            self.at,
            self.seed,
            std::mem::replace(&mut self.window, window),
        );
        (self.at, self.seed) = (next, Seed::new(self.salt, next.segment));
        let is_next = match self.group_at(next.offset)? {
            Ok(found) => self.is_expected(&found.head),
            Err(_) => false,
        };
        if is_next {
            self.check_header()?;
        } else {
            (self.at, self.seed, self.window) = before;
        }
        Ok(is_next)
    }

    /// With another salt no record reads, and the whole log would pass for one that was never
    /// synced and is cut: refused before anything is touched, also by a salvage, which could
    /// read nothing either.
    fn check_salt(&mut self) -> Result<(), ScanError> {
        match SegmentHeader::decode(self.window.get(0, 64)?) {
            Ok(header) if header.salt_print != salt_print(self.salt) => Err(ScanError::Corrupt {
                position: Position {
                    segment: self.at.segment,
                    offset: 0,
                },
                what: Malformed("salt: meta.json does not belong to this log"),
            }),
            _ => Ok(()),
        }
    }

    fn check_header(&mut self) -> Result<(), ScanError> {
        self.check_salt()?;
        let segment = self.at.segment;
        let header = SegmentHeader::decode(self.window.get(0, 64)?);
        let fault = match header {
            Ok(header) if header.segment == segment => return Ok(()),
            Ok(_) => Malformed("segment number"),
            Err(fault) => fault,
        };
        if self.is_salvage {
            // Records carry their own checksums; nothing is lost with the header.
            return Ok(());
        }
        Err(ScanError::Corrupt {
            position: Position { segment, offset: 0 },
            what: fault,
        })
    }

    /// There is no readable group here: the end of the log, or corruption. `None`: went on
    /// behind the damage.
    fn judge(&mut self, fault: Malformed) -> Result<Option<End>, ScanError> {
        // Without an expectation any later group is proof: what is at the start of the oldest
        // segment was synced long ago.
        let group = self.expected.map_or(0, |expected| expected.group);
        let position = self.at;
        if !self.evidence().is_synced(position, group)? {
            return Ok(Some(End {
                position,
                is_torn: self.evidence().has_bytes(position)?,
            }));
        }
        if !self.is_salvage {
            return Err(ScanError::Corrupt {
                position,
                what: fault,
            });
        }
        let next = self.next_whole_group(position)?;
        let end = next.unwrap_or(position);
        tracing::error!(%position, %end, %fault, "damaged part of the log is given up");
        self.damage.push(Damage {
            start: position,
            end,
        });
        self.faults.push(fault);
        match next {
            None => Ok(Some(End {
                position,
                is_torn: true,
            })),
            Some(next) => {
                self.jump(next)?;
                Ok(None)
            }
        }
    }

    fn jump(&mut self, to: Position) -> Result<(), ScanError> {
        if to.segment != self.at.segment {
            self.window = Window::open(&self.dir, to.segment)?.ok_or(ScanError::Gap(to.segment))?;
            self.seed = Seed::new(self.salt, to.segment);
        }
        self.at = to;
        self.expected = None;
        Ok(())
    }

    /// The first group behind `from` that is whole and newer than what was read.
    fn next_whole_group(&self, from: Position) -> Result<Option<Position>, ScanError> {
        let newer_than = self.expected.map_or(0, |expected| expected.group);
        // One at a time, so that what is damaged in many places is still read in one pass.
        let mut next = Ok(None);
        self.evidence().each_head(from, |position, head| {
            if head.number <= newer_than {
                return true;
            }
            next = self.whole_group_at(position);
            matches!(next, Ok(None))
        })?;
        next
    }

    /// The position, when there is a whole group.
    fn whole_group_at(&self, position: Position) -> Result<Option<Position>, ScanError> {
        let mut probe = Self::probe(&self.dir, self.salt, position)?;
        let found = probe.group_at(position.offset)?;
        Ok(found.is_ok().then_some(position))
    }

    fn probe(dir: &Path, salt: u64, at: Position) -> Result<Self, ScanError> {
        let window = Window::open(dir, at.segment)?.ok_or(ScanError::Gap(at.segment))?;
        Ok(Self {
            dir: dir.to_owned(),
            salt,
            at,
            seed: Seed::new(salt, at.segment),
            window,
            expected: None,
            given_up: VecDeque::new(),
            is_salvage: true,
            damage: Vec::new(),
            faults: Vec::new(),
        })
    }
}
