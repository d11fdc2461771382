//! The key of a project that a request carries.

use std::sync::Arc;

use http::{StatusCode, header};
use outrider_config::snapshot::{ApiKey, Snapshot};
use outrider_webhook::verify::ApiKeyDigest;
use pingora::protocols::http::ServerSession;

use super::reply::Reply;

/// The digest of the bearer token, exactly one space after the scheme (contract 2.1).
pub(super) fn presented(http: &ServerSession) -> Result<ApiKeyDigest, Reply> {
    let mut values = http
        .req_header()
        .headers
        .get_all(header::AUTHORIZATION)
        .iter();
    let token = values
        .next()
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.split_once(' '));
    match token {
        Some((scheme, token))
            if values.next().is_none()
                && scheme.eq_ignore_ascii_case("bearer")
                && !token.is_empty() =>
        {
            Ok(ApiKeyDigest::of(token))
        }
        _ => Err(Reply::refuse(
            StatusCode::UNAUTHORIZED,
            "authentication_required",
            "Authentication required",
        )),
    }
}

/// The key with this digest, unless it has expired.
pub(super) fn live<'s>(
    snapshot: &'s Snapshot,
    presented: &ApiKeyDigest,
    now_s: i64,
) -> Option<&'s Arc<ApiKey>> {
    let key = snapshot.api_key(presented);
    key.filter(|key| key.expires_at_s().is_none_or(|at| now_s < at))
}

pub(super) fn unknown_key() -> Reply {
    Reply::refuse(
        StatusCode::UNAUTHORIZED,
        "unknown_key",
        "authorization failed",
    )
}
