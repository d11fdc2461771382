//! How often something may happen: a token bucket that is one number (GCRA).
//!
//! The number is the time at which the bucket would be full again if nothing more happened.
//! It does not say what the rate is, so a changed rate goes on from what was used before.

use std::time::Duration;

/// So many in a window, at once or spread over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    count: u32,
    window: Duration,
    /// Time in which one token comes back, rounded up: never faster than was said.
    token_ns: u64,
}

/// Largest count of a rate.
pub const COUNT_MAX: u32 = 1_000_000_000;
/// Longest window of a rate, seconds: a day.
pub const WINDOW_S_MAX: u64 = 24 * 3600;

/// What there is after tokens were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// When the bucket is full again, nanoseconds.
    pub full_at_ns: u64,
    /// Tokens that are left.
    pub remaining: u32,
    /// Until the bucket is full again.
    pub reset: Duration,
}

/// There are not as many tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exhausted {
    /// When the bucket is full again, nanoseconds: to be kept, as that of [`Taken`] is. It is
    /// sooner than it was when the bucket was last used at a lower rate.
    pub full_at_ns: u64,
    /// Until there are; `None` when they are more than there ever will be.
    pub wait: Option<Duration>,
    /// Tokens that there are.
    pub remaining: u32,
    /// Until the bucket is full again.
    pub reset: Duration,
}

impl Rate {
    /// `count` in `window_s` seconds; `None` unless 1 to [`COUNT_MAX`] in 1 to [`WINDOW_S_MAX`].
    #[must_use]
    pub fn new(count: u32, window_s: u64) -> Option<Self> {
        if !(1..=COUNT_MAX).contains(&count) || !(1..=WINDOW_S_MAX).contains(&window_s) {
            return None;
        }
        Some(Self {
            count,
            window: Duration::from_secs(window_s),
            token_ns: (window_s * 1_000_000_000).div_ceil(u64::from(count)),
        })
    }

    /// Tokens of a full bucket.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// In which an empty bucket fills.
    #[must_use]
    pub const fn window(&self) -> Duration {
        self.window
    }

    /// Takes `tokens` out of a bucket that is full at `full_at_ns`: all of them or none.
    ///
    /// # Errors
    /// [`Exhausted`] when there are fewer.
    pub fn take(&self, full_at_ns: u64, now_ns: u64, tokens: u32) -> Result<Taken, Exhausted> {
        // No clock gets near the end of these numbers: 2^64 ns are 584 years.
        let missing_ns = self.missing_ns(full_at_ns, now_ns);
        let after_ns = missing_ns.saturating_add(self.token_ns.saturating_mul(tokens.into()));
        match after_ns.checked_sub(self.capacity_ns()) {
            None | Some(0) => Ok(Taken {
                full_at_ns: now_ns.saturating_add(after_ns),
                remaining: self.tokens_in(self.capacity_ns() - after_ns),
                reset: Duration::from_nanos(after_ns),
            }),
            Some(wait_ns) => Err(Exhausted {
                full_at_ns: now_ns.saturating_add(missing_ns),
                wait: (tokens <= self.count).then(|| Duration::from_nanos(wait_ns)),
                remaining: self.tokens_in(self.capacity_ns() - missing_ns),
                reset: Duration::from_nanos(missing_ns),
            }),
        }
    }

    /// What the bucket lacks of being full. One that was used at a lower rate lacks at most all.
    fn missing_ns(&self, full_at_ns: u64, now_ns: u64) -> u64 {
        full_at_ns.saturating_sub(now_ns).min(self.capacity_ns())
    }

    const fn capacity_ns(&self) -> u64 {
        self.token_ns * self.count as u64
    }

    fn tokens_in(&self, ns: u64) -> u32 {
        u32::try_from(ns / self.token_ns).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn rates_outside_of_their_ranges_are_none() {
        for (count, window_s) in [(0, 1), (1, 0), (COUNT_MAX + 1, 1), (1, WINDOW_S_MAX + 1)] {
            assert_eq!(Rate::new(count, window_s), None);
        }
        assert!(Rate::new(COUNT_MAX, WINDOW_S_MAX).is_some());
    }

    #[test]
    fn a_bucket_gives_its_count_and_then_one_at_a_time() {
        let rate = Rate::new(3, 6).unwrap();
        let now = 100 * S;
        let mut full_at = 0;
        for left in [2, 1, 0] {
            let taken = rate.take(full_at, now, 1).unwrap();
            assert_eq!(taken.remaining, left);
            full_at = taken.full_at_ns;
        }
        let refused = rate.take(full_at, now, 1).unwrap_err();
        assert_eq!(refused.wait, Some(Duration::from_secs(2)));
        assert_eq!(
            (refused.remaining, refused.reset),
            (0, Duration::from_secs(6))
        );
        assert!(rate.take(full_at, now + 2 * S - 1, 1).is_err());
        let taken = rate.take(full_at, now + 2 * S, 1).unwrap();
        assert_eq!(taken.remaining, 0);
        let never = rate.take(0, now, 4).unwrap_err();
        assert_eq!((never.wait, never.remaining), (None, 3));
        assert_eq!(rate.take(0, now, 3).unwrap().remaining, 0);
    }

    #[test]
    fn a_rate_that_was_lower_before_is_not_waited_for() {
        let (slow, fast) = (Rate::new(1, 3600).unwrap(), Rate::new(10, 1).unwrap());
        let used = slow.take(0, S, 1).unwrap().full_at_ns;
        let refused = fast.take(used, S, 1).unwrap_err();
        assert!(
            refused.wait.unwrap() <= Duration::from_millis(100),
            "{refused:?}"
        );
        // What is kept of the refusal fills as fast as the rate of now says.
        let wait_ns = u64::try_from(refused.wait.unwrap().as_nanos()).unwrap();
        let kept = refused.full_at_ns;
        assert!(fast.take(kept, S + wait_ns, 1).is_ok());
        assert!(fast.take(kept, 2 * S, 10).is_ok());
    }

    proptest! {
        #[test]
        fn no_window_passes_more_than_twice_its_count_and_waiting_helps(
            count in 1_u32..20,
            window_s in 1_u64..10,
            steps in proptest::collection::vec((0_u64..2_000_000_000, 1_u32..4), 1..80),
        ) {
            let rate = Rate::new(count, window_s).unwrap();
            let (mut now, mut full_at, mut passed) = (S, 0, Vec::new());
            for (step, tokens) in steps {
                now += step;
                match rate.take(full_at, now, tokens) {
                    Ok(taken) => {
                        full_at = taken.full_at_ns;
                        passed.push((now, u64::from(tokens)));
                    }
                    Err(Exhausted { wait: Some(wait), remaining, full_at_ns, .. }) => {
                        prop_assert!(remaining < tokens);
                        prop_assert_eq!(full_at_ns, full_at, "nothing changes at the same rate");
                        let later = now + u64::try_from(wait.as_nanos()).unwrap();
                        prop_assert!(rate.take(full_at, later, tokens).is_ok());
                        prop_assert!(rate.take(full_at, later - 1, tokens).is_err());
                    }
                    Err(Exhausted { wait: None, .. }) => prop_assert!(tokens > count),
                }
                // A full bucket at the start of a window, and what comes back within it.
                let since = now.saturating_sub(window_s * S);
                let recent = passed.iter().filter(|(at, _)| *at > since);
                let sum: u64 = recent.map(|(_, tokens)| tokens).sum();
                prop_assert!(sum <= 2 * u64::from(count));
            }
        }
    }
}
