//! W3C Trace Context: which trace a request belongs to. What is not exactly as the standard has it
//! is not there, as the standard wants it (section 2.2.1 and following).

/// Length of `traceparent` in version 00, and of the part that later versions begin with.
const BYTES: usize = 55;

/// The trace id in the value of a `traceparent`: 32 lower case hexadecimal digits.
#[must_use]
pub fn trace_id(traceparent: &[u8]) -> Option<&str> {
    let (known, more) = traceparent.split_at_checked(BYTES)?;
    let known = std::str::from_utf8(known).ok()?;
    let mut parts = known.split('-');
    let mut part = |digits: usize| parts.next().filter(|text| is_hex(text, digits));
    let (version, trace, parent) = (part(2)?, part(32)?, part(16)?);
    part(2)?; // flags
    let is_version = match version {
        "ff" => false,
        "00" => more.is_empty(),
        _ => more.first().is_none_or(|next| *next == b'-'),
    };
    (is_version && !is_zero(trace) && !is_zero(parent)).then_some(trace)
}

fn is_hex(text: &str, digits: usize) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == digits && text.bytes().all(is_digit)
}

fn is_zero(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'0')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn what_is_not_as_the_standard_has_it_is_not_there() {
        let zeros = "0".repeat(32);
        for text in [
            String::new(),
            TRACE.to_owned(),
            format!("00-{TRACE}-00f067aa0ba902b7"),
            format!("00-{TRACE}-00f067aa0ba902b7-0"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            format!("00-{TRACE}-00f067aa0ba902b7-01 "),
            format!(" 00-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-{zeros}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("0g-{TRACE}-00f067aa0ba902b7-01"),
            format!("01-{TRACE}-00f067aa0ba902b7-01x"),
            format!("00-{TRACE}-00f067aa0ba902b7-0\u{e9}"),
            format!("00-{TRACE}00-f067aa0ba902b7-01"),
        ] {
            assert_eq!(trace_id(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn versions_to_come_begin_as_this_one() {
        for (version, more) in [("00", ""), ("01", ""), ("01", "-more"), ("cc", "-")] {
            let text = format!("{version}-{TRACE}-00f067aa0ba902b7-00{more}");
            assert_eq!(trace_id(text.as_bytes()), Some(TRACE), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = trace_id(&bytes);
        }

        #[test]
        fn every_trace_is_found(trace in "[0-9a-f]{31}[1-9a-f]", parent in "[1-9a-f][0-9a-f]{15}", flags in "[0-9a-f]{2}") {
            let text = format!("00-{trace}-{parent}-{flags}");
            prop_assert_eq!(trace_id(text.as_bytes()), Some(&*trace));
        }
    }
}
