//! The routing table in force: one [`ArcSwap`] of one [`Snapshot`].
//!
//! A transaction of the control plane becomes a new snapshot and one store, so a request sees
//! all of a revision or none. A request loads the table once and keeps it to its end.

mod catch_up;
mod kept;
mod mark;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use outrider_config::snapshot::{Quarantined, Snapshot, Transaction, Version};
use outrider_store::Clock;
use outrider_xds::{NotDurable, Table};
use tokio::sync::watch;

use self::catch_up::CatchUp;
pub use self::catch_up::{HeadSource, Missing};
pub use self::kept::Kept;
use self::mark::MarkFile;
use crate::StartError;
use crate::egress::Egress;
use crate::metrics::Metrics;
use crate::queue::Queue;

/// The routing table. Cheap to clone; all clones are one table.
#[derive(Clone)]
pub struct RoutingTable {
    current: Arc<ArcSwap<Snapshot>>,
    version: watch::Sender<Option<Version>>,
    catch_up: Arc<CatchUp>,
    mark: Arc<Mutex<MarkFile>>,
    kept: Arc<Kept>,
    queue: Option<Queue>,
    /// Follows what may not be called.
    egress: Option<Egress>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

impl RoutingTable {
    /// A table of what was kept, or an empty one; the data plane is not ready before its first
    /// version. Lanes that were parked for want of configuration go on after each change. `mark`
    /// is the file that remembers which journal was followed. `queue` is none where nothing is
    /// delivered.
    ///
    /// # Errors
    /// [`StartError::Note`]: that file is there and cannot be read.
    pub fn new(
        mark: PathBuf,
        mut kept: Kept,
        queue: impl Into<Option<Queue>>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StartError> {
        let opened = MarkFile::open(mark.clone());
        let mark = opened.map_err(|source| StartError::Note { path: mark, source })?;
        // Taken out: what stays here would keep every resource of the start in memory.
        let restored = std::mem::take(&mut kept.snapshot);
        let snapshot = match restored.version() {
            // Its journal was left for another one, of which nothing could be kept: what is
            // missing in it is not deleted.
            Some(version) if !mark.is_of(version.journal) => {
                tracing::warn!(
                    "the kept configuration is of a journal that was left; the control plane is needed to go on"
                );
                kept.forget();
                Snapshot::empty()
            }
            _ => restored,
        };
        if let Some(Version { revision, .. }) = snapshot.version() {
            let quarantined: Vec<Quarantined> = snapshot.quarantined().collect();
            metrics.config_restored(revision, &quarantined);
        }
        let version = watch::Sender::new(snapshot.version());
        Ok(Self {
            current: Arc::new(ArcSwap::from_pointee(snapshot)),
            kept: Arc::new(kept),
            catch_up: Arc::new(CatchUp::new(version.subscribe())),
            version,
            mark: Arc::new(Mutex::new(mark)),
            queue: queue.into(),
            egress: None,
            clock,
            metrics,
        })
    }

    /// The same, whose closings the way out follows: from what was kept on, so that none is
    /// forgotten in a restart.
    #[must_use]
    pub fn closing(self, egress: Egress) -> Self {
        egress.set_closings(self.load().closings());
        Self {
            egress: Some(egress),
            ..self
        }
    }

    /// Since when the configuration comes from the present journal, Unix milliseconds: what was
    /// accepted before cannot be judged by what is missing in it.
    #[must_use]
    pub fn journal_since_ms(&self) -> i64 {
        self.mark
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .since_ms()
    }

    fn follow(&self, journal: outrider_webhook::id::Uid) {
        let mut mark = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = mark.follow(journal, self.clock.now_ms()) {
            // In memory it holds; what is lost is its memory over a restart.
            tracing::error!(%error, "the followed journal cannot be noted");
        }
    }

    /// The snapshot in force.
    #[must_use]
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Sets whom to ask for the control plane's head. Until then, and without a source, what is
    /// unknown is refused at once. False when a source was set before, which stays.
    pub fn set_head_source(&self, source: Arc<dyn HeadSource>) -> bool {
        self.catch_up.set_source(source)
    }

    /// A newer snapshot than `known`, in which `missing` was not found: the control plane may
    /// have it already (RULINGS 14). Waits up to 250 ms; `None` when there is nothing newer.
    pub async fn catch_up(&self, known: &Snapshot, missing: Missing<'_>) -> Option<Arc<Snapshot>> {
        let is_newer = self.catch_up.wait(missing, known.version()).await;
        is_newer.then(|| self.load())
    }

    /// Follows the version in force; `None` until the first one.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Option<Version>> {
        self.version.subscribe()
    }
}

impl Table for RoutingTable {
    fn version(&self) -> Option<Version> {
        let in_force = *self.version.borrow();
        self.kept.version(in_force)
    }

    fn apply(&self, transaction: Transaction) -> Result<Vec<Quarantined>, NotDurable> {
        let started = Instant::now();
        self.follow(transaction.version.journal);
        let (snapshot, quarantined) = self.current.load().apply(&transaction);
        let snapshot = Arc::new(snapshot);
        // Before the rest: an endpoint that is new with a policy is never called without it.
        if let Some(egress) = &self.egress {
            egress.set_closings(snapshot.closings());
        }
        self.current.store(Arc::clone(&snapshot));
        self.version.send_replace(Some(transaction.version));
        if let Some(queue) = &self.queue {
            queue.unpark();
        }
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
        // In force before it is on disk, acknowledged after (RULINGS 13).
        self.kept.keep(&transaction, &snapshot, &self.metrics)?;
        Ok(quarantined)
    }
}
