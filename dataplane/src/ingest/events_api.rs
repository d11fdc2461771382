//! `POST /api/v1/projects/{id}/events` and below: a backend service publishes events.
//!
//! One path for all calls: who calls, how the body is to be read, the body, its events, whom
//! they are for, the log. The calls differ in what an event says and in what is answered.

mod admission;
mod batch;
mod body;
mod call;
mod cloud_event;
mod dynamic;
mod fields;
mod refused;
mod spec;

use bytes::Bytes;
use http::StatusCode;
use outrider_config::snapshot::ProjectTable;
use outrider_store::Accepted;
use outrider_webhook::cloudevents::ContentMode;
use outrider_webhook::event::{Audience, EventFacts};
use pingora::protocols::http::ServerSession;

use self::admission::{Admitted, Caller};
use self::call::Form;
pub(super) use self::call::{Call, Kind};
use self::dynamic::Candidate;
use self::fields::Arrival;
use self::refused::Refused;
use super::Intake;
use super::guard::Visit;
use super::reply::Reply;
use super::schema::NotTaken;
use crate::table::Missing;

/// Answers a publishing call: the metric label and the reply, or a refusal.
pub(super) async fn answer(
    intake: &Intake,
    http: &mut ServerSession,
    (project, call): (&str, Call),
    visit: &mut Visit<'_>,
) -> Result<(&'static str, Reply), Reply> {
    intake.guard.admit(visit)?;
    let caller = Caller::of(intake, http, project)?;
    let admitted = caller.admit(intake).await?;
    admitted.guarded(intake, visit)?;
    let form = Form::of(http, call)?;
    let settings = admitted.table().project();
    let arrival = Arrival {
        project: settings.id(),
        received_ms: intake.clock.now_ms(),
        idempotency_window_ms: settings.idempotency_window_ms(),
        event_bytes_max: settings.body_bytes_max(),
    };
    let limit = if form.is_batch() {
        batch::BODY_BYTES_MAX
    } else {
        arrival.event_bytes_max
    };
    let (body, _reserved) = body::read(intake, http, arrival.project, limit).await?;
    match form {
        Form::Plain(kind) => {
            let read = read_one(intake, &caller, admitted, (&arrival, kind, &body));
            let (admitted, event) = read.await?;
            one(intake, &caller, admitted, (kind, event?)).await
        }
        Form::PlainBatch => {
            let read = read_batch(intake, &caller, admitted, (&arrival, &body));
            let (admitted, events) = read.await?;
            many(intake, &caller, admitted, events).await
        }
        Form::CloudEvent(kind, mode) => {
            let head = http.req_header();
            let audience = cloud_event::audience(kind, head.uri.query().unwrap_or_default())?;
            let facts = match mode {
                ContentMode::Binary => {
                    cloud_event::binary(&arrival, audience, &head.headers, body)?
                }
                ContentMode::Structured => {
                    cloud_event::structured(&arrival, audience, &body, &body)?
                }
                ContentMode::Batch => {
                    let events = cloud_event::batch(&arrival, &audience, &body)?;
                    let events = events.into_iter();
                    let events = events.map(|facts| facts.map(Into::into)).collect();
                    return many(intake, &caller, admitted, events).await;
                }
            };
            one(intake, &caller, admitted, (kind, facts.into())).await
        }
    }
}

/// Reads the event of a body, and makes its endpoint if that is not there.
async fn read_one(
    intake: &Intake,
    caller: &Caller,
    admitted: Admitted,
    (arrival, kind, body): (&Arrival, Kind, &Bytes),
) -> Result<(Admitted, Result<Candidate, Refused>), Reply> {
    let read = |admitted: &Admitted| {
        let (place, spec) = ((intake, admitted.table()), spec::parse(body)?);
        Ok::<_, Refused>([fields::candidate(place, arrival, kind, spec, body)])
    };
    let mut events = read(&admitted)?;
    let (admitted, is_later) = later(intake, caller, admitted, &events).await?;
    if is_later {
        events = read(&admitted)?;
    }
    dynamic::make(intake, &admitted, &mut events);
    let [event] = events;
    Ok((admitted, event))
}

/// The same of all events of a batch.
async fn read_batch(
    intake: &Intake,
    caller: &Caller,
    admitted: Admitted,
    (arrival, body): (&Arrival, &Bytes),
) -> Result<(Admitted, Vec<Result<Candidate, Refused>>), Reply> {
    let mut events = batch::read((intake, admitted.table()), arrival, body).await?;
    let (admitted, is_later) = later(intake, caller, admitted, &events).await?;
    if is_later {
        events = batch::read((intake, admitted.table()), arrival, body).await?;
    }
    dynamic::make(intake, &admitted, &mut events);
    Ok((admitted, events))
}

/// The caller in a newer table, in which the events are to be read again, when nothing in this one
/// has a URL of theirs and one comes; and whether it is newer.
async fn later(
    intake: &Intake,
    caller: &Caller,
    admitted: Admitted,
    events: &[Result<Candidate, Refused>],
) -> Result<(Admitted, bool), Reply> {
    let missing = dynamic::missing(admitted.table().project().id(), events);
    let revision = admitted.revision();
    let later = caller.admit_later(intake, admitted, &missing).await?;
    let is_later = later.revision() != revision;
    Ok((later, is_later))
}

/// Takes one event.
async fn one(
    intake: &Intake,
    caller: &Caller,
    mut admitted: Admitted,
    (kind, mut event): (Kind, Candidate),
) -> Result<(&'static str, Reply), Reply> {
    if let Some(missing) = unmet(admitted.table(), &event.facts) {
        admitted = caller.admit_later(intake, admitted, &[missing]).await?;
        check_audience(admitted.table(), &event.facts)?;
    }
    if dynamic::verify(admitted.table(), &mut event).await? {
        admitted = caller.admit_again(intake)?;
    }
    let accepted = store(intake, &admitted, event).await?;
    Ok(reply(intake, accepted, kind))
}

/// Routes an event and makes it durable; the endpoint that it makes is wanted from then on. A
/// repeat makes nothing.
async fn store(
    intake: &Intake,
    admitted: &Admitted,
    event: Candidate,
) -> Result<Accepted, NotTaken> {
    let verified = admitted.verified(event.facts);
    let stored = intake.store(verified, admitted.table(), admitted.revision());
    let accepted = stored.await?;
    if let (Accepted::Stored(_), Some(claim)) = (&accepted, event.claim) {
        claim.keep();
    }
    Ok(accepted)
}

/// Takes many events.
async fn many(
    intake: &Intake,
    caller: &Caller,
    mut admitted: Admitted,
    mut events: Vec<Result<Candidate, Refused>>,
) -> Result<(&'static str, Reply), Reply> {
    batch::refuse_beyond_rate(intake, &admitted, &mut events);
    let missing = batch::some_unmet(&admitted, &events);
    admitted = caller.admit_later(intake, admitted, &missing).await?;
    if batch::verify(admitted.table(), &mut events).await {
        admitted = caller.admit_again(intake)?;
    }
    Ok(("batch", batch::store(intake, &admitted, events).await))
}

/// What the event is for and the table does not have.
fn unmet<'a>(table: &ProjectTable, facts: &'a EventFacts) -> Option<Missing<'a>> {
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
        Audience::Source(_) | Audience::Broadcast | Audience::Dynamic(_) => None,
    }
}

/// An owner without endpoints is a result, an endpoint that is not there is an error.
fn check_audience(table: &ProjectTable, facts: &EventFacts) -> Result<(), Refused> {
    match unmet(table, facts) {
        Some(Missing::Endpoint(..)) => Err(Refused::unknown_endpoint()),
        _ => Ok(()),
    }
}

fn reply(intake: &Intake, accepted: Accepted, kind: Kind) -> (&'static str, Reply) {
    let (label, message, first, is_duplicate) = match accepted {
        Accepted::Stored(id) => ("accepted", kind.message(), id, false),
        Accepted::Duplicate { first, .. } => (
            "duplicate",
            "Duplicate event received, but will not be sent",
            first,
            true,
        ),
    };
    let uid = intake.log.uids().event(first);
    let reply = Reply::accepted(StatusCode::CREATED, message, uid, is_duplicate);
    (label, reply)
}
