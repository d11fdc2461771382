//! Algorithms and keys: whether a candidate signature was made with one of the secrets.

mod keyed;
mod tag;

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::digest::{Digest, Update};
use sha1::Sha1;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::secret::Secret;

use super::VerifyError;
use super::allowed_url::AllowedUrl;
use super::preset::TrustSpec;
use super::public_key::{PublicAlgorithm, PublicForm, PublicKey};
use super::signature::Part;
use super::source::Source;
use super::template::{Inputs, Template};

pub(super) use self::keyed::KeyedHmac;
pub(super) use self::tag::{Encoding, Hash};

use self::tag::Tag;

/// Most signatures with public keys that are tried of one request: each costs as much as
/// hundreds of kilobytes of HMAC. A provider sends one for each of its live keys.
const PUBLIC_CANDIDATES_MAX: usize = 8;

/// One way a request may be signed.
pub(super) struct Scheme {
    /// Label of the pairs it looks at; `None` in formats without labels.
    pub(super) label: Option<Box<[u8]>>,
    encoding: Encoding,
    keys: Keys,
}

/// The usable keys of a scheme, ready for its algorithm.
enum Keys {
    Hmac(Hash, Vec<KeyedHmac>),
    Digest(Hash, Vec<Zeroizing<Vec<u8>>>),
    Equal(Vec<Zeroizing<Vec<u8>>>),
    Public(PublicAlgorithm, Vec<PublicKey>),
    Certificate(PublicAlgorithm, CertificatePlace),
}

/// Where the certificate of a scheme is, and what makes it trusted.
pub(super) struct CertificatePlace {
    pub(super) source: Source,
    pub(super) allowed: AllowedUrl,
    pub(super) trust: TrustSpec,
    pub(super) names: Vec<Box<str>>,
}

/// What a scheme does with its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Hmac(Hash),
    /// A plain digest of a text that contains the secret.
    Digest(Hash),
    /// A static credential.
    Equal,
    /// A signature with a public key.
    Public(PublicAlgorithm),
}

/// How the text of a secret becomes a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyForm {
    Shared(SharedForm),
    Public(PublicForm),
    /// No secret: the certificate at an address in the request.
    X509Url,
}

/// How the text of a secret becomes a shared key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SharedForm {
    Utf8,
    Hex,
    /// Base64 after an optional `whsec_`.
    Whsec,
    /// The SHA-1 of the text.
    Sha1Utf8,
}

impl Scheme {
    /// A scheme whose keys are secrets. Those that are no key in this form are left out; `None`
    /// when the algorithm does not take keys of this form at all.
    pub(super) fn with_secrets(
        label: Option<Box<[u8]>>,
        algorithm: Algorithm,
        encoding: Encoding,
        form: KeyForm,
        secrets: &[Secret],
    ) -> Option<Self> {
        let keys = match (algorithm, form) {
            (Algorithm::Public(algorithm), KeyForm::Public(form)) => {
                let keys = secrets
                    .iter()
                    .filter_map(|secret| form.derive(secret.expose()));
                Keys::Public(
                    algorithm,
                    keys.filter(|key| key.is_for(algorithm)).collect(),
                )
            }
            (Algorithm::Public(_), _) | (_, KeyForm::Public(_) | KeyForm::X509Url) => return None,
            (algorithm, KeyForm::Shared(form)) => {
                let keys = secrets.iter().filter_map(|secret| form.derive(secret));
                match algorithm {
                    Algorithm::Hmac(hash) => Keys::Hmac(
                        hash,
                        keys.filter_map(|key| KeyedHmac::new(hash, &key)).collect(),
                    ),
                    Algorithm::Digest(hash) => Keys::Digest(hash, keys.collect()),
                    _ => Keys::Equal(keys.collect()),
                }
            }
        };
        Some(Self {
            label,
            encoding,
            keys,
        })
    }

    /// A scheme whose key is in a certificate the request points to.
    pub(super) fn with_certificate(
        label: Option<Box<[u8]>>,
        algorithm: PublicAlgorithm,
        encoding: Encoding,
        place: CertificatePlace,
    ) -> Self {
        Self {
            label,
            encoding,
            keys: Keys::Certificate(algorithm, place),
        }
    }

    /// Whether the signature is a static credential.
    pub(super) fn is_static(&self) -> bool {
        matches!(self.keys, Keys::Equal(_))
    }

    /// Where its certificate is, when it takes one.
    pub(super) fn certificate(&self) -> Option<&CertificatePlace> {
        match &self.keys {
            Keys::Certificate(_, place) => Some(place),
            _ => None,
        }
    }

    /// Whether any secret is a key for this scheme, or it needs none.
    pub(super) fn has_key(&self) -> bool {
        match &self.keys {
            Keys::Hmac(_, keys) => !keys.is_empty(),
            Keys::Digest(_, keys) | Keys::Equal(keys) => !keys.is_empty(),
            Keys::Public(_, keys) => !keys.is_empty(),
            Keys::Certificate(..) => true,
        }
    }

    /// Whether one of the candidates is for this scheme and decodes: only then is it worth
    /// fetching a certificate.
    pub(super) fn has_candidate(&self, parts: &[Part<'_>]) -> bool {
        self.candidates(parts)
            .any(|text| self.encoding.decode(text).is_some())
    }

    /// Accepts when any candidate of this scheme's label matches under any key and any
    /// alternative of the signed text. The work is bounded by the configuration, not by how
    /// many candidates the request carries: a text is hashed once per key.
    pub(super) fn check(
        &self,
        parts: &[Part<'_>],
        signed: &[Template],
        inputs: &Inputs<'_, '_>,
    ) -> Result<(), VerifyError> {
        let candidates = self.candidates(parts);
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
            Keys::Public(algorithm, keys) => {
                let signatures = self.signatures(candidates)?;
                check_public(*algorithm, &signatures, keys, (signed, inputs))
            }
            Keys::Certificate(algorithm, _) => {
                let signatures = self.signatures(candidates)?;
                let certificate = inputs
                    .certificate
                    .ok_or(VerifyError::CertificateUnavailable)?;
                let keys = std::slice::from_ref(&certificate.key);
                check_public(*algorithm, &signatures, keys, (signed, inputs))
            }
        }
    }

    fn candidates<'v>(&self, parts: &[Part<'v>]) -> impl Iterator<Item = &'v [u8]> {
        let is_ours = |part: &&Part<'_>| {
            self.label
                .as_deref()
                .is_none_or(|label| label == part.label)
        };
        parts.iter().filter(is_ours).map(|part| part.value)
    }

    fn signatures<'v>(
        &self,
        candidates: impl Iterator<Item = &'v [u8]>,
    ) -> Result<Vec<Cow<'v, [u8]>>, VerifyError> {
        let decoded = candidates.filter_map(|text| self.encoding.decode(text));
        let signatures: Vec<_> = decoded.take(PUBLIC_CANDIDATES_MAX + 1).collect();
        if (1..=PUBLIC_CANDIDATES_MAX).contains(&signatures.len()) {
            Ok(signatures)
        } else {
            Err(VerifyError::MalformedSignature)
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

fn check_public(
    algorithm: PublicAlgorithm,
    signatures: &[Cow<'_, [u8]>],
    keys: &[PublicKey],
    (signed, inputs): (&[Template], &Inputs<'_, '_>),
) -> Result<(), VerifyError> {
    if !keys.iter().any(|key| key.is_for(algorithm)) {
        return Err(VerifyError::BadKey);
    }
    let mut reason = VerifyError::BadKey;
    for text in signed {
        let mut message = Text(Vec::new());
        let error = match text.feed(inputs, &[], &mut message) {
            Ok(()) => VerifyError::SignatureMismatch,
            Err(error) => error,
        };
        let is_match = |key: &PublicKey| {
            let verifies = |signature| key.verifies(algorithm, &message.0, signature);
            signatures.iter().any(|signature| verifies(signature))
        };
        if error == VerifyError::SignatureMismatch && keys.iter().any(is_match) {
            return Ok(());
        }
        if error.progress() > reason.progress() {
            reason = error;
        }
    }
    Err(reason)
}

/// A text in full, for algorithms that cannot stream it.
pub(super) struct Text(pub(super) Vec<u8>);

impl Update for Text {
    fn update(&mut self, data: &[u8]) {
        self.0.extend_from_slice(data);
    }
}

impl SharedForm {
    /// The key of a secret. `None` when the text is not in this form, is an empty key, which
    /// everybody knows, or is public: a public key used as a shared one would let anyone sign.
    pub(super) fn derive(self, secret: &Secret) -> Option<Zeroizing<Vec<u8>>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_keys_and_empty_keys_are_no_secrets() {
        for (form, text) in [
            (
                SharedForm::Utf8,
                "whpk_Vn29QYVXDEGUjXrX8fQXqJalQTw3dpH2MEnnM/z/VbM=",
            ),
            (SharedForm::Utf8, "-----BEGIN PUBLIC KEY-----"),
            (SharedForm::Utf8, ""),
            (SharedForm::Sha1Utf8, ""),
            (SharedForm::Whsec, "whsec_"),
            (SharedForm::Whsec, "whsec_not base64"),
            (SharedForm::Hex, "abc"),
        ] {
            assert!(form.derive(&Secret::new(text)).is_none(), "{text}");
        }
    }
}
