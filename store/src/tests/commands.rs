//! What commands left to do, as a restart finds it.

use bytes::Bytes;
use outrider_webhook::event::{Decision, EventFacts, Replay};
use outrider_webhook::id::{DeliveryKey, EventId, Uid};

use super::support::{Bed, NOW_MS, facts, targets};
use crate::{Accepted, CommandRecord, DeliveryStatus, LocalLog, Record, StateRecord, StoredEvent};

fn command(id: u128, verb: &str, body: Bytes, is_done: bool) -> Record {
    Record::Command(CommandRecord {
        id,
        at_ms: NOW_MS,
        verb: verb.into(),
        cursor: None,
        affected: 1,
        is_done,
        body,
    })
}

async fn accept(log: &LocalLog) -> EventId {
    let accepted = log.accept_parts(facts(10), targets(1), Decision::default());
    match accepted.await {
        Ok(Accepted::Stored(id)) => id,
        other => panic!("{other:?}"),
    }
}

fn key(event: EventId) -> DeliveryKey {
    DeliveryKey { event, ordinal: 0 }
}

fn state(event: &StoredEvent, status: DeliveryStatus) -> Record {
    Record::State(StateRecord {
        key: key(event.id),
        position: event.position,
        at_ms: NOW_MS,
        status,
        next_due_ms: (!status.is_final()).then_some(NOW_MS),
        attempts: 0,
        reason: None,
    })
}

#[test]
fn keys_come_back_from_a_body_and_half_a_key_is_none() {
    let keys: Vec<DeliveryKey> = (0..3)
        .map(|n| DeliveryKey {
            event: EventId::first_at(NOW_MS + i64::from(n)),
            ordinal: n,
        })
        .collect();
    let body = CommandRecord::body_of(&keys);
    assert_eq!(CommandRecord::keys_of(&body), keys);
    assert_eq!(CommandRecord::keys_of(&body[..body.len() - 1]), keys[..2]);
    assert_eq!(CommandRecord::keys_of(&[0xff; 12]), []);
}

#[tokio::test]
async fn what_was_cancelled_and_has_not_ended_is_told_apart() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    let mut events = Vec::new();
    for _ in 0..5 {
        events.push(accept(&log).await);
    }
    log.close().await.unwrap();
    let (log, recovered) = bed.open();
    let mut read = Vec::new();
    for pending in recovered.pending.iter() {
        read.push(log.read(pending.position).await.unwrap());
    }
    // The first had ended before, the second ends, the third ends and is opened again, the
    // fourth goes on, the fifth is not named.
    let all: Vec<DeliveryKey> = events[..4].iter().map(|event| key(*event)).collect();
    let cancel = command(1, CommandRecord::CANCEL, CommandRecord::body_of(&all), true);
    let records = [
        state(&read[0], DeliveryStatus::Success),
        cancel,
        state(&read[1], DeliveryStatus::Discarded),
        state(&read[2], DeliveryStatus::Discarded),
        state(&read[2], DeliveryStatus::Scheduled),
    ];
    for record in records {
        log.record_synced(record).await.unwrap();
    }
    log.close().await.unwrap();
    let (log, recovered) = bed.open();
    let cancelled = recovered.cancelled.iter().map(|one| one.key.event);
    let open = recovered.pending.iter().map(|one| one.key.event);
    assert_eq!(cancelled.collect::<Vec<_>>(), [events[3]]);
    assert_eq!(open.collect::<Vec<_>>(), [events[2], events[4]]);
    let is_reopened: Vec<bool> = recovered
        .pending
        .iter()
        .map(|one| one.is_reopened)
        .collect();
    assert_eq!(is_reopened, [true, false]);
    log.close().await.unwrap();
}

#[tokio::test]
async fn of_each_batch_the_newest_record_is_found_and_of_many_finished_ones_the_latest() {
    let bed = Bed::new();
    let (log, recovered) = bed.open();
    assert!(recovered.batches.is_empty());
    let body = |text: &'static str| Bytes::from_static(text.as_bytes());
    let running = command(1, "batch_retry", body("begins"), false);
    log.record_synced(running).await.unwrap();
    for id in 1_000..1_300 {
        let done = command(id, "batch_cancel", body("done"), true);
        log.record_synced(done).await.unwrap();
    }
    let running = command(1, "batch_retry", body("goes on"), false);
    log.record_synced(running).await.unwrap();
    log.record_synced(command(2, "resend", body(""), true))
        .await
        .unwrap();
    log.close().await.unwrap();
    let (log, recovered) = bed.open();
    let batches = recovered.batches;
    assert_eq!(batches.len(), 256);
    let last = &batches.last().unwrap().record;
    assert_eq!(
        (last.id, &*last.body, last.is_done),
        (1, &b"goes on"[..], false)
    );
    assert_eq!(batches[0].record.id, 1_300 - 255);
    log.close().await.unwrap();
}

async fn replay(log: &LocalLog, of: EventId, command: u128, count: usize) {
    let decision = Decision {
        replay: Some(Box::new(Replay {
            of,
            number: 1,
            command: Uid::from_bits(command),
        })),
        ..Decision::default()
    };
    let facts = EventFacts {
        idempotency_key: Some("key".into()),
        ..facts(10)
    };
    let accepted = log.accept_parts(facts, targets(count), decision).await;
    assert!(matches!(accepted, Ok(Accepted::Stored(_))), "{accepted:?}");
}

#[tokio::test]
async fn a_replay_is_no_repeat_and_is_known_to_its_batch_until_that_goes_on() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    let keyed = EventFacts {
        idempotency_key: Some("key".into()),
        ..facts(10)
    };
    let accepted = log.accept_parts(keyed.clone(), targets(1), Decision::default());
    let Ok(Accepted::Stored(first)) = accepted.await else {
        panic!("the first event is new");
    };
    let (one, other) = (accept(&log).await, accept(&log).await);
    let begin = command(1, "batch_replay", Bytes::from_static(b"1"), false);
    log.record_synced(begin.clone()).await.unwrap();
    replay(&log, one, 1, 1).await;
    log.record_synced(begin).await.unwrap();
    // With more targets than fit in one record.
    replay(&log, first, 1, 300).await;
    replay(&log, other, 1, 1).await;
    replay(&log, one, 2, 1).await; // of another command
    log.close().await.unwrap();
    let (log, recovered) = bed.open();
    assert_eq!(recovered.batches.len(), 1);
    assert_eq!(recovered.batches[0].replayed, [first, other]);
    let last = recovered.pending.iter().last().unwrap().position;
    let read = log.read(last).await.unwrap();
    assert_eq!(read.facts.idempotency_key.as_deref(), Some("key"));
    assert_eq!(read.decision.replay.unwrap().of, one);
    // The key is the first one's, as before.
    let again = log
        .accept_parts(keyed, targets(1), Decision::default())
        .await;
    let is_repeat = matches!(again, Ok(Accepted::Duplicate { first: of, .. }) if of == first);
    assert!(is_repeat, "{again:?}");
    log.close().await.unwrap();
}
