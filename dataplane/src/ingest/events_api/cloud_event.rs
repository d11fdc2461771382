//! CloudEvents on the event API: `type` is the event type, `source` and `id` are the
//! idempotency key, and whom it is for stands in the path and the query. What is delivered is
//! what came: the envelope in structured mode, headers and data in binary mode.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use outrider_webhook::cloudevents::{self, CloudEventError, Envelope};
use outrider_webhook::event::{Audience, EventFacts, HeaderList};

use super::call::Kind;
use super::fields::{Arrival, check_event_type, compact_part, endpoint, owner};
use super::refused::Refused;

/// What a structured event is delivered as, however it came.
const STRUCTURED: HeaderValue = HeaderValue::from_static("application/cloudevents+json");

/// Whom the events of a request are for. Nothing in a CloudEvent says so.
pub(super) fn audience(kind: Kind, query: &str) -> Result<Audience, Refused> {
    let (mut endpoint_id, mut owner_id) = (None, None);
    for (name, value) in pairs(query) {
        let slot = match name.as_str() {
            "endpoint_id" => &mut endpoint_id,
            "owner_id" => &mut owner_id,
            _ => continue,
        };
        if slot.replace(value).is_some() {
            return Err(Refused::invalid(format!(
                "`{name}` stands twice in the query"
            )));
        }
    }
    match (kind, endpoint_id, owner_id) {
        (Kind::Single, Some(_), Some(_)) => Err(Refused::invalid(
            "the query has `endpoint_id` or `owner_id`, not both",
        )),
        (Kind::Single, None, None) => Err(Refused::invalid(
            "the query of a CloudEvent has to name `endpoint_id` or `owner_id`; \
             events for everybody go to /events/broadcast",
        )),
        (Kind::Single, Some(id), None) => endpoint(Some(id)),
        (Kind::Single, None, id) | (Kind::Fanout, None, id) => owner(id),
        (Kind::Broadcast, None, None) => Ok(Audience::Broadcast),
        (kind, _, _) => Err(Refused::invalid(format!(
            "`endpoint_id` and `owner_id` do not go with a {} event",
            kind.word()
        ))),
    }
}

/// The names and values of a query, decoded as a form's.
fn pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        let decoded = percent_encoding::percent_decode_str(&text).decode_utf8_lossy();
        decoded.into_owned()
    };
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(move |pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
}

/// An event in binary mode.
pub(super) fn binary(
    arrival: &Arrival,
    audience: Audience,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<EventFacts, Refused> {
    let envelope = cloudevents::binary(headers)?;
    let content_type = headers.get(header::CONTENT_TYPE);
    let body = match content_type {
        Some(value) if is_json(value) => compact_part(&body, &body).map_err(|error| {
            Refused::invalid(format!(
                "the data is not what its Content-Type says: {error}"
            ))
        })?,
        _ => body,
    };
    let attributes = headers
        .iter()
        .filter(|(name, _)| cloudevents::is_attribute(name) || *name == header::CONTENT_TYPE);
    // Copies: as read they are views of the connection's buffer, and would keep all of it.
    let own = attributes.filter_map(|(name, value)| {
        Some((
            name.clone(),
            HeaderValue::from_bytes(value.as_bytes()).ok()?,
        ))
    });
    Ok(EventFacts {
        headers: own.collect(),
        ..facts(arrival, audience, &envelope, body)?
    })
}

/// An event in structured mode, alone or out of a batch. `event` is a part of `body`.
pub(super) fn structured(
    arrival: &Arrival,
    audience: Audience,
    body: &Bytes,
    event: &Bytes,
) -> Result<EventFacts, Refused> {
    let envelope = cloudevents::structured(event)?;
    let compacted = compact_part(body, event)
        .map_err(|error| Refused::invalid(format!("the event is not valid JSON: {error}")))?;
    Ok(EventFacts {
        headers: HeaderList::from([(header::CONTENT_TYPE, STRUCTURED)]),
        ..facts(arrival, audience, &envelope, compacted)?
    })
}

/// The events of a batch, each on its own.
pub(super) fn batch(
    arrival: &Arrival,
    audience: &Audience,
    body: &Bytes,
) -> Result<Vec<Result<EventFacts, Refused>>, Refused> {
    let items = cloudevents::batch(body)?;
    if items.is_empty() {
        return Err(CloudEventError::NoEvents.into());
    }
    let facts = |text: &str| {
        if text.len() > arrival.event_bytes_max {
            return Err(Refused::too_large(text.len(), arrival.event_bytes_max));
        }
        structured(
            arrival,
            audience.clone(),
            body,
            &body.slice_ref(text.as_bytes()),
        )
    };
    Ok(items.iter().map(|item| facts(item.get())).collect())
}

fn facts(
    arrival: &Arrival,
    audience: Audience,
    envelope: &Envelope,
    body: Bytes,
) -> Result<EventFacts, Refused> {
    check_event_type(&envelope.event_type)?;
    Ok(EventFacts {
        idempotency_key: Some(envelope.idempotency_key()),
        ..arrival.facts(audience, &envelope.event_type, body)
    })
}

/// `application/json`, `text/json` and whatever ends in `+json`.
fn is_json(content_type: &HeaderValue) -> bool {
    let text = content_type.to_str().unwrap_or_default();
    let media_type = text.split(';').next().unwrap_or_default().trim();
    let subtype = media_type
        .split_once('/')
        .map_or("", |(_, subtype)| subtype);
    let subtype = subtype.to_ascii_lowercase();
    subtype == "json" || subtype.ends_with("+json")
}
