//! The catalogue of event types (contract 3.7).
//!
//! Every project has the type `*`. It is made up for who asks, with an id of its own, and is
//! stored only once somebody has changed it: so projects of files, of the API and of an older
//! journal have it alike.

mod import;
mod shape;

use axum::Router;
use axum::routing::{get, post, put};
use outrider_config::Kind;
use outrider_config::resource::{EventType, EventTypeSpec, FieldError, Reason};
use outrider_webhook::id::{EventTypeId, ProjectId, Uid};
use serde_json::Value;

use super::Api;
use super::body::JsonBody;
use super::call::ProjectCall;
use super::endpoints::keep;
use super::error::{Answer, ApiError};
use super::page::{Order, Scan};
use super::reply::Reply;
use super::time::rfc3339;
use super::write::Writing;
use crate::{Edit, JournalError, Selection, Stored, View};

/// Most types of one project: they are listed without pages, schemas and all.
const TYPES_MAX: usize = 1_000;
/// The type that every project has.
const STAR: &str = "*";
/// Which part of its project that type is, to have an id: far beyond what others count up to.
const STAR_PART: usize = 1 << 20;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/event-types", get(list).post(create))
        .route("/event-types/import", post(import::import))
        .route("/event-types/{id}", put(update).delete(remove))
        .route("/event-types/{id}/deprecate", post(deprecate))
}

async fn list(call: ProjectCall) -> Answer {
    let project = call.project;
    let look = move |view: &View<'_>| -> Result<Reply, ApiError> {
        let mut stored = all(view, project)?;
        let mut shown = Vec::with_capacity(stored.len() + 1);
        // The same place for it whether it is stored or not.
        stored.sort_by(|a, b| (a.name != STAR, &a.name).cmp(&(b.name != STAR, &b.name)));
        if stored.first().is_none_or(|one| one.name != STAR) {
            shown.push(shape::reply(star_of(project), star()));
        }
        for one in &stored {
            shown.push(shape::reply(one.uid(), one.spec()?));
        }
        Reply::of("Event types fetched successfully", &shown)
    };
    call.api.control().read(look).await
}

async fn create(call: ProjectCall, body: JsonBody) -> Answer {
    let (mut spec, ignored) = body.ignore("deprecated_at").read::<EventTypeSpec>()?;
    spec.deprecated_at = None;
    let create = move |writing: &Writing<'_>| {
        let made = made(writing, &spec)?;
        let reply = shape::reply(made.uid(), spec);
        Ok((vec![Edit::create(made)], reply))
    };
    let done = call.change(create).await?;
    Ok(
        Reply::created("Event type created successfully", done.value)
            .in_force(done.in_force)
            .ignoring(ignored),
    )
}

/// 201, which is what clients take; Convoy's own server answers 202.
async fn update(call: ProjectCall, body: JsonBody) -> Answer {
    let body = body.ignore("name").ignore("deprecated_at");
    let (given, ignored) = body.read::<EventTypeSpec>()?;
    let uid = call.uid(Kind::EventType)?;
    let update = move |writing: &Writing<'_>| changed(writing, uid, |old| merged(old, given));
    let done = call.change(update).await?;
    Ok(
        Reply::created("Event type updated successfully", done.value)
            .in_force(done.in_force)
            .ignoring(ignored),
    )
}

/// As for the update.
async fn deprecate(call: ProjectCall) -> Answer {
    let uid = call.uid(Kind::EventType)?;
    let deprecate = move |writing: &Writing<'_>| {
        let now = rfc3339(writing.now_ms());
        changed(writing, uid, |old| EventTypeSpec {
            // Once is enough: the first time stays.
            deprecated_at: old.deprecated_at.or(Some(now)),
            ..old
        })
    };
    let done = call.change(deprecate).await?;
    Ok(Reply::created("Event type deprecated successfully", done.value).in_force(done.in_force))
}

/// Ours: Convoy keeps a type for ever.
async fn remove(call: ProjectCall) -> Answer {
    let done = call.delete(Kind::EventType).await?;
    Ok(Reply::ok("Event type deleted successfully", Value::Null).in_force(done.in_force))
}

/// The stored types of a project.
fn all(view: &View<'_>, project: ProjectId) -> Result<Vec<Stored>, JournalError> {
    let scan = Scan {
        order: Order::Ascending,
        from: None,
        limit: usize::from(u16::MAX), // what files bring counts by their own size
    };
    view.list(&Selection::all(Kind::EventType, project), &scan)
}

fn star() -> EventTypeSpec {
    EventTypeSpec {
        name: Some(STAR.to_owned()),
        ..EventTypeSpec::default()
    }
}

/// The id of a type that is not stored yet.
fn uid_for(writing: &Writing<'_>, name: &str) -> Uid {
    match name {
        STAR => star_of(writing.project),
        _ => writing.new_uid(),
    }
}

fn star_of(project: ProjectId) -> Uid {
    project.uid().part(STAR_PART)
}

/// A new type, checked.
fn made(writing: &Writing<'_>, spec: &EventTypeSpec) -> Result<Stored, ApiError> {
    let name = spec.name.as_deref().unwrap_or_default();
    let uid = uid_for(writing, name);
    check(writing, uid, spec)?;
    if writing
        .view
        .named(Kind::EventType, writing.project, name)?
        .is_some()
    {
        return Err(ApiError::Exists(format!(
            "an event type with the name `{name}` already exists"
        )));
    }
    refuse_too_many(writing, 1)?;
    writing.made(Kind::EventType, uid, spec)
}

fn refuse_too_many(writing: &Writing<'_>, new: usize) -> Result<(), ApiError> {
    if all(writing.view, writing.project)?.len() + new <= TYPES_MAX {
        return Ok(());
    }
    let message = format!("a project has at most {TYPES_MAX} event types");
    Err(ApiError::Fields(vec![FieldError {
        field: "name".to_owned(),
        reason: Reason::Rule(message),
    }]))
}

fn check(writing: &Writing<'_>, uid: Uid, spec: &EventTypeSpec) -> Result<(), ApiError> {
    let id = EventTypeId::new(uid);
    EventType::compile(id, 0, writing.rules()?, spec)?;
    Ok(())
}

/// Changes a type, and shows what came of it.
fn changed(
    writing: &Writing<'_>,
    uid: Uid,
    change: impl FnOnce(EventTypeSpec) -> EventTypeSpec,
) -> Result<(Vec<Edit>, Value), ApiError> {
    let is_star = uid == star_of(writing.project);
    let before = match writing.editable(Kind::EventType, uid) {
        Ok(before) => Some(before),
        // The one that was made up so far.
        Err(ApiError::NotFound(_)) if is_star && named_star(writing)?.is_none() => None,
        Err(error) => return Err(error),
    };
    let old = before.as_ref().map_or_else(|| Ok(star()), Stored::spec)?;
    let spec = change(old);
    check(writing, uid, &spec)?;
    let reply = shape::reply(uid, spec.clone());
    let edit = match before {
        Some(before) => {
            let after = writing.changed(&before, &spec)?;
            Edit::update(before, after)
        }
        None => Edit::create(writing.made(Kind::EventType, uid, &spec)?),
    };
    Ok((vec![edit], reply))
}

fn named_star(writing: &Writing<'_>) -> Result<Option<Stored>, ApiError> {
    Ok(writing.view.named(Kind::EventType, writing.project, STAR)?)
}

/// The type with what is given of it. An empty schema takes the schema away.
fn merged(old: EventTypeSpec, mut given: EventTypeSpec) -> EventTypeSpec {
    given.name = old.name;
    given.deprecated_at = old.deprecated_at;
    keep(&mut given.category, old.category);
    keep(&mut given.description, old.description);
    keep(&mut given.json_schema, old.json_schema);
    given
}
