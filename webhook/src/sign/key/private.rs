//! An Ed25519 private key in the text form of Standard Webhooks.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{Ed25519KeyPair, KeyPair};
use zeroize::Zeroizing;

use super::{PUBLIC_KEY_PREFIX, SignError, decoded};
use crate::secret::Secret;

/// Prefix of a private key.
const PRIVATE_KEY_PREFIX: &str = "whsk_";
/// Bytes of the seed (RFC 8032); the public half that follows it in the text has as many.
const SEED_BYTES: usize = 32;

/// A key pair, ready to sign. Making one takes a multiplication on the curve, so it is made when
/// the endpoint is configured and not for each attempt.
pub(in crate::sign) struct PrivateKey(Ed25519KeyPair);

impl PrivateKey {
    /// From `whsk_` and the base64 of seed and public half, or of the seed alone.
    pub(super) fn parse(text: &str) -> Result<Self, SignError> {
        let base64 = text.strip_prefix(PRIVATE_KEY_PREFIX);
        let bytes = base64.and_then(decoded).ok_or(SignError::BadPrivateKey)?;
        let (seed, public) = bytes
            .split_at_checked(SEED_BYTES)
            .ok_or(SignError::BadPrivateKey)?;
        let pair = if public.is_empty() {
            Ed25519KeyPair::from_seed_unchecked(seed)
        } else {
            // Refuses halves that do not belong together: signing with those gives the key away.
            Ed25519KeyPair::from_seed_and_public_key(seed, public)
        };
        pair.map(Self).map_err(|_| SignError::BadPrivateKey)
    }

    /// Base64 of the signature.
    pub(in crate::sign) fn sign(&self, message: &[u8]) -> String {
        STANDARD.encode(self.0.sign(message))
    }

    /// `whpk_` and the base64 of the public half.
    pub(super) fn public_text(&self) -> String {
        public_text(self.0.public_key().as_ref())
    }
}

/// Whether the text of a secret says that it is a private key.
#[must_use]
pub fn is_private_key(text: &str) -> bool {
    text.starts_with(PRIVATE_KEY_PREFIX)
}

/// The text of the private key with this seed: `whsk_` and the base64 of seed and public half.
/// `None` cannot happen with 32 bytes.
#[must_use]
pub fn private_key_text(seed: &[u8; SEED_BYTES]) -> Option<Secret> {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
    let bytes = Zeroizing::new([seed, pair.public_key().as_ref()].concat());
    let base64 = Zeroizing::new(STANDARD.encode(&*bytes));
    Some(Secret::new(format!(
        "{PRIVATE_KEY_PREFIX}{}",
        base64.as_str()
    )))
}

/// `whpk_` and the public half of a `whsk_` text; `None` when it is none.
#[must_use]
pub fn public_key_of(text: &str) -> Option<String> {
    let bytes = decoded(text.strip_prefix(PRIVATE_KEY_PREFIX)?)?;
    match bytes.split_at_checked(SEED_BYTES)? {
        (_, []) => PrivateKey::parse(text).ok().map(|key| key.public_text()),
        // It was compared with the seed when it was configured.
        (_, public) => (public.len() == SEED_BYTES).then(|| public_text(public)),
    }
}

fn public_text(public: &[u8]) -> String {
    format!("{PUBLIC_KEY_PREFIX}{}", STANDARD.encode(public))
}
