//! From segments to groups: what is there, what is missing, and whether the groups are what was
//! written.

use std::path::Path;

use bytes::Bytes;
use outrider_webhook::id::UidCodec;

use super::Error;
use super::fold::Fold;
use super::report::{About, Code, Findings, Report, Stretch};
use crate::codec::{Chain, GroupHead};
use crate::dir::{Damage, FileError, Meta};
use crate::event::Position;
use crate::scan::{End, FoundGroup, ScanError, Scanner, Step, Window, for_each_member};
use crate::segment::{HEADER_BYTES, SegmentHeader};
use crate::tail::{check_chain, decode_member};

/// Damaged stretches after which the rest is not read: each costs a search for what is behind it.
const DAMAGE_MAX: usize = 1_000;

/// A pass over a log.
pub(super) struct Walk<'a> {
    dir: &'a Path,
    meta: &'a Meta,
    fold: Fold,
    report: Report,
    /// The group before.
    before: Option<GroupHead>,
    /// The chain behind it; `None` where something is missing.
    chain: Option<Chain>,
    /// The segment whose header was looked at last.
    segment: Option<u32>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(dir: &'a Path, meta: &'a Meta) -> Self {
        Self {
            dir,
            meta,
            fold: Fold::new(Findings::new(UidCodec::new(&meta.uid_key))),
            report: Report::default(),
            before: None,
            chain: None,
            segment: None,
        }
    }

    /// Reads the segments with these numbers, which are in order.
    pub(super) fn read(&mut self, numbers: &[u32]) -> Result<(), Error> {
        // The first start writes the meta file and then its first segment; a later one finds it.
        if numbers.is_empty() && self.meta.epoch > 1 {
            let says = format!(
                "there is none, and the log was opened {} times",
                self.meta.epoch
            );
            self.add(Code::NoSegment, start_of(1), says);
        }
        let mut runs = numbers
            .chunk_by(|before, after| before.checked_add(1) == Some(*after))
            .peekable();
        let mut end = None;
        while let Some([first, rest @ ..]) = runs.next() {
            if let Some(end) = end {
                self.missing(end, *first);
            }
            self.run(*first, runs.peek().is_none())?;
            end = Some(*rest.last().unwrap_or(first));
        }
        Ok(())
    }

    pub(super) fn finish(mut self, numbers: &[u32]) -> Report {
        self.fold.finish();
        let range = numbers.first().zip(numbers.last());
        let first_segment = numbers.first().copied().unwrap_or(0);
        let known = &self.fold.known;
        let point = |id| self.fold.findings.point(id);
        let mut report = Report {
            segments: numbers.len() as u64,
            segment_range: range.map(|(first, last)| (*first, *last)),
            is_closed: self.fold.is_closed,
            given_up: stretches(&self.meta.salvaged, first_segment),
            records: self.fold.records,
            deliveries: known.fates(),
            first_event: known.first().map(point),
            last_event: known.last().map(point),
            memory_bytes: self.fold.bytes() as u64,
            ..self.report
        };
        (report.violations, report.violations_more) = self.fold.findings.into_parts();
        report
    }

    fn add(&mut self, code: Code, position: Position, says: String) {
        self.fold.add(code, position, About::Log, says);
    }

    fn missing(&mut self, end: u32, next: u32) {
        let (first, last) = (end.saturating_add(1), next.saturating_sub(1));
        let says = if first == last {
            format!("segment {first} is missing")
        } else {
            format!("segments {first} to {last} are missing")
        };
        self.add(Code::SegmentMissing, start_of(first), says);
    }

    /// Reads segments without a gap between them.
    fn run(&mut self, first: u32, is_last: bool) -> Result<(), Error> {
        let from = Position {
            segment: first,
            offset: HEADER_BYTES,
        };
        // As a salvage reads: on behind what is damaged. Nothing is written by that.
        let mut scanner =
            match Scanner::new(self.dir, self.meta.salt, from, &self.meta.salvaged, true) {
                Ok(scanner) => scanner,
                Err(error) => return self.fault(error),
            };
        let mut damage_told = 0;
        loop {
            let at = scanner.position();
            let step = scanner.next();
            self.damage(&scanner, &mut damage_told);
            match step {
                Ok(Step::Group(found)) => {
                    let group = Bytes::copy_from_slice(bytes_of(&mut scanner, &found)?);
                    self.group(&group, &found)?;
                }
                Ok(Step::End(end)) => {
                    self.end(end, &scanner, is_last);
                    return Ok(());
                }
                Err(error) => {
                    self.fault(error)?;
                    if scanner.position() == at {
                        return Ok(());
                    }
                }
            }
            if damage_told > DAMAGE_MAX {
                let says =
                    format!("more than {DAMAGE_MAX} stretches are damaged: not read further");
                self.add(Code::TooDamaged, scanner.position(), says);
                return Ok(());
            }
        }
    }

    /// Why a scan does not go on.
    fn fault(&mut self, error: ScanError) -> Result<(), Error> {
        match error {
            ScanError::File(error) => return Err(error.into()),
            ScanError::Corrupt { position, what } => {
                let code = match position.offset {
                    0 => Code::SegmentHeader,
                    _ => Code::Corrupt,
                };
                self.add(code, position, what.to_string());
            }
            ScanError::Gap(segment) => {
                let says = format!("segment {segment} is missing");
                self.add(Code::SegmentMissing, start_of(segment), says);
            }
            ScanError::Chain(position) => self.broken(position),
        }
        Ok(())
    }

    /// What the scanner gave up since it was asked last.
    fn damage(&mut self, scanner: &Scanner, told: &mut usize) {
        let new = scanner.damage.iter().zip(&scanner.faults).skip(*told);
        for (damage, fault) in new {
            let says = if damage.start == damage.end {
                format!(
                    "{fault}; a later group says that it was synced, and none behind it is whole"
                )
            } else {
                format!(
                    "{fault}; a later group says that it was synced, and the log goes on at {}",
                    damage.end
                )
            };
            self.add(Code::Corrupt, damage.start, says);
        }
        *told = scanner.damage.len();
    }

    fn end(&mut self, end: End, scanner: &Scanner, is_last: bool) {
        let is_given_up = |damage: &Damage| damage.start == end.position;
        let is_told = scanner.damage.last().is_some_and(is_given_up);
        self.report.end = Some(end.position);
        if !end.is_torn || is_told {
            return;
        }
        if is_last {
            self.report.torn_tail = Some(end.position);
        } else {
            let says = "a group cannot be read, and later segments are there".into();
            self.add(Code::Corrupt, end.position, says);
        }
    }

    fn group(&mut self, group: &Bytes, found: &FoundGroup) -> Result<(), Error> {
        let (head, start) = (&found.head, found.start);
        self.report.groups += 1;
        self.report.bytes += found.bytes() as u64;
        self.header(start.segment)?;
        self.follows(head, start);
        self.chain = match check_chain(group, found, self.chain.as_ref()) {
            Ok(chain) => Some(chain),
            Err(_) => {
                self.broken(start);
                Some(head.chain)
            }
        };
        self.fold.group(start, head.at_ms, head.last_id);
        for_each_member(group, |offset, bytes, _| {
            let position = found.member(offset);
            match decode_member((group, found), bytes, position) {
                Ok(located) => self.fold.record(located),
                Err(what) => self.fold.malformed(position, what),
            }
            Ok(())
        })
    }

    /// What a group says about the ones before it.
    fn follows(&mut self, head: &GroupHead, start: Position) {
        let before = self.before.replace(*head);
        let number = before.map_or(0, |before| before.number);
        if head.number == number + 1 {
            if before.is_none() {
                self.chain = Some([0; 32]);
            }
        } else {
            if before.is_none() {
                self.report.groups_before = head.number.saturating_sub(1);
            }
            self.chain = None;
            self.fold.gap(head.last_id);
        }
        let synced = before.map_or(0, |before| before.synced_through);
        if head.synced_through >= head.number || head.synced_through < synced {
            let says = format!(
                "group {} says that groups up to {} were synced, the one before it up to {synced}",
                head.number, head.synced_through
            );
            self.add(Code::SyncedThrough, start, says);
        }
    }

    fn broken(&mut self, start: Position) {
        let says =
            "the hash chain is broken: its checksums are right, and it is not what was written";
        self.add(Code::Chain, start, says.into());
    }

    /// Looks at the header of a segment with records, once.
    fn header(&mut self, segment: u32) -> Result<(), FileError> {
        if self.segment.replace(segment) == Some(segment) {
            return Ok(());
        }
        let Some(mut window) = Window::open(self.dir, segment)? else {
            return Ok(());
        };
        let says = match SegmentHeader::decode(window.get(0, 64)?) {
            Ok(header) if header.segment != segment => {
                format!("it is the header of segment {}", header.segment)
            }
            Ok(header) if header.node != self.meta.node => {
                format!("it is the header of a segment of node {}", header.node)
            }
            Ok(_) => return Ok(()),
            Err(what) => what.to_string(),
        };
        self.add(Code::SegmentHeader, start_of(segment), says);
        Ok(())
    }
}

fn start_of(segment: u32) -> Position {
    Position { segment, offset: 0 }
}

fn bytes_of<'s>(scanner: &'s mut Scanner, found: &FoundGroup) -> Result<&'s [u8], Error> {
    match scanner.bytes(found) {
        Ok(bytes) => Ok(bytes),
        Err(ScanError::File(error)) => Err(error.into()),
        // Nothing else happens: the group was found a moment ago.
        Err(_) => Ok(&[]),
    }
}

/// What a salvage gave up of the segments that are still there.
fn stretches(salvaged: &[Damage], first_segment: u32) -> Vec<Stretch> {
    salvaged
        .iter()
        .filter(|damage| damage.start.segment >= first_segment)
        .map(|damage| Stretch {
            start: damage.start,
            end: damage.end,
        })
        .collect()
}
