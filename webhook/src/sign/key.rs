//! Signing keys: one secret of an endpoint, with its keyed states prepared once.

use std::fmt;
use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Sha256, Sha512};
use zeroize::Zeroizing;

use super::{Encoding, Hash, SignError};
use crate::secret::Secret;

/// Bytes of a Standard Webhooks key (specification 1.0.0).
const STANDARD_KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// One secret and what was prepared from it. Most endpoints use one hash, and many are never
/// called at all, so each state is made when it is first needed.
pub struct SigningKey {
    secret: Secret,
    expires_at_s: Option<i64>,
    sha256: OnceLock<Box<Hmac<Sha256>>>,
    sha512: OnceLock<Box<Hmac<Sha512>>>,
    standard: OnceLock<Option<Box<Hmac<Sha256>>>>,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("expires_at_s", &self.expires_at_s)
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    /// A key that signs until `expires_at_s` (Unix seconds), or for ever.
    #[must_use]
    pub const fn new(secret: Secret, expires_at_s: Option<i64>) -> Self {
        Self {
            secret,
            expires_at_s,
            sha256: OnceLock::new(),
            sha512: OnceLock::new(),
            standard: OnceLock::new(),
        }
    }

    /// Whether it still signs at `now_s`; on the second of its end it does not.
    #[must_use]
    pub fn is_live(&self, now_s: i64) -> bool {
        self.expires_at_s.is_none_or(|end| now_s < end)
    }

    /// When it ends, Unix seconds.
    #[must_use]
    pub const fn expires_at_s(&self) -> Option<i64> {
        self.expires_at_s
    }

    /// Whether it can sign for Standard Webhooks.
    ///
    /// # Errors
    /// [`SignError::BadKey`] when it is not `whsec_` and base64 of 24 to 64 bytes.
    pub fn check_standard(&self) -> Result<(), SignError> {
        self.standard().map(|_| ())
    }

    /// MAC of the joined parts, keyed by the secret's text.
    pub(super) fn mac(&self, hash: Hash, encoding: Encoding, parts: &[&[u8]]) -> String {
        match hash {
            Hash::Sha256 => {
                let keyed = self
                    .sha256
                    .get_or_init(|| Box::new(keyed256(self.secret.expose().as_bytes())));
                encode(encoding, &digest(Hmac::clone(keyed), parts))
            }
            Hash::Sha512 => {
                let keyed = self
                    .sha512
                    .get_or_init(|| Box::new(keyed512(self.secret.expose().as_bytes())));
                encode(encoding, &digest(Hmac::clone(keyed), parts))
            }
        }
    }

    /// Base64 of the Standard Webhooks MAC of the joined parts.
    pub(super) fn standard_mac(&self, parts: &[&[u8]]) -> Result<String, SignError> {
        Ok(encode(
            Encoding::Base64,
            &digest(self.standard()?.clone(), parts),
        ))
    }

    fn standard(&self) -> Result<&Hmac<Sha256>, SignError> {
        let prepared = self
            .standard
            .get_or_init(|| standard_key(self.secret.expose()).map(|key| Box::new(keyed256(&key))));
        prepared.as_deref().ok_or(SignError::BadKey)
    }
}

/// The key bytes behind a `whsec_` text. A public or private asymmetric key is never taken for one.
fn standard_key(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let text = text.strip_prefix("whsec_").unwrap_or(text);
    if text.starts_with("whpk_") || text.starts_with("whsk_") {
        return None;
    }
    let key = Zeroizing::new(STANDARD.decode(text).ok()?);
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

fn encode(encoding: Encoding, mac: &impl AsRef<[u8]>) -> String {
    match encoding {
        Encoding::Hex => hex::encode(mac),
        Encoding::Base64 => STANDARD.encode(mac),
    }
}
