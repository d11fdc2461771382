//! `Retry-After`: when the receiver wants to be called again (RFC 9110 section 10.2.3).

use std::time::{Duration, SystemTime};

/// Longest wait that is taken from a receiver, on top of the policy's own: with more it could
/// silence its deliveries for good. Peers bound it alike.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(7_200);

/// A value that is neither seconds nor a date. It is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`Retry-After` is neither seconds nor a date")]
pub struct BadRetryAfter;

/// How long the receiver asks to wait. Dates are compared with its own clock, `date`, where it
/// told the time, and else with ours, `now`; one that has passed is no wait.
///
/// # Errors
/// [`BadRetryAfter`] when the value is neither decimal digits nor one of the three forms of a date.
pub fn retry_after(
    value: &[u8],
    date: Option<&[u8]>,
    now: SystemTime,
) -> Result<Duration, BadRetryAfter> {
    let text = std::str::from_utf8(value).map_err(|_| BadRetryAfter)?;
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are a very long time.
        return Ok(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let at = httpdate::parse_http_date(text).map_err(|_| BadRetryAfter)?;
    let theirs = date.and_then(|date| std::str::from_utf8(date).ok());
    let theirs = theirs.and_then(|date| httpdate::parse_http_date(date).ok());
    let from = theirs.unwrap_or(now);
    Ok(at.duration_since(from).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-15T12:00:00Z.
    const NOW_S: u64 = 1_768_478_400;

    fn read(value: &str, date: Option<&str>) -> Option<u64> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW_S);
        let read = retry_after(value.as_bytes(), date.map(str::as_bytes), now);
        read.ok().map(|wait| wait.as_secs())
    }

    /// The table of standards.md, section 7.
    #[test]
    fn seconds_and_the_three_dates_are_read_and_the_rest_ignored() {
        for (value, wait) in [
            ("120", Some(120)),
            ("0", Some(0)),
            ("86400", Some(86_400)),
            ("Thu, 15 Jan 2026 12:05:00 GMT", Some(300)),
            ("Thursday, 15-Jan-26 12:05:00 GMT", Some(300)),
            ("Thu Jan 15 12:05:00 2026", Some(300)),
            ("Thu, 15 Jan 2026 11:00:00 GMT", Some(0)),
            ("99999999999999999999", Some(u64::MAX)),
            ("-5", None),
            ("1.5", None),
            ("abc", None),
            ("", None),
            ("+5", None),
            ("5 ", None),
            ("٣", None),
        ] {
            assert_eq!(read(value, None), wait, "{value}");
        }
    }

    #[test]
    fn a_date_is_compared_with_the_clock_of_whoever_wrote_it() {
        let at = "Thu, 15 Jan 2026 12:05:00 GMT";
        assert_eq!(read(at, Some("Thu, 15 Jan 2026 12:04:30 GMT")), Some(30));
        assert_eq!(read(at, Some("not a date")), Some(300));
        assert_eq!(read("7", Some("Thu, 15 Jan 2026 12:04:30 GMT")), Some(7));
    }
}
