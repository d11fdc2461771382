//! Subscriptions (contract 3.3).

mod change;
mod shape;

use axum::Router;
use axum::routing::{get, post, put};
use outrider_config::Kind;
use outrider_config::resource::{Subscription, SubscriptionSpec};
use outrider_webhook::id::{SubscriptionId, Uid};
use serde_json::{Value, json};

use super::body::JsonBody;
use super::call::ProjectCall;
use super::error::{Answer, ApiError};
use super::ignored::Ignored;
use super::reply::Reply;
use super::write::Writing;
use super::{Api, not_supported};
use crate::{Edit, Selection, Stored, View};

/// Most endpoints in one filter of a list.
const FILTER_ENDPOINTS_MAX: usize = 1000;

pub(super) use change::settle;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/subscriptions", get(list).post(create))
        .route("/subscriptions/{id}", get(show).put(update).delete(remove))
        .route("/subscriptions/{id}/toggle_status", put(toggle_status))
        .route("/subscriptions/test_function", post(not_supported))
}

async fn list(call: ProjectCall) -> Answer {
    let endpoints = call.query.all("endpointId").filter(|id| !id.is_empty());
    let selection = Selection {
        name_part: call.query.text("name"),
        endpoints: endpoints.map(str::to_owned).collect(),
        ..Selection::all(Kind::Subscription, call.project)
    };
    if selection.endpoints.len() > FILTER_ENDPOINTS_MAX {
        return Err(ApiError::Parameter(
            "`endpointId`: at most 1000 can be given",
        ));
    }
    let api = call.api.clone();
    let render = move |view: &View<'_>, one: &Stored| shape::reply(&api, view, one);
    call.list("Subscriptions fetched successfully", selection, render)
        .await
}

async fn show(call: ProjectCall) -> Answer {
    let api = call.api.clone();
    let show = move |view: &View<'_>, one: Stored| shape::reply(&api, view, &one);
    let shown = call.show(Kind::Subscription, show).await?;
    Ok(Reply::ok("Subscription fetched successfully", shown))
}

async fn create(call: ProjectCall, body: JsonBody) -> Answer {
    let (mut spec, ignored) = read(body)?;
    let api = call.api.clone();
    let create = move |writing: &Writing<'_>| {
        let uid = writing.new_uid();
        change::settle(&mut spec);
        check(writing, uid, &spec)?;
        let created = writing.made(Kind::Subscription, uid, &spec)?;
        let reply = shape::reply(&api, writing.view, &created)?;
        Ok((vec![Edit::create(created)], reply))
    };
    let done = call.change(create).await?;
    Ok(
        Reply::created("Subscription created successfully", done.value)
            .in_force(done.in_force)
            .ignoring(ignored),
    )
}

async fn update(call: ProjectCall, body: JsonBody) -> Answer {
    let (given, ignored) = read(body)?;
    let (api, uid) = (call.api.clone(), call.uid(Kind::Subscription)?);
    let update = move |writing: &Writing<'_>| {
        let before = writing.editable(Kind::Subscription, uid)?;
        let mut spec = change::merged(before.spec()?, given);
        change::settle(&mut spec);
        check(writing, uid, &spec)?;
        let after = writing.changed(&before, &spec)?;
        let reply = shape::reply(&api, writing.view, &after)?;
        Ok((vec![Edit::update(before, after)], reply))
    };
    let done = call.change(update).await?;
    Ok(
        Reply::accepted("Subscription updated successfully", done.value)
            .in_force(done.in_force)
            .ignoring(ignored),
    )
}

async fn remove(call: ProjectCall) -> Answer {
    let done = call.delete(Kind::Subscription).await?;
    Ok(Reply::ok("Subscription deleted successfully", Value::Null).in_force(done.in_force))
}

/// Does nothing, as in Convoy, where old clients still call it.
async fn toggle_status(call: ProjectCall) -> Answer {
    call.show(Kind::Subscription, |_, _| Ok(())).await?;
    Ok(Reply::accepted(
        "Subscription status updated successfully",
        json!({}),
    ))
}

/// Convoy takes it, and retries are the project's all the same. Clients send it by habit, so they
/// are told and not refused.
fn read(body: JsonBody) -> Result<(SubscriptionSpec, Ignored), ApiError> {
    body.ignore("retry_config").read()
}

/// The rules of a subscription, and whether what it names is there.
pub(super) fn check(
    writing: &Writing<'_>,
    uid: Uid,
    spec: &SubscriptionSpec,
) -> Result<(), ApiError> {
    let checked = refuse_unknown(writing, spec);
    let id = SubscriptionId::new(uid);
    let subscription = Subscription::compile(id, 0, writing.rules()?, spec);
    // An id that is none is an id of nothing: the same answer as for any other.
    let subscription = match (subscription, checked) {
        (Err(errors), Ok(())) => return Err(ApiError::Fields(errors)),
        (_, Err(unknown)) => return Err(unknown),
        (Ok(subscription), Ok(())) => subscription,
    };
    if writing.rules()?.has_many_subscriptions() {
        return Ok(());
    }
    let others = writing.view.subscriptions_of(subscription.endpoint())?;
    match others.iter().any(|other| other.uid() != uid) {
        false => Ok(()),
        true => Err(ApiError::Exists(
            "a subscription for this endpoint already exists".to_owned(),
        )),
    }
}

/// Names every endpoint and source that is not in the project.
fn refuse_unknown(writing: &Writing<'_>, spec: &SubscriptionSpec) -> Result<(), ApiError> {
    let mut unknown = Vec::new();
    for (kind, text) in [
        (Kind::Endpoint, &spec.endpoint_id),
        (Kind::Source, &spec.source_id),
    ] {
        let Some(text) = text.as_deref().filter(|text| !text.is_empty()) else {
            continue;
        };
        let found = match text.parse() {
            Ok(uid) => writing.view.get(kind, writing.project, uid)?.is_some(),
            Err(_) => false,
        };
        if !found {
            let shown: String = text.chars().take(64).collect();
            unknown.push(format!("{kind} `{shown}` not found"));
        }
    }
    match unknown.is_empty() {
        true => Ok(()),
        false => Err(ApiError::NotFound(unknown.join("; "))),
    }
}
