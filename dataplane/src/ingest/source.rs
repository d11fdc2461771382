//! `POST /ingest/{mask}`: a provider calls a source of an incoming project.

mod cloud_event;
mod facts;
mod kept;
mod verify;

use std::net::IpAddr;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderValue, Method, StatusCode};
use outrider_config::snapshot::{ProjectTable, Snapshot, Source};
use outrider_store::Accepted;
use outrider_webhook::event::Proof;
use pingora::protocols::http::ServerSession;

use self::cloud_event::Events;
use self::facts::Read;
use self::verify::{Verified, count, project_ref, verify};
use super::Intake;
use super::guard::Visit;
use super::handshake;
use super::rejected::{Masks, Refused, Sample};
use super::reply::Reply;
use crate::egress::Leave;
use crate::table::Missing;

/// A source, and the one snapshot that decides about its request.
struct Called<'a> {
    snapshot: &'a Snapshot,
    table: &'a ProjectTable,
    source: &'a Source,
}

impl Called<'_> {
    /// The configuration revision that decides.
    fn revision(&self) -> u64 {
        let version = self.snapshot.version();
        version.map_or(0, |version| version.revision)
    }
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
    (request_id, visit): (&HeaderValue, &mut Visit<'_>),
) -> Result<(&'static str, Reply), Reply> {
    intake.guard.admit(visit)?;
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
    let taken = take(intake, http, &called, (&mut body, visit)).await;
    taken.map_err(|refusal| {
        intake.alerts.rejected(source);
        let seen = (request_id, visit.client, body.as_ref());
        keep_sample(intake, http, source, &refusal, seen);
        refusal.reply
    })
}

/// Takes a request in. `seen` is the body, once it was read.
async fn take(
    intake: &Intake,
    http: &mut ServerSession,
    called: &Called<'_>,
    (seen, visit): (&mut Option<Bytes>, &mut Visit<'_>),
) -> Result<(&'static str, Reply), Refusal> {
    let source = called.source;
    let method = &http.req_header().method;
    if !can_be_event(source, method) && !source.verifier().has_handshake(method) {
        return Err(wrong_method(source).into());
    }
    if source.is_disabled() {
        let reply = Reply::refuse(
            StatusCode::NOT_FOUND,
            "source_disabled",
            "Resource not found",
        );
        return Err(reply.into());
    }
    let project = called.table.project();
    let now_s = intake.clock.now_ms() / 1000;
    intake
        .guard
        .admit_to_source(visit, source, (project, now_s))?;
    let limit = source.body_bytes_max(called.table.project());
    let (raw, _reserved) = intake.read_event(http, source.project(), limit).await?;
    *seen = Some(raw.body.clone());
    let (proof, found) = match verify(intake, called, &raw).await? {
        Verified::Event(proof, found) => (proof, found),
        Verified::Handshake(answer) => {
            let project = project_ref(called);
            // Boxed: rare, and large.
            let leave = Leave::of(called.snapshot, called.table, None);
            let reply = Box::pin(handshake::reply(intake, source, (&project, leave), answer)).await;
            let result = reply.as_ref().map_or("call_failed", |_| "answered");
            count(intake, called, result);
            return Ok(("handshake", reply?));
        }
    };
    let read = if source.is_cloudevents() {
        match cloud_event::of(&intake.decoder, called, raw, limit).await? {
            Events::One(read) => *read,
            Events::Batch(events) => return accept_all(intake, called, (proof, events)).await,
        }
    } else {
        facts::of(&intake.decoder, called, raw, (limit, found)).await?
    };
    let event = read.verified(proof);
    let accepted = intake
        .accept(event, called.table, called.revision())
        .await?;
    Ok(reply(intake, source, accepted))
}

/// An event is a POST, or a GET where that can be one. Handshakes have methods of their own.
fn can_be_event(source: &Source, method: &Method) -> bool {
    *method == Method::POST || (*method == Method::GET && source.verifier().takes_get())
}

fn wrong_method(source: &Source) -> Reply {
    Reply::wrong_method(match source.verifier().takes_get() {
        true => "GET, POST",
        false => "POST",
    })
}

/// Makes all events of a request durable, in one group where there is room. When one of them is
/// not, the sender sends all again, and the others are repeats then.
async fn accept_all(
    intake: &Intake,
    called: &Called<'_>,
    (proof, events): (Proof, Vec<Read>),
) -> Result<(&'static str, Reply), Refusal> {
    let events = events.into_iter().map(|read| {
        let event = read.verified(proof.clone());
        intake.accept(event, called.table, called.revision())
    });
    // Boxed: each is large, and there may be a thousand.
    let (mut uids, mut repeats) = (Vec::new(), 0);
    for accepted in join_all(events.map(Box::pin)).await {
        let accepted = accepted?;
        intake.alerts.accepted(called.source, intake.clock.now_ms());
        let id = match accepted {
            Accepted::Stored(id) => id,
            Accepted::Duplicate { first, .. } => {
                repeats += 1;
                first
            }
        };
        uids.push(intake.log.uids().event(id));
    }
    let reply = match called.source.custom_response() {
        Some((body, content_type)) => Reply::custom(content_type.clone(), body.clone()),
        None => Reply::accepted_all(&uids, repeats),
    };
    Ok(("accepted", reply))
}

fn keep_sample(
    intake: &Intake,
    http: &ServerSession,
    source: &Source,
    refusal: &Refusal,
    (request_id, client, body): (&HeaderValue, IpAddr, Option<&Bytes>),
) {
    let verifier = source.verifier();
    let credential = verifier.credential_header().into_iter();
    let masks = Masks {
        headers: credential.chain(source.deny_headers()).collect(),
        query: verifier.credential_query(),
    };
    let refused = Refused {
        reason: refusal.reason,
        status: refusal.reply.status,
        at_ms: intake.clock.now_ms(),
        request_id,
        client: Some(client),
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

fn reply(intake: &Intake, source: &Source, accepted: Accepted) -> (&'static str, Reply) {
    intake.alerts.accepted(source, intake.clock.now_ms());
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
