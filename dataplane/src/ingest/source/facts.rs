//! What a verified request says: its event type and its key against repeats, read from headers,
//! query or body. Nothing here is looked at before the request is verified (RULINGS 23).

use std::borrow::Cow;

use http::{HeaderMap, StatusCode};
use outrider_config::snapshot::Source;
use outrider_webhook::decode::{self, DecodeError};
use outrider_webhook::event::{Audience, EventFacts, Origin, RawEvent};
use outrider_webhook::view::Lazy;
use outrider_webhook::{event_type, idempotency};

use super::{Called, kept};
use crate::ingest::reply::Reply;

/// The event in a request, whose body may have `bytes_max` bytes, coded or not.
pub(super) fn of(
    called: &Called<'_>,
    raw: RawEvent,
    bytes_max: usize,
) -> Result<EventFacts, Reply> {
    let source = called.source;
    let body = decoded(&raw.headers, &raw.body, bytes_max)?;
    let view = Lazy::new(&raw.headers, &raw.query, body);
    let event_type = event_type_of(source, &raw, &view)?;
    let idempotency_key = key(source, &raw, &view)?;
    let idempotency_window_ms = match idempotency_key {
        Some(_) => source.deduplication().window_ms(called.table.project()),
        None => 0,
    };
    let headers = kept::headers(source, &raw.headers);
    let query = kept::query(source, &raw.query);
    Ok(EventFacts {
        project: source.project(),
        origin: Origin::Source(source.id()),
        audience: Audience::Source(source.id()),
        event_type,
        headers,
        query,
        path: raw.path.into(),
        body: raw.body,
        idempotency_key,
        idempotency_window_ms,
        received_ms: raw.received_ms,
    })
}

/// The body without its content codings. A body that cannot be read is refused even where nobody
/// looks into it: a bomb must not be passed on to the receivers.
fn decoded<'r>(
    headers: &HeaderMap,
    body: &'r [u8],
    bytes_max: usize,
) -> Result<Cow<'r, [u8]>, Reply> {
    decode::body(headers, body, bytes_max).map_err(|error| {
        let status = match error {
            DecodeError::UnknownCoding | DecodeError::TooManyCodings(_) => {
                StatusCode::UNSUPPORTED_MEDIA_TYPE
            }
            DecodeError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            DecodeError::Malformed => StatusCode::BAD_REQUEST,
        };
        Reply::refuse(status, error.code(), &error.to_string())
    })
}

/// RULINGS 39: the source's own location, else the preset's, else the mask.
fn event_type_of(source: &Source, raw: &RawEvent, view: &Lazy<'_>) -> Result<Box<str>, Reply> {
    let found = match source.event_type_location() {
        Some(location) => {
            let found = location.text(raw, view).ok_or_else(|| {
                let message = format!("no event type at {location}");
                Reply::refuse(StatusCode::BAD_REQUEST, "missing_event_type", &message)
            })?;
            Some(found.into())
        }
        None => source.verifier().event_type(raw),
    };
    let event_type = found.unwrap_or_else(|| source.mask().into());
    event_type::check_name(&event_type).map_err(|error| {
        Reply::refuse(
            StatusCode::BAD_REQUEST,
            "bad_event_type",
            &error.to_string(),
        )
    })?;
    Ok(event_type)
}

/// The key of the values at the source's selectors; every one of them has to be there, since a
/// key of fewer values is the key of other events too.
fn key(source: &Source, raw: &RawEvent, view: &Lazy<'_>) -> Result<Option<Box<str>>, Reply> {
    let selectors = source.deduplication().selectors();
    if selectors.is_empty() {
        return Ok(None);
    }
    let mut values = Vec::with_capacity(selectors.len());
    for selector in selectors {
        values.push(selector.bytes(raw, view).ok_or_else(|| {
            let message = format!("no idempotency key at {selector}");
            Reply::refuse(StatusCode::BAD_REQUEST, "missing_idempotency_key", &message)
        })?);
    }
    let values = values.iter().map(|value| &**value);
    Ok(Some(idempotency::key(source.id(), values)))
}
