//! A pool of source addresses as replies show it.

use outrider_config::resource::{EgressPoolSpec, PoolAddressSpec};
use serde_json::{Value, json};

use super::super::error::ApiError;
use super::super::time::at;
use crate::Stored;

/// The whole reply shape. What is not set shows its default.
pub(super) fn reply(one: &Stored) -> Result<Value, ApiError> {
    let spec: EgressPoolSpec = one.spec()?;
    let addresses = spec.addresses.unwrap_or_default();
    let addresses: Vec<Value> = addresses.into_iter().map(address).collect();
    Ok(json!({
        "uid": one.uid(),
        "name": spec.name,
        "mode": text(spec.mode, "shared"),
        "selection": text(spec.selection, "least_connections"),
        "addresses": addresses,
        "fallback": spec.fallback.filter(|name| !name.is_empty()),
        "max_connections": spec.max_connections.filter(|count| *count != 0),
        "region": spec.region.unwrap_or_default(),
        "projects": spec.projects.unwrap_or_default(),
        "created_at": at(one.created_ms),
        "updated_at": at(one.updated_ms),
        "deleted_at": null,
    }))
}

fn address(spec: PoolAddressSpec) -> Value {
    json!({
        "address": spec.address,
        "state": text(spec.state, "active"),
        "effective_at": spec.effective_at.filter(|text| !text.is_empty()),
        "retired_at": spec.retired_at.filter(|text| !text.is_empty()),
    })
}

fn text(text: Option<String>, default: &str) -> String {
    text.filter(|text| !text.is_empty())
        .unwrap_or_else(|| default.to_owned())
}
