//! Meta events: what the owner of a project is told of the project itself (contract 3.11).
//!
//! They are accepted into the log as events are, of a project that is nobody's, and are delivered,
//! retried and shown as others are. The key against repeats names what happened, so that it is
//! told once, however often somebody begins to tell it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outrider_config::snapshot::Project;
use outrider_store::{AcceptError, Clock, LocalLog, LogClosed};
use outrider_webhook::event::{
    Audience, Decision, DeliveryMode, EventFacts, Origin, Target, VerifiedEvent,
};
use outrider_webhook::id::EndpointId;
use outrider_webhook::verify;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::metrics::Metrics;

/// Who has something to tell waits so often for a log that takes nothing just now.
const TRIES_MAX: u32 = 10;
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Something that happened.
pub(crate) struct Fact<'f> {
    /// The event type of what is told.
    pub(crate) kind: &'f str,
    /// Names it, for ever: the same name is the same thing that happened.
    pub(crate) name: &'f str,
    /// What the receiver gets.
    pub(crate) body: Bytes,
    /// Configuration revision that it is told under.
    pub(crate) revision: u64,
}

/// Why something was not told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotTold {
    /// The log is closed.
    #[error(transparent)]
    LogClosed(#[from] LogClosed),
    /// The log does not take it.
    #[error(transparent)]
    Refused(AcceptError),
}

/// Tells. Clones use the same log.
#[derive(Clone)]
pub struct Teller {
    log: LocalLog,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

impl Teller {
    /// A teller of this log.
    #[must_use]
    pub fn new(log: LocalLog, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        Self {
            log,
            clock,
            metrics,
        }
    }

    /// Tells somebody of a project, once: an endpoint of what the project's meta events belong to.
    /// Durable when it returns. The caller has asked whether such a thing is wanted.
    pub(crate) async fn tell(
        &self,
        to: (&Project, EndpointId),
        fact: &Fact<'_>,
    ) -> Result<(), NotTold> {
        let label = [fact.kind];
        for _ in 1..TRIES_MAX {
            match self.try_tell(to, fact).await {
                Ok(()) => {
                    self.metrics.meta_events.with_label_values(&label).inc();
                    return Ok(());
                }
                Err(NotTold::Refused(error)) if error.retry_after_s().is_some() => {
                    tracing::warn!(%error, kind = fact.kind, "a meta event waits for the log");
                    tokio::time::sleep(TRY_AGAIN).await;
                }
                Err(error) => return Err(error),
            }
        }
        self.try_tell(to, fact).await
    }

    /// As [`Teller::tell`], where nobody is there to tell it again: what cannot be told is counted.
    pub(crate) async fn tell_or_count(
        &self,
        to: (&Project, EndpointId),
        fact: &Fact<'_>,
    ) -> Result<(), LogClosed> {
        match self.tell(to, fact).await {
            Ok(()) => Ok(()),
            Err(NotTold::LogClosed(closed)) => Err(closed),
            Err(NotTold::Refused(error)) => {
                self.metrics.meta_events_lost.inc();
                tracing::error!(%error, kind = fact.kind, name = fact.name, "a meta event is lost");
                Ok(())
            }
        }
    }

    async fn try_tell(&self, to: (&Project, EndpointId), fact: &Fact<'_>) -> Result<(), NotTold> {
        let (project, endpoint) = to;
        let facts = EventFacts {
            project: project.id(),
            origin: Origin::Api,
            audience: Audience::Endpoint(endpoint),
            event_type: fact.kind.into(),
            headers: Vec::new(),
            query: "".into(),
            path: "".into(),
            body: fact.body.clone(),
            idempotency_key: Some(key(fact).into()),
            idempotency_window_ms: project.idempotency_window_ms(),
            received_ms: self.clock.now_ms(),
        };
        let target = Target {
            endpoint,
            subscription: None,
            mode: DeliveryMode::AtLeastOnce,
            order_key: None,
        };
        let decision = Decision {
            revision: fact.revision,
            ..Decision::default()
        };
        let event = VerifiedEvent::new(verify::own(), facts).route(vec![target], decision);
        match self.log.accept(event).await {
            Ok(_) => Ok(()),
            Err(AcceptError::Unavailable) => Err(NotTold::LogClosed(LogClosed)),
            Err(error) => Err(NotTold::Refused(error)),
        }
    }
}

/// The contract's form: 64 hexadecimal digits.
fn key(fact: &Fact<'_>) -> String {
    let text = format!("{}\n{}", fact.kind, fact.name);
    hex::encode(digest(&SHA256, text.as_bytes()))
}

/// The body of a meta event.
pub(crate) fn body(kind: &str, data: &Value) -> Bytes {
    json!({"event_type": kind, "data": data}).to_string().into()
}

/// RFC 3339, as the API shows times.
pub(crate) fn rfc3339(unix_ms: i64) -> String {
    let nanoseconds = i128::from(unix_ms) * 1_000_000;
    let at = time::OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).ok();
    let text = at.and_then(|at| {
        at.format(&time::format_description::well_known::Rfc3339)
            .ok()
    });
    text.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use outrider_config::snapshot::MetaKind;

    #[test]
    fn what_happened_once_has_one_key() {
        let fact = |kind: MetaKind, name: &'static str, body: &'static str| {
            key(&Fact {
                kind: kind.as_str(),
                name,
                body: Bytes::from_static(body.as_bytes()),
                revision: 1,
            })
        };
        let failed = fact(MetaKind::DeliveryFailed, "a/1", "x");
        assert_eq!(failed, fact(MetaKind::DeliveryFailed, "a/1", "y"));
        assert_ne!(failed, fact(MetaKind::DeliverySuccess, "a/1", "x"));
        assert_ne!(failed, fact(MetaKind::DeliveryFailed, "a/2", "x"));
        assert!(failed.len() == 64 && failed.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }

    #[test]
    fn times_beyond_the_calendar_are_empty() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_767_225_600_123), "2026-01-01T00:00:00.123Z");
        assert_eq!(rfc3339(i64::MAX), "");
    }
}
