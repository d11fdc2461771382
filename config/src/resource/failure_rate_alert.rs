//! When so much of what an endpoint gets fails that people are to hear of it.

use outrider_webhook::breaker::alert::Policy;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::breaker_spec::{CircuitBreaker, PERCENT, REQUESTS};
use super::check::{Checks, Reason};

/// With fewer attempts a share says nothing; the breaker's default.
const REQUESTS_MIN_DEFAULT: u64 = 10;

/// What people write of it, in the words of the circuit breaker. Native.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FailureRateAlertSpec {
    /// Percent of failures, 1 to 100; nobody is told when it is 0.
    pub failure_threshold: Option<u64>,
    /// With fewer attempts nobody is told; 1 to 1000000, default 10.
    pub minimum_request_count: Option<u64>,
}

/// A checked one. The time that is looked back is that of the project's circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailureRateAlert {
    /// Failures of all attempts, percent, 1 to 100; `None` when nobody is to be told.
    threshold: Option<u32>,
    requests_min: u32,
}

impl FailureRateAlertSpec {
    /// As it is in force; `None` when nothing is given.
    #[must_use]
    pub fn shown(&self) -> Option<Value> {
        let threshold = self.failure_threshold?;
        let requests_min = self.minimum_request_count.filter(|count| *count != 0);
        Some(json!({
            "failure_threshold": threshold,
            "minimum_request_count": requests_min.unwrap_or(REQUESTS_MIN_DEFAULT),
        }))
    }

    /// `None` when nothing is given, or something is wrong, which is reported.
    pub(super) fn compile(&self, place: &str, checks: &mut Checks) -> Option<FailureRateAlert> {
        let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let field = format!("{place}.minimum_request_count");
        let given = self.minimum_request_count;
        let requests_min = checks.number(&field, given, REQUESTS_MIN_DEFAULT, REQUESTS);
        let field = format!("{place}.failure_threshold");
        let threshold = match self.failure_threshold {
            None if given.is_none_or(|count| count == 0) => return None,
            None => {
                checks.fail(field, Reason::Missing);
                return None;
            }
            Some(0) => None,
            Some(percent) => Some(checks.number(&field, Some(percent), percent, PERCENT)),
        };
        Some(FailureRateAlert {
            threshold: threshold.map(number),
            requests_min: number(requests_min),
        })
    }
}

impl FailureRateAlert {
    /// With the window of the breaker; `None` when nobody is to be told.
    pub(super) fn policy(&self, breaker: &CircuitBreaker) -> Option<Policy> {
        Some(Policy {
            window: breaker.policy.window,
            failure_percent: self.threshold?,
            requests_min: self.requests_min,
        })
    }

    pub(super) fn dump(&self) -> Value {
        json!({
            "failure_threshold": self.threshold.unwrap_or(0),
            "minimum_request_count": self.requests_min,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(spec: Value) -> Result<Option<FailureRateAlert>, Vec<String>> {
        let spec: FailureRateAlertSpec = serde_json::from_value(spec).unwrap();
        let mut checks = Checks::default();
        let alert = spec.compile("failure_rate_alert", &mut checks);
        let errors = checks.finish(Some(alert));
        errors.map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn each_bad_number_is_named_with_its_range() {
        let percent = "`failure_rate_alert.failure_threshold`: must be from 1 to 100 percent";
        let count =
            "`failure_rate_alert.minimum_request_count`: must be from 1 to 1000000 attempts";
        let missing = "`failure_rate_alert.failure_threshold`: is missing";
        for (spec, expected) in [
            (json!({"failure_threshold": 101}), vec![percent]),
            (json!({"minimum_request_count": 5}), vec![missing]),
            (
                json!({"failure_threshold": 101, "minimum_request_count": 1_000_001}),
                vec![count, percent],
            ),
        ] {
            assert_eq!(compile(spec).unwrap_err(), expected);
        }
    }

    #[test]
    fn nothing_given_is_not_the_same_as_none_wanted() {
        for spec in [json!({}), json!({"minimum_request_count": 0})] {
            assert_eq!(compile(spec), Ok(None));
        }
        let breaker = CircuitBreaker {
            policy: outrider_webhook::breaker::Policy::default(),
            trips_max: 10,
        };
        let policy = |spec| compile(spec).unwrap().unwrap().policy(&breaker);
        assert_eq!(policy(json!({"failure_threshold": 0})), None);
        let alert = policy(json!({"failure_threshold": 20})).unwrap();
        assert_eq!(alert.window, breaker.policy.window);
        assert_eq!((alert.failure_percent, alert.requests_min), (20, 10));
    }
}
