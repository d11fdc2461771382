//! Parts of transactions as bytes, before they are sealed.
//!
//! ```text
//! part:     u8 flags (1 full, 2 last) | 16 journal | u64 revision | u32 documents | u32 removals
//! document: u8 kind | 16 uid | 16 project | u64 revision | u32 length | specification
//! removal:  u8 kind | 16 uid
//! ```
//!
//! Numbers are little endian, uids 16 bytes with the most significant first.

use bytes::Bytes;
use outrider_config::{Document, Kind, Version};
use outrider_webhook::id::{ProjectId, Uid};

const FULL: u8 = 1;
const LAST: u8 = 2;

/// A part of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) version: Version,
    pub(super) is_full: bool,
    pub(super) is_last: bool,
    pub(super) upserts: Vec<Document>,
    pub(super) removals: Vec<(Kind, Uid)>,
}

impl Part {
    pub(super) fn new(version: Version, is_full: bool) -> Self {
        Self {
            version,
            is_full,
            is_last: false,
            upserts: Vec::new(),
            removals: Vec::new(),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let specs: usize = self.upserts.iter().map(bytes_of).sum();
        let mut bytes = Vec::with_capacity(64 + specs + 17 * self.removals.len());
        let flags = if self.is_full { FULL } else { 0 } | if self.is_last { LAST } else { 0 };
        bytes.push(flags);
        put_uid(&mut bytes, self.version.journal);
        bytes.extend_from_slice(&self.version.revision.to_le_bytes());
        put_length(&mut bytes, self.upserts.len());
        put_length(&mut bytes, self.removals.len());
        for document in &self.upserts {
            bytes.push(code(document.kind));
            put_uid(&mut bytes, document.uid);
            put_uid(&mut bytes, document.project.uid());
            bytes.extend_from_slice(&document.revision.to_le_bytes());
            put_length(&mut bytes, document.spec.len());
            bytes.extend_from_slice(&document.spec);
        }
        for (kind, uid) in &self.removals {
            bytes.push(code(*kind));
            put_uid(&mut bytes, *uid);
        }
        bytes
    }

    /// `None` when the bytes are no part.
    pub(super) fn decode(bytes: Bytes) -> Option<Self> {
        let mut at = Cursor(bytes);
        let flags = at.byte()?;
        let version = Version {
            journal: at.uid()?,
            revision: at.u64()?,
        };
        let (upserts, removals) = (at.u32()?, at.u32()?);
        let part = Self {
            version,
            is_full: flags & FULL != 0,
            is_last: flags & LAST != 0,
            upserts: (0..upserts).map(|_| at.document()).collect::<Option<_>>()?,
            removals: (0..removals)
                .map(|_| Some((at.kind()?, at.uid()?)))
                .collect::<Option<_>>()?,
        };
        (flags & !(FULL | LAST) == 0 && at.0.is_empty()).then_some(part)
    }
}

/// Bytes of a document in a part.
pub(super) fn bytes_of(document: &Document) -> usize {
    45 + document.spec.len()
}

fn put_uid(bytes: &mut Vec<u8>, uid: Uid) {
    bytes.extend_from_slice(&uid.bits().to_be_bytes());
}

/// Specifications travel in messages of 16 MiB at most, so lengths fit.
fn put_length(bytes: &mut Vec<u8>, length: usize) {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_le_bytes());
}

/// Kinds on disk. A kind keeps its number for ever.
const fn code(kind: Kind) -> u8 {
    match kind {
        Kind::Project => 1,
        Kind::Source => 2,
        Kind::Endpoint => 3,
        Kind::Subscription => 4,
        Kind::ApiKey => 5,
        Kind::EventType => 6,
        Kind::EgressPool => 7,
        Kind::EgressPolicy => 8,
    }
}

struct Cursor(Bytes);

impl Cursor {
    fn take(&mut self, count: usize) -> Option<Bytes> {
        (count <= self.0.len()).then(|| self.0.split_to(count))
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.as_ref().try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn uid(&mut self) -> Option<Uid> {
        self.array()
            .map(|bytes| Uid::from_bits(u128::from_be_bytes(bytes)))
    }

    fn kind(&mut self) -> Option<Kind> {
        let found = self.byte()?;
        Kind::ALL.into_iter().find(|kind| code(*kind) == found)
    }

    fn document(&mut self) -> Option<Document> {
        let (kind, uid, project) = (self.kind()?, self.uid()?, self.uid()?);
        let (revision, length) = (self.u64()?, self.u32()?);
        Some(Document {
            kind,
            uid,
            project: ProjectId::new(project),
            revision,
            spec: self.take(usize::try_from(length).ok()?)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn document(kind: usize, uid: u128, revision: u64, spec: Vec<u8>) -> Document {
        Document {
            kind: Kind::ALL[kind % Kind::ALL.len()],
            uid: Uid::from_bits(uid),
            project: ProjectId::new(Uid::from_bits(uid ^ 1)),
            revision,
            spec: spec.into(),
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>) {
            let _ = Part::decode(bytes.into());
        }

        #[test]
        fn decode_after_encode_is_the_same_and_less_is_refused(
            journal: u128, revision: u64, is_full: bool, is_last: bool,
            upserts in prop::collection::vec((0_usize..5, any::<u128>(), any::<u64>(), any::<Vec<u8>>()), 0..5),
            removals in prop::collection::vec((0_usize..5, any::<u128>()), 0..5),
        ) {
            let version = Version { journal: Uid::from_bits(journal), revision };
            let part = Part {
                version,
                is_full,
                is_last,
                upserts: upserts.into_iter().map(|(kind, uid, at, spec)| document(kind, uid, at, spec)).collect(),
                removals: removals.into_iter().map(|(kind, uid)| (Kind::ALL[kind], Uid::from_bits(uid))).collect(),
            };
            let bytes = Bytes::from(part.encode());
            prop_assert_eq!(Part::decode(bytes.slice(..bytes.len() - 1)), None);
            prop_assert_eq!(Part::decode(bytes), Some(part));
        }
    }
}
