//! Receivers that fail, that come back, and that cannot keep up.

use std::sync::atomic::Ordering;
use std::time::Duration;

use outrider_store::Clock;
use outrider_webhook::breaker::{Change, Policy};
use outrider_webhook::pace::Load;

use super::super::{Answer, Lease, Queue, Trip};
use super::{NOW_MS, TestClock, endpoint_of, is_quiet, leases, pending, queue};

const TRIP: Trip = Trip {
    until_ms: NOW_MS + 5_000,
    trips: 4,
    epoch: 2,
};

fn says(queue: &Queue, lease: &Lease, clock: &TestClock, load: Load) -> Option<Change> {
    let answer = Answer {
        policy: &Policy::default(),
        load: Some(load),
        started_ms: clock.now_ms(),
        epoch: 0,
    };
    queue.answered(lease, &answer)
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_keeps_failing_is_left_alone_and_then_probed() {
    let (queue, clock) = queue(16);
    queue.restore((0..100).map(|n| pending(1, 1, n, NOW_MS)));
    queue.restore(vec![pending(1, 2, 500, NOW_MS)]);
    let taken = leases(&queue, 17).await;
    let failing: Vec<&Lease> = taken.iter().filter(|one| endpoint_of(one) == 1).collect();
    let changes: Vec<_> = failing
        .iter()
        .filter_map(|lease| says(&queue, lease, &clock, Load::Failing))
        .collect();
    let until_ms = NOW_MS + 30_000;
    assert_eq!(changes, [Change::Opened { until_ms, trips: 1 }]);
    for lease in taken {
        queue.retry(lease, NOW_MS, false);
    }
    // The other one goes on.
    let other = leases(&queue, 1).await;
    assert_eq!(endpoint_of(&other[0]), 2);
    assert!(is_quiet(&queue).await);
    assert_eq!(queue.depth().lanes_open, 1);

    clock.0.store(until_ms, Ordering::Relaxed);
    let probe = leases(&queue, 1).await;
    assert!(is_quiet(&queue).await, "one probe at a time");
    assert_eq!(queue.depth().lanes_probing, 1);
    assert_eq!(
        says(&queue, &probe[0], &clock, Load::Fine),
        Some(Change::Closed)
    );
    queue.complete(&probe[0], true);
    // Its backlog comes slowly at first: ten in half a second.
    let depth = queue.depth();
    assert_eq!(
        (depth.lanes_paced, depth.lanes_open, depth.lanes_probing),
        (1, 0, 0)
    );
    let mut taken = Vec::new();
    for _ in 0..100 {
        clock.0.fetch_add(5, Ordering::Relaxed);
        taken.extend(tokio::time::timeout(Duration::from_millis(1), queue.lease()).await);
    }
    // The place of the first one was there from the start.
    assert_eq!(taken.len(), 11);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_was_open_is_open_after_a_start() {
    let (queue, clock) = queue(16);
    let found = pending(1, 1, 0, NOW_MS);
    queue.restore_open((found.project, found.target.endpoint), &TRIP);
    queue.restore(vec![found, pending(1, 1, 1, NOW_MS)]);
    assert!(is_quiet(&queue).await);
    clock.0.fetch_add(5_000, Ordering::Relaxed);
    let probe = leases(&queue, 1).await;
    assert!(is_quiet(&queue).await, "one probe at a time");
    assert_eq!(
        says(&queue, &probe[0], &clock, Load::Fine),
        Some(Change::Closed)
    );
}

#[tokio::test(start_paused = true)]
async fn how_often_a_breaker_opened_in_a_row_goes_on_after_a_start() {
    let (queue, clock) = queue(16);
    let found = pending(1, 1, 0, NOW_MS);
    let of = (found.project, found.target.endpoint);
    queue.restore_open(of, &TRIP);
    queue.restore((0..3).map(|n| pending(1, 1, n, NOW_MS)));
    assert_eq!(queue.lane(of.1).unwrap().trips, 4);
    clock.0.fetch_add(5_000, Ordering::Relaxed);
    let mut last = None;
    for _ in 0..3 {
        let probe = queue.lease().await;
        last = says(&queue, &probe, &clock, Load::Failing);
        queue.complete(&probe, false);
    }
    let until_ms = NOW_MS + 35_000;
    assert_eq!(last, Some(Change::Opened { until_ms, trips: 5 }));
}

#[tokio::test(start_paused = true)]
async fn trips_are_counted_anew_when_somebody_switched_the_endpoint_on_again() {
    for (epoch, trips) in [(2, 5), (3, 1)] {
        let (queue, clock) = queue(16);
        let found = pending(1, 1, 0, NOW_MS);
        queue.restore_open((found.project, found.target.endpoint), &TRIP);
        queue.restore((0..3).map(|n| pending(1, 1, n, NOW_MS)));
        clock.0.fetch_add(5_000, Ordering::Relaxed);
        let mut last = None;
        for _ in 0..3 {
            let probe = queue.lease().await;
            let answer = Answer {
                policy: &Policy::default(),
                load: Some(Load::Failing),
                started_ms: clock.now_ms(),
                epoch,
            };
            last = queue.answered(&probe, &answer);
            queue.complete(&probe, false);
        }
        let until_ms = NOW_MS + 35_000;
        assert_eq!(last, Some(Change::Opened { until_ms, trips }));
    }
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_took_more_before_begins_at_a_quarter_of_it() {
    let (queue, clock) = queue(16);
    queue.restore((0..500).map(|n| pending(1, 1, n, NOW_MS)));
    let of = pending(1, 1, 0, NOW_MS).target.endpoint;
    for _ in 0..400 {
        let lease = queue.lease().await;
        says(&queue, &lease, &clock, Load::Fine);
        queue.complete(&lease, true);
    }
    // What it took has no part in its breaker any more.
    clock.0.fetch_add(600_000, Ordering::Relaxed);
    let mut changes = Vec::new();
    for _ in 0..10 {
        let lease = queue.lease().await;
        changes.extend(says(&queue, &lease, &clock, Load::Failing));
        queue.complete(&lease, false);
    }
    assert!(matches!(changes[..], [Change::Opened { trips: 1, .. }]));
    clock.0.fetch_add(30_000, Ordering::Relaxed);
    let probe = queue.lease().await;
    let change = says(&queue, &probe, &clock, Load::Fine);
    assert_eq!(change, Some(Change::Closed));
    assert_eq!(queue.lane(of).unwrap().pace_per_s, Some(100.0));
}
