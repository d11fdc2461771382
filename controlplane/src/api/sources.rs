//! Sources (contract 3.5).

mod change;
mod shape;

use axum::Router;
use axum::routing::{get, post};
use outrider_config::Kind;
use outrider_config::resource::{Source, SourceSpec};
use outrider_webhook::id::{SourceId, Uid};
use outrider_xds::Question;
use serde_json::Value;

use super::ask;
use super::body::JsonBody;
use super::call::ProjectCall;
use super::error::{Answer, ApiError};
use super::ignored::Ignored;
use super::reply::Reply;
use super::write::Writing;
use super::{Api, not_supported};
use crate::{Edit, Selection, Stored, View, random};

pub(super) use shape::metadata;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/sources", get(list).post(create))
        .route("/sources/{id}", get(show).put(update).delete(remove))
        .route("/sources/{id}/rejected", get(rejected))
        .route("/sources/test_function", post(not_supported))
}

async fn list(call: ProjectCall) -> Answer {
    let selection = Selection {
        name_part: call.query.text("q"),
        source_type: call.query.text("type"),
        provider: call.query.text("provider"),
        ..Selection::all(Kind::Source, call.project)
    };
    let api = call.api.clone();
    let render = move |_: &View<'_>, one: &Stored| shape::reply(&api, one);
    call.list("Sources fetched successfully", selection, render)
        .await
}

async fn show(call: ProjectCall) -> Answer {
    let api = call.api.clone();
    let show = move |_: &View<'_>, one: Stored| shape::reply(&api, &one);
    let shown = call.show(Kind::Source, show).await?;
    Ok(Reply::ok("Source fetched successfully", shown))
}

/// The newest requests it refused, with the reasons: what each data plane keeps in memory.
async fn rejected(call: ProjectCall) -> Answer {
    let uid = call.uid(Kind::Source)?;
    let question = Question::Rejected {
        project: call.project,
        source: SourceId::new(uid),
    };
    let api = call.api.clone();
    call.show(Kind::Source, |_: &View<'_>, _: Stored| Ok(Value::Null))
        .await?;
    let said = ask::everybody(&api, question, "rejected").await;
    Ok(Reply::ok("Rejected requests fetched successfully", said))
}

async fn create(call: ProjectCall, body: JsonBody) -> Answer {
    let (mut spec, ignored) = read(body)?;
    let create = move |writing: &Writing<'_>| {
        spec.mask_id = Some(random::mask());
        let uid = writing.new_uid();
        check(writing, uid, &spec)?;
        let created = writing.made(Kind::Source, uid, &spec)?;
        Ok((vec![Edit::create(created.clone())], created))
    };
    let done = call.change(create).await?;
    let shown = shape::reply(&call.api, &done.value)?;
    Ok(Reply::created("Source created successfully", shown)
        .in_force(done.in_force)
        .ignoring(ignored))
}

async fn update(call: ProjectCall, body: JsonBody) -> Answer {
    let (given, ignored) = read(body)?;
    let uid = call.uid(Kind::Source)?;
    let update = move |writing: &Writing<'_>| {
        let before = writing.editable(Kind::Source, uid)?;
        let spec = change::merged(before.spec()?, given);
        check(writing, uid, &spec)?;
        let after = writing.changed(&before, &spec)?;
        Ok((vec![Edit::update(before, after.clone())], after))
    };
    let done = call.change(update).await?;
    let shown = shape::reply(&call.api, &done.value)?;
    Ok(Reply::accepted("Source updated successfully", shown)
        .in_force(done.in_force)
        .ignoring(ignored))
}

async fn remove(call: ProjectCall) -> Answer {
    let done = call.delete(Kind::Source).await?;
    Ok(Reply::ok("Source deleted successfully", Value::Null).in_force(done.in_force))
}

/// A mask is made up, and is the source's for ever: who could name one could take over the URL
/// of a source that is gone.
fn read(body: JsonBody) -> Result<(SourceSpec, Ignored), ApiError> {
    body.ignore("mask_id").read()
}

/// The rules of a source, and what the API demands beside them.
fn check(writing: &Writing<'_>, uid: Uid, spec: &SourceSpec) -> Result<(), ApiError> {
    let checked = Source::compile(SourceId::new(uid), 0, writing.rules()?, spec);
    let mut errors = checked.err().unwrap_or_default();
    errors.extend(change::missing_type(spec));
    match errors.is_empty() {
        true => Ok(()),
        false => Err(ApiError::Fields(errors)),
    }
}
