//! The records of an attempt and of an end without attempt, as the log keeps them.

use outrider_store::{
    AttemptRecord, DeliveryStatus, EndpointCondition, EndpointStateRecord, Record, StateRecord,
};
use outrider_webhook::retry::{self, Outcome, ResponseFlags};
use outrider_webhook::undelivered::Reason;

use super::attempt::Attempted;
use super::mask::masked;
use super::outcome::Next;
use crate::queue::Entry;

/// Everything needed to debug the attempt later.
pub(super) fn attempt(entry: &Entry, attempted: Attempted, next: &Next) -> Record {
    let flags = flags(&attempted, next);
    let exchange = attempted.exchange;
    let (status, error) = match exchange.outcome {
        Outcome::Answered { status } => (Some(status), None),
        Outcome::Failed(failure) => (
            None,
            Some(retry::error_of(failure, exchange.denial.as_ref())),
        ),
    };
    Record::Attempt(AttemptRecord {
        key: entry.key,
        position: entry.position,
        number: entry.attempts + 1,
        started_ms: attempted.started_ms,
        duration_us: exchange.timing.total_us,
        status,
        error,
        source: exchange.local,
        destination: exchange.remote,
        dns_us: exchange.timing.dns_us,
        connect_us: exchange.timing.connect_us,
        tls_us: exchange.timing.tls_us,
        first_byte_us: exchange.timing.first_byte_us,
        flags,
        revision: attempted.revision,
        request_headers: masked(&attempted.request_headers),
        response_headers: masked(&exchange.response_headers),
        excerpt: exchange.excerpt,
        result: next.status,
        next_due_ms: next.due_ms,
        reason: next.reason.map(|reason| reason.code().into()),
    })
}

fn flags(attempted: &Attempted, next: &Next) -> u32 {
    let exchange = &attempted.exchange;
    let (outcome, is_held) = (&exchange.outcome, attempted.hold.is_some());
    let met = ResponseFlags::of(outcome, exchange.was_sent, &attempted.step, is_held);
    let free = retry::is_free(outcome).then_some(AttemptRecord::FREE);
    let cut = exchange.is_truncated.then_some(AttemptRecord::EXCERPT_CUT);
    let parked = next.is_parked.then_some(AttemptRecord::PARKED);
    met.bits() | free.unwrap_or_default() | cut.unwrap_or_default() | parked.unwrap_or_default()
}

/// An endpoint is left alone until a time, because it asked for that.
pub(super) fn held(entry: &Entry, now_ms: i64, until_ms: i64) -> Record {
    Record::EndpointState(EndpointStateRecord {
        project: entry.project,
        endpoint: entry.target.endpoint,
        at_ms: now_ms,
        condition: EndpointCondition::Held,
        until_ms: Some(until_ms),
        activation_epoch: 0,
        reason: Some("retry_after".into()),
        trips: 0,
    })
}

/// A delivery that ended without an attempt.
pub(super) fn state(entry: &Entry, status: DeliveryStatus, reason: Reason, now_ms: i64) -> Record {
    Record::State(StateRecord {
        key: entry.key,
        position: entry.position,
        at_ms: now_ms,
        status,
        next_due_ms: None,
        attempts: entry.attempts,
        reason: Some(reason.code().into()),
    })
}
