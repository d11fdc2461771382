//! The body of an event as the contract has it (3.6), parsed; errors carry the contract's texts.

use std::collections::BTreeMap;

use bytes::Bytes;
use outrider_webhook::secret::Secret;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::refused::Refused;

/// The body of all calls; unknown fields are ignored, as the contract wants.
#[derive(Deserialize)]
pub(super) struct EventSpec<'a> {
    /// Which kind of event it is; read in batches only.
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) endpoint_id: Option<String>,
    /// The old spelling of `endpoint_id`.
    pub(super) app_id: Option<String>,
    pub(super) owner_id: Option<String>,
    /// Names the endpoint of a dynamic event.
    pub(super) url: Option<String>,
    pub(super) secret: Option<Secret>,
    pub(super) event_types: Option<Vec<String>>,
    pub(super) event_type: Option<String>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(super) data: Option<&'a RawValue>,
    pub(super) custom_headers: Option<BTreeMap<String, String>>,
    pub(super) idempotency_key: Option<String>,
}

/// Any JSON value is data, `null` too; only an absent field is none.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(from: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// Fields that hold text.
const TEXTS: [&str; 8] = [
    "type",
    "endpoint_id",
    "app_id",
    "owner_id",
    "url",
    "secret",
    "event_type",
    "idempotency_key",
];

/// Parses a body (contract 2.3).
pub(super) fn parse(body: &Bytes) -> Result<EventSpec<'_>, Refused> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Refused::invalid("body must not be empty"));
    }
    serde_json::from_slice(body).map_err(|error| refused(body, &error))
}

/// Parses one event of a batch, which is known to be JSON.
pub(super) fn parse_item(text: &str) -> Result<EventSpec<'_>, Refused> {
    serde_json::from_str(text).map_err(|error| refused(text.as_bytes(), &error))
}

fn refused(body: &[u8], error: &serde_json::Error) -> Refused {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return badly_formed(body, error);
    };
    Refused::invalid(match wrong_type(&value) {
        Some(field) => format!("body contains incorrect JSON type for field \"{field}\""),
        None => "body must be a JSON object with each field at most once".to_owned(),
    })
}

/// The body is no JSON at all.
pub(super) fn badly_formed(body: &[u8], error: &serde_json::Error) -> Refused {
    let at = offset(body, error.line(), error.column());
    Refused::invalid(format!(
        "body contains badly-formed JSON (at character {at})"
    ))
}

/// The first field whose type is wrong.
fn wrong_type(value: &Value) -> Option<&'static str> {
    let is_given = |field: &str| value.get(field).filter(|found| !found.is_null());
    let is_bad_text = |field: &&str| is_given(field).is_some_and(|found| !found.is_string());
    if let Some(field) = TEXTS.into_iter().find(is_bad_text) {
        return Some(field);
    }
    let is_list = |found: &Value| {
        let items = found.as_array();
        items.is_some_and(|items| items.iter().all(Value::is_string))
    };
    if is_given("event_types").is_some_and(|found| !is_list(found)) {
        return Some("event_types");
    }
    let is_good = is_given("custom_headers")?
        .as_object()
        .is_some_and(|map| map.values().all(Value::is_string));
    (!is_good).then_some("custom_headers")
}

fn offset(body: &[u8], line: usize, column: usize) -> usize {
    let before: usize = body
        .split_inclusive(|byte| *byte == b'\n')
        .take(line.saturating_sub(1))
        .map(<[u8]>::len)
        .sum();
    before + column
}
