//! The filter of a list of events, out of its query.

use outrider_store::{EventFilter, OwnerFilter, Search};
use outrider_webhook::id::{SourceId, Uid};
use serde_json::Value;

use super::super::call::ProjectCall;
use super::super::error::ApiError;
use super::super::query::Query;
use super::super::reads;

/// Sources whose name may contain a searched text.
pub(super) const SOURCES_MAX: usize = 100;
/// Endpoints of an owner that are looked at for events that were not fanned out to him.
const OWNED_MAX: usize = 200;
/// Longest text of a search, bytes.
const SEARCH_BYTES_MAX: usize = 4_096;

/// What `query` says: words, or JSON that the data contains.
pub(super) enum Text {
    Plain(String),
    Json(Value),
}

pub(super) fn text(query: &Query) -> Option<Text> {
    let text = query.text("query")?;
    match object(&text) {
        Some(json) => Some(Text::Json(json)),
        None => Some(Text::Plain(text)),
    }
}

/// The filter; `None` when nothing can match. `named` are the sources whose name contains the
/// text that is searched for.
pub(super) fn parse(call: &ProjectCall, named: Vec<Uid>) -> Result<Option<EventFilter>, ApiError> {
    let query = &call.query;
    // Messages of brokers carry such an id, and there are none in this version.
    if query.text("brokerMessageId").is_some() {
        return Ok(None);
    }
    let (Some(sources), Some(endpoints)) = (
        reads::ids(query, "sourceId")?,
        reads::ids(query, "endpointId")?,
    ) else {
        return Ok(None);
    };
    let (from, to) = reads::between(query, call.api.now_ms())?;
    Ok(Some(EventFilter {
        project: Some(call.project),
        sources,
        endpoints,
        owner: query.text("ownerId").map(|owner| owned(call, owner)),
        idempotency_key: query.text("idempotencyKey"),
        from: Some(from),
        to: Some(to),
        search: search(query, named)?,
    }))
}

fn owned(call: &ProjectCall, owner: String) -> OwnerFilter {
    let snapshot = call.api.control().journal().snapshot();
    let endpoints = match snapshot.project(call.project) {
        Some(table) => table.endpoints_of_owner(&owner).take(OWNED_MAX).collect(),
        None => Vec::new(),
    };
    OwnerFilter { owner, endpoints }
}

fn search(query: &Query, named: Vec<Uid>) -> Result<Option<Search>, ApiError> {
    let mut search = Search::default();
    for name in ["query", "body"] {
        if query
            .get(name)
            .is_some_and(|text| text.len() > SEARCH_BYTES_MAX)
        {
            return Err(ApiError::Parameter("a search is at most 4096 bytes long"));
        }
    }
    match text(query) {
        Some(Text::Plain(text)) => {
            search.sources = named.into_iter().map(SourceId::new).collect();
            search.text = Some(text);
        }
        Some(Text::Json(json)) => search.contains.push(json),
        None => {}
    }
    if let Some(body) = query.text("body") {
        let json =
            object(&body).ok_or(ApiError::Parameter("body must be a nonempty JSON object"))?;
        search.contains.push(json);
    }
    let is_empty = search.text.is_none() && search.contains.is_empty();
    Ok((!is_empty).then_some(search))
}

fn object(text: &str) -> Option<Value> {
    let json: Value = serde_json::from_str(text).ok()?;
    json.as_object()
        .is_some_and(|map| !map.is_empty())
        .then_some(json)
}
