//! `POST /api/v1/projects/{id}/events` and `/fanout`: a backend service publishes an event.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use outrider_config::snapshot::{ApiKey, ProjectTable, Snapshot};
use outrider_store::Accepted;
use outrider_webhook::event::{Audience, EventFacts, HeaderList, Origin, Proof, VerifiedEvent};
use outrider_webhook::id::{EndpointId, ProjectId};
use outrider_webhook::verify::ApiKeyDigest;
use outrider_webhook::{event_type, json};
use pingora::protocols::http::ServerSession;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::Intake;
use super::reply::Reply;
use crate::table::Missing;

/// Longest idempotency key and owner id, bytes.
const KEY_BYTES_MAX: usize = 255;

/// Headers a sender may not set: they frame the request or are ours to write.
const RESERVED_HEADERS: [HeaderName; 9] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// The body of both calls; unknown fields are ignored, as the contract wants.
#[derive(Deserialize)]
struct EventSpec<'a> {
    endpoint_id: Option<String>,
    /// The old spelling of `endpoint_id`.
    app_id: Option<String>,
    owner_id: Option<String>,
    event_type: Option<String>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    custom_headers: Option<BTreeMap<String, String>>,
    idempotency_key: Option<String>,
}

/// Any JSON value is data, `null` too; only an absent field is none.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(from: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// Answers a publishing call: the metric label and the reply, or a refusal.
pub(super) async fn answer(
    intake: &Intake,
    http: &mut ServerSession,
    project: &str,
    is_fanout: bool,
) -> Result<(&'static str, Reply), Reply> {
    let call = Call {
        presented: presented_key(http)?,
        project,
        now_s: intake.clock.now_ms() / 1000,
    };
    let known = intake.table.load();
    let late_key;
    let mut decided = match Admitted::of(&known, &call) {
        Ok(admitted) => admitted,
        // A key that is known is refused for what it is, and not because it is late.
        Err(refused) if known.api_key(&call.presented).is_some() => return Err(refused),
        Err(refused) => {
            let missing = Missing::Key(&call.presented);
            late_key = intake.table.catch_up(&known, missing).await;
            Admitted::of(late_key.as_deref().ok_or(refused)?, &call)?
        }
    };
    check_content_type(http)?;
    let received_ms = intake.clock.now_ms();
    let project = decided.table.project();
    let (project, limit) = (project.id(), project.body_bytes_max());
    let (body, _reserved) = intake.read_body(http, project, limit).await?;
    let mut facts = facts(project, &body, received_ms, is_fanout)?;
    let late_audience;
    if let Some(missing) = missing(decided.table, &facts) {
        late_audience = intake.table.catch_up(decided.snapshot, missing).await;
        if let Some(later) = late_audience.as_deref() {
            // One snapshot decides: what was found in the one before does not count.
            decided = Admitted::of(later, &call)?;
        }
        check_audience(decided.table, &facts)?;
    }
    facts.idempotency_window_ms = decided.table.project().idempotency_window_ms();
    let revision = decided
        .snapshot
        .version()
        .map_or(0, |version| version.revision);
    let event = VerifiedEvent::new(decided.proof, facts);
    let accepted = intake.accept(event, decided.table, revision).await?;
    Ok(reply(intake, accepted, is_fanout))
}

/// What the head of the request says.
struct Call<'a> {
    presented: ApiKeyDigest,
    project: &'a str,
    now_s: i64,
}

/// Who may publish in a project, in one snapshot.
struct Admitted<'a> {
    snapshot: &'a Snapshot,
    proof: Proof,
    table: &'a ProjectTable,
}

impl<'a> Admitted<'a> {
    fn of(snapshot: &'a Snapshot, call: &Call<'_>) -> Result<Self, Reply> {
        let key = snapshot
            .api_key(&call.presented)
            .filter(|key| key.expires_at_s().is_none_or(|at| call.now_s < at));
        let (key, proof) = key
            .and_then(|key| Some((key, key.digest().prove(&call.presented)?)))
            .ok_or_else(unknown_key)?;
        let table = project_of(snapshot, key, call.project)?;
        Ok(Self {
            snapshot,
            proof,
            table,
        })
    }
}

/// The digest of the bearer token, exactly one space after the scheme (contract 2.1).
fn presented_key(http: &ServerSession) -> Result<ApiKeyDigest, Reply> {
    let mut values = http
        .req_header()
        .headers
        .get_all(header::AUTHORIZATION)
        .iter();
    let token = values
        .next()
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.split_once(' '));
    match token {
        Some((scheme, token))
            if values.next().is_none()
                && scheme.eq_ignore_ascii_case("bearer")
                && !token.is_empty() =>
        {
            Ok(ApiKeyDigest::of(token))
        }
        _ => Err(Reply::refuse(
            StatusCode::UNAUTHORIZED,
            "authentication_required",
            "Authentication required",
        )),
    }
}

fn unknown_key() -> Reply {
    Reply::refuse(
        StatusCode::UNAUTHORIZED,
        "unknown_key",
        "authorization failed",
    )
}

/// The key decides the project; a path that names another one does not exist for it (RULINGS 23).
fn project_of<'a>(
    snapshot: &'a Snapshot,
    key: &ApiKey,
    path: &str,
) -> Result<&'a ProjectTable, Reply> {
    let named: Option<ProjectId> = path.parse().ok();
    match snapshot.project(key.project()) {
        Some(table) if named == Some(key.project()) => Ok(table),
        _ => Err(Reply::refuse(
            StatusCode::NOT_FOUND,
            "unknown_project",
            "project not found",
        )),
    }
}

/// Anything but JSON is a 415 with an empty body; none at all is taken for JSON (contract 2.1).
fn check_content_type(http: &ServerSession) -> Result<(), Reply> {
    let is_json = match http.get_header(header::CONTENT_TYPE) {
        None => true,
        Some(value) => {
            let value = value.as_bytes();
            value.is_empty()
                || value
                    .get(..16)
                    .is_some_and(|head| head.eq_ignore_ascii_case(b"application/json"))
        }
    };
    if is_json {
        return Ok(());
    }
    Err(Reply {
        code: Some("unsupported_media_type"),
        ..Reply::empty(StatusCode::UNSUPPORTED_MEDIA_TYPE)
    }
    .last())
}

/// What the body says, complete but for what the project's table decides.
fn facts(
    project: ProjectId,
    body: &Bytes,
    received_ms: i64,
    is_fanout: bool,
) -> Result<EventFacts, Reply> {
    let spec = parse(body)?;
    let data = spec
        .data
        .ok_or_else(|| invalid("please provide your data"))?;
    let event_type = spec.event_type.filter(|text| !text.is_empty());
    let event_type = event_type.ok_or_else(|| invalid("please provide an event type"))?;
    event_type::check_name(&event_type).map_err(|error| invalid(&error.to_string()))?;
    let audience = if is_fanout {
        owner(spec.owner_id)?
    } else {
        endpoint(spec.endpoint_id.or(spec.app_id))?
    };
    Ok(EventFacts {
        project,
        origin: Origin::Api,
        audience,
        event_type: event_type.into(),
        headers: custom_headers(spec.custom_headers.unwrap_or_default())?,
        query: Box::default(),
        path: Box::default(),
        body: compact(body, data)?,
        idempotency_key: idempotency_key(spec.idempotency_key)?,
        idempotency_window_ms: 0,
        received_ms,
    })
}

/// What the event is for and the table does not have.
fn missing<'a>(table: &ProjectTable, facts: &'a EventFacts) -> Option<Missing<'a>> {
    match &facts.audience {
        Audience::Endpoint(id) => table
            .endpoint(*id)
            .is_none()
            .then_some(Missing::Endpoint(facts.project, *id)),
        Audience::Owner(owner) => table
            .endpoints_of_owner(owner)
            .next()
            .is_none()
            .then_some(Missing::Owner(facts.project, owner)),
        Audience::Source(_) | Audience::Broadcast => None,
    }
}

/// An owner without endpoints is a result, an endpoint that is not there is an error.
fn check_audience(table: &ProjectTable, facts: &EventFacts) -> Result<(), Reply> {
    match missing(table, facts) {
        Some(Missing::Endpoint(..)) => Err(unknown_endpoint()),
        _ => Ok(()),
    }
}

/// The delivered bytes: whitespace removed once, here; stored, signed and sent as they are (RULINGS 20).
fn compact(body: &Bytes, data: &RawValue) -> Result<Bytes, Reply> {
    let data = body.slice_ref(data.get().as_bytes()); // a view of the body, no copy
    let compacted = json::compact(&data)
        .map_err(|error| invalid(&format!("`data` is not valid JSON: {error}")))?;
    // A small part of a large body would keep all of it in memory.
    Ok(if compacted.len() < body.len() / 2 {
        Bytes::copy_from_slice(&compacted)
    } else {
        compacted
    })
}

fn endpoint(id: Option<String>) -> Result<Audience, Reply> {
    let id = id
        .filter(|id| !id.is_empty())
        .ok_or_else(|| invalid("please provide an endpoint ID"))?;
    let id = id.parse::<EndpointId>();
    id.map(Audience::Endpoint).map_err(|_| unknown_endpoint())
}

fn unknown_endpoint() -> Reply {
    Reply::refuse(
        StatusCode::NOT_FOUND,
        "unknown_endpoint",
        "endpoint not found",
    )
}

fn owner(id: Option<String>) -> Result<Audience, Reply> {
    let id = id
        .filter(|id| !id.is_empty())
        .ok_or_else(|| invalid("please provide an owner id"))?;
    if id.len() > KEY_BYTES_MAX {
        return Err(invalid(&format!(
            "`owner_id` is longer than {KEY_BYTES_MAX} bytes"
        )));
    }
    Ok(Audience::Owner(id.into()))
}

fn idempotency_key(key: Option<String>) -> Result<Option<Box<str>>, Reply> {
    let Some(key) = key.filter(|key| !key.is_empty()) else {
        return Ok(None);
    };
    // It travels as a header value on every delivery.
    if key.len() > KEY_BYTES_MAX || HeaderValue::from_str(&key).is_err() {
        let message =
            format!("`idempotency_key` must be 1 to {KEY_BYTES_MAX} printable ASCII characters");
        return Err(invalid(&message));
    }
    Ok(Some(key.into()))
}

fn custom_headers(headers: BTreeMap<String, String>) -> Result<HeaderList, Reply> {
    headers
        .into_iter()
        .map(|(name, value)| {
            let bad = |why: &str| invalid(&format!("`custom_headers.{name}` {why}"));
            let parsed: HeaderName = name.parse().map_err(|_| bad("is not a header name"))?;
            if RESERVED_HEADERS.contains(&parsed) {
                return Err(bad("cannot be set by an event"));
            }
            let value = HeaderValue::from_str(&value)
                .map_err(|_| bad("has a value that is no header value"))?;
            Ok((parsed, value))
        })
        .collect()
}

/// Parses the body; errors carry the contract's texts (section 2.3).
fn parse(body: &Bytes) -> Result<EventSpec<'_>, Reply> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(invalid("body must not be empty"));
    }
    serde_json::from_slice(body).map_err(|error| {
        match serde_json::from_slice::<serde_json::Value>(body) {
            Err(_) => {
                let at = offset(body, error.line(), error.column());
                invalid(&format!(
                    "body contains badly-formed JSON (at character {at})"
                ))
            }
            Ok(value) => match wrong_type(&value) {
                Some(field) => invalid(&format!(
                    "body contains incorrect JSON type for field \"{field}\""
                )),
                None => invalid("body must be a JSON object with each field at most once"),
            },
        }
    })
}

/// The first field whose type is wrong.
fn wrong_type(value: &serde_json::Value) -> Option<&'static str> {
    let texts = [
        "endpoint_id",
        "app_id",
        "owner_id",
        "event_type",
        "idempotency_key",
    ];
    let is_bad_text = |field: &&str| {
        value
            .get(field)
            .is_some_and(|found| !found.is_string() && !found.is_null())
    };
    if let Some(field) = texts.into_iter().find(is_bad_text) {
        return Some(field);
    }
    let headers = value
        .get("custom_headers")
        .filter(|found| !found.is_null())?;
    let is_good = headers
        .as_object()
        .is_some_and(|map| map.values().all(serde_json::Value::is_string));
    (!is_good).then_some("custom_headers")
}

fn offset(body: &[u8], line: usize, column: usize) -> usize {
    let before: usize = body
        .split_inclusive(|byte| *byte == b'\n')
        .take(line.saturating_sub(1))
        .map(<[u8]>::len)
        .sum();
    before + column
}

fn invalid(message: &str) -> Reply {
    Reply::refuse(StatusCode::BAD_REQUEST, "invalid_event", message)
}

fn reply(intake: &Intake, accepted: Accepted, is_fanout: bool) -> (&'static str, Reply) {
    let message = match (&accepted, is_fanout) {
        (Accepted::Duplicate { .. }, _) => "Duplicate event received, but will not be sent",
        (_, true) => "Endpoint fanout event queued successfully",
        (_, false) => "Event queued successfully",
    };
    let (label, first, is_duplicate) = match accepted {
        Accepted::Stored(id) => ("accepted", id, false),
        Accepted::Duplicate { first, .. } => ("duplicate", first, true),
    };
    (
        label,
        Reply::accepted(
            StatusCode::CREATED,
            message,
            intake.log.uids().event(first),
            is_duplicate,
        ),
    )
}
