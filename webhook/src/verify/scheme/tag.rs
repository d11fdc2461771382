//! Hash outputs and how they are written: computed, decoded, compared.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::digest::{Digest, Update};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;

use crate::verify::VerifyError;

/// Longest output of a hash, bytes.
const TAG_BYTES_MAX: usize = 64;

/// Hash functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::verify) enum Hash {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

/// How signature bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::verify) enum Encoding {
    Hex,
    Base64,
    Text,
}

/// The output of a hash. Bytes past `len` are zero.
pub(super) struct Tag {
    bytes: [u8; TAG_BYTES_MAX],
    len: usize,
}

impl Encoding {
    /// The candidates that decode to `len` bytes. Those of another length cannot match and are
    /// left out, but they did decode.
    pub(super) fn tags<'v>(
        self,
        candidates: impl Iterator<Item = &'v [u8]>,
        len: usize,
    ) -> Result<Vec<Tag>, VerifyError> {
        let mut tags = Vec::new();
        let mut decodes = false;
        for text in candidates {
            let tag = self.tag(text, len);
            decodes = decodes || tag.is_some() || self.decode(text).is_some();
            tags.extend(tag);
        }
        if decodes {
            Ok(tags)
        } else {
            Err(VerifyError::MalformedSignature)
        }
    }

    /// Decodes exactly `len` bytes without allocating.
    pub(super) fn tag(self, text: &[u8], len: usize) -> Option<Tag> {
        let mut tag = Tag {
            bytes: [0; TAG_BYTES_MAX],
            len,
        };
        let bytes = tag.bytes.get_mut(..len)?;
        match self {
            Self::Hex => hex::decode_to_slice(text, bytes).ok()?,
            Self::Base64 => {
                // The decoder wants room for whole groups of four characters.
                let mut room = [0_u8; TAG_BYTES_MAX.div_ceil(3) * 3];
                let decoded = STANDARD.decode_slice(text, &mut room).ok()?;
                bytes.copy_from_slice(room.get(..decoded)?.get(..len).filter(|_| decoded == len)?);
            }
            Self::Text => return None,
        }
        Some(tag)
    }

    /// Decodes any length; `None` when the text is empty or not in this encoding.
    pub(super) fn decode(self, text: &[u8]) -> Option<Cow<'_, [u8]>> {
        if text.is_empty() {
            return None;
        }
        match self {
            Self::Hex => hex::decode(text).ok().map(Cow::Owned),
            Self::Base64 => STANDARD.decode(text).ok().map(Cow::Owned),
            Self::Text => Some(Cow::Borrowed(text)),
        }
    }
}

impl Hash {
    /// Length of the output, bytes.
    pub(super) const fn len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// Whether `text` is the digest of `data` in hex.
    pub(in crate::verify) fn is_hex_digest(self, text: &[u8], data: &[u8]) -> bool {
        let digest = self.tag(|sink| {
            sink.update(data);
            Ok(())
        });
        Encoding::Hex
            .tag(text, self.len())
            .is_some_and(|given| digest.is_ok_and(|digest| given.equals(&digest)))
    }

    pub(super) fn tag(
        self,
        feed: impl FnOnce(&mut Hasher) -> Result<(), VerifyError>,
    ) -> Result<Tag, VerifyError> {
        let mut hasher = match self {
            Self::Sha1 => Hasher::Sha1(Sha1::new()),
            Self::Sha256 => Hasher::Sha256(Sha256::new()),
            Self::Sha384 => Hasher::Sha384(Sha384::new()),
            Self::Sha512 => Hasher::Sha512(Sha512::new()),
        };
        feed(&mut hasher)?;
        Ok(match hasher {
            Hasher::Sha1(hasher) => Tag::new(&hasher.finalize()),
            Hasher::Sha256(hasher) => Tag::new(&hasher.finalize()),
            Hasher::Sha384(hasher) => Tag::new(&hasher.finalize()),
            Hasher::Sha512(hasher) => Tag::new(&hasher.finalize()),
        })
    }
}

/// A plain digest in the making.
pub(super) enum Hasher {
    Sha1(Sha1),
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl Update for Hasher {
    fn update(&mut self, data: &[u8]) {
        match self {
            Self::Sha1(hasher) => Update::update(hasher, data),
            Self::Sha256(hasher) => Update::update(hasher, data),
            Self::Sha384(hasher) => Update::update(hasher, data),
            Self::Sha512(hasher) => Update::update(hasher, data),
        }
    }
}

impl Tag {
    pub(super) fn new(output: &[u8]) -> Self {
        let mut bytes = [0; TAG_BYTES_MAX];
        for (to, from) in bytes.iter_mut().zip(output) {
            *to = *from;
        }
        Self {
            bytes,
            len: output.len().min(TAG_BYTES_MAX),
        }
    }

    /// Takes the same time wherever the bytes differ.
    pub(super) fn equals(&self, other: &Self) -> bool {
        self.len == other.len && self.bytes.ct_eq(&other.bytes).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_base64_and_whole_bytes_of_hex_decode() {
        for (encoding, text) in [
            (Encoding::Base64, "AAA"),
            (Encoding::Base64, "AAB="),
            (Encoding::Base64, "AA-_"),
            (Encoding::Base64, "AA\nAA"),
            (Encoding::Hex, "abc"),
            (Encoding::Hex, "0x00"),
            (Encoding::Text, ""),
        ] {
            assert!(encoding.decode(text.as_bytes()).is_none(), "{text}");
        }
        assert_eq!(
            Encoding::Hex.decode(b"aBcD").as_deref(),
            Some(&[0xab, 0xcd][..])
        );
    }

    #[test]
    fn every_hash_length_fits_its_tag_in_both_encodings() {
        for hash in [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512] {
            let bytes: Vec<u8> = (0..hash.len())
                .map(|byte| u8::try_from(byte).unwrap())
                .collect();
            for (encoding, text) in [
                (Encoding::Hex, hex::encode(&bytes)),
                (Encoding::Base64, STANDARD.encode(&bytes)),
            ] {
                let tag = encoding.tag(text.as_bytes(), hash.len()).unwrap();
                assert!(tag.equals(&Tag::new(&bytes)));
                assert!(encoding.tag(text.as_bytes(), hash.len() - 1).is_none());
                assert!(encoding.tag(text.as_bytes(), hash.len() + 1).is_none());
            }
        }
    }
}
