//! References of a schema: all of them lead into the same document, and to one place each.

use std::collections::HashMap;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::{SchemaError, cut};

/// Keywords whose value is data, not a schema: what looks like a keyword in there is none.
const DATA: [&str; 5] = ["const", "default", "enum", "example", "examples"];
/// Keywords that refer to another schema.
pub(super) const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];

/// Where references may lead.
pub(super) struct Places<'s> {
    root: &'s Value,
    /// Schemas by `$anchor` and `$dynamicAnchor`.
    anchors: HashMap<&'s str, &'s Value>,
}

impl<'s> Places<'s> {
    /// The places of a schema. Its nesting is bounded.
    pub(super) fn of(root: &'s Value) -> Result<Self, SchemaError> {
        let mut places = Self {
            root,
            anchors: HashMap::new(),
        };
        let is_draft_4 = root
            .get("$schema")
            .and_then(Value::as_str)
            .is_some_and(|text| text.contains("/draft-04/"));
        places.scan(
            root,
            &mut String::new(),
            if is_draft_4 { "id" } else { "$id" },
        )?;
        Ok(places)
    }

    fn scan(&mut self, value: &'s Value, at: &mut String, id: &str) -> Result<(), SchemaError> {
        match value {
            Value::Array(items) => {
                for item in items {
                    self.scan(item, at, id)?;
                }
            }
            Value::Object(map) => {
                // One below the top would give the references around it another base. One at the
                // top that is a mere fragment is a name for the place, of draft 6.
                let identifier = map.get(id).and_then(Value::as_str);
                let is_top = at.is_empty() && !identifier.is_some_and(|id| id.starts_with('#'));
                if identifier.is_some() && !is_top {
                    return Err(SchemaError::Identifier { at: cut(at) });
                }
                self.note_anchors(map, value);
                for (key, inner) in map {
                    if DATA.contains(&key.as_str()) {
                        continue;
                    }
                    let len = at.len();
                    at.push('/');
                    at.push_str(key);
                    self.scan(inner, at, id)?;
                    at.truncate(len);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn note_anchors(&mut self, map: &'s Map<String, Value>, schema: &'s Value) {
        for keyword in ["$anchor", "$dynamicAnchor"] {
            if let Some(name) = map.get(keyword).and_then(Value::as_str) {
                self.anchors.insert(name, schema);
            }
        }
    }

    /// What a reference leads to. `at` is where it stands, for the message.
    pub(super) fn find(
        &self,
        to: &Value,
        at: impl Fn() -> String,
    ) -> Result<&'s Value, SchemaError> {
        let dangling = || SchemaError::Dangling {
            at: at(),
            to: cut(to.as_str().unwrap_or_default()),
        };
        let text = to.as_str().ok_or_else(dangling)?;
        let Some(fragment) = text.strip_prefix('#') else {
            return Err(SchemaError::Outside {
                at: at(),
                to: cut(text),
            });
        };
        if fragment.is_empty() {
            return Ok(self.root);
        }
        if !fragment.starts_with('/') {
            return self.anchors.get(fragment).copied().ok_or_else(dangling);
        }
        let pointer = percent_decode_str(fragment)
            .decode_utf8()
            .map_err(|_| dangling())?;
        // Data was not looked through for identifiers.
        if pointer.split('/').any(|step| DATA.contains(&step)) {
            return Err(dangling());
        }
        let found = self.root.pointer(&pointer).ok_or_else(dangling)?;
        match found {
            Value::Object(_) | Value::Bool(_) => Ok(found),
            _ => Err(dangling()),
        }
    }
}
