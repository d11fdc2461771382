//! When a source is worth a person's attention: silent, flooded, or refusing too much.

use serde::{Deserialize, Serialize};

use super::check::{Checks, Range};

/// Longest silence, 30 days.
const SECONDS: Range = Range {
    min: 1,
    max: 30 * 24 * 3600,
    unit: "seconds",
};
const PER_MINUTE: Range = Range {
    min: 1,
    max: 100_000_000,
    unit: "requests a minute",
};

/// Twitter asks for its handshake every hour; two hours without one is worth a look.
const TWITTER_HANDSHAKE_S: u64 = 2 * 3600;

/// What people write of the alerts of a source. What is not given is not watched.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertsSpec {
    /// No event for so long, seconds, 1 to 2592000.
    pub silent_after_s: Option<u64>,
    /// So many events in a minute, 1 to 100000000.
    pub spike_per_min: Option<u64>,
    /// So many refused requests in a minute, 1 to 100000000.
    pub rejected_per_min: Option<u64>,
    /// No handshake of the provider for so long, seconds, 1 to 2592000; for providers that repeat
    /// theirs. 7200 for Twitter when not given, and not watched for others.
    pub handshake_after_s: Option<u64>,
}

/// Checked thresholds of a source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Thresholds {
    /// Seconds without an event.
    pub silent_after_s: Option<u64>,
    /// Events in a minute.
    pub spike_per_min: Option<u64>,
    /// Refused requests in a minute.
    pub rejected_per_min: Option<u64>,
    /// Seconds without a handshake.
    pub handshake_after_s: Option<u64>,
}

impl Thresholds {
    /// `preset` is what the source verifies with.
    pub(super) fn compile(
        checks: &mut Checks,
        spec: Option<&AlertsSpec>,
        preset: Option<&str>,
    ) -> Self {
        let by_preset = (preset == Some("twitter")).then_some(TWITTER_HANDSHAKE_S);
        let nothing = AlertsSpec::default();
        let spec = spec.unwrap_or(&nothing);
        let mut one = |field: &str, value: Option<u64>, range: Range| {
            let value = value.filter(|value| *value != 0)?; // 0 is sent for not given
            Some(checks.number(&format!("alerts.{field}"), Some(value), value, range))
        };
        Self {
            silent_after_s: one("silent_after_s", spec.silent_after_s, SECONDS),
            spike_per_min: one("spike_per_min", spec.spike_per_min, PER_MINUTE),
            rejected_per_min: one("rejected_per_min", spec.rejected_per_min, PER_MINUTE),
            handshake_after_s: one("handshake_after_s", spec.handshake_after_s, SECONDS)
                .or(by_preset),
        }
    }

    /// Whether its requests have to be counted.
    #[must_use]
    pub fn counts_requests(&self) -> bool {
        self.silent_after_s.is_some()
            || self.spike_per_min.is_some()
            || self.rejected_per_min.is_some()
    }

    /// Whether nothing is watched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_twitter_is_expected_to_repeat_its_handshake() {
        let after = |spec: Option<&AlertsSpec>, preset| {
            let mut checks = Checks::default();
            Thresholds::compile(&mut checks, spec, preset).handshake_after_s
        };
        let own = AlertsSpec {
            handshake_after_s: Some(60),
            ..AlertsSpec::default()
        };
        assert_eq!(after(None, Some("twitter")), Some(7_200));
        assert_eq!(
            after(Some(&AlertsSpec::default()), Some("twitter")),
            Some(7_200)
        );
        assert_eq!(after(Some(&own), Some("twitter")), Some(60));
        assert_eq!(after(Some(&own), None), Some(60));
        assert_eq!(after(None, Some("slack")), None);
    }
}
