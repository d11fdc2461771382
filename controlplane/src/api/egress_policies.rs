//! Policies that close destinations: native routes, for the instance admin alone. A policy is of no
//! project: it is its own home.

mod change;
mod shape;

use axum::Router;
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use axum::routing::get;
use outrider_config::Kind;
use outrider_config::resource::{
    EGRESS_POLICIES_MAX, EgressPolicy, EgressPolicySpec, FieldError, Reason,
};
use outrider_webhook::id::{EgressPolicyId, ProjectId, Uid};
use serde_json::Value;

use super::Api;
use super::body::JsonBody;
use super::call::{AdminCall, missing};
use super::egress_pools::unknown_projects;
use super::error::{Answer, ApiError};
use super::reply::Reply;
use super::write::Writing;
use crate::{Edit, View, random};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/api/v1/egress-policies", get(list).post(create))
        .route(
            "/api/v1/egress-policies/{uid}",
            get(show).put(update).delete(remove),
        )
}

async fn list(AdminCall(call): AdminCall) -> Answer {
    let look = |view: &View<'_>| -> Result<Reply, ApiError> {
        let stored = view.egress_policies()?;
        let shown: Result<Vec<Value>, ApiError> = stored.iter().map(shape::reply).collect();
        Reply::of("Egress policies fetched successfully", &shown?)
    };
    call.api.control().read(look).await
}

async fn show(AdminCall(call): AdminCall, PolicyUid(uid): PolicyUid) -> Answer {
    let look = move |view: &View<'_>| {
        let found = view.get(Kind::EgressPolicy, ProjectId::new(uid), uid)?;
        shape::reply(&found.ok_or_else(|| missing(Kind::EgressPolicy))?)
    };
    let shown = call.api.control().read(look).await?;
    Ok(Reply::ok("Egress policy fetched successfully", shown))
}

async fn create(AdminCall(call): AdminCall, body: JsonBody) -> Answer {
    let (spec, ignored) = body.read::<EgressPolicySpec>()?;
    let uid = random::uid(call.api.now_ms());
    let create = move |writing: &Writing<'_>| {
        check(writing, uid, (None, &spec))?;
        if writing.view.egress_policies()?.len() >= EGRESS_POLICIES_MAX {
            let says = format!("an installation has at most {EGRESS_POLICIES_MAX} egress policies");
            return Err(ApiError::Fields(vec![FieldError {
                field: "name".to_owned(),
                reason: Reason::Rule(says),
            }]));
        }
        let created = writing.made(Kind::EgressPolicy, uid, &spec)?;
        let reply = shape::reply(&created)?;
        Ok((vec![Edit::create(created)], reply))
    };
    let home = ProjectId::new(uid);
    let done = call.api.change(call.caller, home, create).await?;
    Ok(
        Reply::created("Egress policy created successfully", done.value)
            .in_force(done.in_force)
            .ignoring(ignored),
    )
}

async fn update(AdminCall(call): AdminCall, PolicyUid(uid): PolicyUid, body: JsonBody) -> Answer {
    let (given, ignored) = body.read::<EgressPolicySpec>()?;
    let update = move |writing: &Writing<'_>| {
        let before = writing.editable(Kind::EgressPolicy, uid)?;
        let old: EgressPolicySpec = before.spec()?;
        let spec = change::merged(old.clone(), given);
        check(writing, uid, (Some(&old), &spec))?;
        let after = writing.changed(&before, &spec)?;
        let reply = shape::reply(&after)?;
        Ok((vec![Edit::update(before, after)], reply))
    };
    let home = ProjectId::new(uid);
    let done = call.api.change(call.caller, home, update).await?;
    Ok(
        Reply::accepted("Egress policy updated successfully", done.value)
            .in_force(done.in_force)
            .ignoring(ignored),
    )
}

async fn remove(AdminCall(call): AdminCall, PolicyUid(uid): PolicyUid) -> Answer {
    let delete = move |writing: &Writing<'_>| {
        let before = writing.editable(Kind::EgressPolicy, uid)?;
        Ok((vec![Edit::delete(before)], ()))
    };
    let home = ProjectId::new(uid);
    let done = call.api.change(call.caller, home, delete).await?;
    Ok(Reply::ok("Egress policy deleted successfully", Value::Null).in_force(done.in_force))
}

/// The policy in the path. What is no uid belongs to nothing.
struct PolicyUid(Uid);

impl FromRequestParts<Api> for PolicyUid {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let params = RawPathParams::from_request_parts(parts, api).await;
        let params = params.map_err(|_| missing(Kind::EgressPolicy))?;
        let uid = params.iter().find(|(key, _)| *key == "uid");
        let uid = uid.and_then(|(_, text)| text.parse().ok());
        uid.map(Self).ok_or_else(|| missing(Kind::EgressPolicy))
    }
}

/// The rules of a policy, alone and beside the others.
fn check(
    writing: &Writing<'_>,
    uid: Uid,
    (old, spec): (Option<&EgressPolicySpec>, &EgressPolicySpec),
) -> Result<(), ApiError> {
    let policy = EgressPolicy::compile(EgressPolicyId::new(uid), 0, spec)?;
    let named = writing
        .view
        .named(Kind::EgressPolicy, writing.project, policy.name())?;
    if named.is_some_and(|named| named.uid() != uid) {
        return Err(ApiError::Exists(format!(
            "an egress policy with the name `{}` already exists",
            policy.name()
        )));
    }
    let listed = old.and_then(|old| old.projects.as_deref());
    let errors = unknown_projects(writing.view.snapshot(), listed, spec.projects.as_deref());
    match errors.is_empty() {
        true => Ok(()),
        false => Err(errors.into()),
    }
}
