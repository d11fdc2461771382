//! The filter of a list of deliveries, out of its query.

use outrider_store::{DeliveryFilter, DeliveryStatus};
use outrider_webhook::id::{Decoded, EventId, Uid};
use outrider_webhook::undelivered::Reason;

use super::super::call::ProjectCall;
use super::super::error::ApiError;
use super::super::query::Query;
use super::super::reads;
use super::shape::status_word;

/// The filter; `None` when nothing can match.
pub(super) fn parse(call: &ProjectCall) -> Result<Option<DeliveryFilter>, ApiError> {
    let query = &call.query;
    let (statuses, reasons) = (statuses(query)?, reasons(query)?);
    let (from, to) = reads::between(query, call.api.now_ms())?;
    let endpoints = reads::ids(query, "endpointId")?;
    // Messages of brokers carry such an id, and there are none in this version.
    if query.text("brokerMessageId").is_some() {
        return Ok(None);
    }
    let Some(endpoints) = endpoints else {
        return Ok(None);
    };
    let mut filter = DeliveryFilter {
        project: Some(call.project),
        endpoints,
        idempotency_key: query.text("idempotencyKey"),
        // The code of Convoy reads one, its specification and clients say the other.
        event_type: query.text("eventType").or_else(|| query.text("event_type")),
        statuses,
        reasons,
        from: Some(from),
        to: Some(to),
        ..DeliveryFilter::default()
    };
    if let Some(text) = query.text("eventId") {
        let Some(event) = event_id(call, &text)? else {
            return Ok(None);
        };
        filter.event = Some(event);
    }
    if let Some(text) = query.text("subscriptionId") {
        let Ok(subscription) = text.parse() else {
            return Ok(None);
        };
        filter.subscription = Some(subscription);
    }
    Ok(Some(filter))
}

fn event_id(call: &ProjectCall, text: &str) -> Result<Option<EventId>, ApiError> {
    let uids = call.api.index()?.uids();
    let uid: Option<Uid> = text.parse().ok();
    Ok(match uid.and_then(|uid| uids.decode(uid)) {
        Some(Decoded::Event(id)) => Some(id),
        _ => None,
    })
}

fn statuses(query: &Query) -> Result<Vec<DeliveryStatus>, ApiError> {
    let mut statuses = Vec::new();
    for text in query.all("status").filter(|text| !text.is_empty()) {
        let known = DeliveryStatus::ALL.into_iter();
        let status = known
            .into_iter()
            .find(|status| status_word(*status) == text);
        statuses.push(status.ok_or(ApiError::Parameter(
            "`status` must be Scheduled, Processing, Retry, Success, Failure or Discarded",
        ))?);
    }
    statuses.dedup();
    Ok(statuses)
}

/// Not in the contract: why deliveries ended without success.
fn reasons(query: &Query) -> Result<Vec<Reason>, ApiError> {
    let mut reasons = Vec::new();
    for text in query.all("reason").filter(|text| !text.is_empty()) {
        let reason = Reason::from_code(text).ok_or(ApiError::Reason)?;
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    Ok(reasons)
}
