//! Assertions of a preset beside its signature.

use std::sync::Arc;

use http::HeaderName;

use crate::event::RawEvent;

use super::VerifyError;
use super::scheme::Hash;
use super::source::{Found, header, query};

/// One assertion.
#[derive(Debug)]
pub(super) enum Check {
    /// The header stands once and has exactly this value.
    HeaderEquals { name: HeaderName, value: Box<[u8]> },
    /// If the query parameter is there, it is the hex digest of the body.
    QueryBodyDigest { query: Arc<str>, hash: Hash },
}

impl Check {
    pub(super) fn run(&self, request: &RawEvent) -> Result<(), VerifyError> {
        match self {
            Self::HeaderEquals { name, value } => match header(request, name) {
                Found::Missing => Err(VerifyError::MissingHeader(name.clone())),
                Found::Once(found) if *found == **value => Ok(()),
                Found::Once(_) | Found::Repeated => {
                    Err(VerifyError::UnsupportedAlgorithm(name.clone()))
                }
            },
            Self::QueryBodyDigest { query: name, hash } => match query(&request.query, name) {
                Found::Missing => Ok(()),
                Found::Once(digest) if hash.is_hex_digest(&digest, &request.body) => Ok(()),
                Found::Once(_) | Found::Repeated => {
                    Err(VerifyError::BodyDigestMismatch(Arc::clone(name)))
                }
            },
        }
    }
}
