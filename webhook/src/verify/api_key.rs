//! API keys as digests: the gateway never keeps the token.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::event::Proof;

/// SHA-256 of the whole token text. Tokens are long and random, so a plain digest cannot be
/// searched backwards, and a lookup by digest tells an attacker nothing about a token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ApiKeyDigest([u8; 32]);

/// Text that is not a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a SHA-256 digest is 64 hexadecimal digits")]
pub struct ApiKeyDigestError;

impl ApiKeyDigest {
    /// The digest of a token.
    #[must_use]
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// From 64 hexadecimal digits of either case.
    ///
    /// # Errors
    /// [`ApiKeyDigestError`] for any other text.
    pub fn from_hex(text: &str) -> Result<Self, ApiKeyDigestError> {
        let mut digest = [0_u8; 32];
        hex::decode_to_slice(text, &mut digest).map_err(|_| ApiKeyDigestError)?;
        Ok(Self(digest))
    }

    /// As 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// Evidence that the presented token is this key's. Takes the same time wherever they differ.
    #[must_use]
    pub fn prove(&self, presented: &Self) -> Option<Proof> {
        bool::from(self.0.ct_eq(&presented.0)).then_some(Proof(()))
    }
}

/// Prints the first four bytes: enough to tell keys apart in a log, too little to use.
impl fmt::Debug for ApiKeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKeyDigest(")?;
        for byte in self.0.iter().take(4) {
            write!(f, "{byte:02x}")?;
        }
        f.write_str("..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_token_proves_nothing() {
        let key = ApiKeyDigest::of("CO.0123456789abcdef.secret");
        assert!(
            key.prove(&ApiKeyDigest::of("CO.0123456789abcdef.secreT"))
                .is_none()
        );
        assert!(
            key.prove(&ApiKeyDigest::of("CO.0123456789abcdef.secret"))
                .is_some()
        );
    }

    #[test]
    fn texts_that_are_no_digest_are_refused() {
        let hex = ApiKeyDigest::of("").to_hex();
        assert_eq!(
            hex,
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        for text in ["", &hex[1..], &format!("{hex}00"), &hex.replace('e', "g")] {
            assert_eq!(
                ApiKeyDigest::from_hex(text),
                Err(ApiKeyDigestError),
                "{text}"
            );
        }
        assert_eq!(
            ApiKeyDigest::from_hex(&hex.to_uppercase()),
            Ok(ApiKeyDigest::of(""))
        );
    }

    #[test]
    fn debug_prints_four_bytes_only() {
        assert_eq!(
            format!("{:?}", ApiKeyDigest::of("")),
            "ApiKeyDigest(e3b0c442..)"
        );
    }
}
