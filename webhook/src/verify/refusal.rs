//! Why a request is refused.

use std::sync::Arc;

use http::HeaderName;

/// Why a request was refused. The variants stand in the order of the checks: the first that
/// applies is reported. For logs and metrics; the sender is told none of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The body is not JSON or not a form where the preset looks into one, or lacks what is
    /// signed.
    #[error("the body is not in the format that the preset reads, or lacks what is signed")]
    MalformedBody,
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
    /// What names the version or algorithm does not have a value of the preset.
    #[error("`{0}` names another version or algorithm")]
    UnsupportedAlgorithm(Arc<str>),
    /// The digest of the body in the query is not the digest of this body.
    #[error("the digest in query parameter `{0}` is not that of the body")]
    BodyDigestMismatch(Arc<str>),
    /// The address of the certificate is not one the preset trusts.
    #[error("the address of the certificate is not one the preset trusts")]
    UntrustedCertUrl,
    /// A value that must be in a list of the source is not.
    #[error("the value at `{0}` is not in the list of the source")]
    ValueNotAllowed(Arc<str>),
    /// The certificate could not be had, is not trusted, or does not hold at this time.
    #[error("there is no trusted certificate that holds now at the address in the request")]
    CertificateUnavailable,
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
    /// The token of a handshake is not that of the source.
    #[error("the token of the handshake is not that of the source")]
    ChallengeTokenMismatch,
    /// A handshake comes from somebody who is not in the list of the source.
    #[error("the handshake comes from somebody who is not in the list of the source")]
    ChallengeValueNotAllowed,
    /// A handshake without what its answer is made of, or that must not be answered.
    #[error("the handshake is malformed")]
    MalformedChallenge,
    /// A handshake asks to call a URL that the preset does not trust.
    #[error("the URL of the handshake is not one the preset trusts")]
    UntrustedUrl,
}

impl VerifyError {
    /// Stable code for logs, metric labels and rejected samples: a closed set.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::MalformedBody => "malformed_body",
            Self::MissingSignature => "missing_signature",
            Self::MalformedSignature | Self::RepeatedInput(_) => "malformed_signature",
            Self::MissingTimestamp => "missing_timestamp",
            Self::MalformedTimestamp => "malformed_timestamp",
            Self::TimestampTooOld { .. } => "timestamp_too_old",
            Self::TimestampInFuture { .. } => "timestamp_in_future",
            Self::MissingHeader(_) => "missing_header",
            Self::UnsupportedAlgorithm(_) => "unsupported_algorithm",
            Self::BodyDigestMismatch(_) => "body_digest_mismatch",
            Self::UntrustedCertUrl => "untrusted_cert_url",
            Self::ValueNotAllowed(_) | Self::ChallengeValueNotAllowed => "value_not_allowed",
            Self::CertificateUnavailable => "certificate_unavailable",
            Self::BadKey => "bad_key",
            Self::MissingParameter(_) => "missing_parameter",
            Self::SignatureMismatch => "signature_mismatch",
            Self::ChallengeTokenMismatch => "challenge_token_mismatch",
            Self::MalformedChallenge => "malformed_challenge",
            Self::UntrustedUrl => "untrusted_url",
        }
    }

    /// How far a scheme came before it refused; compared between the schemes of one request.
    pub(super) const fn progress(&self) -> u8 {
        match self {
            Self::CertificateUnavailable => 1,
            Self::BadKey => 2,
            Self::MissingHeader(_)
            | Self::MissingParameter(_)
            | Self::RepeatedInput(_)
            | Self::MalformedBody => 3,
            Self::SignatureMismatch => 4,
            _ => 0,
        }
    }
}
