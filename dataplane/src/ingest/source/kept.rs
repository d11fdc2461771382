//! What is stored of a request's head, and so forwarded to the receivers (RULINGS 22): all but
//! what is about this request alone, and what opens the source.

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use outrider_config::snapshot::Source;
use outrider_webhook::event::HeaderList;

use crate::ingest::hop_by_hop::HopByHop;

/// Names the source an event came through, as Convoy does.
const SOURCE_ID: HeaderName = HeaderName::from_static("x-convoy-source-id");

/// Headers that are about this request alone, or about who may send it (RULINGS 22).
const NOT_STORED: [HeaderName; 6] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::COOKIE,
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    header::EXPECT,
];

pub(super) fn headers(source: &Source, headers: &HeaderMap) -> HeaderList {
    let credential = source.verifier().credential_header();
    let hop_by_hop = HopByHop::of(headers);
    let is_dropped = |name: &HeaderName| {
        hop_by_hop.contains(name)
            || NOT_STORED.contains(name)
            || credential == Some(name)
            || *name == SOURCE_ID
            || source.deny_headers().contains(name)
    };
    let kept = headers.iter().filter(|(name, _)| !is_dropped(name));
    let mut kept = detached(&kept.collect::<Vec<_>>());
    if let Ok(mask) = HeaderValue::from_str(source.mask()) {
        kept.push((SOURCE_ID, mask));
    }
    kept
}

/// Copies values into one buffer of their own: as read they are views of the connection's
/// buffer, and would keep all of it in memory for as long as the event waits.
fn detached(headers: &[(&HeaderName, &HeaderValue)]) -> HeaderList {
    let bytes = headers.iter().map(|(_, value)| value.len()).sum();
    let mut values = BytesMut::with_capacity(bytes);
    let detach = |(name, value): &(&HeaderName, &HeaderValue)| {
        values.extend_from_slice(value.as_bytes());
        let own = HeaderValue::from_maybe_shared(values.split().freeze());
        // The bytes were a header value before, so they are one now.
        ((*name).clone(), own.unwrap_or_else(|_| (*value).clone()))
    };
    headers.iter().map(detach).collect()
}

/// The query without a credential of the source: that is for us, not for the backend.
pub(super) fn query(source: &Source, query: &str) -> Box<str> {
    let Some(credential) = source.verifier().credential_query() else {
        return query.into();
    };
    let is_kept = |pair: &&str| {
        let name = pair.split('=').next().unwrap_or_default().replace('+', " ");
        percent_encoding::percent_decode_str(&name).decode_utf8_lossy() != credential
    };
    query
        .split('&')
        .filter(is_kept)
        .collect::<Vec<_>>()
        .join("&")
        .into()
}
