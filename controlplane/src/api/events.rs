//! `P/events`, reading: what was accepted (contract 3.6). Events are posted to the data plane.

mod filter;
mod replay;
mod shape;

use axum::Router;
use axum::routing::{get, post, put};
use outrider_config::Kind;
use outrider_store::EventItem;
use outrider_webhook::id::{Decoded, EventId, Uid};

use super::call::ProjectCall;
use super::error::{Answer, ApiError};
use super::reply::Reply;
use super::{Api, reads};
use crate::{Selection, View};

pub(super) use shape::{EventShape, Shapes, data_of, headers_of, raw_of, shown_id};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/events", get(list))
        .route("/events/{id}", get(show))
        .route("/events/{id}/replay", put(replay::one))
        .route("/events/batchreplay", post(replay::batch))
        .route("/events/countbatchreplayevents", get(replay::count))
}

async fn list(call: ProjectCall) -> Answer {
    let index = call.api.index()?.clone();
    let uids = index.uids().clone();
    let event_id = |uid| match uids.decode(uid) {
        Some(Decoded::Event(id)) => Some(id),
        _ => None,
    };
    let (asked, request) = reads::request(&call.query, event_id)?;
    let named = sources_named(&call).await?;
    let filter = filter::parse(&call, named)?;
    let (page, lag) = match filter {
        Some(filter) => index.events(filter, request).await?,
        None => Default::default(),
    };
    let uid = |id: &EventId| uids.event(*id);
    let pagination = reads::pagination(&page, asked.per_page(), uid, |item: &EventItem| {
        uids.event(item.id)
    });
    let (api, project) = (call.api.clone(), call.project);
    let render = move |view: &View<'_>| -> Result<Reply, ApiError> {
        let mut shapes = Shapes::new(&api, view, project)?;
        let rows: Result<Vec<EventShape<'_>>, ApiError> =
            page.rows.iter().map(|item| shapes.event(item)).collect();
        Reply::list("App events fetched successfully", &rows?, &pagination)
    };
    Ok(call.api.control().read(render).await?.behind(lag))
}

async fn show(call: ProjectCall) -> Answer {
    let item = find(&call, call.id()).await?;
    shown(&call, item, "App event fetched successfully").await
}

async fn shown(call: &ProjectCall, item: EventItem, says: &'static str) -> Answer {
    let (api, project) = (call.api.clone(), call.project);
    let render = move |view: &View<'_>| -> Result<Reply, ApiError> {
        let shape = Shapes::new(&api, view, project)?.event(&item)?;
        Reply::of(says, &shape)
    };
    call.api.control().read(render).await
}

/// The event with this uid in the project of the call.
pub(super) async fn find(call: &ProjectCall, id: Option<&str>) -> Result<EventItem, ApiError> {
    let index = call.api.index()?;
    let uid: Option<Uid> = id.and_then(|text| text.parse().ok());
    let item = match uid.and_then(|uid| index.uids().decode(uid)) {
        Some(Decoded::Event(id)) => index.event(call.project, id).await?,
        _ => None,
    };
    item.ok_or_else(|| ApiError::not_found("event"))
}

/// The sources whose name contains the text that is searched for.
async fn sources_named(call: &ProjectCall) -> Result<Vec<Uid>, ApiError> {
    let Some(filter::Text::Plain(text)) = filter::text(&call.query) else {
        return Ok(Vec::new());
    };
    let selection = Selection {
        name_part: Some(text),
        ..Selection::all(Kind::Source, call.project)
    };
    let look = move |view: &View<'_>| -> Result<Vec<Uid>, ApiError> {
        let scan = super::page::Scan::first(filter::SOURCES_MAX);
        let found = view.list(&selection, &scan)?;
        Ok(found.iter().map(crate::Stored::uid).collect())
    };
    call.api.control().read(look).await
}
