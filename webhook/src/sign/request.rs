//! The request of one attempt: headers merged by the contract's precedence, signed, complete.

use std::sync::Arc;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::header::Facts;
use super::message::Where;
use super::{Mode, Scheme, SignError, SigningKey, convoy, standard_webhooks};
use crate::address::TargetUrl;
use crate::event::HeaderList;
use crate::id::Uid;

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const EVENT_ID: HeaderName = HeaderName::from_static("x-convoy-event-id");
const REPLAY: HeaderName = HeaderName::from_static("outrider-replay");
const DELIVERY_ID: HeaderName = HeaderName::from_static("x-convoy-eventdelivery-id");

/// Headers of one connection or one message's framing: never forwarded, whatever the event holds.
const FRAMING: [HeaderName; 13] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::HOST,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Headers of ours on every delivery or replay, or about the body; no setting may put something
/// else there.
const OURS: [HeaderName; 12] = [
    ORDER_SEQUENCE,
    ORDER_GAP,
    ORDER_LATE,
    REPLAY,
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    WEBHOOK_ID,
    WEBHOOK_TIMESTAMP,
    WEBHOOK_SIGNATURE,
    EVENT_ID,
    DELIVERY_ID,
];

/// Headers that nobody but us writes on a delivery.
const OUR_PREFIX: &str = "outrider-";
/// Of a delivery with an order key: a number that is greater for each event that was accepted later.
pub const ORDER_SEQUENCE: HeaderName = HeaderName::from_static("outrider-order-sequence");
/// Of a delivery with an order key: the `webhook-id`s of earlier ones that have not arrived.
pub const ORDER_GAP: HeaderName = HeaderName::from_static("outrider-order-gap");
/// Of a delivery that comes apart from the others of its order key.
pub const ORDER_LATE: HeaderName = HeaderName::from_static("outrider-order-late");

/// Whether a header is taken: what a setting wrote there would be overwritten, or would
/// overwrite what receivers rely on.
pub(super) fn is_reserved(name: &HeaderName) -> bool {
    OURS.contains(name) || FRAMING.contains(name)
}

/// Who we say we are, unless the event says otherwise.
const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("Outrider/", env!("CARGO_PKG_VERSION")));

/// An attempt that is to be signed.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// Public id of the event.
    pub event_uid: Uid,
    /// Public id of the delivery.
    pub delivery_uid: Uid,
    /// Which delivery of the event this is, from 0.
    pub ordinal: u32,
    /// Of a replay: the how many-th, from 1.
    pub replay: Option<u32>,
    /// Whether the event was delivered to this endpoint by another ordinal already: then
    /// `webhook-id` gets the ordinal appended (RULINGS 21).
    pub repeat: bool,
    /// Where it goes.
    pub target: &'a Arc<TargetUrl>,
    /// Raw query to be appended; empty when none.
    pub query: &'a str,
    /// Headers of the event.
    pub event_headers: &'a HeaderList,
    /// Content type of the body.
    pub content_type: HeaderValue,
    /// The bytes that are sent.
    pub body: &'a Bytes,
    /// The JSON that `body` was made of, where it is a form: Convoy's signature is over that, the
    /// one case in which the signed bytes are not those that are sent (RULINGS 20).
    pub json: Option<&'a Bytes>,
    /// Header and value by which the receiver knows its caller, beside the signature.
    pub authentication: Option<(&'a HeaderName, &'a HeaderValue)>,
    /// Header and value of the idempotency key, when the event has one.
    pub idempotency: Option<(&'a HeaderName, &'a str)>,
    /// Further headers of ours: on the order of deliveries.
    pub more: &'a [(HeaderName, HeaderValue)],
}

/// A request that may be sent: complete but for `Host` and `Content-Length`, and never changed.
#[derive(Debug)]
pub struct SignedRequest {
    target: Arc<TargetUrl>,
    path_and_query: PathAndQuery,
    headers: HeaderMap,
    body: Bytes,
}

/// The parts of a [`SignedRequest`], for the wire.
#[derive(Debug)]
pub struct Parts {
    /// Where it goes.
    pub target: Arc<TargetUrl>,
    /// Request target in origin form.
    pub path_and_query: PathAndQuery,
    /// All headers but `Host` and `Content-Length`.
    pub headers: HeaderMap,
    /// The signed bytes.
    pub body: Bytes,
}

impl SignedRequest {
    /// Where it goes.
    #[must_use]
    pub const fn target(&self) -> &Arc<TargetUrl> {
        &self.target
    }

    /// Its headers.
    #[must_use]
    pub const fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The signed bytes.
    #[must_use]
    pub const fn body(&self) -> &Bytes {
        &self.body
    }

    /// Takes it apart to be sent.
    #[must_use]
    pub fn into_parts(self) -> Parts {
        Parts {
            target: self.target,
            path_and_query: self.path_and_query,
            headers: self.headers,
            body: self.body,
        }
    }
}

/// Signs an attempt at `now_s` (Unix seconds).
///
/// # Errors
/// [`SignError`]; nothing unsigned comes out of here.
pub fn sign(
    outgoing: &Outgoing<'_>,
    scheme: &Scheme,
    mode: Mode,
    keys: &[SigningKey],
    now_s: i64,
) -> Result<SignedRequest, SignError> {
    let message_id = webhook_id(outgoing.event_uid, outgoing.ordinal, outgoing.repeat);
    let path_and_query = path_and_query(outgoing.target, outgoing.query)?;
    let ours = 10 + scheme.headers().len();
    let mut headers = HeaderMap::with_capacity(outgoing.event_headers.len() + ours);
    if scheme.format().has_convoy() {
        let value = convoy(
            scheme,
            mode,
            keys,
            outgoing.json.unwrap_or(outgoing.body),
            now_s,
        )?;
        headers.insert(scheme.header(), value);
    }
    if scheme.format().has_standard() {
        // Newest first, as the specification has it; keys come in order of creation.
        let value = standard_webhooks(keys.iter().rev(), &message_id, now_s, outgoing.body)?;
        headers.insert(WEBHOOK_SIGNATURE, value);
        headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(now_s));
    }
    let to = Where {
        target: outgoing.target,
        path_and_query: &path_and_query,
    };
    if !scheme.headers().is_empty() {
        let facts = Facts {
            id: &message_id,
            time: &now_s.to_string(),
            url: &to.url(),
            body: outgoing.body,
        };
        for own in scheme.headers() {
            headers.insert(own.name(), own.fill(&facts, keys, now_s)?);
        }
    }
    headers.insert(header::CONTENT_TYPE, outgoing.content_type.clone());
    insert_ids(&mut headers, outgoing, message_id)?;
    if let Some((name, value)) = outgoing.authentication {
        scheme.check_free(name)?;
        headers.insert(name, value.clone());
    }
    headers.extend(outgoing.more.iter().cloned());
    merge(&mut headers, outgoing.event_headers);
    if let Some((name, key)) = outgoing.idempotency {
        // Replaces what the event brought, but never the signature.
        scheme.check_free(name)?;
        if outgoing
            .authentication
            .is_some_and(|(taken, _)| taken == name)
        {
            return Err(SignError::ReservedHeader(name.clone()));
        }
        headers.insert(name, value(name.clone(), key.to_owned())?);
    }
    headers.entry(header::USER_AGENT).or_insert(USER_AGENT);
    if let Some(message) = scheme.message() {
        // Last, over headers that do not change any more.
        message.sign(&mut headers, to, outgoing.body, (keys, now_s))?;
    }
    Ok(SignedRequest {
        target: Arc::clone(outgoing.target),
        path_and_query,
        headers,
        body: outgoing.body.clone(),
    })
}

/// The ids that every delivery carries (RULINGS 21).
fn insert_ids(
    headers: &mut HeaderMap,
    outgoing: &Outgoing<'_>,
    message_id: String,
) -> Result<(), SignError> {
    let message_id = value(WEBHOOK_ID, message_id)?;
    let event_id = if outgoing.repeat {
        value(EVENT_ID, outgoing.event_uid.to_string())?
    } else {
        message_id.clone()
    };
    headers.insert(WEBHOOK_ID, message_id);
    headers.insert(EVENT_ID, event_id);
    let delivery_id = value(DELIVERY_ID, outgoing.delivery_uid.to_string())?;
    headers.insert(DELIVERY_ID, delivery_id);
    if let Some(number) = outgoing.replay {
        headers.insert(REPLAY, HeaderValue::from(number));
    }
    Ok(())
}

/// Adds the event's headers behind ours: a name we set stays ours, one of theirs may have
/// several values.
fn merge(headers: &mut HeaderMap, event_headers: &HeaderList) {
    let ours: Vec<HeaderName> = headers.keys().cloned().collect();
    for (name, value) in event_headers {
        let is_ours = ours.contains(name) || name.as_str().starts_with(OUR_PREFIX);
        let is_theirs = !is_ours && !FRAMING.contains(name);
        if is_theirs && !is_of_connection(name, event_headers) {
            headers.append(name.clone(), value.clone());
        }
    }
}

/// Whether the event's `Connection` header, which intake normally took off already, says that
/// this one was for one connection only (RFC 9110 section 7.6.1).
fn is_of_connection(name: &HeaderName, event_headers: &HeaderList) -> bool {
    event_headers
        .iter()
        .filter(|(connection, _)| *connection == header::CONNECTION)
        .flat_map(|(_, value)| value.as_bytes().split(|byte| *byte == b','))
        .any(|listed| {
            listed
                .trim_ascii()
                .eq_ignore_ascii_case(name.as_str().as_bytes())
        })
}

/// The `webhook-id` of a delivery: the event's uid, with the ordinal behind it where the event
/// goes to the same endpoint by another ordinal already (RULINGS 21).
#[must_use]
pub fn webhook_id(event: Uid, ordinal: u32, is_repeat: bool) -> String {
    match is_repeat {
        true => format!("{event}-{ordinal}"),
        false => event.to_string(),
    }
}

/// The text becomes the value without a copy.
fn value(name: HeaderName, text: String) -> Result<HeaderValue, SignError> {
    HeaderValue::try_from(text).map_err(|_| SignError::BadHeader(name))
}

fn path_and_query(target: &TargetUrl, query: &str) -> Result<PathAndQuery, SignError> {
    let own = target.path_and_query();
    if query.is_empty() {
        return Ok(own.clone());
    }
    let separator = if own.query().is_some() { '&' } else { '?' };
    format!("{own}{separator}{query}")
        .parse()
        .map_err(|_| SignError::BadQuery)
}
