//! Workers that panic.

use tokio::time::Instant;

use super::schedule::LeaseId;
use super::{Lease, Queue};

/// Held by a worker while he has a lease. Should he panic, his delivery comes back as one of a
/// lost worker, after a while, and also when it has an answer already, from where on it has no deadline:
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
            let mut state = self.queue.state();
            state.schedule.lose(self.lease, Instant::now());
            drop(state);
            self.queue.shared.wake.notify_one();
        }
    }
}
