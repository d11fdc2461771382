//! HMACs that have taken in their key at configuration time.

use hmac::digest::Update;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};

use crate::verify::VerifyError;
use crate::verify::template::{Inputs, Template};

use super::tag::{Hash, Tag};

/// An HMAC that has taken in its key; cloned for each request.
pub(in crate::verify) enum KeyedHmac {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha384(Hmac<Sha384>),
    Sha512(Hmac<Sha512>),
}

impl KeyedHmac {
    /// `None` cannot happen: an HMAC takes a key of any length.
    pub(in crate::verify) fn new(hash: Hash, key: &[u8]) -> Option<Self> {
        Some(match hash {
            Hash::Sha1 => Self::Sha1(Hmac::new_from_slice(key).ok()?),
            Hash::Sha256 => Self::Sha256(Hmac::new_from_slice(key).ok()?),
            Hash::Sha384 => Self::Sha384(Hmac::new_from_slice(key).ok()?),
            Hash::Sha512 => Self::Sha512(Hmac::new_from_slice(key).ok()?),
        })
    }

    pub(super) fn tag(&self, text: &Template, inputs: &Inputs<'_, '_>) -> Result<Tag, VerifyError> {
        fn run<M: Mac + Update + Clone>(
            keyed: &M,
            text: &Template,
            inputs: &Inputs<'_, '_>,
        ) -> Result<Tag, VerifyError> {
            let mut mac = keyed.clone();
            text.feed(inputs, &[], &mut mac)?;
            Ok(Tag::new(&mac.finalize().into_bytes()))
        }
        match self {
            Self::Sha1(keyed) => run(keyed, text, inputs),
            Self::Sha256(keyed) => run(keyed, text, inputs),
            Self::Sha384(keyed) => run(keyed, text, inputs),
            Self::Sha512(keyed) => run(keyed, text, inputs),
        }
    }

    /// The MAC of a text.
    pub(in crate::verify) fn of(&self, text: &[u8]) -> Vec<u8> {
        fn run<M: Mac + Clone>(keyed: &M, text: &[u8]) -> Vec<u8> {
            let mut mac = keyed.clone();
            Mac::update(&mut mac, text);
            mac.finalize().into_bytes().to_vec()
        }
        match self {
            Self::Sha1(keyed) => run(keyed, text),
            Self::Sha256(keyed) => run(keyed, text),
            Self::Sha384(keyed) => run(keyed, text),
            Self::Sha512(keyed) => run(keyed, text),
        }
    }
}
