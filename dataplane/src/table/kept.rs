//! What the table keeps on disk, where it does that.

use std::sync::{Mutex, PoisonError};

use outrider_config::snapshot::{Snapshot, Transaction};

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

    /// Makes durable what is in force now. What cannot be written is in force all the same: a
    /// full disk must not hold up the configuration.
    pub(super) fn keep(&self, transaction: &Transaction, after: &Snapshot, metrics: &Metrics) {
        let Some(log) = &self.log else { return };
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        match log.keep(transaction, after) {
            Ok(()) => metrics.config_kept(transaction.version.revision, log.bytes()),
            Err(error) => {
                metrics.config_keep_errors.inc();
                tracing::error!(%error, revision = transaction.version.revision, "the configuration could not be kept on disk: a restart without the control plane begins with an older one");
            }
        }
    }
}
