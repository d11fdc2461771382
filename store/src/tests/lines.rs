//! What a start finds of deliveries with an order key: which go apart from the others, and what
//! is missing.

use std::sync::Arc;

use outrider_webhook::event::{Decision, Replay};
use outrider_webhook::id::{DeliveryKey, EventId, Uid};

use super::support::*;
use crate::*;

fn key(event: &StoredEvent) -> DeliveryKey {
    DeliveryKey {
        event: event.id,
        ordinal: 0,
    }
}

/// Accepts an event for the one line there is; perhaps as another one again.
async fn put_in_line(bed: &Bed, log: &LocalLog, of: Option<EventId>) -> Arc<StoredEvent> {
    let mut list = targets(1);
    list[0].order_key = Some(7);
    let replay = |of| Replay {
        of,
        number: 1,
        command: Uid::from_bits(9),
    };
    let decision = Decision {
        replay: of.map(replay).map(Box::new),
        ..decision()
    };
    log.accept_parts(facts(1), list, decision).await.unwrap();
    bed.sink.last()
}

async fn end(log: &LocalLog, event: &StoredEvent, status: DeliveryStatus) {
    let ended = attempt(key(event), event.position, 1, status);
    log.record(Record::Attempt(ended)).await.unwrap();
}

#[tokio::test]
async fn a_replay_is_found_apart_from_its_line_and_changes_nothing_of_what_is_missing() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    let first = put_in_line(&bed, &log, None).await;
    let second = put_in_line(&bed, &log, None).await;
    let mut replays = Vec::new();
    for _ in 0..4 {
        replays.push(put_in_line(&bed, &log, Some(first.id)).await);
    }
    end(&log, &first, DeliveryStatus::Failure).await;
    end(&log, &replays[0], DeliveryStatus::Success).await;
    end(&log, &replays[1], DeliveryStatus::Failure).await;
    end(&log, &replays[2], DeliveryStatus::Retry).await;
    log.close().await.unwrap();

    let (log, recovered) = bed.open();
    let open: Vec<_> = recovered
        .pending
        .iter()
        .map(|open| (open.key, open.is_replay, open.is_apart(), open.is_of_line()))
        .collect();
    assert_eq!(
        open,
        [
            (key(&second), false, false, true),
            (key(&replays[2]), true, true, false),
            (key(&replays[3]), true, true, false),
        ]
    );
    let gap = Gap {
        key: key(&first),
        position: first.position,
        target: first.targets[0].clone(),
    };
    assert_eq!(recovered.gaps, [gap]);
    // One of its line tells of it, and what is asked for again does not.
    let again = StateRecord {
        key: key(&replays[1]),
        position: replays[1].position,
        at_ms: NOW_MS,
        status: DeliveryStatus::Scheduled,
        next_due_ms: Some(NOW_MS),
        attempts: 1,
        reason: None,
    };
    log.record(Record::State(again)).await.unwrap();
    log.close().await.unwrap();
    let (log, recovered) = bed.open();
    assert_eq!(recovered.gaps.len(), 1);
    let of = |open: &Pending| open.key == key(&replays[1]);
    let reopened = recovered.pending.iter().find(of).unwrap();
    assert!(reopened.is_reopened && reopened.is_replay && reopened.is_apart());
    end(&log, &second, DeliveryStatus::Success).await;
    log.close().await.unwrap();
    let (log, recovered) = bed.open();
    assert_eq!(recovered.gaps, []);
    log.close().await.unwrap();
}
