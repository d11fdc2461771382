//! Stage 7, sign: an event, keys and the time give the request that goes on the wire.
//!
//! What is signed is what is sent: [`SignedRequest`] is made here only, holds the very bytes
//! that went through the MAC, and nothing after it changes them. The schemes themselves are in
//! `scheme`, headers of a project's own making in `header`, keys in `key`.

mod header;
mod key;
mod message;
mod request;
mod scheme;
mod settings;
mod template;
#[cfg(test)]
mod tests;

pub use self::header::{HeaderError, HeaderFault, HeaderRule, SignatureHeader};
pub use self::key::{
    KeyForm, SecretType, SigningKey, is_private_key, private_key_text, public_key_of,
};
pub use self::message::{MessageError, MessageSignature};
pub use self::request::{
    ORDER_GAP, ORDER_LATE, ORDER_SEQUENCE, Outgoing, Parts, SignedRequest, sign, webhook_id,
};
pub use self::scheme::{convoy, standard_webhooks};
pub use self::settings::{Scheme, Settings};
pub use self::template::TemplateError;

use std::str::FromStr;

use http::HeaderName;

use crate::undelivered::Reason;

/// Default signature header of Convoy.
pub const CONVOY_HEADER: HeaderName = HeaderName::from_static("x-convoy-signature");

/// A request cannot be signed, or a setting cannot be used: a closed list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The project lists no signature version, or no header with a signature.
    #[error("no signature is set")]
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
    /// Not a `keyid` of RFC 9421.
    #[error(
        "the uid of a secret is its `keyid`: from 1 to 255 printable ASCII characters, without `\"` and `\\`"
    )]
    BadKeyId,
    /// The same header twice.
    #[error("header `{0}` is written twice")]
    RepeatedHeader(HeaderName),
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
    /// Why a delivery ends that cannot be signed. `None` where it waits instead: a secret is
    /// missing, or is none for its endpoint, and may be replaced.
    #[must_use]
    pub const fn reason(&self) -> Option<Reason> {
        Some(match self {
            Self::NoSecret | Self::BadKey => return None,
            Self::NoScheme => Reason::NoScheme,
            Self::UnsupportedHash(_) => Reason::UnsupportedHash,
            Self::UnsupportedEncoding(_) => Reason::UnsupportedEncoding,
            Self::PayloadNotJson => Reason::PayloadNotJson,
            Self::BadMessageId => Reason::BadMessageId,
            Self::BadPrivateKey | Self::PublicKey => Reason::BadKey,
            Self::BadKeyId => Reason::BadKeyId,
            Self::RepeatedHeader(_) => Reason::RepeatedHeader,
            Self::NoSharedSecret => Reason::NoSharedSecret,
            Self::BadHeader(_) => Reason::BadHeader,
            Self::ReservedHeader(_) => Reason::ReservedHeader,
            Self::BadQuery => Reason::BadQuery,
        })
    }

    /// Stable code for records, labels and API bodies.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoSecret => "no_secret",
            other => match other.reason() {
                Some(reason) => reason.code(),
                None => Reason::BadKey.code(),
            },
        }
    }
}

/// Hash of a MAC, in Convoy's spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hash {
    /// `SHA1`, for headers of other systems only
    Sha1,
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
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
        }
    }
}

impl Hash {
    /// The words for it where SHA-1 will do, which is in a MAC and nowhere else.
    pub const WORDS_OF_HEADERS: &'static [&'static str] = &["SHA1", "SHA256", "SHA512"];

    /// From the word for it where SHA-1 will do.
    #[must_use]
    pub fn of_header(word: &str) -> Option<Self> {
        match word {
            "SHA1" => Some(Self::Sha1),
            word => word.parse().ok(),
        }
    }
}

/// The hashes of Convoy.
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
    /// The words for it.
    pub const WORDS: &'static [&'static str] = &["hex", "base64"];

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
    /// Neither: only the headers that the project wrote itself.
    Custom,
}

impl Format {
    /// The words for it in files.
    pub const WORDS: &'static [&'static str] = &["convoy", "standard_webhooks", "both", "custom"];

    /// From the word for it.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        match word {
            "convoy" => Some(Self::Convoy),
            "standard_webhooks" => Some(Self::StandardWebhooks),
            "both" => Some(Self::Both),
            "custom" => Some(Self::Custom),
            _ => None,
        }
    }

    /// As it is written in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Convoy => "convoy",
            Self::StandardWebhooks => "standard_webhooks",
            Self::Both => "both",
            Self::Custom => "custom",
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
    /// The words for it in files.
    pub const WORDS: &'static [&'static str] = &["as_sent", "compact_json"];

    /// From the word for it.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        match word {
            "as_sent" => Some(Self::AsSent),
            "compact_json" => Some(Self::CompactJson),
            _ => None,
        }
    }

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
