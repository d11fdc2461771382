//! The signed time of a request, and how far from now it may be.

use std::borrow::Cow;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::VerifyError;
use super::preset::TimestampFormat;
use super::reading::Reading;
use super::signature::Part;
use super::source::{Found, Source};

/// The timestamp of a preset.
#[derive(Debug)]
pub(super) struct Timestamp {
    pub(super) place: Place,
    pub(super) format: TimestampFormat,
    /// Tolerance towards the past, seconds; `None` is not bounded.
    pub(super) past_s: Option<u32>,
    /// Tolerance towards the future, seconds; `None` is not bounded.
    pub(super) future_s: Option<u32>,
}

/// Where the timestamp is.
#[derive(Debug)]
pub(super) enum Place {
    /// Somewhere in the request.
    Single(Source),
    /// The pair with this label inside the signature.
    Pair(Box<[u8]>),
}

impl Timestamp {
    /// The timestamp's text as received, which is what was signed, once it is found to be
    /// within tolerance of `now_s`. Both ends are inclusive.
    pub(super) fn check<'v>(
        &self,
        reading: &'v Reading<'_>,
        parts: &[Part<'v>],
        now_s: i64,
    ) -> Result<Cow<'v, [u8]>, VerifyError> {
        let text = match self.find(reading, parts) {
            Found::Missing => return Err(VerifyError::MissingTimestamp),
            Found::Once(text) if text.is_empty() => return Err(VerifyError::MissingTimestamp),
            Found::Once(text) => text,
            Found::Repeated => return Err(VerifyError::MalformedTimestamp),
            Found::Unreadable => return Err(VerifyError::MalformedBody),
        };
        let sent_ms = parse(self.format, &text).ok_or(VerifyError::MalformedTimestamp)?;
        let age_ms = now_s.saturating_mul(1000).saturating_sub(sent_ms);
        if let Some(past_s) = self.past_s
            && age_ms > i64::from(past_s) * 1000
        {
            return Err(VerifyError::TimestampTooOld { age_ms, past_s });
        }
        let ahead_ms = age_ms.saturating_neg();
        if let Some(future_s) = self.future_s
            && ahead_ms > i64::from(future_s) * 1000
        {
            return Err(VerifyError::TimestampInFuture { ahead_ms, future_s });
        }
        Ok(text)
    }

    fn find<'v>(&self, reading: &'v Reading<'_>, parts: &[Part<'v>]) -> Found<'v> {
        match &self.place {
            Place::Single(source) => source.find(reading),
            Place::Pair(label) => {
                let mut values = parts.iter().filter(|part| part.label == &**label);
                match (values.next(), values.next()) {
                    (None, _) => Found::Missing,
                    (Some(part), None) => Found::Once(Cow::Borrowed(part.value)),
                    (Some(_), Some(_)) => Found::Repeated,
                }
            }
        }
    }
}

/// Unix milliseconds; `None` when the text is anything but this format.
fn parse(format: TimestampFormat, text: &[u8]) -> Option<i64> {
    match format {
        TimestampFormat::Unix => digits(text, 12).map(|seconds| seconds * 1000),
        TimestampFormat::UnixMs => digits(text, 15),
        TimestampFormat::Rfc3339 => {
            let time = OffsetDateTime::parse(std::str::from_utf8(text).ok()?, &Rfc3339).ok()?;
            i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000_000)).ok()
        }
    }
}

/// A number of 1 to `digits_max` (at most 15) decimal digits and nothing else.
fn digits(text: &[u8], digits_max: usize) -> Option<i64> {
    if !(1..=digits_max).contains(&text.len()) {
        return None;
    }
    text.iter().try_fold(0_i64, |number, byte| {
        byte.is_ascii_digit()
            .then(|| number * 10 + i64::from(byte - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_but_plain_digits_is_no_unix_time() {
        for text in [
            "",
            " 1",
            "+1",
            "-1",
            "1.5",
            "1e9",
            "Infinity",
            "NaN",
            "0x10",
            "1760000000000",
            "١٧٦",
        ] {
            assert_eq!(
                parse(TimestampFormat::Unix, text.as_bytes()),
                None,
                "{text}"
            );
        }
        assert_eq!(
            parse(TimestampFormat::Unix, b"999999999999"),
            Some(999_999_999_999_000)
        );
        assert_eq!(parse(TimestampFormat::UnixMs, b"1000000000000000"), None);
        assert_eq!(
            parse(TimestampFormat::UnixMs, b"999999999999999"),
            Some(999_999_999_999_999)
        );
    }

    #[test]
    fn rfc_3339_needs_an_offset_and_keeps_the_milliseconds() {
        for text in [
            "2025-10-09",
            "2025-10-09T08:53:20",
            "09 Oct 2025 08:53:20 GMT",
            "2025-13-09T08:53:20Z",
        ] {
            assert_eq!(
                parse(TimestampFormat::Rfc3339, text.as_bytes()),
                None,
                "{text}"
            );
        }
        assert_eq!(
            parse(TimestampFormat::Rfc3339, b"2025-10-09T10:53:20.123+02:00"),
            Some(1_760_000_000_123)
        );
        assert_eq!(
            parse(TimestampFormat::Rfc3339, b"1969-12-31T23:59:59.9999Z"),
            Some(-1)
        );
    }
}
