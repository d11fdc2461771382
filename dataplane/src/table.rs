//! The routing table in force: one [`ArcSwap`] of one [`Snapshot`].
//!
//! A transaction of the control plane becomes a new snapshot and one store, so a request sees
//! all of a revision or none. A request loads the table once and keeps it to its end.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use outrider_config::snapshot::{Quarantined, Snapshot, Transaction, Version};
use outrider_xds::Table;
use tokio::sync::watch;

use crate::metrics::Metrics;
use crate::queue::Queue;

/// The routing table. Cheap to clone; all clones are one table.
#[derive(Clone)]
pub struct RoutingTable {
    current: Arc<ArcSwap<Snapshot>>,
    version: watch::Sender<Option<Version>>,
    queue: Queue,
    metrics: Arc<Metrics>,
}

impl RoutingTable {
    /// An empty table; the data plane is not ready before its first version. Lanes that were
    /// parked for want of configuration go on after each change.
    #[must_use]
    pub fn new(queue: Queue, metrics: Arc<Metrics>) -> Self {
        let current = Arc::new(ArcSwap::from_pointee(Snapshot::empty()));
        Self {
            current,
            version: watch::Sender::new(None),
            queue,
            metrics,
        }
    }

    /// The snapshot in force.
    #[must_use]
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Follows the version in force; `None` until the first one.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Option<Version>> {
        self.version.subscribe()
    }
}

impl Table for RoutingTable {
    fn version(&self) -> Option<Version> {
        *self.version.borrow()
    }

    fn apply(&self, transaction: Transaction) -> Vec<Quarantined> {
        let started = Instant::now();
        let (snapshot, quarantined) = self.current.load().apply(&transaction);
        self.current.store(Arc::new(snapshot));
        self.version.send_replace(Some(transaction.version));
        self.queue.unpark();
        self.metrics.config_applied(
            started.elapsed(),
            transaction.version.revision,
            &quarantined,
        );
        for refused in &quarantined {
            tracing::warn!(kind = refused.kind.as_str(), uid = %refused.uid, reason = %refused.reason, "resource quarantined");
        }
        tracing::info!(
            revision = transaction.version.revision,
            changed = transaction.upserts.len(),
            removed = transaction.removals.len(),
            is_full = transaction.is_full,
            "configuration in force"
        );
        quarantined
    }
}
