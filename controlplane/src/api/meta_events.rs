//! `P/meta-events`: what the owner of the project was told of it, and whether it arrived
//! (contract 3.11). A meta event is an event with one delivery, of a project of its own.

use std::collections::BTreeMap;

use axum::Router;
use axum::routing::{get, put};
use outrider_config::snapshot::MetaEvents;
use outrider_store::{DeliveryFilter, DeliveryItem};
use outrider_webhook::id::{Decoded, DeliveryKey, EventId, ProjectId, Uid, UidCodec};
use outrider_xds::Action;
use serde::Serialize;
use serde_json::{Value, json};

use super::batches;
use super::call::ProjectCall;
use super::deliveries::shape;
use super::error::{Answer, ApiError};
use super::events;
use super::reply::Reply;
use super::time::rfc3339;
use super::{Api, reads};
use crate::{View, random};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/meta-events", get(list))
        .route("/meta-events/{id}", get(show))
        .route("/meta-events/{id}/resend", put(resend))
}

/// A meta event.
#[derive(Serialize)]
struct Shape<'d> {
    uid: Uid,
    project_id: ProjectId,
    event_type: &'d str,
    status: &'static str,
    metadata: shape::Metadata<'d>,
    attempt: Option<Value>,
    description: String,
    created_at: String,
    updated_at: String,
    deleted_at: Option<String>,
}

async fn list(call: ProjectCall) -> Answer {
    let index = call.api.index()?.clone();
    let uids = index.uids().clone();
    let (asked, request) = reads::request(&call.query, |uid| key_of(&uids, uid))?;
    let (from, to) = reads::between(&call.query, call.api.now_ms())?;
    let filter = DeliveryFilter {
        project: Some(MetaEvents::project_of(call.project)),
        from: Some(from),
        to: Some(to),
        event_type: call.query.text("eventType"),
        ..DeliveryFilter::default()
    };
    let (page, lag) = index.deliveries(filter, request).await?;
    let uid = |key: &DeliveryKey| uids.event(key.event);
    let pagination = reads::pagination(&page, asked.per_page(), uid, |item: &DeliveryItem| {
        uids.event(item.key.event)
    });
    let (api, project) = (call.api.clone(), call.project);
    let render = move |view: &View<'_>| -> Result<Reply, ApiError> {
        let shapes = events::Shapes::new(&api, view, project)?;
        let rows = page.rows.iter().map(|item| shown(&shapes, project, item));
        let rows: Vec<_> = rows.collect();
        Reply::list("Meta events fetched successfully", &rows, &pagination)
    };
    Ok(call.api.control().read(render).await?.behind(lag))
}

async fn show(call: ProjectCall) -> Answer {
    let item = item(&call, key(&call)?).await?;
    reply(&call, item, "Meta event fetched successfully").await
}

/// One more attempt: a command to the node that has it.
async fn resend(call: ProjectCall) -> Answer {
    let key = key(&call)?;
    let before = item(&call, key).await?;
    let action = Action::Resend {
        project: MetaEvents::project_of(call.project),
        delivery: key,
    };
    let id = random::uid(call.api.now_ms());
    batches::send(&call.api, key.event.node(), id, action).await?;
    let now = item(&call, key).await.unwrap_or(before);
    reply(&call, now, "Meta event processed for retry successfully").await
}

fn key(call: &ProjectCall) -> Result<DeliveryKey, ApiError> {
    let uid: Option<Uid> = call.id().and_then(|text| text.parse().ok());
    let uids = call.api.index()?.uids();
    uid.and_then(|uid| key_of(uids, uid)).ok_or_else(not_found)
}

fn key_of(uids: &UidCodec, uid: Uid) -> Option<DeliveryKey> {
    match uids.decode(uid) {
        Some(Decoded::Event(event)) => Some(DeliveryKey { event, ordinal: 0 }),
        _ => None,
    }
}

fn not_found() -> ApiError {
    ApiError::not_found("meta event")
}

async fn item(call: &ProjectCall, key: DeliveryKey) -> Result<DeliveryItem, ApiError> {
    let own = MetaEvents::project_of(call.project);
    let found = call.api.index()?.delivery(own, key).await?;
    found.ok_or_else(not_found)
}

async fn reply(call: &ProjectCall, item: DeliveryItem, message: &'static str) -> Answer {
    let (api, project) = (call.api.clone(), call.project);
    let render = move |view: &View<'_>| -> Result<Reply, ApiError> {
        let shapes = events::Shapes::new(&api, view, project)?;
        Reply::of(message, &shown(&shapes, project, &item))
    };
    call.api.control().read(render).await
}

fn shown<'d>(shapes: &events::Shapes<'_>, project: ProjectId, item: &'d DeliveryItem) -> Shape<'d> {
    let id: EventId = item.key.event;
    let headers = |list| -> BTreeMap<&str, String> { shape::flat(list) };
    let attempt = item.attempt.as_ref().map(|attempt| {
        json!({
            "request_http_header": headers(&attempt.request_headers),
            "response_http_header": headers(&attempt.response_headers),
            "response_data": String::from_utf8_lossy(&attempt.excerpt),
        })
    });
    Shape {
        uid: shapes.uids().event(id),
        project_id: project,
        event_type: &item.event.facts.event_type,
        status: shape::status_word(item.status),
        metadata: shape::metadata(shapes, item),
        attempt,
        description: shape::description(item),
        created_at: rfc3339(id.unix_ms()),
        updated_at: rfc3339(item.updated_ms),
        deleted_at: None,
    }
}
