//! Searching events by text and by content. Bodies are read from the log for it, so a page of a
//! search looks at a bounded number of events and may be shorter than asked for.

use outrider_webhook::id::{ProjectId, SourceId};
use rusqlite::Connection;
use serde_json::Value;

use super::events::{EventRow, source_numbers};
use super::walk::Work;
use crate::codec::Entry;
use crate::index::{IndexError, View, items, names};
use crate::log::LocalLog;

/// Reading a record, in rows.
const RECORD_WORK: u32 = 10;
/// Bytes of a body that count as one row more.
const BYTES_PER_WORK: usize = 512;
/// Larger bodies are not searched.
const SEARCHED_BYTES_MAX: usize = 1 << 20;
/// Event types a text may name.
const TYPES_MAX: usize = 1_000;

/// What a search looks for: everything given has to fit.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// The start of the event's uid, or part of its idempotency key, its type, or of the name of
    /// its source.
    pub text: Option<String>,
    /// The sources whose name contains `text`.
    pub sources: Vec<SourceId>,
    /// JSON that the event's data contains.
    pub contains: Vec<Value>,
}

/// A search with its names as numbers.
pub(super) struct Prepared {
    text: Option<Text>,
    contains: Vec<Value>,
}

struct Text {
    text: String,
    /// Whether an id may begin with it.
    is_id: bool,
    types: Vec<i64>,
    sources: Vec<i64>,
}

impl Prepared {
    pub(super) fn new(
        connection: &Connection,
        project: ProjectId,
        search: &Search,
    ) -> Result<Self, IndexError> {
        let text = match &search.text {
            None => None,
            Some(text) => Some(Text {
                is_id: text.len() <= ID_CHARACTERS && text.bytes().all(is_of_ids),
                text: text.clone(),
                types: names::types_containing(connection, project, text, TYPES_MAX)?,
                sources: source_numbers(connection, &search.sources)?,
            }),
        };
        Ok(Self {
            text,
            contains: search.contains.clone(),
        })
    }

    pub(super) fn finds(
        &self,
        view: &View<'_>,
        row: &EventRow,
        work: &mut Work,
    ) -> Result<bool, IndexError> {
        let is_named = self
            .text
            .as_ref()
            .is_none_or(|text| text.names(view.log, row));
        let needs_key = !is_named && row.idem.is_some();
        if !is_named && !needs_key {
            return Ok(false);
        }
        if self.contains.is_empty() && !needs_key {
            return Ok(true);
        }
        work.spend(RECORD_WORK);
        let Some(entry) = items::found(view.log.entry_head(row.place))? else {
            return Ok(false); // retention took it
        };
        let has_text = is_named
            || self
                .text
                .as_ref()
                .is_some_and(|text| text.is_in_key(&entry));
        Ok(has_text && self.is_contained(&entry, work))
    }

    fn is_contained(&self, entry: &Entry, work: &mut Work) -> bool {
        if self.contains.is_empty() {
            return true;
        }
        let Entry::Accept { event, .. } = entry else {
            return false;
        };
        let bytes = event.facts.body.len();
        work.spend(u32::try_from(bytes / BYTES_PER_WORK).unwrap_or(u32::MAX));
        if bytes > SEARCHED_BYTES_MAX {
            return false;
        }
        let Ok(data) = serde_json::from_slice::<Value>(&event.facts.body) else {
            return false;
        };
        self.contains.iter().all(|wanted| contains(&data, wanted))
    }
}

impl Text {
    /// What can be told without the record.
    fn names(&self, log: &LocalLog, row: &EventRow) -> bool {
        self.types.contains(&row.event_type)
            || row
                .source
                .is_some_and(|source| self.sources.contains(&source))
            || (self.is_id && log.uids().event(row.id).to_string().starts_with(&self.text))
    }

    fn is_in_key(&self, entry: &Entry) -> bool {
        let key = match entry {
            Entry::Accept { event, .. } => event.facts.idempotency_key.as_deref(),
            Entry::Duplicate(record) => Some(&*record.idempotency_key),
            _ => None,
        };
        key.is_some_and(|key| key.contains(&self.text))
    }
}

/// Characters of an id.
const ID_CHARACTERS: usize = 26;

/// Crockford's base32, in upper case.
fn is_of_ids(byte: u8) -> bool {
    (byte.is_ascii_uppercase() || byte.is_ascii_digit())
        && !matches!(byte, b'I' | b'L' | b'O' | b'U')
}

/// PostgreSQL's `@>`: every member of a wanted object is contained in the one of the same name,
/// every element of a wanted array in some element, a scalar is equal; an array contains a scalar
/// that is one of its elements (at the top only).
fn contains(data: &Value, wanted: &Value) -> bool {
    match (data, wanted) {
        (Value::Array(items), scalar) if !scalar.is_object() && !scalar.is_array() => {
            items.contains(scalar)
        }
        _ => is_within(data, wanted),
    }
}

fn is_within(data: &Value, wanted: &Value) -> bool {
    match (data, wanted) {
        (Value::Object(map), Value::Object(wanted)) => wanted
            .iter()
            .all(|(name, value)| map.get(name).is_some_and(|found| is_within(found, value))),
        (Value::Array(items), Value::Array(wanted)) => wanted
            .iter()
            .all(|value| items.iter().any(|found| is_within(found, value))),
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (data, wanted) => data == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn containment_is_the_one_of_postgresql() {
        let data = json!({"a": 1, "b": {"c": [1, 2, {"d": null}]}, "e": "x", "f": 1.0});
        for (wanted, is) in [
            (json!({}), true),
            (json!({"a": 1}), true),
            (json!({"a": 1.0, "f": 1}), true),
            (json!({"a": "1"}), false),
            (json!({"b": {"c": [2, 1, 1]}}), true),
            (json!({"b": {"c": [{"d": null}]}}), true),
            (json!({"b": {"c": [3]}}), false),
            (json!({"b": {"c": 1}}), false),
            (json!({"z": null}), false),
            (json!([]), false),
        ] {
            assert_eq!(contains(&data, &wanted), is, "{wanted}");
        }
        assert!(contains(&json!(["a", "b"]), &json!("b")));
        assert!(!contains(&json!([["a"]]), &json!("a")));
    }
}
