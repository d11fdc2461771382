//! The circuit breaker of a project's endpoints: what people write, and how it is checked.

use std::time::Duration;

use outrider_webhook::breaker::Policy;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::check::{Checks, Range};

const SECONDS: Range = Range {
    min: 1,
    max: 3600,
    unit: "seconds",
};
const MINUTES: Range = Range {
    min: 1,
    max: 60,
    unit: "minutes",
};
pub(super) const PERCENT: Range = Range {
    min: 1,
    max: 100,
    unit: "percent",
};
pub(super) const REQUESTS: Range = Range {
    min: 1,
    max: 1_000_000,
    unit: "attempts",
};
const TRIPS: Range = Range {
    min: 1,
    max: 100_000,
    unit: "trips",
};
const PROBES: Range = Range {
    min: 1,
    max: 100,
    unit: "probes",
};

/// Convoy's `circuit_breaker` (contract 5.6).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerSpec {
    /// Native: whether endpoints have one; default true.
    pub is_enabled: Option<bool>,
    /// Convoy's, 1 to 3600 seconds: changes nothing, each answer is judged as it comes.
    pub sample_rate: Option<u64>,
    /// Seconds it is open; 1 to 3600, default 30.
    pub error_timeout: Option<u64>,
    /// Percent of failures that open it; 1 to 100, default 70.
    pub failure_threshold: Option<u64>,
    /// Percent of successful probes that close it; 1 to 100, default 5.
    pub success_threshold: Option<u64>,
    /// Minutes that are looked at; 1 to 60, default 5.
    pub observability_window: Option<u64>,
    /// Attempts in them below which it does not open; 1 to 1000000, default 10.
    pub minimum_request_count: Option<u64>,
    /// Trips without a success in between after which the endpoint is disabled, where the project
    /// has `disable_endpoint`; 1 to 100000, default 10.
    pub consecutive_failure_threshold: Option<u64>,
    /// Native: probes that are made when it was open for its time; 1 to 100, default 3.
    pub probes: Option<u64>,
}

/// A checked breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CircuitBreaker {
    /// When it opens and closes.
    pub policy: Policy,
    /// Trips in a row after which an endpoint is disabled, if its project wants that.
    pub trips_max: u32,
}

impl BreakerSpec {
    /// Each number, as it is when it is not given.
    #[must_use]
    pub fn shown(&self) -> Value {
        let or = |given: Option<u64>, default: u64| given.filter(|n| *n != 0).unwrap_or(default);
        let mut shown = json!({
            "sample_rate": or(self.sample_rate, 30),
            "error_timeout": or(self.error_timeout, 30),
            "failure_threshold": or(self.failure_threshold, 70),
            "success_threshold": or(self.success_threshold, 5),
            "observability_window": or(self.observability_window, 5),
            "minimum_request_count": or(self.minimum_request_count, 10),
            "consecutive_failure_threshold": or(self.consecutive_failure_threshold, 10),
        });
        // Ours, and only where they are set: clients of Convoy do not know them.
        if let Some(is_enabled) = self.is_enabled {
            shown["is_enabled"] = is_enabled.into();
        }
        if let Some(probes) = self.probes.filter(|probes| *probes != 0) {
            shown["probes"] = probes.into();
        }
        shown
    }

    pub(super) fn compile(&self, place: &str, checks: &mut Checks) -> CircuitBreaker {
        let usual = Policy::default();
        let mut number = |field: &str, given, default: u64, range: Range| {
            let number = checks.number(&format!("{place}.{field}"), given, default, range);
            u32::try_from(number.clamp(range.min, range.max)).unwrap_or(u32::MAX)
        };
        number("sample_rate", self.sample_rate, 30, SECONDS);
        let open_s = number("error_timeout", self.error_timeout, 30, SECONDS);
        let window = self.observability_window;
        let window_min = number("observability_window", window, 5, MINUTES);
        let policy = Policy {
            is_enabled: self.is_enabled.unwrap_or(true),
            window: Duration::from_secs(u64::from(window_min) * 60),
            open: Duration::from_secs(open_s.into()),
            failure_percent: number(
                "failure_threshold",
                self.failure_threshold,
                usual.failure_percent.into(),
                PERCENT,
            ),
            requests_min: number(
                "minimum_request_count",
                self.minimum_request_count,
                usual.requests_min.into(),
                REQUESTS,
            ),
            success_percent: number(
                "success_threshold",
                self.success_threshold,
                usual.success_percent.into(),
                PERCENT,
            ),
            probes: number("probes", self.probes, usual.probes.into(), PROBES),
        };
        let trips = self.consecutive_failure_threshold;
        CircuitBreaker {
            policy,
            trips_max: number("consecutive_failure_threshold", trips, 10, TRIPS),
        }
    }
}

impl CircuitBreaker {
    pub(super) fn dump(&self) -> Value {
        let policy = &self.policy;
        json!({
            "is_enabled": policy.is_enabled,
            "error_timeout": policy.open.as_secs(),
            "failure_threshold": policy.failure_percent,
            "success_threshold": policy.success_percent,
            "observability_window": policy.window.as_secs() / 60,
            "minimum_request_count": policy.requests_min,
            "consecutive_failure_threshold": self.trips_max,
            "probes": policy.probes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_given_is_convoys_and_each_bad_number_is_named() {
        let mut checks = Checks::default();
        let breaker = BreakerSpec::default().compile("config.circuit_breaker", &mut checks);
        assert_eq!((breaker.policy, breaker.trips_max), (Policy::default(), 10));
        assert!(checks.finish(Some(())).is_ok());

        let bad: BreakerSpec = serde_json::from_value(json!({
            "sample_rate": 3601, "error_timeout": 3601, "failure_threshold": 101, "success_threshold": 101,
            "observability_window": 61, "minimum_request_count": 1_000_001, "consecutive_failure_threshold": 100_001,
            "probes": 101,
        }))
        .unwrap();
        let mut checks = Checks::default();
        bad.compile("config.circuit_breaker", &mut checks);
        let errors = checks.finish(Some(())).unwrap_err();
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        for field in [
            "sample_rate`: must be from 1 to 3600 seconds",
            "error_timeout`: must be from 1 to 3600 seconds",
            "failure_threshold`: must be from 1 to 100 percent",
            "success_threshold`: must be from 1 to 100 percent",
            "observability_window`: must be from 1 to 60 minutes",
            "minimum_request_count`: must be from 1 to 1000000 attempts",
            "consecutive_failure_threshold`: must be from 1 to 100000 trips",
            "probes`: must be from 1 to 100 probes",
        ] {
            assert!(
                errors.contains(&format!("`config.circuit_breaker.{field}")),
                "{errors:?}"
            );
        }
        assert_eq!(errors.len(), 8);
    }
}
