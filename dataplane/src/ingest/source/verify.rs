//! Whether a request comes from the provider, and whether it is a handshake rather than an event.

use http::{HeaderValue, StatusCode, header};
use outrider_config::snapshot::Source;
use outrider_webhook::address::ProjectRef;
use outrider_webhook::event::{Proof, RawEvent};
use outrider_webhook::idempotency;
use outrider_webhook::verify::{Certificate, HandshakeAnswer, Reading, VerifyError};

use super::{Called, Refusal, can_be_event, wrong_method};
use crate::egress::Leave;
use crate::ingest::reply::Reply;
use crate::ingest::{Intake, certificate};

/// When to come again for a certificate that could not be had: a failure is remembered as long.
const CERTIFICATE_RETRY_S: u32 = 5;

/// What a request turned out to be.
pub(super) enum Verified {
    /// An event, and what the preset finds in it.
    Event(Proof, Found),
    /// A question of the provider's, to be answered.
    Handshake(HandshakeAnswer),
}

/// What a preset finds in an event, where the source does not say otherwise.
pub(super) struct Found {
    pub(super) event_type: Option<Box<str>>,
    /// The key made of the provider's own id of the delivery.
    pub(super) delivery: Option<Box<str>>,
}

/// Verifies a request. One that is neither an event nor a handshake is of the wrong method.
pub(super) async fn verify(
    intake: &Intake,
    called: &Called<'_>,
    raw: &RawEvent,
) -> Result<Verified, Refusal> {
    let verifier = called.source.verifier();
    let reading = verifier.read(raw);
    let handshake = verifier.handshake(&reading);
    if handshake.is_none() && !can_be_event(called.source, &raw.method) {
        return Err(wrong_method(called.source).into());
    }
    let asked = handshake.is_some();
    let status = handshake.map_or(verifier.reject_status(), |asked| asked.reject_status());
    let refuse = |error: VerifyError| {
        if asked {
            count(intake, called, error.code());
        }
        refused(intake, called, &error, status)
    };
    if handshake.is_none_or(|asked| asked.is_signed()) {
        let now_ms = intake.clock.now_ms();
        let need = verifier.certificate_need(&reading, now_ms / 1000);
        let certificate = match need.map_err(refuse)? {
            None => None,
            Some(need) => {
                let (project, egress) = (project_ref(called), &intake.egress);
                let fetch = || {
                    let leave = Leave::of(called.snapshot, called.table, None);
                    certificate::fetch(egress, (&project, leave), &need, now_ms)
                };
                // Boxed: rare, and large.
                let got = Box::pin(intake.certificates.get(&need, project.id, now_ms, fetch));
                got.await
            }
        };
        let proof = check(&reading, called, certificate.as_deref(), now_ms).map_err(refuse)?;
        if !asked {
            return Ok(Verified::Event(proof, found(called.source, &reading)));
        }
    }
    match handshake.map(|asked| asked.answer(&reading)) {
        Some(answer) => Ok(Verified::Handshake(answer.map_err(refuse)?)),
        None => Err(wrong_method(called.source).into()),
    }
}

/// While the request is read: what a preset looks at in a body is read once.
fn found(source: &Source, reading: &Reading<'_>) -> Found {
    let verifier = source.verifier();
    let event_type = match source.event_type_location() {
        Some(_) => None,
        None => verifier.event_type_of(reading),
    };
    let is_by_provider = source.deduplication().is_by_provider();
    let id = is_by_provider.then(|| verifier.delivery_id(reading));
    let key = |id: Vec<Box<[u8]>>| idempotency::key(source.id(), id.iter().map(|value| &**value));
    Found {
        event_type,
        delivery: id.flatten().map(key),
    }
}

fn check(
    reading: &Reading<'_>,
    called: &Called<'_>,
    certificate: Option<&Certificate>,
    now_ms: i64,
) -> Result<Proof, VerifyError> {
    let verifier = called.source.verifier();
    verifier.check(reading, now_ms / 1000, certificate)
}

/// The project, as the address policy wants it.
pub(super) fn project_ref<'a>(called: &Called<'a>) -> ProjectRef<'a> {
    let project = called.table.project();
    ProjectRef {
        id: project.id(),
        name: project.name(),
    }
}

/// Counts a handshake by the preset it is of and by what came of it.
pub(super) fn count(intake: &Intake, called: &Called<'_>, result: &str) {
    intake
        .metrics
        .handshakes
        .with_label_values(&[&**called.source.verified_by(), result])
        .inc();
}

/// The body says nothing about which check failed; metric, log and sample do (RULINGS 23).
fn refused(intake: &Intake, called: &Called<'_>, error: &VerifyError, status: u16) -> Refusal {
    let source = called.source;
    intake
        .metrics
        .verify_failures
        .with_label_values(&[error.code()])
        .inc();
    // Whoever forges requests decides how many of these there are.
    tracing::debug!(source_id = %source.id(), project_id = %source.project(), code = error.code(), "verification failed");
    let reason = error.code();
    if *error == VerifyError::CertificateUnavailable {
        // It may be genuine, and cannot be judged now. To a provider a 401 is final: SNS does not
        // send again what got one.
        let message = "the request cannot be verified just now, try again";
        let reply = Reply::refuse(StatusCode::SERVICE_UNAVAILABLE, "not_verifiable", message);
        let reply = reply.retry_after(CERTIFICATE_RETRY_S);
        return Refusal { reply, reason };
    }
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::UNAUTHORIZED);
    let mut reply = Reply::refuse(status, "verification_failed", "Request verification failed");
    if status == StatusCode::METHOD_NOT_ALLOWED {
        reply.headers = Box::new([(header::ALLOW, HeaderValue::from_static("POST"))]);
    }
    Refusal { reply, reason }
}
