//! A subscription as replies show it.

use outrider_config::Kind;
use outrider_config::resource::{ConditionsSpec, Scoped, SubscriptionSpec};
use outrider_webhook::filter::Scope;
use serde_json::{Value, json};

use super::super::Api;
use super::super::endpoints::{self, is_incoming};
use super::super::error::ApiError;
use super::super::filters;
use super::super::sources;
use super::super::time::at;
use crate::{Stored, View};

/// The whole reply shape. Endpoint and source are in it, and their ids nowhere else.
pub(super) fn reply(api: &Api, view: &View<'_>, one: &Stored) -> Result<Value, ApiError> {
    let spec: SubscriptionSpec = one.spec()?;
    let endpoint = named(view, one, Kind::Endpoint, spec.endpoint_id.as_deref())?;
    let endpoint = endpoint.map(|endpoint| endpoints::metadata(&endpoint, is_incoming(view, one)));
    let source = named(view, one, Kind::Source, spec.source_id.as_deref())?;
    let source = source.map(|source| sources::metadata(api, &source));
    let filters = filters::natives(one.uid(), &spec);
    let config = spec.filter_config.unwrap_or_default();
    let event_types = config.event_types.filter(|types| !types.is_empty());
    let filter = config.filter.unwrap_or_default();
    let scope = |scope| {
        filter
            .scope(scope)
            .map_or_else(|| json!({}), ConditionsSpec::value)
    };
    let mut shown = json!({
        "uid": one.uid(),
        "name": one.name,
        "type": "api",
        "project_id": one.document.project,
        "function": null,
        "source_metadata": source.transpose()?,
        "endpoint_metadata": endpoint.transpose()?,
        "device_metadata": null,
        "alert_config": spec.alert_config.as_ref().map(|alert| json!(alert)),
        "retry_config": null,
        "filter_config": {
            "event_types": event_types.unwrap_or_else(|| match filters.is_some() {
                true => Vec::new(),
                false => vec!["*".to_owned()],
            }),
            "filter": {
                "is_flattened": false,
                "headers": scope(Scope::Headers),
                "body": scope(Scope::Body),
                "query": scope(Scope::Query),
                "path": scope(Scope::Path),
            },
        },
        "rate_limit_config": null,
        "delivery_mode": spec.delivery_mode.filter(|mode| !mode.is_empty())
            .unwrap_or_else(|| "at_least_once".to_owned()),
        "created_at": at(one.created_ms),
        "updated_at": at(one.updated_ms),
        "deleted_at": null,
    });
    if let Value::Object(fields) = &mut shown {
        // Ours, and only where they are given: Convoy shows rows at a route of their own only.
        let mode = spec.filter_mode.filter(|mode| !mode.is_empty());
        let natives = [
            ("filters", filters),
            ("filter_mode", mode.map(Value::from)),
            ("order", spec.order.map(|order| json!(order))),
        ];
        for (name, value) in natives {
            fields.extend(value.map(|value| (name.to_owned(), value)));
        }
    }
    Ok(shown)
}

fn named(
    view: &View<'_>,
    one: &Stored,
    kind: Kind,
    uid: Option<&str>,
) -> Result<Option<Stored>, ApiError> {
    match uid.and_then(|text| text.parse().ok()) {
        Some(uid) => Ok(view.get(kind, one.document.project, uid)?),
        None => Ok(None),
    }
}
