//! The small kinds: STARTED, COMMAND, ENDPOINT_STATE, ERASE, BARRIER, and reading DUPLICATE.

use bytes::Bytes;
use outrider_webhook::id::{DeliveryKey, EndpointId, EventId, ProjectId, Uid};

use super::draft::{self, Draft};
use super::event::{event_id, take_origin};
use super::wire::{Cursor, Put, share};
use super::{Malformed, PayloadCheck, RawRecord, flag, kind};
use crate::record::{
    BarrierRecord, CommandRecord, DuplicateRecord, EndpointCondition, EndpointStateRecord,
    EraseRecord, StartedRecord,
};

/// Encodes the begin of an at-most-once attempt.
pub(crate) fn started(record: &StartedRecord) -> Draft {
    let mut out = draft::begin(kind::STARTED, 0, record.key.ordinal, 40);
    out.put_position(record.position);
    out.put_u32(record.number);
    out.put_i64(record.at_ms);
    out.put_u64(record.revision);
    draft::finish(out)
}

pub(super) fn decode_started(record: &RawRecord<'_>) -> Result<StartedRecord, Malformed> {
    let mut at = Cursor::new(record.body());
    let started = StartedRecord {
        key: DeliveryKey {
            event: event_id(record.prefix.id)?,
            ordinal: record.prefix.ordinal,
        },
        position: at.position()?,
        number: at.u32()?,
        at_ms: at.i64()?,
        revision: at.u64()?,
    };
    at.finish()?;
    Ok(started)
}

/// Encodes an endpoint's condition.
pub(crate) fn endpoint_state(record: &EndpointStateRecord) -> Draft {
    let flags = if record.trips > 0 { flag::TRIPPED } else { 0 };
    let mut out = draft::begin(kind::ENDPOINT_STATE, flags, 0, 100);
    out.put_u128(record.project.uid().bits());
    out.put_u128(record.endpoint.uid().bits());
    out.put_i64(record.at_ms);
    out.put_u8(record.condition.number());
    out.put_option(record.until_ms, Put::put_i64);
    out.put_u64(record.activation_epoch);
    out.put_option(record.reason.as_deref(), Put::put_text);
    if record.trips > 0 {
        out.put_u32(record.trips);
    }
    draft::finish(out)
}

pub(super) fn decode_endpoint_state(
    record: &RawRecord<'_>,
) -> Result<EndpointStateRecord, Malformed> {
    let mut at = Cursor::new(record.body());
    let state = EndpointStateRecord {
        project: ProjectId::new(Uid::from_bits(at.u128()?)),
        endpoint: EndpointId::new(Uid::from_bits(at.u128()?)),
        at_ms: at.i64()?,
        condition: EndpointCondition::from_number(at.u8()?)
            .ok_or(Malformed("endpoint condition"))?,
        until_ms: at.option(Cursor::i64)?,
        activation_epoch: at.u64()?,
        reason: at.option(Cursor::text)?.map(Into::into),
        trips: match record.prefix.has(flag::TRIPPED) {
            true => at.u32()?,
            false => 0,
        },
    };
    at.finish()?;
    Ok(state)
}

/// Encodes a command.
pub(crate) fn command(record: &CommandRecord) -> Draft {
    let mut out = draft::begin(kind::COMMAND, 0, 0, 96 + record.verb.len());
    draft::reserve_digest(&mut out);
    out.put_u128(record.id);
    out.put_i64(record.at_ms);
    out.put_text(&record.verb);
    out.put_option(record.cursor, |out, cursor| out.put_i64(cursor.raw()));
    out.put_u64(record.affected);
    out.put_u8(u8::from(record.is_done));
    let head_len = out.len();
    draft::finish_with_payload(out, head_len, record.body.clone())
}

pub(super) fn decode_command(
    record: &RawRecord<'_>,
    check: PayloadCheck,
    whole: &Bytes,
) -> Result<CommandRecord, Malformed> {
    let mut at = Cursor::new(record.body());
    at.take(32)?;
    let command = CommandRecord {
        id: at.u128()?,
        at_ms: at.i64()?,
        verb: at.text()?.into(),
        cursor: at.option(|at| event_id(at.i64()?))?,
        affected: at.u64()?,
        is_done: take_bool(&mut at)?,
        body: match check {
            PayloadCheck::Intact => share(whole, record.payload()),
            PayloadCheck::Zeroed => Bytes::new(),
        },
    };
    at.finish()?;
    Ok(command)
}

/// Encodes the order to erase; the event's id goes into the prefix.
pub(crate) fn erase(record: &EraseRecord) -> Draft {
    let mut out = draft::begin(kind::ERASE, 0, 0, 64 + record.also.len() * 12);
    out.put_position(record.position);
    out.put_i64(record.at_ms);
    out.put_len(record.also.len());
    for position in &record.also {
        out.put_position(*position);
    }
    out.put_option(record.reason.as_deref(), Put::put_text);
    draft::finish(out)
}

pub(crate) fn decode_erase(record: &RawRecord<'_>) -> Result<EraseRecord, Malformed> {
    let mut at = Cursor::new(record.body());
    let (event, position, at_ms) = (event_id(record.prefix.id)?, at.position()?, at.i64()?);
    let count = at.count()?;
    let also = (0..count)
        .map(|_| at.position())
        .collect::<Result<_, _>>()?;
    let reason = at.option(Cursor::text)?.map(Into::into);
    at.finish()?;
    Ok(EraseRecord {
        event,
        position,
        also,
        at_ms,
        reason,
    })
}

/// Encodes a barrier.
pub(crate) fn barrier(record: &BarrierRecord) -> Draft {
    let mut out = draft::begin(kind::BARRIER, 0, 0, 48);
    out.put_i64(record.at_ms);
    out.put_u64(record.pending);
    out.put_i64(record.last_id.raw());
    out.put_position(record.watermark);
    out.put_u8(u8::from(record.is_close));
    draft::finish(out)
}

pub(super) fn decode_barrier(record: &RawRecord<'_>) -> Result<BarrierRecord, Malformed> {
    let mut at = Cursor::new(record.body());
    let barrier = BarrierRecord {
        at_ms: at.i64()?,
        pending: at.u64()?,
        last_id: event_id(at.i64()?)?,
        watermark: at.position()?,
        is_close: take_bool(&mut at)?,
    };
    at.finish()?;
    Ok(barrier)
}

pub(super) fn decode_duplicate(record: &RawRecord<'_>) -> Result<DuplicateRecord, Malformed> {
    let mut at = Cursor::new(record.body());
    let first: EventId = event_id(at.i64()?)?;
    let project = ProjectId::new(Uid::from_bits(at.u128()?));
    let (received_ms, revision) = (at.i64()?, at.u64()?);
    let origin = take_origin(&mut at)?;
    let (event_type, idempotency_key) = (at.text()?.into(), at.text()?.into());
    at.finish()?;
    let id = event_id(record.prefix.id)?;
    Ok(DuplicateRecord {
        id,
        first,
        project,
        origin,
        event_type,
        idempotency_key,
        received_ms,
        revision,
    })
}

fn take_bool(at: &mut Cursor<'_>) -> Result<bool, Malformed> {
    match at.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed("bool")),
    }
}
