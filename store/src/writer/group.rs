//! The group that is being gathered: one buffer, one write.

use outrider_webhook::id::EventId;
use sha2::{Digest, Sha256};

use crate::codec::{Chain, Draft, GROUP_BYTES, GroupHead, PREFIX, Seed, chain_of};

/// Records of a group at most.
pub(crate) const RECORDS_MAX: usize = 512;
/// Bytes of a group at most, unless a single record is larger: 4 MiB.
pub(super) const GROUP_BYTES_MAX: usize = 4 << 20;

/// Bytes of records that always fit in one group.
pub(crate) const TOGETHER_BYTES_MAX: usize = GROUP_BYTES_MAX - GROUP_BYTES;

/// A group of records with room for its GROUP record in front.
#[derive(Debug)]
pub(super) struct Group {
    buffer: Vec<u8>,
    hash: Sha256,
    members_crc: u32,
    count: u32,
    previous: Chain,
    number: u64,
    at_ms: i64,
    first_seq: u64,
    last_id: EventId,
}

impl Group {
    pub(super) fn new() -> Self {
        Self {
            buffer: Vec::new(),
            hash: Sha256::new(),
            members_crc: 0,
            count: 0,
            previous: [0; 32],
            number: 0,
            at_ms: 0,
            first_seq: 0,
            last_id: EventId::ZERO,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn at_ms(&self) -> i64 {
        self.at_ms
    }

    /// Bytes so far, the GROUP record included; 0 before [`Group::begin`].
    pub(super) fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether records of `len` bytes in all may still join. The first always may.
    pub(super) fn has_room(&self, len: usize, records: usize) -> bool {
        self.is_empty()
            || (self.count as usize + records <= RECORDS_MAX
                && self.buffer.len() + len <= GROUP_BYTES_MAX)
    }

    pub(super) fn begin(
        &mut self,
        previous: &Chain,
        number: u64,
        at_ms: i64,
        first_seq: u64,
        last_id: EventId,
    ) {
        self.buffer.resize(GROUP_BYTES, 0);
        self.hash = chain_of(previous, number, at_ms);
        self.members_crc = 0;
        self.previous = *previous;
        (self.number, self.at_ms, self.first_seq, self.last_id) =
            (number, at_ms, first_seq, last_id);
    }

    pub(super) fn push(&mut self, draft: &Draft, seed: Seed, seq: u64, id: i64) {
        let start = self.buffer.len();
        let crc = draft.write(&mut self.buffer, seed, seq, id);
        self.members_crc = crc32c::crc32c_append(self.members_crc, &crc.to_le_bytes());
        self.hash.update(
            self.buffer
                .get(start + 4..start + PREFIX)
                .unwrap_or_default(),
        );
        self.hash.update(draft.digest());
        self.count += 1;
    }

    /// Writes the GROUP record. Gives the chain after the group.
    pub(super) fn seal(&mut self, synced_through: u64, seed: Seed) -> Chain {
        let chain = self.hash.finalize_reset().into();
        let head = GroupHead {
            first_seq: self.first_seq,
            last_id: self.last_id,
            number: self.number,
            synced_through,
            at_ms: self.at_ms,
            count: self.count,
            bytes: u32::try_from(self.buffer.len() - GROUP_BYTES).unwrap_or(u32::MAX),
            members_crc: self.members_crc,
            previous: self.previous,
            chain,
        };
        head.write(&mut self.buffer, seed);
        chain
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    pub(super) fn clear(&mut self) {
        self.buffer.clear();
        self.buffer.shrink_to(2 * GROUP_BYTES_MAX); // an outsize record does not stay
        self.count = 0;
    }
}
