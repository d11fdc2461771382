//! The body of a publishing call, without its content codings: what is stored is what the
//! sender meant, and the way it travelled here is over.

use std::borrow::Cow;

use bytes::Bytes;
use http::{StatusCode, header};
use outrider_webhook::decode::DecodeError;
use outrider_webhook::id::ProjectId;
use pingora::protocols::http::ServerSession;

use super::refused::Refused;
use crate::ingest::Intake;
use crate::ingest::reply::Reply;
use crate::ingest::request::{Reserved, overloaded};

/// Reads the body, at most `limit` bytes, coded and decoded alike.
pub(super) async fn read(
    intake: &Intake,
    http: &mut ServerSession,
    project: ProjectId,
    limit: usize,
) -> Result<(Bytes, Reserved), Reply> {
    let (body, mut reserved) = intake.read_body(http, project, limit).await?;
    let headers = &http.req_header().headers;
    if !headers.contains_key(header::CONTENT_ENCODING) {
        return Ok((body, reserved));
    }
    let decoded = intake.decoder.decode(headers, &body, limit).await;
    let decoded = match decoded.map_err(Refused::from)? {
        Cow::Borrowed(_) => return Ok((body, reserved)),
        Cow::Owned(decoded) => Bytes::from(decoded),
    };
    // Both are in memory for a moment, and the decoded one until the answer.
    if !reserved.grow(decoded.len()) {
        return Err(overloaded());
    }
    Ok((decoded, reserved))
}

impl From<DecodeError> for Refused {
    fn from(error: DecodeError) -> Self {
        let status = match error {
            DecodeError::UnknownCoding | DecodeError::TooManyCodings(_) => {
                StatusCode::UNSUPPORTED_MEDIA_TYPE
            }
            DecodeError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            DecodeError::Malformed => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.code(), error.to_string())
    }
}
