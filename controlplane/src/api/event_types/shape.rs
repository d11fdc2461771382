//! An event type as replies show it.

use outrider_config::resource::EventTypeSpec;
use outrider_webhook::id::Uid;
use serde_json::{Value, json};

/// The whole reply shape (contract 3.7).
pub(super) fn reply(uid: Uid, spec: EventTypeSpec) -> Value {
    let schema = spec.json_schema.and_then(|schema| schema.value());
    let schema = schema.filter(|schema| schema.as_object().is_none_or(|map| !map.is_empty()));
    json!({
        "uid": uid,
        "name": spec.name,
        "category": spec.category.unwrap_or_default(),
        "description": spec.description.unwrap_or_default(),
        "json_schema": schema,
        "deprecated_at": spec.deprecated_at.filter(|text| !text.is_empty()),
    })
}
