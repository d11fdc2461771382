//! What follows an attempt.

use std::time::Duration;

use crate::event::DeliveryMode;
use crate::pace::Load;
use crate::undelivered::Reason;

use super::{Answers, Failure, Outcome, Policy, RETRY_AFTER_MAX};

/// For a 429 that does not say how long: most limits are per second.
const HOLD_UNASKED: Duration = Duration::from_secs(1);

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
    /// The next attempt would come later after the event than the policy allows.
    AgeLimitExceeded,
    /// 410: the receiver is gone for good.
    Gone,
    /// 413: the body will not shrink.
    PayloadTooLarge,
    /// A status that the endpoint's settings call permanent.
    PermanentStatus,
    /// The URL names a place that must not be reached.
    EgressDenied,
    /// At most once: the receiver has it, and answered that it failed.
    Refused,
    /// At most once: the receiver may have it, and did not say what became of it.
    OutcomeUnknown,
}

impl GiveUp {
    /// The same among all reasons for the end of a delivery.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::RetryLimitExceeded => Reason::RetryLimitExceeded,
            Self::AgeLimitExceeded => Reason::AgeLimitExceeded,
            Self::Gone => Reason::Gone,
            Self::PayloadTooLarge => Reason::PayloadTooLarge,
            Self::PermanentStatus => Reason::PermanentStatus,
            Self::EgressDenied => Reason::EgressDenied,
            Self::Refused => Reason::Refused,
            Self::OutcomeUnknown => Reason::OutcomeUnknown,
        }
    }

    /// Stable code for records, labels and API bodies.
    #[must_use]
    pub const fn code(self) -> &'static str {
        self.reason().code()
    }
}

/// The attempts of a delivery so far.
#[derive(Debug, Clone, Copy)]
pub struct Made {
    /// Attempts that count against the limit, with this one if it does.
    pub counted: u32,
    /// From the event's acceptance to the end of this one.
    pub age: Duration,
    /// How long the receiver asked to wait, if it did.
    pub retry_after: Option<Duration>,
    /// Any 64 bits.
    pub random: u64,
    /// How often it may arrive.
    pub mode: DeliveryMode,
}

/// Decides.
#[must_use]
pub fn next_step(policy: &Policy, answers: &Answers, outcome: &Outcome, made: &Made) -> Step {
    if let Some(step) = at_once(answers, outcome) {
        return step;
    }
    if let (DeliveryMode::AtMostOnce, Some(end)) = (made.mode, end_of_once(outcome)) {
        return Step::GiveUp(end);
    }
    if made.counted >= policy.attempts_max() && !is_free(outcome) {
        return Step::GiveUp(GiveUp::RetryLimitExceeded);
    }
    let own = policy.wait(made.counted, made.random);
    let asked = match outcome {
        Outcome::Answered { status: 429 | 503 } => made.retry_after.unwrap_or_default(),
        Outcome::Answered { .. } | Outcome::Failed(_) => Duration::ZERO,
    };
    let wait = asked.min(own + RETRY_AFTER_MAX).max(own);
    match made.age.checked_add(wait) {
        Some(age) if age <= policy.age_max() => Step::RetryAfter(wait),
        Some(_) | None => Step::GiveUp(GiveUp::AgeLimitExceeded),
    }
}

/// How long the whole endpoint is left alone: it said that it takes nothing now, whatever it
/// would be (RULINGS 25).
#[must_use]
pub fn hold(outcome: &Outcome, retry_after: Option<Duration>) -> Option<Duration> {
    let asked = match outcome {
        Outcome::Answered { status: 429 } => Some(retry_after.unwrap_or(HOLD_UNASKED)),
        Outcome::Answered { status: 503 } => retry_after,
        Outcome::Answered { .. } | Outcome::Failed(_) => None,
    };
    let asked = asked.filter(|asked| !asked.is_zero());
    asked.map(|asked| asked.min(RETRY_AFTER_MAX))
}

/// What an attempt says about how its receiver is doing; `None` when it says nothing: the fault is
/// ours, or is in what was sent.
#[must_use]
pub fn load(outcome: &Outcome, step: &Step, hold: Option<Duration>) -> Option<Load> {
    match (outcome, step) {
        (_, Step::Success) => Some(Load::Fine),
        (Outcome::Answered { .. }, _) if hold.is_some() || is_free(outcome) => Some(Load::Busy),
        (
            _,
            Step::GiveUp(GiveUp::PayloadTooLarge | GiveUp::PermanentStatus | GiveUp::EgressDenied),
        )
        | (Outcome::Failed(Failure::EgressDenied { .. } | Failure::AuthUnavailable), _) => None,
        (Outcome::Failed(failure), _) if failure.is_infrastructure() => None,
        (Outcome::Answered { .. } | Outcome::Failed(_), _) => Some(Load::Failing),
    }
}

/// What an outcome means however many attempts there were.
fn at_once(answers: &Answers, outcome: &Outcome) -> Option<Step> {
    match *outcome {
        Outcome::Answered { status } if answers.success.contains(status) => Some(Step::Success),
        Outcome::Answered { status: 410 } => Some(Step::GiveUp(GiveUp::Gone)),
        Outcome::Answered { status: 413 } => Some(Step::GiveUp(GiveUp::PayloadTooLarge)),
        Outcome::Answered { status } if answers.permanent.contains(status) => {
            Some(Step::GiveUp(GiveUp::PermanentStatus))
        }
        Outcome::Failed(Failure::EgressDenied { literal: true }) => {
            Some(Step::GiveUp(GiveUp::EgressDenied))
        }
        Outcome::Answered { .. } | Outcome::Failed(_) => None,
    }
}

/// Whether a delivery that may arrive once at most must not be sent again: whenever a byte of the
/// request may have been written (RULINGS 27). What cannot be told counts as written.
fn end_of_once(outcome: &Outcome) -> Option<GiveUp> {
    match outcome {
        Outcome::Answered { .. } => Some(GiveUp::Refused),
        Outcome::Failed(
            Failure::DnsFailure
            | Failure::ConnectRefused
            | Failure::ConnectUnreachable
            | Failure::ConnectTimeout
            | Failure::EgressDenied { .. }
            | Failure::AuthUnavailable
            | Failure::NoHealthySource
            | Failure::PortExhausted,
        ) => None,
        Outcome::Failed(
            Failure::ConnectReset
            | Failure::TlsFailure
            | Failure::ProtocolError
            | Failure::ResponseTimeout
            | Failure::ProxyLost
            | Failure::Internal,
        ) => Some(GiveUp::OutcomeUnknown),
    }
}

/// Whether the attempt must not count against the limit: faults of our own, and 429, which says
/// when and not whether (RULINGS 25). The limit by age ends these.
#[must_use]
pub fn is_free(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Answered { status } => *status == 429,
        Outcome::Failed(failure) => failure.is_infrastructure(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AGE_MAX, Backoff, Jitter, Statuses};
    use super::*;
    use proptest::prelude::*;

    const REFUSED: Outcome = Outcome::Answered { status: 500 };

    fn answered(status: u16) -> Outcome {
        Outcome::Answered { status }
    }

    fn made(counted: u32) -> Made {
        Made {
            counted,
            age: Duration::ZERO,
            retry_after: None,
            random: 0,
            mode: DeliveryMode::AtLeastOnce,
        }
    }

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn final_answers_end_at_once() {
        let (policy, answers) = (Policy::default(), Answers::default());
        let step = |outcome| next_step(&policy, &answers, &outcome, &made(1));
        assert_eq!(step(answered(204)), Step::Success);
        assert_eq!(step(answered(410)), Step::GiveUp(GiveUp::Gone));
        assert_eq!(step(answered(413)), Step::GiveUp(GiveUp::PayloadTooLarge));
        let denied = |literal| Outcome::Failed(Failure::EgressDenied { literal });
        assert_eq!(step(denied(true)), Step::GiveUp(GiveUp::EgressDenied));
        for retried in [denied(false), answered(302), answered(404), answered(429)] {
            assert_eq!(step(retried), Step::RetryAfter(s(100)), "{retried:?}");
        }
    }

    #[test]
    fn an_endpoint_may_say_what_its_statuses_mean() {
        let answers = Answers {
            success: Statuses::parse(["200", "302", "410"]).unwrap(),
            permanent: Statuses::parse(["4xx", "302"]).unwrap(),
        };
        let step = |status| next_step(&Policy::default(), &answers, &answered(status), &made(1));
        for status in [200, 302, 410] {
            assert_eq!(step(status), Step::Success, "{status}");
        }
        assert_eq!(step(404), Step::GiveUp(GiveUp::PermanentStatus));
        for status in [204, 500] {
            assert_eq!(step(status), Step::RetryAfter(s(100)), "{status}");
        }
    }

    #[test]
    fn faults_of_ours_and_429_never_use_up_the_limit_but_age() {
        let step = |outcome, age| {
            let made = Made { age, ..made(500) };
            next_step(&Policy::default(), &Answers::default(), &outcome, &made)
        };
        for free in [Outcome::Failed(Failure::Internal), answered(429)] {
            assert!(matches!(step(free, s(1)), Step::RetryAfter(_)));
            assert_eq!(step(free, AGE_MAX), Step::GiveUp(GiveUp::AgeLimitExceeded));
        }
        assert_eq!(
            step(REFUSED, s(1)),
            Step::GiveUp(GiveUp::RetryLimitExceeded)
        );
    }

    /// The table of standards.md, section 7: a policy of 30 s.
    #[test]
    fn a_receiver_may_ask_for_more_than_the_policy_and_not_for_less() {
        let backoff = Backoff::Linear { interval: s(30) };
        let policy = Policy::new(backoff, Jitter::None, 10, AGE_MAX).unwrap();
        let wait = |status, asked| {
            let made = Made {
                retry_after: asked,
                ..made(1)
            };
            match next_step(&policy, &Answers::default(), &answered(status), &made) {
                Step::RetryAfter(wait) => wait.as_secs(),
                other => panic!("{other:?}"),
            }
        };
        for (asked, waits) in [
            (120, 120),
            (5, 30),
            (0, 30),
            (86_400, 7_230),
            (u64::MAX, 7_230),
        ] {
            assert_eq!(wait(429, Some(s(asked))), waits, "{asked}");
            assert_eq!(wait(503, Some(s(asked))), waits, "{asked}");
            assert_eq!(wait(500, Some(s(asked))), 30, "{asked}");
        }
        assert_eq!(wait(429, None), 30);
    }

    #[test]
    fn what_may_have_arrived_is_not_sent_again_when_it_may_arrive_once() {
        let step = |outcome| {
            let mode = DeliveryMode::AtMostOnce;
            let made = Made { mode, ..made(1) };
            next_step(&Policy::default(), &Answers::default(), &outcome, &made)
        };
        assert_eq!(step(answered(200)), Step::Success);
        assert_eq!(step(answered(410)), Step::GiveUp(GiveUp::Gone));
        for status in [302, 429, 500, 503] {
            assert_eq!(
                step(answered(status)),
                Step::GiveUp(GiveUp::Refused),
                "{status}"
            );
        }
        for failure in [
            Failure::ConnectReset,
            Failure::TlsFailure,
            Failure::ProtocolError,
            Failure::ResponseTimeout,
            Failure::ProxyLost,
            Failure::Internal,
        ] {
            let ended = Step::GiveUp(GiveUp::OutcomeUnknown);
            assert_eq!(step(Outcome::Failed(failure)), ended, "{failure:?}");
        }
        for failure in [
            Failure::DnsFailure,
            Failure::ConnectRefused,
            Failure::ConnectUnreachable,
            Failure::ConnectTimeout,
            Failure::EgressDenied { literal: false },
            Failure::AuthUnavailable,
            Failure::NoHealthySource,
            Failure::PortExhausted,
        ] {
            let again = Step::RetryAfter(s(100));
            assert_eq!(step(Outcome::Failed(failure)), again, "{failure:?}");
        }
    }

    #[test]
    fn an_endpoint_that_is_busy_is_left_alone_for_a_time() {
        let held = |status, asked: Option<u64>| hold(&answered(status), asked.map(s));
        assert_eq!(held(429, Some(5)), Some(s(5)));
        assert_eq!(held(429, None), Some(s(1)));
        assert_eq!(held(429, Some(0)), None);
        assert_eq!(held(429, Some(u64::MAX)), Some(RETRY_AFTER_MAX));
        assert_eq!(held(503, Some(5)), Some(s(5)));
        assert_eq!(held(503, None), None);
        assert_eq!(held(500, Some(5)), None);
        assert_eq!(
            hold(&Outcome::Failed(Failure::DnsFailure), Some(s(5))),
            None
        );
    }

    #[test]
    fn an_attempt_tells_of_its_receiver_and_not_of_us() {
        let of = |outcome: Outcome, asked: Option<u64>| {
            let made = made(1);
            let step = next_step(&Policy::default(), &Answers::default(), &outcome, &made);
            load(&outcome, &step, hold(&outcome, asked.map(s)))
        };
        assert_eq!(of(answered(200), None), Some(Load::Fine));
        assert_eq!(of(answered(429), None), Some(Load::Busy));
        assert_eq!(of(answered(429), Some(0)), Some(Load::Busy));
        assert_eq!(of(answered(503), Some(3)), Some(Load::Busy));
        assert_eq!(of(answered(503), None), Some(Load::Failing));
        assert_eq!(of(answered(302), None), Some(Load::Failing));
        assert_eq!(of(answered(413), None), None);
        let failed = |failure| of(Outcome::Failed(failure), None);
        assert_eq!(failed(Failure::ResponseTimeout), Some(Load::Failing));
        assert_eq!(failed(Failure::PortExhausted), None);
        assert_eq!(failed(Failure::ProxyLost), None);
        assert_eq!(failed(Failure::EgressDenied { literal: false }), None);
        assert_eq!(failed(Failure::AuthUnavailable), None);
        assert_eq!(failed(Failure::EgressDenied { literal: true }), None);
    }

    proptest! {
        #[test]
        fn giving_up_comes_exactly_at_the_limit(limit in 1_u32..=1_000, counted in 1_u32..1_100, random: u64) {
            let policy = Policy::new(Policy::default().backoff().clone(), Jitter::Full, limit, AGE_MAX).unwrap();
            let made = Made { random, ..made(counted) };
            let step = next_step(&policy, &Answers::default(), &REFUSED, &made);
            prop_assert_eq!(matches!(step, Step::GiveUp(_)), counted >= limit);
        }

        /// Nothing is tried after its time, and nothing is given up that could be tried in time.
        #[test]
        fn no_attempt_comes_after_the_age(age_max in 1_u64..1_000_000, age in 0_u64..2_000_000, asked in prop::option::of(0_u64..20_000), random: u64) {
            let policy = Policy::new(Policy::default().backoff().clone(), Jitter::Full, 1_000, s(age_max)).unwrap();
            let made = Made { age: s(age), retry_after: asked.map(s), random, ..made(1) };
            match next_step(&policy, &Answers::default(), &Outcome::Answered { status: 429 }, &made) {
                Step::RetryAfter(wait) => prop_assert!(s(age) + wait <= s(age_max)),
                Step::GiveUp(why) => {
                    prop_assert_eq!(why, GiveUp::AgeLimitExceeded);
                    let longest = asked.map_or(s(100), |asked| s(asked.max(100)));
                    prop_assert!(s(age) + longest > s(age_max));
                }
                Step::Success => prop_assert!(false),
            }
        }
    }
}
