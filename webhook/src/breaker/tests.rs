//! Tests of the breaker.

use proptest::prelude::*;

use super::*;

const NOW_MS: i64 = 1_800_000_000_000;

fn fails(breaker: &mut Breaker, count: u32, at_ms: i64) -> Option<Change> {
    let policy = Policy::default();
    let mut last = None;
    for _ in 0..count {
        last = breaker.record(&policy, false, at_ms, at_ms);
    }
    last
}

#[test]
fn it_opens_at_the_share_of_failures_and_not_below_the_least_number_of_attempts() {
    let mut breaker = Breaker::default();
    assert_eq!(fails(&mut breaker, 9, NOW_MS), None);
    let opened = Change::Opened {
        until_ms: NOW_MS + 30_000,
        trips: 1,
    };
    assert_eq!(fails(&mut breaker, 1, NOW_MS), Some(opened));

    let policy = Policy::default();
    let mut breaker = Breaker::default();
    for _ in 0..100 {
        breaker.record(&policy, true, NOW_MS, NOW_MS);
    }
    // 233 of 333 are 69.97 %, 234 of 334 are 70.06 %.
    assert_eq!(fails(&mut breaker, 233, NOW_MS), None);
    assert!(fails(&mut breaker, 1, NOW_MS).is_some());
}

#[test]
fn what_is_older_than_the_window_does_not_count() {
    let mut breaker = Breaker::default();
    fails(&mut breaker, 9, NOW_MS);
    assert_eq!(fails(&mut breaker, 9, NOW_MS + 300_000), None);
    assert_eq!(breaker.seen(NOW_MS + 300_000), (9, 9));
    assert_eq!(breaker.seen(NOW_MS + 700_000), (0, 0));
    assert!(fails(&mut breaker, 1, NOW_MS + 300_000 + 200_000).is_some());
}

#[test]
fn probes_close_it_or_open_it_again() {
    let policy = Policy {
        success_percent: 60,
        probes: 3,
        ..Policy::default()
    };
    let open = || {
        let mut breaker = Breaker::default();
        fails(&mut breaker, 10, NOW_MS);
        breaker.half_open(NOW_MS + 29_999);
        assert!(matches!(breaker.state(), State::Open { .. }));
        breaker.half_open(NOW_MS + 30_000);
        assert_eq!(breaker.state(), State::HalfOpen);
        breaker
    };
    let at_ms = NOW_MS + 31_000;
    let probe = |breaker: &mut Breaker, is| breaker.record(&policy, is, at_ms, at_ms);
    // 2 of 3 are needed.
    let mut breaker = open();
    assert_eq!(probe(&mut breaker, true), None);
    assert_eq!(probe(&mut breaker, false), None);
    assert_eq!(probe(&mut breaker, true), Some(Change::Closed));
    assert_eq!(breaker.state(), State::Closed);
    let mut breaker = open();
    assert_eq!(probe(&mut breaker, false), None);
    let again = Change::Opened {
        until_ms: at_ms + 30_000,
        trips: 2,
    };
    assert_eq!(probe(&mut breaker, false), Some(again));
}

#[test]
fn an_attempt_that_began_before_says_nothing() {
    let policy = Policy::default();
    let mut breaker = Breaker::default();
    fails(&mut breaker, 10, NOW_MS);
    breaker.half_open(NOW_MS + 30_000);
    let late = breaker.record(&policy, true, NOW_MS, NOW_MS + 30_001);
    assert_eq!((late, breaker.state()), (None, State::HalfOpen));
    let probe = breaker.record(&policy, true, NOW_MS + 30_001, NOW_MS + 30_002);
    assert_eq!(probe, Some(Change::Closed));
}

#[test]
fn one_that_was_open_goes_on_counting() {
    let policy = Policy {
        probes: 1,
        ..Policy::default()
    };
    for (known, next) in [(4, 5), (u32::MAX, u32::MAX), (0, 2)] {
        let mut breaker = Breaker::opened(NOW_MS, known);
        assert_eq!(breaker.trips(), known.max(1));
        breaker.half_open(NOW_MS);
        let opened = Change::Opened {
            until_ms: NOW_MS + 30_000,
            trips: next,
        };
        let change = breaker.record(&policy, false, NOW_MS, NOW_MS);
        assert_eq!(change, Some(opened));
    }
}

#[test]
fn switched_off_it_closes_with_the_next_answer() {
    let off = Policy {
        is_enabled: false,
        ..Policy::default()
    };
    let mut breaker = Breaker::opened(NOW_MS, 1);
    breaker.half_open(NOW_MS);
    assert_eq!(
        breaker.record(&off, false, NOW_MS, NOW_MS),
        Some(Change::Closed)
    );
    for _ in 0..100 {
        assert_eq!(breaker.record(&off, false, NOW_MS, NOW_MS), None);
    }
}

proptest! {
    /// It is never open for longer than its time, and never opens below the thresholds.
    #[test]
    fn it_comes_back_by_itself(
        answers in prop::collection::vec((any::<bool>(), 0_i64..20_000), 1..300),
        failure_percent in 1_u32..=100,
        requests_min in 1_u32..30,
        success_percent in 1_u32..=100,
        probes in 1_u32..5,
    ) {
        let policy = Policy { failure_percent, requests_min, success_percent, probes, ..Policy::default() };
        let (mut breaker, mut now_ms) = (Breaker::default(), NOW_MS);
        let (mut all, mut failed) = (0_u32, 0_u32);
        for (is_success, pass_ms) in answers {
            now_ms += pass_ms;
            breaker.half_open(now_ms);
            let was = breaker.state();
            if let State::Open { until_ms } = was {
                prop_assert!(until_ms > now_ms && until_ms <= now_ms + 30_000);
                continue;
            }
            let change = breaker.record(&policy, is_success, now_ms, now_ms);
            if was == State::Closed {
                (all, failed) = (all + 1, failed + u32::from(!is_success));
                if change.is_some() {
                    prop_assert!(all >= requests_min && failed >= 1);
                }
            }
            if change.is_some() {
                (all, failed) = (0, 0);
            }
        }
        // A receiver that is well again closes it within as many probes as there are.
        now_ms += 30_000;
        breaker.half_open(now_ms);
        if breaker.state() == State::HalfOpen {
            let closed = (0..probes * 2).any(|_| breaker.record(&policy, true, now_ms, now_ms) == Some(Change::Closed));
            // Probes that failed before may be too many; then the next round closes it.
            if !closed {
                breaker.half_open(now_ms + 30_000);
                prop_assert!((0..probes).any(|_| breaker.record(&policy, true, now_ms + 30_000, now_ms + 30_000) == Some(Change::Closed)));
            }
        }
        prop_assert_eq!(breaker.state(), State::Closed);
    }
}
