//! Endpoints that this data plane switched off by itself (RULINGS 16): the receiver is gone, or
//! deliveries used up their attempts.
//!
//! That one is switched off is in the log and holds at once: its deliveries are discarded as those
//! of an endpoint that a person switched off. It is offered to the control plane until that has
//! made a revision of it. The configuration counts how often a person switched the endpoint on,
//! and a larger count than the one it was decided under ends it here.

mod desk;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use outrider_config::Version;
use outrider_config::snapshot::{Endpoint, EndpointStatus, Project, Snapshot};
use outrider_store::{
    Clock, EndpointCondition, EndpointStateRecord, LocalLog, LogClosed, Record, Recovered,
};
use outrider_webhook::address::Denial;
use outrider_webhook::id::{EndpointId, ProjectId};
use outrider_webhook::retry::{GiveUp, Outcome, Step};
use outrider_xds::DisabledEndpoint;
use tokio::sync::watch;

pub(crate) use self::desk::Desk;
use crate::metrics::Metrics;
use crate::notices::{Notice, Notices, Trouble};
use crate::table::RoutingTable;

/// The receiver answered 410.
const GONE: &str = "gone";
/// A delivery used up its attempts, or its time.
const RETRIES_EXHAUSTED: &str = "retries_exhausted";
/// Its circuit breaker has opened too often in a row.
pub(crate) const KEEPS_FAILING: &str = "keeps_failing";

/// Why an attempt that ended so switches its endpoint off: a stable code. A fault of our own says
/// nothing of the receiver; nor does what a policy of the configuration refused, which may be a
/// mistake that is taken back.
pub(crate) fn cause(
    step: &Step,
    (outcome, denial): (&Outcome, Option<&Denial>),
    project: &Project,
) -> Option<&'static str> {
    let is_ours = matches!(outcome, Outcome::Failed(failure) if failure.is_infrastructure());
    if is_ours || denial.is_some_and(Denial::is_by_policy) {
        return None;
    }
    if project.is_own() {
        return None; // where meta events go is a setting of the project
    }
    match step {
        Step::GiveUp(GiveUp::Gone) => Some(GONE),
        Step::GiveUp(GiveUp::RetryLimitExceeded | GiveUp::AgeLimitExceeded) => {
            project.disables_endpoints().then_some(RETRIES_EXHAUSTED)
        }
        Step::GiveUp(_) | Step::Success | Step::RetryAfter(_) => None,
    }
}

/// The endpoints that are switched off here. Cheap to clone; all clones are the same ones.
#[derive(Clone)]
pub struct Disabling {
    inner: Arc<Inner>,
}

struct Inner {
    table: RoutingTable,
    log: LocalLog,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    notices: Notices,
    kept: Mutex<HashMap<EndpointId, Disabled>>,
    /// How many there are: nearly always none, and then nobody takes the lock.
    count: AtomicUsize,
    /// Counts changes that the desk waits for.
    changes: watch::Sender<u64>,
}

#[derive(Clone)]
struct Disabled {
    project: ProjectId,
    /// The activation epoch that it was decided under.
    epoch: u64,
    reason: Box<str>,
    state: State,
}

/// How far it is on its way into the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It is to be offered.
    Wanted,
    /// The control plane has it, as of this version.
    Taken(Version),
    /// The control plane will not have it; it holds here.
    Refused,
}

impl Disabled {
    /// Whether the configuration says as much, or more.
    fn is_settled_by(&self, id: EndpointId, snapshot: &Snapshot) -> bool {
        let table = snapshot.project(self.project);
        let endpoint = table.and_then(|table| table.endpoint(id));
        let is_there = endpoint.is_some_and(|endpoint| {
            let (status, epoch) = (endpoint.status(), endpoint.activation_epoch());
            epoch > self.epoch || (epoch == self.epoch && status == EndpointStatus::Inactive)
        });
        let is_over = match (self.state, snapshot.version()) {
            (State::Taken(taken), Some(now)) => {
                taken.journal == now.journal && taken.revision <= now.revision
            }
            _ => false,
        };
        is_there || is_over
    }
}

impl fmt::Debug for Disabling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disabling").finish_non_exhaustive()
    }
}

impl Disabling {
    /// Nothing is switched off yet.
    #[must_use]
    pub fn new(
        table: RoutingTable,
        log: LocalLog,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        notices: Notices,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                table,
                log,
                clock,
                metrics,
                notices,
                kept: Mutex::default(),
                count: AtomicUsize::new(0),
                changes: watch::Sender::new(0),
            }),
        }
    }

    /// Switches an endpoint off, under the configuration that had this activation epoch: what a
    /// person switched on since stays on. Nothing happens when it is off.
    ///
    /// # Errors
    /// [`LogClosed`]: it holds until the process ends.
    pub(crate) async fn disable_as_of(
        &self,
        (project, endpoint): (ProjectId, EndpointId),
        epoch: u64,
        reason: &'static str,
    ) -> Result<(), LogClosed> {
        let disabled = Disabled {
            project,
            epoch,
            reason: reason.into(),
            state: State::Wanted,
        };
        if disabled.is_settled_by(endpoint, &self.inner.table.load())
            || !self.insert(endpoint, disabled.clone())
        {
            return Ok(());
        }
        tracing::warn!(endpoint_id = %endpoint, project_id = %project, reason, "endpoint switched off");
        // What the attempt itself left in the log stands before it, so that is on disk as well.
        let record = self.record(endpoint, &disabled);
        self.inner.log.record_synced(record).await?;
        let counter = &self.inner.metrics.endpoints_disabled;
        counter.with_label_values(&[reason]).inc();
        self.inner.notices.tell(Notice {
            project,
            endpoint,
            trouble: Trouble::Disabled,
            reason: reason.into(),
            rate: None,
            at_ms: self.inner.clock.now_ms(),
        });
        Ok(())
    }

    /// Whether this endpoint of the configuration is switched off here.
    pub(crate) fn is_off(&self, endpoint: &Endpoint) -> bool {
        if self.inner.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        let kept = self.kept();
        let disabled = kept.get(&endpoint.id());
        disabled.is_some_and(|disabled| disabled.epoch >= endpoint.activation_epoch())
    }

    /// Takes up what the log says. It is recorded again, so that no retention of the log ends it.
    pub(crate) async fn restore(&self, found: Vec<EndpointStateRecord>) {
        let snapshot = self.inner.table.load();
        for state in found {
            let disabled = Disabled {
                project: state.project,
                epoch: state.activation_epoch,
                reason: state.reason.unwrap_or_else(|| GONE.into()),
                state: State::Wanted,
            };
            if disabled.is_settled_by(state.endpoint, &snapshot) {
                continue;
            }
            let record = self.record(state.endpoint, &disabled);
            self.insert(state.endpoint, disabled);
            if self.inner.log.record(record).await.is_err() {
                tracing::debug!(endpoint_id = %state.endpoint, "the log is closed");
            }
        }
    }

    /// True when it was not switched off under this epoch or a later one.
    fn insert(&self, endpoint: EndpointId, disabled: Disabled) -> bool {
        let mut kept = self.kept();
        let was = kept.get(&endpoint);
        if was.is_some_and(|was| was.epoch >= disabled.epoch) {
            return false;
        }
        kept.insert(endpoint, disabled);
        self.count(&kept);
        drop(kept);
        self.inner.changes.send_modify(|changes| *changes += 1);
        true
    }

    fn record(&self, endpoint: EndpointId, disabled: &Disabled) -> Record {
        Record::EndpointState(EndpointStateRecord {
            project: disabled.project,
            endpoint,
            at_ms: self.inner.clock.now_ms(),
            condition: EndpointCondition::Disabled,
            until_ms: None,
            activation_epoch: disabled.epoch,
            reason: Some(disabled.reason.clone()),
            trips: 0,
        })
    }

    /// Lets go of what the configuration has decided.
    fn settle(&self, snapshot: &Snapshot) {
        if self.inner.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut kept = self.kept();
        kept.retain(|id, disabled| !disabled.is_settled_by(*id, snapshot));
        self.count(&kept);
    }

    /// Some that are to be offered and are not among `offered`, which are under way.
    fn wanted(&self, offered: &[EndpointId], max: usize) -> Vec<DisabledEndpoint> {
        let kept = self.kept();
        let wanted = kept
            .iter()
            .filter(|(id, one)| one.state == State::Wanted && !offered.contains(id));
        let offers = wanted.map(|(id, one)| DisabledEndpoint {
            project: one.project,
            endpoint: *id,
            activation_epoch: one.epoch,
            reason: one.reason.to_string(),
        });
        offers.take(max).collect()
    }

    /// What became of an offer, unless it was switched off once more since.
    fn set_state(&self, offer: &DisabledEndpoint, state: State) {
        if let Some(one) = self.kept().get_mut(&offer.endpoint)
            && one.epoch == offer.activation_epoch
        {
            one.state = state;
        }
    }

    fn count(&self, kept: &HashMap<EndpointId, Disabled>) {
        self.inner.count.store(kept.len(), Ordering::Release);
        let count = i64::try_from(kept.len()).unwrap_or(i64::MAX);
        self.inner.metrics.endpoints_off.set(count);
    }

    /// Each change to it is whole in itself, so what a panic left is good.
    fn kept(&self) -> MutexGuard<'_, HashMap<EndpointId, Disabled>> {
        let kept = self.inner.kept.lock();
        kept.unwrap_or_else(PoisonError::into_inner)
    }
}

/// What of the recovered conditions is about this.
pub(crate) fn found(recovered: &Recovered) -> Vec<EndpointStateRecord> {
    let states = recovered.endpoint_states.iter();
    let disabled = states.filter(|state| state.condition == EndpointCondition::Disabled);
    disabled.cloned().collect()
}
