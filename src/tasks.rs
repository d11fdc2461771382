//! The tasks of a role beside its data plane: each has an owner that waits for it.

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Tasks that end together.
pub(crate) struct Tasks {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Tasks {
    /// Tasks that end when `stop` fires.
    pub(crate) const fn new(stop: CancellationToken) -> Self {
        Self {
            stop,
            tasks: Vec::new(),
        }
    }

    /// What they watch.
    pub(crate) fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// One or more of them.
    pub(crate) fn add(&mut self, tasks: impl IntoIterator<Item = JoinHandle<()>>) {
        self.tasks.extend(tasks);
    }

    /// Ends all of them, in good order.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            if task.await.is_err() {
                tracing::error!("a task ended with a panic");
            }
        }
    }
}
