//! A specification as JSON, the form in which it is kept and travels.

use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeOwned, Deserializer};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use outrider_webhook::secret::Secret;

/// A field of the contract that this version does not act on. It may be absent, null, empty, or
/// say what is the case anyway; anything else is an error, never ignored.
#[derive(Clone, Default, PartialEq)]
pub struct Unsupported(Value);

impl Unsupported {
    /// Whether it asks for nothing: null, `false`, 0, an empty text, list or map, or a list or
    /// map of such.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        is_blank(&self.0)
    }
}

fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(is) => !is,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.iter().all(is_blank),
        Value::Object(map) => map.values().all(is_blank),
    }
}

/// Says nothing of the content, which may be a credential.
impl fmt::Debug for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_blank() {
            "Unsupported"
        } else {
            "Unsupported(..)"
        })
    }
}

impl<'de> Deserialize<'de> for Unsupported {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self)
    }
}

/// Blank when it gets this far, so nothing is lost.
impl Serialize for Unsupported {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

/// Text that is not a document of its kind.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// Not JSON, or a field is unknown or of the wrong type. The message names the place and
    /// never a value.
    #[error("`{path}`: {message}")]
    Field {
        /// Path of the field; `.` for the whole.
        path: String,
        /// What is wrong.
        message: String,
    },
}

/// The JSON of a specification: fields in the order of the type, those not given left out. Equal
/// specifications give equal bytes. Holds secrets: for the journal and the wire only.
///
/// # Errors
/// When the specification has a value that JSON cannot carry; none of ours has.
pub fn to_document<S: Serialize>(spec: &S) -> Result<Bytes, serde_json::Error> {
    let mut value = serde_json::to_value(spec)?;
    strip(&mut value);
    serde_json::to_vec(&value).map(Bytes::from)
}

/// The one field in which a null says something: a parameter without a default, a tolerance
/// without a bound.
const NULLS_COUNT_IN: &str = "preset";

/// Takes out nulls: in every specification they mean the same as nothing, but for presets.
fn strip(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            let fields = map.iter_mut().filter(|(name, _)| *name != NULLS_COUNT_IN);
            fields.for_each(|(_, value)| strip(value));
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

/// The specification of a document.
///
/// # Errors
/// [`SpecError`] for the first field that does not fit.
pub fn from_document<S: DeserializeOwned>(json: &[u8]) -> Result<S, SpecError> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let spec = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = Some(error.path().to_string())
            .filter(|path| path != "?")
            .unwrap_or_else(|| ".".to_owned());
        SpecError::Field {
            path,
            message: without_values(error.inner()),
        }
    })?;
    let end = |error| SpecError::Field {
        path: ".".to_owned(),
        message: without_values(&error),
    };
    reader.end().map_err(end)?;
    Ok(spec)
}

/// Most fields of one specification that are found to be unknown or of the wrong type: who sends
/// more sends something else.
pub const MISFITS_MAX: usize = 64;

/// A specification out of JSON that a client sent, with every problem at once.
pub struct Reading<S> {
    /// What fits of it; `None` when it is not even a map, or too little of it fits.
    pub spec: Option<S>,
    /// Paths of fields that do not exist. REST lists them and goes on (RULINGS 33).
    pub unknown: Vec<String>,
    /// Paths of values of the wrong type, `.` for the whole. They are not in `spec`.
    pub misfits: Vec<String>,
    /// More than [`MISFITS_MAX`] fields do not fit; the lists name the first ones.
    pub is_overfull: bool,
}

/// Reads a specification from JSON. Types are strict, unlike in files: a number is no text.
#[must_use]
pub fn from_json<S: DeserializeOwned>(mut json: Value) -> Reading<S> {
    let mut reading = Reading {
        spec: None,
        unknown: Vec::new(),
        misfits: Vec::new(),
        is_overfull: false,
    };
    // serde stops at the first error: what does not fit is taken out, until the rest fits.
    loop {
        let error = match serde_path_to_error::deserialize(&json) {
            Ok(spec) => {
                reading.spec = json.is_object().then_some(spec);
                break;
            }
            Err(error) => error,
        };
        if reading.unknown.len() + reading.misfits.len() == MISFITS_MAX {
            reading.is_overfull = true;
            return reading;
        }
        let path = error.path();
        let list = match error.inner().to_string().starts_with("unknown field") {
            true => &mut reading.unknown,
            false => &mut reading.misfits,
        };
        list.push(path.to_string());
        if !take_out(&mut json, path) {
            break;
        }
    }
    if reading.spec.is_none() && reading.misfits.is_empty() {
        reading.misfits.push(".".to_owned());
    }
    reading
}

/// Takes the value at a path out. `false` when it is the whole, or nothing is there.
fn take_out(json: &mut Value, path: &Path) -> bool {
    let mut at = json;
    let mut segments = path.iter().peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        at = match (segment, at) {
            (Segment::Map { key }, Value::Object(map)) if is_last => {
                return map.remove(key).is_some();
            }
            (Segment::Seq { index }, Value::Array(items)) if is_last && *index < items.len() => {
                items.remove(*index);
                return true;
            }
            (Segment::Map { key }, Value::Object(map)) => match map.get_mut(key) {
                Some(inner) => inner,
                None => return false,
            },
            (Segment::Seq { index }, Value::Array(items)) => match items.get_mut(*index) {
                Some(inner) => inner,
                None => return false,
            },
            _ => return false,
        };
    }
    false
}

/// serde's messages quote the value that did not fit, and any value may be a secret. Those that
/// name fields and variants of ours are kept.
fn without_values(error: &serde_json::Error) -> String {
    use serde_json::error::Category;
    let place = format!("line {} column {}", error.line(), error.column());
    match error.classify() {
        Category::Data => {
            let text = error.to_string();
            if text.starts_with("unknown field") {
                "a field this version does not know".to_owned()
            } else {
                "a value of the wrong type".to_owned()
            }
        }
        Category::Syntax | Category::Eof | Category::Io => {
            format!("this is no valid JSON at {place}")
        }
    }
}

/// Writes a secret out. Only [`to_document`] calls it.
pub(super) fn expose<S: Serializer>(
    secret: &Option<Secret>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(Secret::expose).serialize(serializer)
}

/// As [`expose`], for a list.
pub(super) fn expose_all<S: Serializer>(
    secrets: &Option<Vec<Secret>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let texts: Option<Vec<&str>> = secrets
        .as_ref()
        .map(|secrets| secrets.iter().map(Secret::expose).collect());
    texts.serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Spec {
        name: Option<String>,
        count: Option<u64>,
        #[serde(serialize_with = "expose")]
        secret: Option<Secret>,
        other: Unsupported,
    }

    #[test]
    fn a_document_that_does_not_fit_names_the_field_and_no_value() {
        for (json, path) in [
            (r#"{"count":"hunter2"}"#, "count"),
            (r#"{"secret":31337}"#, "secret"),
            (r#"{"nmae":"hunter2"}"#, "nmae"),
            (r#"{"name":"hunter2""#, "."),
            (r#"{} hunter2"#, "."),
        ] {
            let SpecError::Field {
                path: found,
                message,
            } = from_document::<Spec>(json.as_bytes()).unwrap_err();
            assert_eq!(found, path, "{message}");
            assert!(
                !message.contains("hunter2") && !message.contains("31337"),
                "{message}"
            );
        }
    }

    #[test]
    fn json_of_a_client_tells_unknown_fields_from_wrong_types() {
        let reading = from_json::<Spec>(json!({"name": ["x"], "nmae": 1, "count": 7}));
        assert_eq!(reading.spec.unwrap().count, Some(7));
        assert_eq!(reading.unknown, ["nmae"]);
        assert_eq!(reading.misfits, ["name"]);
        for json in [json!(["name"]), json!([]), json!(null), json!(7)] {
            let reading = from_json::<Spec>(json);
            assert!(reading.spec.is_none());
            assert_eq!(reading.misfits, ["."]);
        }
        for json in [
            json!({"name": 5}),
            json!({"name": true}),
            json!({"count": -1}),
        ] {
            assert_eq!(from_json::<Spec>(json).misfits.len(), 1);
        }
    }

    #[test]
    fn as_many_unknown_fields_as_are_allowed_are_named_and_more_are_said_to_be_too_many() {
        let unknown = |count: usize| {
            let fields = (0..count).map(|n| (format!("x{n:03}"), json!(1)));
            Value::Object(fields.collect())
        };
        let reading = from_json::<Spec>(unknown(MISFITS_MAX));
        assert!(reading.spec.is_some() && !reading.is_overfull);
        assert_eq!(reading.unknown.len(), MISFITS_MAX);
        let reading = from_json::<Spec>(unknown(MISFITS_MAX + 1));
        assert!(reading.spec.is_none() && reading.is_overfull);
        assert!(reading.misfits.is_empty(), "no type is wrong");
    }

    #[test]
    fn only_what_asks_for_nothing_is_blank() {
        for value in [
            json!(null),
            json!(""),
            json!([]),
            json!({}),
            json!(0),
            json!(false),
            json!({"a": {"b": ""}, "c": [0]}),
        ] {
            assert!(Unsupported(value.clone()).is_blank(), "{value}");
        }
        for value in [
            json!("x"),
            json!([1]),
            json!({"a": true}),
            json!(0.1),
            json!(true),
        ] {
            assert!(!Unsupported(value.clone()).is_blank(), "{value}");
        }
    }

    #[test]
    fn a_null_in_a_preset_is_kept_and_reads_back() {
        use crate::resource::SourceSpec;
        let preset = json!({
            "params": {"header": null},
            "signature": {
                "source": {"in": "header", "name": "{param:header}"},
                "format": "plain",
                "schemes": [{"algorithm": "hmac-sha256", "encoding": "hex", "key": "utf8"}],
            },
            "timestamp": {"source": {"in": "header", "name": "x-t"}, "format": "unix", "past": null, "future": 60},
            "signed": "{timestamp}{body}",
        });
        let spec: SourceSpec =
            serde_json::from_value(json!({"name": "own", "preset": preset})).unwrap();
        let document = to_document(&spec).unwrap();
        assert_eq!(from_document::<SourceSpec>(&document).unwrap(), spec);
        let kept: Value = serde_json::from_slice(&document).unwrap();
        assert_eq!(kept["preset"]["timestamp"].get("past"), Some(&Value::Null));
        assert_eq!(kept.get("params"), None, "others go");
    }

    #[test]
    fn a_document_reads_back_as_the_same_specification() {
        let spec = Spec {
            name: Some("n".into()),
            secret: Some(Secret::new("s")),
            ..Spec::default()
        };
        let document = to_document(&spec).unwrap();
        assert_eq!(&document[..], br#"{"name":"n","secret":"s"}"#);
        assert_eq!(from_document::<Spec>(&document).unwrap(), spec);
    }
}
