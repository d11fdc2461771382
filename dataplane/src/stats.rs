//! Figures that are read when somebody asks: queue, log, egress, configuration.

use std::sync::Arc;

use outrider_store::{Clock, Index, LocalLog};
use outrider_webhook::id::SourceId;
use serde_json::Value;

use crate::alerts::Alerts;
use crate::egress::Egress;
use crate::ingest::rejected::Rejected;
use crate::made::MadeEndpoints;
use crate::metrics::Metrics;
use crate::queue::Queue;
use crate::table::RoutingTable;

/// What the admin listener shows.
pub trait Figures: Send + Sync {
    /// The configuration in force, without secrets.
    fn config_dump(&self) -> Value;
    /// The newest requests a source refused.
    fn rejected(&self, source: SourceId) -> Value;
    /// The alerts of sources that are raised.
    fn alerts(&self) -> Value;
    /// The revision in force.
    fn revision(&self) -> Option<u64>;
    /// Prometheus text, with the gauges brought up to date.
    ///
    /// # Errors
    /// When a metric cannot be written as text, which is a programming error.
    fn prometheus(&self) -> Result<Vec<u8>, prometheus::Error>;
}

/// Those of a data plane.
pub struct Stats {
    pub(crate) table: RoutingTable,
    pub(crate) queue: Queue,
    pub(crate) log: LocalLog,
    pub(crate) index: Index,
    pub(crate) egress: Egress,
    pub(crate) rejected: Rejected,
    pub(crate) alerts: Alerts,
    pub(crate) made: MadeEndpoints,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Figures for Stats {
    fn config_dump(&self) -> Value {
        self.table.load().dump()
    }

    fn rejected(&self, source: SourceId) -> Value {
        self.rejected.shown(source, usize::MAX)
    }

    fn alerts(&self) -> Value {
        self.alerts.shown(None)
    }

    fn revision(&self) -> Option<u64> {
        self.table.load().version().map(|version| version.revision)
    }

    fn prometheus(&self) -> Result<Vec<u8>, prometheus::Error> {
        self.refresh_queue();
        self.refresh_log();
        refresh_egress(&self.egress, &self.metrics);
        let made = gauge(self.made.waiting());
        self.metrics.made_endpoints.set(made);
        self.metrics.encode()
    }
}

impl Stats {
    fn refresh_queue(&self) {
        let depth = self.queue.depth();
        let figures = [
            ("ready", depth.ready),
            ("scheduled", depth.scheduled),
            ("leased", depth.leased),
            ("held", depth.held),
            ("in_line", depth.in_line),
        ];
        for (state, count) in figures {
            self.metrics
                .queue_depth
                .with_label_values(&[state])
                .set(gauge(count));
        }
        let lanes = [
            ("open", depth.lanes_open),
            ("probing", depth.lanes_probing),
            ("paced", depth.lanes_paced),
        ];
        for (state, count) in lanes {
            let lanes = self.metrics.lanes.with_label_values(&[state]);
            lanes.set(gauge(count));
        }
        self.metrics
            .leases_expired
            .set(i64::try_from(depth.leases_expired).unwrap_or(i64::MAX));
        let now_ms = self.clock.now_ms();
        let age_ms = self
            .queue
            .oldest_due_ms()
            .map_or(0, |due_ms| now_ms.saturating_sub(due_ms));
        self.metrics.queue_oldest_age.set(age_ms.max(0) / 1000);
    }

    fn refresh_log(&self) {
        for (figure, value) in self.log.stats().figures() {
            self.metrics
                .log
                .with_label_values(&[figure])
                .set(i64::try_from(value).unwrap_or(i64::MAX));
        }
        for (figure, value) in self.index.stats().figures() {
            self.metrics
                .index
                .with_label_values(&[figure])
                .set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }
}

/// Brings the gauges of the way out up to date.
pub(crate) fn refresh_egress(egress: &Egress, metrics: &Metrics) {
    for (figure, value) in egress.stats().figures() {
        metrics
            .egress
            .with_label_values(&[figure])
            .set(i64::try_from(value).unwrap_or(i64::MAX));
    }
    let version = i64::try_from(egress.policy_version()).unwrap_or(i64::MAX);
    metrics.egress_policy_version.set(version);
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
