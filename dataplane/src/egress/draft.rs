//! An exchange in the making: what is learnt on the way, how long each part took, and what it means
//! when the time runs out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http::HeaderMap;
use outrider_webhook::retry::{Failure, Outcome};
use tokio::time::Instant;

use super::exchange::{Exchange, Timing};
use super::fault::Fault;
use super::pool::Key;
use super::via::Through;

/// Whole microseconds since `start`.
pub(super) fn micros_since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// How far an attempt has come: decides what running out of time means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Resolve,
    Connect,
    Handshake,
    Answer,
    Body,
}

/// An exchange in the making. Lives outside the timed part, so that what was learnt before the
/// time ran out is kept.
pub(super) struct Draft {
    pub(super) phase: Phase,
    pub(super) timing: Timing,
    started: Instant,
    phase_started: Instant,
    pub(super) headers: HeaderMap,
    pub(super) excerpt: BytesMut,
    pub(super) body_bytes: u64,
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
    through: Option<Passage>,
}

/// The connection to a proxy that an exchange is on.
struct Passage {
    through: Arc<Through>,
    address: SocketAddr,
    opened: Instant,
}

impl Draft {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            phase: Phase::Resolve,
            timing: Timing::default(),
            started: now,
            phase_started: now,
            headers: HeaderMap::new(),
            excerpt: BytesMut::new(),
            body_bytes: 0,
            local: None,
            remote: None,
            through: None,
        }
    }

    /// Since it began.
    pub(super) fn spent(&self) -> Duration {
        self.started.elapsed()
    }

    /// Goes on to another phase and books the time of the one that ends.
    pub(super) fn enter(&mut self, phase: Phase) {
        self.book();
        self.phase = phase;
    }

    /// Notes which connection is used.
    pub(super) fn on(&mut self, local: SocketAddr, remote: SocketAddr) {
        self.local = Some(local);
        self.remote = Some(remote);
    }

    /// Notes through which proxy it goes, if it does, on a connection that was opened then.
    pub(super) fn takes(&mut self, key: &Key, opened: Instant) {
        if let Some(through) = &key.through {
            self.through = Some(Passage {
                through: Arc::clone(through),
                address: key.address,
                opened,
            });
        }
    }

    /// A fault as it is when it is known whose it is.
    pub(super) async fn blame(&self, fault: Fault) -> Fault {
        let Some(passage) = &self.through else {
            return fault;
        };
        let on = (passage.address, passage.opened);
        passage
            .through
            .blame(fault, on, self.phase == Phase::Body)
            .await
    }

    /// The headers of the answer.
    pub(super) fn headers(&mut self) -> &mut HeaderMap {
        &mut self.headers
    }

    /// Notes that the open connection was of no use, and that there is none now.
    pub(super) fn off(&mut self) {
        self.timing.is_reused = false;
        self.local = None;
        self.remote = None;
        self.through = None;
    }

    /// Puts the result to what was learnt. Books the time: call it when the answer is complete.
    pub(super) fn finish(mut self, result: Result<u16, Fault>) -> Exchange {
        self.book();
        self.timing.total_us = micros_since(self.started);
        let (outcome, denial, detail) = match result {
            Ok(status) => (Outcome::Answered { status }, None, None),
            Err(fault) => (
                Outcome::Failed(fault.failure),
                fault.denial,
                Some(fault.detail),
            ),
        };
        let kept = u64::try_from(self.excerpt.len()).unwrap_or(u64::MAX);
        Exchange {
            outcome,
            response_headers: self.headers,
            excerpt: self.excerpt.freeze(),
            body_bytes: self.body_bytes,
            is_truncated: self.body_bytes > kept,
            denial,
            detail,
            timing: self.timing,
            was_sent: matches!(self.phase, Phase::Answer | Phase::Body),
            local: self.local,
            remote: self.remote,
        }
    }

    /// What it means that the time ran out in this phase.
    pub(super) fn out_of_time(&self, limit: Duration) -> Fault {
        let (failure, what) = match self.phase {
            Phase::Resolve => (Failure::DnsFailure, "resolving the name"),
            Phase::Connect => (Failure::ConnectTimeout, "connecting"),
            Phase::Handshake => (Failure::TlsFailure, "the TLS handshake"),
            Phase::Answer => (Failure::ResponseTimeout, "waiting for the answer"),
            Phase::Body => (Failure::ResponseTimeout, "reading the response body"),
        };
        let detail = format!("out of time after {limit:.1?} while {what}");
        Fault::new(failure, detail)
    }

    fn book(&mut self) {
        let now = Instant::now();
        let spent = now.saturating_duration_since(self.phase_started);
        let spent_us = u64::try_from(spent.as_micros()).unwrap_or(u64::MAX);
        self.phase_started = now;
        let timing = &mut self.timing;
        let part = match self.phase {
            Phase::Resolve => &mut timing.dns_us,
            Phase::Connect => &mut timing.connect_us,
            Phase::Handshake => &mut timing.tls_us,
            Phase::Answer => &mut timing.first_byte_us,
            Phase::Body => return, // the rest of the total
        };
        *part = part.saturating_add(spent_us);
    }
}
