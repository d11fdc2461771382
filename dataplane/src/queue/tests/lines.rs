//! Order keys: one after the other, and what is missing is told.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use outrider_store::{Pending, StoredEvent};
use outrider_webhook::event::{Decision, Replay};
use outrider_webhook::id::Uid;

use super::super::{Gaps, Lease, Missing};
use super::{NOW_MS, is_quiet, leases, pending, queue, stored};

fn in_line(line: u64, number: u16) -> Pending {
    let mut one = pending(1, 1, number, NOW_MS);
    one.target.order_key = Some(line);
    one
}

fn number(lease: &Lease) -> u64 {
    lease.entry.position.offset
}

/// How a delivery is named that is missing in its line.
fn missing(line: u64, number: u16) -> Missing {
    let one = in_line(line, number);
    Missing {
        key: one.key,
        position: one.position,
        is_repeat: Some(false), // each is the first one of its event
    }
}

/// The same delivery as the log hands it over.
fn accepted(number: u16, replay: Option<Replay>) -> Arc<StoredEvent> {
    let one = in_line(7, number);
    Arc::new(StoredEvent {
        targets: vec![one.target].into(),
        decision: Decision {
            replay: replay.map(Box::new),
            ..Decision::default()
        },
        ..stored(1, number, 0)
    })
}

#[tokio::test(start_paused = true)]
async fn one_of_a_line_at_a_time_and_other_lines_are_not_held_up() {
    let (queue, clock) = queue(16);
    queue.restore((0..6).map(|n| in_line(u64::from(n % 2), n)));
    queue.restore(vec![pending(1, 1, 9, NOW_MS)]);
    let first = leases(&queue, 3).await;
    assert_eq!(first.iter().map(number).collect::<Vec<_>>(), [0, 1, 9]);
    assert!(is_quiet(&queue).await);
    assert_eq!(queue.depth().in_line, 4);
    let mut first = first.into_iter();
    // A retry keeps its place in front.
    queue.retry(first.next().unwrap(), NOW_MS + 1_000, false);
    queue.complete(&first.next().unwrap(), true);
    let next = leases(&queue, 1).await;
    assert_eq!(number(&next[0]), 3);
    assert!(is_quiet(&queue).await);
    clock.0.fetch_add(1_000, Ordering::Relaxed);
    let again = leases(&queue, 1).await;
    assert_eq!(number(&again[0]), 0);
    queue.complete(&again[0], true);
    assert_eq!(number(&leases(&queue, 1).await[0]), 2);
}

#[tokio::test(start_paused = true)]
async fn a_parked_delivery_is_a_gap_until_it_arrives() {
    let (queue, clock) = queue(16);
    queue.restore((0..5).map(|n| in_line(7, n)));
    let gap = |n| Gaps {
        known: vec![missing(7, n)],
        more: 0,
    };
    let mut first = leases(&queue, 1).await;
    assert_eq!(first[0].gaps, Gaps::default());
    queue.retry(first.remove(0), NOW_MS + 1_000, true);
    let second = leases(&queue, 1).await;
    assert_eq!((number(&second[0]), &second[0].gaps), (1, &gap(0)));
    queue.complete(&second[0], true);
    // It was told of the gap, but the gap is still open.
    let third = leases(&queue, 1).await;
    assert_eq!(third[0].gaps, gap(0));
    clock.0.fetch_add(1_000, Ordering::Relaxed);
    let late = leases(&queue, 1).await;
    assert_eq!((number(&late[0]), late[0].entry.is_out_of_order), (0, true));
    queue.complete(&late[0], true);
    queue.complete(&third[0], false); // a dead letter: the next one is told, and no other
    let fourth = leases(&queue, 1).await;
    assert_eq!(fourth[0].gaps, gap(2));
    queue.complete(&fourth[0], true);
    let fifth = leases(&queue, 1).await;
    assert_eq!(fifth[0].gaps, Gaps::default());
    queue.complete(&fifth[0], false);
    // Nothing waits; the gap is kept for whatever comes.
    queue.restore(vec![in_line(7, 8)]);
    assert_eq!(leases(&queue, 1).await[0].gaps, gap(4));
}

#[tokio::test(start_paused = true)]
async fn a_line_goes_on_without_what_is_cancelled() {
    let (queue, _) = queue(16);
    queue.restore((0..5).map(|n| in_line(7, n)));
    let head = leases(&queue, 1).await.remove(0);
    let cancelled = [0, 1, 3].map(|n| in_line(7, n).key);
    let in_flight = queue.cancel(&cancelled.map(|key| (key, None)).into());
    assert_eq!(in_flight, [cancelled[0]].into());
    queue.cancel_is_recorded(cancelled.iter());
    assert!(is_quiet(&queue).await, "the one in flight is not over");
    queue.retry(head, NOW_MS, false);
    let next = leases(&queue, 1).await;
    assert_eq!(number(&next[0]), 2);
    assert_eq!(next[0].gaps.known, [missing(7, 0), missing(7, 1)]);
    queue.complete(&next[0], true);
    assert_eq!(number(&leases(&queue, 1).await[0]), 4);
}

#[tokio::test(start_paused = true)]
async fn a_line_beside_a_backlog_goes_on_in_its_place() {
    let (queue, _) = queue(1);
    queue.restore(vec![in_line(7, 0), in_line(7, 1)]);
    queue.restore((10..60).map(|n| pending(1, 1, n, NOW_MS)));
    let head = leases(&queue, 1).await;
    assert_eq!(number(&head[0]), 0);
    queue.complete(&head[0], true);
    assert_eq!(number(&leases(&queue, 1).await[0]), 1);
}

#[tokio::test(start_paused = true)]
async fn lines_that_fail_again_and_again_take_one_place_among_the_quiet_ones() {
    let (queue, _) = queue(16);
    queue.restore(vec![in_line(1, 0)]);
    let first = leases(&queue, 1).await;
    queue.complete(&first[0], false);
    for n in 1..40_000 {
        queue.restore(vec![in_line(2, n)]);
        let one = leases(&queue, 1).await;
        queue.complete(&one[0], n % 2 == 0);
    }
    assert_eq!(queue.depth().gaps_forgotten, 0);
    queue.restore(vec![in_line(1, 50_000)]);
    assert_eq!(leases(&queue, 1).await[0].gaps.known, [missing(1, 0)]);
}

fn replay_of(number: u16) -> Replay {
    Replay {
        of: in_line(7, number).key.event,
        number: 1,
        command: Uid::from_bits(9),
    }
}

#[tokio::test(start_paused = true)]
async fn a_replay_goes_at_once_and_its_line_knows_nothing_of_it() {
    let (queue, clock) = queue(16);
    clock.0.fetch_add(10, Ordering::Relaxed); // after the last of them
    let mut sink = queue.sink();
    sink.accepted(&mut vec![accepted(0, None), accepted(1, None)]);
    let head = leases(&queue, 1).await;
    assert!(!head[0].entry.is_out_of_order);
    let replay = Some(replay_of(0));
    sink.accepted(&mut vec![accepted(2, replay), accepted(3, replay)]);
    let apart = leases(&queue, 2).await;
    assert_eq!([number(&apart[0]), number(&apart[1])], [2, 3]);
    let is_apart = |lease: &Lease| lease.entry.is_out_of_order && lease.gaps.is_empty();
    assert!(apart.iter().all(is_apart));
    assert_eq!(queue.depth().in_line, 1);
    // Neither its success nor its end moves the line, fills a gap in it or leaves one.
    queue.complete(&head[0], false);
    let next = leases(&queue, 1).await;
    assert_eq!(next[0].gaps.known, [missing(7, 0)]);
    queue.complete(&apart[0], true);
    queue.complete(&apart[1], false);
    queue.complete(&next[0], false);
    sink.accepted(&mut vec![accepted(4, None)]);
    let last = leases(&queue, 1).await;
    assert_eq!(last[0].gaps.known, [missing(7, 0), missing(7, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_replay_is_apart_after_a_start_as_well() {
    let (queue, _) = queue(16);
    let replay = |number| Pending {
        is_replay: true,
        attempts: 1,
        ..in_line(7, number)
    };
    queue.restore(vec![in_line(7, 0), replay(1), in_line(7, 2)]);
    let first = leases(&queue, 2).await;
    let said: Vec<_> = first
        .iter()
        .map(|lease| (number(lease), lease.entry.is_out_of_order))
        .collect();
    assert_eq!(said, [(0, false), (1, true)]);
    queue.complete(&first[1], false);
    queue.complete(&first[0], true);
    assert_eq!(leases(&queue, 1).await[0].gaps, Gaps::default());
}
