//! From the fields of an event to its facts: each is checked once, and its error names it.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use outrider_config::snapshot::ProjectTable;
use outrider_webhook::event::{Audience, EventFacts, HeaderList, Origin};
use outrider_webhook::id::{EndpointId, ProjectId};
use outrider_webhook::{event_type, json};
use serde_json::value::RawValue;

use super::call::Kind;
use super::dynamic::{self, Candidate, Named};
use super::refused::Refused;
use super::spec::EventSpec;
use crate::ingest::Intake;

/// Longest idempotency key and owner id, bytes.
const KEY_BYTES_MAX: usize = 255;

/// Headers a sender may not set: they frame the request or are ours to write.
const RESERVED_HEADERS: [HeaderName; 9] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// What all events of one request have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub(super) project: ProjectId,
    pub(super) received_ms: i64,
    /// How long their idempotency keys are remembered.
    pub(super) idempotency_window_ms: i64,
    /// Bytes of one event at most.
    pub(super) event_bytes_max: usize,
}

impl Arrival {
    /// An event with nothing but what it must have.
    pub(super) fn facts(&self, audience: Audience, event_type: &str, body: Bytes) -> EventFacts {
        EventFacts {
            project: self.project,
            origin: Origin::Api,
            audience,
            event_type: event_type.into(),
            headers: HeaderList::new(),
            query: Box::default(),
            path: Box::default(),
            body,
            idempotency_key: None,
            idempotency_window_ms: self.idempotency_window_ms,
            received_ms: self.received_ms,
        }
    }
}

/// What the event says, for a sender who published it as `kind`. `body` is what it was parsed from.
pub(super) fn candidate(
    (intake, table): (&Intake, &ProjectTable),
    arrival: &Arrival,
    kind: Kind,
    spec: EventSpec<'_>,
    body: &Bytes,
) -> Result<Candidate, Refused> {
    let data = spec
        .data
        .ok_or_else(|| Refused::invalid("please provide your data"))?;
    let event_type = spec.event_type.filter(|text| !text.is_empty());
    let event_type = event_type.ok_or_else(|| Refused::invalid("please provide an event type"))?;
    check_event_type(&event_type)?;
    let headers = custom_headers(spec.custom_headers.unwrap_or_default())?;
    let idempotency_key = idempotency_key(spec.idempotency_key)?;
    let body = compact(body, data)?;
    // Last: an event that is refused for something else makes no endpoint.
    let (audience, wish) = match kind {
        Kind::Single => (endpoint(spec.endpoint_id.or(spec.app_id))?, None),
        Kind::Fanout => (owner(spec.owner_id)?, None),
        Kind::Broadcast => (Audience::Broadcast, None),
        Kind::Dynamic => {
            let (url, secret, event_types) = (spec.url, spec.secret, spec.event_types);
            let named = Named {
                url,
                secret,
                event_types,
            };
            dynamic::audience(intake, table, named)?
        }
    };
    let facts = EventFacts {
        headers,
        idempotency_key,
        ..arrival.facts(audience, &event_type, body)
    };
    Ok(Candidate {
        wish,
        ..facts.into()
    })
}

pub(super) fn check_event_type(name: &str) -> Result<(), Refused> {
    event_type::check_name(name).map_err(|error| Refused::invalid(error.to_string()))
}

/// The delivered bytes: whitespace removed once, here; stored, signed and sent as they are (RULINGS 20).
fn compact(body: &Bytes, data: &RawValue) -> Result<Bytes, Refused> {
    compact_part(body, &body.slice_ref(data.get().as_bytes())) // a view of the body, no copy
        .map_err(|error| Refused::invalid(format!("`data` is not valid JSON: {error}")))
}

/// A part of a body without its whitespace.
pub(super) fn compact_part(body: &Bytes, part: &Bytes) -> Result<Bytes, json::JsonError> {
    let compacted = json::compact(part)?;
    // A small part of a large body would keep all of it in memory.
    Ok(if compacted.len() < body.len() / 2 {
        Bytes::copy_from_slice(&compacted)
    } else {
        compacted
    })
}

pub(super) fn endpoint(id: Option<String>) -> Result<Audience, Refused> {
    let id = id
        .filter(|id| !id.is_empty())
        .ok_or_else(|| Refused::invalid("please provide an endpoint ID"))?;
    let id = id.parse::<EndpointId>();
    id.map(Audience::Endpoint)
        .map_err(|_| Refused::unknown_endpoint())
}

pub(super) fn owner(id: Option<String>) -> Result<Audience, Refused> {
    let id = id
        .filter(|id| !id.is_empty())
        .ok_or_else(|| Refused::invalid("please provide an owner id"))?;
    if id.len() > KEY_BYTES_MAX {
        let message = format!("`owner_id` is longer than {KEY_BYTES_MAX} bytes");
        return Err(Refused::invalid(message));
    }
    Ok(Audience::Owner(id.into()))
}

fn idempotency_key(key: Option<String>) -> Result<Option<Box<str>>, Refused> {
    let Some(key) = key.filter(|key| !key.is_empty()) else {
        return Ok(None);
    };
    // It travels as a header value on every delivery.
    if key.len() > KEY_BYTES_MAX || HeaderValue::from_str(&key).is_err() {
        let message =
            format!("`idempotency_key` must be 1 to {KEY_BYTES_MAX} printable ASCII characters");
        return Err(Refused::invalid(message));
    }
    Ok(Some(key.into()))
}

fn custom_headers(headers: BTreeMap<String, String>) -> Result<HeaderList, Refused> {
    headers
        .into_iter()
        .map(|(name, value)| {
            let bad = |why: &str| Refused::invalid(format!("`custom_headers.{name}` {why}"));
            let parsed: HeaderName = name.parse().map_err(|_| bad("is not a header name"))?;
            if RESERVED_HEADERS.contains(&parsed) {
                return Err(bad("cannot be set by an event"));
            }
            let value = HeaderValue::from_str(&value)
                .map_err(|_| bad("has a value that is no header value"))?;
            Ok((parsed, value))
        })
        .collect()
}
