//! How long to wait, how often to try, and for how long at all.

use std::sync::Arc;
use std::time::Duration;

/// How the wait grows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backoff {
    /// The same wait each time.
    Linear {
        /// That wait.
        interval: Duration,
    },
    /// Doubles each time, up to a bound.
    Exponential {
        /// Wait after the first attempt.
        base: Duration,
        /// Longest wait before jitter, from `base` to 7 days.
        max: Duration,
    },
    /// These waits, one after the other; the last one again when there are more attempts.
    List(Arc<[Duration]>),
}

/// What chance adds or takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Jitter {
    /// Nothing.
    None,
    /// Convoy's: 0 to 5 s on top of an exponential wait, nothing on others (contract 5.3).
    #[default]
    Convoy,
    /// Anything from nothing to the whole wait.
    Full,
}

impl Jitter {
    /// The words for them.
    pub const WORDS: &[&str] = &["none", "convoy", "full"];

    /// As it is written in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Convoy => "convoy",
            Self::Full => "full",
        }
    }

    /// What a word means.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        [Self::None, Self::Convoy, Self::Full]
            .into_iter()
            .find(|jitter| jitter.as_str() == word)
    }
}

/// Longest exponential wait when the policy names none (contract 5.3).
pub const WAIT_MAX: Duration = Duration::from_secs(7_200);
/// The schedule that Standard Webhooks suggests: waits before the second to the tenth attempt,
/// seconds.
pub const STANDARD_WEBHOOKS: [u64; 9] =
    [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
/// Longest time from accepting an event to the last attempt: 30 days, the longest an event is
/// kept by default.
pub const AGE_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Most waits of a list.
pub const INTERVALS_MAX: usize = 100;
/// Upper end of Convoy's jitter (contract 5.3).
const CONVOY_JITTER: Duration = Duration::from_secs(5);
/// Bounds of a policy's interval.
const INTERVAL_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);
const INTERVAL_MIN: Duration = Duration::from_secs(1);
const ATTEMPTS_MAX: u32 = 1_000;

/// A policy that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A wait is out of bounds.
    #[error("a wait must be 1 s to {} s", INTERVAL_MAX.as_secs())]
    Interval,
    /// The longest wait is out of bounds.
    #[error("the longest wait must be the first wait to {} s", INTERVAL_MAX.as_secs())]
    Longest,
    /// A list of nothing, or of too many.
    #[error("there must be 1 to {INTERVALS_MAX} waits")]
    Waits,
    /// The number of attempts is out of bounds.
    #[error("the number of attempts must be 1 to {ATTEMPTS_MAX}")]
    Attempts,
    /// The age is out of bounds.
    #[error("the age must be 1 s to {} s", AGE_MAX.as_secs())]
    Age,
}

/// When to try again, and when to give up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    backoff: Backoff,
    jitter: Jitter,
    attempts_max: u32,
    age_max: Duration,
}

impl Default for Policy {
    /// Convoy's default: every 100 s, ten attempts.
    fn default() -> Self {
        Self {
            backoff: Backoff::Linear {
                interval: Duration::from_secs(100),
            },
            jitter: Jitter::Convoy,
            attempts_max: 10,
            age_max: AGE_MAX,
        }
    }
}

impl Policy {
    /// Checks and joins the parts. `attempts_max` counts the first attempt; `age_max` runs from
    /// the event's acceptance.
    ///
    /// # Errors
    /// [`PolicyError`] when a part is out of bounds.
    pub fn new(
        backoff: Backoff,
        jitter: Jitter,
        attempts_max: u32,
        age_max: Duration,
    ) -> Result<Self, PolicyError> {
        let is_wait = |wait: &Duration| (INTERVAL_MIN..=INTERVAL_MAX).contains(wait);
        match &backoff {
            Backoff::Linear { interval: wait } | Backoff::Exponential { base: wait, .. }
                if !is_wait(wait) =>
            {
                return Err(PolicyError::Interval);
            }
            Backoff::Exponential { base, max } if !(*base..=INTERVAL_MAX).contains(max) => {
                return Err(PolicyError::Longest);
            }
            Backoff::List(waits) if !(1..=INTERVALS_MAX).contains(&waits.len()) => {
                return Err(PolicyError::Waits);
            }
            Backoff::List(waits) if !waits.iter().all(is_wait) => {
                return Err(PolicyError::Interval);
            }
            Backoff::Linear { .. } | Backoff::Exponential { .. } | Backoff::List(_) => {}
        }
        if !(1..=ATTEMPTS_MAX).contains(&attempts_max) {
            return Err(PolicyError::Attempts);
        }
        if !(INTERVAL_MIN..=AGE_MAX).contains(&age_max) {
            return Err(PolicyError::Age);
        }
        Ok(Self {
            backoff,
            jitter,
            attempts_max,
            age_max,
        })
    }

    /// Attempts in total.
    #[must_use]
    pub const fn attempts_max(&self) -> u32 {
        self.attempts_max
    }

    /// From acceptance to the last attempt at most.
    #[must_use]
    pub const fn age_max(&self) -> Duration {
        self.age_max
    }

    /// How the wait grows.
    #[must_use]
    pub const fn backoff(&self) -> &Backoff {
        &self.backoff
    }

    /// What chance does to it.
    #[must_use]
    pub const fn jitter(&self) -> Jitter {
        self.jitter
    }

    /// The wait after `attempts` attempts, 1 or more; `random` is any 64 bits.
    #[must_use]
    pub fn wait(&self, attempts: u32, random: u64) -> Duration {
        let before = attempts.saturating_sub(1);
        let (wait, is_exponential) = match &self.backoff {
            Backoff::Linear { interval } => (*interval, false),
            Backoff::Exponential { base, max } => {
                let factor = 1_u32.checked_shl(before).unwrap_or(u32::MAX);
                (base.saturating_mul(factor).min(*max), true)
            }
            Backoff::List(waits) => {
                let at = usize::try_from(before).unwrap_or(usize::MAX);
                let wait = waits.get(at).or(waits.last());
                (wait.copied().unwrap_or(INTERVAL_MIN), false)
            }
        };
        match self.jitter {
            Jitter::None => wait,
            Jitter::Convoy if is_exponential => wait + share(CONVOY_JITTER, random),
            Jitter::Convoy => wait,
            Jitter::Full => share(wait, random),
        }
    }
}

/// A part of `whole`, evenly from nothing to all of it, in milliseconds.
fn share(whole: Duration, random: u64) -> Duration {
    let steps = u64::try_from(whole.as_millis())
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    Duration::from_millis(random % steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn policies_out_of_bounds_are_refused() {
        let linear = |seconds| Backoff::Linear {
            interval: s(seconds),
        };
        let list = |seconds: &[u64]| Backoff::List(seconds.iter().copied().map(s).collect());
        let exponential = |base, max| Backoff::Exponential { base: s(base), max };
        for (backoff, attempts, age, error) in [
            (linear(0), 3, AGE_MAX, PolicyError::Interval),
            (linear(8 * 24 * 3_600), 3, AGE_MAX, PolicyError::Interval),
            (linear(1), 0, AGE_MAX, PolicyError::Attempts),
            (linear(1), 1_001, AGE_MAX, PolicyError::Attempts),
            (linear(1), 1, Duration::ZERO, PolicyError::Age),
            (linear(1), 1, AGE_MAX + s(1), PolicyError::Age),
            (list(&[]), 3, AGE_MAX, PolicyError::Waits),
            (list(&[1; 101]), 3, AGE_MAX, PolicyError::Waits),
            (list(&[1, 0]), 3, AGE_MAX, PolicyError::Interval),
            (exponential(10, s(9)), 3, AGE_MAX, PolicyError::Longest),
            (
                exponential(10, Duration::MAX),
                3,
                AGE_MAX,
                PolicyError::Longest,
            ),
            (exponential(0, s(9)), 3, AGE_MAX, PolicyError::Interval),
        ] {
            let made = Policy::new(backoff.clone(), Jitter::None, attempts, age);
            assert_eq!(made, Err(error), "{backoff:?}");
        }
    }

    fn waits(backoff: Backoff, attempts: &[u32]) -> Vec<u64> {
        let policy = Policy::new(backoff, Jitter::None, 100, AGE_MAX).unwrap();
        let wait = |attempts: &u32| policy.wait(*attempts, 7).as_secs();
        attempts.iter().map(wait).collect()
    }

    #[test]
    fn exponential_waits_are_the_contracts() {
        let (base, max) = (s(10), WAIT_MAX);
        assert_eq!(
            waits(
                Backoff::Exponential { base, max },
                &[1, 2, 3, 4, 10, 11, 99]
            ),
            [10, 20, 40, 80, 5_120, 7_200, 7_200]
        );
    }

    #[test]
    fn a_list_is_gone_through_and_its_last_wait_stays() {
        let list = Backoff::List([s(1), s(60), s(5)].into());
        assert_eq!(waits(list, &[1, 2, 3, 4, 100]), [1, 60, 5, 5, 5]);
        let ladder = STANDARD_WEBHOOKS.map(s);
        let in_all: Duration = ladder.iter().sum();
        assert_eq!(in_all, s(75 * 3_600 + 35 * 60 + 5)); // as its text says
        assert_eq!(waits(Backoff::List(ladder.into()), &[1, 9]), [5, 86_400]);
    }

    proptest! {
        #[test]
        fn a_retry_never_waits_longer_than_the_policy(
            base in 1_u64..100_000, max in 1_u64..100_000, attempts in 1_u32..2_000, random: u64, kind in 0_usize..3,
        ) {
            let (base, max) = (base.min(max), base.max(max));
            let backoff = Backoff::Exponential { base: s(base), max: s(max) };
            let jitter = [Jitter::None, Jitter::Convoy, Jitter::Full][kind];
            let policy = Policy::new(backoff, jitter, 1_000, AGE_MAX).unwrap();
            prop_assert!(policy.wait(attempts, random) <= s(max) + CONVOY_JITTER);
        }
    }
}
