//! Event types out of an OpenAPI document: its webhooks, each with the schema of its payload.
//!
//! Taken are `webhooks` (3.1), `x-webhooks` (3.0) and the callbacks of all operations. Whatever a
//! schema refers to inside the document comes with it; nothing outside is ever looked at. The
//! document is a stranger's: what is read of it is bounded, and so is what is made of it.

mod bundle;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::resource::{EventTypeSpec, SchemaSpec};

/// Most event types of one document.
pub const TYPES_MAX: usize = 500;
/// How many references one after the other are followed.
const HOPS_MAX: usize = 16;
/// Longest category and description that are taken over, bytes; the rest is cut.
const CATEGORY_BYTES_MAX: usize = 255;
const DESCRIPTION_BYTES_MAX: usize = 4096;
/// Values of a YAML document, and its nesting.
const YAML_NODES_MAX: usize = 200_000;
const YAML_DEPTH_MAX: usize = 100;

/// A document that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenApiError {
    /// Neither JSON nor YAML.
    #[error("is neither valid JSON nor valid YAML (without aliases): {0}")]
    Text(String),
    /// Something else.
    #[error("is no OpenAPI document of version 3.0 or 3.1")]
    Version,
    /// Nothing in it.
    #[error("has no `webhooks`, no `x-webhooks` and no callbacks")]
    Empty,
    /// More than [`TYPES_MAX`].
    #[error("has more than {TYPES_MAX} webhooks")]
    TooMany,
    /// A reference to nothing, in a circle, or out of the document.
    #[error("`{name}`: the reference `{to}` leads to nothing in the document")]
    Reference {
        /// Of which webhook.
        name: String,
        /// Where to.
        to: String,
    },
    /// One name, several payloads.
    #[error("`{0}` stands for more than one payload: give each a name of its own")]
    Ambiguous(String),
    /// A schema larger than an event type may have.
    #[error("`{0}`: the schema is larger than an event type may have, with all it refers to")]
    Large(String),
}

/// The event types of a document, in the order of their names.
///
/// # Errors
/// [`OpenApiError`].
pub fn event_types(text: &str) -> Result<Vec<EventTypeSpec>, OpenApiError> {
    let document = Document::parse(text)?;
    let mut types = BTreeMap::new();
    for (name, item) in document.webhooks()? {
        if types.len() == TYPES_MAX && !types.contains_key(name) {
            return Err(OpenApiError::TooMany);
        }
        let made = document.event_type(name, item)?;
        match types.get(name) {
            Some(known) if *known != made => return Err(OpenApiError::Ambiguous(cut(name, 64))),
            Some(_) => {}
            None => {
                types.insert(name, made);
            }
        }
    }
    if types.is_empty() {
        return Err(OpenApiError::Empty);
    }
    Ok(types.into_values().collect())
}

/// A document of a version that we know.
struct Document {
    root: Value,
    /// Version 3.0, whose schemas are a dialect of their own.
    is_3_0: bool,
}

impl Document {
    fn parse(text: &str) -> Result<Self, OpenApiError> {
        let root: Value = match serde_json::from_str(text) {
            Ok(root) => root,
            Err(_) => yaml(text)?,
        };
        let version = root.get("openapi").and_then(Value::as_str);
        match version.unwrap_or_default() {
            "3.0" | "3.1" => {}
            text if text.starts_with("3.0.") || text.starts_with("3.1.") => {}
            _ => return Err(OpenApiError::Version),
        }
        let is_3_0 = version.is_some_and(|text| text.starts_with("3.0"));
        Ok(Self { root, is_3_0 })
    }

    /// Names and path items.
    fn webhooks(&self) -> Result<Vec<(&str, &Value)>, OpenApiError> {
        let mut found = Vec::new();
        for key in ["webhooks", "x-webhooks"] {
            found.extend(members(self.root.get(key)));
        }
        for (path, item) in members(self.root.get("paths")) {
            let item = self.resolve(path, item)?;
            for (_, operation) in operations(item) {
                for (name, callback) in members(operation.get("callbacks")) {
                    let items = members(Some(self.resolve(name, callback)?));
                    found.extend(items.map(|(_, item)| (name, item)));
                }
            }
        }
        Ok(found)
    }

    fn event_type(&self, name: &str, item: &Value) -> Result<EventTypeSpec, OpenApiError> {
        let item = self.resolve(name, item)?;
        let operation = operations(item).next().map(|(_, operation)| operation);
        let text = |field: &str, bytes_max| {
            let text = operation?.get(field)?.as_str()?;
            Some(cut(text, bytes_max)).filter(|text| !text.is_empty())
        };
        let tag = operation.and_then(|operation| operation.get("tags")?.get(0)?.as_str());
        let schema = match operation.and_then(|operation| operation.get("requestBody")) {
            Some(body) => payload(self.resolve(name, body)?),
            None => None,
        };
        let schema = schema.map(|schema| bundle::bundle(self, name, schema));
        Ok(EventTypeSpec {
            name: Some(name.to_owned()),
            category: tag.map(|tag| cut(tag, CATEGORY_BYTES_MAX)),
            description: text("description", DESCRIPTION_BYTES_MAX)
                .or_else(|| text("summary", DESCRIPTION_BYTES_MAX)),
            json_schema: schema.transpose()?.map(|schema| SchemaSpec::of(&schema)),
            deprecated_at: None,
        })
    }

    /// What stands there, or what it refers to.
    fn resolve<'d>(&'d self, name: &str, value: &'d Value) -> Result<&'d Value, OpenApiError> {
        let mut at = value;
        for _ in 0..HOPS_MAX {
            let Some(to) = at.get("$ref").and_then(Value::as_str) else {
                return Ok(at);
            };
            at = self.find(name, to)?;
        }
        let to = at.get("$ref").and_then(Value::as_str).unwrap_or_default();
        Err(dangling(name, to))
    }

    fn find(&self, name: &str, to: &str) -> Result<&Value, OpenApiError> {
        let pointer = to.strip_prefix('#').filter(|rest| rest.starts_with('/'));
        let pointer = pointer.and_then(|text| percent_decode_str(text).decode_utf8().ok());
        let found = pointer.and_then(|pointer| self.root.pointer(&pointer));
        found.ok_or_else(|| dangling(name, to))
    }
}

fn yaml(text: &str) -> Result<Value, OpenApiError> {
    let budget = serde_saphyr::budget! {
        max_events: YAML_NODES_MAX * 2,
        max_nodes: YAML_NODES_MAX,
        max_depth: YAML_DEPTH_MAX,
        max_documents: 1,
        // A text of a megabyte could name itself any number of times.
        max_aliases: 0,
    };
    let options = serde_saphyr::options! {
        budget: budget,
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let words = error.without_snippet().to_string();
        let words: Vec<&str> = words.split_whitespace().collect();
        OpenApiError::Text(cut(&words.join(" "), 200))
    })
}

fn dangling(name: &str, to: &str) -> OpenApiError {
    OpenApiError::Reference {
        name: cut(name, 64),
        to: cut(to, 128),
    }
}

/// The members of a map; none of anything else. Extensions are no members.
fn members(value: Option<&Value>) -> impl Iterator<Item = (&str, &Value)> {
    let map = value.and_then(Value::as_object).into_iter().flatten();
    map.map(|(key, value)| (key.as_str(), value))
        .filter(|(key, _)| !key.starts_with("x-"))
}

/// The operations of a path item, the likeliest first.
fn operations(item: &Value) -> impl Iterator<Item = (&'static str, &Value)> {
    const METHODS: [&str; 8] = [
        "post", "put", "patch", "get", "delete", "options", "head", "trace",
    ];
    METHODS
        .into_iter()
        .filter_map(|method| Some((method, item.get(method)?)))
}

/// The schema of a body that is JSON.
fn payload(body: &Value) -> Option<&Value> {
    let content = body.get("content")?.as_object()?;
    let is_json = |kind: &str| {
        let essence = kind.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/json") || essence.ends_with("+json")
    };
    let media = content.iter().find(|(kind, _)| is_json(kind));
    let media = media.map(|(_, media)| media).or_else(|| content.get("*/*"));
    media?.get("schema")
}

/// As much of a text as fits.
fn cut(text: &str, bytes_max: usize) -> String {
    let end = text.floor_char_boundary(bytes_max);
    text.get(..end).unwrap_or_default().to_owned()
}
