//! What the table keeps on disk, where it does that.

use std::sync::{Mutex, MutexGuard, PoisonError};

use outrider_config::snapshot::{Snapshot, Transaction, Version};
use outrider_xds::NotDurable;

use crate::metrics::Metrics;
use crate::state_log::StateLog;

/// What was kept, and where more is kept.
pub struct Kept {
    log: Option<Mutex<StateLog>>,
    pub(super) snapshot: Snapshot,
}

impl Kept {
    /// Nothing is kept: the journal of the control plane is in the same process.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            log: None,
            snapshot: Snapshot::empty(),
        }
    }

    /// Goes on from an opened log.
    #[must_use]
    pub fn in_log(log: StateLog, snapshot: Snapshot) -> Self {
        Self {
            log: Some(Mutex::new(log)),
            snapshot,
        }
    }

    /// What was kept is of no use: everything is needed.
    pub(super) fn forget(&self) {
        if let Some(log) = &self.log {
            lock(log).forget();
        }
    }

    /// The version to resume from, where one is kept; it may be older than the one in force.
    pub(super) fn version(&self, in_force: Option<Version>) -> Option<Version> {
        match &self.log {
            Some(log) => lock(log).version(),
            None => in_force,
        }
    }

    /// Makes durable what is in force now.
    pub(super) fn keep(
        &self,
        transaction: &Transaction,
        after: &Snapshot,
        metrics: &Metrics,
    ) -> Result<(), NotDurable> {
        let Some(log) = &self.log else { return Ok(()) };
        let mut log = lock(log);
        match log.keep(transaction, after) {
            Ok(()) => {
                metrics.config_kept(transaction.version.revision, log.bytes());
                Ok(())
            }
            Err(error) => {
                metrics.config_keep_errors.inc();
                tracing::error!(%error, revision = transaction.version.revision, "the configuration is in force and could not be kept on disk; it is asked for again");
                Err(NotDurable(error))
            }
        }
    }
}

/// What a panic left is what is on disk, or less: the log says so itself.
fn lock(log: &Mutex<StateLog>) -> MutexGuard<'_, StateLog> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}
