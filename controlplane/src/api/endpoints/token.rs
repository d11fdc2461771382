//! `POST P/endpoints/oauth2/test`: whether a client of a token endpoint gets a token. A data plane
//! asks, by the way that deliveries take: this process fetches nothing for anybody.

use std::time::Duration;

use outrider_config::resource::{FieldError, OAuth2Spec, Reason, to_document};
use outrider_webhook::address::{Guard, ProjectRef};
use outrider_webhook::secret::Secret;
use outrider_xds::{Action, CLIENT_BYTES_MAX};
use serde::Deserialize;

use super::super::ask;
use super::super::body::JsonBody;
use super::super::call::ProjectCall;
use super::super::error::{Answer, ApiError};
use super::super::reply::Reply;

/// Longer than a data plane gives a token endpoint, which is 10 s.
const ANSWER_LIMIT: Duration = Duration::from_secs(12);

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Trial {
    oauth2: Option<OAuth2Spec>,
}

pub(super) async fn try_out(call: ProjectCall, body: JsonBody) -> Answer {
    let (Trial { oauth2 }, ignored) = body.read::<Trial>()?;
    let spec = oauth2.ok_or_else(|| refused("oauth2", Reason::Missing))?;
    check(&call, &spec)?;
    let document = String::from_utf8_lossy(&to_document(&spec)?).into_owned();
    if document.len() > CLIENT_BYTES_MAX {
        return Err(refused("oauth2", Reason::Shape("at most 128 KiB of JSON")));
    }
    let action = Action::TryToken {
        project: call.project,
        client: Secret::new(document),
    };
    let said = ask::somebody(&call.api, action, ANSWER_LIMIT).await?;
    Ok(Reply::ok("OAuth2 connection tested successfully", said).ignoring(ignored))
}

/// As of an endpoint that would have it.
fn check(call: &ProjectCall, spec: &OAuth2Spec) -> Result<(), ApiError> {
    let snapshot = call.api.control().journal().snapshot();
    let table = snapshot.project(call.project);
    let project = table.ok_or(ApiError::ProjectHeld)?.project();
    let client = spec.on_trial(project)?;
    let project = ProjectRef {
        id: project.id(),
        name: project.name(),
    };
    let guard = Guard {
        policy: call.api.egress(),
        closings: snapshot.closings(),
    };
    let allowed = guard.check_target(&project, client.url());
    allowed.map_err(|denied| refused("oauth2.url", Reason::Refused(Box::new(denied))))
}

fn refused(field: &str, reason: Reason) -> ApiError {
    ApiError::Fields(vec![FieldError {
        field: field.to_owned(),
        reason,
    }])
}
