//! Reading the log from a position on: for audit, for the index, for copies elsewhere.

use std::path::Path;

use bytes::Bytes;
use sha2::Digest;
use tokio::sync::watch;

use crate::codec::{
    Chain, Entry, GROUP_BYTES, GroupHead, Located, Malformed, PayloadCheck, PayloadState,
    RawRecord, chain_of,
};
use crate::dir::{self, Meta, MetaError};
use crate::event::Position;
use crate::scan::{FoundGroup, ScanError, Scanner, Step, for_each_member};
use crate::segment::HEADER_BYTES;

/// A log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// `meta.json` cannot be used.
    #[error(transparent)]
    Meta(#[from] MetaError),
    /// The segments cannot be read any further.
    #[error(transparent)]
    Scan(#[from] ScanError),
}

/// What a reader checks besides the checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Check {
    /// Nothing.
    #[default]
    Checksums,
    /// The hash chain: that nothing was replaced by somebody who knows the checksums.
    Chain,
}

/// Goes through a log group by group. Reads only.
#[derive(Debug)]
pub struct Tail {
    /// `None`: there is no segment yet.
    scanner: Option<Scanner>,
    check: Check,
    /// The chain so far; `None` at the start and behind damage that was given up.
    chain: Option<Chain>,
    /// How far a log that is being written may be read.
    limit: Option<Limit>,
    /// Bytes behind the end, of a group that was never acknowledged.
    is_torn: bool,
}

#[derive(Debug)]
struct Limit {
    durable: watch::Receiver<Position>,
    seen: Position,
}

impl Tail {
    /// Opens the log in `dir`, which nobody has open, at `from` or at its start. `from` comes
    /// from [`Tail::position`].
    ///
    /// # Errors
    /// [`TailError`]: there is no log, or it cannot be read.
    pub fn open(dir: &Path, from: Option<Position>, check: Check) -> Result<Self, TailError> {
        let missing = || MetaError::Missing(dir.join("meta.json"));
        let meta = Meta::read(dir)?.ok_or_else(missing)?;
        Self::new(dir, &meta, from, check, None)
    }

    pub(crate) fn new(
        dir: &Path,
        meta: &Meta,
        from: Option<Position>,
        check: Check,
        durable: Option<watch::Receiver<Position>>,
    ) -> Result<Self, TailError> {
        let first = dir::segments(dir)
            .map_err(ScanError::File)?
            .first()
            .copied();
        let start = first.map(|segment| Position {
            segment,
            offset: HEADER_BYTES,
        });
        // Before anything is read: what was synced later is then known to be new.
        let limit = durable.map(|durable| {
            let seen = *durable.borrow();
            Limit { durable, seen }
        });
        let scanner = match from.or(start) {
            None => None,
            Some(from) => Some(Scanner::new(dir, meta.salt, from, &meta.salvaged, false)?),
        };
        Ok(Self {
            scanner,
            check,
            chain: None,
            limit,
            is_torn: false,
        })
    }

    /// Where the next group starts; everything before it has been read.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.scanner.as_ref().map(Scanner::position)
    }

    /// Whether bytes of a group that was never acknowledged follow the end that was reached.
    #[must_use]
    pub const fn is_torn(&self) -> bool {
        self.is_torn
    }

    /// Appends the records of the next group to `out`; `false` at the (present) end. Blocks.
    ///
    /// # Errors
    /// [`TailError::Scan`]: corruption, or a broken chain.
    pub fn next_group(&mut self, out: &mut Vec<Located>) -> Result<bool, TailError> {
        if self.is_at_limit() {
            return Ok(false);
        }
        let Some(scanner) = &mut self.scanner else {
            return Ok(false);
        };
        let found = match scanner.next()? {
            Step::Group(found) => found,
            Step::End(end) => {
                self.is_torn = end.is_torn;
                return Ok(false);
            }
        };
        let bytes = Bytes::copy_from_slice(scanner.bytes(&found)?);
        if self.check == Check::Chain {
            self.chain = Some(check_chain(&bytes, &found, self.chain.as_ref())?);
        }
        decode(&bytes, &found, out)?;
        Ok(true)
    }

    fn is_at_limit(&mut self) -> bool {
        let (Some(limit), Some(scanner)) = (&mut self.limit, &mut self.scanner) else {
            return false;
        };
        let durable = *limit.durable.borrow();
        if durable != limit.seen {
            limit.seen = durable;
            scanner.forget();
        }
        scanner.position() >= limit.seen
    }
}

fn decode(group: &Bytes, found: &FoundGroup, out: &mut Vec<Located>) -> Result<(), ScanError> {
    out.reserve(found.head.count as usize);
    for_each_member(group, |offset, bytes, _| {
        let position = found.member(offset);
        let record = decode_member((group, found), bytes, position)
            .map_err(|what| ScanError::Corrupt { position, what })?;
        out.push(record);
        Ok(())
    })
}

/// A record of a checked group.
pub(crate) fn decode_member(
    (group, found): (&Bytes, &FoundGroup),
    bytes: &[u8],
    position: Position,
) -> Result<Located, Malformed> {
    let record = RawRecord::trust(bytes)?;
    let is_zeroed =
        found.has_zeroed && crc32c::crc32c(record.payload()) != record.prefix.payload_crc;
    let (check, payload) = match is_zeroed {
        true => (PayloadCheck::Zeroed, PayloadState::Erased),
        false => (PayloadCheck::Intact, PayloadState::Intact),
    };
    Ok(Located {
        position,
        seq: record.prefix.seq,
        group: found.head.number,
        payload,
        entry: Entry::decode(&record, check, position, group)?,
    })
}

/// The chain after a group, computed from its records.
pub(crate) fn check_chain(
    group: &[u8],
    found: &FoundGroup,
    before: Option<&Chain>,
) -> Result<Chain, ScanError> {
    let head: &GroupHead = &found.head;
    let broken = || ScanError::Chain(found.start);
    if before.is_some_and(|before| *before != head.previous) {
        return Err(broken());
    }
    let mut hash = chain_of(&head.previous, head.number, head.at_ms);
    let mut offset = GROUP_BYTES;
    while let Some(bytes) = group.get(offset..).filter(|rest| !rest.is_empty()) {
        let record = RawRecord::trust(bytes).map_err(|_: Malformed| broken())?;
        if !record.has_digest_of_its_payload() {
            return Err(broken());
        }
        hash.update(record.chained());
        hash.update(sha2::Sha256::digest(record.body()));
        offset += record.prefix.len();
    }
    let chain: Chain = hash.finalize().into();
    if chain == head.chain {
        Ok(chain)
    } else {
        Err(broken())
    }
}
