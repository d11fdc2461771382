//! Endpoints (contract 3.2).

mod authentication;
mod change;
mod secrets;
mod shape;
mod token;

use std::time::Duration;

use axum::Router;
use axum::routing::{get, post, put};
use outrider_config::Kind;
use outrider_config::resource::{Endpoint, EndpointSpec, EndpointStatus, FieldError, Reason};
use outrider_webhook::address::{Guard, Policy, ProjectRef};
use outrider_webhook::id::{EndpointId, Uid};
use outrider_xds::{Action, Question};
use serde_json::Value;

use super::body::JsonBody;
use super::call::ProjectCall;
use super::egress_pools;
use super::error::{Answer, ApiError};
use super::reply::Reply;
use super::write::Writing;
use super::{Api, ask, not_supported};
use crate::{Edit, Selection, Stored, View};

pub(super) use change::{created, keep, keep_text, with_status};
use secrets::ExpireSpec;
pub(super) use shape::{is_incoming, metadata};

/// Longer than a data plane takes: a token, and two rounds of requests, 5 s each.
const PING_LIMIT: Duration = Duration::from_secs(17);

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/endpoints", get(list).post(create))
        .route("/endpoints/{id}", get(show).put(update).delete(remove))
        .route("/endpoints/{id}/expire_secret", put(expire_secret))
        .route("/endpoints/{id}/pause", put(pause))
        .route("/endpoints/{id}/activate", post(activate))
        .route("/endpoints/{id}/lane", get(lane))
        .route("/endpoints/{id}/ping", post(ping))
        .route("/endpoints/period-failure-rates", get(not_supported))
        .route("/endpoints/oauth2/test", post(token::try_out))
}

async fn list(call: ProjectCall) -> Answer {
    let selection = Selection {
        name_part: call.query.text("q"),
        owner: call.query.text("ownerId"),
        ..Selection::all(Kind::Endpoint, call.project)
    };
    let (now_ms, version) = (call.api.now_ms(), call.version);
    call.list(
        "Endpoints fetched successfully",
        selection,
        move |view, one| {
            let is_incoming = is_incoming(view, one);
            Ok(version.endpoint(shape::reply(one, is_incoming, now_ms)?))
        },
    )
    .await
}

/// What stands in the way of its deliveries, in each data plane.
async fn lane(call: ProjectCall) -> Answer {
    let question = Question::Lane {
        project: call.project,
        endpoint: EndpointId::new(call.uid(Kind::Endpoint)?),
    };
    let api = call.api.clone();
    call.show(Kind::Endpoint, |_: &View<'_>, _: Stored| Ok(Value::Null))
        .await?;
    let said = ask::everybody(&api, question, "lanes").await;
    Ok(Reply::ok("Lane fetched successfully", said))
}

/// Sends it a request from each address that it may be called from.
async fn ping(call: ProjectCall) -> Answer {
    let action = Action::Ping {
        project: call.project,
        endpoint: EndpointId::new(call.uid(Kind::Endpoint)?),
    };
    let api = call.api.clone();
    call.show(Kind::Endpoint, |_: &View<'_>, _: Stored| Ok(Value::Null))
        .await?;
    let said = ask::somebody(&api, action, PING_LIMIT).await?;
    Ok(Reply::ok("Endpoint pinged", said))
}

async fn show(call: ProjectCall) -> Answer {
    let (now_ms, version) = (call.api.now_ms(), call.version);
    let show =
        move |view: &View<'_>, one: Stored| shape::reply(&one, is_incoming(view, &one), now_ms);
    let shown = call.show(Kind::Endpoint, show).await?;
    Ok(Reply::ok(
        "Endpoint fetched successfully",
        version.endpoint(shown),
    ))
}

async fn create(call: ProjectCall, body: JsonBody) -> Answer {
    let (given, ignored) = read(&call, body)?;
    let (api, is_advanced) = (call.api.clone(), call.version.has_advanced_signatures());
    let create = move |writing: &Writing<'_>| {
        let project = writing.rules()?;
        let uid = writing.new_uid();
        let spec = change::created(given, project, is_advanced, writing.by);
        let endpoint = check(writing, uid, &spec)?;
        refuse_out_of_bounds(api.egress(), writing, &endpoint)?;
        refuse_pool(writing, None, &endpoint)?;
        refuse_duplicate(writing, spec.name.as_deref())?;
        let created = writing.made(Kind::Endpoint, uid, &spec)?;
        Ok((vec![Edit::create(created.clone())], created))
    };
    let done = call.change(create).await?;
    let shown = shown(&call, &done.value)?;
    Ok(Reply::created("Endpoint created successfully", shown)
        .in_force(done.in_force)
        .ignoring(ignored))
}

async fn update(call: ProjectCall, body: JsonBody) -> Answer {
    let (given, ignored) = read(&call, body)?;
    let update = move |old: EndpointSpec, writing: &Writing<'_>| {
        Ok(change::merged(old, given, writing.rules()?, writing.by))
    };
    let reply = edit(&call, "Endpoint updated successfully", update).await?;
    Ok(reply.ignoring(ignored))
}

async fn remove(call: ProjectCall) -> Answer {
    let done = call.delete(Kind::Endpoint).await?;
    Ok(Reply::ok("Endpoint deleted successfully", Value::Null).in_force(done.in_force))
}

async fn expire_secret(call: ProjectCall, body: JsonBody) -> Answer {
    let (given, ignored) = body.read::<ExpireSpec>()?;
    let expire =
        move |old, writing: &Writing<'_>| secrets::expire(old, given, writing.rules()?, writing.by);
    let (stored, in_force) = edited(&call, expire).await?;
    let shown = shown(&call, &stored)?;
    let warning = secrets::warning(&call.api.control().journal().snapshot(), &stored)?;
    Ok(Reply::ok("endpoint secret expired successfully", shown)
        .in_force(in_force)
        .warning(warning)
        .ignoring(ignored))
}

/// Active to paused and back.
async fn pause(call: ProjectCall) -> Answer {
    let toggle = |old: EndpointSpec, _: &Writing<'_>| match shape::status(&old) {
        "active" => Ok(change::with_status(old, EndpointStatus::Paused)),
        "paused" => Ok(change::with_status(old, EndpointStatus::Active)),
        _ => Err(ApiError::State(
            "the endpoint is inactive and can neither be paused nor resumed: activate it",
        )),
    };
    edit(&call, "endpoint status updated successfully", toggle).await
}

async fn activate(call: ProjectCall) -> Answer {
    let activate = |old: EndpointSpec, _: &Writing<'_>| match shape::status(&old) {
        "active" => Err(ApiError::State("the endpoint is already active")),
        _ => Ok(change::activated(old)),
    };
    edit(&call, "endpoint status successfully activated", activate).await
}

/// The body, as clients of today write it. Who sends a reply back must not undo with it what has
/// happened since: secrets and status, with what stands beside it, change by their own
/// routes, by `secret` and by `is_disabled` (contract 3.2).
fn read(
    call: &ProjectCall,
    mut body: JsonBody,
) -> Result<(EndpointSpec, super::ignored::Ignored), ApiError> {
    let json = call.version.modern(body.json.take())?;
    body.with(json)
        .ignore("secrets")
        .ignore("status")
        .ignore("activation_epoch")
        .ignore("disabled_reason")
        .read()
}

/// Changes an endpoint and shows it.
async fn edit(
    call: &ProjectCall,
    message: &'static str,
    change: impl FnOnce(EndpointSpec, &Writing<'_>) -> Result<EndpointSpec, ApiError> + Send + 'static,
) -> Answer {
    let (stored, in_force) = edited(call, change).await?;
    Ok(Reply::accepted(message, shown(call, &stored)?).in_force(in_force))
}

async fn edited(
    call: &ProjectCall,
    change: impl FnOnce(EndpointSpec, &Writing<'_>) -> Result<EndpointSpec, ApiError> + Send + 'static,
) -> Result<(Stored, super::write::InForce), ApiError> {
    let (api, uid) = (call.api.clone(), call.uid(Kind::Endpoint)?);
    let edit = move |writing: &Writing<'_>| {
        let before = writing.editable(Kind::Endpoint, uid)?;
        let old: EndpointSpec = before.spec()?;
        let old_urls = (old.url.clone(), token_url(&old));
        let old_pool = old.egress_pool.clone();
        let mut spec = change(
            secrets::without_expired(old.clone(), writing.now_ms()),
            writing,
        )?;
        spec.follow(&old);
        let endpoint = check(writing, uid, &spec)?;
        // An address that is closed by now must not keep anybody from pausing its endpoint.
        if (spec.url.clone(), token_url(&spec)) != old_urls {
            refuse_out_of_bounds(api.egress(), writing, &endpoint)?;
        }
        refuse_pool(writing, old_pool.as_deref(), &endpoint)?;
        if spec.name.as_deref() != Some(&before.name) {
            refuse_duplicate(writing, spec.name.as_deref())?;
        }
        let after = writing.changed(&before, &spec)?;
        Ok((vec![Edit::update(before, after.clone())], after))
    };
    let done = call.change(edit).await?;
    Ok((done.value, done.in_force))
}

fn refuse_pool(
    writing: &Writing<'_>,
    old: Option<&str>,
    endpoint: &Endpoint,
) -> Result<(), ApiError> {
    let pool = (old, endpoint.egress_pool());
    egress_pools::refuse_unusable(writing.view.snapshot(), writing.project, pool)
}

/// Where its tokens come from, as it is written.
fn token_url(spec: &EndpointSpec) -> Option<String> {
    spec.authentication.as_ref()?.oauth2.as_ref()?.url.clone()
}

/// The rules of an endpoint of the project.
pub(super) fn check(
    writing: &Writing<'_>,
    uid: Uid,
    spec: &EndpointSpec,
) -> Result<Endpoint, ApiError> {
    let id = EndpointId::new(uid);
    Ok(Endpoint::compile(id, 0, writing.rules()?, spec)?)
}

/// Refuses what no delivery would get to. What a name resolves to is judged when it is called:
/// today's answer says nothing of that.
pub(super) fn refuse_out_of_bounds(
    egress: &Policy,
    writing: &Writing<'_>,
    endpoint: &Endpoint,
) -> Result<(), ApiError> {
    let guard = Guard {
        policy: egress,
        closings: writing.view.snapshot().closings(),
    };
    refuse_denied(&guard, writing, endpoint)
}

/// Refuses what this does not admit.
pub(super) fn refuse_denied(
    guard: &Guard<'_>,
    writing: &Writing<'_>,
    endpoint: &Endpoint,
) -> Result<(), ApiError> {
    let project = writing.rules()?;
    let project = ProjectRef {
        id: project.id(),
        name: project.name(),
    };
    let urls = [
        ("url", Some(endpoint.url().site())),
        ("authentication.oauth2.url", endpoint.token_url()),
    ];
    for (field, url) in urls {
        let Some(url) = url else { continue };
        guard.check_target(&project, url).map_err(|denied| {
            ApiError::Fields(vec![FieldError {
                field: field.to_owned(),
                reason: Reason::Refused(Box::new(denied)),
            }])
        })?;
    }
    Ok(())
}

pub(super) fn refuse_duplicate(writing: &Writing<'_>, name: Option<&str>) -> Result<(), ApiError> {
    let name = name.unwrap_or_default();
    match writing.view.named(Kind::Endpoint, writing.project, name)? {
        None => Ok(()),
        Some(_) => Err(ApiError::Exists(
            "an endpoint with that name already exists".to_owned(),
        )),
    }
}

/// An endpoint that the API made, whose specification says all that there is to say.
fn shown(call: &ProjectCall, stored: &Stored) -> Result<Value, ApiError> {
    let shown = shape::reply(stored, false, call.api.now_ms())?;
    Ok(call.version.endpoint(shown))
}
