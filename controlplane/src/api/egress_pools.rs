//! Pools of source addresses: native routes, for the instance admin alone. A pool is of no
//! project: it is its own home.

mod change;
mod shape;

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use axum::routing::get;
use outrider_config::resource::{EgressPool, EgressPoolSpec, FieldError, Reason};
use outrider_config::{Kind, Snapshot};
use outrider_webhook::id::{EgressPoolId, ProjectId, Uid};
use serde_json::Value;

use super::Api;
use super::body::JsonBody;
use super::call::{AdminCall, missing};
use super::error::{Answer, ApiError};
use super::reply::Reply;
use super::write::Writing;
use crate::{Edit, View, random};

/// Most pools of an installation: they are listed without pages.
const POOLS_MAX: usize = 1_000;
/// Users of a pool that a refusal names.
const USERS_NAMED: usize = 5;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/api/v1/egress-pools", get(list).post(create))
        .route(
            "/api/v1/egress-pools/{uid}",
            get(show).put(update).delete(remove),
        )
}

async fn list(AdminCall(call): AdminCall) -> Answer {
    let look = |view: &View<'_>| -> Result<Reply, ApiError> {
        let stored = view.egress_pools()?;
        let shown: Result<Vec<Value>, ApiError> = stored.iter().map(shape::reply).collect();
        Reply::of("Egress pools fetched successfully", &shown?)
    };
    call.api.control().read(look).await
}

async fn show(AdminCall(call): AdminCall, PoolUid(uid): PoolUid) -> Answer {
    let look = move |view: &View<'_>| {
        let found = view.get(Kind::EgressPool, ProjectId::new(uid), uid)?;
        shape::reply(&found.ok_or_else(|| missing(Kind::EgressPool))?)
    };
    let shown = call.api.control().read(look).await?;
    Ok(Reply::ok("Egress pool fetched successfully", shown))
}

async fn create(AdminCall(call): AdminCall, body: JsonBody) -> Answer {
    let (mut spec, ignored) = body.ignore("updated_at").read::<EgressPoolSpec>()?;
    spec.follow(None, call.api.now_ms());
    let uid = random::uid(call.api.now_ms());
    let create = move |writing: &Writing<'_>| {
        checked(writing, uid, (None, &spec))?;
        if writing.view.egress_pools()?.len() >= POOLS_MAX {
            let message = format!("an installation has at most {POOLS_MAX} egress pools");
            return Err(field("name", Reason::Rule(message)));
        }
        let created = writing.made(Kind::EgressPool, uid, &spec)?;
        let reply = shape::reply(&created)?;
        Ok((vec![Edit::create(created)], reply))
    };
    let home = ProjectId::new(uid);
    let done = call.api.change(call.caller, home, create).await?;
    Ok(
        Reply::created("Egress pool created successfully", done.value)
            .in_force(done.in_force)
            .ignoring(ignored),
    )
}

async fn update(AdminCall(call): AdminCall, PoolUid(uid): PoolUid, body: JsonBody) -> Answer {
    let (given, ignored) = body.ignore("updated_at").read::<EgressPoolSpec>()?;
    let update = move |writing: &Writing<'_>| {
        let before = writing.editable(Kind::EgressPool, uid)?;
        let old: EgressPoolSpec = before.spec()?;
        let mut spec = change::merged(old.clone(), given);
        spec.follow(Some(&old), writing.now_ms());
        let pool = checked(writing, uid, (Some(&old), &spec))?;
        refuse_missed(writing, (uid, &before.name), Some(&pool))?;
        let after = writing.changed(&before, &spec)?;
        let reply = shape::reply(&after)?;
        Ok((vec![Edit::update(before, after)], reply))
    };
    let home = ProjectId::new(uid);
    let done = call.api.change(call.caller, home, update).await?;
    Ok(
        Reply::accepted("Egress pool updated successfully", done.value)
            .in_force(done.in_force)
            .ignoring(ignored),
    )
}

async fn remove(AdminCall(call): AdminCall, PoolUid(uid): PoolUid) -> Answer {
    let delete = move |writing: &Writing<'_>| {
        let before = writing.editable(Kind::EgressPool, uid)?;
        refuse_missed(writing, (uid, &before.name), None)?;
        Ok((vec![Edit::delete(before)], ()))
    };
    let home = ProjectId::new(uid);
    let done = call.api.change(call.caller, home, delete).await?;
    Ok(Reply::ok("Egress pool deleted successfully", Value::Null).in_force(done.in_force))
}

/// The pool in the path. What is no uid belongs to nothing.
struct PoolUid(Uid);

impl FromRequestParts<Api> for PoolUid {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let params = RawPathParams::from_request_parts(parts, api).await;
        let params = params.map_err(|_| missing(Kind::EgressPool))?;
        let uid = params.iter().find(|(key, _)| *key == "uid");
        let uid = uid.and_then(|(_, text)| text.parse().ok());
        uid.map(Self).ok_or_else(|| missing(Kind::EgressPool))
    }
}

fn field(field: &str, reason: Reason) -> ApiError {
    ApiError::Fields(vec![FieldError {
        field: field.to_owned(),
        reason,
    }])
}

/// The rules of a pool, alone and beside the others.
fn checked(
    writing: &Writing<'_>,
    uid: Uid,
    (old, spec): (Option<&EgressPoolSpec>, &EgressPoolSpec),
) -> Result<EgressPool, ApiError> {
    let pool = EgressPool::compile(EgressPoolId::new(uid), 0, spec)?;
    let named = writing
        .view
        .named(Kind::EgressPool, writing.project, pool.name())?;
    if named.is_some_and(|named| named.uid() != uid) {
        return Err(ApiError::Exists(format!(
            "an egress pool with the name `{}` already exists",
            pool.name()
        )));
    }
    let snapshot = writing.view.snapshot();
    let mut errors = snapshot.check_pool(&pool);
    let listed = old.and_then(|old| old.projects.as_deref());
    errors.extend(unknown_projects(snapshot, listed, spec.projects.as_deref()));
    match errors.is_empty() {
        true => Ok(pool),
        false => Err(errors.into()),
    }
}

/// The projects of a list that there are not. One that has gone since it was `listed` does not keep
/// anybody from changing the rest.
pub(super) fn unknown_projects(
    snapshot: &Snapshot,
    listed: Option<&[String]>,
    projects: Option<&[String]>,
) -> Vec<FieldError> {
    let (listed, projects) = (listed.unwrap_or_default(), projects.unwrap_or_default());
    let unknown = projects.iter().enumerate().filter(|(_, text)| {
        let id: Option<ProjectId> = text.parse().ok();
        let is_there = id.is_some_and(|id| {
            snapshot.project(id).is_some() || snapshot.is_held(Kind::Project, id.uid())
        });
        !is_there && !listed.contains(text)
    });
    let error = |(at, text): (usize, &String)| FieldError {
        field: format!("projects[{at}]"),
        reason: Reason::Rule(format!("there is no project {text}")),
    };
    unknown.map(error).collect()
}

/// Refuses to take a pool from those who name it: they would wait, and not know why.
fn refuse_missed(
    writing: &Writing<'_>,
    (uid, name): (Uid, &str),
    next: Option<&EgressPool>,
) -> Result<(), ApiError> {
    let id = EgressPoolId::new(uid);
    let mut users = writing.view.snapshot().who_misses((id, name), next);
    let named: Vec<String> = users.by_ref().take(USERS_NAMED).collect();
    if named.is_empty() {
        return Ok(());
    }
    let more = if users.next().is_some() {
        " and others"
    } else {
        ""
    };
    Err(ApiError::InUse(format!(
        "the egress pool `{name}` is in use by {}{more}: let them name another one first",
        named.join(", ")
    )))
}

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
    let usable = snapshot.check_pool_use(project, name);
    usable.map_err(|refused| field("egress_pool", Reason::Refused(Box::new(refused))))
}
