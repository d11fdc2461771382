//! Round trips of every kind, and what damage does to a record.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use outrider_webhook::event::{
    Audience, Decision, DeliveryMode, Dynamic, EventFacts, HeaderList, MadeEndpoint, Origin,
    Refusal, Replay, Target,
};
use outrider_webhook::id::{
    DeliveryKey, EndpointId, EventId, ProjectId, SourceId, SubscriptionId, Uid,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::event::Position;
use crate::record::{
    AttemptRecord, BarrierRecord, CommandRecord, DeliveryStatus, EndpointCondition,
    EndpointStateRecord, EraseRecord, StartedRecord, StateRecord,
};

const SEED: Seed = Seed(77);

/// The record of a draft as it would stand in a segment, with seq 9.
fn written(draft: &Draft, id: i64) -> Vec<u8> {
    let mut bytes = Vec::new();
    draft.write(&mut bytes, SEED, 9, id);
    assert_eq!(bytes.len(), draft.len());
    bytes
}

fn read(bytes: &[u8]) -> Result<Entry, Malformed> {
    let (record, check) = RawRecord::check(bytes, SEED)?;
    assert!(record.has_digest_of_its_payload());
    Entry::decode(&record, check, at(), &Bytes::copy_from_slice(bytes))
}

fn at() -> Position {
    Position {
        segment: 3,
        offset: 99,
    }
}

fn text() -> impl Strategy<Value = Box<str>> {
    "\\PC{0,20}".prop_map(Into::into)
}

fn uid() -> impl Strategy<Value = Uid> {
    any::<u128>().prop_map(Uid::from_bits)
}

fn event_ids() -> impl Strategy<Value = EventId> {
    (0..=i64::MAX).prop_map(|raw| EventId::from_raw(raw).unwrap())
}

fn key() -> impl Strategy<Value = DeliveryKey> {
    (event_ids(), any::<u32>()).prop_map(|(event, ordinal)| DeliveryKey { event, ordinal })
}

fn position() -> impl Strategy<Value = Position> {
    (any::<u32>(), any::<u64>()).prop_map(|(segment, offset)| Position { segment, offset })
}

fn headers() -> impl Strategy<Value = HeaderList> {
    let header = ("[a-z][a-z0-9-]{0,20}", vec(0x20_u8..0x7f, 0..30)).prop_map(|(name, value)| {
        (
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_bytes(&value).unwrap(),
        )
    });
    vec(header, 0..6)
}

fn target() -> impl Strategy<Value = Target> {
    (
        uid(),
        option::of(uid()),
        any::<bool>(),
        option::of(any::<u64>()),
    )
        .prop_map(|(endpoint, subscription, once, order_key)| Target {
            endpoint: EndpointId::new(endpoint),
            subscription: subscription.map(SubscriptionId::new),
            mode: if once {
                DeliveryMode::AtMostOnce
            } else {
                DeliveryMode::AtLeastOnce
            },
            order_key,
        })
}

fn origin() -> impl Strategy<Value = Origin> {
    option::of(uid())
        .prop_map(|uid| uid.map_or(Origin::Api, |uid| Origin::Source(SourceId::new(uid))))
}

fn audience() -> impl Strategy<Value = Audience> {
    prop_oneof![
        uid().prop_map(|uid| Audience::Source(SourceId::new(uid))),
        uid().prop_map(|uid| Audience::Endpoint(EndpointId::new(uid))),
        text().prop_map(Audience::Owner),
        Just(Audience::Broadcast),
        dynamic().prop_map(|dynamic| Audience::Dynamic(Box::new(dynamic))),
    ]
}

prop_compose! {
    fn dynamic()(
        endpoint in uid(), made in option::of((uid(), vec(any::<u8>(), 0..400))), url in option::of(text()),
    ) -> Dynamic {
        let made = made.map(|(subscription, sealed)| MadeEndpoint {
            subscription: SubscriptionId::new(subscription),
            sealed: sealed.into(),
        });
        Dynamic { endpoint: EndpointId::new(endpoint), made, url }
    }
}

fn decision() -> impl Strategy<Value = Decision> {
    let refusal = (uid(), any::<u16>()).prop_map(|(uid, leaf)| Refusal {
        subscription: SubscriptionId::new(uid),
        leaf,
    });
    (
        any::<u64>(),
        vec(refusal, 0..Decision::REFUSALS_MAX),
        any::<u32>(),
        any::<u32>(),
        option::of(text()),
        option::of(text()),
        option::of((any::<u32>(), uid(), 0..=i64::MAX)),
    )
        .prop_map(
            |(revision, refusals, refusals_more, mismatches, schema_flaw, verified_by, replay)| {
                let replay = replay.map(|(number, command, of)| {
                    let of = EventId::from_raw(of).unwrap();
                    Box::new(Replay {
                        of,
                        number,
                        command,
                    })
                });
                Decision {
                    revision,
                    refusals,
                    refusals_more,
                    type_mismatches: mismatches,
                    schema_flaw,
                    verified_by: verified_by.map(|word| (*word).into()),
                    replay,
                }
            },
        )
}

prop_compose! {
    fn facts()(
        project in uid(), origin in origin(), audience in audience(), event_type in text(),
        headers in headers(), query in text(), path in text(), body in vec(any::<u8>(), 0..300),
        idempotency_key in option::of(text()), window_ms in any::<i64>(), received_ms in any::<i64>(),
    ) -> EventFacts {
        EventFacts {
            project: ProjectId::new(project), origin, audience, event_type, headers, query, path,
            body: body.into(), idempotency_key, idempotency_window_ms: window_ms, received_ms,
        }
    }
}

fn status() -> impl Strategy<Value = DeliveryStatus> {
    (1_u8..=6).prop_map(|number| DeliveryStatus::from_number(number).unwrap())
}

fn address() -> impl Strategy<Value = SocketAddr> {
    any::<SocketAddr>().prop_map(|address| SocketAddr::new(address.ip(), address.port()))
}

prop_compose! {
    fn attempts()(
        key in key(), position in position(), number in any::<u32>(), times in any::<(i64, u64, u64, u64, u64, u64)>(),
        status in option::of(any::<u16>()), texts in (option::of(text()), option::of(text())),
        source in option::of(address()), destination in option::of(address()), revision in any::<u64>(),
        flags in 0_u32..1 << 30, request_headers in headers(), response_headers in headers(),
        excerpt in vec(any::<u8>(), 0..100), result in status(), next_due_ms in option::of(any::<i64>()),
    ) -> AttemptRecord {
        AttemptRecord {
            key, position, number, started_ms: times.0, duration_us: times.1, status, error: texts.0, source,
            destination, dns_us: times.2, connect_us: times.3, tls_us: times.4, first_byte_us: times.5, flags,
            revision, request_headers, response_headers, excerpt: excerpt.into(), result, next_due_ms,
            reason: texts.1,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn an_event_reads_back_as_it_was_written(facts in facts(), targets in vec(target(), 0..8), decision in decision(), id in event_ids()) {
        let key = facts.idempotency_key.as_deref().map(|key| IdemKey::new(facts.project, key));
        let bytes = written(&accept(&facts, &targets, &decision, key), id.raw());
        let Entry::Accept { event, targets_total, is_end } = read(&bytes).unwrap() else { panic!("another kind") };
        prop_assert_eq!(format!("{:?}", event.facts), format!("{facts:?}"));
        prop_assert_eq!(&event.decision, &decision);
        prop_assert_eq!(&event.targets[..], &targets[..]);
        prop_assert_eq!((event.id, event.position, event.revision), (id, at(), decision.revision));
        prop_assert_eq!((targets_total as usize, is_end), (targets.len(), true));
        let (record, _) = RawRecord::check(&bytes, SEED).unwrap();
        prop_assert_eq!(AcceptHead::decode(&record).unwrap().idempotency.map(|(hash, _)| hash), key);
    }

    #[test]
    fn a_repeat_reads_back_as_it_was_written(facts in facts(), revision in any::<u64>(), first in event_ids(), id in event_ids()) {
        let Entry::Duplicate(read) = read(&written(&duplicate(&facts, revision, first), id.raw())).unwrap() else { panic!("another kind") };
        prop_assert_eq!((read.id, read.first, read.revision, read.received_ms), (id, first, revision, facts.received_ms));
        prop_assert_eq!((read.project, read.origin, read.event_type), (facts.project, facts.origin, facts.event_type));
        prop_assert_eq!(read.idempotency_key, facts.idempotency_key.unwrap_or_default());
    }

    #[test]
    fn an_attempt_reads_back_as_it_was_written(record in attempts()) {
        let bytes = written(&attempt(&record), record.key.event.raw());
        let (raw, _) = RawRecord::check(&bytes, SEED).unwrap();
        let head = OutcomeHead::decode(&raw).unwrap();
        prop_assert_eq!((head.key, head.position, head.status), (record.key, record.position, record.result));
        prop_assert_eq!((head.next_due_ms, head.attempts, head.is_attempt), (record.next_due_ms, record.number, true));
        prop_assert_eq!(reason_of(&raw).unwrap(), record.reason.as_deref());
        let Entry::Attempt(read) = read(&bytes).unwrap() else { panic!("another kind") };
        prop_assert_eq!(*read, record);
    }

    #[test]
    fn a_state_and_a_start_read_back_as_they_were_written(
        key in key(), position in position(), at_ms in any::<i64>(), status in status(),
        next_due_ms in option::of(any::<i64>()), reason in option::of(text()), number in any::<u32>(), revision in any::<u64>(),
    ) {
        let record = StateRecord { key, position, at_ms, status, next_due_ms, attempts: number, reason };
        let bytes = written(&state(&record), key.event.raw());
        let (raw, _) = RawRecord::check(&bytes, SEED).unwrap();
        prop_assert_eq!(reason_of(&raw).unwrap(), record.reason.as_deref());
        let Entry::State(found) = read(&bytes).unwrap() else { panic!("another kind") };
        prop_assert_eq!(found, record);
        let record = StartedRecord { key, position, number, at_ms, revision };
        let Entry::Started(found) = read(&written(&started(&record), key.event.raw())).unwrap() else { panic!("another kind") };
        prop_assert_eq!(found, record);
    }

    #[test]
    fn the_other_kinds_read_back_as_they_were_written(
        uids in (uid(), uid()), at_ms in any::<i64>(), condition in 1_u8..=5, until_ms in option::of(any::<i64>()),
        numbers in any::<(u128, u64, u64)>(), reason in option::of(text()), verb in text(), cursor in option::of(event_ids()),
        trips in prop_oneof![Just(0), any::<u32>()], flag in any::<bool>(), body in vec(any::<u8>(), 0..100), event in event_ids(), positions in vec(position(), 1..5),
    ) {
        let condition = EndpointCondition::from_number(condition).unwrap();
        let record = EndpointStateRecord {
            project: ProjectId::new(uids.0), endpoint: EndpointId::new(uids.1), at_ms, condition, until_ms,
            activation_epoch: numbers.1, reason: reason.clone(), trips,
        };
        let Entry::EndpointState(found) = read(&written(&endpoint_state(&record), 0)).unwrap() else { panic!("another kind") };
        prop_assert_eq!(found, record);

        let record = CommandRecord {
            id: numbers.0, at_ms, verb, cursor, affected: numbers.1, is_done: flag, body: body.into(),
        };
        let Entry::Command(found) = read(&written(&command(&record), 0)).unwrap() else { panic!("another kind") };
        prop_assert_eq!(found, record);

        let record = EraseRecord { event, position: positions[0], also: positions[1..].to_vec(), at_ms, reason };
        let Entry::Erase(found) = read(&written(&erase(&record), event.raw())).unwrap() else { panic!("another kind") };
        prop_assert_eq!(found, record);

        let record = BarrierRecord { at_ms, pending: numbers.2, last_id: event, watermark: positions[0], is_close: flag };
        let Entry::Barrier(found) = read(&written(&barrier(&record), 0)).unwrap() else { panic!("another kind") };
        prop_assert_eq!(found, record);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in vec(any::<u8>(), 0..400), kind in 0_u8..16) {
        // With right checksums, so that the decoders behind them are reached.
        let mut record = vec![0; PREFIX];
        record.extend_from_slice(&bytes);
        record[16] = kind;
        let len = u32::try_from(record.len()).unwrap().to_le_bytes();
        record[4..8].copy_from_slice(&len);
        record[8..12].copy_from_slice(&len);
        let crc = SEED.checksum(&record[4..]).to_le_bytes();
        record[..4].copy_from_slice(&crc);
        let (raw, check) = RawRecord::check(&record, SEED).unwrap();
        let _ = Entry::decode(&raw, check, at(), &Bytes::new());
        let _ = OutcomeHead::decode(&raw);
        let _ = reason_of(&raw);
        let _ = GroupHead::decode(&record, SEED);
    }

    #[test]
    fn a_group_reads_back_as_it_was_written(numbers in any::<(u64, u64, u64, i64, u32, u32, u32)>(), last_id in event_ids(), previous in any::<[u8; 32]>(), chain in any::<[u8; 32]>()) {
        let (first_seq, number, synced_through, at_ms, count, bytes, members_crc) = numbers;
        let head = GroupHead { first_seq, last_id, number, synced_through, at_ms, count, bytes, members_crc, previous, chain };
        let mut group = vec![0; GROUP_BYTES];
        head.write(&mut group, SEED);
        prop_assert_eq!(GroupHead::decode(&group, SEED).unwrap(), head);
        prop_assert_eq!(&group[MARK_AT..MARK_AT + 8], &MARK);
    }
}

fn small_event() -> Vec<u8> {
    let facts = EventFacts {
        project: ProjectId::new(Uid::from_bits(1)),
        origin: Origin::Api,
        audience: Audience::Owner("o".into()),
        event_type: "t".into(),
        headers: vec![(HeaderName::from_static("a"), HeaderValue::from_static("b"))],
        query: "q".into(),
        path: "p".into(),
        body: Bytes::from_static(b"body"),
        idempotency_key: Some("key".into()),
        idempotency_window_ms: 5,
        received_ms: 6,
    };
    written(
        &accept(&facts, &[], &Decision::default(), Some(IdemKey([1, 2]))),
        7,
    )
}

#[test]
fn every_flipped_bit_of_a_record_is_found() {
    let bytes = small_event();
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&damaged).is_err(), "bit {bit}");
    }
}

#[test]
fn a_record_cut_off_anywhere_is_refused() {
    let bytes = small_event();
    for len in 0..bytes.len() {
        assert!(
            RawRecord::check(&bytes[..len], SEED).is_err(),
            "{len} bytes"
        );
    }
}

#[test]
fn a_record_of_another_segment_or_log_is_refused() {
    let mut bytes = Vec::new();
    let draft = started(&StartedRecord {
        key: DeliveryKey {
            event: EventId::ZERO,
            ordinal: 0,
        },
        position: at(),
        number: 1,
        at_ms: 0,
        revision: 0,
    });
    draft.write(&mut bytes, Seed::new(5, 1), 1, 0);
    assert!(RawRecord::check(&bytes, Seed::new(5, 1)).is_ok());
    assert!(RawRecord::check(&bytes, Seed::new(5, 2)).is_err());
    assert!(RawRecord::check(&bytes, Seed::new(6, 1)).is_err());
}

#[test]
fn an_erased_payload_leaves_the_rest_readable() {
    let mut bytes = small_event();
    let head_len = Prefix::decode(&bytes).unwrap().head_len as usize;
    bytes[head_len..].fill(0);
    let (record, check) = RawRecord::check(&bytes, SEED).unwrap();
    assert_eq!(check, PayloadCheck::Zeroed);
    let (event, _) = stored_event(&record, check, at(), &Bytes::new()).unwrap();
    assert_eq!((&*event.facts.event_type, event.facts.body.len()), ("t", 0));
    assert!(record.has_digest_of_its_payload());
}

#[test]
fn the_mark_of_a_flawed_event_is_refused_on_another_record() {
    let draft = super::draft::finish(super::draft::begin(kind::BARRIER, flag::FLAWED, 0, 0));
    assert!(read(&written(&draft, 0)).is_err());
}

#[test]
fn how_often_a_breaker_opened_is_optional_and_of_no_other_record() {
    let uid = Uid::from_bits(1);
    let mut record = EndpointStateRecord {
        project: ProjectId::new(uid),
        endpoint: EndpointId::new(uid),
        at_ms: 1,
        condition: EndpointCondition::BreakerOpen,
        until_ms: Some(2),
        activation_epoch: 0,
        reason: Some("failure_rate".into()),
        trips: 0,
    };
    // As it was written before this was kept.
    let before = written(&endpoint_state(&record), 0);
    assert_eq!(Prefix::decode(&before).unwrap().flags, 0);
    let Ok(Entry::EndpointState(found)) = read(&before) else {
        panic!("another kind")
    };
    assert_eq!(found, record);
    record.trips = 7;
    let with = written(&endpoint_state(&record), 0);
    assert_eq!(with.len(), before.len() + 4);
    // Neither without what it announces, nor beside a mark of events.
    let cut = |flags| super::draft::finish(super::draft::begin(kind::ENDPOINT_STATE, flags, 0, 0));
    assert!(read(&written(&cut(flag::TRIPPED), 0)).is_err());
    assert!(read(&written(&cut(flag::TRIPPED | flag::REPLAY), 0)).is_err());
}

#[test]
fn an_unknown_kind_is_refused_unless_it_may_be_ignored() {
    let unknown = |flags: u8| {
        let draft = super::draft::finish(super::draft::begin(99, flags, 0, 0));
        read(&written(&draft, 0))
    };
    assert!(unknown(0).is_err());
    assert!(matches!(
        unknown(flag::IGNORABLE),
        Ok(Entry::Ignored { kind: 99 })
    ));
    assert!(unknown(flag::IGNORABLE | 2).is_err(), "a reserved flag");
}

#[test]
fn what_is_too_long_for_an_attempt_is_cut_and_flagged() {
    let header = |size: usize| {
        (
            HeaderName::from_static("x"),
            HeaderValue::from_str(&"v".repeat(size)).unwrap(),
        )
    };
    let record = AttemptRecord {
        key: DeliveryKey {
            event: EventId::ZERO,
            ordinal: 0,
        },
        position: at(),
        number: 1,
        started_ms: 0,
        duration_us: 0,
        status: None,
        error: None,
        source: None,
        destination: None,
        dns_us: 0,
        connect_us: 0,
        tls_us: 0,
        first_byte_us: 0,
        flags: 1,
        revision: 0,
        request_headers: vec![header(40_000), header(40_000)],
        response_headers: vec![header(10)],
        excerpt: Bytes::from(vec![1; AttemptRecord::EXCERPT_BYTES_MAX + 1]),
        result: DeliveryStatus::Success,
        next_due_ms: None,
        reason: None,
    };
    let Entry::Attempt(found) = read(&written(&attempt(&record), 0)).unwrap() else {
        panic!("another kind")
    };
    assert_eq!(
        (found.request_headers.len(), found.response_headers.len()),
        (1, 1)
    );
    assert_eq!(found.excerpt.len(), AttemptRecord::EXCERPT_BYTES_MAX);
    assert_eq!(
        found.flags,
        1 | AttemptRecord::EXCERPT_CUT | AttemptRecord::HEADERS_CUT
    );
}

#[test]
fn targets_beyond_the_first_records_are_counted_on() {
    let target = |number: u128| Target {
        endpoint: EndpointId::new(Uid::from_bits(number)),
        subscription: None,
        mode: DeliveryMode::AtLeastOnce,
        order_key: None,
    };
    let all: Vec<Target> = (0..600).map(target).collect();
    let drafts = targets(&all);
    assert_eq!(drafts.len(), 2);
    for (draft, (expected_first, expected_end)) in drafts.iter().zip([(256, false), (512, true)]) {
        let Entry::Targets {
            first,
            targets,
            is_end,
            ..
        } = read(&written(draft, 1)).unwrap()
        else {
            panic!("kind")
        };
        assert_eq!((first, is_end), (expected_first, expected_end));
        assert_eq!(
            targets,
            all[first as usize..(first as usize + 256).min(600)]
        );
    }
    assert!(targets(&all[..256]).is_empty());
}
