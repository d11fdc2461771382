//! `P/eventdeliveries`: what became of events, and another try (contract 3.8, 3.9).

pub(super) mod actions;
mod attempt;
mod filter;
pub(super) mod order;
pub(super) mod shape;

use axum::Router;
use axum::routing::{get, post, put};
use outrider_store::{DeliveryFilter, DeliveryItem, DeliveryStatus};
use outrider_webhook::id::{Decoded, DeliveryKey, Uid};

use super::call::ProjectCall;
use super::error::{Answer, ApiError};
use super::events;
use super::reply::Reply;
use super::{Api, reads};
use crate::View;

pub(super) use shape::{denial, error_words, status_word, target_url};

pub(super) fn routes() -> Router<Api> {
    const COUNT_RETRY: &str = "/eventdeliveries/countbatchretryevents";
    const ATTEMPTS: &str = "/eventdeliveries/{id}/deliveryattempts";
    Router::new()
        .route("/eventdeliveries", get(list))
        .route("/eventdeliveries/{id}", get(show))
        .route("/deadletters", get(dead_letters))
        .route("/eventdeliveries/{id}/resend", put(actions::resend))
        .route("/eventdeliveries/{id}/cancel", put(actions::cancel))
        .route("/eventdeliveries/forceresend", post(actions::force_resend))
        .route("/eventdeliveries/batchretry", post(actions::batch_retry))
        .route("/eventdeliveries/batchcancel", post(actions::batch_cancel))
        .route(COUNT_RETRY, get(actions::count_batch_retry))
        .route("/eventdeliveries/statustotals", get(actions::status_totals))
        .route(ATTEMPTS, get(attempt::list))
        .route(
            "/eventdeliveries/{id}/deliveryattempts/{attempt}",
            get(attempt::show),
        )
}

async fn list(call: ProjectCall) -> Answer {
    let filter = filter::parse(&call)?;
    page(call, filter).await
}

/// Deliveries that gave up, each with its reason. Not in the contract.
async fn dead_letters(call: ProjectCall) -> Answer {
    let filter = filter::parse(&call)?.and_then(|mut filter| {
        let is_any = filter.keep_only(&[DeliveryStatus::Failure]);
        is_any.then_some(filter)
    });
    page(call, filter).await
}

async fn page(call: ProjectCall, filter: Option<DeliveryFilter>) -> Answer {
    let index = call.api.index()?.clone();
    let uids = index.uids().clone();
    let delivery_key = |uid| match uids.decode(uid) {
        Some(Decoded::Delivery(key)) => Some(key),
        _ => None,
    };
    let (asked, request) = reads::request(&call.query, delivery_key)?;
    let (page, lag) = match filter {
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

/// The delivery that the path names. Whether it exists is for the index to say.
fn key(call: &ProjectCall) -> Result<DeliveryKey, ApiError> {
    let uid: Option<Uid> = call.id().and_then(|text| text.parse().ok());
    let key = match uid {
        Some(uid) => key_of(call, uid)?,
        None => None,
    };
    key.ok_or_else(not_found)
}

/// The delivery that a uid stands for.
fn key_of(call: &ProjectCall, uid: Uid) -> Result<Option<DeliveryKey>, ApiError> {
    Ok(match call.api.index()?.uids().decode(uid) {
        Some(Decoded::Delivery(key)) => Some(key),
        _ => None,
    })
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
