//! Metrics of the way out: its connections and what it denies. `source_ip` is only ever an address
//! of a pool, of which there are as many as an operator has written down; connections by the
//! host's route have none, and the pool that this route is published as.

use std::net::IpAddr;
use std::time::Duration;

use outrider_config::resource::HOST_ROUTE;
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramTimer, HistogramVec, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

use super::name;

/// Buckets of the parts of opening a connection, seconds; the same for all, so that they can be
/// read beside each other. From half a millisecond, which is a place in the same network, over
/// the round trips of a continent and of the globe. Then what shows loss: a first packet that is
/// sent again after 1 s and after 3 s, a name server that is asked again after 2 s. The last one
/// is the limit of each part: what is above it ran out of time.
const PART_BUCKETS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0,
];

/// Figures of the way out; clones share them.
#[derive(Clone)]
pub struct EgressMetrics {
    dns_duration: Histogram,
    connect_duration: HistogramVec,
    tls_duration: Histogram,
    denied: IntCounterVec,
    delayed: IntCounterVec,
    connections: IntCounterVec,
    active: IntGaugeVec,
    ports: GaugeVec,
    exhausted: IntCounterVec,
    state: IntGaugeVec,
    mismatch: IntGaugeVec,
}

/// Where a connection leaves from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Departure<'a> {
    /// Where the host's route puts it.
    HostRoute {
        /// By its destination.
        is_ipv4: bool,
    },
    /// An address of the pool of this name.
    Pool(&'a str, IpAddr),
}

impl<'a> Departure<'a> {
    /// Values of `pool` and `source_ip`.
    fn labels(self) -> (&'a str, String) {
        match self {
            Self::HostRoute { .. } => (HOST_ROUTE, String::new()),
            Self::Pool(pool, source) => (pool, source.to_string()),
        }
    }

    const fn family(self) -> &'static str {
        match self {
            Self::HostRoute { is_ipv4: true } | Self::Pool(_, IpAddr::V4(_)) => "ipv4",
            Self::HostRoute { is_ipv4: false } | Self::Pool(_, IpAddr::V6(_)) => "ipv6",
        }
    }
}

/// What comes of a request that has to wait to open a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Delayed {
    /// It opened one in its turn.
    Opened,
    /// One that was in use became idle.
    Reused,
    /// Its turn would have come too late.
    Refused,
}

/// A connection that is open, or being opened: shown until it is dropped.
#[derive(Debug)]
pub(crate) struct Active(IntGauge);

impl Active {
    pub(crate) fn new(shown: IntGauge) -> Self {
        shown.inc();
        Self(shown)
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl EgressMetrics {
    /// Declares them, not yet in a registry.
    ///
    /// # Errors
    /// When one cannot be declared, which is a programming error.
    pub fn new() -> Result<Self, prometheus::Error> {
        let opts = |short, help| Opts::new(name(short), help);
        let parts =
            |short, help| HistogramOpts::new(name(short), help).buckets(PART_BUCKETS.to_vec());
        Ok(Self {
            dns_duration: Histogram::with_opts(parts(
                "egress_dns_seconds",
                "Look-ups of names at the name servers",
            ))?,
            connect_duration: HistogramVec::new(
                parts("egress_connect_seconds", "TCP connects to destinations"),
                &["family"],
            )?,
            tls_duration: Histogram::with_opts(parts(
                "egress_tls_seconds",
                "TLS handshakes with destinations",
            ))?,
            denied: IntCounterVec::new(
                opts(
                    "egress_denied_total",
                    "Requests that the address policy or the forward proxy denied",
                ),
                &["reason"],
            )?,
            delayed: IntCounterVec::new(
                opts(
                    "egress_openings_delayed_total",
                    "Requests that came too soon to open a connection",
                ),
                &["result"],
            )?,
            connections: IntCounterVec::new(
                opts("egress_connections_total", "Connects to destinations"),
                &["pool", "source_ip", "family", "result"],
            )?,
            active: IntGaugeVec::new(
                opts("egress_active_connections", "Connections to destinations"),
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
        registry.register(Box::new(self.dns_duration.clone()))?;
        registry.register(Box::new(self.connect_duration.clone()))?;
        registry.register(Box::new(self.tls_duration.clone()))?;
        registry.register(Box::new(self.denied.clone()))?;
        registry.register(Box::new(self.delayed.clone()))?;
        registry.register(Box::new(self.connections.clone()))?;
        registry.register(Box::new(self.active.clone()))?;
        registry.register(Box::new(self.ports.clone()))?;
        registry.register(Box::new(self.exhausted.clone()))?;
        registry.register(Box::new(self.state.clone()))?;
        registry.register(Box::new(self.mismatch.clone()))
    }

    /// A look-up begins, which lasts until this is dropped.
    pub(crate) fn looking_up(&self) -> HistogramTimer {
        self.dns_duration.start_timer()
    }

    /// A handshake begins, which lasts until this is dropped.
    pub(crate) fn shaking_hands(&self) -> HistogramTimer {
        self.tls_duration.start_timer()
    }

    /// Somebody was denied what was asked for.
    pub(crate) fn denied(&self, reason: &str) {
        self.denied.with_label_values(&[reason]).inc();
    }

    /// A request came too soon to open a connection, and this came of it.
    pub(crate) fn delayed(&self, result: Delayed) {
        let result = match result {
            Delayed::Opened => "opened",
            Delayed::Reused => "reused",
            Delayed::Refused => "refused",
        };
        self.delayed.with_label_values(&[result]).inc();
    }

    /// One more connection from there.
    pub(crate) fn active(&self, from: Departure<'_>) -> Active {
        let (pool, source) = from.labels();
        Active::new(self.active.with_label_values(&[pool, &source]))
    }

    /// A connect came to its end.
    pub(crate) fn connected(&self, from: Departure<'_>, result: &str, took: Duration) {
        let ((pool, source), family) = (from.labels(), from.family());
        let labels = [pool, &source, family, result];
        self.connections.with_label_values(&labels).inc();
        // Without an address or a port of ours nothing was sent, and nothing took any time.
        if !matches!(result, "source_absent" | "port_exhausted") {
            self.connect_duration
                .with_label_values(&[family])
                .observe(took.as_secs_f64());
        }
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
