//! What is written down about each request: one line, without paths, header values and bodies.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use outrider_webhook::address::Host;
use outrider_webhook::id::ProjectId;

use super::Forward;
use super::refusal::Refusal;
use crate::egress::{OpenTiming, Upstream};

/// The line in the making.
pub(super) struct Record {
    started: Instant,
    client: SocketAddr,
    kind: &'static str,
    pub(super) identity: Box<str>,
    pub(super) tenant: Option<ProjectId>,
    host: String,
    port: u16,
    source: Option<IpAddr>,
    destination: Option<IpAddr>,
    timing: OpenTiming,
    is_reused: bool,
    status: u16,
    bytes: [u64; 2],
    decision: &'static str,
    reason: &'static str,
    pub(super) end: &'static str,
}

impl Record {
    pub(super) fn begin(client: SocketAddr) -> Self {
        Self {
            started: Instant::now(),
            client,
            kind: "none",
            identity: Box::default(),
            tenant: None,
            host: String::new(),
            port: 0,
            source: None,
            destination: None,
            timing: OpenTiming::default(),
            is_reused: false,
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

    pub(super) fn opened(&mut self, upstream: &Upstream) {
        self.source = Some(upstream.local.ip().to_canonical());
        self.destination = Some(upstream.remote.ip().to_canonical());
        self.timing = upstream.timing;
        self.is_reused = upstream.is_reused;
    }

    pub(super) fn answered(&mut self, status: u16) {
        self.status = status;
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
    pub(super) fn note(&self, record: &Record) {
        self.metrics.ended(record.kind, record.end);
        if record.is_reused && record.end == "closed" {
            return;
        }
        let [bytes_up, bytes_down] = record.bytes;
        tracing::info!(
            target: "outrider::egress",
            client = %record.client,
            identity = &*record.identity,
            project = record.tenant.map(tracing::field::display),
            method = record.kind,
            host = record.host,
            port = record.port,
            source_ip = record.source.map(tracing::field::display),
            dest_ip = record.destination.map(tracing::field::display),
            decision = record.decision,
            reason = record.reason,
            policy_version = self.egress.policy_version(),
            dns_us = record.timing.dns_us,
            connect_us = record.timing.connect_us,
            tls_us = record.timing.tls_us,
            total_us = u64::try_from(record.started.elapsed().as_micros()).unwrap_or(u64::MAX),
            status = record.status,
            bytes_up,
            bytes_down,
            end = record.end,
            "egress connection"
        );
    }
}
