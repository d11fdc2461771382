//! A subscription as replies show it.

use outrider_config::Kind;
use outrider_config::resource::SubscriptionSpec;
use serde_json::{Value, json};

use super::super::Api;
use super::super::endpoints::{self, is_incoming};
use super::super::error::ApiError;
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
    let event_types = spec.filter_config.and_then(|config| config.event_types);
    let event_types = event_types.filter(|types| !types.is_empty());
    Ok(json!({
        "uid": one.uid(),
        "name": one.name,
        "type": "api",
        "project_id": one.document.project,
        "function": null,
        "source_metadata": source.transpose()?,
        "endpoint_metadata": endpoint.transpose()?,
        "device_metadata": null,
        "alert_config": null,
        "retry_config": null,
        "filter_config": {
            "event_types": event_types.unwrap_or_else(|| vec!["*".to_owned()]),
            "filter": {"is_flattened": false, "headers": {}, "body": {}, "query": {}, "path": {}},
        },
        "rate_limit_config": null,
        "delivery_mode": spec.delivery_mode.filter(|mode| !mode.is_empty())
            .unwrap_or_else(|| "at_least_once".to_owned()),
        "created_at": at(one.created_ms),
        "updated_at": at(one.updated_ms),
        "deleted_at": null,
    }))
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
