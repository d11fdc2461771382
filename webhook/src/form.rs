//! An event's data as a form, for receivers that take nothing else (contract 5.1).

use std::collections::BTreeMap;

use bytes::Bytes;
use form_urlencoded::Serializer;
use serde_json::value::RawValue;

use crate::json;

/// Integers up to here are exact in a double, which is what most senders have.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// The data is no object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("only a JSON object can be sent as a form")]
pub struct NotAForm;

/// The fields of a JSON object as `application/x-www-form-urlencoded`, in the order of their
/// names; of repeated ones the last counts. Texts are sent as they are, integral numbers without
/// decimals and exponent and other numbers as they were spelt, `null` as an empty text, and what is
/// nested as JSON.
///
/// # Errors
/// [`NotAForm`] for any other JSON, and for what is none.
pub fn from_json(body: &[u8]) -> Result<Bytes, NotAForm> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_slice(body).map_err(|_| NotAForm)?;
    let mut form = Serializer::new(String::with_capacity(body.len()));
    for (name, value) in fields {
        form.append_pair(&name, &text(value.get())?);
    }
    Ok(form.finish().into())
}

/// One value. `raw` is JSON.
fn text(raw: &str) -> Result<String, NotAForm> {
    Ok(match raw.as_bytes().first() {
        Some(b'"') => serde_json::from_str(raw).map_err(|_| NotAForm)?,
        Some(b'{' | b'[') => {
            let compact = json::compact(&Bytes::copy_from_slice(raw.as_bytes()));
            let compact = compact.map_err(|_| NotAForm)?;
            String::from_utf8(compact.into()).map_err(|_| NotAForm)?
        }
        Some(b'n') => String::new(),
        Some(b't' | b'f') => raw.to_owned(),
        _ => number(raw),
    })
}

/// `1.0` and `1e3` are integers to most senders and receivers: `1` and `1000`.
fn number(raw: &str) -> String {
    if !raw.contains(['.', 'e', 'E']) {
        return raw.to_owned();
    }
    match raw.parse::<f64>() {
        Ok(number) if number.fract() == 0.0 && number.abs() <= EXACT_MAX => format!("{number:.0}"),
        _ => raw.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    fn form(body: &str) -> String {
        String::from_utf8(from_json(body.as_bytes()).unwrap().into()).unwrap()
    }

    #[test]
    fn only_an_object_is_a_form() {
        for body in [
            "",
            "[]",
            "1",
            "null",
            "\"a=b\"",
            "{",
            "{\"a\":}",
            "{\"a\":\"\\ud800\"}",
        ] {
            assert_eq!(from_json(body.as_bytes()), Err(NotAForm), "{body}");
        }
    }

    #[test]
    fn every_kind_of_value_has_its_text() {
        for (body, expected) in [
            ("{}", ""),
            (r#"{"b":"x y&=é","a":""}"#, "a=&b=x+y%26%3D%C3%A9"),
            (r#"{"a":null,"b":true,"c":false}"#, "a=&b=true&c=false"),
            (
                r#"{"a":1,"b":-0.50,"c":1.0,"d":1e3}"#,
                "a=1&b=-0.50&c=1&d=1000",
            ),
            (
                r#"{"a":1e400,"b":12345678901234567890}"#,
                "a=1e400&b=12345678901234567890",
            ),
            (
                r#"{"a":{"x": [1, "é"]},"b":[]}"#,
                "a=%7B%22x%22%3A%5B1%2C%22%C3%A9%22%5D%7D&b=%5B%5D",
            ),
            (r#"{"a":1,"a":2}"#, "a=2"),
            (r#"{"a b":"\u00e9\n"}"#, "a+b=%C3%A9%0A"),
        ] {
            assert_eq!(form(body), expected, "{body}");
        }
    }

    proptest! {
        /// A receiver that reads the form gets the texts back, and nested values as JSON.
        #[test]
        fn a_form_says_what_the_object_said(
            texts in prop::collection::btree_map(".{0,8}", ".{0,16}", 0..6),
            nested in prop::collection::vec(any::<i64>(), 0..4),
        ) {
            let mut object: Map<String, Value> = texts.iter().map(|(name, text)| (name.clone(), json!(text))).collect();
            object.insert("~nested~".to_owned(), json!(nested));
            let body = serde_json::to_vec(&object).unwrap();
            let sent = from_json(&body).unwrap();
            let read: BTreeMap<String, String> = form_urlencoded::parse(&sent).into_owned().collect();
            prop_assert_eq!(read.len(), object.len());
            for (name, text) in texts {
                prop_assert_eq!(&read[&name], &text);
            }
            let back: Vec<i64> = serde_json::from_str(&read["~nested~"]).unwrap();
            prop_assert_eq!(back, nested);
        }
    }
}
