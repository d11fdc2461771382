//! Signing keys: one secret of an endpoint, what kind it is, and until when it signs.

mod private;
mod shared;

use std::fmt;

use zeroize::Zeroizing;

use super::SignError;
use crate::secret::Secret;

pub(super) use self::private::PrivateKey;
pub use self::private::{is_private_key, private_key_text, public_key_of};
pub use self::shared::KeyForm;
pub(super) use self::shared::SharedKey;

/// Prefix of the public half of an asymmetric key.
const PUBLIC_KEY_PREFIX: &str = "whpk_";

/// Whether a secret is known to both sides or to us alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SecretType {
    /// Sender and receiver have the same secret.
    #[default]
    Shared,
    /// An Ed25519 key pair of which the receiver has the public half.
    Ed25519,
}

impl SecretType {
    /// The words for it in files.
    pub const WORDS: &'static [&'static str] = &["shared", "ed25519"];

    /// As it is written in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Ed25519 => "ed25519",
        }
    }

    /// From the word for it.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        match word {
            "shared" => Some(Self::Shared),
            "ed25519" => Some(Self::Ed25519),
            _ => None,
        }
    }
}

/// One secret and what was prepared from it.
pub struct SigningKey {
    material: Material,
    id: Box<str>,
    expires_at_s: Option<i64>,
}

enum Material {
    Shared(SharedKey),
    Private(Box<PrivateKey>),
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("type", &self.secret_type())
            .field("expires_at_s", &self.expires_at_s)
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    /// A key that signs until `expires_at_s` (Unix seconds), or for ever. What begins with `whsk_`
    /// is a private key and never the text of a shared one: nobody but us could verify that.
    ///
    /// # Errors
    /// [`SignError::BadPrivateKey`] for a `whsk_` text that holds no Ed25519 key, or halves of two;
    /// [`SignError::PublicKey`] for a `whpk_` text, which everybody may know.
    pub fn new(secret: Secret, expires_at_s: Option<i64>) -> Result<Self, SignError> {
        let material = if is_private_key(secret.expose()) {
            Material::Private(Box::new(PrivateKey::parse(secret.expose())?))
        } else if secret.expose().starts_with(PUBLIC_KEY_PREFIX) {
            return Err(SignError::PublicKey);
        } else {
            Material::Shared(SharedKey::new(secret))
        };
        Ok(Self {
            material,
            id: Box::default(),
            expires_at_s,
        })
    }

    /// The same with an id, which is no secret: receivers find the key by it.
    #[must_use]
    pub fn with_id(mut self, id: &str) -> Self {
        self.id = id.into();
        self
    }

    /// Its id; empty when it has none.
    #[must_use]
    pub const fn id(&self) -> &str {
        &self.id
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

    /// Whether both sides have it.
    #[must_use]
    pub const fn secret_type(&self) -> SecretType {
        match self.material {
            Material::Shared(_) => SecretType::Shared,
            Material::Private(_) => SecretType::Ed25519,
        }
    }

    /// `whpk_` and the public half, which is no secret; `None` of a shared one.
    #[must_use]
    pub fn public_key(&self) -> Option<String> {
        self.private().map(PrivateKey::public_text)
    }

    /// Whether it can sign for Standard Webhooks.
    ///
    /// # Errors
    /// [`SignError::BadKey`] when it is shared and not `whsec_` and base64 of 24 to 64 bytes.
    pub fn check_standard(&self) -> Result<(), SignError> {
        match &self.material {
            Material::Shared(key) => key.check_standard(),
            Material::Private(_) => Ok(()),
        }
    }

    /// The shared secret, if it is one.
    pub(super) const fn shared(&self) -> Option<&SharedKey> {
        match &self.material {
            Material::Shared(key) => Some(key),
            Material::Private(_) => None,
        }
    }

    /// The private key, if it is one.
    pub(super) fn private(&self) -> Option<&PrivateKey> {
        match &self.material {
            Material::Shared(_) => None,
            Material::Private(key) => Some(key),
        }
    }

    /// Name of the algorithm of its message signatures (RFC 9421 section 6.2).
    pub(super) const fn message_algorithm(&self) -> &'static str {
        match self.material {
            Material::Shared(_) => "hmac-sha256",
            Material::Private(_) => "ed25519",
        }
    }

    /// Base64 of its signature of a signature base.
    pub(super) fn sign_message(&self, base: &str) -> Result<String, SignError> {
        match &self.material {
            Material::Shared(key) => key.standard_mac(&[base.as_bytes()]),
            Material::Private(key) => Ok(key.sign(base.as_bytes())),
        }
    }

    /// The entry of `webhook-signature` over the joined parts: `v1,..` or `v1a,..`.
    pub(super) fn standard_entry(&self, parts: &[&[u8]]) -> Result<String, SignError> {
        match &self.material {
            Material::Shared(key) => Ok(format!("v1,{}", key.standard_mac(parts)?)),
            Material::Private(key) => Ok(format!("v1a,{}", key.sign(&parts.concat()))),
        }
    }
}

/// Decoded bytes of a key, wiped when they are dropped.
fn decoded(base64: &str) -> Option<Zeroizing<Vec<u8>>> {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::STANDARD;
    engine.decode(base64).ok().map(Zeroizing::new)
}
