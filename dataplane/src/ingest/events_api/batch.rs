//! Many events in one request (RULINGS 29): each is taken or refused on its own, all of them
//! go to the log together, and the reply comes after the last is durable.

use std::fmt;

use bytes::Bytes;
use futures_util::future::join_all;
use http::StatusCode;
use outrider_config::snapshot::ProjectTable;
use outrider_store::Accepted;
use outrider_webhook::id::Uid;
use serde::de::{self, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::admission::Admitted;
use super::call::Kind;
use super::dynamic::{self, Candidate};
use super::fields::{self, Arrival};
use super::refused::Refused;
use super::spec::{self, EventSpec};
use super::{check_audience, unmet};
use crate::ingest::Intake;
use crate::ingest::guard::RATE_LIMITED;
use crate::ingest::reply::Reply;
use crate::table::Missing;

/// Bytes of a batch's body at most (RULINGS 29).
pub(super) const BODY_BYTES_MAX: usize = 16 << 20;
/// Events of a batch at most (RULINGS 29).
const ITEMS_MAX: usize = 1000;
/// Names that a batch waits for, when they are not in the table.
const MISSING_ASKED_MAX: usize = 8;

/// The body of the call; unknown fields are ignored.
#[derive(Deserialize)]
struct BatchSpec<'a> {
    #[serde(borrow, default)]
    events: Option<Items<'a>>,
}

/// The items, each as its text.
enum Items<'a> {
    Within(Vec<&'a RawValue>),
    TooMany,
}

/// The events of a body. Other requests of this thread get their turn between those that look
/// through URL templates, which takes longest.
pub(super) async fn read(
    place: (&Intake, &ProjectTable),
    arrival: &Arrival,
    body: &Bytes,
) -> Result<Vec<Result<Candidate, Refused>>, Refused> {
    let items = match parse(body)?.events {
        Some(Items::Within(items)) if !items.is_empty() => items,
        Some(Items::TooMany) => {
            let message = format!("`events` has more than {ITEMS_MAX} items");
            return Err(Refused::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_many_events",
                message,
            ));
        }
        _ => {
            let message = format!("please provide 1 to {ITEMS_MAX} `events`");
            return Err(Refused::invalid(message));
        }
    };
    let one = |item: &RawValue| {
        let text = item.get();
        if text.len() > arrival.event_bytes_max {
            return Err(Refused::too_large(text.len(), arrival.event_bytes_max));
        }
        let spec = spec::parse_item(text)?;
        fields::candidate(place, arrival, kind_of(&spec)?, spec, body)
    };
    let (_, table) = place;
    let mut events = Vec::with_capacity(items.len());
    for item in items {
        events.push(one(item));
        if table.has_url_templates() {
            tokio::task::yield_now().await;
        }
    }
    Ok(events)
}

fn parse(body: &Bytes) -> Result<BatchSpec<'_>, Refused> {
    serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            return Refused::invalid("body must be a JSON object with a list of `events`");
        }
        spec::badly_formed(body, &error)
    })
}

/// What an item is: what it says, or else what its fields say. Nothing is broadcast by omission.
fn kind_of(spec: &EventSpec<'_>) -> Result<Kind, Refused> {
    if let Some(word) = spec.kind.as_deref().filter(|word| !word.is_empty()) {
        return Kind::parse(word).ok_or_else(|| {
            Refused::invalid("`type` must be one of: single, fanout, broadcast, dynamic")
        });
    }
    let is_given = |field: &Option<String>| field.as_deref().is_some_and(|text| !text.is_empty());
    let is_single = is_given(&spec.endpoint_id) || is_given(&spec.app_id);
    match (is_single, is_given(&spec.owner_id), is_given(&spec.url)) {
        (true, false, false) => Ok(Kind::Single),
        (false, true, false) => Ok(Kind::Fanout),
        (false, false, true) => Ok(Kind::Dynamic),
        (false, false, false) => Err(Refused::invalid(
            "the event names neither `endpoint_id`, `owner_id` nor `url`: set its `type`",
        )),
        _ => Err(Refused::invalid(
            "the event names more than one of `endpoint_id`, `owner_id` and `url`: set its `type`",
        )),
    }
}

/// Waits for the endpoints of those that have to; true when that made any of them configuration.
pub(super) async fn verify(
    table: &ProjectTable,
    events: &mut [Result<Candidate, Refused>],
) -> bool {
    let verifying = events.iter_mut().map(async |event| {
        let Ok(candidate) = event else { return false };
        match dynamic::verify(table, candidate).await {
            Ok(is_moved) => is_moved,
            Err(refused) => {
                *event = Err(refused);
                false
            }
        }
    });
    join_all(verifying).await.contains(&true)
}

/// What became of one event.
#[derive(Serialize)]
struct Outcome {
    index: usize,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<Uid>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    duplicate: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// Takes a token for each event but the first, whose token the request took, and refuses those
/// that there is none for.
pub(super) fn refuse_beyond_rate(
    intake: &Intake,
    admitted: &Admitted,
    events: &mut [Result<Candidate, Refused>],
) {
    let more = events.iter().filter(|event| event.is_ok()).skip(1).count();
    let granted = admitted.take_more(intake, more);
    let beyond = events.iter_mut().filter(|event| event.is_ok());
    for event in beyond.skip(1 + granted) {
        let status = StatusCode::TOO_MANY_REQUESTS;
        *event = Err(Refused::new(status, RATE_LIMITED, "exceeded rate limit"));
    }
}

/// Makes the events durable, all at once, and tells what became of each.
pub(super) async fn store(
    intake: &Intake,
    admitted: &Admitted,
    events: Vec<Result<Candidate, Refused>>,
) -> Reply {
    let table = admitted.table();
    let accepting = events.into_iter().map(async |event| {
        let event = event?;
        check_audience(table, &event.facts)?;
        let accepted = super::store(intake, admitted, event).await;
        accepted.map_err(Refused::from)
    });
    let results = join_all(accepting).await;
    let outcomes: Vec<Outcome> = results
        .into_iter()
        .enumerate()
        .map(|(index, result)| outcome(intake, index, result))
        .collect();
    Reply::with_payload(
        StatusCode::OK,
        "Batch received, see the status of each event",
        outcomes,
    )
}

fn outcome(intake: &Intake, index: usize, result: Result<Accepted, Refused>) -> Outcome {
    let (status, uid, duplicate, refused) = match result {
        Ok(Accepted::Stored(id)) => (StatusCode::CREATED, Some(id), false, None),
        Ok(Accepted::Duplicate { first, .. }) => (StatusCode::CREATED, Some(first), true, None),
        Err(refused) => (refused.status, None, false, Some(refused)),
    };
    let label = match &refused {
        Some(refused) => refused.code,
        None if duplicate => "duplicate",
        None => "accepted",
    };
    intake.count("batch_item", label);
    let (code, message) = refused
        .map(|refused| (refused.code, refused.message))
        .unzip();
    Outcome {
        index,
        status: status.as_u16(),
        uid: uid.map(|id| intake.log.uids().event(id)),
        duplicate,
        code,
        message,
    }
}

/// What events are for and the table does not have: some of it, because whoever names much that
/// is not there shall not wait for each of it.
pub(super) fn some_unmet<'a>(
    admitted: &Admitted,
    events: &'a [Result<Candidate, Refused>],
) -> Vec<Missing<'a>> {
    let taken = events.iter().filter_map(|event| event.as_ref().ok());
    let missing = taken.filter_map(|event| unmet(admitted.table(), &event.facts));
    missing.take(MISSING_ASKED_MAX).collect()
}

impl<'de: 'a, 'a> Deserialize<'de> for Items<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Items<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of events")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    if items.len() == ITEMS_MAX {
                        // Read to its end, so that what is no JSON is told as such.
                        while seq.next_element::<IgnoredAny>()?.is_some() {}
                        return Ok(Items::TooMany);
                    }
                    items.push(item);
                }
                Ok(Items::Within(items))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
                Ok(Items::Within(Vec::new()))
            }
        }
        from.deserialize_any(Each)
    }
}
