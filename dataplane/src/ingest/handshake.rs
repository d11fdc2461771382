//! Handshakes of providers: the question is answered here, nothing is queued.
//!
//! What a handshake is and what it is answered is decided by the preset (`webhook`). Here the
//! URL that completes one is called, through the address policy, and it is noted when a source
//! was last asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderValue, StatusCode, header};
use outrider_config::snapshot::Source;
use outrider_webhook::address::{ProjectRef, TargetUrl};
use outrider_webhook::id::SourceId;
use outrider_webhook::retry::Outcome;
use outrider_webhook::verify::HandshakeAnswer;

use super::Intake;
use super::reply::Reply;
use crate::egress::{Leave, Terms};

/// Sources whose last handshake is remembered.
const SOURCES_MAX: usize = 10_000;
/// The call that completes a handshake; providers wait 10 s or more.
const CALL_TIMEOUT: Duration = Duration::from_secs(8);
/// Such calls under way at once: a signed request can be sent again and again.
pub(super) const CALLS_MAX: usize = 16;
/// Calls for one project among them.
pub(super) const CALLS_OF_PROJECT_MAX: usize = 4;
/// When to come again where there is no room, seconds.
const BUSY_RETRY_S: u32 = 5;
/// Bytes of its answer that are read.
const CALL_BYTES_MAX: usize = 4 * 1024;

/// When each source was last asked for a handshake and answered it. Clones are the same one. In
/// memory only: after a restart no handshake was seen.
#[derive(Debug, Clone, Default)]
pub struct Handshakes {
    last: Arc<Mutex<HashMap<SourceId, i64>>>,
}

impl Handshakes {
    /// When the source last answered one, Unix milliseconds.
    #[must_use]
    pub fn last_ms(&self, source: SourceId) -> Option<i64> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.get(&source).copied()
    }

    fn note(&self, source: SourceId, now_ms: i64) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() >= SOURCES_MAX && !last.contains_key(&source) {
            let oldest = last.iter().min_by_key(|(_, at_ms)| **at_ms);
            if let Some(oldest) = oldest.map(|(source, _)| *source) {
                last.remove(&oldest);
            }
        }
        last.insert(source, now_ms);
    }
}

/// Makes the call an answer asks for, and the reply of it.
pub(super) async fn reply(
    intake: &Intake,
    source: &Source,
    (project, leave): (&ProjectRef<'_>, Leave),
    answer: HandshakeAnswer,
) -> Result<Reply, Reply> {
    if let Some(url) = &answer.call {
        call(intake, project, leave, url).await?;
    }
    intake
        .alerts
        .handshakes()
        .note(source.id(), intake.clock.now_ms());
    tracing::debug!(source_id = %source.id(), project_id = %source.project(), "handshake answered");
    let mut headers = answer.headers;
    if !answer.body.is_empty() {
        // A part of it is whatever the caller wrote.
        let nosniff = HeaderValue::from_static("nosniff");
        headers.retain(|(name, _)| name != header::X_CONTENT_TYPE_OPTIONS);
        headers.push((header::X_CONTENT_TYPE_OPTIONS, nosniff));
    }
    let mut reply = Reply::empty(answer.status);
    reply.body = answer.body;
    reply.headers = headers.into();
    if let Some(content_type) = answer.content_type {
        reply.content_type = content_type;
    }
    Ok(reply)
}

async fn call(
    intake: &Intake,
    project: &ProjectRef<'_>,
    leave: Leave,
    url: &TargetUrl,
) -> Result<(), Reply> {
    let Ok(_slot) = intake.handshake_calls.take(project.id) else {
        let message = "too many handshakes are being confirmed, try again";
        let reply = Reply::refuse(StatusCode::SERVICE_UNAVAILABLE, "handshakes_busy", message);
        return Err(reply.retry_after(BUSY_RETRY_S));
    };
    let terms = Terms::new(CALL_TIMEOUT, CALL_BYTES_MAX).leaving(leave);
    let exchange = intake.egress.get(project, url, terms).await;
    match exchange.outcome {
        Outcome::Answered {
            status: 200..=299, ..
        } => Ok(()),
        outcome => {
            tracing::warn!(url = %url.redacted(), ?outcome, detail = exchange.detail, "the call of a handshake failed");
            let message = "the URL of the handshake could not be called";
            let status = StatusCode::BAD_GATEWAY;
            Err(Reply::refuse(status, "handshake_call_failed", message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outrider_webhook::id::Uid;

    #[test]
    fn the_longest_ago_is_forgotten_first() {
        let handshakes = Handshakes::default();
        let source = |number: usize| SourceId::new(Uid::from_bits(number as u128));
        for number in 0..SOURCES_MAX {
            handshakes.note(source(number), 1_000 + i64::try_from(number).unwrap());
        }
        handshakes.note(source(0), 1_000_000);
        handshakes.note(source(SOURCES_MAX), 1_000_001);
        assert_eq!(handshakes.last_ms(source(0)), Some(1_000_000));
        assert_eq!(handshakes.last_ms(source(1)), None);
        assert_eq!(handshakes.last_ms(source(2)), Some(1_002));
        assert_eq!(handshakes.last_ms(source(SOURCES_MAX)), Some(1_000_001));
    }
}
