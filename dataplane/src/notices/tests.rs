use std::time::Duration;

use outrider_webhook::id::Uid;
use proptest::prelude::*;

use super::bell::Heard;
use super::*;

fn notice(endpoint: u128, trouble: Trouble, at_ms: i64) -> Notice {
    Notice {
        project: ProjectId::new(Uid::from_bits(1)),
        endpoint: EndpointId::new(Uid::from_bits(endpoint)),
        trouble,
        reason: "gone".into(),
        rate: None,
        at_ms,
    }
}

#[test]
fn the_same_trouble_is_one_entry_with_the_newest_notice() {
    let notices = Notices::default();
    for at_ms in 0..1000 {
        notices.tell(notice(1, Trouble::BreakerOpened, at_ms));
    }
    notices.tell(notice(1, Trouble::Disabled, 5));
    notices.tell(notice(2, Trouble::Disabled, 6));
    let taken = notices.take();
    let counts: Vec<_> = taken
        .iter()
        .map(|(_, one)| (one.count, one.last.at_ms))
        .collect();
    assert_eq!(counts, [(1, 5), (1, 6), (1000, 999)]);
    assert!(notices.take().is_empty());
}

/// Tells of a trouble; how many notices people hear of then, if they do.
fn tell(heard: &mut Heard, trouble: Trouble, count: u64, now_ms: i64) -> Option<u64> {
    let last = notice(1, trouble, now_ms);
    let key = (last.project, last.endpoint, trouble);
    let told = heard.is_due(key, Untold { last, count }, now_ms);
    told.map(|untold| untold.count)
}

/// What is told by time alone.
fn held(heard: &mut Heard, now_ms: i64) -> Vec<(Trouble, u64)> {
    let due = heard.take_due(now_ms).into_iter();
    due.map(|(key, untold)| (key.2, untold.count)).collect()
}

#[test]
fn people_hear_of_it_once_in_an_hour_and_then_of_all_of_it() {
    let mut heard = Heard::default();
    let disabled = Trouble::Disabled;
    assert_eq!(tell(&mut heard, disabled, 1, 1_000), Some(1));
    assert_eq!(heard.next_ms(), None);
    assert_eq!(tell(&mut heard, disabled, 3, 3_600_999), None);
    assert_eq!(tell(&mut heard, Trouble::BreakerOpened, 1, 2_000), Some(1));
    assert_eq!(heard.next_ms(), Some(3_601_000));
    assert_eq!(tell(&mut heard, disabled, 2, 3_601_000), Some(5));
    assert_eq!(tell(&mut heard, disabled, 1, 3_601_001), None);
    // The clock was set back.
    assert_eq!(tell(&mut heard, disabled, 1, 5), Some(2));
}

#[test]
fn what_was_held_back_is_told_when_the_hour_is_over_unless_it_is_over_too() {
    let (exceeded, recovered) = (Trouble::FailureRateExceeded, Trouble::FailureRateRecovered);
    let mut heard = Heard::default();
    assert_eq!(tell(&mut heard, exceeded, 1, 0), Some(1));
    assert_eq!(tell(&mut heard, recovered, 1, 10), Some(1));
    assert_eq!(tell(&mut heard, exceeded, 1, 20), None);
    assert_eq!(held(&mut heard, 3_599_999), []);
    // Nothing comes after it, and people must not believe that all is well.
    assert_eq!(held(&mut heard, 3_600_000), [(exceeded, 1)]);
    assert_eq!(
        (held(&mut heard, 9_999_999), heard.next_ms()),
        (vec![], None)
    );

    assert_eq!(tell(&mut heard, exceeded, 1, 3_600_001), None);
    assert_eq!(tell(&mut heard, recovered, 1, 3_600_011), Some(1));
    assert_eq!(
        (held(&mut heard, 9_999_999), heard.next_ms()),
        (vec![], None)
    );
}

#[test]
fn failures_that_are_too_many_are_told_and_counted_anew() {
    let mut failures = Failures::default();
    let alert = FailureAlert {
        count: 3,
        within: Duration::from_secs(10),
    };
    let id = SubscriptionId::new(Uid::from_bits(9));
    let mut add = |at_ms| failures.add(id, alert, at_ms);
    assert_eq!([add(0), add(9_000), add(11_000)], [false, false, false]);
    assert!(add(12_000));
    assert_eq!(
        [add(12_001), add(12_002), add(12_003)],
        [false, false, true]
    );
}

#[test]
fn a_failure_rate_is_told_when_it_is_too_much_and_when_it_is_over() {
    let notices = Notices::default();
    let of = |endpoint| {
        (
            ProjectId::new(Uid::from_bits(1)),
            EndpointId::new(Uid::from_bits(endpoint)),
        )
    };
    let policy = alert::Policy {
        window: Duration::from_secs(60),
        failure_percent: 50,
        requests_min: 4,
    };
    let attempted =
        |endpoint, is_success, at_ms| notices.attempted(of(endpoint), &policy, is_success, at_ms);
    // Each endpoint for itself.
    for endpoint in [1, 2] {
        for at_ms in 0..3 {
            assert_eq!(attempted(endpoint, false, at_ms), None);
        }
    }
    assert!(attempted(1, false, 10).is_some());
    for at_ms in 10..100 {
        assert_eq!(attempted(1, false, at_ms), None);
    }
    assert!(attempted(1, true, 120_000).is_some());
    let taken: Vec<_> = notices.take().into_iter().map(|(_, one)| one).collect();
    let told: Vec<_> = taken
        .iter()
        .map(|one| (one.last.endpoint, one.last.trouble, one.count))
        .collect();
    assert_eq!(
        told,
        [
            (of(1).1, Trouble::FailureRateExceeded, 1),
            (of(1).1, Trouble::FailureRateRecovered, 1),
        ]
    );
    let rate = |attempts, failures| Some(Rate { attempts, failures });
    assert_eq!(
        [taken[0].last.rate, taken[1].last.rate],
        [rate(4, 4), rate(1, 0)]
    );
}

#[test]
fn endpoints_that_nobody_calls_any_more_are_forgotten() {
    let mut rates = Rates::default();
    let policy = alert::Policy {
        window: Duration::from_secs(60),
        failure_percent: 50,
        requests_min: 4,
    };
    for number in 0..100_000 {
        let endpoint = EndpointId::new(Uid::from_bits(number));
        let at_ms = i64::try_from(number).unwrap() * 1_000;
        rates.record(endpoint, &policy, true, at_ms);
        assert!(rates.len() <= 2_048, "{number}: {}", rates.len());
    }
}

proptest! {
    #[test]
    fn never_told_of_fewer_than_the_count(count in 1_u32..20, steps in prop::collection::vec(0_i64..5_000, 1..200)) {
        let mut failures = Failures::default();
        let alert = FailureAlert { count, within: Duration::from_secs(10) };
        let id = SubscriptionId::new(Uid::from_bits(9));
        let (mut now, mut since) = (0, 0);
        for step in steps {
            now += step;
            since += 1;
            if failures.add(id, alert, now) {
                prop_assert!(since >= count);
                since = 0;
            }
        }
    }
}
