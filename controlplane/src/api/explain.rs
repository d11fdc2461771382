//! `P/events/{id}/explain`: what became of an event and why. Not in the contract.
//!
//! Nothing is decided again: everything comes out of what was recorded when it happened. The
//! configuration is asked for words alone: what the condition with a number was that an event
//! did not meet, in the revision that the event was routed under. Bounded as RULINGS 28 says.
//!
//! - `routing`: which subscriptions were considered, and why they did not match
//! - `deliveries`: waits, attempts, and what followed each

mod deliveries;
mod routing;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use outrider_config::Kind;
use outrider_store::{
    AttemptRecord, DeliveryFilter, DeliveryItem, Direction, DuplicateRecord, EndpointStateRecord,
    EventContent, Index, Kin, PageRequest, Sort, StoredEvent,
};
use outrider_webhook::event::Origin;
use outrider_webhook::id::{EndpointId, EventId, ProjectId, UidCodec};
use serde_json::{Value, json};

use super::Api;
use super::call::ProjectCall;
use super::error::{Answer, ApiError};
use super::events;
use super::reply::Reply;
use super::time::rfc3339;
use crate::View;

/// Deliveries that are explained; there may be a million.
const DELIVERIES_MAX: usize = 100;
/// Attempts that are explained, of all of them together.
const ATTEMPTS_MAX: usize = 1_000;
/// Endpoints whose conditions are looked up.
const ENDPOINTS_MAX: usize = 20;

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/events/{id}/explain", get(explain))
}

async fn explain(call: ProjectCall) -> Answer {
    let item = events::find(&call, call.id()).await?;
    let index = call.api.index()?.clone();
    let facts = match item.content {
        EventContent::Event(event) => {
            let first = event
                .decision
                .replay
                .as_ref()
                .map_or(item.id, |replay| replay.of);
            let told = deliveries_of(&call, &index, first).await?;
            let kin = index.kin(first).await?;
            Facts::Event(Box::new(Event { event, kin, told }))
        }
        EventContent::Duplicate(record) => {
            let kin = index.kin(record.first).await?;
            Facts::Repeat(record, kin)
        }
    };
    let uids = index.uids().clone();
    let render = move |view: &View<'_>| -> Result<Reply, ApiError> {
        let explained = match &facts {
            Facts::Event(facts) => facts.explained(view, &uids)?,
            Facts::Repeat(record, kin) => repeat(record, kin, &uids),
        };
        Ok(Reply::ok("Event explained successfully", explained))
    };
    call.api.control().read(render).await
}

/// What was recorded.
enum Facts {
    Event(Box<Event>),
    Repeat(Arc<DuplicateRecord>, Kin),
}

struct Event {
    event: Arc<StoredEvent>,
    kin: Kin,
    told: Told,
}

/// The deliveries of an event, as far as they are explained.
struct Told {
    deliveries: Vec<(DeliveryItem, Vec<AttemptRecord>)>,
    has_more: bool,
    conditions: Vec<EndpointStateRecord>,
}

async fn deliveries_of(
    call: &ProjectCall,
    index: &Index,
    event: EventId,
) -> Result<Told, ApiError> {
    let filter = DeliveryFilter {
        project: Some(call.project),
        event: Some(event),
        ..DeliveryFilter::default()
    };
    let request = PageRequest {
        rows: DELIVERIES_MAX,
        sort: Sort::Ascending,
        direction: Direction::Next,
        cursor: None,
    };
    let (page, _) = index.deliveries(filter, request).await?;
    let (mut deliveries, mut left) = (Vec::with_capacity(page.rows.len()), ATTEMPTS_MAX);
    for item in page.rows {
        let attempts = match left {
            0 => None,
            _ => index.attempts(call.project, item.key).await?,
        };
        let mut attempts = attempts.unwrap_or_default();
        attempts.truncate(left);
        left -= attempts.len();
        deliveries.push((item, attempts));
    }
    let conditions = conditions_of(index, &deliveries, call.api.now_ms()).await?;
    Ok(Told {
        has_more: page.next.is_some(),
        deliveries,
        conditions,
    })
}

async fn conditions_of(
    index: &Index,
    deliveries: &[(DeliveryItem, Vec<AttemptRecord>)],
    now_ms: i64,
) -> Result<Vec<EndpointStateRecord>, ApiError> {
    let mut endpoints: BTreeMap<EndpointId, (i64, i64)> = BTreeMap::new();
    for (item, _) in deliveries {
        let endpoint = item.target.endpoint;
        let to_ms = match item.status.is_final() {
            true => item.updated_ms,
            false => now_ms,
        };
        if endpoints.len() >= ENDPOINTS_MAX && !endpoints.contains_key(&endpoint) {
            continue;
        }
        // The first of an endpoint's deliveries is its oldest.
        let begun = (item.key.event.unix_ms(), to_ms);
        let (_, until_ms) = endpoints.entry(endpoint).or_insert(begun);
        *until_ms = to_ms.max(*until_ms);
    }
    let mut conditions = Vec::new();
    for (endpoint, span) in endpoints {
        conditions.extend(index.conditions(endpoint, span).await?);
    }
    Ok(conditions)
}

impl Event {
    fn explained(&self, view: &View<'_>, uids: &UidCodec) -> Result<Value, ApiError> {
        let (event, facts) = (&self.event, &self.event.facts);
        let deliveries: Result<Vec<Value>, ApiError> = (self.told.deliveries.iter())
            .map(|(item, attempts)| {
                deliveries::explained(view, uids, item, attempts, &self.told.conditions)
            })
            .collect();
        Ok(json!({
            "event": {
                "uid": uids.event(event.decision.replay.as_ref().map_or(event.id, |one| one.of)),
                "event_type": facts.event_type,
                "project_id": facts.project,
                "idempotency_key": facts.idempotency_key,
                "received_at": rfc3339(facts.received_ms),
                "accepted_at": rfc3339(event.id.unix_ms()),
                "is_duplicate_event": false,
            },
            "verification": verification(view, facts.origin, facts.project, event.decision.verified_by.as_deref())?,
            "schema": schema(event),
            "routing": routing::explained(view, event)?,
            "deliveries": deliveries?,
            "deliveries_more": self.told.has_more,
            "repeats": uids_of(&self.kin.repeats, uids),
            "replays": self.kin.replays.len(),
        }))
    }
}

fn repeat(record: &DuplicateRecord, kin: &Kin, uids: &UidCodec) -> Value {
    let first = uids.event(record.first);
    json!({
        "event": {
            "uid": uids.event(record.id),
            "event_type": record.event_type,
            "project_id": record.project,
            "idempotency_key": record.idempotency_key,
            "received_at": rfc3339(record.received_ms),
            "accepted_at": rfc3339(record.id.unix_ms()),
            "is_duplicate_event": true,
            "duplicate_of": first,
        },
        "says": format!("it has the idempotency key of {first}, which was accepted before it, and was not delivered"),
        "deliveries": [],
        "deliveries_more": false,
        "repeats": uids_of(&kin.repeats, uids),
    })
}

fn uids_of(ids: &[EventId], uids: &UidCodec) -> Vec<Value> {
    ids.iter().map(|id| json!(uids.event(*id))).collect()
}

/// How the event was vouched for. Nothing is accepted that was not.
fn verification(
    view: &View<'_>,
    origin: Origin,
    project: ProjectId,
    verified_by: Option<&str>,
) -> Result<Value, ApiError> {
    let Origin::Source(source) = origin else {
        return Ok(json!({
            "result": "accepted", "method": "api_key", "source_id": null,
            "says": "it was published through the event API, with a key of the project",
        }));
    };
    let stored = view.get(Kind::Source, project, source.uid())?;
    let name = stored.map_or_else(
        || format!("source {source}, which is gone"),
        |stored| format!("source {} ({source})", stored.name),
    );
    let says = match verified_by {
        Some("noop") => format!("it came in through {name}, which takes everything unverified"),
        Some(method) => format!("it came in through {name}, which verified it by `{method}`"),
        None => format!(
            "it came in through {name}, which had verified it before it was accepted; by what was not recorded yet"
        ),
    };
    Ok(json!({
        "result": "accepted", "method": verified_by, "source_id": source, "says": says,
    }))
}

/// What the schema of its type had against it. What was refused for it is no event.
fn schema(event: &StoredEvent) -> Value {
    match event.decision.schema_flaw.as_deref() {
        None => json!({"result": "nothing_recorded", "says": "no schema had anything against it"}),
        Some(flaw) => json!({
            "result": "flawed",
            "says": format!("the schema of its type has something against it, and it was accepted all the same: {flaw}"),
        }),
    }
}
