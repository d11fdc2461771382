//! Assertions of a preset beside its signature.

use std::sync::Arc;

use http::HeaderName;

use super::VerifyError;
use super::allowed_url::AllowedUrl;
use super::pointers::Slot;
use super::reading::Reading;
use super::scheme::Hash;
use super::source::{Found, Source, header, json, query};

/// One assertion.
#[derive(Debug)]
pub(super) enum Check {
    /// The header stands once and has exactly this value.
    HeaderEquals { name: HeaderName, value: Box<[u8]> },
    /// If the query parameter is there, it is the hex digest of the body.
    QueryBodyDigest { query: Arc<str>, hash: Hash },
    /// The value is a URL that may be called.
    UrlAllowed { source: Source, allowed: AllowedUrl },
    /// The value is in the list.
    JsonIn {
        slot: Slot,
        pointer: Arc<str>,
        values: Vec<Box<[u8]>>,
    },
}

impl Check {
    pub(super) fn run(&self, reading: &Reading<'_>) -> Result<(), VerifyError> {
        let request = reading.request;
        match self {
            Self::HeaderEquals { name, value } => match header(request, name) {
                Found::Missing => Err(VerifyError::MissingHeader(name.clone())),
                Found::Once(found) if *found == **value => Ok(()),
                _ => Err(VerifyError::UnsupportedAlgorithm(name.as_str().into())),
            },
            Self::QueryBodyDigest { query: name, hash } => match query(&request.query, name) {
                Found::Missing => Ok(()),
                Found::Once(digest) if hash.is_hex_digest(&digest, &request.body) => Ok(()),
                _ => Err(VerifyError::BodyDigestMismatch(Arc::clone(name))),
            },
            Self::UrlAllowed { source, allowed } => match source.find(reading) {
                Found::Unreadable => Err(VerifyError::MalformedBody),
                Found::Missing => match source {
                    Source::Header(name) => Err(VerifyError::MissingHeader(name.clone())),
                    _ => Err(VerifyError::UntrustedCertUrl),
                },
                Found::Once(url) if allowed.parse(&url).is_some() => Ok(()),
                _ => Err(VerifyError::UntrustedCertUrl),
            },
            Self::JsonIn {
                slot,
                pointer,
                values,
            } => match json(reading, *slot) {
                Found::Unreadable => Err(VerifyError::MalformedBody),
                Found::Once(value) if values.iter().any(|allowed| **allowed == *value) => Ok(()),
                _ => Err(VerifyError::ValueNotAllowed(Arc::clone(pointer))),
            },
        }
    }
}
