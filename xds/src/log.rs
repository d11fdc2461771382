//! What the server half needs from the control plane: the revision journal.
//!
//! The calls block, so the server runs them on blocking threads and hands the results over
//! through short channels; a slow data plane therefore slows its own read only.

use std::error::Error as StdError;
use std::ops::ControlFlow;

use outrider_config::{Document, Transaction, Version};
use tokio::sync::watch;

/// Implemented by the control plane. All calls but [`RevisionLog::head`] may block.
pub trait RevisionLog: Send + Sync + 'static {
    /// The newest revision, and a signal whenever it moves.
    fn head(&self) -> watch::Receiver<Version>;

    /// Reads everything in one consistent read, in chunks of at most 2,000 documents, and
    /// returns the version that was read. `each` may stop the read; the version then does not
    /// matter.
    ///
    /// # Errors
    /// When the journal cannot be read.
    fn read_full(
        &self,
        each: &mut dyn FnMut(Vec<Document>) -> ControlFlow<()>,
    ) -> Result<Version, RevisionLogError>;

    /// Reads the changes after `revision`, oldest first, one transaction per revision. `each`
    /// may stop the read; the result then does not matter.
    ///
    /// # Errors
    /// When the journal cannot be read.
    fn read_since(
        &self,
        revision: u64,
        each: &mut dyn FnMut(Transaction) -> ControlFlow<()>,
    ) -> Result<Since, RevisionLogError>;
}

/// How a read of the tail ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// Everything up to this version was handed over.
    UpTo(Version),
    /// The revision is older than the kept tail, or not of this journal: a full read is needed.
    /// Nothing was handed over.
    Gone,
}

/// The journal could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RevisionLogError {
    /// The storage below failed.
    #[error("the revision journal cannot be read")]
    Read(#[source] Box<dyn StdError + Send + Sync>),
    /// What was read is not what was written.
    #[error("the revision journal holds what it should not: {0}")]
    Corrupt(String),
}

impl RevisionLogError {
    /// Wraps an error of the storage.
    pub fn read(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Read(source.into())
    }

    /// Stable code for metric labels and API bodies: a closed set.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Read(_) => "journal_read",
            Self::Corrupt(_) => "journal_corrupt",
        }
    }
}
