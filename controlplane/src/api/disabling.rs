//! That a data plane switched an endpoint off becomes configuration here (RULINGS 16): one
//! revision, whose author is the data plane.

use outrider_config::Kind;
use outrider_config::resource::{EndpointSpec, EndpointStatus};
use outrider_xds::DisabledEndpoint;

use super::endpoints;
use super::error::ApiError;
use super::write::Writing;
use crate::Edit;

/// What has to change. Nothing when the endpoint is off or gone, or was switched on since the
/// data plane decided.
pub(super) fn edits(
    writing: &Writing<'_>,
    disabled: DisabledEndpoint,
) -> Result<Vec<Edit>, ApiError> {
    let uid = disabled.endpoint.uid();
    let stored = writing.view.get(Kind::Endpoint, writing.project, uid)?;
    let Some(before) = stored else {
        return Ok(Vec::new());
    };
    let mut spec: EndpointSpec = before.spec()?;
    let is_newer = spec.activation_epoch.unwrap_or(0) > disabled.activation_epoch;
    if is_newer || spec.is_inactive() {
        return Ok(Vec::new());
    }
    // A resource file says it anew at each start, and nobody could activate it through the API.
    writing.editable(Kind::Endpoint, uid)?;
    spec = endpoints::with_status(spec, EndpointStatus::Inactive);
    spec.disabled_reason = Some(disabled.reason);
    let after = writing.changed(&before, &spec)?;
    Ok(vec![Edit::update(before, after)])
}
