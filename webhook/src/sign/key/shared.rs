//! A secret that both sides have: it keys a MAC, as text or as what its base64 says.

use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Sha256, Sha512};
use zeroize::Zeroizing;

use super::{SignError, decoded};
use crate::secret::Secret;
use crate::sign::{Encoding, Hash};

/// Bytes of a Standard Webhooks key (specification 1.0.0).
const STANDARD_KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// A shared secret, with its keyed states. Most endpoints use one hash, and many are never called
/// at all, so each state is made when it is first needed.
pub(in crate::sign) struct SharedKey {
    secret: Secret,
    sha256: OnceLock<Box<Hmac<Sha256>>>,
    sha512: OnceLock<Box<Hmac<Sha512>>>,
    standard: OnceLock<Option<Box<Hmac<Sha256>>>>,
}

impl SharedKey {
    pub(super) const fn new(secret: Secret) -> Self {
        Self {
            secret,
            sha256: OnceLock::new(),
            sha512: OnceLock::new(),
            standard: OnceLock::new(),
        }
    }

    /// MAC of the joined parts, keyed by the secret's text.
    pub(in crate::sign) fn mac(&self, hash: Hash, encoding: Encoding, parts: &[&[u8]]) -> String {
        let key = self.secret.expose().as_bytes();
        match hash {
            Hash::Sha256 => {
                let keyed = self.sha256.get_or_init(|| Box::new(keyed256(key)));
                encode(encoding, &digest(Hmac::clone(keyed), parts))
            }
            Hash::Sha512 => {
                let keyed = self.sha512.get_or_init(|| Box::new(keyed512(key)));
                encode(encoding, &digest(Hmac::clone(keyed), parts))
            }
        }
    }

    /// Base64 of the Standard Webhooks MAC of the joined parts.
    pub(in crate::sign) fn standard_mac(&self, parts: &[&[u8]]) -> Result<String, SignError> {
        let keyed = self.standard()?.clone();
        Ok(encode(Encoding::Base64, &digest(keyed, parts)))
    }

    pub(super) fn check_standard(&self) -> Result<(), SignError> {
        self.standard().map(|_| ())
    }

    fn standard(&self) -> Result<&Hmac<Sha256>, SignError> {
        let prepared = self
            .standard
            .get_or_init(|| standard_key(self.secret.expose()).map(|key| Box::new(keyed256(&key))));
        prepared.as_deref().ok_or(SignError::BadKey)
    }
}

/// The key bytes behind a `whsec_` text.
fn standard_key(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let key = decoded(text.strip_prefix("whsec_").unwrap_or(text))?;
    STANDARD_KEY_BYTES.contains(&key.len()).then_some(key)
}

#[expect(clippy::expect_used, reason = "HMAC is defined for keys of any length")]
fn keyed256(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("any length is a key")
}

#[expect(clippy::expect_used, reason = "HMAC is defined for keys of any length")]
fn keyed512(key: &[u8]) -> Hmac<Sha512> {
    Hmac::new_from_slice(key).expect("any length is a key")
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
