//! Workers that panic.

use std::time::Duration;

use tokio::time::Instant;

use super::schedule::LeaseId;
use super::{Lease, Queue};

/// So much later a delivery comes back whose worker has panicked: what made him panic may do so
/// again, and its receiver may have had it.
const LOST_AFTER: Duration = Duration::from_secs(5);

/// Held by a worker while he has a lease. Should he panic, his delivery comes back as one of a
/// lost worker, soon, and also when it has an answer already, from where on it has no deadline:
/// there is no record of that attempt, so it is made again, or ends as `outcome_unknown` where it
/// may arrive once only.
#[must_use = "it watches as long as it lives"]
pub(crate) struct Watch<'q> {
    queue: &'q Queue,
    lease: LeaseId,
}

impl Queue {
    /// Watches who has this lease.
    pub(crate) fn watch(&self, lease: &Lease) -> Watch<'_> {
        Watch {
            queue: self,
            lease: lease.id,
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        // A worker that is cut off, or that finds the log closed, keeps what he has: the process
        // ends, and must not begin it once more.
        if std::thread::panicking() {
            let deadline = Instant::now() + LOST_AFTER;
            self.queue.state().schedule.lose(self.lease, deadline);
            self.queue.shared.wake.notify_one();
        }
    }
}
