//! ATTEMPT and STATE: what became of a delivery. Both begin alike, so recovery reads one thing.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use outrider_webhook::id::DeliveryKey;

use super::draft::{self, Draft};
use super::event::event_id;
use super::wire::{Cursor, Put, share};
use super::{Malformed, PayloadCheck, RawRecord, kind};
use crate::event::Position;
use crate::record::{AttemptRecord, DeliveryStatus, StateRecord};

/// Bytes of an ATTEMPT body apart from texts, and some to spare.
const ATTEMPT_BYTES: usize = 192;

/// Encodes an attempt. What is beyond its bounds is left out, and its flags say so.
pub(crate) fn attempt(record: &AttemptRecord) -> Draft {
    let (request, is_request_cut) = within_bounds(&record.request_headers);
    let (response, is_response_cut) = within_bounds(&record.response_headers);
    let is_excerpt_cut = record.excerpt.len() > AttemptRecord::EXCERPT_BYTES_MAX;
    let excerpt = record
        .excerpt
        .slice(..record.excerpt.len().min(AttemptRecord::EXCERPT_BYTES_MAX));
    let mut flags = record.flags;
    if is_request_cut || is_response_cut {
        flags |= AttemptRecord::HEADERS_CUT;
    }
    if is_excerpt_cut {
        flags |= AttemptRecord::EXCERPT_CUT;
    }

    let capacity = ATTEMPT_BYTES + header_bytes(request) + header_bytes(response);
    let mut out = draft::begin(kind::ATTEMPT, 0, record.key.ordinal, capacity);
    draft::reserve_digest(&mut out);
    put_outcome(&mut out, record.position, record.result, record.next_due_ms);
    out.put_u32(record.number);
    out.put_i64(record.started_ms);
    out.put_varint(record.duration_us);
    out.put_option(record.status, Put::put_u16);
    out.put_option(record.error.as_deref(), Put::put_text);
    out.put_option(record.source, Put::put_address);
    out.put_option(record.destination, Put::put_address);
    out.put_varint(record.dns_us);
    out.put_varint(record.connect_us);
    out.put_varint(record.tls_us);
    out.put_varint(record.first_byte_us);
    out.put_u32(flags);
    out.put_u64(record.revision);
    out.put_option(record.reason.as_deref(), Put::put_text);
    let head_len = out.len();
    out.put_headers(request);
    out.put_headers(response);
    draft::finish_with_payload(out, head_len, excerpt)
}

/// Encodes a state.
pub(crate) fn state(record: &StateRecord) -> Draft {
    let mut out = draft::begin(kind::STATE, 0, record.key.ordinal, 64);
    put_outcome(&mut out, record.position, record.status, record.next_due_ms);
    out.put_u32(record.attempts);
    out.put_i64(record.at_ms);
    out.put_option(record.reason.as_deref(), Put::put_text);
    draft::finish(out)
}

/// What recovery and index need of an ATTEMPT or a STATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutcomeHead {
    pub(crate) key: DeliveryKey,
    pub(crate) position: Position,
    pub(crate) status: DeliveryStatus,
    pub(crate) next_due_ms: Option<i64>,
    /// Attempts made up to this record, its own included.
    pub(crate) attempts: u32,
    /// When the attempt began, or the state was set, Unix milliseconds.
    pub(crate) at_ms: i64,
    /// Whether it is an ATTEMPT.
    pub(crate) is_attempt: bool,
    /// Whether it is an ATTEMPT that does not count against the limit.
    pub(crate) is_free: bool,
    /// Whether it is an ATTEMPT after which the delivery leaves its line.
    pub(crate) is_parked: bool,
}

impl OutcomeHead {
    pub(crate) fn decode(record: &RawRecord<'_>) -> Result<Self, Malformed> {
        let (mut head, mut at) = Self::take(record)?;
        // Of an ended delivery nobody asks.
        if head.is_attempt && !head.status.is_final() {
            let flags = take_measures(&mut at)?.flags;
            head.is_free = flags & AttemptRecord::FREE != 0;
            head.is_parked = flags & AttemptRecord::PARKED != 0;
        }
        Ok(head)
    }

    fn take<'a>(record: &RawRecord<'a>) -> Result<(Self, Cursor<'a>), Malformed> {
        let is_attempt = record.prefix.kind == kind::ATTEMPT;
        let key = DeliveryKey {
            event: event_id(record.prefix.id)?,
            ordinal: record.prefix.ordinal,
        };
        let mut at = Cursor::new(record.body());
        if is_attempt {
            at.take(32)?;
        }
        let position = at.position()?;
        let status = DeliveryStatus::from_number(at.u8()?).ok_or(Malformed("delivery status"))?;
        let next_due_ms = at.option(Cursor::i64)?;
        let (attempts, at_ms) = (at.u32()?, at.i64()?);
        let head = Self {
            key,
            position,
            status,
            next_due_ms,
            attempts,
            at_ms,
            is_attempt,
            is_free: false,
            is_parked: false,
        };
        Ok((head, at))
    }
}

/// Why a delivery ended, as its ATTEMPT or STATE says.
pub(crate) fn reason_of<'a>(record: &RawRecord<'a>) -> Result<Option<&'a str>, Malformed> {
    let (head, mut at) = OutcomeHead::take(record)?;
    if head.is_attempt {
        take_measures(&mut at)?;
        at.u64()?; // the revision
    }
    at.option(Cursor::text)
}

pub(super) fn decode_attempt(
    record: &RawRecord<'_>,
    check: PayloadCheck,
    whole: &Bytes,
) -> Result<AttemptRecord, Malformed> {
    let (head, mut at) = OutcomeHead::take(record)?;
    let (request_headers, response_headers, excerpt) = match check {
        PayloadCheck::Zeroed => Default::default(),
        PayloadCheck::Intact => {
            let mut payload = Cursor::new(record.payload());
            (
                payload.headers()?,
                payload.headers()?,
                share(whole, payload.rest()),
            )
        }
    };
    let measures = take_measures(&mut at)?;
    let attempt = AttemptRecord {
        key: head.key,
        position: head.position,
        number: head.attempts,
        started_ms: head.at_ms,
        duration_us: measures.duration_us,
        status: measures.status,
        error: measures.error.map(Into::into),
        source: measures.source,
        destination: measures.destination,
        dns_us: measures.dns_us,
        connect_us: measures.connect_us,
        tls_us: measures.tls_us,
        first_byte_us: measures.first_byte_us,
        flags: measures.flags,
        revision: at.u64()?,
        request_headers,
        response_headers,
        excerpt,
        result: head.status,
        next_due_ms: head.next_due_ms,
        reason: at.option(Cursor::text)?.map(Into::into),
    };
    at.finish()?;
    Ok(attempt)
}

/// What an ATTEMPT says of its request, behind what all outcomes have in common.
struct Measures<'a> {
    duration_us: u64,
    status: Option<u16>,
    error: Option<&'a str>,
    source: Option<SocketAddr>,
    destination: Option<SocketAddr>,
    dns_us: u64,
    connect_us: u64,
    tls_us: u64,
    first_byte_us: u64,
    flags: u32,
}

fn take_measures<'a>(at: &mut Cursor<'a>) -> Result<Measures<'a>, Malformed> {
    Ok(Measures {
        duration_us: at.varint()?,
        status: at.option(Cursor::u16)?,
        error: at.option(Cursor::text)?,
        source: at.option(Cursor::address)?,
        destination: at.option(Cursor::address)?,
        dns_us: at.varint()?,
        connect_us: at.varint()?,
        tls_us: at.varint()?,
        first_byte_us: at.varint()?,
        flags: at.u32()?,
    })
}

pub(super) fn decode_state(record: &RawRecord<'_>) -> Result<StateRecord, Malformed> {
    let (head, mut at) = OutcomeHead::take(record)?;
    let reason = at.option(Cursor::text)?.map(Into::into);
    at.finish()?;
    Ok(StateRecord {
        key: head.key,
        position: head.position,
        at_ms: head.at_ms,
        status: head.status,
        next_due_ms: head.next_due_ms,
        attempts: head.attempts,
        reason,
    })
}

fn put_outcome(
    out: &mut Vec<u8>,
    position: Position,
    status: DeliveryStatus,
    next_due_ms: Option<i64>,
) {
    out.put_position(position);
    out.put_u8(status.number());
    out.put_option(next_due_ms, Put::put_i64);
}

/// The leading headers within the bound, and whether any were left out.
fn within_bounds(headers: &[(HeaderName, HeaderValue)]) -> (&[(HeaderName, HeaderValue)], bool) {
    let mut bytes = 0_usize;
    let mut fits = |(name, value): &(HeaderName, HeaderValue)| {
        bytes += name.as_str().len() + value.len();
        bytes <= AttemptRecord::HEADER_BYTES_MAX
    };
    let kept = headers.iter().take_while(|header| fits(header)).count();
    (headers.get(..kept).unwrap_or(headers), kept < headers.len())
}

fn header_bytes(headers: &[(HeaderName, HeaderValue)]) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum()
}
