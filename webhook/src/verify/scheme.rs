//! Algorithms and keys: whether a candidate signature was made with one of the secrets.

mod tag;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::digest::{Digest, Update};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::secret::Secret;

use super::VerifyError;
use super::signature::Part;
use super::template::{Inputs, Template};

pub(super) use self::tag::{Encoding, Hash};

use self::tag::Tag;

/// One way a request may be signed.
pub(super) struct Scheme {
    /// Label of the pairs it looks at; `None` in formats without labels.
    label: Option<Box<[u8]>>,
    encoding: Encoding,
    keys: Keys,
}

/// The usable keys of a scheme, ready for its algorithm.
enum Keys {
    Hmac(Hash, Vec<KeyedHmac>),
    Digest(Hash, Vec<Zeroizing<Vec<u8>>>),
    Equal(Vec<Zeroizing<Vec<u8>>>),
}

/// What a scheme does with its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Hmac(Hash),
    /// A plain digest of a text that contains the secret.
    Digest(Hash),
    /// A static credential.
    Equal,
}

/// How the text of a secret becomes a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyForm {
    Utf8,
    Hex,
    /// Base64 after an optional `whsec_`.
    Whsec,
    /// The SHA-1 of the text.
    Sha1Utf8,
}

/// An HMAC that has taken in its key; cloned for each request.
enum KeyedHmac {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha384(Hmac<Sha384>),
    Sha512(Hmac<Sha512>),
}

impl Scheme {
    /// Prepares the keys. Secrets that are no key in this form are left out.
    pub(super) fn new(
        label: Option<Box<[u8]>>,
        algorithm: Algorithm,
        encoding: Encoding,
        form: KeyForm,
        secrets: &[Secret],
    ) -> Self {
        let keys = secrets.iter().filter_map(|secret| form.derive(secret));
        let keys = match algorithm {
            Algorithm::Hmac(hash) => Keys::Hmac(
                hash,
                keys.filter_map(|key| KeyedHmac::new(hash, &key)).collect(),
            ),
            Algorithm::Digest(hash) => Keys::Digest(hash, keys.collect()),
            Algorithm::Equal => Keys::Equal(keys.collect()),
        };
        Self {
            label,
            encoding,
            keys,
        }
    }

    /// Whether the signature is a static credential.
    pub(super) fn is_static(&self) -> bool {
        matches!(self.keys, Keys::Equal(_))
    }

    /// Whether any secret is a key for this scheme.
    pub(super) fn has_key(&self) -> bool {
        match &self.keys {
            Keys::Hmac(_, keys) => !keys.is_empty(),
            Keys::Digest(_, keys) | Keys::Equal(keys) => !keys.is_empty(),
        }
    }

    /// Accepts when any candidate of this scheme's label matches under any key and any
    /// alternative of the signed text. The work is bounded by the configuration, not by how
    /// many candidates the request carries: a text is hashed once per key.
    pub(super) fn check(
        &self,
        parts: &[Part<'_>],
        signed: &[Template],
        inputs: &Inputs<'_>,
    ) -> Result<(), VerifyError> {
        let candidates = parts
            .iter()
            .filter(|part| {
                self.label
                    .as_deref()
                    .is_none_or(|label| label == part.label)
            })
            .map(|part| part.value);
        match &self.keys {
            Keys::Equal(keys) => check_equal(self.encoding, candidates, keys),
            Keys::Hmac(hash, keys) => {
                let tags = self.encoding.tags(candidates, hash.len())?;
                check_tags(&tags, keys, signed, |key, text| key.tag(text, inputs))
            }
            Keys::Digest(hash, keys) => {
                let tags = self.encoding.tags(candidates, hash.len())?;
                check_tags(&tags, keys, signed, |key, text| {
                    hash.tag(|sink| text.feed(inputs, key, sink))
                })
            }
        }
    }
}

fn check_equal<'v>(
    encoding: Encoding,
    candidates: impl Iterator<Item = &'v [u8]>,
    keys: &[Zeroizing<Vec<u8>>],
) -> Result<(), VerifyError> {
    let mut reason = VerifyError::MalformedSignature;
    for candidate in candidates.filter_map(|text| encoding.decode(text)) {
        reason = VerifyError::BadKey;
        for key in keys {
            if candidate.ct_eq(key).into() {
                return Ok(());
            }
            reason = VerifyError::SignatureMismatch;
        }
    }
    Err(reason)
}

fn check_tags<K>(
    candidates: &[Tag],
    keys: &[K],
    signed: &[Template],
    tag: impl Fn(&K, &Template) -> Result<Tag, VerifyError>,
) -> Result<(), VerifyError> {
    let mut reason = VerifyError::BadKey;
    for text in signed {
        for key in keys {
            let error = match tag(key, text) {
                Ok(tag) if candidates.iter().any(|candidate| candidate.equals(&tag)) => {
                    return Ok(());
                }
                Ok(_) => VerifyError::SignatureMismatch,
                Err(error) => error,
            };
            if error.progress() > reason.progress() {
                reason = error;
            }
        }
    }
    Err(reason)
}

impl KeyForm {
    /// The key of a secret. `None` when the text is not in this form, is an empty key, which
    /// everybody knows, or is public: a public key used as a shared one would let anyone sign.
    fn derive(self, secret: &Secret) -> Option<Zeroizing<Vec<u8>>> {
        let text = secret.expose();
        if text.is_empty() || text.starts_with("whpk_") || text.starts_with("-----BEGIN ") {
            return None;
        }
        let key = match self {
            Self::Utf8 => text.as_bytes().to_vec(),
            Self::Hex => hex::decode(text).ok()?,
            Self::Whsec => STANDARD
                .decode(text.strip_prefix("whsec_").unwrap_or(text))
                .ok()?,
            Self::Sha1Utf8 => Sha1::digest(text.as_bytes()).to_vec(),
        };
        (!key.is_empty()).then(|| Zeroizing::new(key))
    }
}

impl KeyedHmac {
    /// `None` cannot happen: an HMAC takes a key of any length.
    fn new(hash: Hash, key: &[u8]) -> Option<Self> {
        Some(match hash {
            Hash::Sha1 => Self::Sha1(Hmac::new_from_slice(key).ok()?),
            Hash::Sha256 => Self::Sha256(Hmac::new_from_slice(key).ok()?),
            Hash::Sha384 => Self::Sha384(Hmac::new_from_slice(key).ok()?),
            Hash::Sha512 => Self::Sha512(Hmac::new_from_slice(key).ok()?),
        })
    }

    fn tag(&self, text: &Template, inputs: &Inputs<'_>) -> Result<Tag, VerifyError> {
        fn run<M: Mac + Update + Clone>(
            keyed: &M,
            text: &Template,
            inputs: &Inputs<'_>,
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_keys_and_empty_keys_are_no_secrets() {
        for (form, text) in [
            (
                KeyForm::Utf8,
                "whpk_Vn29QYVXDEGUjXrX8fQXqJalQTw3dpH2MEnnM/z/VbM=",
            ),
            (KeyForm::Utf8, "-----BEGIN PUBLIC KEY-----"),
            (KeyForm::Utf8, ""),
            (KeyForm::Sha1Utf8, ""),
            (KeyForm::Whsec, "whsec_"),
            (KeyForm::Whsec, "whsec_not base64"),
            (KeyForm::Hex, "abc"),
        ] {
            assert!(form.derive(&Secret::new(text)).is_none(), "{text}");
        }
    }
}
