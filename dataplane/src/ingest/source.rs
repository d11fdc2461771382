//! `POST /ingest/{mask}`: a provider calls a source of an incoming project.

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use outrider_config::snapshot::Source;
use outrider_store::Accepted;
use outrider_webhook::event::{Audience, EventFacts, HeaderList, Origin, RawEvent, VerifiedEvent};
use outrider_webhook::event_type;
use outrider_webhook::verify::VerifyError;
use pingora::protocols::http::ServerSession;

use super::Intake;
use super::hop_by_hop::HopByHop;
use super::reply::Reply;
use crate::table::Missing;

/// Names the source an event came through, as Convoy does.
const SOURCE_ID: HeaderName = HeaderName::from_static("x-convoy-source-id");

/// Headers that are about this request alone, or about who may send it (RULINGS 22).
const NOT_STORED: [HeaderName; 6] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::COOKIE,
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    header::EXPECT,
];

/// Answers a request to a source: the metric label and the reply, or a refusal.
pub(super) async fn answer(
    intake: &Intake,
    http: &mut ServerSession,
    mask: &str,
) -> Result<(&'static str, Reply), Reply> {
    let known = intake.table.load();
    let later;
    let (snapshot, (table, source)) = match known.source_by_mask(mask) {
        Some(found) => (&known, found),
        None => {
            later = intake.table.catch_up(&known, Missing::Source(mask)).await;
            let found = later
                .as_ref()
                .and_then(|snapshot| Some((snapshot, snapshot.source_by_mask(mask)?)));
            found.ok_or_else(unknown_source)?
        }
    };
    if http.req_header().method != Method::POST {
        return Err(Reply::wrong_method("POST"));
    }
    if source.is_disabled() {
        return Err(Reply::refuse(
            StatusCode::NOT_FOUND,
            "source_disabled",
            "Resource not found",
        ));
    }
    let (raw, _reserved) = intake
        .read_event(
            http,
            source.project(),
            source.body_bytes_max(table.project()),
        )
        .await?;
    let proof = source
        .verifier()
        .verify(&raw, intake.clock.now_ms() / 1000)
        .map_err(|error| refused(intake, source, error))?;
    let event = VerifiedEvent::new(proof, facts(source, raw)?);
    let revision = snapshot.version().map_or(0, |version| version.revision);
    let accepted = intake.accept(event, table, revision).await?;
    Ok(reply(intake, source, accepted))
}

fn unknown_source() -> Reply {
    Reply::refuse(
        StatusCode::NOT_FOUND,
        "unknown_source",
        "Resource not found",
    )
}

/// The body says nothing about which check failed; metric and log do (RULINGS 23).
fn refused(intake: &Intake, source: &Source, error: VerifyError) -> Reply {
    intake
        .metrics
        .verify_failures
        .with_label_values(&[error.code()])
        .inc();
    tracing::info!(source_id = %source.id(), project_id = %source.project(), code = error.code(), "verification failed");
    let status =
        StatusCode::from_u16(source.verifier().reject_status()).unwrap_or(StatusCode::UNAUTHORIZED);
    Reply::refuse(status, "verification_failed", "Request verification failed")
}

fn facts(source: &Source, raw: RawEvent) -> Result<EventFacts, Reply> {
    let event_type = event_type_of(source, &raw)?;
    let headers = stored_headers(source, &raw.headers);
    Ok(EventFacts {
        project: source.project(),
        origin: Origin::Source(source.id()),
        audience: Audience::Source(source.id()),
        event_type,
        headers,
        query: stored_query(source, &raw.query),
        path: raw.path.into(),
        body: raw.body,
        idempotency_key: None,
        idempotency_window_ms: 0,
        received_ms: raw.received_ms,
    })
}

/// RULINGS 39: the source's own location, else the preset's, else the mask.
fn event_type_of(source: &Source, raw: &RawEvent) -> Result<Box<str>, Reply> {
    let found = match source.event_type_location() {
        Some(location) => Some(location.find(raw).ok_or_else(|| {
            let message = format!("no event type at {location}");
            Reply::refuse(StatusCode::BAD_REQUEST, "missing_event_type", &message)
        })?),
        None => source.verifier().event_type(raw),
    };
    let event_type = found.unwrap_or_else(|| source.mask().into());
    event_type::check_name(&event_type).map_err(|error| {
        Reply::refuse(
            StatusCode::BAD_REQUEST,
            "bad_event_type",
            &error.to_string(),
        )
    })?;
    Ok(event_type)
}

fn stored_headers(source: &Source, headers: &HeaderMap) -> HeaderList {
    let credential = source.verifier().credential_header();
    let hop_by_hop = HopByHop::of(headers);
    let is_dropped = |name: &HeaderName| {
        hop_by_hop.contains(name)
            || NOT_STORED.contains(name)
            || credential == Some(name)
            || *name == SOURCE_ID
            || source.deny_headers().contains(name)
    };
    let kept = headers.iter().filter(|(name, _)| !is_dropped(name));
    let mut kept = detached(&kept.collect::<Vec<_>>());
    if let Ok(mask) = HeaderValue::from_str(source.mask()) {
        kept.push((SOURCE_ID, mask));
    }
    kept
}

/// Copies values into one buffer of their own: as read they are views of the connection's
/// buffer, and would keep all of it in memory for as long as the event waits.
fn detached(headers: &[(&HeaderName, &HeaderValue)]) -> HeaderList {
    let bytes = headers.iter().map(|(_, value)| value.len()).sum();
    let mut values = BytesMut::with_capacity(bytes);
    let detach = |(name, value): &(&HeaderName, &HeaderValue)| {
        values.extend_from_slice(value.as_bytes());
        let own = HeaderValue::from_maybe_shared(values.split().freeze());
        // The bytes were a header value before, so they are one now.
        ((*name).clone(), own.unwrap_or_else(|_| (*value).clone()))
    };
    headers.iter().map(detach).collect()
}

/// The query without a credential of the source: that is for us, not for the backend.
fn stored_query(source: &Source, query: &str) -> Box<str> {
    let Some(credential) = source.verifier().credential_query() else {
        return query.into();
    };
    let is_kept = |pair: &&str| {
        let name = pair.split('=').next().unwrap_or_default().replace('+', " ");
        percent_encoding::percent_decode_str(&name).decode_utf8_lossy() != credential
    };
    query
        .split('&')
        .filter(is_kept)
        .collect::<Vec<_>>()
        .join("&")
        .into()
}

fn reply(intake: &Intake, source: &Source, accepted: Accepted) -> (&'static str, Reply) {
    let (label, message, first, is_duplicate) = match accepted {
        Accepted::Stored(id) => ("accepted", "Event received", id, false),
        Accepted::Duplicate { first, .. } => (
            "duplicate",
            "Duplicate event received, but will not be sent",
            first,
            true,
        ),
    };
    let reply = match source.custom_response() {
        Some((body, content_type)) => Reply::custom(content_type.clone(), body.clone()),
        None => Reply::accepted(
            StatusCode::OK,
            message,
            intake.log.uids().event(first),
            is_duplicate,
        ),
    };
    (label, reply)
}
