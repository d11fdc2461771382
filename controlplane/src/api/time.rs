//! Times as replies have them.

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// RFC 3339 of Unix milliseconds.
pub(super) fn rfc3339(unix_ms: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000)
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned()) // no clock of ours gets there
}

/// As [`rfc3339`], as JSON.
pub(super) fn at(unix_ms: i64) -> Value {
    Value::String(rfc3339(unix_ms))
}

/// A time of RFC 3339; `None` for another text.
pub(super) fn parse(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok()
}

/// Unix milliseconds of RFC 3339; `None` for another text.
pub(super) fn unix_ms(text: &str) -> Option<i64> {
    let at = parse(text)?;
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_and_read_back() {
        assert_eq!(rfc3339(1_767_225_600_000), "2026-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_767_225_600_120), "2026-01-01T00:00:00.12Z");
        assert_eq!(
            unix_ms("2026-01-01T01:00:00.12+01:00"),
            Some(1_767_225_600_120)
        );
        assert_eq!(unix_ms("soon"), None);
        assert_eq!(rfc3339(i64::MAX), "1970-01-01T00:00:00Z");
    }
}
