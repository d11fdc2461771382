//! An event as replies show it (contract 3.6).

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use outrider_config::Kind;
use outrider_config::snapshot::ProjectKind;
use outrider_store::{DuplicateRecord, EventContent, EventItem, StoredEvent};
use outrider_webhook::event::{HeaderList, Origin};
use outrider_webhook::id::{EndpointId, EventId, ProjectId, SourceId, Uid, UidCodec};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::error::ApiError;
use super::super::time::rfc3339;
use super::super::{Api, endpoints, sources};
use crate::View;

/// Endpoints that are listed with an event. One that went to a million is no list.
const ENDPOINTS_MAX: usize = 1_000;
/// Endpoints of an event that are described.
const DESCRIBED_MAX: usize = 10;

/// An event. Data stands in it as it was sent: no number is read and written again.
#[derive(Serialize)]
pub(in crate::api) struct EventShape<'e> {
    uid: Uid,
    event_type: &'e str,
    source_id: String,
    app_id: &'static str,
    project_id: ProjectId,
    endpoints: Vec<EndpointId>,
    headers: BTreeMap<&'e str, Vec<Cow<'e, str>>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    endpoint_metadata: Vec<Value>,
    source_metadata: Option<Value>,
    url_query_params: &'e str,
    url_path: &'e str,
    idempotency_key: &'e str,
    is_duplicate_event: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicate_of: Option<Uid>,
    data: Option<&'e RawValue>,
    raw: Cow<'e, str>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_reason: Option<&'static str>,
    /// Ours, `false` for an event that was accepted although its schema has something against it.
    #[serde(skip_serializing_if = "Option::is_none")]
    schema_valid: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema_reason: Option<&'e str>,
    acknowledged_at: String,
    created_at: String,
    updated_at: String,
    deleted_at: Option<String>,
}

/// Makes shapes, and remembers what several of them refer to.
pub(in crate::api) struct Shapes<'v> {
    api: &'v Api,
    view: &'v View<'v>,
    project: ProjectId,
    uids: UidCodec,
    is_incoming: bool,
    endpoints: HashMap<EndpointId, Option<Value>>,
    sources: HashMap<SourceId, Option<Value>>,
}

impl<'v> Shapes<'v> {
    pub(in crate::api) fn new(
        api: &'v Api,
        view: &'v View<'v>,
        project: ProjectId,
    ) -> Result<Self, ApiError> {
        let table = view.snapshot().project(project);
        Ok(Self {
            api,
            view,
            project,
            uids: api.index()?.uids().clone(),
            is_incoming: table.is_some_and(|table| table.project().kind() == ProjectKind::Incoming),
            endpoints: HashMap::new(),
            sources: HashMap::new(),
        })
    }

    pub(in crate::api) fn uids(&self) -> &UidCodec {
        &self.uids
    }

    pub(in crate::api) fn event<'e>(
        &mut self,
        item: &'e EventItem,
    ) -> Result<EventShape<'e>, ApiError> {
        match &item.content {
            EventContent::Event(event) => self.stored(event),
            EventContent::Duplicate(record) => self.duplicate(record),
        }
    }

    /// As it stands beside one of its deliveries, which has the rest itself.
    pub(in crate::api) fn brief<'e>(&self, event: &'e StoredEvent) -> EventShape<'e> {
        let facts = &event.facts;
        let mut to: Vec<EndpointId> = event.targets.iter().map(|target| target.endpoint).collect();
        to.dedup(); // targets of one endpoint stand together
        to.truncate(ENDPOINTS_MAX);
        let is_routed = !event.targets.is_empty();
        EventShape {
            uid: self.uids.event(shown_id(event)),
            event_type: &facts.event_type,
            source_id: source_id(facts.origin),
            app_id: "",
            project_id: facts.project,
            endpoint_metadata: Vec::new(),
            endpoints: to,
            headers: BTreeMap::new(),
            source_metadata: None,
            url_query_params: &facts.query,
            url_path: &facts.path,
            idempotency_key: facts.idempotency_key.as_deref().unwrap_or_default(),
            is_duplicate_event: false,
            duplicate_of: None,
            data: None,
            raw: Cow::Borrowed(""),
            status: if is_routed { "Success" } else { "Failure" },
            failure_reason: (!is_routed).then_some("no subscription matched this event"),
            schema_valid: event.decision.schema_flaw.is_some().then_some(false),
            schema_reason: event.decision.schema_flaw.as_deref(),
            acknowledged_at: rfc3339(event.id.unix_ms()),
            created_at: rfc3339(facts.received_ms),
            updated_at: rfc3339(event.id.unix_ms()),
            deleted_at: None,
        }
    }

    fn stored<'e>(&mut self, event: &'e StoredEvent) -> Result<EventShape<'e>, ApiError> {
        let (brief, facts) = (self.brief(event), &event.facts);
        Ok(EventShape {
            endpoint_metadata: self.described(&brief.endpoints)?,
            headers: headers_of(&facts.headers),
            source_metadata: self.source(facts.origin)?,
            data: data_of(&facts.body),
            raw: raw_of(&facts.body),
            ..brief
        })
    }

    fn duplicate<'e>(&mut self, record: &'e DuplicateRecord) -> Result<EventShape<'e>, ApiError> {
        Ok(EventShape {
            uid: self.uids.event(record.id),
            event_type: &record.event_type,
            source_id: source_id(record.origin),
            app_id: "",
            project_id: record.project,
            endpoint_metadata: Vec::new(),
            endpoints: Vec::new(),
            headers: BTreeMap::new(),
            source_metadata: self.source(record.origin)?,
            url_query_params: "",
            url_path: "",
            idempotency_key: &record.idempotency_key,
            is_duplicate_event: true,
            duplicate_of: Some(self.uids.event(record.first)),
            data: None,
            raw: Cow::Borrowed(""),
            status: "Success",
            failure_reason: None,
            schema_valid: None,
            schema_reason: None,
            acknowledged_at: rfc3339(record.id.unix_ms()),
            created_at: rfc3339(record.received_ms),
            updated_at: rfc3339(record.id.unix_ms()),
            deleted_at: None,
        })
    }

    fn described(&mut self, ids: &[EndpointId]) -> Result<Vec<Value>, ApiError> {
        let mut known = Vec::new();
        for id in ids.iter().take(DESCRIBED_MAX) {
            known.extend(self.endpoint(*id)?);
        }
        Ok(known)
    }

    /// An endpoint as it is configured now, without its secrets; `None` when it is gone.
    pub(in crate::api) fn endpoint(&mut self, id: EndpointId) -> Result<Option<Value>, ApiError> {
        if let Some(known) = self.endpoints.get(&id) {
            return Ok(known.clone());
        }
        let found = self.view.get(Kind::Endpoint, self.project, id.uid())?;
        let found = found.map(|found| endpoints::metadata(&found, self.is_incoming));
        let found = found.transpose()?;
        self.endpoints.insert(id, found.clone());
        Ok(found)
    }

    /// The source as it is configured now; `None` when it is gone, and for the API.
    pub(in crate::api) fn source(&mut self, origin: Origin) -> Result<Option<Value>, ApiError> {
        let Origin::Source(id) = origin else {
            return Ok(None);
        };
        if let Some(known) = self.sources.get(&id) {
            return Ok(known.clone());
        }
        let found = self.view.get(Kind::Source, self.project, id.uid())?;
        let found = found.map(|found| sources::metadata(self.api, &found));
        let found = found.transpose()?;
        self.sources.insert(id, found.clone());
        Ok(found)
    }

    pub(in crate::api) fn view(&self) -> &'v View<'v> {
        self.view
    }
}

/// The id an event has for people: a replay is the event it is of.
pub(in crate::api) fn shown_id(event: &StoredEvent) -> EventId {
    event
        .decision
        .replay
        .as_ref()
        .map_or(event.id, |replay| replay.of)
}

fn source_id(origin: Origin) -> String {
    match origin {
        Origin::Api => String::new(),
        Origin::Source(source) => source.to_string(),
    }
}

/// Headers whose values are for the receiver alone.
const CREDENTIALS: [&str; 4] = [
    "authorization",
    "cookie",
    "proxy-authorization",
    "set-cookie",
];

/// Headers by name, each with all its values. Credentials are there and not shown.
pub(in crate::api) fn headers_of(headers: &HeaderList) -> BTreeMap<&str, Vec<Cow<'_, str>>> {
    let mut map: BTreeMap<&str, Vec<Cow<'_, str>>> = BTreeMap::new();
    for (name, value) in headers {
        let value = match CREDENTIALS.contains(&name.as_str()) {
            true => Cow::Borrowed("***"),
            false => String::from_utf8_lossy(value.as_bytes()),
        };
        map.entry(name.as_str()).or_default().push(value);
    }
    map
}

/// The body as JSON, when it is JSON.
pub(in crate::api) fn data_of(body: &[u8]) -> Option<&RawValue> {
    serde_json::from_slice(body).ok()
}

/// The body as text.
pub(in crate::api) fn raw_of(body: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(body)
}
