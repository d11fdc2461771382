//! `X-Convoy-Version`: how older clients write endpoints and read them (contract 2.7).

use axum::http::HeaderMap;
use outrider_config::resource::{FieldError, Reason};
use serde_json::{Map, Value};
use time::Date;
use time::macros::{date, format_description};

use super::error::ApiError;

/// The header, in requests and replies.
pub(super) const HEADER: &str = "x-convoy-version";
/// The version that this API speaks when nobody asks for another one.
pub(super) const CURRENT: &str = "2025-11-24";

const CURRENT_DATE: Date = date!(2025 - 11 - 24);
/// From here on durations are numbers of seconds.
const NUMBERS_FROM: Date = date!(2024 - 01 - 01);
/// From here on an endpoint has `url` and `name`.
const NAMES_FROM: Date = date!(2024 - 04 - 01);

const DURATIONS: [&str; 2] = ["http_timeout", "rate_limit_duration"];
/// Fields of an endpoint that had other names: now, and then.
const RENAMED: [(&str, &str); 2] = [("url", "target_url"), ("name", "title")];

/// The version that a client asks for: any day up to the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ApiVersion(Date);

impl ApiVersion {
    /// The version of a request.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let Some(value) = headers.get(HEADER).filter(|value| !value.is_empty()) else {
            return Ok(Self(CURRENT_DATE));
        };
        let date = value.to_str().ok().and_then(|text| {
            let day = format_description!("[year]-[month]-[day]");
            Date::parse(text, &day).ok()
        });
        date.filter(|date| *date <= CURRENT_DATE)
            .map(Self)
            .ok_or(ApiError::Version)
    }

    /// What `advanced_signatures` is when a new endpoint does not say.
    pub(super) fn has_advanced_signatures(self) -> bool {
        !self.has_text_durations()
    }

    fn has_text_durations(self) -> bool {
        self.0 < NUMBERS_FROM
    }

    fn has_old_names(self) -> bool {
        self.0 < NAMES_FROM
    }

    /// The body of a request about an endpoint, as clients of today write it.
    pub(super) fn modern(self, mut body: Value) -> Result<Value, ApiError> {
        let Value::Object(fields) = &mut body else {
            return Ok(body);
        };
        if self.has_old_names() {
            for (now, then) in RENAMED {
                if let Some(value) = fields.remove(then) {
                    fields.entry(now).or_insert(value);
                }
            }
        }
        if self.has_text_durations() {
            let errors: Vec<FieldError> = DURATIONS
                .iter()
                .filter_map(|field| to_seconds(fields, field).err())
                .collect();
            if !errors.is_empty() {
                return Err(ApiError::Fields(errors));
            }
        }
        Ok(body)
    }

    /// An endpoint as this client reads it.
    pub(super) fn endpoint(self, mut endpoint: Value) -> Value {
        let Value::Object(fields) = &mut endpoint else {
            return endpoint;
        };
        if self.has_old_names() {
            for (now, then) in RENAMED {
                if let Some(value) = fields.remove(now) {
                    fields.insert(then.to_owned(), value);
                }
            }
        }
        if self.has_text_durations() {
            for field in DURATIONS {
                if let Some(seconds) = fields.get(field).and_then(Value::as_u64) {
                    fields.insert(field.to_owned(), go_duration(seconds).into());
                }
            }
        }
        endpoint
    }
}

fn to_seconds(fields: &mut Map<String, Value>, field: &str) -> Result<(), FieldError> {
    let Some(Value::String(text)) = fields.get(field) else {
        return Ok(());
    };
    let seconds = match text.as_str() {
        "" => Some(0),
        text => seconds(text),
    };
    let seconds = seconds.ok_or_else(|| FieldError {
        field: field.to_owned(),
        reason: Reason::Shape("a duration like `30s` or `1m30s`"),
    })?;
    fields.insert(field.to_owned(), seconds.into());
    Ok(())
}

/// Whole seconds of one of Go's durations, `1h2m3.5s`; what is left of a second counts as one.
fn seconds(text: &str) -> Option<u64> {
    let text = text.strip_prefix('+').unwrap_or(text);
    if text == "0" {
        return Some(0);
    }
    if text.is_empty() {
        return None;
    }
    let (mut rest, mut total_ns) = (text, 0_u64);
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let (whole, after) = rest.split_at_checked(digits)?;
        let (fraction, after) = match after.strip_prefix('.') {
            None => ("", after),
            Some(after) => {
                after.split_at_checked(after.find(|letter: char| !letter.is_ascii_digit())?)?
            }
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let end = after.find(|letter: char| letter.is_ascii_digit() || letter == '.');
        let (unit, after) = after.split_at_checked(end.unwrap_or(after.len()))?;
        let part = part_ns(whole, fraction, unit_ns(unit)?)?;
        total_ns = total_ns.checked_add(part)?;
        rest = after;
    }
    Some(total_ns.div_ceil(1_000_000_000))
}

fn unit_ns(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

fn part_ns(whole: &str, fraction: &str, unit_ns: u64) -> Option<u64> {
    let whole: u64 = match whole {
        "" => 0,
        digits => digits.parse().ok()?,
    };
    // Nine digits are a nanosecond of a second; more change nothing that counts.
    let mut scale = unit_ns;
    let mut ns = whole.checked_mul(unit_ns)?;
    for digit in fraction.bytes().take(13) {
        scale /= 10;
        ns = ns.checked_add(u64::from(digit.checked_sub(b'0')?).checked_mul(scale)?)?;
    }
    Some(ns)
}

/// Seconds as Go prints them: `0s`, `1m30s`, `1h0m0s`.
fn go_duration(seconds: u64) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use serde_json::json;

    fn version(text: &str) -> Result<ApiVersion, ApiError> {
        let value = HeaderValue::from_bytes(text.as_bytes()).unwrap();
        ApiVersion::of(&HeaderMap::from_iter([(HEADER.parse().unwrap(), value)]))
    }

    #[test]
    fn days_that_are_none_or_still_to_come_are_refused() {
        for text in [
            "banana",
            "2025-13-01",
            "2025-11-25",
            "9999-01-01",
            "2024-1-1",
            "2024-01-01 ",
            "é",
        ] {
            let error = version(text).unwrap_err();
            assert_eq!(error.to_string(), "Invalid API version", "{text}");
        }
        let current = ApiVersion(CURRENT_DATE);
        for text in ["", CURRENT] {
            assert_eq!(version(text).unwrap(), current);
        }
        assert_eq!(ApiVersion::of(&HeaderMap::new()).unwrap(), current);
        assert_eq!(CURRENT_DATE.to_string(), CURRENT);
    }

    #[test]
    fn requests_of_old_clients_become_those_of_today() {
        let old = json!({"title": "n", "target_url": "u", "http_timeout": "1m30s", "rate_limit_duration": "0s"});
        for (day, expected) in [
            (
                "2023-12-31",
                json!({"name": "n", "url": "u", "http_timeout": 90, "rate_limit_duration": 0}),
            ),
            (
                "2024-01-01",
                json!({"name": "n", "url": "u", "http_timeout": "1m30s", "rate_limit_duration": "0s"}),
            ),
            (
                "2024-03-31",
                json!({"name": "n", "url": "u", "http_timeout": "1m30s", "rate_limit_duration": "0s"}),
            ),
            ("2024-04-01", old.clone()),
            ("2025-11-24", old.clone()),
        ] {
            assert_eq!(
                version(day).unwrap().modern(old.clone()).unwrap(),
                expected,
                "{day}"
            );
        }
        let both = json!({"url": "new", "target_url": "old", "http_timeout": 5});
        let both = version("2020-01-01").unwrap().modern(both).unwrap();
        assert_eq!(both, json!({"url": "new", "http_timeout": 5}));
        let bad = json!({"http_timeout": "soon", "rate_limit_duration": "1"});
        let bad = version("2020-01-01").unwrap().modern(bad).unwrap_err();
        assert!(
            bad.to_string().contains("`http_timeout`")
                && bad.to_string().contains("`rate_limit_duration`")
        );
    }

    #[test]
    fn replies_to_old_clients_are_as_they_were() {
        let now = json!({"url": "u", "name": "n", "http_timeout": 90, "rate_limit_duration": 0});
        for (day, expected) in [
            (
                "2023-12-31",
                json!({"target_url": "u", "title": "n", "http_timeout": "1m30s", "rate_limit_duration": "0s"}),
            ),
            (
                "2024-01-01",
                json!({"target_url": "u", "title": "n", "http_timeout": 90, "rate_limit_duration": 0}),
            ),
            ("2024-04-01", now.clone()),
        ] {
            assert_eq!(
                version(day).unwrap().endpoint(now.clone()),
                expected,
                "{day}"
            );
        }
        let is_advanced = |day| version(day).unwrap().has_advanced_signatures();
        assert!(!is_advanced("2023-12-31") && is_advanced("2024-01-01"));
    }

    #[test]
    fn durations_are_those_of_go() {
        for (text, expected) in [
            ("30s", Some(30)),
            ("1h2m3s", Some(3723)),
            ("1.5m", Some(90)),
            (".5h", Some(1800)),
            ("1500ms", Some(2)),
            ("1ns", Some(1)),
            ("0", Some(0)),
            ("+5s", Some(5)),
            ("", None),
            ("5", None),
            ("-5s", None),
            ("s", None),
            (".s", None),
            ("5d", None),
            ("5 s", None),
            ("99999999999999h", None),
            ("é", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
        for (number, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m0s"),
            (3600, "1h0m0s"),
            (3723, "1h2m3s"),
        ] {
            assert_eq!(go_duration(number), text);
            assert_eq!(seconds(text), Some(number));
        }
    }
}
