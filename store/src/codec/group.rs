//! GROUP: opens every group of records and proves it (RULINGS 1, 4).

use outrider_webhook::id::EventId;
use sha2::{Digest, Sha256};

use super::wire::{Cursor, Put};
use super::{Malformed, PREFIX, RawRecord, Seed, kind};

/// Stands at the start of a GROUP's body, so that groups can be found behind damage.
pub(crate) const MARK: [u8; 8] = *b"\xf5GROUP\r\n";
/// Where the mark stands in a GROUP record.
pub(crate) const MARK_AT: usize = PREFIX;
/// Bytes of a GROUP record: prefix, seven fields and two hashes.
pub(crate) const GROUP_BYTES: usize = PREFIX + 48 + 64;

/// A hash chain's value.
pub(crate) type Chain = [u8; 32];

/// A GROUP record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupHead {
    /// Sequence number of the first member.
    pub(crate) first_seq: u64,
    /// Last event id given out before the group.
    pub(crate) last_id: EventId,
    /// Number of the group, from 1, without gaps.
    pub(crate) number: u64,
    /// All groups up to this one were synced before this one was written.
    pub(crate) synced_through: u64,
    /// When it was written, Unix milliseconds.
    pub(crate) at_ms: i64,
    /// Its members.
    pub(crate) count: u32,
    /// Bytes of its members.
    pub(crate) bytes: u32,
    /// Checksum over the checksums of the members: ties them to this record.
    pub(crate) members_crc: u32,
    /// The chain before it.
    pub(crate) previous: Chain,
    /// The chain after it.
    pub(crate) chain: Chain,
}

impl GroupHead {
    /// Writes the record over the first [`GROUP_BYTES`] of `group`.
    pub(crate) fn write(&self, group: &mut [u8], seed: Seed) {
        let mut bytes = Vec::with_capacity(GROUP_BYTES);
        bytes.put_u32(0);
        bytes.put_u32(u32::try_from(GROUP_BYTES).unwrap_or(u32::MAX));
        bytes.put_u32(u32::try_from(GROUP_BYTES).unwrap_or(u32::MAX));
        bytes.put_u32(0);
        bytes.put_u8(kind::GROUP);
        bytes.put_u8(0);
        bytes.put_u16(0);
        bytes.put_u32(0);
        bytes.put_u64(self.first_seq);
        bytes.put_i64(self.last_id.raw());
        bytes.put(&MARK);
        bytes.put_u64(self.number);
        bytes.put_u64(self.synced_through);
        bytes.put_i64(self.at_ms);
        bytes.put_u32(self.count);
        bytes.put_u32(self.bytes);
        bytes.put_u32(self.members_crc);
        bytes.put_u32(0);
        bytes.put(&self.previous);
        bytes.put(&self.chain);
        let crc = seed.checksum(bytes.get(4..).unwrap_or_default());
        if let Some(place) = bytes.get_mut(..4) {
            place.copy_from_slice(&crc.to_le_bytes());
        }
        if let Some(place) = group.get_mut(..bytes.len()) {
            place.copy_from_slice(&bytes);
        }
    }

    /// Reads and checks the record at the start of `bytes`.
    pub(crate) fn decode(bytes: &[u8], seed: Seed) -> Result<Self, Malformed> {
        let record = RawRecord::check_head(bytes, seed)?;
        if record.prefix.kind != kind::GROUP || record.prefix.len() != GROUP_BYTES {
            return Err(Malformed("group"));
        }
        let mut at = Cursor::new(record.body());
        if at.array()? != MARK {
            return Err(Malformed("group mark"));
        }
        let (number, synced_through, at_ms) = (at.u64()?, at.u64()?, at.i64()?);
        let (count, bytes, members_crc, zero) = (at.u32()?, at.u32()?, at.u32()?, at.u32()?);
        let (previous, chain) = (at.array()?, at.array()?);
        at.finish()?;
        if zero != 0 {
            return Err(Malformed("group"));
        }
        let first_seq = record.prefix.seq;
        let last_id = EventId::from_raw(record.prefix.id).ok_or(Malformed("event id"))?;
        Ok(Self {
            first_seq,
            last_id,
            number,
            synced_through,
            at_ms,
            count,
            bytes,
            members_crc,
            previous,
            chain,
        })
    }
}

/// The start of a group's chain; members follow, see [`super::RawRecord::chained`].
pub(crate) fn chain_of(previous: &Chain, number: u64, at_ms: i64) -> Sha256 {
    let mut chain = Sha256::new();
    chain.update(previous);
    chain.update(number.to_le_bytes());
    chain.update(at_ms.to_le_bytes());
    chain
}
