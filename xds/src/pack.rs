//! Cuts a transaction into responses of bounded size.
//!
//! A part is complete when the next resource would pass a limit. The last part is held back
//! until the transaction is known to be over, since only it carries `last`.

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource};
use outrider_config::{Document, Kind, Version};
use outrider_webhook::id::Uid;
use prost::Message;

use crate::resource::{self, TYPE_URL};
use crate::tag::Tag;

/// Resources and removals in one response, at most.
pub const RESPONSE_RESOURCES_MAX: usize = 2_000;
/// Bytes of resources and removals in one response, at most, unless a single one is larger.
pub const RESPONSE_BYTES_MAX: usize = 1 << 20;
/// A document larger than this cannot be pushed, bytes: it must fit the decode limit of the
/// peer ([`crate::MESSAGE_BYTES_MAX`]) with room for the envelope.
pub(crate) const RESOURCE_BYTES_MAX: usize = 15 << 20;

/// A document that no client would take.
#[derive(Debug, thiserror::Error)]
#[error("resource `{name}` has {bytes} bytes, at most {RESOURCE_BYTES_MAX} can be pushed")]
pub(crate) struct Oversize {
    pub(crate) name: String,
    pub(crate) bytes: usize,
}

/// Collects the parts of one transaction.
#[derive(Debug)]
pub(crate) struct Packer {
    /// The tag of the part being filled.
    tag: Tag,
    resources: Vec<Resource>,
    removed: Vec<String>,
    bytes: usize,
}

impl Packer {
    /// Begins a transaction. `version` is exact for a delta and a lower bound for a full one.
    pub(crate) fn new(version: Version, is_full: bool) -> Self {
        let tag = Tag {
            version,
            is_full,
            part: 0,
            is_last: false,
        };
        Self {
            tag,
            resources: Vec::new(),
            removed: Vec::new(),
            bytes: 0,
        }
    }

    /// Adds a document; returns the part before it when that is full.
    pub(crate) fn push(
        &mut self,
        document: Document,
    ) -> Result<Option<DeltaDiscoveryResponse>, Oversize> {
        let resource = resource::encode(document);
        let bytes = framed(resource.encoded_len());
        if bytes > RESOURCE_BYTES_MAX {
            let name = resource.name;
            return Err(Oversize { name, bytes });
        }
        let part = self.make_room(bytes);
        self.resources.push(resource);
        Ok(part)
    }

    /// Adds a removal; returns the part before it when that is full.
    pub(crate) fn remove(&mut self, kind: Kind, uid: Uid) -> Option<DeltaDiscoveryResponse> {
        self.remove_name(resource::name_of(kind, uid))
    }

    /// Adds a removal by the name a client gave.
    pub(crate) fn remove_name(&mut self, name: String) -> Option<DeltaDiscoveryResponse> {
        let part = self.make_room(framed(name.len()));
        self.removed.push(name);
        part
    }

    /// Ends the transaction: the last part, which may be empty.
    pub(crate) fn finish(mut self, version: Version) -> DeltaDiscoveryResponse {
        self.tag.version = version;
        self.tag.is_last = true;
        self.take()
    }

    fn make_room(&mut self, bytes: usize) -> Option<DeltaDiscoveryResponse> {
        let count = self.resources.len() + self.removed.len();
        let is_full = count >= RESPONSE_RESOURCES_MAX
            || (count > 0 && self.bytes + bytes > RESPONSE_BYTES_MAX);
        let part = is_full.then(|| self.take());
        self.bytes += bytes;
        part
    }

    fn take(&mut self) -> DeltaDiscoveryResponse {
        let response = DeltaDiscoveryResponse {
            system_version_info: self.tag.to_string(),
            type_url: TYPE_URL.to_owned(),
            resources: std::mem::take(&mut self.resources),
            removed_resources: std::mem::take(&mut self.removed),
            ..DeltaDiscoveryResponse::default()
        };
        self.tag.part = self.tag.part.saturating_add(1);
        self.bytes = 0;
        response
    }
}

/// Bytes of a field inside a response: key and length before the content.
const fn framed(length: usize) -> usize {
    length + 6
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use outrider_webhook::id::ProjectId;

    fn document(uid: u128, spec_bytes: usize) -> Document {
        Document {
            kind: Kind::Endpoint,
            uid: Uid::from_bits(uid),
            project: ProjectId::new(Uid::from_bits(1)),
            revision: 9,
            spec: Bytes::from(vec![b' '; spec_bytes]),
        }
    }

    fn version(revision: u64) -> Version {
        Version {
            journal: Uid::from_bits(7),
            revision,
        }
    }

    fn tags(parts: &[DeltaDiscoveryResponse]) -> Vec<Tag> {
        parts
            .iter()
            .map(|part| part.system_version_info.parse().unwrap())
            .collect()
    }

    #[test]
    fn a_document_that_no_client_could_decode_is_refused() {
        let mut packer = Packer::new(version(1), true);
        let oversize = packer.push(document(5, RESOURCE_BYTES_MAX)).unwrap_err();
        assert!(oversize.name.starts_with("endpoint/"));
        assert!(oversize.bytes > RESOURCE_BYTES_MAX);
    }

    #[test]
    fn a_transaction_of_nothing_is_one_last_part() {
        let last = Packer::new(version(3), true).finish(version(4));
        let tag: Tag = last.system_version_info.parse().unwrap();
        assert!(tag.is_full && tag.is_last && tag.part == 0);
        assert_eq!(tag.version, version(4));
        assert!(last.resources.is_empty() && last.removed_resources.is_empty());
    }

    #[test]
    fn parts_keep_their_limits_and_only_the_last_says_so() {
        let mut packer = Packer::new(version(3), false);
        let mut parts = Vec::new();
        for uid in 0..5_000 {
            // Every 500th is large enough for a part of its own.
            let bytes = if uid % 500 == 0 { 2 << 20 } else { 700 };
            parts.extend(packer.push(document(uid, bytes)).unwrap());
        }
        for uid in 0..2_500 {
            parts.extend(packer.remove(Kind::Source, Uid::from_bits(uid)));
        }
        parts.push(packer.finish(version(3)));

        let resources: usize = parts.iter().map(|part| part.resources.len()).sum();
        let removed: usize = parts.iter().map(|part| part.removed_resources.len()).sum();
        assert_eq!((resources, removed), (5_000, 2_500));
        for part in &parts {
            let count = part.resources.len() + part.removed_resources.len();
            assert!(count <= RESPONSE_RESOURCES_MAX);
            assert!(count == 1 || part.encoded_len() <= RESPONSE_BYTES_MAX + 256);
        }
        let tags = tags(&parts);
        for (index, tag) in tags.iter().enumerate() {
            assert_eq!(usize::try_from(tag.part).unwrap(), index);
            assert_eq!(tag.is_last, index + 1 == tags.len());
        }
    }
}
