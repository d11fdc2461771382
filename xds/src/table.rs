//! What the client half needs from the data plane: the table that transactions are applied to.

use outrider_config::{Quarantined, Transaction, Version};

/// Implemented by the data plane.
pub trait Table: Send + Sync + 'static {
    /// The version in force; `None` before the first transaction. A table that was restored
    /// from disk names the version it was restored to, and the client resumes from there. Called
    /// once per connection, on the runtime: must not block.
    fn version(&self) -> Option<Version>;

    /// Puts a transaction in force, as a whole, and makes it durable where the table does that.
    /// When this returns the transaction is acknowledged. May block: it runs on a blocking thread.
    ///
    /// Returns every resource that is in quarantine **after** it, also those of earlier
    /// transactions, so that the control plane always shows the present state.
    fn apply(&self, transaction: Transaction) -> Vec<Quarantined>;
}
