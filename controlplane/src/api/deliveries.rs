//! `P/eventdeliveries`: what became of events, and another try (contract 3.8, 3.9).

mod attempt;
mod filter;
mod shape;

use axum::Router;
use axum::routing::{get, post, put};
use outrider_store::DeliveryItem;
use outrider_webhook::id::{Decoded, DeliveryKey, Uid};
use outrider_xds::{Action, Command, Outcome};

use super::call::ProjectCall;
use super::error::{Answer, ApiError};
use super::events;
use super::reply::Reply;
use super::{Api, not_supported, reads};
use crate::{View, random};

/// How long a command may take, until the client is told that nobody knows yet.
const COMMAND_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);

pub(super) fn routes() -> Router<Api> {
    const ATTEMPTS: &str = "/eventdeliveries/{id}/deliveryattempts";
    Router::new()
        .route("/eventdeliveries", get(list))
        .route("/eventdeliveries/{id}", get(show))
        .route("/eventdeliveries/{id}/resend", put(resend))
        .route("/eventdeliveries/forceresend", post(not_supported))
        .route("/eventdeliveries/batchretry", post(not_supported))
        .route("/eventdeliveries/countbatchretryevents", get(not_supported))
        .route(ATTEMPTS, get(attempt::list))
        .route(
            "/eventdeliveries/{id}/deliveryattempts/{attempt}",
            get(attempt::show),
        )
}

async fn list(call: ProjectCall) -> Answer {
    let index = call.api.index()?.clone();
    let uids = index.uids().clone();
    let delivery_key = |uid| match uids.decode(uid) {
        Some(Decoded::Delivery(key)) => Some(key),
        _ => None,
    };
    let (asked, request) = reads::request(&call.query, delivery_key)?;
    let (page, lag) = match filter::parse(&call)? {
        Some(filter) => index.deliveries(filter, request).await?,
        None => Default::default(),
    };
    let uid = |key: &DeliveryKey| uids.delivery(*key);
    let pagination = reads::pagination(&page, asked.per_page(), uid, |item: &DeliveryItem| {
        uids.delivery(item.key)
    });
    let (api, project) = (call.api.clone(), call.project);
    let render = move |view: &View<'_>| -> Result<Reply, ApiError> {
        let mut shapes = events::Shapes::new(&api, view, project)?;
        let rows: Result<Vec<_>, ApiError> = page
            .rows
            .iter()
            .map(|item| shape::delivery(&mut shapes, item))
            .collect();
        Reply::list("Event deliveries fetched successfully", &rows?, &pagination)
    };
    Ok(call.api.control().read(render).await?.behind(lag))
}

async fn show(call: ProjectCall) -> Answer {
    let key = key(&call)?;
    let item = item(&call, key).await?;
    shown(&call, item, "Event Delivery fetched successfully").await
}

/// Opens a delivery that failed for another attempt: a command to the node that has it.
async fn resend(call: ProjectCall) -> Answer {
    let key = key(&call)?;
    let before = item(&call, key).await?;
    let command = Command {
        id: random::uid(call.api.now_ms()),
        action: Action::Resend {
            project: call.project,
            delivery: key,
        },
    };
    let commands = call.api.commands();
    let outcome = commands
        .send(key.event.node(), command, COMMAND_LIMIT)
        .await?;
    if let Outcome::Refused { code, message } = outcome {
        return Err(ApiError::Command { code, message });
    }
    // It is done, whatever reading it back says.
    let now = item(&call, key).await.unwrap_or(before);
    shown(&call, now, "App event processed for retry successfully").await
}

/// The delivery that the path names. Whether it exists is for the index to say.
fn key(call: &ProjectCall) -> Result<DeliveryKey, ApiError> {
    let index = call.api.index()?;
    let uid: Option<Uid> = call.id().and_then(|text| text.parse().ok());
    match uid.and_then(|uid| index.uids().decode(uid)) {
        Some(Decoded::Delivery(key)) => Ok(key),
        _ => Err(not_found()),
    }
}

fn not_found() -> ApiError {
    ApiError::not_found("event delivery")
}

async fn item(call: &ProjectCall, key: DeliveryKey) -> Result<DeliveryItem, ApiError> {
    let found = call.api.index()?.delivery(call.project, key).await?;
    found.ok_or_else(not_found)
}

async fn shown(call: &ProjectCall, item: DeliveryItem, message: &'static str) -> Answer {
    let (api, project) = (call.api.clone(), call.project);
    let render = move |view: &View<'_>| -> Result<Reply, ApiError> {
        let mut shapes = events::Shapes::new(&api, view, project)?;
        Reply::of(message, &shape::delivery(&mut shapes, &item)?)
    };
    call.api.control().read(render).await
}
