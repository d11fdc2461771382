//! When people are to hear how much of what an endpoint gets fails, whatever its breaker does: once
//! when that becomes too much, and once when it is over.
//!
//! The share is counted over a window of its own, as long as the breaker's: a breaker forgets what
//! it has seen whenever it opens, and then sees its probes alone.
//!
//! A share that moves around its threshold is one alert: it has to fall below four fifths of the
//! threshold, and the window has to be another one than the one that raised it. It is over by a
//! success alone. That nothing is sent any more says nothing of the receiver.

use std::time::Duration;

use super::reaches;
use super::window::Window;

/// When it is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How far back attempts count.
    pub window: Duration,
    /// Failures of all attempts in the window, percent, 1 to 100.
    pub failure_percent: u32,
    /// With fewer attempts in the window it is not told.
    pub requests_min: u32,
}

/// What was in the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Attempts.
    pub attempts: u32,
    /// Those of them that failed.
    pub failures: u32,
}

/// What an answer changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Too much fails.
    Exceeded(Rate),
    /// That is over.
    Recovered(Rate),
}

/// An endpoint that nobody has called for so long has nothing to be over any more.
const UNCALLED_MS: i64 = 24 * 60 * 60 * 1_000;

/// One endpoint under watch.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    window: Window,
    /// Since when too much fails.
    exceeded_ms: Option<i64>,
    /// When the last attempt ended.
    called_ms: i64,
}

impl Watch {
    /// An attempt has ended.
    pub fn record(&mut self, policy: &Policy, is_success: bool, now_ms: i64) -> Option<Change> {
        let seen = self.window.add(policy.window, is_success, now_ms);
        self.exceeded_ms = self.exceeded_ms(now_ms);
        self.called_ms = now_ms;
        let rate = Rate {
            attempts: seen.all(),
            failures: seen.failed,
        };
        let Some(since_ms) = self.exceeded_ms else {
            let is_too_much = !is_success
                && rate.attempts >= policy.requests_min
                && reaches(rate.failures, rate.attempts, policy.failure_percent);
            self.exceeded_ms = is_too_much.then_some(now_ms);
            return is_too_much.then_some(Change::Exceeded(rate));
        };
        let window_ms = i64::try_from(policy.window.as_millis()).unwrap_or(i64::MAX);
        // A clock that was set back keeps nobody waiting.
        let is_soon = (0..window_ms).contains(&now_ms.saturating_sub(since_ms));
        let is_over = is_success && !is_soon && rate.is_below_four_fifths(policy.failure_percent);
        if is_over {
            self.exceeded_ms = None;
        }
        is_over.then_some(Change::Recovered(rate))
    }

    /// Since when too much fails, Unix milliseconds.
    #[must_use]
    pub fn exceeded_ms(&self, now_ms: i64) -> Option<i64> {
        let is_called = now_ms.saturating_sub(self.called_ms) < UNCALLED_MS;
        self.exceeded_ms.filter(|_| is_called)
    }

    /// Whether it is as good as one that has seen nothing.
    #[must_use]
    pub fn is_blank(&self, now_ms: i64) -> bool {
        self.window.is_over(now_ms) && self.exceeded_ms(now_ms).is_none()
    }
}

impl Rate {
    fn is_below_four_fifths(self, percent: u32) -> bool {
        u64::from(self.failures) * 500 < u64::from(self.attempts) * u64::from(percent) * 4
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW_MS: i64 = 1_800_000_000_000;
    const WINDOW_MS: i64 = 60_000;

    fn policy(failure_percent: u32, requests_min: u32) -> Policy {
        Policy {
            window: Duration::from_secs(60),
            failure_percent,
            requests_min,
        }
    }

    /// Attempts that succeed (`+`) or fail, with a threshold of half of at least four.
    fn record(watch: &mut Watch, attempts: &str, at_ms: i64) -> Vec<Change> {
        let attempts = attempts.chars();
        let changes = attempts.map(|one| watch.record(&policy(50, 4), one == '+', at_ms));
        changes.flatten().collect()
    }

    fn rate(attempts: u32, failures: u32) -> Rate {
        Rate { attempts, failures }
    }

    #[test]
    fn a_few_attempts_say_nothing_and_neither_do_old_ones() {
        let mut watch = Watch::default();
        assert_eq!(record(&mut watch, "---", NOW_MS), []);
        assert_eq!(record(&mut watch, "---", NOW_MS + WINDOW_MS), []);
        assert_eq!(
            record(&mut watch, "-", NOW_MS + WINDOW_MS),
            [Change::Exceeded(rate(4, 4))]
        );
    }

    #[test]
    fn it_is_told_once_however_long_it_lasts() {
        let mut watch = Watch::default();
        assert_eq!(record(&mut watch, "+++--", NOW_MS), []);
        assert_eq!(
            record(&mut watch, "-", NOW_MS),
            [Change::Exceeded(rate(6, 3))]
        );
        for second in 0..600 {
            assert_eq!(record(&mut watch, "-+-", NOW_MS + second * 1_000), []);
        }
    }

    #[test]
    fn it_is_over_a_window_later_by_a_success_below_four_fifths() {
        let mut watch = Watch::default();
        record(&mut watch, "----", NOW_MS);
        let soon_ms = NOW_MS + WINDOW_MS - 1;
        assert_eq!(record(&mut watch, &"+".repeat(100), soon_ms), []);
        assert_eq!(
            record(&mut watch, "-+", NOW_MS + WINDOW_MS),
            [Change::Recovered(rate(102, 1))]
        );

        let mut watch = Watch::default();
        record(&mut watch, "----", NOW_MS);
        let late_ms = NOW_MS + 2 * WINDOW_MS;
        // Two of five are four fifths of the half.
        assert_eq!(record(&mut watch, "--+++", late_ms), []);
        assert_eq!(
            record(&mut watch, "+", late_ms),
            [Change::Recovered(rate(6, 2))]
        );
        assert_eq!(
            record(&mut watch, "--", late_ms),
            [Change::Exceeded(rate(8, 4))]
        );
    }

    #[test]
    fn a_clock_that_was_set_back_keeps_nobody_waiting() {
        let mut watch = Watch::default();
        record(&mut watch, "----", NOW_MS);
        assert_eq!(
            record(&mut watch, "+", NOW_MS - 10 * WINDOW_MS),
            [Change::Recovered(rate(1, 0))]
        );
    }

    #[test]
    fn what_was_told_is_kept_until_nobody_calls_any_more() {
        let mut watch = Watch::default();
        assert!(watch.is_blank(NOW_MS));
        record(&mut watch, "---", NOW_MS);
        assert!(!watch.is_blank(NOW_MS + WINDOW_MS - 1));
        assert!(watch.is_blank(NOW_MS + WINDOW_MS));
        record(&mut watch, "-", NOW_MS);
        assert!(!watch.is_blank(NOW_MS + UNCALLED_MS - 1));
        assert!(watch.is_blank(NOW_MS + UNCALLED_MS));
    }

    proptest! {
        /// Both take turns, each is true when it is told, and one pair fills a window at least.
        #[test]
        fn it_does_not_flap(
            attempts in prop::collection::vec((any::<bool>(), 0_i64..3_000), 1..500),
            percent in 1_u32..=100,
            requests_min in 1_u32..30,
        ) {
            let policy = policy(percent, requests_min);
            let (mut watch, mut now_ms, mut exceeded_ms) = (Watch::default(), NOW_MS, None);
            for (is_success, pass_ms) in attempts {
                now_ms += pass_ms;
                match watch.record(&policy, is_success, now_ms) {
                    None => {}
                    Some(Change::Exceeded(rate)) => {
                        prop_assert!(exceeded_ms.is_none() && !is_success);
                        prop_assert!(rate.attempts >= requests_min);
                        prop_assert!(rate.failures * 100 >= rate.attempts * percent);
                        exceeded_ms = Some(now_ms);
                    }
                    Some(Change::Recovered(rate)) => {
                        prop_assert!(is_success && exceeded_ms.is_some_and(|at_ms| now_ms - at_ms >= WINDOW_MS));
                        prop_assert!(rate.failures * 500 < rate.attempts * percent * 4);
                        exceeded_ms = None;
                    }
                }
            }
        }
    }
}
