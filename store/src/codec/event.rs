//! ACCEPT, TARGETS and DUPLICATE: an event on its way into the log.

use bytes::Bytes;
use outrider_webhook::event::{
    Audience, Decision, DeliveryMode, Dynamic, EventFacts, MadeEndpoint, Origin, Refusal, Replay,
    Target,
};
use outrider_webhook::id::{EndpointId, EventId, ProjectId, SourceId, SubscriptionId, Uid};

use super::draft::{self, Draft, IdemKey};
use super::wire::{Cursor, Put, share};
use super::{ACCEPT_TARGETS_MAX, Malformed, PayloadCheck, RawRecord, flag, kind};
use crate::event::{Position, StoredEvent, Targets};

/// Bytes of an ACCEPT body apart from texts, targets and headers, and some to spare.
const ACCEPT_BYTES: usize = 224;
/// Bytes of a target at most.
const TARGET_BYTES: usize = 41;

/// Encodes the ACCEPT record of an event, with its first targets.
pub(crate) fn accept(
    facts: &EventFacts,
    targets: &[Target],
    decision: &Decision,
    idempotency: Option<IdemKey>,
) -> Draft {
    let here = targets.get(..ACCEPT_TARGETS_MAX).unwrap_or(targets);
    let headers: usize = facts
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    let capacity =
        ACCEPT_BYTES + here.len() * TARGET_BYTES + headers + facts.query.len() + facts.path.len();
    let mut flags = if here.len() == targets.len() {
        flag::END
    } else {
        0
    };
    if decision.schema_flaw.is_some() {
        flags |= flag::FLAWED;
    }
    if decision.verified_by.is_some() {
        flags |= flag::VERIFIED;
    }
    if decision.replay.is_some() {
        flags |= flag::REPLAY;
    }
    let mut out = draft::begin(kind::ACCEPT, flags, 0, capacity);
    draft::reserve_digest(&mut out);
    out.put_u128(facts.project.uid().bits());
    out.put_i64(facts.received_ms);
    out.put_i64(facts.idempotency_window_ms);
    out.put_len(targets.len());
    put_targets(&mut out, here);
    out.put_option(
        facts.idempotency_key.as_deref().zip(idempotency),
        |out, (key, hash)| {
            out.put_u64(hash.0[0]);
            out.put_u64(hash.0[1]);
            out.put_text(key);
        },
    );
    put_origin(&mut out, facts.origin);
    put_audience(&mut out, &facts.audience);
    out.put_text(&facts.event_type);
    put_decision(&mut out, decision);
    if let Some(flaw) = &decision.schema_flaw {
        out.put_text(flaw);
    }
    if let Some(verified_by) = &decision.verified_by {
        out.put_text(verified_by);
    }
    if let Some(replay) = &decision.replay {
        out.put_i64(replay.of.raw());
        out.put_u32(replay.number);
        out.put_u128(replay.command.bits());
        // Its receivers get the key again, and nobody compares it.
        out.put_option(facts.idempotency_key.as_deref(), Put::put_text);
    }
    let head_len = out.len();
    out.put_headers(&facts.headers);
    out.put_text(&facts.path);
    out.put_text(&facts.query);
    draft::finish_with_payload(out, head_len, facts.body.clone())
}

/// Encodes the TARGETS records of an event: whatever did not fit in its ACCEPT.
pub(crate) fn targets(targets: &[Target]) -> Vec<Draft> {
    let rest = targets.get(ACCEPT_TARGETS_MAX..).unwrap_or_default();
    let parts = rest.len().div_ceil(ACCEPT_TARGETS_MAX);
    let encode = |(part, list): (usize, &[Target])| {
        let first = u32::try_from((part + 1) * ACCEPT_TARGETS_MAX).unwrap_or(u32::MAX);
        let flags = if part + 1 == parts { flag::END } else { 0 };
        let mut out = draft::begin(kind::TARGETS, flags, first, list.len() * TARGET_BYTES + 8);
        put_targets(&mut out, list);
        draft::finish(out)
    };
    rest.chunks(ACCEPT_TARGETS_MAX)
        .enumerate()
        .map(encode)
        .collect()
}

/// Encodes the record of a repeat of `first`.
pub(crate) fn duplicate(facts: &EventFacts, revision: u64, first: EventId) -> Draft {
    let key = facts.idempotency_key.as_deref().unwrap_or_default();
    let mut out = draft::begin(
        kind::DUPLICATE,
        0,
        0,
        80 + facts.event_type.len() + key.len(),
    );
    out.put_i64(first.raw());
    out.put_u128(facts.project.uid().bits());
    out.put_i64(facts.received_ms);
    out.put_u64(revision);
    put_origin(&mut out, facts.origin);
    out.put_text(&facts.event_type);
    out.put_text(key);
    draft::finish(out)
}

/// The header part of an ACCEPT, with texts still in the buffer.
#[derive(Debug)]
pub(crate) struct AcceptHead<'a> {
    pub(crate) id: EventId,
    pub(crate) is_end: bool,
    pub(crate) project: ProjectId,
    pub(crate) received_ms: i64,
    pub(crate) window_ms: i64,
    pub(crate) targets_total: u32,
    pub(crate) targets: Vec<Target>,
    pub(crate) idempotency: Option<(IdemKey, &'a str)>,
    pub(crate) origin: Origin,
    pub(crate) audience: Audience,
    pub(crate) event_type: &'a str,
    pub(crate) decision: Decision,
    /// The key of a replay, which is not compared.
    pub(crate) replayed_key: Option<&'a str>,
}

impl<'a> AcceptHead<'a> {
    pub(crate) fn decode(record: &RawRecord<'a>) -> Result<Self, Malformed> {
        let id = event_id(record.prefix.id)?;
        let is_end = record.prefix.has(flag::END);
        let mut at = Cursor::new(record.body());
        at.take(32)?;
        let project = ProjectId::new(Uid::from_bits(at.u128()?));
        let (received_ms, window_ms) = (at.i64()?, at.i64()?);
        let targets_total = at.varint_u32()?;
        let targets = take_targets(&mut at)?;
        let idempotency = at.option(|at| Ok((IdemKey([at.u64()?, at.u64()?]), at.text()?)))?;
        let origin = take_origin(&mut at)?;
        let audience = take_audience(&mut at)?;
        let event_type = at.text()?;
        let mut decision = take_decision(&mut at)?;
        if record.prefix.has(flag::FLAWED) {
            decision.schema_flaw = Some(at.text()?.into());
        }
        if record.prefix.has(flag::VERIFIED) {
            decision.verified_by = Some(at.text()?.into());
        }
        let mut replayed_key = None;
        if record.prefix.has(flag::REPLAY) {
            decision.replay = Some(Box::new(Replay {
                of: event_id(at.i64()?)?,
                number: at.u32()?,
                command: Uid::from_bits(at.u128()?),
            }));
            replayed_key = at.option(Cursor::text)?;
        }
        at.finish()?;
        Ok(Self {
            replayed_key,
            id,
            is_end,
            project,
            received_ms,
            window_ms,
            targets_total,
            targets,
            idempotency,
            origin,
            audience,
            event_type,
            decision,
        })
    }
}

/// The event of an ACCEPT record with the targets that are in it, and how many it has in all. `whole` is the memory the
/// record lies in; the body shares it. An erased payload gives an event without one.
pub(crate) fn stored_event(
    record: &RawRecord<'_>,
    check: PayloadCheck,
    position: Position,
    whole: &Bytes,
) -> Result<(StoredEvent, u32), Malformed> {
    let head = AcceptHead::decode(record)?;
    let (headers, path, query, body) = match check {
        PayloadCheck::Zeroed => (Vec::new(), "", "", Bytes::new()),
        PayloadCheck::Intact => {
            let mut at = Cursor::new(record.payload());
            (
                at.headers()?,
                at.text()?,
                at.text()?,
                share(whole, at.rest()),
            )
        }
    };
    let facts = EventFacts {
        project: head.project,
        origin: head.origin,
        audience: head.audience,
        event_type: head.event_type.into(),
        headers,
        query: query.into(),
        path: path.into(),
        body,
        idempotency_key: head
            .idempotency
            .map(|(_, key)| key)
            .or(head.replayed_key)
            .map(Into::into),
        idempotency_window_ms: head.window_ms,
        received_ms: head.received_ms,
    };
    let (revision, targets) = (head.decision.revision, Targets::from(head.targets));
    let event = StoredEvent {
        id: head.id,
        position,
        facts,
        targets,
        revision,
        decision: head.decision,
    };
    Ok((event, head.targets_total))
}

/// The targets of a TARGETS record.
pub(crate) fn targets_of(record: &RawRecord<'_>) -> Result<Vec<Target>, Malformed> {
    let mut at = Cursor::new(record.body());
    let targets = take_targets(&mut at)?;
    at.finish()?;
    Ok(targets)
}

pub(super) fn event_id(raw: i64) -> Result<EventId, Malformed> {
    EventId::from_raw(raw).ok_or(Malformed("event id"))
}

fn put_targets(out: &mut Vec<u8>, targets: &[Target]) {
    out.put_len(targets.len());
    for target in targets {
        let bits = u8::from(target.subscription.is_some())
            | u8::from(target.mode == DeliveryMode::AtMostOnce) << 1
            | u8::from(target.order_key.is_some()) << 2;
        out.put_u8(bits);
        out.put_u128(target.endpoint.uid().bits());
        if let Some(subscription) = target.subscription {
            out.put_u128(subscription.uid().bits());
        }
        if let Some(order_key) = target.order_key {
            out.put_u64(order_key);
        }
    }
}

fn take_targets(at: &mut Cursor<'_>) -> Result<Vec<Target>, Malformed> {
    let count = at.count()?;
    let mut targets = Vec::with_capacity(count);
    for _ in 0..count {
        let bits = at.u8()?;
        if bits > 0b111 {
            return Err(Malformed("target"));
        }
        let endpoint = EndpointId::new(Uid::from_bits(at.u128()?));
        let subscription = match bits & 1 {
            0 => None,
            _ => Some(SubscriptionId::new(Uid::from_bits(at.u128()?))),
        };
        let mode = match bits & 0b10 {
            0 => DeliveryMode::AtLeastOnce,
            _ => DeliveryMode::AtMostOnce,
        };
        let order_key = match bits & 0b100 {
            0 => None,
            _ => Some(at.u64()?),
        };
        targets.push(Target {
            endpoint,
            subscription,
            mode,
            order_key,
        });
    }
    Ok(targets)
}

fn put_origin(out: &mut Vec<u8>, origin: Origin) {
    let source = match origin {
        Origin::Api => None,
        Origin::Source(source) => Some(source),
    };
    out.put_option(source, |out, source| out.put_u128(source.uid().bits()));
}

pub(super) fn take_origin(at: &mut Cursor<'_>) -> Result<Origin, Malformed> {
    let source = at.option(Cursor::u128)?;
    Ok(source.map_or(Origin::Api, |bits| {
        Origin::Source(SourceId::new(Uid::from_bits(bits)))
    }))
}

fn put_audience(out: &mut Vec<u8>, audience: &Audience) {
    match audience {
        Audience::Source(source) => {
            out.put_u8(0);
            out.put_u128(source.uid().bits());
        }
        Audience::Endpoint(endpoint) => {
            out.put_u8(1);
            out.put_u128(endpoint.uid().bits());
        }
        Audience::Owner(owner) => {
            out.put_u8(2);
            out.put_text(owner);
        }
        Audience::Broadcast => out.put_u8(3),
        Audience::Dynamic(dynamic) => {
            // 5 is 4 with a URL behind it. Most have none, and builds before URL templates read
            // those.
            out.put_u8(if dynamic.url.is_some() { 5 } else { 4 });
            out.put_u128(dynamic.endpoint.uid().bits());
            out.put_option(dynamic.made.as_ref(), |out, made| {
                out.put_u128(made.subscription.uid().bits());
                out.put_bytes(&made.sealed);
            });
            if let Some(url) = &dynamic.url {
                out.put_text(url);
            }
        }
    }
}

fn take_audience(at: &mut Cursor<'_>) -> Result<Audience, Malformed> {
    Ok(match at.u8()? {
        0 => Audience::Source(SourceId::new(Uid::from_bits(at.u128()?))),
        1 => Audience::Endpoint(EndpointId::new(Uid::from_bits(at.u128()?))),
        2 => Audience::Owner(at.text()?.into()),
        3 => Audience::Broadcast,
        4 => Audience::Dynamic(Box::new(take_dynamic(at)?)),
        5 => {
            let mut dynamic = take_dynamic(at)?;
            dynamic.url = Some(at.text()?.into());
            Audience::Dynamic(Box::new(dynamic))
        }
        _ => return Err(Malformed("audience")),
    })
}

fn take_dynamic(at: &mut Cursor<'_>) -> Result<Dynamic, Malformed> {
    Ok(Dynamic {
        endpoint: EndpointId::new(Uid::from_bits(at.u128()?)),
        made: at.option(|at| {
            Ok(MadeEndpoint {
                subscription: SubscriptionId::new(Uid::from_bits(at.u128()?)),
                sealed: at.bytes()?.into(),
            })
        })?,
        url: None,
    })
}

/// Refusals beyond the bound of [`Decision::REFUSALS_MAX`] are counted, not listed.
fn put_decision(out: &mut Vec<u8>, decision: &Decision) {
    let listed = decision
        .refusals
        .get(..Decision::REFUSALS_MAX)
        .unwrap_or(&decision.refusals);
    let beyond = u32::try_from(decision.refusals.len() - listed.len()).unwrap_or(u32::MAX);
    out.put_u64(decision.revision);
    out.put_varint(u64::from(decision.refusals_more.saturating_add(beyond)));
    out.put_varint(u64::from(decision.type_mismatches));
    out.put_len(listed.len());
    for refusal in listed {
        out.put_u128(refusal.subscription.uid().bits());
        out.put_u16(refusal.leaf);
    }
}

fn take_decision(at: &mut Cursor<'_>) -> Result<Decision, Malformed> {
    let revision = at.u64()?;
    let (refusals_more, type_mismatches) = (at.varint_u32()?, at.varint_u32()?);
    let count = at.count()?;
    let mut refusals = Vec::with_capacity(count);
    for _ in 0..count {
        let subscription = SubscriptionId::new(Uid::from_bits(at.u128()?));
        refusals.push(Refusal {
            subscription,
            leaf: at.u16()?,
        });
    }
    Ok(Decision {
        revision,
        refusals,
        refusals_more,
        type_mismatches,
        schema_flaw: None,
        verified_by: None,
        replay: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In logs that are there: what these bytes mean may never change.
    #[test]
    fn an_event_that_names_a_url_is_told_by_its_number_and_the_others_are_as_ever() {
        let dynamic = |made: Option<MadeEndpoint>, url: Option<&str>| {
            let (endpoint, url) = (EndpointId::new(Uid::from_bits(7)), url.map(Into::into));
            let audience = Audience::Dynamic(Box::new(Dynamic {
                endpoint,
                made,
                url,
            }));
            let mut out = Vec::new();
            put_audience(&mut out, &audience);
            let mut at = Cursor::new(&out);
            assert_eq!(take_audience(&mut at), Ok(audience));
            assert_eq!(at.finish(), Ok(()));
            hex::encode(out)
        };
        let endpoint = hex::encode(7_u128.to_le_bytes());
        let made = Some(MadeEndpoint {
            subscription: SubscriptionId::new(Uid::from_bits(8)),
            sealed: b"s".as_slice().into(),
        });
        assert_eq!(dynamic(None, None), format!("04{endpoint}00"));
        let subscription = hex::encode(8_u128.to_le_bytes());
        assert_eq!(
            dynamic(made, None),
            format!("04{endpoint}01{subscription}0173")
        );
        assert_eq!(dynamic(None, Some("u")), format!("05{endpoint}000175"));
        assert!(take_audience(&mut Cursor::new(&[6])).is_err());
    }
}
