//! What the forward proxy counts. Labels come from closed lists.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use super::refusal::Refusal;
use crate::metrics::EgressMetrics;

/// Handles of its metrics.
#[derive(Clone)]
pub struct ForwardMetrics {
    requests: IntCounterVec,
    refusals: IntCounterVec,
    auth_failures: IntCounter,
    crowded: IntCounter,
    tunnels: IntGauge,
    bytes: IntCounterVec,
    way_out: EgressMetrics,
}

/// An open tunnel, counted until it is dropped.
pub(super) struct OpenTunnel(IntGauge);

impl Drop for OpenTunnel {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl ForwardMetrics {
    /// Declares them.
    ///
    /// # Errors
    /// When they are there already: a programming error.
    pub(crate) fn new(
        registry: &Registry,
        way_out: EgressMetrics,
    ) -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let made = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(made.clone()))?;
            Ok::<_, prometheus::Error>(made)
        };
        let auth_failures = IntCounter::new(
            "outrider_egress_auth_failures_total",
            "Wrong passwords at the forward proxy",
        )?;
        registry.register(Box::new(auth_failures.clone()))?;
        let crowded = IntCounter::new(
            "outrider_egress_crowded_total",
            "Clients of the forward proxy turned away: too many connections from their address",
        )?;
        registry.register(Box::new(crowded.clone()))?;
        let tunnels = IntGauge::new(
            "outrider_egress_tunnels",
            "Open tunnels of the forward proxy",
        )?;
        registry.register(Box::new(tunnels.clone()))?;
        Ok(Self {
            requests: counters(
                "outrider_egress_requests_total",
                "Requests to the forward proxy by method (connect, forward, pulse, none) and end",
                &["method", "end"],
            )?,
            refusals: counters(
                "outrider_egress_refusals_total",
                "Replies of the forward proxy that were its own, by code",
                &["code"],
            )?,
            auth_failures,
            crowded,
            tunnels,
            bytes: counters(
                "outrider_egress_bytes_total",
                "Bytes through the forward proxy by direction: up (from clients), down",
                &["direction"],
            )?,
            way_out,
        })
    }

    pub(super) fn ended(&self, method: &str, end: &str) {
        self.requests.with_label_values(&[method, end]).inc();
    }

    pub(super) fn refused(&self, refusal: Refusal) {
        self.refusals.with_label_values(&[refusal.code()]).inc();
        if let Refusal::Denied(reason) = refusal {
            self.way_out.denied(reason);
        }
    }

    pub(super) fn auth_failed(&self) {
        self.auth_failures.inc();
    }

    /// A client was turned away.
    pub(super) fn crowded(&self) {
        self.crowded.inc();
    }

    pub(super) fn tunnel_opened(&self) -> OpenTunnel {
        self.tunnels.inc();
        OpenTunnel(self.tunnels.clone())
    }

    pub(super) fn carried(&self, up: u64, down: u64) {
        self.bytes.with_label_values(&["up"]).inc_by(up);
        self.bytes.with_label_values(&["down"]).inc_by(down);
    }
}
