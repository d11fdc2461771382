//! Verification of incoming requests: stage 2 of an event's path.
//!
//! A [`PresetSpec`] says as data how a provider signs; [`Verifier::compile`] turns it, with the
//! secrets of one source, into a [`Verifier`] that checks requests. The engine knows building
//! blocks (sources, formats, algorithms, templates), never a provider. It must not know where
//! configuration comes from, what time it is, or what the reply to a refused request looks like.
//!
//! Everything a preset says is prepared at configuration time. What this version cannot do is
//! a [`CompileError`] that names the field: a part of a check is never left out in silence.

mod api_key;
mod challenge;
mod check;
mod compile;
mod params;
mod preset;
mod public_url;
mod scheme;
mod signature;
mod source;
mod template;
mod timestamp;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use http::HeaderName;

use crate::event::{Proof, RawEvent};

pub use self::api_key::{ApiKeyDigest, ApiKeyDigestError};
pub use self::challenge::{
    ActionSpec, ChallengeSpec, ChallengeVerifySpec, RequireSpec, RespondSpec, WhenSpec,
};
pub use self::compile::{CompileError, SECRETS_MAX};
pub use self::preset::{
    CheckSpec, FormatSpec, ParamSpec, PresetSpec, SchemeSpec, SignatureSpec, SignedSpec,
    SourceSpec, TimestampFormat, TimestampSpec, builtin, builtin_names,
};

use self::check::Check;
use self::scheme::Scheme;
use self::signature::Signature;
use self::source::{Found, Source};
use self::template::{Inputs, Template};
use self::timestamp::Timestamp;

/// Status of a refused request unless the preset says otherwise.
pub const REJECT_STATUS: u16 = 401;

/// Longest event type taken from a request, bytes (the limit of [`crate::event::EventFacts`]).
const EVENT_TYPE_BYTES_MAX: usize = 255;

/// Checks the requests of one source. Compiled once, when the source is configured.
pub struct Verifier {
    /// `None` is the explicit choice not to verify.
    rules: Option<Box<Rules>>,
    event_type: Option<Source>,
    reject_status: u16,
}

/// What a verifying preset compiles to.
struct Rules {
    signature: Signature,
    timestamp: Option<Timestamp>,
    checks: Vec<Check>,
    /// Alternatives of the signed text; empty when all schemes compare static credentials.
    signed: Vec<Template>,
    schemes: Vec<Scheme>,
}

impl Verifier {
    /// "No verification", as an explicit choice: every request passes.
    #[must_use]
    pub fn none() -> Self {
        Self {
            rules: None,
            event_type: None,
            reject_status: REJECT_STATUS,
        }
    }

    /// Checks a request against the rules at `now_s`, Unix seconds.
    ///
    /// # Errors
    /// The first failed step, in the fixed order of [`VerifyError`].
    pub fn verify(&self, request: &RawEvent, now_s: i64) -> Result<Proof, VerifyError> {
        if let Some(rules) = &self.rules {
            rules.verify(request, now_s)?;
        }
        Ok(Proof(()))
    }

    /// The event's type at the preset's location. `None` when the preset has no location, or
    /// the value is missing, given twice, not printable text, or longer than 255 bytes.
    #[must_use]
    pub fn event_type(&self, request: &RawEvent) -> Option<Box<str>> {
        let Found::Once(value) = self.event_type.as_ref()?.find(request) else {
            return None;
        };
        let text = std::str::from_utf8(&value).ok()?;
        let fits =
            (1..=EVENT_TYPE_BYTES_MAX).contains(&text.len()) && !text.contains(char::is_control);
        fits.then(|| Box::from(text))
    }

    /// The header that carries a static credential, if one does. It must be neither stored nor
    /// forwarded: who reads it can send in the provider's name.
    #[must_use]
    pub fn credential_header(&self) -> Option<&HeaderName> {
        match self.credential()? {
            Source::Header(name) => Some(name),
            Source::Query(_) => None,
        }
    }

    /// The query parameter that carries a static credential, if one does; as
    /// [`Verifier::credential_header`].
    #[must_use]
    pub fn credential_query(&self) -> Option<&str> {
        match self.credential()? {
            Source::Header(_) => None,
            Source::Query(name) => Some(name),
        }
    }

    /// Status to answer a refused request with, 400 to 499.
    #[must_use]
    pub fn reject_status(&self) -> u16 {
        self.reject_status
    }

    /// Whether at least one secret is a key for at least one scheme. When not, every request
    /// is refused with `bad_key`; worth telling the person who configures the source.
    #[must_use]
    pub fn has_usable_key(&self) -> bool {
        self.rules
            .as_ref()
            .is_none_or(|rules| rules.schemes.iter().any(Scheme::has_key))
    }

    fn credential(&self) -> Option<&Source> {
        let rules = self.rules.as_ref()?;
        rules
            .schemes
            .iter()
            .any(Scheme::is_static)
            .then(|| rules.signature.single_source())
            .flatten()
    }
}

/// Prints what kind of verifier it is; secrets, parameters and templates are left out.
impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field(
                "schemes",
                &self.rules.as_ref().map_or(0, |rules| rules.schemes.len()),
            )
            .field("reject_status", &self.reject_status)
            .finish_non_exhaustive()
    }
}

impl Rules {
    fn verify(&self, request: &RawEvent, now_s: i64) -> Result<(), VerifyError> {
        let values = self.signature.find(request)?;
        let parts = self.signature.parse(&values)?;
        let parts = parts.as_slice();
        let timestamp = match &self.timestamp {
            Some(timestamp) => timestamp.check(request, parts, now_s)?,
            None => Cow::Borrowed(&[][..]),
        };
        for check in &self.checks {
            check.run(request)?;
        }
        let inputs = Inputs {
            request,
            timestamp: &timestamp,
        };
        // Every scheme may accept. When none does, the one that came furthest names the reason.
        let mut reason = VerifyError::MalformedSignature;
        for scheme in &self.schemes {
            match scheme.check(parts, &self.signed, &inputs) {
                Ok(()) => return Ok(()),
                Err(error) if error.progress() > reason.progress() => reason = error,
                Err(_) => {}
            }
        }
        Err(reason)
    }
}

/// Why a request was refused. The variants stand in the order of the checks: the first that
/// applies is reported. For logs and metrics; the sender is told none of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The place of the signature or credential is absent or empty.
    #[error("the signature is missing")]
    MissingSignature,
    /// The signature is there twice, is not in the preset's format, carries no listed label, or
    /// does not decode.
    #[error("the signature is malformed")]
    MalformedSignature,
    /// The place of the timestamp is absent or empty.
    #[error("the timestamp is missing")]
    MissingTimestamp,
    /// The timestamp is there twice or is not in the preset's format.
    #[error("the timestamp is malformed")]
    MalformedTimestamp,
    /// The timestamp is further in the past than the preset tolerates.
    #[error("the timestamp is {age_ms} ms old, at most {past_s} s are accepted")]
    TimestampTooOld {
        /// Age, milliseconds.
        age_ms: i64,
        /// Tolerance, seconds.
        past_s: u32,
    },
    /// The timestamp is further in the future than the preset tolerates.
    #[error("the timestamp is {ahead_ms} ms ahead, at most {future_s} s are accepted")]
    TimestampInFuture {
        /// Distance into the future, milliseconds.
        ahead_ms: i64,
        /// Tolerance, seconds.
        future_s: u32,
    },
    /// A header that a check needs or that is part of the signed text is absent or empty.
    #[error("header `{0}` is missing")]
    MissingHeader(HeaderName),
    /// A header that names the version or algorithm does not have the preset's value.
    #[error("header `{0}` names another version or algorithm")]
    UnsupportedAlgorithm(HeaderName),
    /// The digest of the body in the query is not the digest of this body.
    #[error("the digest in query parameter `{0}` is not that of the body")]
    BodyDigestMismatch(Arc<str>),
    /// None of the secrets is a key for the schemes that the request carries.
    #[error("no configured secret is a usable key")]
    BadKey,
    /// A query parameter that is part of the signed text is absent.
    #[error("query parameter `{0}` is missing")]
    MissingParameter(Arc<str>),
    /// A value that is part of the signed text was sent twice, so it is unclear which one
    /// was signed.
    #[error("`{0}` is part of the signed text and was sent twice")]
    RepeatedInput(Arc<str>),
    /// Well formed, but not made with any of the secrets over this request.
    #[error("the signature does not match")]
    SignatureMismatch,
}

impl VerifyError {
    /// Stable code for logs, metric labels and rejected samples: a closed set.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::MissingSignature => "missing_signature",
            Self::MalformedSignature | Self::RepeatedInput(_) => "malformed_signature",
            Self::MissingTimestamp => "missing_timestamp",
            Self::MalformedTimestamp => "malformed_timestamp",
            Self::TimestampTooOld { .. } => "timestamp_too_old",
            Self::TimestampInFuture { .. } => "timestamp_in_future",
            Self::MissingHeader(_) => "missing_header",
            Self::UnsupportedAlgorithm(_) => "unsupported_algorithm",
            Self::BodyDigestMismatch(_) => "body_digest_mismatch",
            Self::BadKey => "bad_key",
            Self::MissingParameter(_) => "missing_parameter",
            Self::SignatureMismatch => "signature_mismatch",
        }
    }

    /// How far a scheme came before it refused; compared between the schemes of one request.
    const fn progress(&self) -> u8 {
        match self {
            Self::BadKey => 1,
            Self::MissingHeader(_) | Self::MissingParameter(_) | Self::RepeatedInput(_) => 2,
            Self::SignatureMismatch => 3,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests;
