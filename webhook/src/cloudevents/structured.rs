//! Structured and batch mode: attributes in JSON.

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{CloudEventError, Draft, Envelope};

/// Events of one batch at most (RULINGS 29).
pub const BATCH_ITEMS_MAX: usize = 1000;

/// Members of an object that are looked at at all; the attributes have a bound of their own.
const MEMBERS_MAX: usize = 128;

/// The attributes of one event in JSON.
///
/// # Errors
/// [`CloudEventError`], which names the attribute.
pub fn structured(json: &[u8]) -> Result<Envelope, CloudEventError> {
    let Members(members) = serde_json::from_slice(json).map_err(CloudEventError::NotAnObject)?;
    let mut draft = Draft::default();
    let mut seen = BTreeSet::new();
    for (name, value) in &members {
        if !seen.insert(name.as_str()) {
            return Err(CloudEventError::Repeated(name.clone()));
        }
        member(&mut draft, name, value)?;
    }
    if seen.contains("data") && seen.contains("data_base64") {
        return Err(CloudEventError::TwoData);
    }
    draft.finish()
}

/// The events of a batch, each as its text, at most [`BATCH_ITEMS_MAX`]. What they say is not looked at yet.
///
/// # Errors
/// [`CloudEventError::NotABatch`].
pub fn batch(json: &[u8]) -> Result<Vec<&RawValue>, CloudEventError> {
    let Items(items) = serde_json::from_slice(json).map_err(CloudEventError::NotABatch)?;
    Ok(items)
}

fn member(draft: &mut Draft, name: &str, value: &RawValue) -> Result<(), CloudEventError> {
    let text = value.get();
    match (name, text.as_bytes().first()) {
        ("data", _) => Ok(()),
        // The JSON format: an attribute that is null is not there.
        (_, Some(b'n')) => Ok(()),
        ("data_base64", _) => check_base64(text),
        (_, Some(b'"')) => draft.text(name, &string(name, text)?),
        (_, Some(b't' | b'f')) => draft.scalar(name),
        (_, Some(b'-' | b'0'..=b'9')) if text.parse::<i32>().is_ok() => draft.scalar(name),
        _ => Err(CloudEventError::Value {
            name: name.chars().take(64).collect(),
            expected: "a string, an integer of 32 bits or a truth value",
        }),
    }
}

fn string(name: &str, text: &str) -> Result<String, CloudEventError> {
    // Unpaired surrogates are the one thing that the check for JSON lets through.
    serde_json::from_str(text).map_err(|_| CloudEventError::Value {
        name: name.to_owned(),
        expected: "Unicode text",
    })
}

fn check_base64(text: &str) -> Result<(), CloudEventError> {
    let is_base64 =
        serde_json::from_str::<String>(text).is_ok_and(|text| STANDARD.decode(text).is_ok());
    if is_base64 {
        return Ok(());
    }
    Err(CloudEventError::Value {
        name: "data_base64".to_owned(),
        expected: "a string in standard base64",
    })
}

/// All members of an object in their order, repeats included.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    if members.len() == MEMBERS_MAX {
                        return Err(de::Error::custom("more than 128 members"));
                    }
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(Each)
    }
}

/// The items of an array, no more than a batch may have.
struct Items<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Items<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Items<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    if items.len() == BATCH_ITEMS_MAX {
                        return Err(de::Error::custom("too many events"));
                    }
                    items.push(item);
                }
                Ok(Items(items))
            }
        }
        from.deserialize_seq(Each)
    }
}
