//! `P/eventdeliveries/{id}/deliveryattempts`: every request that was made (contract 3.9).

use outrider_store::{AttemptRecord, DeliveryItem, DeliveryStatus};
use outrider_webhook::retry::{self, ResponseFlags};
use serde_json::{Value, json};

use super::super::call::ProjectCall;
use super::super::error::{Answer, ApiError};
use super::super::reply::Reply;
use super::{key, not_found, order, shape};
use crate::View;

pub(super) async fn list(call: ProjectCall) -> Answer {
    let shown = all(&call).await?;
    Ok(Reply::ok(
        "App event delivery attempts fetched successfully",
        Value::Array(shown),
    ))
}

pub(super) async fn show(call: ProjectCall) -> Answer {
    let wanted = call.attempt().map(str::to_owned);
    let mut shown = all(&call).await?.into_iter();
    let found =
        shown.find(|attempt| attempt.get("uid").and_then(Value::as_str) == wanted.as_deref());
    match found.filter(|_| wanted.is_some()) {
        Some(attempt) => Ok(Reply::ok(
            "App event delivery attempt fetched successfully",
            attempt,
        )),
        None => Err(ApiError::not_found("event delivery attempt")),
    }
}

async fn all(call: &ProjectCall) -> Result<Vec<Value>, ApiError> {
    let (key, index) = (key(call)?, call.api.index()?.clone());
    let item = index
        .delivery(call.project, key)
        .await?
        .ok_or_else(not_found)?;
    let attempts = index
        .attempts(call.project, key)
        .await?
        .ok_or_else(not_found)?;
    let render = move |view: &View<'_>| -> Result<Vec<Value>, ApiError> {
        let url = shape::target_url(view, &item)?;
        Ok(shapes(&index, &item, &url, &attempts))
    };
    call.api.control().read(render).await
}

fn shapes(
    index: &outrider_store::Index,
    item: &DeliveryItem,
    url: &str,
    attempts: &[AttemptRecord],
) -> Vec<Value> {
    let one = |attempt: &AttemptRecord| {
        let mut shown = shape::attempt(index.uids(), item, url, attempt);
        if let (Value::Object(fields), Value::Object(own)) = (&mut shown, native(attempt)) {
            fields.extend(own);
        }
        shown
    };
    attempts.iter().map(one).collect()
}

/// What Convoy has no field for.
fn native(attempt: &AttemptRecord) -> Value {
    let is_success = attempt.result == DeliveryStatus::Success;
    let class = || retry::error_class(attempt.status, attempt.error.as_deref());
    let has = |flag: u32| attempt.flags & flag != 0;
    json!({
        "attempt": attempt.number,
        "counts": !has(AttemptRecord::FREE),
        "error_class": (!is_success).then(class),
        "denied": shape::denial(attempt.error.as_deref()),
        "response_flags": ResponseFlags::from_bits(attempt.flags).to_string(),
        "source_address": attempt.source.map(|from| from.to_string()),
        "destination_address": attempt.destination.map(|to| to.to_string()),
        "config_revision": attempt.revision,
        "order": order::Goes::of(attempt).map(order::Goes::word),
        "parked": order::is_parked(attempt),
        "timings_us": {
            "dns": attempt.dns_us,
            "connect": attempt.connect_us,
            "tls": attempt.tls_us,
            "first_byte": attempt.first_byte_us,
            "total": attempt.duration_us,
        },
        "is_cut": has(AttemptRecord::EXCERPT_CUT | AttemptRecord::HEADERS_CUT),
    })
}
