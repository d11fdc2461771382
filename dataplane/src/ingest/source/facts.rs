//! What a verified request says: its event type and its key against repeats, read from headers,
//! query or body. Nothing here is looked at before the request is verified (RULINGS 23).

use http::StatusCode;
use outrider_config::snapshot::Source;
use outrider_webhook::decode::DecodeError;
use outrider_webhook::event::{Audience, EventFacts, Origin, Proof, RawEvent, VerifiedEvent};
use outrider_webhook::view::{self, Lazy};
use outrider_webhook::{event_type, idempotency};

use super::verify::Found;
use super::{Called, kept};
use crate::ingest::coded::Decoder;
use crate::ingest::reply::Reply;

/// An event as it was read: its facts, and the view of its body if that was looked at.
pub(super) struct Read {
    pub(super) facts: EventFacts,
    pub(super) view: view::Cell,
}

impl Read {
    /// The event, which `proof` vouches for.
    pub(super) fn verified(self, proof: Proof) -> VerifiedEvent {
        VerifiedEvent::read(proof, self.facts, self.view)
    }
}

/// The event in a request, whose body may have `bytes_max` bytes, coded or not; `found` is by its
/// preset. A body that cannot be read is refused even where nobody looks into it: a bomb must not
/// be passed on to the receivers.
pub(super) async fn of(
    decoder: &Decoder,
    called: &Called<'_>,
    raw: RawEvent,
    (bytes_max, found): (usize, Found),
) -> Result<Read, Reply> {
    let source = called.source;
    let body = decoder.decode(&raw.headers, &raw.body, bytes_max).await;
    let body = body.map_err(|error| undecodable(&error))?;
    let view = Lazy::new(&raw.headers, &raw.query, body);
    let event_type = event_type_of(source, &raw, &view, || found.event_type)?;
    let key = match selected_key(source, &raw, &view)? {
        None if source.deduplication().is_by_provider() => {
            let place = "the place where this provider has its delivery id";
            Some(found.delivery.ok_or_else(|| missing_key(place))?)
        }
        selected => selected,
    };
    let view = view.into_cell();
    let facts = with(called, raw, event_type, key);
    Ok(Read { facts, view })
}

/// The facts of a request whose type and key are known.
pub(super) fn with(
    called: &Called<'_>,
    raw: RawEvent,
    event_type: Box<str>,
    idempotency_key: Option<Box<str>>,
) -> EventFacts {
    let source = called.source;
    let idempotency_window_ms = match idempotency_key {
        Some(_) => source.deduplication().window_ms(called.table.project()),
        None => 0,
    };
    EventFacts {
        project: source.project(),
        origin: Origin::Source(source.id()),
        audience: Audience::Source(source.id()),
        event_type,
        headers: kept::headers(source, &raw.headers),
        query: kept::query(source, &raw.query),
        path: raw.path.into(),
        body: raw.body,
        idempotency_key,
        idempotency_window_ms,
        received_ms: raw.received_ms,
    }
}

/// Why a body with content codings is refused.
pub(super) fn undecodable(error: &DecodeError) -> Reply {
    let status = match error {
        DecodeError::UnknownCoding | DecodeError::TooManyCodings(_) => {
            StatusCode::UNSUPPORTED_MEDIA_TYPE
        }
        DecodeError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        DecodeError::Malformed => StatusCode::BAD_REQUEST,
    };
    Reply::refuse(status, error.code(), &error.to_string())
}

/// RULINGS 39: the source's own location, else what the preset or the format says, else the mask.
pub(super) fn event_type_of(
    source: &Source,
    raw: &RawEvent,
    view: &Lazy<'_>,
    otherwise: impl FnOnce() -> Option<Box<str>>,
) -> Result<Box<str>, Reply> {
    let found = match source.event_type_location() {
        Some(location) => {
            let found = location.text(raw, view).ok_or_else(|| {
                let message = format!("no event type at {location}");
                Reply::refuse(StatusCode::BAD_REQUEST, "missing_event_type", &message)
            })?;
            Some(found.into())
        }
        None => otherwise(),
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

/// The key of the values at the source's selectors, if it has any; every one of them has to be
/// there, since a key of fewer values is the key of other events too.
pub(super) fn selected_key(
    source: &Source,
    raw: &RawEvent,
    view: &Lazy<'_>,
) -> Result<Option<Box<str>>, Reply> {
    let selectors = source.deduplication().selectors();
    if selectors.is_empty() {
        return Ok(None);
    }
    let mut values = Vec::with_capacity(selectors.len());
    for selector in selectors {
        let value = selector.bytes(raw, view);
        values.push(value.ok_or_else(|| missing_key(&selector.to_string()))?);
    }
    let values = values.iter().map(|value| &**value);
    Ok(Some(idempotency::key(source.id(), values)))
}

fn missing_key(place: &str) -> Reply {
    let message = format!("no idempotency key at {place}");
    Reply::refuse(StatusCode::BAD_REQUEST, "missing_idempotency_key", &message)
}
