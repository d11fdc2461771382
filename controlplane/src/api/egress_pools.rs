//! Pools of source addresses.

use std::sync::Arc;

use outrider_config::Snapshot;
use outrider_config::resource::{FieldError, Reason};
use outrider_webhook::id::ProjectId;

use super::error::ApiError;

/// Refuses the name of a pool that a project cannot use. One that was there before is left alone:
/// a pool that has gone must not keep anybody from changing something else.
pub(super) fn refuse_unusable(
    snapshot: &Snapshot,
    project: ProjectId,
    (old, new): (Option<&str>, Option<&Arc<str>>),
) -> Result<(), ApiError> {
    let Some(name) = new.filter(|name| old != Some(&***name)) else {
        return Ok(());
    };
    snapshot.check_pool_use(project, name).map_err(|refused| {
        ApiError::Fields(vec![FieldError {
            field: "egress_pool".to_owned(),
            reason: Reason::Refused(Box::new(refused)),
        }])
    })
}
