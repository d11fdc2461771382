//! A secret that both sides have: it keys a MAC, as text or as what its base64 says.

use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use zeroize::Zeroizing;

use super::{SignError, decoded};
use crate::secret::Secret;
use crate::sign::{Encoding, Hash};

/// Bytes of a Standard Webhooks key (specification 1.0.0).
const STANDARD_KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// How the text of a shared secret becomes the key of a MAC; the words are those of presets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyForm {
    /// The text itself.
    #[default]
    Utf8,
    /// What its base64 says, after an optional `whsec_`: 24 to 64 bytes.
    Whsec,
}

impl KeyForm {
    /// The words for it in files.
    pub const WORDS: &'static [&'static str] = &["utf8", "whsec"];

    /// As it is written in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Utf8 => "utf8",
            Self::Whsec => "whsec",
        }
    }

    /// From the word for it.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        match word {
            "utf8" => Some(Self::Utf8),
            "whsec" => Some(Self::Whsec),
            _ => None,
        }
    }
}

/// A shared secret, with its keyed states. Most endpoints use one hash, and many are never called
/// at all, so each state is made when it is first needed.
pub(in crate::sign) struct SharedKey {
    secret: Secret,
    utf8: States,
    whsec: States,
}

/// `None` inside: the text is no key in this form.
#[derive(Default)]
struct States {
    sha1: OnceLock<Option<Box<Keyed>>>,
    sha256: OnceLock<Option<Box<Keyed>>>,
    sha512: OnceLock<Option<Box<Keyed>>>,
}

/// A MAC that has its key.
enum Keyed {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha512(Hmac<Sha512>),
}

impl SharedKey {
    pub(super) fn new(secret: Secret) -> Self {
        Self {
            secret,
            utf8: States::default(),
            whsec: States::default(),
        }
    }

    /// MAC of the joined parts.
    pub(in crate::sign) fn mac(
        &self,
        form: KeyForm,
        hash: Hash,
        encoding: Encoding,
        parts: &[&[u8]],
    ) -> Result<String, SignError> {
        Ok(match self.keyed(form, hash)? {
            Keyed::Sha1(mac) => encode(encoding, &digest(mac.clone(), parts)),
            Keyed::Sha256(mac) => encode(encoding, &digest(mac.clone(), parts)),
            Keyed::Sha512(mac) => encode(encoding, &digest(mac.clone(), parts)),
        })
    }

    /// Base64 of the Standard Webhooks MAC of the joined parts.
    pub(in crate::sign) fn standard_mac(&self, parts: &[&[u8]]) -> Result<String, SignError> {
        self.mac(KeyForm::Whsec, Hash::Sha256, Encoding::Base64, parts)
    }

    /// Whether it is a key in the form of Standard Webhooks.
    pub(super) fn check_standard(&self) -> Result<(), SignError> {
        self.keyed(KeyForm::Whsec, Hash::Sha256).map(|_| ())
    }

    fn keyed(&self, form: KeyForm, hash: Hash) -> Result<&Keyed, SignError> {
        let states = match form {
            KeyForm::Utf8 => &self.utf8,
            KeyForm::Whsec => &self.whsec,
        };
        let state = match hash {
            Hash::Sha1 => &states.sha1,
            Hash::Sha256 => &states.sha256,
            Hash::Sha512 => &states.sha512,
        };
        let text = self.secret.expose();
        let prepared = state.get_or_init(|| match form {
            KeyForm::Utf8 => Some(Box::new(Keyed::new(hash, text.as_bytes()))),
            KeyForm::Whsec => standard_key(text).map(|key| Box::new(Keyed::new(hash, &key))),
        });
        prepared.as_deref().ok_or(SignError::BadKey)
    }
}

impl Keyed {
    #[expect(clippy::expect_used, reason = "HMAC is defined for keys of any length")]
    fn new(hash: Hash, key: &[u8]) -> Self {
        let any = "any length is a key";
        match hash {
            Hash::Sha1 => Self::Sha1(Hmac::new_from_slice(key).expect(any)),
            Hash::Sha256 => Self::Sha256(Hmac::new_from_slice(key).expect(any)),
            Hash::Sha512 => Self::Sha512(Hmac::new_from_slice(key).expect(any)),
        }
    }
}

/// The key bytes behind a `whsec_` text.
fn standard_key(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let key = decoded(text.strip_prefix("whsec_").unwrap_or(text))?;
    STANDARD_KEY_BYTES.contains(&key.len()).then_some(key)
}

fn digest<M: Mac>(mut mac: M, parts: &[&[u8]]) -> impl AsRef<[u8]> {
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes()
}

/// The text form of a MAC.
fn encode(encoding: Encoding, mac: &impl AsRef<[u8]>) -> String {
    match encoding {
        Encoding::Hex => hex::encode(mac),
        Encoding::Base64 => STANDARD.encode(mac),
    }
}
