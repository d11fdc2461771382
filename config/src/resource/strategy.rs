//! How deliveries are retried: what people write, and how it is checked. A project has one, and an
//! endpoint may have its own instead.

use std::sync::Arc;
use std::time::Duration;

use outrider_webhook::retry::{self, Answers, Backoff, Jitter, Policy, Statuses};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::check::{Checks, Range, Reason};
use super::field::given;

/// Waiting time of the contract's default strategy, seconds.
const DURATION_DEFAULT_S: u64 = 100;
/// Attempts of the contract's default strategy.
const ATTEMPTS_DEFAULT: u64 = 10;
const LINEAR_DURATION_S: Range = Range {
    min: 1,
    max: 7 * 24 * 3600,
    unit: "seconds",
};
/// Beyond the longest wait an exponential one could not grow (contract 5.3).
const EXPONENTIAL_DURATION_S: Range = Range {
    min: 1,
    max: retry::WAIT_MAX.as_secs(),
    unit: "seconds",
};
const ATTEMPTS: Range = Range {
    min: 1,
    max: 1000,
    unit: "attempts",
};
const AGE_S: Range = Range {
    min: 1,
    max: retry::AGE_MAX.as_secs(),
    unit: "seconds",
};
const KINDS: &[&str] = &["linear", "exponential", "list", "standard_webhooks"];

/// How deliveries are retried.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StrategySpec {
    /// `linear` (default) or `exponential`; native: `list`, and `standard_webhooks` for the list
    /// that Standard Webhooks suggests.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Waiting time, or its first value, in seconds; default 100; linear 1 to 604800,
    /// exponential 1 to 7200.
    pub duration: Option<u64>,
    /// Attempts in total; 1 to 1000, default 10, and for lists one more than there are waits.
    pub retry_count: Option<u64>,
    /// Native: `none`, `convoy` (default: 0 to 5 s on top of an exponential wait) or `full`
    /// (anything from nothing to the whole wait).
    pub jitter: Option<String>,
    /// Native: the waits of a `list`, seconds; 1 to 100 of them, each 1 to 604800.
    pub intervals: Option<Vec<u64>>,
    /// Native: no attempt so many seconds after the event was accepted; 1 to 2592000 (default).
    pub max_age_s: Option<u64>,
    /// Native: statuses that mean delivered, like `200`, `2xx` or `200-204`; default `2xx`.
    pub success_statuses: Option<Vec<String>>,
    /// Native: statuses after which nothing more is tried, in addition to 410 and 413.
    pub permanent_statuses: Option<Vec<String>>,
}

/// A checked strategy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetryStrategy {
    /// When to try again, and when to give up.
    pub policy: Policy,
    /// What the receiver's answers mean.
    pub answers: Answers,
}

impl StrategySpec {
    /// `place` is where it stands: `config.strategy`.
    pub(super) fn compile(&self, place: &str, checks: &mut Checks) -> Option<RetryStrategy> {
        let mut reading = Reading { place, checks };
        let policy = reading.policy(self);
        let answers = reading.answers(self);
        Some(RetryStrategy {
            policy: policy?,
            answers: answers?,
        })
    }
}

struct Reading<'c> {
    place: &'c str,
    checks: &'c mut Checks,
}

impl Reading<'_> {
    fn at(&self, field: &str) -> String {
        format!("{}.{field}", self.place)
    }

    fn policy(&mut self, spec: &StrategySpec) -> Option<Policy> {
        let backoff = self.backoff(spec);
        let jitter = match given(spec.jitter.as_deref()) {
            None => Some(Jitter::default()),
            Some(word) => {
                let known = Jitter::of(word).ok_or(Reason::NotOneOf(Jitter::WORDS));
                self.checks.take(&self.at("jitter"), known)
            }
        };
        let default = match &backoff {
            Some(Backoff::List(waits)) => waits.len() as u64 + 1,
            Some(Backoff::Linear { .. } | Backoff::Exponential { .. }) | None => ATTEMPTS_DEFAULT,
        };
        let attempts = self.number("retry_count", spec.retry_count, default, ATTEMPTS);
        let age_s = self.number("max_age_s", spec.max_age_s, AGE_S.max, AGE_S);
        let attempts = u32::try_from(attempts).ok()?;
        let policy = Policy::new(backoff?, jitter?, attempts, Duration::from_secs(age_s));
        self.checks
            .take(self.place, policy.map_err(Reason::refused))
    }

    fn backoff(&mut self, spec: &StrategySpec) -> Option<Backoff> {
        let kind = given(spec.kind.as_deref()).unwrap_or("linear");
        let mut wait = |range| {
            let duration_s = self.number("duration", spec.duration, DURATION_DEFAULT_S, range);
            Duration::from_secs(duration_s)
        };
        let backoff = match kind {
            "linear" => Backoff::Linear {
                interval: wait(LINEAR_DURATION_S),
            },
            "exponential" => Backoff::Exponential {
                base: wait(EXPONENTIAL_DURATION_S),
                max: retry::WAIT_MAX,
            },
            "standard_webhooks" => Backoff::List(waits(&retry::STANDARD_WEBHOOKS)),
            "list" => {
                let given = spec.intervals.as_deref().filter(|list| !list.is_empty());
                let intervals = self.checks.require(&self.at("intervals"), given)?;
                return self.list(intervals);
            }
            _ => {
                self.checks.fail(self.at("type"), Reason::NotOneOf(KINDS));
                return None;
            }
        };
        if spec.intervals.as_ref().is_some_and(|list| !list.is_empty()) {
            let rule = format!("are for `type: list`: this is `{kind}`");
            self.checks.fail(self.at("intervals"), Reason::Rule(rule));
        }
        Some(backoff)
    }

    fn list(&mut self, intervals: &[u64]) -> Option<Backoff> {
        let count = Range {
            min: 1,
            max: retry::INTERVALS_MAX as u64,
            unit: "waits",
        };
        let before = self.checks.len();
        self.number("intervals", Some(intervals.len() as u64), 0, count);
        for (at, wait_s) in intervals.iter().take(retry::INTERVALS_MAX).enumerate() {
            // A wait of 0 is no default here, but a mistake.
            let field = format!("intervals[{at}]");
            self.number(&field, None, *wait_s, LINEAR_DURATION_S);
        }
        (self.checks.len() == before).then(|| Backoff::List(waits(intervals)))
    }

    fn answers(&mut self, spec: &StrategySpec) -> Option<Answers> {
        let usual = Answers::default();
        let success = self.statuses("success_statuses", spec.success_statuses.as_deref());
        let permanent = self.statuses("permanent_statuses", spec.permanent_statuses.as_deref());
        let (success, permanent) = (success?, permanent?);
        Some(Answers {
            success: success.unwrap_or(usual.success),
            permanent: permanent.unwrap_or(usual.permanent),
        })
    }

    /// `Some(None)` when there is none, which means the usual ones.
    fn statuses(&mut self, field: &str, list: Option<&[String]>) -> Option<Option<Statuses>> {
        let Some(list) = list.filter(|list| !list.is_empty()) else {
            return Some(None);
        };
        let statuses = Statuses::parse(list.iter().map(String::as_str));
        let statuses = statuses.map_err(Reason::refused);
        self.checks.take(&self.at(field), statuses).map(Some)
    }

    /// In its range; what is not is reported.
    fn number(&mut self, field: &str, value: Option<u64>, default: u64, range: Range) -> u64 {
        let field = self.at(field);
        let (min, max) = (range.min, range.max);
        self.checks
            .number(&field, value, default, range)
            .clamp(min, max)
    }
}

fn waits(seconds: &[u64]) -> Arc<[Duration]> {
    seconds.iter().copied().map(Duration::from_secs).collect()
}

impl RetryStrategy {
    pub(super) fn dump(&self) -> Value {
        let policy = &self.policy;
        let mut shown = json!({
            "jitter": policy.jitter().as_str(),
            "retry_count": policy.attempts_max(),
            "max_age_s": policy.age_max().as_secs(),
            "success_statuses": self.answers.success.to_string(),
            "permanent_statuses": self.answers.permanent.to_string(),
        });
        let (kind, wait) = match policy.backoff() {
            Backoff::Linear { interval } => ("linear", json!(interval.as_secs())),
            Backoff::Exponential { base, max } => {
                shown["max_retry_seconds"] = max.as_secs().into();
                ("exponential", json!(base.as_secs()))
            }
            Backoff::List(waits) => {
                shown["intervals"] = waits.iter().map(Duration::as_secs).collect();
                ("list", Value::Null)
            }
        };
        shown["type"] = kind.into();
        shown["duration"] = wait;
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(spec: Value) -> Result<RetryStrategy, Vec<String>> {
        let spec: StrategySpec = serde_json::from_value(spec).unwrap();
        let mut checks = Checks::default();
        let strategy = spec.compile("strategy", &mut checks);
        let errors = checks.finish(strategy);
        errors.map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn each_bad_value_is_named_with_its_range() {
        for (spec, error) in [
            (
                json!({"type": "quadratic"}),
                "`strategy.type`: must be `linear`, `exponential`, `list` or `standard_webhooks`",
            ),
            (json!({"type": "list"}), "`strategy.intervals`: is missing"),
            (
                json!({"type": "list", "intervals": []}),
                "`strategy.intervals`: is missing",
            ),
            (
                json!({"type": "list", "intervals": [1, 0]}),
                "`strategy.intervals[1]`: must be from 1 to 604800 seconds",
            ),
            (
                json!({"type": "list", "intervals": [604_801]}),
                "`strategy.intervals[0]`: must be from 1 to 604800 seconds",
            ),
            (
                json!({"type": "list", "intervals": vec![1; 101]}),
                "`strategy.intervals`: must be from 1 to 100 waits",
            ),
            (
                json!({"intervals": [1]}),
                "`strategy.intervals`: are for `type: list`: this is `linear`",
            ),
            (
                json!({"max_age_s": 2_592_001}),
                "`strategy.max_age_s`: must be from 1 to 2592000 seconds",
            ),
            (
                json!({"success_statuses": ["2xx", "20"]}),
                "`strategy.success_statuses`: `20` is no status from 100 to 599: like 404, 4xx, or 400-403",
            ),
            (
                json!({"permanent_statuses": ["x"]}),
                "`strategy.permanent_statuses`: `x` is no status from 100 to 599: like 404, 4xx, or 400-403",
            ),
            (
                json!({"jitter": "some"}),
                "`strategy.jitter`: must be `none`, `convoy` or `full`",
            ),
        ] {
            assert_eq!(compile(spec.clone()), Err(vec![error.to_owned()]), "{spec}");
        }
    }

    #[test]
    fn a_list_has_one_attempt_more_than_waits_unless_told_otherwise() {
        let attempts = |spec| compile(spec).unwrap().policy.attempts_max();
        assert_eq!(attempts(json!({})), 10);
        assert_eq!(attempts(json!({"type": "standard_webhooks"})), 10);
        assert_eq!(attempts(json!({"type": "list", "intervals": [1, 2]})), 3);
        assert_eq!(
            attempts(json!({"type": "list", "intervals": [1, 2], "retry_count": 7})),
            7
        );
    }

    #[test]
    fn what_is_not_given_is_the_usual() {
        let usual =
            compile(json!({"type": "", "duration": 0, "intervals": [], "success_statuses": []}));
        assert_eq!(usual, Ok(RetryStrategy::default()));
        let strategy =
            compile(json!({"success_statuses": ["302"], "permanent_statuses": ["4xx"]})).unwrap();
        assert!(strategy.answers.success.contains(302) && !strategy.answers.success.contains(200));
        assert!(strategy.answers.permanent.contains(404));
    }
}
