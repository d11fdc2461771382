//! A filter as replies show it.

use outrider_config::resource::{ConditionsSpec, Scoped, SubscriptionSpec};
use outrider_webhook::filter::Scope;
use outrider_webhook::id::Uid;
use serde_json::{Map, Value, json};

use super::super::error::ApiError;
use super::super::time::at;
use super::rows::{self, Row};
use crate::Stored;

/// All filters of a subscription.
pub(super) fn all(one: &Stored) -> Result<Value, ApiError> {
    let spec: SubscriptionSpec = one.spec()?;
    let rows = rows::all(one.uid(), &spec);
    Ok(rows.iter().map(|row| reply(one, row)).collect())
}

/// The whole reply shape: conditions as they were sent (`raw_`), and with dotted paths.
pub(super) fn reply(one: &Stored, row: &Row) -> Value {
    let enabled_at = match (&row.spec.enabled_at, row.spec.is_disabled) {
        (_, Some(true)) => Value::Null,
        (Some(given), _) => given.as_str().into(),
        (None, _) => at(one.created_ms),
    };
    let raw = |scope| {
        row.spec
            .scope(scope)
            .map_or_else(|| json!({}), ConditionsSpec::value)
    };
    json!({
        "uid": row.uid,
        "subscription_id": one.uid(),
        "event_type": row.event_type,
        "enabled_at": enabled_at,
        "headers": flattened(raw(Scope::Headers)),
        "body": flattened(raw(Scope::Body)),
        "query": flattened(raw(Scope::Query)),
        "path": flattened(raw(Scope::Path)),
        "raw_headers": raw(Scope::Headers),
        "raw_body": raw(Scope::Body),
        "raw_query": raw(Scope::Query),
        "raw_path": raw(Scope::Path),
    })
}

/// The stored rows in the form in which they are written; `None` without any.
pub(in crate::api) fn natives(subscription: Uid, spec: &SubscriptionSpec) -> Option<Value> {
    let stored = spec.filters.as_deref().unwrap_or_default();
    let shown = stored.iter().map(|row| {
        let event_type = row.event_type.as_deref().unwrap_or_default();
        let uid = row.uid.as_deref().map_or_else(
            || json!(rows::uid_of(subscription, event_type)),
            |uid| json!(uid),
        );
        let mut shown = Map::new();
        shown.insert("uid".to_owned(), uid);
        shown.insert("event_type".to_owned(), event_type.into());
        if let Some(at) = &row.enabled_at {
            shown.insert("enabled_at".to_owned(), at.as_str().into());
        }
        if let Some(is_disabled) = row.is_disabled {
            shown.insert("is_disabled".to_owned(), is_disabled.into());
        }
        for scope in Scope::ALL {
            if let Some(conditions) = row.scope(scope) {
                shown.insert(scope.as_str().to_owned(), conditions.value());
            }
        }
        Value::Object(shown)
    });
    let shown: Vec<Value> = shown.collect();
    (!shown.is_empty()).then_some(Value::Array(shown))
}

/// One level of dotted paths; an operator ends a path, and its filters are flattened in turn.
fn flattened(conditions: Value) -> Value {
    match conditions {
        Value::Object(map) => {
            let mut flat = Map::new();
            flatten(map, "", &mut flat);
            Value::Object(flat)
        }
        other => other,
    }
}

fn flatten(map: Map<String, Value>, prefix: &str, flat: &mut Map<String, Value>) {
    let is_operator = |key: &str| key.starts_with('$') && !key.starts_with("$.");
    for (key, value) in map {
        if is_operator(&key) {
            let value = match value {
                Value::Array(items) => items.into_iter().map(flattened).collect(),
                other => other,
            };
            match prefix {
                "" => flat.insert(key, value),
                prefix => {
                    let below = flat.entry(prefix).or_insert_with(|| json!({}));
                    below
                        .as_object_mut()
                        .and_then(|below| below.insert(key, value))
                }
            };
            continue;
        }
        let path = match prefix {
            "" => key,
            prefix => format!("{prefix}.{key}"),
        };
        match value {
            Value::Object(inner) if !inner.is_empty() => flatten(inner, &path, flat),
            other => {
                flat.insert(path, other);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_flattened_up_to_their_operators() {
        let given = json!({
            "a": {"b": {"$gt": 1, "$lt": 3}, "c": [1], "d": {}},
            "$or": [{"x": {"y": 1}}, {"$.z": {"w": null}}],
            "e": {"$and": [{"f": {"g": 1}}]},
        });
        assert_eq!(
            flattened(given),
            json!({
                "a.b": {"$gt": 1, "$lt": 3}, "a.c": [1], "a.d": {},
                "$or": [{"x.y": 1}, {"$.z.w": null}],
                "e": {"$and": [{"f.g": 1}]},
            })
        );
        assert_eq!(flattened(json!({})), json!({}));
    }
}
