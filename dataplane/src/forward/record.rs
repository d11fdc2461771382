//! What is written down about each request: one line, without paths, header values and bodies.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use outrider_config::resource::HOST_ROUTE;
use outrider_webhook::address::Host;
use outrider_webhook::id::{EndpointId, ProjectId, Uid};
use outrider_webhook::trace::trace_id;

use super::Forward;
use super::head::Ask;
use super::identity::Tenant;
use super::refusal::Refusal;
use crate::egress::via::TRACEPARENT;
use crate::egress::{Answers, OpenTiming, Resolved, Unopened, Upstream};

/// The line in the making.
pub(super) struct Record {
    started: Instant,
    client: SocketAddr,
    kind: &'static str,
    pub(super) identity: Box<str>,
    project: Option<ProjectId>,
    endpoint: Option<EndpointId>,
    pool: Pool,
    host: String,
    port: u16,
    /// What the name servers said.
    pub(super) answers: Option<Arc<Answers>>,
    source: Option<IpAddr>,
    destination: Option<IpAddr>,
    timing: OpenTiming,
    is_reused: bool,
    /// The policy of the configuration that denied it.
    policy: Option<Arc<str>>,
    /// Of the connection; of what has none, that of now.
    policy_version: Option<u64>,
    first_byte: Option<Duration>,
    status: u16,
    bytes: [u64; 2],
    decision: &'static str,
    reason: &'static str,
    pub(super) end: &'static str,
}

/// Where a connection leaves from, or would have.
enum Pool {
    /// It did not come to that.
    Unknown,
    HostRoute,
    Named(Arc<str>),
}

impl Pool {
    fn of(name: Option<&Arc<str>>) -> Self {
        name.map_or(Self::HostRoute, |name| Self::Named(Arc::clone(name)))
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Unknown => None,
            Self::HostRoute => Some(HOST_ROUTE),
            Self::Named(name) => Some(name),
        }
    }
}

impl Record {
    pub(super) fn begin(client: SocketAddr) -> Self {
        Self {
            started: Instant::now(),
            client,
            kind: "none",
            identity: Box::default(),
            project: None,
            endpoint: None,
            pool: Pool::Unknown,
            host: String::new(),
            port: 0,
            answers: None,
            source: None,
            destination: None,
            timing: OpenTiming::default(),
            is_reused: false,
            policy: None,
            policy_version: None,
            first_byte: None,
            status: 0,
            bytes: [0; 2],
            decision: "allowed",
            reason: "ok",
            end: "closed",
        }
    }

    pub(super) fn wants(&mut self, kind: &'static str, host: &Host, port: u16) {
        (self.kind, self.host, self.port) = (kind, host.to_string(), port);
    }

    pub(super) fn is_for(&mut self, tenant: &Tenant) {
        self.project = Some(tenant.project);
        self.endpoint = tenant.endpoint;
        self.pool = Pool::of(tenant.leave.pool());
    }

    /// It is a question whether the process lives.
    pub(super) fn is_pulse(&mut self) {
        self.kind = "pulse";
    }

    pub(super) fn opened(&mut self, upstream: &Upstream) {
        self.pool = Pool::of(upstream.pool()); // it may be the one to fall back to
        self.source = Some(upstream.local.ip().to_canonical());
        self.destination = Some(upstream.remote.ip().to_canonical());
        self.timing = upstream.timing;
        self.is_reused = upstream.is_reused;
        self.policy_version = Some(upstream.policy_version());
    }

    pub(super) fn unopened(&mut self, why: &Unopened) {
        if let Unopened::Denied(denial) = why {
            self.policy.clone_from(&denial.policy);
        }
    }

    /// The policy of the configuration that denied it, if one did.
    pub(super) fn policy(&self) -> Option<&str> {
        self.policy.as_deref()
    }

    pub(super) fn answered(&mut self, status: u16) {
        self.status = status;
    }

    /// How long it took until the destination said something.
    pub(super) fn heard(&mut self, first_byte: Option<Duration>) {
        self.first_byte = first_byte;
    }

    pub(super) fn carried(&mut self, up: u64, down: u64, end: &'static str) {
        (self.bytes, self.end) = ([up, down], end);
    }

    pub(super) fn refused(&mut self, refusal: Refusal) {
        (self.decision, self.end) = ("refused", refusal.code());
        if let Refusal::Denied(reason) = refusal {
            (self.decision, self.reason) = ("denied", reason);
        }
    }
}

impl Forward {
    /// Writes the line, but for requests on connections that had theirs: those are counted.
    pub(super) fn note(&self, record: &Record, ask: &Ask<'_>) {
        self.metrics.ended(record.kind, record.end);
        let is_pulse = record.kind == "pulse"; // leads nowhere
        if (record.is_reused || is_pulse) && record.end == "closed" {
            return;
        }
        let [bytes_up, bytes_down] = record.bytes;
        let id = u128::from(self.ids.next()) << 64 | u128::from(self.ids.next());
        let answers = record.answers.as_deref().map(Answers::addresses);
        tracing::info!(
            target: "outrider::egress",
            id = %Uid::from_bits(id),
            trace_id = trace(ask),
            client = %record.client,
            identity = &*record.identity,
            project = record.project.map(tracing::field::display),
            endpoint = record.endpoint.map(tracing::field::display),
            method = record.kind,
            host = record.host,
            port = record.port,
            resolved = answers.map(|all| tracing::field::display(Resolved(all))),
            resolved_count = answers.map(<[_]>::len),
            pool = record.pool.name(),
            source_ip = record.source.map(tracing::field::display),
            dest_ip = record.destination.map(tracing::field::display),
            decision = record.decision,
            reason = record.reason,
            policy = record.policy(),
            policy_version = record.policy_version.unwrap_or_else(|| self.egress.policy_version()),
            dns_us = record.timing.dns_us,
            connect_us = record.timing.connect_us,
            tls_us = record.timing.tls_us,
            first_byte_us = record.first_byte.map(micros),
            total_us = micros(record.started.elapsed()),
            status = record.status,
            bytes_up,
            bytes_down,
            end = record.end,
            "egress connection"
        );
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The trace that a request belongs to. More than one is none, as the standard wants it.
fn trace<'h>(ask: &Ask<'h>) -> Option<&'h str> {
    let id = trace_id(ask.value(&TRACEPARENT)?)?;
    (!ask.is_repeated(&TRACEPARENT)).then_some(id)
}
