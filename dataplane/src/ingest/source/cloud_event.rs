//! A source whose requests are CloudEvents: what one says is its type and, by `source` and `id`,
//! its key against repeats. Stored and forwarded as it came; a batch becomes its events, each in
//! structured mode.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use outrider_webhook::cloudevents::{self, CloudEventError, ContentMode, Envelope};
use outrider_webhook::event::RawEvent;
use outrider_webhook::idempotency;
use outrider_webhook::view::{self, Lazy};

use super::Called;
use super::facts::{self, Read};
use crate::ingest::coded::Decoder;
use crate::ingest::reply::Reply;

/// What an event out of a batch is.
const STRUCTURED: HeaderValue = HeaderValue::from_static("application/cloudevents+json");

/// The events of a request.
pub(super) enum Events {
    One(Box<Read>),
    Batch(Vec<Read>),
}

/// The events in a request, whose body may have `bytes_max` bytes, coded or not. A batch with one
/// event that is none is refused as a whole: its sender learns which, and may send all again.
pub(super) async fn of(
    decoder: &Decoder,
    called: &Called<'_>,
    raw: RawEvent,
    bytes_max: usize,
) -> Result<Events, Reply> {
    let mode = cloudevents::mode(&raw.headers).map_err(|error| refused(&error, None))?;
    let Some(mode) = mode else {
        let message = "this source takes CloudEvents only: neither `ce-*` headers nor an `application/cloudevents` type";
        return Err(Reply::refuse(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "not_a_cloudevent",
            message,
        ));
    };
    let body = decoder.decode(&raw.headers, &raw.body, bytes_max).await;
    let body = body.map_err(|error| facts::undecodable(&error))?;
    let envelope = match mode {
        ContentMode::Binary => cloudevents::binary(&raw.headers),
        ContentMode::Structured => cloudevents::structured(&body),
        ContentMode::Batch => return batch(called, &raw, &body).map(Events::Batch),
    };
    let envelope = envelope.map_err(|error| refused(&error, None))?;
    let (event_type, key, view) = said(called, &raw, body, &envelope)?;
    let facts = facts::with(called, raw, event_type, Some(key));
    Ok(Events::One(Box::new(Read { facts, view })))
}

fn batch(called: &Called<'_>, raw: &RawEvent, body: &[u8]) -> Result<Vec<Read>, Reply> {
    let items = cloudevents::batch(body).map_err(|error| refused(&error, None))?;
    if items.is_empty() {
        return Err(refused(&CloudEventError::NoEvents, None));
    }
    let headers = of_items(&raw.headers);
    let mut events = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let text = item.get().as_bytes();
        let envelope = cloudevents::structured(text);
        let envelope = envelope.map_err(|error| refused(&error, Some(index)))?;
        let item = RawEvent {
            method: raw.method.clone(),
            path: raw.path.clone(),
            query: raw.query.clone(),
            headers: headers.clone(),
            body: Bytes::copy_from_slice(text),
            received_ms: raw.received_ms,
        };
        let (event_type, key, view) = said(called, &item, Cow::Borrowed(text), &envelope)?;
        let facts = facts::with(called, item, event_type, Some(key));
        events.push(Read { facts, view });
    }
    Ok(events)
}

/// The headers of a batch, as far as they are true of each of its events.
fn of_items(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    headers.insert(header::CONTENT_TYPE, STRUCTURED);
    headers.remove(header::CONTENT_ENCODING);
    headers
}

/// Type and key of an event: what the source says itself comes first.
fn said(
    called: &Called<'_>,
    raw: &RawEvent,
    body: Cow<'_, [u8]>,
    envelope: &Envelope,
) -> Result<(Box<str>, Box<str>, view::Cell), Reply> {
    let source = called.source;
    let view = Lazy::new(&raw.headers, &raw.query, body);
    let of_envelope = || Some(envelope.event_type.clone());
    let event_type = facts::event_type_of(source, raw, &view, of_envelope)?;
    let key = match facts::selected_key(source, raw, &view)? {
        Some(selected) => selected,
        None => {
            let pair = [envelope.source.as_bytes(), envelope.id.as_bytes()];
            idempotency::key(source.id(), pair)
        }
    };
    Ok((event_type, key, view.into_cell()))
}

fn refused(error: &CloudEventError, index: Option<usize>) -> Reply {
    let status = match error {
        CloudEventError::UnknownFormat { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        _ => StatusCode::BAD_REQUEST,
    };
    let message = match index {
        Some(index) => format!("event {index} of the batch: {error}"),
        None => error.to_string(),
    };
    Reply::refuse(status, error.code(), &message)
}
