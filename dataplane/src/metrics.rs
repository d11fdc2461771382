//! All metrics of the data plane, declared once, with help text. Labels come from closed lists.

mod egress;

use std::time::Duration;

use outrider_config::snapshot::Quarantined;
use outrider_webhook::event::RoutedEvent;
use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use crate::route::Routed;

pub use egress::EgressMetrics;
pub(crate) use egress::{Active, Delayed, Departure, SourceNow};

/// Latency buckets in seconds (field standard, `standards` section 4).
const LATENCY_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// The registry and the handles the hot path uses without a look-up by name.
pub struct Metrics {
    registry: Registry,
    /// Intake requests by kind of source and result.
    pub ingest_requests: IntCounterVec,
    /// Head read to reply, seconds.
    pub ingest_duration: Histogram,
    /// Accept to durable, seconds.
    pub append_duration: Histogram,
    /// Refused verifications by reason.
    pub verify_failures: IntCounterVec,
    /// Handshakes by the preset of the source and by result: answered, call_failed, or the
    /// reason of the refusal.
    pub handshakes: IntCounterVec,
    /// Events held against the schema of their type, by result: valid, flagged, refused.
    pub schema_checks: IntCounterVec,
    /// Alerts of sources that are raised, by kind.
    pub source_alerts: IntGaugeVec,
    /// Routed events by result: matched, unmatched.
    pub events_routed: IntCounterVec,
    /// Filters that could not say whether they match, by `reason`; counted as no match.
    pub filter_faults: IntCounterVec,
    /// Attempts by outcome.
    pub attempts: IntCounterVec,
    /// Meta events that were told, by their type.
    pub meta_events: IntCounterVec,
    /// Meta events that the log did not take.
    pub meta_events_lost: IntCounter,
    /// Messages to people, by channel and result.
    pub notifications: IntCounterVec,
    /// Endpoints that were switched off by what their receivers did, by reason.
    pub endpoints_disabled: IntCounterVec,
    /// Endpoints that are off here, whatever the configuration says of them yet.
    pub endpoints_off: IntGauge,
    /// Changes of circuit breakers: open, closed.
    pub breaker_changes: IntCounterVec,
    /// Failure rates of endpoints that crossed their alerts: exceeded, recovered.
    pub failure_rate_changes: IntCounterVec,
    /// Times that an endpoint was left alone because of its rate.
    pub endpoint_rate_limited: IntCounter,
    /// Answers that asked to be called later, by whether that could be read: read, ignored.
    pub retry_after: IntCounterVec,
    /// One attempt, seconds.
    pub attempt_duration: Histogram,
    /// Accept to success, seconds.
    pub end_to_end: Histogram,
    /// Real start minus planned start, seconds.
    pub schedule_lag: Histogram,
    /// Deliveries that reached a final state, by result.
    pub finished: IntCounterVec,
    /// Attempts under way.
    pub in_flight: IntGauge,
    /// Deliveries in the queue by state; set when read.
    pub queue_depth: IntGaugeVec,
    /// Lanes of receivers that are not well, by state; set when read.
    pub lanes: IntGaugeVec,
    /// Age of the oldest due delivery, seconds; set when read.
    pub queue_oldest_age: IntGauge,
    /// Leases taken back at their deadline; set when read.
    pub leases_expired: IntGauge,
    /// Figures of the log; set when read.
    pub log: IntGaugeVec,
    /// Figures of the index; set when read.
    pub index: IntGaugeVec,
    /// Figures of the egress; set when read.
    pub egress: IntGaugeVec,
    /// The newest revision of the egress policies in force; set when read.
    pub egress_policy_version: IntGauge,
    /// Connections of the egress, and what it denies.
    pub way_out: EgressMetrics,
    /// Connections of the public listener.
    pub connections_open: IntGauge,
    /// Connections refused before their first request, by reason.
    pub connections_refused: IntCounterVec,
    /// TLS handshakes of the public listener, by how they ended.
    pub tls_handshakes: IntCounterVec,
    /// Requests beyond a rate, by whose it is.
    pub rate_limited: IntCounterVec,
    /// Endpoints that events made and that are no configuration yet; set when read.
    pub made_endpoints: IntGauge,
    /// Test switches in use.
    pub unsafe_flags: IntGaugeVec,
    config_updates: IntCounterVec,
    config_revision: IntGauge,
    config_quarantined: IntGauge,
    config_apply: Histogram,
    config_kept: IntGaugeVec,
    /// Revisions that could not be written to the state log.
    pub config_keep_errors: IntCounter,
    /// 1 while the stream to the control plane is up.
    pub xds_connected: IntGauge,
}

impl Metrics {
    /// Counts what came in the way of asking filters.
    pub(crate) fn note_faults(&self, routed: Routed) -> RoutedEvent {
        for fault in routed.faults {
            self.filter_faults.with_label_values(&[fault.code()]).inc();
        }
        routed.event
    }

    /// Declares everything.
    ///
    /// # Errors
    /// Never with the names below; a duplicate or malformed name is a programming error.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let r = &registry;
        let way_out = EgressMetrics::new()?;
        way_out.register(r)?;
        let metrics = Self {
            way_out,
            ingest_requests: counters(
                r,
                "ingest_requests_total",
                "Intake requests",
                &["source_kind", "result"],
            )?,
            ingest_duration: histogram(
                r,
                "ingest_duration_seconds",
                "Request head read to reply written",
            )?,
            append_duration: histogram(
                r,
                "ingest_append_duration_seconds",
                "Durable append of an event",
            )?,
            verify_failures: counters(
                r,
                "verify_failures_total",
                "Refused verifications",
                &["reason"],
            )?,
            handshakes: counters(
                r,
                "ingest_handshakes_total",
                "Handshakes of providers",
                &["preset", "result"],
            )?,
            schema_checks: counters(
                r,
                "schema_checks_total",
                "Events held against the schema of their type",
                &["result"],
            )?,
            source_alerts: gauges(
                r,
                "source_alerts",
                "Alerts of sources that are raised",
                &["kind"],
            )?,
            filter_faults: counters(
                r,
                "route_filter_faults_total",
                "Filters that could not say whether they match, which counts as no match",
                &["reason"],
            )?,
            events_routed: counters(r, "events_routed_total", "Routed events", &["result"])?,
            attempts: counters(
                r,
                "delivery_attempts_total",
                "Delivery attempts",
                &["outcome", "attempt"],
            )?,
            meta_events: counters(
                r,
                "meta_events_total",
                "Meta events told to the owners of projects",
                &["event_type"],
            )?,
            meta_events_lost: counter(
                r,
                "meta_events_lost_total",
                "Meta events that the log did not take",
            )?,
            notifications: counters(
                r,
                "notifications_total",
                "Messages to people about endpoints",
                &["channel", "result"],
            )?,
            endpoints_disabled: counters(
                r,
                "endpoints_disabled_total",
                "Endpoints switched off by what their receivers did",
                &["reason"],
            )?,
            endpoints_off: gauge(
                r,
                "endpoints_off_locally",
                "Endpoints that are off here and not yet in the configuration",
            )?,
            breaker_changes: counters(
                r,
                "breaker_changes_total",
                "Circuit breakers of endpoints that opened or closed",
                &["to"],
            )?,
            failure_rate_changes: counters(
                r,
                "failure_rate_changes_total",
                "Failure rates of endpoints that crossed what their alerts call too much",
                &["to"],
            )?,
            lanes: gauges(
                r,
                "lanes",
                "Lanes whose breaker is open or probes, or that are sent at a pace",
                &["state"],
            )?,
            endpoint_rate_limited: counter(
                r,
                "endpoint_rate_limited_total",
                "Waits for an endpoint's rate",
            )?,
            retry_after: counters(
                r,
                "endpoint_retry_after_total",
                "Answers with Retry-After",
                &["result"],
            )?,
            attempt_duration: histogram(
                r,
                "delivery_attempt_duration_seconds",
                "One delivery attempt",
            )?,
            end_to_end: histogram(r, "delivery_end_to_end_seconds", "Accepted to delivered")?,
            schedule_lag: histogram(
                r,
                "delivery_schedule_lag_seconds",
                "Real start minus planned start",
            )?,
            finished: counters(
                r,
                "deliveries_finished_total",
                "Deliveries with a final state",
                &["result"],
            )?,
            made_endpoints: gauge(
                r,
                "made_endpoints_waiting",
                "Endpoints that events made and that are no configuration yet",
            )?,
            in_flight: gauge(r, "delivery_in_flight", "Attempts under way")?,
            queue_depth: gauges(r, "queue_depth", "Deliveries in the queue", &["state"])?,
            queue_oldest_age: gauge(
                r,
                "queue_oldest_age_seconds",
                "Age of the oldest due delivery",
            )?,
            leases_expired: gauge(
                r,
                "queue_lease_expired",
                "Leases taken back at their deadline since the start",
            )?,
            log: gauges(r, "wal", "Figures of the event log", &["figure"])?,
            index: gauges(r, "index", "Figures of the index of the log", &["figure"])?,
            egress: gauges(r, "egress", "Figures of the egress", &["figure"])?,
            egress_policy_version: gauge(
                r,
                "egress_policy_version",
                "Newest revision of the egress policies in force, 0 for none",
            )?,
            connections_open: gauge(
                r,
                "ingest_connections_open",
                "Connections of the public listener",
            )?,
            connections_refused: counters(
                r,
                "ingest_connections_refused_total",
                "Connections refused before their first request",
                &["reason"],
            )?,
            tls_handshakes: counters(
                r,
                "ingest_tls_handshakes_total",
                "TLS handshakes of the public listener",
                &["result"],
            )?,
            rate_limited: counters(
                r,
                "ingest_rate_limited_total",
                "Requests beyond a rate",
                &["limit"],
            )?,
            unsafe_flags: gauges(
                r,
                "unsafe_flag",
                "1 while a test switch is in use",
                &["flag"],
            )?,
            config_updates: counters(
                r,
                "config_updates_total",
                "Configuration revisions",
                &["result"],
            )?,
            config_revision: gauge(r, "config_revision", "Revision in force")?,
            config_quarantined: gauge(
                r,
                "config_quarantined",
                "Resources refused by the last revision",
            )?,
            config_apply: histogram(
                r,
                "config_apply_duration_seconds",
                "Compile and swap of one revision",
            )?,
            config_kept: gauges(
                r,
                "config_kept",
                "Configuration on disk, for a start without the control plane",
                &["figure"],
            )?,
            config_keep_errors: counter(
                r,
                "config_keep_errors_total",
                "Revisions that could not be kept on disk",
            )?,
            xds_connected: gauge(
                r,
                "xds_connected",
                "1 while the stream to the control plane is up",
            )?,
            registry,
        };
        gauges(
            &metrics.registry,
            "build_info",
            "1, with facts of the build",
            &["version"],
        )?
        .with_label_values(&[env!("CARGO_PKG_VERSION")])
        .set(1);
        Ok(metrics)
    }

    /// Metrics of the forward proxy.
    ///
    /// # Errors
    /// When they were declared before: a programming error.
    pub fn forward(&self) -> Result<crate::forward::ForwardMetrics, prometheus::Error> {
        crate::forward::ForwardMetrics::new(&self.registry, self.way_out.clone())
    }

    /// One transaction of the control plane is in force.
    pub fn config_applied(&self, took: Duration, revision: u64, quarantined: &[Quarantined]) {
        let result = if quarantined.is_empty() {
            "accepted"
        } else {
            "partly_quarantined"
        };
        self.config_updates.with_label_values(&[result]).inc();
        self.config_restored(revision, quarantined);
        self.config_apply.observe(took.as_secs_f64());
    }

    /// What is in force came from disk, or is in force now.
    pub fn config_restored(&self, revision: u64, quarantined: &[Quarantined]) {
        self.config_revision
            .set(i64::try_from(revision).unwrap_or(i64::MAX));
        self.config_quarantined
            .set(i64::try_from(quarantined.len()).unwrap_or(i64::MAX));
    }

    /// A revision is on disk, in a file of so many bytes.
    pub fn config_kept(&self, revision: u64, bytes: u64) {
        for (figure, value) in [("revision", revision), ("bytes", bytes)] {
            self.config_kept
                .with_label_values(&[figure])
                .set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }

    /// Prometheus text format.
    ///
    /// # Errors
    /// When a metric cannot be written as text, which is a programming error.
    pub fn encode(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::with_capacity(16 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

fn name(short: &str) -> String {
    format!("outrider_{short}")
}

fn counters(
    r: &Registry,
    short: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    let made = IntCounterVec::new(Opts::new(name(short), help), labels)?;
    r.register(Box::new(made.clone()))?;
    Ok(made)
}

fn counter(r: &Registry, short: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    let made = IntCounter::new(name(short), help)?;
    r.register(Box::new(made.clone()))?;
    Ok(made)
}

fn gauges(
    r: &Registry,
    short: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntGaugeVec, prometheus::Error> {
    let made = IntGaugeVec::new(Opts::new(name(short), help), labels)?;
    r.register(Box::new(made.clone()))?;
    Ok(made)
}

fn gauge(r: &Registry, short: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    let made = IntGauge::new(name(short), help)?;
    r.register(Box::new(made.clone()))?;
    Ok(made)
}

fn histogram(r: &Registry, short: &str, help: &str) -> Result<Histogram, prometheus::Error> {
    let made = Histogram::with_opts(
        HistogramOpts::new(name(short), help).buckets(LATENCY_BUCKETS.to_vec()),
    )?;
    r.register(Box::new(made.clone()))?;
    Ok(made)
}
