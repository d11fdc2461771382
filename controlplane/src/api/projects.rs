//! Projects (contract 3.1).

mod change;
pub(super) mod shape;

use axum::Router;
use axum::routing::get;
use outrider_config::Kind;
use outrider_config::resource::{Project, ProjectSpec};
use outrider_webhook::id::ProjectId;
use serde_json::{Value, json};

use super::Api;
use super::api_keys;
use super::body::JsonBody;
use super::call::{AdminCall, AdminProjectCall, Call, Caller, ProjectCall};
use super::egress_pools;
use super::error::{Answer, ApiError};
use super::reply::Reply;
use super::write::Writing;
use crate::{Edit, Stored, View, random};

/// Name of the key that a new project comes with.
const FIRST_KEY: &str = "default key";

/// `/api/v1/projects`.
pub(super) fn routes_of_all() -> Router<Api> {
    Router::new().route("/api/v1/projects", get(list).post(create))
}

/// The project itself.
pub(super) fn routes_of_one() -> Router<Api> {
    Router::new().route("/", get(show).put(update).delete(remove))
}

/// All projects, or the one of the key. `orgID` says nothing: there is one organisation.
async fn list(call: Call) -> Answer {
    let (api, caller) = (call.api.clone(), call.caller);
    let look = move |view: &View<'_>| -> Result<Value, ApiError> {
        let projects = match caller {
            Caller::Admin => view.projects()?,
            Caller::Key { project, .. } => {
                let own = view.get(Kind::Project, project, project.uid())?;
                own.into_iter().collect()
            }
        };
        let shown: Result<Vec<Value>, ApiError> = projects
            .iter()
            .map(|one| shape::reply(&api, view, one))
            .collect();
        Ok(shown?.into())
    };
    let projects = call.api.control().read(look).await?;
    Ok(Reply::ok("Projects fetched successfully", projects))
}

async fn create(AdminCall(call): AdminCall, body: JsonBody) -> Answer {
    let (spec, ignored) = body.read::<ProjectSpec>()?;
    let (api, now_ms) = (call.api.clone(), call.api.now_ms());
    let project = ProjectId::new(random::uid(now_ms));
    let create = move |writing: &Writing<'_>| {
        let compiled = Project::compile(project, 0, &spec)?;
        let pool = (None, compiled.egress_pool());
        egress_pools::refuse_unusable(writing.view.snapshot(), project, pool)?;
        refuse_duplicate(writing, spec.name.as_deref())?;
        let created = writing.made(Kind::Project, project.uid(), &spec)?;
        let (key, token) = api_keys::fresh(writing, api_keys::NewKey::named(FIRST_KEY))?;
        let key_reply = api_keys::reply(&key, Some(&token))?;
        // What it contains of itself is not there yet, which is right: it is empty.
        let reply = json!({
            "api_key": key_reply,
            "project": shape::reply(&api, writing.view, &created)?,
        });
        Ok((vec![Edit::create(created), Edit::create(key)], reply))
    };
    let done = call.api.change(call.caller, project, create).await?;
    Ok(Reply::created("Project created successfully", done.value)
        .in_force(done.in_force)
        .ignoring(ignored))
}

async fn show(call: ProjectCall) -> Answer {
    let (api, project) = (call.api.clone(), call.project);
    let look = move |view: &View<'_>| {
        let found = view.get(Kind::Project, project, project.uid())?;
        let found = found.ok_or_else(|| super::call::missing(Kind::Project))?;
        shape::reply(&api, view, &found)
    };
    let shown = call.api.control().read(look).await?;
    Ok(Reply::ok("Project fetched successfully", shown))
}

async fn update(call: ProjectCall, body: JsonBody) -> Answer {
    let (given, ignored) = body.read::<ProjectSpec>()?;
    let api = call.api.clone();
    let update = move |writing: &Writing<'_>| {
        let project = writing.project;
        let before = writing.editable(Kind::Project, project.uid())?;
        let old: ProjectSpec = before.spec()?;
        let old_pool = old.egress_pool.clone();
        let spec = change::merged(old, given);
        let compiled = Project::compile(project, 0, &spec)?;
        let pool = (old_pool.as_deref(), compiled.egress_pool());
        egress_pools::refuse_unusable(writing.view.snapshot(), project, pool)?;
        if spec.name.as_deref() != Some(&before.name) {
            refuse_duplicate(writing, spec.name.as_deref())?;
        }
        let after = writing.changed(&before, &spec)?;
        let reply = shape::reply(&api, writing.view, &after)?;
        Ok((vec![Edit::update(before, after)], reply))
    };
    let done = call.change(update).await?;
    Ok(Reply::accepted("Project updated successfully", done.value)
        .in_force(done.in_force)
        .ignoring(ignored))
}

/// With all in it.
async fn remove(AdminProjectCall(call): AdminProjectCall) -> Answer {
    let delete = |writing: &Writing<'_>| {
        let before: Stored = writing.editable(Kind::Project, writing.project.uid())?;
        Ok((vec![Edit::delete(before)], ()))
    };
    let done = call.change(delete).await?;
    Ok(Reply::ok("Project deleted successfully", Value::Null).in_force(done.in_force))
}

fn refuse_duplicate(writing: &Writing<'_>, name: Option<&str>) -> Result<(), ApiError> {
    let name = name.unwrap_or_default();
    match writing.view.named(Kind::Project, writing.project, name)? {
        None => Ok(()),
        Some(_) => Err(ApiError::Exists(format!(
            "a project with the name `{name}` already exists"
        ))),
    }
}
