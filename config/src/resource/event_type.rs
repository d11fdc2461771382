//! An event type in a project's catalogue: its name, and what its events look like.

use std::fmt;
use std::sync::Arc;

use outrider_webhook::event_type;
use outrider_webhook::id::{EventTypeId, ProjectId};
use outrider_webhook::schema::{self, Schema, SchemaError};
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::check::{Checks, FieldError, Reason};
use super::endpoint_spec::unix_s;
use super::field::{NOTE_BYTES_MAX, at_most, given};
use super::project::Project;

/// Longest description, bytes: a paragraph or two.
const DESCRIPTION_BYTES_MAX: usize = 4096;

/// What people write of an event type.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventTypeSpec {
    /// Required; 1 to 255 bytes, unique in the project. `*` is a name as well.
    pub name: Option<String>,
    /// For people: at most 255 bytes.
    pub category: Option<String>,
    /// For people: at most 4096 bytes.
    pub description: Option<String>,
    /// What the events of this type look like; anything when absent or empty.
    pub json_schema: Option<SchemaSpec>,
    /// Since when it should not be used any more, RFC 3339. Its events are still accepted.
    pub deprecated_at: Option<String>,
}

/// A JSON Schema as it was written: a map, or JSON in a text. Kept as text, because a null means
/// something in it, and documents do without theirs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SchemaSpec(Box<str>);

impl SchemaSpec {
    /// The schema of a value.
    #[must_use]
    pub fn of(value: &Value) -> Self {
        Self(value.to_string().into())
    }

    /// Its JSON; `None` when it is none.
    #[must_use]
    pub fn value(&self) -> Option<Value> {
        serde_json::from_str(&self.0).ok()
    }
}

impl<'de> Deserialize<'de> for SchemaSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;
        impl<'de> Visitor<'de> for Written {
            type Value = SchemaSpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON Schema")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<SchemaSpec, E> {
                Ok(SchemaSpec(text.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SchemaSpec, A::Error> {
                let map = de::value::MapAccessDeserializer::new(map);
                Value::deserialize(map).map(|value| SchemaSpec::of(&value))
            }
        }
        deserializer.deserialize_any(Written)
    }
}

/// A checked event type.
#[derive(Debug)]
pub struct EventType {
    id: EventTypeId,
    project: ProjectId,
    revision: u64,
    name: Arc<str>,
    schema: Option<Schema>,
    is_deprecated: bool,
}

impl EventType {
    /// Checks a specification for its project, and compiles its schema.
    ///
    /// # Errors
    /// Every field that cannot be used.
    pub fn compile(
        id: EventTypeId,
        revision: u64,
        project: &Project,
        spec: &EventTypeSpec,
    ) -> Result<Self, Vec<FieldError>> {
        let mut checks = Checks::default();
        let name = checks.require("name", given(spec.name.as_deref()));
        let name = name.and_then(|name| {
            let checked = event_type::check_name(name).map(|()| Arc::from(name));
            checks.take("name", checked.map_err(Reason::refused))
        });
        let (category, description) = (spec.category.as_deref(), spec.description.as_deref());
        at_most(&mut checks, "category", category, NOTE_BYTES_MAX);
        at_most(
            &mut checks,
            "description",
            description,
            DESCRIPTION_BYTES_MAX,
        );
        let schema = spec.json_schema.as_ref().and_then(|spec| {
            let compiled = compile(spec).map_err(Reason::refused);
            checks.take("json_schema", compiled).flatten()
        });
        let deprecated_at = given(spec.deprecated_at.as_deref());
        if let Some(text) = deprecated_at {
            checks.take("deprecated_at", unix_s(text));
        }
        let event_type = (|| {
            Some(Self {
                id,
                project: project.id(),
                revision,
                name: name?,
                schema,
                is_deprecated: deprecated_at.is_some(),
            })
        })();
        checks.finish(event_type)
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> EventTypeId {
        self.id
    }

    /// The project that owns it.
    #[must_use]
    pub fn project(&self) -> ProjectId {
        self.project
    }

    /// The revision that wrote it.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Its name, 1 to 255 bytes, unique in its project.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn shared_name(&self) -> &Arc<str> {
        &self.name
    }

    /// What its events look like; `None` when anything goes.
    #[must_use]
    pub fn schema(&self) -> Option<&Schema> {
        self.schema.as_ref()
    }

    /// Whether it should not be used any more.
    #[must_use]
    pub fn is_deprecated(&self) -> bool {
        self.is_deprecated
    }

    pub(crate) fn dump(&self) -> Value {
        json!({
            "uid": self.id.to_string(),
            "revision": self.revision,
            "name": &*self.name,
            "has_schema": self.schema.is_some(),
            "is_deprecated": self.is_deprecated,
        })
    }
}

/// `None` for a schema that says nothing.
fn compile(spec: &SchemaSpec) -> Result<Option<Schema>, SchemaError> {
    let text = spec.0.trim();
    if text.is_empty() {
        return Ok(None);
    }
    if text.len() > schema::BYTES_MAX {
        return Err(SchemaError::Size { bytes: text.len() });
    }
    let value = spec.value().ok_or(SchemaError::Shape)?;
    match value.as_object() {
        Some(map) if map.is_empty() => Ok(None),
        _ => Schema::compile(&value).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::{ProjectSpec, from_document, from_json, to_document};
    use outrider_webhook::id::Uid;

    fn project() -> Project {
        let spec = ProjectSpec {
            name: Some("p".into()),
            kind: Some("outgoing".into()),
            ..ProjectSpec::default()
        };
        Project::compile(ProjectId::new(Uid::from_bits(1)), 1, &spec).unwrap()
    }

    fn compiled(json: Value) -> Result<EventType, String> {
        let spec: EventTypeSpec = from_json(json).spec.unwrap();
        EventType::compile(EventTypeId::new(Uid::from_bits(2)), 1, &project(), &spec).map_err(
            |errors| {
                let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
                texts.join("; ")
            },
        )
    }

    #[test]
    fn every_field_that_cannot_be_used_is_named() {
        let error = compiled(json!({
            "name": " x", "category": "c".repeat(256), "description": "d".repeat(4097),
            "json_schema": {"type": "nothing"}, "deprecated_at": "yesterday",
        }));
        let error = error.unwrap_err();
        for field in [
            "name",
            "category",
            "description",
            "json_schema",
            "deprecated_at",
        ] {
            assert!(error.contains(&format!("`{field}`: ")), "{error}");
        }
        assert!(
            compiled(json!({}))
                .unwrap_err()
                .contains("`name`: is missing")
        );
        let large =
            json!({"name": "x", "json_schema": {"description": "x".repeat(schema::BYTES_MAX)}});
        assert!(
            compiled(large)
                .unwrap_err()
                .contains("at most 65536 are accepted")
        );
        for text in ["{", "7", "[]", "{} {}"] {
            let error = compiled(json!({"name": "x", "json_schema": text})).unwrap_err();
            assert_eq!(
                error, "`json_schema`: a JSON Schema is a JSON object",
                "{text}"
            );
        }
    }

    #[test]
    fn a_schema_that_says_nothing_is_none() {
        for json in [
            json!({"name": "*"}),
            json!({"name": "x", "json_schema": null}),
            json!({"name": "x", "json_schema": {}}),
            json!({"name": "x", "json_schema": ""}),
        ] {
            assert!(compiled(json).unwrap().schema().is_none());
        }
    }

    #[test]
    fn a_null_in_a_schema_survives_the_document() {
        let spec: EventTypeSpec = from_json(json!({"name": "x", "json_schema": {"const": null}}))
            .spec
            .unwrap();
        let document = to_document(&spec).unwrap();
        let again: EventTypeSpec = from_document(&document).unwrap();
        assert_eq!(again, spec);
        assert_eq!(
            again.json_schema.unwrap().value(),
            Some(json!({"const": null}))
        );
        let event_type =
            compiled(json!({"name": "x", "json_schema": "{\"const\": null}"})).unwrap();
        assert!(event_type.schema().unwrap().check(&json!(null)).is_ok());
        assert!(event_type.schema().unwrap().check(&json!(0)).is_err());
    }
}
