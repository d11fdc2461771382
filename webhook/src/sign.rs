//! Stage 7, sign: an event, keys and the time give the request that goes on the wire.
//!
//! What is signed is what is sent: [`SignedRequest`] is made here only, holds the very bytes
//! that went through the MAC, and nothing after it changes them. The schemes themselves are in
//! `scheme`, keys in `key`.

mod key;
mod request;
mod scheme;
#[cfg(test)]
mod tests;

pub use self::key::{SecretType, SigningKey, is_private_key, private_key_text, public_key_of};
pub use self::request::{Outgoing, Parts, SignedRequest, sign};
pub use self::scheme::{convoy, standard_webhooks};

use std::str::FromStr;

use http::HeaderName;

/// Default signature header of Convoy.
pub const CONVOY_HEADER: HeaderName = HeaderName::from_static("x-convoy-signature");

/// A request cannot be signed, or a setting cannot be used: a closed list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The project lists no signature version.
    #[error("no signature version is set")]
    NoScheme,
    /// No live secret is left.
    #[error("no live secret")]
    NoSecret,
    /// Not a hash of ours.
    #[error("`{0}` is not a hash: SHA256 or SHA512, in capitals")]
    UnsupportedHash(String),
    /// Not an encoding of ours.
    #[error("`{0}` is not an encoding: hex or base64")]
    UnsupportedEncoding(String),
    /// Signing the compacted form was asked for, and the payload is not JSON.
    #[error("the payload is not JSON")]
    PayloadNotJson,
    /// Would make the signed text ambiguous.
    #[error("a message id is not empty and has no full stop and no white space")]
    BadMessageId,
    /// Not a key for Standard Webhooks.
    #[error("a shared Standard Webhooks secret is `whsec_` and the base64 of 24 to 64 bytes")]
    BadKey,
    /// Says that it is a private key, and is none.
    #[error(
        "a private key is `whsk_` and the base64 of an Ed25519 seed of 32 bytes with its public half of 32 bytes, or of the seed alone"
    )]
    BadPrivateKey,
    /// Everybody may know it.
    #[error("a public key (`whpk_`) cannot sign: its private half begins with `whsk_`")]
    PublicKey,
    /// Only private keys where a signature needs a shared secret.
    #[error(
        "a signature of this project needs a shared secret without an end: private keys (`whsk_`) sign for Standard Webhooks only"
    )]
    NoSharedSecret,
    /// A header that cannot be sent.
    #[error("header `{0}` cannot carry its value")]
    BadHeader(HeaderName),
    /// A setting would overwrite a header that has another meaning, or frames the message.
    #[error("header `{0}` has a meaning of its own and cannot carry this")]
    ReservedHeader(HeaderName),
    /// The path and query cannot be sent.
    #[error("the query string cannot be appended to the URL")]
    BadQuery,
}

impl SignError {
    /// Stable code for records, labels and API bodies.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoScheme => "no_scheme",
            Self::NoSecret => "no_secret",
            Self::UnsupportedHash(_) => "unsupported_hash",
            Self::UnsupportedEncoding(_) => "unsupported_encoding",
            Self::PayloadNotJson => "payload_not_json",
            Self::BadMessageId => "bad_message_id",
            Self::BadKey | Self::BadPrivateKey | Self::PublicKey => "bad_key",
            Self::NoSharedSecret => "no_shared_secret",
            Self::BadHeader(_) => "bad_header",
            Self::ReservedHeader(_) => "reserved_header",
            Self::BadQuery => "bad_query",
        }
    }
}

/// Hash of a MAC, in Convoy's spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hash {
    /// `SHA256`
    Sha256,
    /// `SHA512`
    Sha512,
}

impl Hash {
    /// Convoy's spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
        }
    }
}

impl FromStr for Hash {
    type Err = SignError;
    fn from_str(text: &str) -> Result<Self, SignError> {
        match text {
            "SHA256" => Ok(Self::Sha256),
            "SHA512" => Ok(Self::Sha512),
            other => Err(SignError::UnsupportedHash(other.to_owned())),
        }
    }
}

/// Text form of a MAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Lower-case hex.
    Hex,
    /// Standard base64, padded.
    Base64,
}

impl Encoding {
    /// Convoy's spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hex => "hex",
            Self::Base64 => "base64",
        }
    }
}

impl FromStr for Encoding {
    type Err = SignError;
    fn from_str(text: &str) -> Result<Self, SignError> {
        match text {
            "hex" => Ok(Self::Hex),
            "base64" => Ok(Self::Base64),
            other => Err(SignError::UnsupportedEncoding(other.to_owned())),
        }
    }
}

/// One signature version of a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// Its hash.
    pub hash: Hash,
    /// Its text form.
    pub encoding: Encoding,
}

/// Which family of signatures is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Convoy's header.
    #[default]
    Convoy,
    /// The three headers of Standard Webhooks.
    StandardWebhooks,
    /// Both on one request.
    Both,
}

impl Format {
    /// As it is written in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Convoy => "convoy",
            Self::StandardWebhooks => "standard_webhooks",
            Self::Both => "both",
        }
    }

    /// Whether Convoy's header is sent.
    #[must_use]
    pub const fn has_convoy(self) -> bool {
        matches!(self, Self::Convoy | Self::Both)
    }

    /// Whether the headers of Standard Webhooks are sent.
    #[must_use]
    pub const fn has_standard(self) -> bool {
        matches!(self, Self::StandardWebhooks | Self::Both)
    }
}

/// What goes through Convoy's MAC (RULINGS 20).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Input {
    /// The bytes sent.
    #[default]
    AsSent,
    /// The payload with insignificant white space removed, as Convoy does.
    CompactJson,
}

impl Input {
    /// As it is written in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AsSent => "as_sent",
            Self::CompactJson => "compact_json",
        }
    }
}

/// Whether Convoy's signature carries the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The MAC alone, by the newest secret.
    Simple,
    /// Time and the MACs of every version and live secret.
    Advanced,
}

/// The signature settings of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheme {
    header: HeaderName,
    versions: Vec<Version>,
    format: Format,
    input: Input,
    secret_type: SecretType,
}

impl Scheme {
    /// Joins the settings.
    ///
    /// # Errors
    /// [`SignError::NoScheme`] when Convoy's header is wanted and there is no version,
    /// [`SignError::ReservedHeader`] for a header that another of ours would overwrite.
    pub fn new(
        header: HeaderName,
        versions: Vec<Version>,
        format: Format,
        input: Input,
    ) -> Result<Self, SignError> {
        if versions.is_empty() && format.has_convoy() {
            return Err(SignError::NoScheme);
        }
        if request::is_reserved(&header) {
            return Err(SignError::ReservedHeader(header));
        }
        Ok(Self {
            header,
            versions,
            format,
            input,
            secret_type: SecretType::Shared,
        })
    }

    /// The same with another type of secrets that are made up.
    ///
    /// # Errors
    /// [`SignError::NoSharedSecret`] when what is made up could not sign.
    pub fn making(mut self, secret_type: SecretType) -> Result<Self, SignError> {
        if secret_type == SecretType::Ed25519 && self.needs_shared_secret() {
            return Err(SignError::NoSharedSecret);
        }
        self.secret_type = secret_type;
        Ok(self)
    }

    /// Whether an endpoint can sign with these keys.
    ///
    /// # Errors
    /// [`SignError::BadKey`] or [`SignError::NoSharedSecret`].
    pub fn check_keys(&self, keys: &[SigningKey]) -> Result<(), SignError> {
        if self.needs_standard_keys() {
            keys.iter().try_for_each(SigningKey::check_standard)?;
        }
        let is_private = |key: &SigningKey| key.secret_type() == SecretType::Ed25519;
        let lasts = |key: &SigningKey| !is_private(key) && key.expires_at_s().is_none();
        // Beside a private key that takes its place a shared secret would end, and every
        // delivery be held from then on.
        if self.needs_shared_secret() && keys.iter().any(is_private) && !keys.iter().any(lasts) {
            return Err(SignError::NoSharedSecret);
        }
        Ok(())
    }

    /// Whether every shared secret has to be a Standard Webhooks key.
    #[must_use]
    pub const fn needs_standard_keys(&self) -> bool {
        self.format.has_standard()
    }

    /// Whether private keys alone are not enough.
    #[must_use]
    pub const fn needs_shared_secret(&self) -> bool {
        self.format.has_convoy()
    }

    /// Of which type secrets are that are made up.
    #[must_use]
    pub const fn secret_type(&self) -> SecretType {
        self.secret_type
    }

    /// Whether a header may carry the idempotency key: it must not be one that we write.
    ///
    /// # Errors
    /// [`SignError::ReservedHeader`].
    pub fn check_idempotency_header(&self, name: &HeaderName) -> Result<(), SignError> {
        if request::is_reserved(name) || (self.format.has_convoy() && *name == self.header) {
            return Err(SignError::ReservedHeader(name.clone()));
        }
        Ok(())
    }

    /// Name of Convoy's header.
    #[must_use]
    pub const fn header(&self) -> &HeaderName {
        &self.header
    }

    /// Signature versions in order; the first is `v1`.
    #[must_use]
    pub fn versions(&self) -> &[Version] {
        &self.versions
    }

    /// Which family is sent.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// What goes through Convoy's MAC.
    #[must_use]
    pub const fn input(&self) -> Input {
        self.input
    }
}

impl Default for Scheme {
    /// Convoy's default: `X-Convoy-Signature`, one version, SHA256 in hex.
    fn default() -> Self {
        let version = Version {
            hash: Hash::Sha256,
            encoding: Encoding::Hex,
        };
        Self {
            header: CONVOY_HEADER,
            versions: vec![version],
            format: Format::Convoy,
            input: Input::AsSent,
            secret_type: SecretType::Shared,
        }
    }
}
