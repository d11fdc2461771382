//! A record as its author encodes it, on his own thread: everything but place, number and id.

use bytes::Bytes;
use outrider_webhook::id::ProjectId;
use sha2::{Digest, Sha256};

use super::wire::Put;
use super::{PREFIX, Seed};

/// Bytes of a SHA-256.
const DIGEST: usize = 32;

/// An idempotency key of a project, as the log looks it up: 128 bits of a SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IdemKey(pub(crate) [u64; 2]);

impl std::hash::Hash for IdemKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u64(self.0[0]); // uniform already
    }
}

impl IdemKey {
    pub(crate) fn new(project: ProjectId, key: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(project.uid().bits().to_le_bytes());
        hash.update(key.as_bytes());
        let digest: [u8; DIGEST] = hash.finalize().into();
        let word = |at: usize| {
            let bytes = digest
                .get(at..at + 8)
                .and_then(|bytes| bytes.try_into().ok());
            u64::from_le_bytes(bytes.unwrap_or_default())
        };
        Self([word(0), word(8)])
    }
}

/// An encoded record that lacks only what the writer decides: crc, seq and id.
#[derive(Debug)]
pub(crate) struct Draft {
    /// Prefix, body, and the payload but for its tail.
    bytes: Vec<u8>,
    head_len: usize,
    /// The rest of the payload, kept apart so that a body is copied once, into the group.
    tail: Bytes,
    /// SHA-256 of the body, for the chain.
    digest: [u8; DIGEST],
}

/// Starts a record. The body follows in the buffer; then [`finish`] or [`finish_with_payload`].
pub(super) fn begin(kind: u8, flags: u8, ordinal: u32, capacity: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(PREFIX + capacity);
    bytes.put(&[0; 16]);
    bytes.put_u8(kind);
    bytes.put_u8(flags);
    bytes.put_u16(0);
    bytes.put_u32(ordinal);
    bytes.put(&[0; 16]);
    bytes
}

/// Leaves room for the digest of the payload, as the first thing in a body.
pub(super) fn reserve_digest(bytes: &mut Vec<u8>) {
    bytes.put(&[0; DIGEST]);
}

/// Ends a record without payload.
pub(super) fn finish(bytes: Vec<u8>) -> Draft {
    let head_len = bytes.len();
    seal(bytes, head_len, Bytes::new(), 0)
}

/// Ends a record whose payload is what follows `head_len` in the buffer, and then `tail`.
pub(super) fn finish_with_payload(mut bytes: Vec<u8>, head_len: usize, tail: Bytes) -> Draft {
    let front = bytes.get(head_len..).unwrap_or_default();
    let mut hash = Sha256::new();
    hash.update(front);
    hash.update(&tail);
    let crc = crc32c::crc32c_append(crc32c::crc32c(front), &tail);
    patch(&mut bytes, PREFIX, &<[u8; DIGEST]>::from(hash.finalize()));
    seal(bytes, head_len, tail, crc)
}

fn seal(mut bytes: Vec<u8>, head_len: usize, tail: Bytes, payload_crc: u32) -> Draft {
    // Lengths that do not fit are refused by size before anything is written.
    let len = u32::try_from(bytes.len() + tail.len()).unwrap_or(u32::MAX);
    patch(&mut bytes, 4, &len.to_le_bytes());
    patch(
        &mut bytes,
        8,
        &u32::try_from(head_len).unwrap_or(u32::MAX).to_le_bytes(),
    );
    patch(&mut bytes, 12, &payload_crc.to_le_bytes());
    let digest = Sha256::digest(bytes.get(PREFIX..head_len).unwrap_or_default()).into();
    Draft {
        bytes,
        head_len,
        tail,
        digest,
    }
}

fn patch(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

impl Draft {
    /// Bytes of the whole record.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() + self.tail.len()
    }

    /// SHA-256 of the body.
    pub(crate) fn digest(&self) -> &[u8; DIGEST] {
        &self.digest
    }

    /// Appends the record to `group`, with what only the writer knows. Gives its checksum.
    pub(crate) fn write(&self, group: &mut Vec<u8>, seed: Seed, seq: u64, id: i64) -> u32 {
        let start = group.len();
        group.extend_from_slice(&self.bytes);
        let Some(record) = group.get_mut(start..) else {
            return 0;
        };
        patch(record, 24, &seq.to_le_bytes());
        patch(record, 32, &id.to_le_bytes());
        let crc = seed.checksum(record.get(4..self.head_len).unwrap_or_default());
        patch(record, 0, &crc.to_le_bytes());
        group.extend_from_slice(&self.tail);
        crc
    }
}
