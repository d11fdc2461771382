//! A schema of an OpenAPI document with all it refers to, as one JSON Schema.

use std::collections::HashMap;

use outrider_webhook::schema::BYTES_MAX;
use serde_json::{Map, Value, json};

use super::{Document, OpenApiError, cut, dangling};

/// Keywords that say nothing about a value and may be large.
const DROPPED: [&str; 6] = [
    "default",
    "discriminator",
    "example",
    "examples",
    "externalDocs",
    "xml",
];

/// The schema, self-contained.
pub(super) fn bundle(
    document: &Document,
    name: &str,
    schema: &Value,
) -> Result<Value, OpenApiError> {
    let mut bundle = Bundle {
        document,
        name,
        names: HashMap::new(),
        todo: Vec::new(),
        bytes: 0,
    };
    let mut root = match bundle.schema(schema)? {
        Value::Object(map) => map,
        other => Map::from_iter([("allOf".to_owned(), json!([other]))]), // a schema that is a boolean
    };
    let mut definitions = Map::new();
    while let Some((name, schema)) = bundle.todo.pop() {
        let schema = bundle.schema(schema)?;
        definitions.insert(name, schema);
    }
    if !definitions.is_empty() {
        root.insert("$defs".to_owned(), definitions.into());
    }
    Ok(root.into())
}

struct Bundle<'d> {
    document: &'d Document,
    /// The webhook, for messages.
    name: &'d str,
    /// Definitions by what refers to them.
    names: HashMap<&'d str, String>,
    /// Definitions that are not made yet.
    todo: Vec<(String, &'d Value)>,
    bytes: usize,
}

impl<'d> Bundle<'d> {
    fn schema(&mut self, schema: &'d Value) -> Result<Value, OpenApiError> {
        let Value::Object(keywords) = schema else {
            return Ok(schema.clone());
        };
        let mut made = Map::new();
        for (keyword, value) in keywords {
            if DROPPED.contains(&keyword.as_str()) || keyword.starts_with("x-") {
                continue;
            }
            let value = self.keyword(keyword, value)?;
            made.insert(keyword.clone(), value);
        }
        if self.document.is_3_0 {
            modern(&mut made);
        }
        Ok(made.into())
    }

    fn keyword(&mut self, keyword: &str, value: &'d Value) -> Result<Value, OpenApiError> {
        match (keyword, value) {
            ("$ref", Value::String(to)) => self.reference(to).map(Value::String),
            (
                "properties" | "patternProperties" | "dependentSchemas" | "$defs" | "definitions",
                Value::Object(members),
            ) => {
                let mut made = Map::new();
                for (name, schema) in members {
                    self.count(name.len())?;
                    made.insert(name.clone(), self.schema(schema)?);
                }
                Ok(made.into())
            }
            ("allOf" | "anyOf" | "oneOf" | "prefixItems" | "items", Value::Array(schemas)) => {
                let made: Result<Vec<Value>, _> =
                    schemas.iter().map(|schema| self.schema(schema)).collect();
                Ok(made?.into())
            }
            (
                "items"
                | "not"
                | "if"
                | "then"
                | "else"
                | "contains"
                | "propertyNames"
                | "additionalProperties"
                | "unevaluatedProperties"
                | "unevaluatedItems"
                | "additionalItems",
                schema,
            ) => self.schema(schema),
            (_, value) => {
                self.count(value.to_string().len())?;
                Ok(value.clone())
            }
        }
    }

    fn reference(&mut self, to: &'d str) -> Result<String, OpenApiError> {
        let known = self.names.get(to).cloned();
        let name = match known {
            Some(name) => name,
            None => self.define(to)?,
        };
        self.count(name.len())?;
        let step = name.replace('~', "~0").replace('/', "~1");
        Ok(format!("#/$defs/{step}"))
    }

    /// Named as in the document, where that is not taken.
    fn define(&mut self, to: &'d str) -> Result<String, OpenApiError> {
        let schema = self.document.find(self.name, to)?;
        if !(schema.is_object() || schema.is_boolean()) {
            return Err(dangling(self.name, to));
        }
        let last = to.rsplit('/').next().unwrap_or_default();
        // Plain characters only: the name stands in references, which are URIs.
        let plain = |letter: char| match letter {
            letter if letter.is_ascii_alphanumeric() || "._-".contains(letter) => letter,
            _ => '_',
        };
        let mut name: String = last.chars().take(64).map(plain).collect();
        if self.names.values().any(|taken| *taken == name) {
            name = format!("{name}.{}", self.names.len());
        }
        self.names.insert(to, name.clone());
        self.todo.push((name.clone(), schema));
        Ok(name)
    }

    /// Counts what is made, before it is more than can be used.
    fn count(&mut self, bytes: usize) -> Result<(), OpenApiError> {
        self.bytes += bytes;
        match self.bytes > BYTES_MAX {
            true => Err(OpenApiError::Large(cut(self.name, 64))),
            false => Ok(()),
        }
    }
}

/// A schema of OpenAPI 3.0 in the words of JSON Schema.
fn modern(schema: &mut Map<String, Value>) {
    if schema.contains_key("$ref") {
        schema.retain(|keyword, _| keyword == "$ref"); // nothing beside it counts
        return;
    }
    for (limit, exclusive) in [
        ("minimum", "exclusiveMinimum"),
        ("maximum", "exclusiveMaximum"),
    ] {
        let Some(Value::Bool(is_exclusive)) = schema.get(exclusive).cloned() else {
            continue;
        };
        schema.remove(exclusive);
        if let (true, Some(value)) = (is_exclusive, schema.remove(limit)) {
            schema.insert(exclusive.to_owned(), value);
        }
    }
    if schema.remove("nullable") != Some(Value::Bool(true)) {
        return;
    }
    let inner = std::mem::take(schema);
    let alternatives = json!([{"type": "null"}, inner]);
    schema.insert("anyOf".to_owned(), alternatives);
}
