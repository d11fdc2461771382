//! A policy that closes destinations as replies show it.

use outrider_config::resource::EgressPolicySpec;
use serde_json::{Value, json};

use super::super::error::ApiError;
use super::super::time::at;
use crate::Stored;

/// The whole reply shape. A list that is not there is null: an empty one could be taken for one
/// that names nothing.
pub(super) fn reply(one: &Stored) -> Result<Value, ApiError> {
    let spec: EgressPolicySpec = one.spec()?;
    Ok(json!({
        "uid": one.uid(),
        "name": spec.name,
        "projects": spec.projects,
        "deny": spec.deny,
        "only": spec.only,
        "ports": spec.ports,
        "created_at": at(one.created_ms),
        "updated_at": at(one.updated_ms),
        "deleted_at": null,
    }))
}
