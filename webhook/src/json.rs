//! JSON as bytes: checked, and freed of insignificant white space. Nothing else changes: key
//! order, number text, duplicate keys and escapes stay as they came (RULINGS 20).

use bytes::Bytes;
use serde::de::IgnoredAny;

/// Bytes that are not one JSON value in UTF-8.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// Not UTF-8.
    #[error("not UTF-8 at byte {valid_up_to}")]
    Utf8 {
        /// Where the first bad byte stands.
        valid_up_to: usize,
    },
    /// Not JSON.
    #[error("{0}")]
    Syntax(#[from] serde_json::Error),
}

/// Checks that `bytes` is exactly one JSON value in UTF-8.
///
/// # Errors
/// [`JsonError`] with the place of the first fault.
pub fn check(bytes: &[u8]) -> Result<(), JsonError> {
    let text = std::str::from_utf8(bytes).map_err(|error| JsonError::Utf8 {
        valid_up_to: error.valid_up_to(),
    })?;
    serde_json::from_str::<IgnoredAny>(text)?;
    Ok(())
}

/// Checks and removes insignificant white space. Gives the same bytes back, uncopied, when
/// there is none.
///
/// # Errors
/// As [`check`].
pub fn compact(bytes: &Bytes) -> Result<Bytes, JsonError> {
    check(bytes)?;
    Ok(strip(bytes))
}

/// Removes insignificant white space from bytes that are known to be JSON.
#[must_use]
pub fn strip(json: &Bytes) -> Bytes {
    let Some(first) = next_space(json, 0) else {
        return json.clone();
    };
    let mut out = Vec::with_capacity(json.len());
    let (mut from, mut space) = (0, Some(first));
    while let Some(at) = space {
        out.extend_from_slice(json.get(from..at).unwrap_or_default());
        from = at + 1;
        space = next_space(json, from);
    }
    out.extend_from_slice(json.get(from..).unwrap_or_default());
    out.into()
}

/// The first white space at or after `from` that is outside of strings. `from` is outside of a string.
fn next_space(json: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(byte) = json.get(at) {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => return Some(at),
            b'"' => at = string_end(json, at + 1),
            _ => at += 1,
        }
    }
    None
}

/// The place behind the closing quote of a string whose content starts at `from`.
fn string_end(json: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(found) = json
        .get(at..)
        .and_then(|rest| memchr::memchr2(b'"', b'\\', rest))
    {
        at += found;
        if json.get(at) == Some(&b'"') {
            return at + 1;
        }
        at += 2; // the backslash and what it escapes
    }
    json.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn compacted(text: &str) -> String {
        String::from_utf8(
            compact(&Bytes::copy_from_slice(text.as_bytes()))
                .unwrap()
                .to_vec(),
        )
        .unwrap()
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for bad in [
            "",
            " ",
            "{",
            "hello",
            "{\"a\":1}x",
            "{'a':1}",
            "[1,]",
            "\"\u{1}\"",
            "01",
        ] {
            assert!(
                compact(&Bytes::copy_from_slice(bad.as_bytes())).is_err(),
                "{bad:?}"
            );
        }
        assert!(matches!(
            compact(&Bytes::from_static(b"\"\xff\"")),
            Err(JsonError::Utf8 { valid_up_to: 1 })
        ));
    }

    #[test]
    fn deep_nesting_does_not_overflow_the_stack() {
        let deep = "[".repeat(1_000_000);
        assert!(check(deep.as_bytes()).is_err());
        let closed = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        let _ = check(closed.as_bytes()); // refused or not, it must return
    }

    #[test]
    fn only_white_space_outside_strings_goes() {
        assert_eq!(
            compacted("{ \"a\" : 1.0,\r\n\t\"b\": [ 1, 2 ] }"),
            "{\"a\":1.0,\"b\":[1,2]}"
        );
        assert_eq!(compacted(r#" "a \" b \\" "#), r#""a \" b \\""#);
        assert_eq!(
            compacted(r#"{"dup":1, "dup":2, "u":"\u00e9<&>"}"#),
            r#"{"dup":1,"dup":2,"u":"\u00e9<&>"}"#
        );
    }

    #[test]
    fn nothing_to_remove_is_no_copy() {
        let body = Bytes::from_static(br#"{"a":"b c"}"#);
        assert_eq!(compact(&body).unwrap().as_ptr(), body.as_ptr());
    }

    proptest! {
        #[test]
        fn the_value_stays_the_same_and_no_space_remains(text in "[a-z \\\\\"\\n\u{e9}]{0,20}", number in any::<f64>(), depth in 0_usize..4) {
            let mut value = serde_json::json!({ text.clone(): [text, number, null, {"k": true}] });
            for _ in 0..depth {
                value = serde_json::json!([value, {"n": value}]);
            }
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            let short = compact(&Bytes::from(pretty)).unwrap();
            prop_assert_eq!(std::str::from_utf8(&short).unwrap(), serde_json::to_string(&value).unwrap());
        }
    }
}
