//! What the client half needs from the data plane: the table that transactions are applied to.

use outrider_config::{Quarantined, Transaction, Version};

/// Implemented by the data plane.
pub trait Table: Send + Sync + 'static {
    /// The version to resume from; `None` for everything. It is the one in force or, where the
    /// table is made durable, the one that is. Called once per connection, on the runtime: must
    /// not block.
    fn version(&self) -> Option<Version>;

    /// Puts a transaction in force, as a whole, and makes it durable where the table does that.
    /// When this returns the transaction is acknowledged. May block: it runs on a blocking thread.
    ///
    /// Returns every resource that is in quarantine **after** it, also those of earlier
    /// transactions, so that the control plane always shows the present state.
    ///
    /// # Errors
    /// [`NotDurable`]: it is in force, and not durable. It is not acknowledged; the client
    /// connects again and resumes from [`Table::version`].
    fn apply(&self, transaction: Transaction) -> Result<Vec<Quarantined>, NotDurable>;
}

/// A transaction could not be made durable.
#[derive(Debug, thiserror::Error)]
#[error("the configuration could not be made durable: {0}")]
pub struct NotDurable(#[source] pub std::io::Error);
