//! When so many deliveries of a subscription failed that people are to hear of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::check::{Checks, Range, Reason};
use super::field::given;

const COUNT: Range = Range {
    min: 1,
    max: 1_000,
    unit: "failed deliveries",
};
/// Longest time looked back, 7 days.
const WITHIN_S_MAX: u64 = 7 * 24 * 3600;

/// Convoy's `alert_config`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertConfigSpec {
    /// Deliveries that failed for good, 1 to 1000; nobody is told when it is 0.
    pub count: Option<u64>,
    /// Within so much time: `30s`, `10m`, `1h30m`, at most 7 days.
    pub threshold: Option<String>,
}

/// A checked one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailureAlert {
    /// So many deliveries failed for good.
    pub count: u32,
    /// Within so much time.
    pub within: Duration,
}

impl AlertConfigSpec {
    /// `None` when nobody is to be told, or something is wrong, which is reported.
    pub(super) fn compile(&self, checks: &mut Checks) -> Option<FailureAlert> {
        let threshold = given(self.threshold.as_deref());
        if self.count.unwrap_or(0) == 0 && threshold.is_none() {
            return None;
        }
        let count = checks.number("alert_config.count", self.count, 0, COUNT);
        let threshold = checks.require("alert_config.threshold", threshold)?;
        let within = duration(threshold)
            .filter(|within| !within.is_zero() && within.as_secs() <= WITHIN_S_MAX);
        let shape = Reason::Shape("a time like 30s, 10m or 1h30m, at most 168h");
        let within = checks.take("alert_config.threshold", within.ok_or(shape))?;
        Some(FailureAlert {
            count: u32::try_from(count).unwrap_or(u32::MAX),
            within,
        })
    }
}

impl FailureAlert {
    pub(super) fn dump(&self) -> Value {
        json!({"count": self.count, "threshold_s": self.within.as_secs()})
    }
}

/// Whole hours, minutes and seconds, each at most once and in this order, as Go writes them.
fn duration(text: &str) -> Option<Duration> {
    let (mut rest, mut seconds) = (text, 0_u64);
    for (unit, worth) in [('h', 3600), ('m', 60), ('s', 1)] {
        let Some((digits, after)) = rest.split_once(unit) else {
            continue;
        };
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number: u64 = digits.parse().ok().filter(|_| is_number)?;
        seconds = seconds.checked_add(number.checked_mul(worth)?)?;
        rest = after;
    }
    (rest.is_empty() && !text.is_empty()).then(|| Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "h",
            "1",
            "1d",
            "-1h",
            "+1h",
            "1s1h",
            "1h1h",
            "1.5h",
            "1h ",
            "99999999999999999999s",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
        for (text, seconds) in [("1h", 3600), ("10m", 600), ("1h0m30s", 3630), ("90s", 90)] {
            assert_eq!(duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn both_fields_are_needed_and_bounded() {
        let compile = |count, threshold: &str| {
            let spec = AlertConfigSpec {
                count,
                threshold: Some(threshold.to_owned()),
            };
            let mut checks = Checks::default();
            let alert = spec.compile(&mut checks);
            let errors = checks.finish(Some(()));
            errors
                .map(|()| alert)
                .map_err(|errors| errors[0].field.clone())
        };
        assert_eq!(compile(None, ""), Ok(None));
        assert_eq!(compile(Some(0), ""), Ok(None));
        assert_eq!(
            compile(Some(1001), "1h"),
            Err("alert_config.count".to_owned())
        );
        assert_eq!(compile(None, "1h"), Err("alert_config.count".to_owned()));
        for bad in ["", "soon", "0s", "169h"] {
            assert_eq!(
                compile(Some(5), bad),
                Err("alert_config.threshold".to_owned()),
                "{bad}"
            );
        }
        let alert = compile(Some(5), "1h").unwrap().unwrap();
        assert_eq!((alert.count, alert.within.as_secs()), (5, 3600));
    }

    proptest! {
        #[test]
        fn a_time_reads_back_as_it_was_written(h in 0_u64..200, m in 0_u64..60, s in 0_u64..60) {
            let text = format!("{h}h{m}m{s}s");
            prop_assert_eq!(duration(&text), Some(Duration::from_secs(h * 3600 + m * 60 + s)));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,30}") {
            let _ = duration(&text);
        }
    }
}
