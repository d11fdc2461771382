//! Queue tests: turn, time, leases, and that nothing is ever lost between the states.

mod lines;
mod panics;
mod stuck;
mod unwell;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use outrider_store::{Clock, Pending, Position, StoredEvent};
use outrider_webhook::breaker::Policy;
use outrider_webhook::event::{Audience, Decision, DeliveryMode, EventFacts, Origin, Target};
use outrider_webhook::id::{DeliveryKey, EndpointId, EventId, NodeId, ProjectId, Uid};

use super::Hold;
use super::{Answer, Depth, Lease, PayloadCache, Queue};

pub(super) const NOW_MS: i64 = 1_800_000_000_000;
const IN_FLIGHT_MAX: u32 = 64;

pub(super) struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

pub(super) fn queue(concurrency: u32) -> (Queue, Arc<TestClock>) {
    let clock = Arc::new(TestClock(AtomicI64::new(NOW_MS)));
    let queue = Queue::new(
        Arc::clone(&clock) as Arc<dyn Clock>,
        PayloadCache::new(0),
        concurrency,
        IN_FLIGHT_MAX,
        Duration::from_secs(180),
    );
    (queue, clock)
}

pub(super) fn pending(project: u128, endpoint: u128, number: u16, due_ms: i64) -> Pending {
    let node = NodeId::new(0).unwrap();
    Pending {
        key: DeliveryKey {
            event: EventId::ZERO.next(node, NOW_MS + i64::from(number)),
            ordinal: 0,
        },
        position: Position {
            segment: 1,
            offset: u64::from(number),
        },
        project: ProjectId::new(Uid::from_bits(project)),
        target: Target {
            endpoint: EndpointId::new(Uid::from_bits(endpoint)),
            subscription: None,
            mode: DeliveryMode::AtLeastOnce,
            order_key: None,
        },
        attempts: 0,
        attempts_free: 0,
        is_parked: false,
        due_ms,
        revision: 1,
        is_reopened: false,
        is_replay: false,
    }
}

/// An event as the log has it, for so many endpoints.
pub(super) fn stored(project: u128, number: u16, targets: usize) -> StoredEvent {
    let one = pending(project, 1, number, NOW_MS);
    StoredEvent {
        id: one.key.event,
        position: one.position,
        facts: EventFacts {
            project: one.project,
            origin: Origin::Api,
            audience: Audience::Broadcast,
            event_type: "a".into(),
            headers: Vec::new(),
            query: "".into(),
            path: "".into(),
            body: bytes::Bytes::from_static(b"{}"),
            idempotency_key: None,
            idempotency_window_ms: 0,
            received_ms: NOW_MS,
        },
        targets: vec![one.target; targets].into(),
        revision: 1,
        decision: Decision::default(),
    }
}

fn endpoint_of(lease: &Lease) -> u128 {
    lease.entry.target.endpoint.uid().bits()
}

async fn leases(queue: &Queue, count: usize) -> Vec<Lease> {
    let mut taken = Vec::new();
    for _ in 0..count {
        taken.push(queue.lease().await);
    }
    taken
}

/// Whether nothing can be leased right now.
pub(super) async fn is_quiet(queue: &Queue) -> bool {
    tokio::time::timeout(Duration::from_millis(1), queue.lease())
        .await
        .is_err()
}

#[tokio::test(start_paused = true)]
async fn a_lane_never_has_more_in_flight_than_its_concurrency() {
    let (queue, _) = queue(2);
    queue.restore((0..5).map(|n| pending(1, 1, n, NOW_MS)));
    let taken = leases(&queue, 2).await;
    assert!(is_quiet(&queue).await);
    queue.complete(&taken[0], true);
    leases(&queue, 1).await;
    assert!(is_quiet(&queue).await);
}

#[tokio::test(start_paused = true)]
async fn a_long_backlog_of_one_project_does_not_stand_before_another_one() {
    let (queue, _) = queue(16);
    let mut found: Vec<_> = (0..1000)
        .map(|n| pending(1, u128::from(n % 10), n, NOW_MS))
        .collect();
    found.push(pending(2, 99, 2000, NOW_MS));
    queue.restore(found);
    let first: Vec<u128> = leases(&queue, 2).await.iter().map(endpoint_of).collect();
    assert!(
        first.contains(&99),
        "project 2 is served in the first round, got {first:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn endpoints_of_a_project_take_turns() {
    let (queue, _) = queue(16);
    let mut found: Vec<_> = (0..100).map(|n| pending(1, 1, n, NOW_MS)).collect();
    found.extend((0..3).map(|n| pending(1, 2 + u128::from(n), 200 + n, NOW_MS)));
    queue.restore(found);
    let mut first: Vec<u128> = leases(&queue, 4).await.iter().map(endpoint_of).collect();
    first.sort_unstable();
    assert_eq!(first, [1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_does_not_hold_up_a_retry() {
    let (queue, clock) = queue(1);
    queue.restore(vec![pending(1, 1, 0, NOW_MS)]);
    let lease = queue.lease().await;
    queue.retry(lease, NOW_MS + 5_000, false);
    assert!(is_quiet(&queue).await);
    let back_ms = NOW_MS - 24 * 3_600_000;
    clock.0.store(back_ms, Ordering::Relaxed);
    assert!(is_quiet(&queue).await);
    clock.0.store(back_ms + 5_000, Ordering::Relaxed);
    let again = tokio::time::timeout(Duration::from_secs(6), queue.lease()).await;
    assert_eq!(again.unwrap().entry.due_ms, back_ms + 5_000);
}

#[tokio::test(start_paused = true)]
async fn a_retry_is_leased_at_its_time_and_not_before() {
    let (queue, clock) = queue(1);
    queue.restore(vec![pending(1, 1, 0, NOW_MS)]);
    let mut lease = queue.lease().await;
    lease.entry.attempts = 1;
    queue.retry(lease, NOW_MS + 5_000, false);
    assert!(is_quiet(&queue).await);
    assert_eq!(
        queue.depth(),
        Depth {
            scheduled: 1,
            ..Depth::default()
        }
    );
    clock.0.store(NOW_MS + 5_000, Ordering::Relaxed);
    let again = tokio::time::timeout(Duration::from_secs(6), queue.lease())
        .await
        .unwrap();
    assert_eq!(again.entry.attempts, 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_worker_gives_its_delivery_back_at_the_deadline_and_its_late_answer_changes_nothing()
{
    let (queue, _) = queue(1);
    queue.restore(vec![pending(1, 1, 0, NOW_MS)]);
    let lost = queue.lease().await;
    assert!(
        tokio::time::timeout(Duration::from_secs(179), queue.lease())
            .await
            .is_err()
    );
    let again = tokio::time::timeout(Duration::from_secs(2), queue.lease())
        .await
        .unwrap();
    assert_eq!(again.entry.key, lost.entry.key);
    assert_eq!(queue.depth().leases_expired, 1);
    queue.complete(&lost, true);
    assert_eq!(queue.depth().leased, 1, "the second lease is still out");
    queue.complete(&again, true);
    assert_eq!(
        queue.depth(),
        Depth {
            leases_expired: 1,
            ..Depth::default()
        }
    );
}

#[tokio::test(start_paused = true)]
async fn a_parked_lane_stands_still_until_the_configuration_changes_and_keeps_its_head() {
    let (queue, _) = queue(1);
    queue.restore((0..3).map(|n| pending(1, 1, n, NOW_MS)));
    let head = queue.lease().await;
    let key = head.entry.key;
    queue.park(head);
    assert!(is_quiet(&queue).await);
    assert_eq!(
        queue.depth(),
        Depth {
            held: 3,
            ..Depth::default()
        }
    );
    queue.unpark();
    assert_eq!(queue.lease().await.entry.key, key);
    assert_eq!(
        queue.depth(),
        Depth {
            ready: 2,
            leased: 1,
            ..Depth::default()
        }
    );
}

#[tokio::test(start_paused = true)]
async fn a_change_of_configuration_between_lease_and_park_is_not_missed() {
    let (queue, _) = queue(1);
    queue.restore((0..2).map(|n| pending(1, 1, n, NOW_MS)));
    let head = queue.lease().await;
    let key = head.entry.key;
    queue.unpark();
    queue.park(head);
    assert_eq!(queue.lease().await.entry.key, key);
}

#[tokio::test(start_paused = true)]
async fn a_project_with_many_dead_endpoints_leaves_room_for_the_others() {
    let (queue, _) = queue(16);
    let dead = (0..1000).map(|n| pending(1, 100 + u128::from(n % 80), n, NOW_MS));
    queue.restore(dead);
    let mut taken = Vec::new();
    while let Ok(lease) = tokio::time::timeout(Duration::from_millis(1), queue.lease()).await {
        taken.push(lease);
    }
    assert_eq!(taken.len(), 32, "half of what there is");
    queue.restore(vec![pending(2, 1, 2000, NOW_MS)]);
    let other = tokio::time::timeout(Duration::from_millis(1), queue.lease())
        .await
        .unwrap();
    assert_eq!(endpoint_of(&other), 1);
    queue.complete(&other, true);
    queue.complete(&taken.pop().unwrap(), true);
    assert!(
        tokio::time::timeout(Duration::from_millis(1), queue.lease())
            .await
            .is_ok()
    );
}

#[tokio::test(start_paused = true)]
async fn an_answered_delivery_is_not_taken_for_lost() {
    let (queue, _) = queue(1);
    queue.restore(vec![pending(1, 1, 0, NOW_MS)]);
    let lease = queue.lease().await;
    let answer = Answer {
        policy: &Policy::default(),
        load: None,
        started_ms: NOW_MS,
        epoch: 0,
    };
    queue.answered(&lease, &answer);
    assert!(
        tokio::time::timeout(Duration::from_secs(3_600), queue.lease())
            .await
            .is_err()
    );
    queue.complete(&lease, true);
    assert_eq!(queue.depth(), Depth::default());
}

#[tokio::test(start_paused = true)]
async fn a_held_lane_stands_still_for_its_time_and_no_other_does() {
    let (queue, clock) = queue(2);
    let mut found: Vec<_> = (0..4).map(|n| pending(1, 1, n, NOW_MS)).collect();
    found.push(pending(1, 2, 9, NOW_MS));
    queue.restore(found);
    let taken = leases(&queue, 3).await;
    let mut busy = taken.iter().filter(|lease| endpoint_of(lease) == 1);
    let (first, second) = (busy.next().unwrap(), busy.next().unwrap());
    queue.hold(first, Hold::Asked, NOW_MS + 5_000);
    queue.hold(second, Hold::Asked, NOW_MS + 1_000); // less than it is held for already
    taken.iter().for_each(|lease| queue.complete(lease, true));
    assert!(is_quiet(&queue).await);
    assert_eq!(queue.depth().held, 2);
    queue.unpark(); // is of configuration, which has nothing to do with it
    queue.restore(vec![pending(1, 2, 10, NOW_MS)]);
    assert_eq!(endpoint_of(&queue.lease().await), 2);
    clock.0.store(NOW_MS + 4_999, Ordering::Relaxed);
    assert!(is_quiet(&queue).await);
    clock.0.store(NOW_MS + 5_000, Ordering::Relaxed);
    let again = tokio::time::timeout(Duration::from_secs(6), queue.lease()).await;
    assert_eq!(endpoint_of(&again.unwrap()), 1);
    assert_eq!(queue.depth().held, 0);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_does_not_hold_a_lane_longer() {
    let (queue, clock) = queue(1);
    queue.restore((0..2).map(|n| pending(1, 1, n, NOW_MS)));
    let lease = queue.lease().await;
    queue.hold(&lease, Hold::Asked, NOW_MS + 5_000);
    queue.complete(&lease, true);
    let back_ms = NOW_MS - 24 * 3_600_000;
    clock.0.store(back_ms, Ordering::Relaxed);
    assert!(is_quiet(&queue).await);
    clock.0.store(back_ms + 5_000, Ordering::Relaxed);
    let again = tokio::time::timeout(Duration::from_secs(6), queue.lease()).await;
    assert_eq!(endpoint_of(&again.unwrap()), 1);
}

#[tokio::test(start_paused = true)]
async fn a_hold_for_a_rate_ends_with_a_change_of_configuration_and_one_that_was_asked_for_does_not()
{
    for (why, goes_on) in [(Hold::Rate, true), (Hold::Asked, false)] {
        let (queue, _) = queue(1);
        queue.restore((0..2).map(|n| pending(1, 1, n, NOW_MS)));
        let lease = queue.lease().await;
        let key = lease.entry.key;
        queue.hold(&lease, why, NOW_MS + 86_400_000);
        queue.put_back(lease);
        assert!(is_quiet(&queue).await);
        assert_eq!(queue.depth().held, 2);
        queue.unpark();
        let next = tokio::time::timeout(Duration::from_millis(1), queue.lease()).await;
        assert_eq!(
            next.ok().map(|lease| lease.entry.key),
            goes_on.then_some(key)
        );
    }
}
