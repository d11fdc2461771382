//! Workers that panic.

use std::time::Duration;

use outrider_webhook::breaker::Policy;
use outrider_webhook::pace::Load;

use super::super::{Answer, Depth, Queue};
use super::{NOW_MS, is_quiet, pending, queue};

/// How far a worker comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    Leased,
    Begun,
    Answered,
}

/// A worker that panics where `until` says; it knows nothing of what the queue does then.
async fn panics(queue: &Queue, until: Until, is_once: bool) {
    let queue = queue.clone();
    let worker = tokio::spawn(async move {
        let lease = queue.lease().await;
        let _watch = queue.watch(&lease);
        if until != Until::Leased {
            assert!(queue.begin(&lease, is_once));
        }
        if until == Until::Answered {
            let answer = Answer {
                policy: &Policy::default(),
                load: Some(Load::Fine),
                started_ms: NOW_MS,
                epoch: 0,
            };
            queue.answered(&lease, &answer);
        }
        panic!("as in a test");
    });
    assert!(worker.await.unwrap_err().is_panic());
}

#[tokio::test(start_paused = true)]
async fn a_delivery_comes_back_whose_worker_panicked_wherever_that_was() {
    for until in [Until::Leased, Until::Begun, Until::Answered] {
        for is_once in [false, true] {
            let (queue, _) = queue(1);
            queue.restore(vec![pending(1, 1, 0, NOW_MS), pending(1, 1, 1, NOW_MS)]);
            let key = pending(1, 1, 0, NOW_MS).key;
            panics(&queue, until, is_once).await;
            // Not at once: it may go on like that.
            let soon = tokio::time::timeout(Duration::from_secs(4), queue.lease());
            assert!(soon.await.is_err(), "{until:?}");
            let next = tokio::time::timeout(Duration::from_secs(2), queue.lease());
            let other = next.await.unwrap();
            queue.complete(&other, true);
            let again = tokio::time::timeout(Duration::from_secs(2), queue.lease());
            let again = again.await.unwrap();
            assert_eq!(again.entry.key, key);
            // What may arrive once only is not made again, as soon as its first byte was sent.
            assert_eq!(again.entry.has_begun, is_once && until != Until::Leased);
            queue.complete(&again, true);
            let depth = Depth {
                leases_expired: 1,
                ..Depth::default()
            };
            assert_eq!(queue.depth(), depth);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_is_always_panicked_over_comes_back_more_and_more_seldom() {
    let (queue, _) = queue(1);
    queue.restore(vec![pending(1, 1, 0, NOW_MS)]);
    for losses in 0..4 {
        panics(&queue, Until::Answered, false).await;
        let wait = Duration::from_secs(5 << losses);
        let soon = tokio::time::timeout(wait - Duration::from_millis(10), queue.lease());
        assert!(soon.await.is_err());
        tokio::time::advance(Duration::from_millis(20)).await;
    }
    assert_eq!(queue.lease().await.entry.losses, 4);
}

#[tokio::test(start_paused = true)]
async fn a_panic_after_the_end_of_a_lease_changes_nothing() {
    let (queue, _) = queue(1);
    queue.restore(vec![pending(1, 1, 0, NOW_MS)]);
    let of_worker = queue.clone();
    let worker = tokio::spawn(async move {
        let lease = of_worker.lease().await;
        let _watch = of_worker.watch(&lease);
        of_worker.complete(&lease, true);
        panic!("as in a test");
    });
    assert!(worker.await.unwrap_err().is_panic());
    tokio::time::advance(Duration::from_secs(10)).await;
    assert!(is_quiet(&queue).await);
    assert_eq!(queue.depth(), Depth::default());
}
