//! What a start finds: states, segment ends, many restarts, retention.

use std::sync::atomic::Ordering;

use outrider_webhook::event::DeliveryMode;
use outrider_webhook::id::{DeliveryKey, EndpointId, ProjectId, Uid};

use super::support::*;
use crate::*;

fn key(event: &StoredEvent, ordinal: u32) -> DeliveryKey {
    DeliveryKey {
        event: event.id,
        ordinal,
    }
}

fn state(event: &StoredEvent, status: DeliveryStatus, next_due_ms: Option<i64>) -> Record {
    let (key, position) = (key(event, 0), event.position);
    Record::State(StateRecord {
        key,
        position,
        at_ms: NOW_MS,
        status,
        next_due_ms,
        attempts: 0,
        reason: None,
    })
}

#[tokio::test]
async fn a_retry_that_a_clock_ahead_has_scheduled_waits_as_long_as_was_meant() {
    const DAY_MS: i64 = 24 * 3_600_000;
    let bed = Bed::new();
    bed.clock.0.store(NOW_MS + DAY_MS, Ordering::Relaxed);
    let (log, _) = bed.open();
    put(&log, 10).await;
    let event = bed.sink.last();
    let due_ms = NOW_MS + DAY_MS + 5_000;
    log.record(state(&event, DeliveryStatus::Retry, Some(due_ms)))
        .await
        .unwrap();
    log.close().await.unwrap();
    for (now_ms, expected_ms) in [
        (NOW_MS, NOW_MS + 5_000),
        (NOW_MS + DAY_MS, due_ms),
        (NOW_MS + 2 * DAY_MS, due_ms),
    ] {
        bed.clock.0.store(now_ms, Ordering::Relaxed);
        let (log, recovered) = bed.open();
        assert_eq!(recovered.pending.iter().next().unwrap().due_ms, expected_ms);
        log.close().await.unwrap();
    }
}

#[tokio::test]
async fn states_are_found_as_they_were_recorded() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    put_for(&log, facts(10), 4).await;
    let event = bed.sink.last();
    let record = |ordinal, number, result| {
        log.record(Record::Attempt(attempt(
            key(&event, ordinal),
            event.position,
            number,
            result,
        )))
    };
    record(0, 1, DeliveryStatus::Success).await.unwrap();
    record(1, 1, DeliveryStatus::Retry).await.unwrap();
    record(1, 2, DeliveryStatus::Retry).await.unwrap();
    record(2, 1, DeliveryStatus::Failure).await.unwrap();
    let other = put(&log, 10).await;
    log.close().await.unwrap();

    let (log, recovered) = bed.open();
    let open: Vec<_> = recovered
        .pending
        .iter()
        .map(|open| (open.key, open.attempts, open.due_ms))
        .collect();
    let accepted_ms = event.id.unix_ms();
    assert_eq!(
        open,
        [
            (key(&event, 1), 2, NOW_MS + 5_000),
            (key(&event, 3), 0, accepted_ms),
            (
                DeliveryKey {
                    event: other,
                    ordinal: 0
                },
                0,
                other.unix_ms()
            ),
        ]
    );
    assert_eq!((recovered.events, recovered.last_id), (2, other));
    assert_eq!(log.stats().open_deliveries, 3);
    log.close().await.unwrap();
}

#[tokio::test]
async fn a_final_state_stays_final_until_a_state_opens_it_again() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    put(&log, 10).await;
    let event = bed.sink.last();
    let attempted =
        |number, result| Record::Attempt(attempt(key(&event, 0), event.position, number, result));
    log.record(attempted(1, DeliveryStatus::Success))
        .await
        .unwrap();
    log.record(attempted(1, DeliveryStatus::Retry))
        .await
        .unwrap(); // by a worker that lost its lease
    log.close().await.unwrap();
    let (log, recovered) = bed.open();
    assert!(recovered.pending.is_empty());
    assert_eq!(log.stats().open_deliveries, 0);

    log.record(state(&event, DeliveryStatus::Scheduled, Some(NOW_MS + 9)))
        .await
        .unwrap();
    log.close().await.unwrap();
    let (log, recovered) = bed.open();
    assert_eq!(recovered.pending.len(), 1);
    let open = recovered.pending.iter().next().unwrap();
    assert_eq!(
        (open.key, open.due_ms, &open.target),
        (key(&event, 0), NOW_MS + 9, &targets(1)[0])
    );
    log.record(state(&event, DeliveryStatus::Discarded, None))
        .await
        .unwrap();
    log.close().await.unwrap();
    let (log, recovered) = bed.open();
    assert!(recovered.pending.is_empty());
    log.close().await.unwrap();
}

#[tokio::test]
async fn a_begun_at_most_once_attempt_is_reported_and_not_made_again() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    let mut list = targets(3);
    list[0].mode = DeliveryMode::AtMostOnce;
    list[1].mode = DeliveryMode::AtMostOnce;
    log.accept_parts(facts(1), list, decision()).await.unwrap();
    let event = bed.sink.last();
    for ordinal in [0, 2] {
        let (key, position) = (key(&event, ordinal), event.position);
        let started = StartedRecord {
            key,
            position,
            number: 1,
            at_ms: NOW_MS,
            revision: 42,
        };
        log.record_synced(Record::Started(started)).await.unwrap();
    }
    let cut = bed.copy();
    let (log, recovered) = cut.open();
    let unknown = recovered.outcome_unknown.iter().map(|one| one.key.ordinal);
    let open = recovered.pending.iter().map(|one| one.key.ordinal);
    assert_eq!(unknown.collect::<Vec<_>>(), [0]);
    assert_eq!(open.collect::<Vec<_>>(), [1, 2]);
    log.close().await.unwrap();
}

#[tokio::test]
async fn the_last_condition_of_each_class_of_an_endpoint_is_found() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    let condition = |endpoint, condition| EndpointStateRecord {
        project: ProjectId::new(Uid::from_bits(1)),
        endpoint: EndpointId::new(Uid::from_bits(endpoint)),
        at_ms: NOW_MS,
        condition,
        until_ms: None,
        activation_epoch: 3,
        reason: Some("gone".into()),
        trips: match condition {
            EndpointCondition::BreakerOpen | EndpointCondition::BreakerHalfOpen => 4,
            _ => 0,
        },
    };
    for (endpoint, found) in [
        (1, EndpointCondition::Disabled),
        (2, EndpointCondition::BreakerOpen),
        (2, EndpointCondition::Held),
        (1, EndpointCondition::BreakerOpen),
        (2, EndpointCondition::BreakerHalfOpen),
        (1, EndpointCondition::Held),
        (1, EndpointCondition::Active),
    ] {
        log.record(Record::EndpointState(condition(endpoint, found)))
            .await
            .unwrap();
    }
    log.close().await.unwrap();
    let (log, recovered) = bed.open();
    let expected = [
        condition(1, EndpointCondition::Disabled),
        condition(1, EndpointCondition::Held),
        condition(1, EndpointCondition::Active),
        condition(2, EndpointCondition::Held),
        condition(2, EndpointCondition::BreakerHalfOpen),
    ];
    assert_eq!(recovered.endpoint_states, expected);
    log.close().await.unwrap();
}

#[tokio::test]
async fn sizes_around_the_end_of_a_segment_all_survive() {
    // The head of an event without body, to aim at the end exactly.
    let bed = Bed::new();
    let (log, _) = bed.open();
    put(&log, 0).await;
    let event_bytes = usize::try_from(log.stats().written_bytes).unwrap();
    log.close().await.unwrap();

    let filling = MIB_LEN - 64 - 2 * event_bytes;
    for short in [
        0,
        1,
        2,
        39,
        40,
        41,
        151,
        152,
        153,
        event_bytes - 1,
        event_bytes,
        event_bytes + 1,
        5000,
    ] {
        let bed = Bed::new();
        let (log, _) = bed.open();
        // Sizes are varints, so the first event misses the end by a few bytes more than `short`.
        let first = put(&log, filling - short).await;
        let second = put(&log, 0).await;
        let third = put(&log, 3).await;
        let (cut, ids) = (bed.copy(), bed.sink.ids());
        assert_eq!(ids, [first, second, third]);
        log.close().await.unwrap();
        for bed in [bed, cut] {
            let (log, recovered) = bed.open();
            let found: Vec<_> = recovered
                .pending
                .iter()
                .map(|pending| pending.key.event)
                .collect();
            assert_eq!(found, ids, "{short} bytes short");
            assert!(recovered.torn_tail.is_none());
            for pending in recovered.pending.iter() {
                log.read(pending.position).await.unwrap();
            }
            put(&log, 10).await;
            log.close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn many_restarts_go_on_counting() {
    let mut bed = Bed::new();
    let mut ids = Vec::new();
    for round in 0..12_u64 {
        let (log, recovered) = bed.open();
        assert_eq!(
            (recovered.events, recovered.pending.len()),
            (round * 3, ids.len())
        );
        for _ in 0..3 {
            ids.push(put(&log, 150_000).await);
        }
        let cut = bed.copy();
        log.close().await.unwrap();
        if round % 2 == 0 {
            bed = cut; // as after a power cut
        }
    }
    assert!(ids.is_sorted());
    let mut tail = Tail::open(&bed.options.dir, None, Check::Chain).unwrap();
    let (mut records, mut next_seq) = (Vec::new(), 1);
    while tail.next_group(&mut records).unwrap() {}
    for record in &records {
        assert_eq!(record.seq, next_seq);
        next_seq += 1;
    }
    let found: Vec<_> = records
        .iter()
        .filter_map(|record| match &record.entry {
            Entry::Accept { event, .. } => Some(event.id),
            _ => None,
        })
        .collect();
    assert_eq!(found, ids);
}

#[tokio::test]
async fn retention_drops_old_segments_that_nothing_open_needs() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    for _ in 0..12 {
        put(&log, 200_000).await;
    }
    let events = bed.sink.events.lock().unwrap().clone();
    let segments = log.stats().segments;
    assert!(segments >= 3);
    let later = NOW_MS + 10;
    assert_eq!(
        log.drop_expired(later).unwrap(),
        0,
        "all deliveries are open"
    );
    for event in &events {
        let done = attempt(key(event, 0), event.position, 1, DeliveryStatus::Success);
        log.record(Record::Attempt(done.clone())).await.unwrap();
        log.record_synced(Record::Attempt(done)).await.unwrap(); // an end recorded twice
    }
    assert_eq!(log.drop_expired(NOW_MS).unwrap(), 0, "nothing is older");
    // One that is opened again keeps its segment and all behind it.
    let second = events
        .iter()
        .find(|event| event.position.segment == 2)
        .unwrap();
    log.record_synced(state(second, DeliveryStatus::Scheduled, Some(NOW_MS)))
        .await
        .unwrap();
    assert_eq!(log.drop_expired(later).unwrap(), 1);
    assert!(
        matches!(log.read(events[0].position).await, Err(error) if error.code() == "payload_gone")
    );
    log.read(second.position).await.unwrap();
    log.close().await.unwrap();

    let (log, recovered) = bed.open();
    assert_eq!(recovered.pending.len(), 1);
    log.record_synced(state(second, DeliveryStatus::Discarded, None))
        .await
        .unwrap();
    assert!(log.drop_expired(later).unwrap() > 0);
    assert_eq!(log.stats().segments, 1, "the current one stays");
    log.close().await.unwrap();
    let (log, recovered) = bed.open();
    assert!(recovered.pending.is_empty() && recovered.last_id == events[11].id);
    put(&log, 1).await;
    log.close().await.unwrap();
}

#[tokio::test]
async fn a_delivery_opened_again_without_its_event_is_handed_over_to_be_ended() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    put(&log, 10).await;
    let event = bed.sink.last();
    log.record(state(&event, DeliveryStatus::Discarded, None))
        .await
        .unwrap();
    for _ in 0..30 {
        put_for(&log, facts(100_000), 0).await; // over several segments
    }
    assert!(log.drop_expired(NOW_MS + 1).unwrap() > 0);
    // Asked for before, and recorded after its event went.
    log.record_synced(state(&event, DeliveryStatus::Scheduled, Some(NOW_MS)))
        .await
        .unwrap();
    log.close().await.unwrap();
    let (log, recovered) = bed.open();
    assert!(recovered.pending.is_empty());
    let lost: Vec<DeliveryKey> = recovered.lost.iter().map(|lost| lost.key).collect();
    assert_eq!(lost, [key(&event, 0)]);
    log.close().await.unwrap();
}
