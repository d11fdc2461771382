//! The body of a publishing call, without its content codings: what is stored is what the
//! sender meant, and the way it travelled here is over.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use outrider_webhook::decode::{self, DecodeError};
use outrider_webhook::id::ProjectId;
use pingora::protocols::http::ServerSession;

use super::refused::Refused;
use crate::ingest::Intake;
use crate::ingest::reply::Reply;
use crate::ingest::request::{Reserved, overloaded};

/// Bytes of a coded body from which on it is decoded elsewhere: it may become a hundred times as
/// long, and would hold up everything else on this thread.
const CODED_BYTES_INLINE: usize = 16 << 10;

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
    let decoded = decoded(headers, body.clone(), limit).await?;
    // Both are in memory for a moment, and the decoded one until the answer.
    if !reserved.grow(decoded.len()) {
        return Err(overloaded());
    }
    Ok((decoded, reserved))
}

async fn decoded(headers: &HeaderMap, body: Bytes, limit: usize) -> Result<Bytes, Refused> {
    if body.len() <= CODED_BYTES_INLINE {
        return Ok(decode_now(headers, &body, limit)?);
    }
    let codings = headers.get_all(header::CONTENT_ENCODING).iter();
    let codings = codings.map(|value| (header::CONTENT_ENCODING, value.clone()));
    let headers: HeaderMap = codings.collect();
    let decoding = tokio::task::spawn_blocking(move || decode_now(&headers, &body, limit));
    Ok(decoding.await.unwrap_or(Err(DecodeError::Malformed))?)
}

fn decode_now(headers: &HeaderMap, body: &Bytes, limit: usize) -> Result<Bytes, DecodeError> {
    Ok(match decode::body(headers, body, limit)? {
        Cow::Borrowed(_) => body.clone(),
        Cow::Owned(decoded) => decoded.into(),
    })
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
