//! Filters of a subscription, one for each of its event types (contract 3.4), and trying filters
//! out.
//!
//! They are kept in the subscription: `filters` has those with conditions of their own. An event
//! type that is only listed has a filter too, made up for who asks, with the conditions for the
//! whole subscription and an id that stays the same; it is stored once somebody changes it.

mod change;
mod rows;
mod shape;
mod try_out;

use axum::Router;
use axum::routing::{get, post, put};
use outrider_config::Kind;
use outrider_config::resource::SubscriptionSpec;
use outrider_webhook::id::Uid;
use serde_json::{Value, json};

use super::Api;
use super::body::JsonBody;
use super::call::ProjectCall;
use super::error::{Answer, ApiError};
use super::reply::Reply;
use super::subscriptions;
use super::write::{Done, Writing};
use crate::{Edit, Stored, View};

pub(super) use shape::natives;

const ALL: &str = "/subscriptions/{id}/filters";

pub(super) fn routes() -> Router<Api> {
    let below = |path: &str| format!("{ALL}{path}");
    Router::new()
        .route("/subscriptions/test_filter", post(try_out::scopes))
        .route(ALL, get(list).post(create))
        .route(&below("/bulk"), post(create_many))
        // Convoy's server takes the one, its documentation and clients say the other.
        .route(&below("/bulk_update"), put(update_many).post(update_many))
        .route(&below("/test/{event_type}"), post(try_out::event_type))
        .route(&below("/{filter}"), get(show).put(update).delete(remove))
}

async fn list(call: ProjectCall) -> Answer {
    let shown = call
        .show(Kind::Subscription, |_, one| shape::all(&one))
        .await?;
    Ok(Reply::ok("Filters fetched successfully", shown))
}

async fn show(call: ProjectCall) -> Answer {
    let filter = filter(&call)?;
    let show = move |_: &View<'_>, one: Stored| {
        let spec: SubscriptionSpec = one.spec()?;
        let found = rows::all(one.uid(), &spec);
        let found = found.into_iter().find(|row| row.uid == filter);
        Ok(shape::reply(&one, &found.ok_or_else(missing)?))
    };
    let shown = call.show(Kind::Subscription, show).await?;
    Ok(Reply::ok("Filter fetched successfully", shown))
}

async fn create(call: ProjectCall, body: JsonBody) -> Answer {
    let (row, ignored) = change::read_one(body)?;
    let create = move |writing: &Writing<'_>, one: &Stored, spec: &mut SubscriptionSpec| {
        change::create(writing, one, spec, vec![row])
    };
    let done = changed(&call, create).await?;
    let shown = done.value.into_iter().next().unwrap_or_default();
    Ok(Reply::created("Filter created successfully", shown)
        .in_force(done.in_force)
        .ignoring(ignored))
}

async fn create_many(call: ProjectCall, body: JsonBody) -> Answer {
    let (rows, ignored) = change::read_many(body)?;
    let create = move |writing: &Writing<'_>, one: &Stored, spec: &mut SubscriptionSpec| {
        change::create(writing, one, spec, rows)
    };
    let done = changed(&call, create).await?;
    Ok(
        Reply::created("Filters created successfully", Value::Array(done.value))
            .in_force(done.in_force)
            .ignoring(ignored),
    )
}

async fn update(call: ProjectCall, body: JsonBody) -> Answer {
    let (row, ignored) = change::read_one(body)?;
    let filter = filter(&call)?;
    let update = move |writing: &Writing<'_>, one: &Stored, spec: &mut SubscriptionSpec| {
        change::update(writing, one, spec, vec![(filter, row)])
    };
    let done = changed(&call, update).await?;
    let shown = done.value.into_iter().next().unwrap_or_default();
    Ok(Reply::ok("Filter updated successfully", shown)
        .in_force(done.in_force)
        .ignoring(ignored))
}

async fn update_many(call: ProjectCall, body: JsonBody) -> Answer {
    let (rows, ignored) = change::read_many(body)?;
    let rows = rows.into_iter().map(|row| {
        let uid = row.spec.uid.as_deref().and_then(|text| text.parse().ok());
        Ok((uid.ok_or_else(missing)?, row))
    });
    let rows: Vec<_> = rows.collect::<Result<_, ApiError>>()?;
    let update = move |writing: &Writing<'_>, one: &Stored, spec: &mut SubscriptionSpec| {
        change::update(writing, one, spec, rows)
    };
    let done = changed(&call, update).await?;
    Ok(
        Reply::ok("Filters updated successfully", Value::Array(done.value))
            .in_force(done.in_force)
            .ignoring(ignored),
    )
}

async fn remove(call: ProjectCall) -> Answer {
    let filter = filter(&call)?;
    let remove = move |_: &Writing<'_>, one: &Stored, spec: &mut SubscriptionSpec| {
        change::remove(one, spec, filter).map(|()| Vec::new())
    };
    let done = changed(&call, remove).await?;
    Ok(Reply::ok("Filter deleted successfully", Value::Null).in_force(done.in_force))
}

/// Changes the filters of a subscription, and shows those with the ids that `change` names.
async fn changed(
    call: &ProjectCall,
    change: impl FnOnce(&Writing<'_>, &Stored, &mut SubscriptionSpec) -> Result<Vec<Uid>, ApiError>
    + Send
    + 'static,
) -> Result<Done<Vec<Value>>, ApiError> {
    let uid = call.uid(Kind::Subscription)?;
    let change = move |writing: &Writing<'_>| {
        let before = writing.editable(Kind::Subscription, uid)?;
        let mut spec: SubscriptionSpec = before.spec()?;
        let touched = change(writing, &before, &mut spec)?;
        let checked = subscriptions::check(writing, uid, &spec);
        checked.map_err(|error| change::as_sent(error, &spec, uid, &touched))?;
        let after = writing.changed(&before, &spec)?;
        let rows = rows::all(uid, &spec);
        let shown = touched.iter().filter_map(|uid| {
            let row = rows.iter().find(|row| row.uid == *uid)?;
            Some(shape::reply(&after, row))
        });
        let shown: Vec<Value> = shown.collect();
        Ok((vec![Edit::update(before, after)], shown))
    };
    call.change(change).await
}

/// The id of the filter in the path. One that is none belongs to nothing.
fn filter(call: &ProjectCall) -> Result<Uid, ApiError> {
    let uid = call.filter().and_then(|text| text.parse().ok());
    uid.ok_or_else(missing)
}

fn missing() -> ApiError {
    ApiError::not_found("filter")
}

/// What a match looks like where filters of an event type are tried out.
fn is_match(is_match: bool) -> Value {
    json!({"is_match": is_match})
}
