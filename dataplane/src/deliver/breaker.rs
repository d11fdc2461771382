//! What follows when the circuit breaker of an endpoint opens or closes.

use outrider_store::{EndpointCondition, EndpointStateRecord, LogClosed, Record};
use outrider_webhook::breaker::{Change, alert};
use outrider_webhook::pace::Load;

use super::Deliverer;
use super::attempt::Attempted;
use crate::disabled;
use crate::notices::{Notice, Trouble};
use crate::queue::Lease;

impl Deliverer {
    /// People may want to hear how much fails, whatever the breaker does.
    pub(super) fn watch_rate(&self, lease: &Lease, attempted: &Attempted, now_ms: i64) {
        let (Some(policy), Some(load)) = (&attempted.rate_alert, attempted.load) else {
            return;
        };
        let (project, endpoint) = (lease.entry.project, lease.entry.target.endpoint);
        let is_success = match load {
            Load::Fine => true,
            Load::Failing => false,
            Load::Busy => return, // it is there, and says so
        };
        let told = self
            .notices
            .attempted((project, endpoint), policy, is_success, now_ms);
        let to = match told {
            None => return,
            Some(alert::Change::Exceeded(rate)) => {
                tracing::warn!(endpoint_id = %endpoint, project_id = %project, attempts = rate.attempts, failures = rate.failures, "the endpoint fails too often");
                "exceeded"
            }
            Some(alert::Change::Recovered(rate)) => {
                tracing::info!(endpoint_id = %endpoint, project_id = %project, attempts = rate.attempts, failures = rate.failures, "the endpoint fails no longer too often");
                "recovered"
            }
        };
        let changes = &self.metrics.failure_rate_changes;
        changes.with_label_values(&[to]).inc();
    }

    /// It is recorded, so that it is known after a start as well.
    pub(super) async fn breaker_changed(
        &self,
        lease: &Lease,
        change: Change,
        attempted: &Attempted,
    ) -> Result<(), LogClosed> {
        let (project, endpoint) = (lease.entry.project, lease.entry.target.endpoint);
        let (to, condition, until_ms, in_a_row) = match change {
            Change::Opened { until_ms, trips } => {
                tracing::warn!(endpoint_id = %endpoint, project_id = %project, trips, until_ms, "the endpoint keeps failing, its breaker is open");
                let open = EndpointCondition::BreakerOpen;
                ("open", open, Some(until_ms), trips)
            }
            Change::Closed => {
                tracing::info!(endpoint_id = %endpoint, project_id = %project, "the endpoint is back, its breaker is closed");
                ("closed", EndpointCondition::Active, None, 0)
            }
        };
        self.metrics.breaker_changes.with_label_values(&[to]).inc();
        let changed = EndpointStateRecord {
            project,
            endpoint,
            at_ms: self.clock.now_ms(),
            condition,
            until_ms,
            activation_epoch: attempted.epoch,
            reason: Some("failure_rate".into()),
            trips: in_a_row,
        };
        let notice = Notice {
            project,
            endpoint,
            trouble: match change {
                Change::Opened { .. } => Trouble::BreakerOpened,
                Change::Closed => Trouble::BreakerClosed,
            },
            reason: "failure_rate".into(),
            rate: None,
            at_ms: changed.at_ms,
        };
        self.log.record(Record::EndpointState(changed)).await?;
        self.notices.tell(notice);
        match (change, attempted.trips_max) {
            (Change::Opened { trips, .. }, Some(trips_max)) if trips >= trips_max => {
                let (whom, epoch) = ((project, endpoint), attempted.epoch);
                let reason = disabled::KEEPS_FAILING;
                self.disabling.disable_as_of(whom, epoch, reason).await
            }
            _ => Ok(()),
        }
    }
}
