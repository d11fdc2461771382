//! Metrics of our own source addresses. `source_ip` is only ever an address of a pool, of which
//! there are as many as an operator has written down.

use std::net::IpAddr;
use std::time::Duration;

use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use super::{LATENCY_BUCKETS, name};

/// Figures of connections from addresses of pools; clones share them.
#[derive(Clone)]
pub struct SourceMetrics {
    connections: IntCounterVec,
    connect_duration: HistogramVec,
    active: IntGaugeVec,
    ports: GaugeVec,
    exhausted: IntCounterVec,
    state: IntGaugeVec,
    mismatch: IntGaugeVec,
}

impl SourceMetrics {
    /// Declares them, not yet in a registry.
    ///
    /// # Errors
    /// When one cannot be declared, which is a programming error.
    pub fn new() -> Result<Self, prometheus::Error> {
        let opts = |short, help| Opts::new(name(short), help);
        let connect = HistogramOpts::new(
            name("egress_connect_seconds"),
            "TCP connects from addresses of pools",
        );
        Ok(Self {
            connections: IntCounterVec::new(
                opts(
                    "egress_connections_total",
                    "Connects from addresses of pools",
                ),
                &["pool", "source_ip", "family", "result"],
            )?,
            connect_duration: HistogramVec::new(
                connect.buckets(LATENCY_BUCKETS.to_vec()),
                &["family"],
            )?,
            active: IntGaugeVec::new(
                opts(
                    "egress_active_connections",
                    "Connections from addresses of pools",
                ),
                &["pool", "source_ip"],
            )?,
            ports: GaugeVec::new(
                opts(
                    "egress_ports_in_use_ratio",
                    "Share of the local ports that connections to the busiest destination have",
                ),
                &["source_ip"],
            )?,
            exhausted: IntCounterVec::new(
                opts(
                    "egress_port_exhausted_total",
                    "Connects for which no local port was left",
                ),
                &["source_ip"],
            )?,
            state: IntGaugeVec::new(
                opts(
                    "egress_source_state",
                    "1 for the state of an address of a pool",
                ),
                &["source_ip", "state"],
            )?,
            mismatch: IntGaugeVec::new(
                opts(
                    "egress_source_mismatch",
                    "1 while a reflector sees another address",
                ),
                &["source_ip"],
            )?,
        })
    }

    pub(super) fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.connections.clone()))?;
        registry.register(Box::new(self.connect_duration.clone()))?;
        registry.register(Box::new(self.active.clone()))?;
        registry.register(Box::new(self.ports.clone()))?;
        registry.register(Box::new(self.exhausted.clone()))?;
        registry.register(Box::new(self.state.clone()))?;
        registry.register(Box::new(self.mismatch.clone()))
    }

    /// The gauge of connections from an address.
    pub(crate) fn active(&self, pool: &str, source: IpAddr) -> IntGauge {
        let source = source.to_string();
        self.active.with_label_values(&[pool, &source])
    }

    /// A connect came to its end.
    pub(crate) fn connected(&self, pool: &str, source: IpAddr, result: &str, took: Duration) {
        let family = if source.is_ipv4() { "ipv4" } else { "ipv6" };
        let labels = [pool, &source.to_string(), family, result];
        self.connections.with_label_values(&labels).inc();
        self.connect_duration
            .with_label_values(&[family])
            .observe(took.as_secs_f64());
    }

    /// No local port was left for a destination.
    pub(crate) fn exhausted(&self, source: IpAddr) {
        let source = source.to_string();
        self.exhausted.with_label_values(&[&source]).inc();
    }

    /// How an address is now. `used` of `ports` are those to its busiest destination.
    pub(crate) fn show(&self, source: IpAddr, now: &SourceNow) {
        let source = source.to_string();
        self.state.with_label_values(&[&source, now.state]).set(1);
        self.ports.with_label_values(&[&source]).set(now.ports);
        self.mismatch
            .with_label_values(&[&source])
            .set(i64::from(now.is_mistaken));
    }

    /// An address is not in a state any more; `is_gone`: nor in a pool.
    pub(crate) fn unshow(&self, source: IpAddr, state: &str, is_gone: bool) {
        let source = source.to_string();
        // What is not there need not be removed.
        let _ = self.state.remove_label_values(&[&source, state]);
        if is_gone {
            let _ = self.ports.remove_label_values(&[&source]);
            let _ = self.mismatch.remove_label_values(&[&source]);
        }
    }
}

/// What is shown of an address.
pub(crate) struct SourceNow {
    /// One word.
    pub(crate) state: &'static str,
    /// Share of its ports that connections to its busiest destination have.
    pub(crate) ports: f64,
    /// Whether something on the way puts another address in its place.
    pub(crate) is_mistaken: bool,
}
