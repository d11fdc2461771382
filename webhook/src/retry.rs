//! Stage 9, decide: policy, attempts and outcome give what follows. Pure: chance comes in.
//!
//! `retry_count` means attempts in total, everywhere (RULINGS 24).

use std::time::Duration;

/// How the wait grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
}

/// What chance adds or takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Jitter {
    /// Nothing.
    None,
    /// Convoy's: 0 to 5 s on top of an exponential wait, nothing on a linear one (contract 5.3).
    #[default]
    Convoy,
    /// Anything from nothing to the whole wait.
    Full,
}

impl Jitter {
    /// As it is written in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Convoy => "convoy",
            Self::Full => "full",
        }
    }
}

/// Longest exponential wait when the policy names none (contract 5.3).
pub const WAIT_MAX: Duration = Duration::from_secs(7_200);
/// Upper end of Convoy's jitter (contract 5.3).
const CONVOY_JITTER: Duration = Duration::from_secs(5);
/// Bounds of a policy's interval.
const INTERVAL_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);
const ATTEMPTS_MAX: u32 = 1_000;

/// A policy that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The wait is out of bounds.
    #[error("the wait must be 1 s to {} s", INTERVAL_MAX.as_secs())]
    Interval,
    /// The longest wait is out of bounds.
    #[error("the longest wait must be the first wait to {} s", INTERVAL_MAX.as_secs())]
    Longest,
    /// The number of attempts is out of bounds.
    #[error("the number of attempts must be 1 to {ATTEMPTS_MAX}")]
    Attempts,
}

/// When to try again, and when to give up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    backoff: Backoff,
    jitter: Jitter,
    attempts_max: u32,
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
        }
    }
}

impl Policy {
    /// Checks and joins the parts. `attempts_max` counts the first attempt.
    ///
    /// # Errors
    /// [`PolicyError`] when a part is out of bounds.
    pub fn new(backoff: Backoff, jitter: Jitter, attempts_max: u32) -> Result<Self, PolicyError> {
        let (wait, longest) = match backoff {
            Backoff::Linear { interval } => (interval, interval),
            Backoff::Exponential { base, max } => (base, max),
        };
        if !(Duration::from_secs(1)..=INTERVAL_MAX).contains(&wait) {
            return Err(PolicyError::Interval);
        }
        if !(wait..=INTERVAL_MAX).contains(&longest) {
            return Err(PolicyError::Longest);
        }
        if !(1..=ATTEMPTS_MAX).contains(&attempts_max) {
            return Err(PolicyError::Attempts);
        }
        Ok(Self {
            backoff,
            jitter,
            attempts_max,
        })
    }

    /// Attempts in total.
    #[must_use]
    pub const fn attempts_max(&self) -> u32 {
        self.attempts_max
    }

    /// How the wait grows.
    #[must_use]
    pub const fn backoff(&self) -> Backoff {
        self.backoff
    }

    /// What chance does to it.
    #[must_use]
    pub const fn jitter(&self) -> Jitter {
        self.jitter
    }

    /// The wait after `attempts` attempts, 1 or more; `random` is any 64 bits.
    #[must_use]
    pub fn wait(&self, attempts: u32, random: u64) -> Duration {
        let (wait, is_exponential) = match self.backoff {
            Backoff::Linear { interval } => (interval, false),
            Backoff::Exponential { base, max } => {
                let factor = 1_u32
                    .checked_shl(attempts.saturating_sub(1))
                    .unwrap_or(u32::MAX);
                (base.saturating_mul(factor).min(max), true)
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

/// How one attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver answered, whatever it said.
    Answered {
        /// HTTP status.
        status: u16,
    },
    /// There was no answer.
    Failed(Failure),
}

/// Why there was no answer: a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The name has no address, or could not be asked for.
    DnsFailure,
    /// Nobody listens there.
    ConnectRefused,
    /// The connection broke.
    ConnectReset,
    /// No way there.
    ConnectUnreachable,
    /// No connection in time.
    ConnectTimeout,
    /// No agreement on TLS, or a certificate that does not hold.
    TlsFailure,
    /// What came was not HTTP.
    ProtocolError,
    /// No complete answer in time.
    ResponseTimeout,
    /// The address policy forbids it.
    EgressDenied {
        /// The URL itself names a forbidden place; else a name led there, which may change.
        literal: bool,
    },
    /// None of our own source addresses is usable.
    NoHealthySource,
    /// Our own ports are used up.
    PortExhausted,
    /// A fault of our own.
    Internal,
}

impl Failure {
    /// Stable code for records, labels and API bodies.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::DnsFailure => "dns_failure",
            Self::ConnectRefused => "connect_refused",
            Self::ConnectReset => "connect_reset",
            Self::ConnectUnreachable => "connect_unreachable",
            Self::ConnectTimeout => "connect_timeout",
            Self::TlsFailure => "tls_failure",
            Self::ProtocolError => "protocol_error",
            Self::ResponseTimeout => "response_timeout",
            Self::EgressDenied { .. } => "egress_denied",
            Self::NoHealthySource => "no_healthy_source",
            Self::PortExhausted => "port_exhausted",
            Self::Internal => "internal",
        }
    }

    /// Faults of our own egress: never charged to the endpoint (RULINGS 25).
    #[must_use]
    pub const fn is_infrastructure(self) -> bool {
        matches!(
            self,
            Self::NoHealthySource | Self::PortExhausted | Self::Internal
        )
    }
}

/// What follows an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Delivered.
    Success,
    /// Try again after this wait.
    RetryAfter(Duration),
    /// A dead letter.
    GiveUp(GiveUp),
}

/// Why a delivery is a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GiveUp {
    /// All attempts are used up.
    RetryLimitExceeded,
    /// 410: the receiver is gone for good.
    Gone,
    /// 413: the body will not shrink.
    PayloadTooLarge,
    /// The URL names a place that must not be reached.
    EgressDenied,
}

impl GiveUp {
    /// Stable code for records, labels and API bodies.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::RetryLimitExceeded => "retry_limit_exceeded",
            Self::Gone => "gone",
            Self::PayloadTooLarge => "payload_too_large",
            Self::EgressDenied => "egress_denied",
        }
    }
}

/// Decides. `attempts` counts all attempts including this one; `random` is any 64 bits.
#[must_use]
pub fn next_step(policy: &Policy, attempts: u32, outcome: &Outcome, random: u64) -> Step {
    match outcome {
        Outcome::Answered { status: 200..=299 } => return Step::Success,
        Outcome::Answered { status: 410 } => return Step::GiveUp(GiveUp::Gone),
        Outcome::Answered { status: 413 } => return Step::GiveUp(GiveUp::PayloadTooLarge),
        Outcome::Failed(Failure::EgressDenied { literal: true }) => {
            return Step::GiveUp(GiveUp::EgressDenied);
        }
        Outcome::Answered { .. } | Outcome::Failed(_) => {}
    }
    if attempts >= policy.attempts_max && !is_free(outcome) {
        return Step::GiveUp(GiveUp::RetryLimitExceeded);
    }
    Step::RetryAfter(policy.wait(attempts, random))
}

/// Whether the attempt must not count against the limit: faults of our own (RULINGS 25).
///
/// A 429 counts until there is a limit by age: without one a receiver that always answers 429
/// would be called for ever.
#[must_use]
pub fn is_free(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed(failure) if failure.is_infrastructure())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REFUSED: Outcome = Outcome::Answered { status: 500 };

    #[test]
    fn policies_out_of_bounds_are_refused() {
        let linear = |seconds| Backoff::Linear {
            interval: Duration::from_secs(seconds),
        };
        assert_eq!(
            Policy::new(linear(0), Jitter::None, 3),
            Err(PolicyError::Interval)
        );
        assert_eq!(
            Policy::new(linear(8 * 24 * 3_600), Jitter::None, 3),
            Err(PolicyError::Interval)
        );
        assert_eq!(
            Policy::new(linear(1), Jitter::None, 0),
            Err(PolicyError::Attempts)
        );
        assert_eq!(
            Policy::new(linear(1), Jitter::None, 1_001),
            Err(PolicyError::Attempts)
        );
    }

    #[test]
    fn an_exponential_bound_out_of_range_is_refused() {
        for max in [
            Duration::ZERO,
            Duration::from_millis(1),
            Duration::from_secs(9),
            Duration::MAX,
        ] {
            let base = Duration::from_secs(10);
            let refused = Policy::new(Backoff::Exponential { base, max }, Jitter::Convoy, 3);
            assert!(refused.is_err(), "{max:?}");
        }
    }

    #[test]
    fn final_answers_end_at_once() {
        let policy = Policy::default();
        let step = |outcome| next_step(&policy, 1, &outcome, 0);
        assert_eq!(step(Outcome::Answered { status: 204 }), Step::Success);
        assert_eq!(
            step(Outcome::Answered { status: 410 }),
            Step::GiveUp(GiveUp::Gone)
        );
        assert_eq!(
            step(Outcome::Answered { status: 413 }),
            Step::GiveUp(GiveUp::PayloadTooLarge)
        );
        let denied = |literal| Outcome::Failed(Failure::EgressDenied { literal });
        assert_eq!(step(denied(true)), Step::GiveUp(GiveUp::EgressDenied));
        assert_eq!(
            step(denied(false)),
            Step::RetryAfter(Duration::from_secs(100))
        );
        assert_eq!(
            step(Outcome::Answered { status: 302 }),
            Step::RetryAfter(Duration::from_secs(100))
        );
    }

    #[test]
    fn exponential_waits_are_the_contracts() {
        let backoff = Backoff::Exponential {
            base: Duration::from_secs(10),
            max: WAIT_MAX,
        };
        let policy = Policy::new(backoff, Jitter::None, 100).unwrap();
        let waits: Vec<u64> = [1, 2, 3, 4, 10, 11, 99]
            .iter()
            .map(|n| policy.wait(*n, 7).as_secs())
            .collect();
        assert_eq!(waits, [10, 20, 40, 80, 5_120, 7_200, 7_200]);
    }

    #[test]
    fn faults_of_ours_never_use_up_the_limit() {
        let policy = Policy::default();
        let ours = Outcome::Failed(Failure::Internal);
        assert!(matches!(
            next_step(&policy, 500, &ours, 0),
            Step::RetryAfter(_)
        ));
        let theirs = Outcome::Answered { status: 429 };
        assert!(matches!(
            next_step(&policy, 500, &theirs, 0),
            Step::GiveUp(_)
        ));
    }

    proptest! {
        #[test]
        fn a_retry_never_waits_longer_than_the_policy(
            base in 1_u64..100_000, max in 1_u64..100_000, attempts in 1_u32..2_000, random: u64, kind in 0_usize..3,
        ) {
            let (base, max) = (base.min(max), base.max(max));
            let backoff = Backoff::Exponential { base: Duration::from_secs(base), max: Duration::from_secs(max) };
            let jitter = [Jitter::None, Jitter::Convoy, Jitter::Full][kind];
            let policy = Policy::new(backoff, jitter, 1_000).unwrap();
            prop_assert!(policy.wait(attempts, random) <= Duration::from_secs(max) + CONVOY_JITTER);
        }

        #[test]
        fn giving_up_comes_exactly_at_the_limit(limit in 1_u32..=1_000, attempts in 1_u32..1_100, random: u64) {
            let policy = Policy::new(Policy::default().backoff(), Jitter::Full, limit).unwrap();
            let gave_up = matches!(next_step(&policy, attempts, &REFUSED, random), Step::GiveUp(_));
            prop_assert_eq!(gave_up, attempts >= limit);
        }
    }
}
