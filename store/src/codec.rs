//! Format v1 of a record, complete: every kind with all its fields (RULINGS 3).
//!
//! A record is a prefix of [`PREFIX`] bytes, a body and a payload, without padding. Numbers are
//! little-endian, lengths inside a body are varints.
//!
//! ```text
//!  0 crc         u32  over bytes 4.. of prefix and body, seeded with log and segment
//!  4 len         u32  of the whole record
//!  8 head_len    u32  of prefix and body; what follows is the payload
//! 12 payload_crc u32  over the payload alone
//! 16 kind        u8
//! 17 flags       u8
//! 18 zero        u16
//! 20 ordinal     u32  of the delivery; of the first target for TARGETS; else 0
//! 24 seq         u64  gap-free over the log; a GROUP has the number of its first member
//! 32 id          i64  of the event; for a GROUP the last id given out before it
//! ```
//!
//! Header part and payload have separate checksums, so that a payload can be zeroed and the
//! rest still be trusted. The seed keeps stale bytes of another segment, and bytes a sender
//! planted in a payload, from being taken for records.
//!
//! The targets of an event beyond the first [`ACCEPT_TARGETS_MAX`] follow its ACCEPT in TARGETS
//! records, with nothing but GROUP records in between; the last has the flag
//! [`flag::END`]. An event whose end is missing was never accepted.
//!
//! The hash chain of a group runs over `previous ‖ number ‖ at_ms`, then for each member
//! bytes 4..40 of its prefix and the SHA-256 of its body; the body of a record with a payload
//! starts with the SHA-256 of that payload.

mod draft;
mod entry;
mod event;
mod group;
mod outcome;
mod plain;
#[cfg(test)]
mod tests;
mod wire;

use sha2::{Digest, Sha256};

pub(crate) use self::draft::{Draft, IdemKey};
pub use self::entry::{Entry, Located, PayloadState};
pub(crate) use self::event::{AcceptHead, accept, duplicate, stored_event, targets, targets_of};
pub(crate) use self::group::{Chain, GROUP_BYTES, GroupHead, MARK, MARK_AT, chain_of};
pub(crate) use self::outcome::{OutcomeHead, attempt, reason_of, state};
pub(crate) use self::plain::{barrier, command, decode_erase, endpoint_state, erase, started};
pub(crate) use self::wire::Cursor;
pub use self::wire::Malformed;

/// Bytes of a prefix.
pub(crate) const PREFIX: usize = 40;
/// Targets in an ACCEPT record, and in each TARGETS record after it (RULINGS 2).
pub(crate) const ACCEPT_TARGETS_MAX: usize = 256;

/// Kinds of records; the numbers never change.
pub(crate) mod kind {
    pub(crate) const GROUP: u8 = 1;
    pub(crate) const ACCEPT: u8 = 2;
    pub(crate) const TARGETS: u8 = 3;
    pub(crate) const DUPLICATE: u8 = 4;
    pub(crate) const ATTEMPT: u8 = 5;
    pub(crate) const STATE: u8 = 6;
    pub(crate) const STARTED: u8 = 7;
    pub(crate) const COMMAND: u8 = 8;
    pub(crate) const ENDPOINT_STATE: u8 = 9;
    pub(crate) const ERASE: u8 = 10;
    pub(crate) const BARRIER: u8 = 11;
}

/// Flags of a record.
pub(crate) mod flag {
    /// The last record of its event.
    pub(crate) const END: u8 = 1;
    /// A breaker that opened, with how often in a row: that stands last. Of an ENDPOINT_STATE; the
    /// bit says something else of an ACCEPT.
    pub(crate) const TRIPPED: u8 = 1 << 3;
    /// An event whose schema has something against it: that stands behind the decision.
    pub(crate) const FLAWED: u8 = 1 << 3;
    /// An event of which it is known what its source verified it by: that stands behind the flaw.
    pub(crate) const VERIFIED: u8 = 1 << 4;
    /// An event that is another one again: that stands last.
    pub(crate) const REPLAY: u8 = 1 << 5;
    /// A reader that does not know the kind may skip the record.
    pub(crate) const IGNORABLE: u8 = 1 << 7;
    /// Those that say something of an event only.
    pub(crate) const OF_EVENTS: u8 = FLAWED | VERIFIED | REPLAY;
    /// Bits this version does not know: bit 1 is kept for events copied forward from an older
    /// segment, bit 2 for compressed payloads. A record with one of them is refused.
    pub(crate) const RESERVED: u8 = !(END | OF_EVENTS | IGNORABLE);
}

/// What a checksum starts from: the log's salt and the segment's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seed(u32);

impl Seed {
    pub(crate) fn new(salt: u64, segment: u32) -> Self {
        Self(crc32c::crc32c_append(
            crc32c::crc32c(&salt.to_le_bytes()),
            &segment.to_le_bytes(),
        ))
    }

    pub(crate) fn checksum(self, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(self.0, bytes)
    }
}

/// The fixed part of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefix {
    pub(crate) crc: u32,
    pub(crate) len: u32,
    pub(crate) head_len: u32,
    pub(crate) payload_crc: u32,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) ordinal: u32,
    pub(crate) seq: u64,
    pub(crate) id: i64,
}

impl Prefix {
    /// Reads a prefix; its checksum is not looked at.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut at = Cursor::new(bytes.get(..PREFIX).ok_or(Malformed("prefix"))?);
        let (crc, len, head_len, payload_crc) = (at.u32()?, at.u32()?, at.u32()?, at.u32()?);
        let (kind, flags, zero) = (at.u8()?, at.u8()?, at.u16()?);
        let (ordinal, seq, id) = (at.u32()?, at.u64()?, at.i64()?);
        let is_sound = PREFIX as u64 <= u64::from(head_len) && head_len <= len && zero == 0;
        if !is_sound {
            return Err(Malformed("prefix"));
        }
        Ok(Self {
            crc,
            len,
            head_len,
            payload_crc,
            kind,
            flags,
            ordinal,
            seq,
            id,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether some part of the record is beyond this version.
    pub(crate) fn is_reserved(&self) -> bool {
        let known = match self.kind {
            kind::ACCEPT => flag::OF_EVENTS,
            kind::ENDPOINT_STATE => flag::TRIPPED,
            _ => 0,
        };
        self.flags & flag::RESERVED != 0 || self.flags & flag::OF_EVENTS & !known != 0
    }

    /// Whether the flag bits are set.
    pub(crate) fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }
}

/// How a payload was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PayloadCheck {
    Intact,
    /// Nothing but zeros where something else was written: erased, or never reached the disk.
    Zeroed,
}

/// A record in a buffer, checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawRecord<'a> {
    pub(crate) prefix: Prefix,
    bytes: &'a [u8],
}

impl<'a> RawRecord<'a> {
    /// The record at the start of `bytes`, with header part and payload checked.
    pub(crate) fn check(bytes: &'a [u8], seed: Seed) -> Result<(Self, PayloadCheck), Malformed> {
        let record = Self::check_head(bytes, seed)?;
        let payload = record.payload();
        if crc32c::crc32c(payload) == record.prefix.payload_crc {
            return Ok((record, PayloadCheck::Intact));
        }
        if payload.iter().all(|byte| *byte == 0) {
            return Ok((record, PayloadCheck::Zeroed));
        }
        Err(Malformed("payload checksum"))
    }

    /// The record at the start of `bytes`, with only its header part checked.
    pub(crate) fn check_head(bytes: &'a [u8], seed: Seed) -> Result<Self, Malformed> {
        let record = Self::trust(bytes)?;
        let head = record.bytes.get(4..record.prefix.head_len as usize);
        if head.map(|head| seed.checksum(head)) != Some(record.prefix.crc) {
            return Err(Malformed("checksum"));
        }
        Ok(record)
    }

    /// The record at the start of `bytes`, which were checked before.
    pub(crate) fn trust(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let prefix = Prefix::decode(bytes)?;
        let bytes = bytes.get(..prefix.len()).ok_or(Malformed("length"))?;
        Ok(Self { prefix, bytes })
    }

    pub(crate) fn body(&self) -> &'a [u8] {
        self.bytes
            .get(PREFIX..self.prefix.head_len as usize)
            .unwrap_or_default()
    }

    pub(crate) fn payload(&self) -> &'a [u8] {
        self.bytes
            .get(self.prefix.head_len as usize..)
            .unwrap_or_default()
    }

    /// Whether the payload is the one the body names. Always so for a payload that was erased:
    /// then the body is all that is left to prove.
    pub(crate) fn has_digest_of_its_payload(&self) -> bool {
        let payload = self.payload();
        if !matches!(
            self.prefix.kind,
            kind::ACCEPT | kind::ATTEMPT | kind::COMMAND
        ) || crc32c::crc32c(payload) != self.prefix.payload_crc
        {
            return true;
        }
        self.body().get(..32) == Some(Sha256::digest(payload).as_slice())
    }

    /// What the chain covers of the prefix.
    pub(crate) fn chained(&self) -> &'a [u8] {
        self.bytes.get(4..PREFIX).unwrap_or_default()
    }
}
