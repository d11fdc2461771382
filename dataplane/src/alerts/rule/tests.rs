use proptest::prelude::*;

use super::*;

const NOTHING: Thresholds = Thresholds {
    silent_after_s: None,
    spike_per_min: None,
    rejected_per_min: None,
    handshake_after_s: None,
};

fn accepted(count: u64, last_ms: i64) -> Seen {
    Seen {
        accepted: count,
        last_accepted_ms: Some(last_ms),
        ..Seen::default()
    }
}

fn kinds(changes: &[Change]) -> Vec<(Kind, bool, u64)> {
    let one = |change: &Change| (change.kind, change.is_raised, change.finding.value);
    changes.iter().map(one).collect()
}

#[test]
fn a_source_without_thresholds_has_no_alert_whatever_happens() {
    let mut watch = Watch::new(0);
    for second in 0..200 {
        let seen = accepted(1_000_000 * second as u64, 0);
        assert_eq!(watch.judge(second * 1_000, seen, &NOTHING), []);
    }
}

#[test]
fn silence_is_told_once_and_cleared_by_the_next_event() {
    let limits = Thresholds {
        silent_after_s: Some(10),
        ..NOTHING
    };
    let mut watch = Watch::new(5_000);
    assert_eq!(watch.judge(14_999, Seen::default(), &limits), []);
    let raised = watch.judge(15_000, Seen::default(), &limits);
    assert_eq!(kinds(&raised), [(Kind::Silent, true, 10)]);
    assert_eq!(watch.judge(99_000, Seen::default(), &limits), []);
    let cleared = watch.judge(100_000, accepted(1, 99_500), &limits);
    assert_eq!(kinds(&cleared), [(Kind::Silent, false, 0)]);
    let again = watch.judge(109_500, accepted(1, 99_500), &limits);
    assert_eq!(kinds(&again), [(Kind::Silent, true, 10)]);
}

#[test]
fn a_handshake_that_never_came_is_missed_from_the_beginning_of_the_watch() {
    let limits = Thresholds {
        handshake_after_s: Some(7_200),
        ..NOTHING
    };
    let mut watch = Watch::new(0);
    let seen = |last_handshake_ms| Seen {
        last_handshake_ms,
        ..accepted(1, 7_199_000)
    };
    assert_eq!(watch.judge(7_199_999, seen(None), &limits), []);
    let raised = watch.judge(7_200_000, seen(None), &limits);
    assert_eq!(kinds(&raised), [(Kind::Handshake, true, 7_200)]);
    let cleared = watch.judge(7_201_000, seen(Some(7_200_500)), &limits);
    assert_eq!(kinds(&cleared), [(Kind::Handshake, false, 0)]);
}

#[test]
fn a_rate_around_its_threshold_is_one_alert() {
    let limits = Thresholds {
        rejected_per_min: Some(58),
        ..NOTHING
    };
    let (mut watch, mut rejected, mut told) = (Watch::new(0), 0, Vec::new());
    for second in 0..600_u32 {
        // 60 in one minute and 55 in the next, and from the sixth minute on half of it.
        let is_one = match second {
            0..300 => (second / 60).is_multiple_of(2) || !second.is_multiple_of(12),
            _ => second.is_multiple_of(2),
        };
        rejected += u64::from(is_one);
        let seen = Seen {
            rejected,
            ..Seen::default()
        };
        told.extend(watch.judge(i64::from(second) * 1_000, seen, &limits));
    }
    let told: Vec<_> = kinds(&told)
        .into_iter()
        .map(|(kind, is, _)| (kind, is))
        .collect();
    assert_eq!(told, [(Kind::Rejected, true), (Kind::Rejected, false)]);
}

#[test]
fn a_spike_is_raised_at_its_threshold_and_cleared_below_four_fifths() {
    let limits = Thresholds {
        spike_per_min: Some(100),
        ..NOTHING
    };
    let mut watch = Watch::new(0);
    // What came before the watch is not its rate.
    assert_eq!(watch.judge(0, accepted(1_000_000, 0), &limits), []);
    assert_eq!(watch.judge(30_000, accepted(1_000_099, 0), &limits), []);
    let raised = watch.judge(59_000, accepted(1_000_100, 0), &limits);
    assert_eq!(kinds(&raised), [(Kind::Spike, true, 100)]);
    // The 99 were counted at 30 s: 60 s later they are over, and the rate is 1.
    assert_eq!(watch.judge(89_999, accepted(1_000_101, 0), &limits), []);
    let cleared = watch.judge(90_000, accepted(1_000_101, 0), &limits);
    assert_eq!(kinds(&cleared), [(Kind::Spike, false, 2)]);
}

#[test]
fn a_threshold_that_is_taken_away_clears_its_alert() {
    let limits = Thresholds {
        silent_after_s: Some(1),
        ..NOTHING
    };
    let mut watch = Watch::new(0);
    assert_eq!(watch.judge(1_000, Seen::default(), &limits).len(), 1);
    let cleared = watch.judge(2_000, Seen::default(), &NOTHING);
    assert_eq!(kinds(&cleared), [(Kind::Silent, false, 0)]);
}

proptest! {
    #[test]
    fn alerts_go_up_and_down_in_turn_and_memory_is_bounded(
        steps in prop::collection::vec((-5_000..20_000_i64, 0..50_u64, 0..50_u64), 1..200),
    ) {
        let limits = Thresholds {
            silent_after_s: Some(10), spike_per_min: Some(40), rejected_per_min: Some(40), handshake_after_s: Some(30),
        };
        let (mut now_ms, mut seen, mut watch) = (1_000_000, Seen::default(), Watch::new(1_000_000));
        let mut raised = [false; 4];
        for (step_ms, more, refused) in steps {
            now_ms += step_ms;
            seen.accepted += more;
            seen.rejected += refused;
            if more > 0 { seen.last_accepted_ms = Some(now_ms); }
            for change in watch.judge(now_ms, seen, &limits) {
                prop_assert_ne!(raised[change.kind as usize], change.is_raised);
                raised[change.kind as usize] = change.is_raised;
            }
            prop_assert_eq!(raised, watch.raised);
        }
    }
}
