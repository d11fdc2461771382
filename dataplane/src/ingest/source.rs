//! `POST /ingest/{mask}`: a provider calls a source of an incoming project.

mod kept;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use outrider_config::snapshot::{ProjectTable, Snapshot, Source};
use outrider_store::Accepted;
use outrider_webhook::event::{Audience, EventFacts, Origin, RawEvent, VerifiedEvent};
use outrider_webhook::event_type;
use outrider_webhook::verify::VerifyError;
use pingora::protocols::http::ServerSession;

use super::Intake;
use super::rejected::{Masks, Refused, Sample};
use super::reply::Reply;
use crate::table::Missing;

/// A source, and the one snapshot that decides about its request.
struct Called<'a> {
    snapshot: &'a Snapshot,
    table: &'a ProjectTable,
    source: &'a Source,
}

/// A refusal, and its reason where the sender is not told.
struct Refusal {
    reply: Reply,
    reason: &'static str,
}

impl From<Reply> for Refusal {
    fn from(reply: Reply) -> Self {
        let reason = reply.code.unwrap_or("error");
        Self { reply, reason }
    }
}

/// Answers a request to a source: the metric label and the reply, or a refusal, of which a
/// sample is kept.
pub(super) async fn answer(
    intake: &Intake,
    http: &mut ServerSession,
    mask: &str,
    request_id: &HeaderValue,
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
    let called = Called {
        snapshot,
        table,
        source,
    };
    let mut body = None;
    let taken = take(intake, http, &called, &mut body).await;
    taken.map_err(|refusal| {
        keep_sample(intake, http, source, &refusal, (request_id, body.as_ref()));
        refusal.reply
    })
}

/// Takes a request in. `seen` is the body, once it was read.
async fn take(
    intake: &Intake,
    http: &mut ServerSession,
    called: &Called<'_>,
    seen: &mut Option<Bytes>,
) -> Result<(&'static str, Reply), Refusal> {
    let source = called.source;
    if http.req_header().method != Method::POST {
        return Err(Reply::wrong_method("POST").into());
    }
    if source.is_disabled() {
        let reply = Reply::refuse(
            StatusCode::NOT_FOUND,
            "source_disabled",
            "Resource not found",
        );
        return Err(reply.into());
    }
    let limit = source.body_bytes_max(called.table.project());
    let (raw, _reserved) = intake.read_event(http, source.project(), limit).await?;
    *seen = Some(raw.body.clone());
    let proof = source
        .verifier()
        .verify(&raw, intake.clock.now_ms() / 1000)
        .map_err(|error| refused(intake, source, error))?;
    let event = VerifiedEvent::new(proof, facts(source, raw)?);
    let version = called.snapshot.version();
    let revision = version.map_or(0, |version| version.revision);
    let accepted = intake.accept(event, called.table, revision).await?;
    Ok(reply(intake, source, accepted))
}

fn keep_sample(
    intake: &Intake,
    http: &ServerSession,
    source: &Source,
    refusal: &Refusal,
    (request_id, body): (&HeaderValue, Option<&Bytes>),
) {
    let verifier = source.verifier();
    let credential = verifier.credential_header().into_iter();
    let masks = Masks {
        headers: credential.chain(source.deny_headers()).collect(),
        query: verifier.credential_query(),
        is_body_masked: false,
    };
    let client = http.client_addr().and_then(|address| address.as_inet());
    let refused = Refused {
        reason: refusal.reason,
        status: refusal.reply.status,
        at_ms: intake.clock.now_ms(),
        request_id,
        client: client.map(|address| address.ip()),
        head: http.req_header(),
        body,
    };
    let sample = Sample::of(&refused, &masks);
    intake.rejected.keep(source.id(), sample);
}

fn unknown_source() -> Reply {
    Reply::refuse(
        StatusCode::NOT_FOUND,
        "unknown_source",
        "Resource not found",
    )
}

/// The body says nothing about which check failed; metric, log and sample do (RULINGS 23).
fn refused(intake: &Intake, source: &Source, error: VerifyError) -> Refusal {
    intake
        .metrics
        .verify_failures
        .with_label_values(&[error.code()])
        .inc();
    tracing::info!(source_id = %source.id(), project_id = %source.project(), code = error.code(), "verification failed");
    let status =
        StatusCode::from_u16(source.verifier().reject_status()).unwrap_or(StatusCode::UNAUTHORIZED);
    Refusal {
        reply: Reply::refuse(status, "verification_failed", "Request verification failed"),
        reason: error.code(),
    }
}

fn facts(source: &Source, raw: RawEvent) -> Result<EventFacts, Reply> {
    let event_type = event_type_of(source, &raw)?;
    let headers = kept::headers(source, &raw.headers);
    Ok(EventFacts {
        project: source.project(),
        origin: Origin::Source(source.id()),
        audience: Audience::Source(source.id()),
        event_type,
        headers,
        query: kept::query(source, &raw.query),
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
