//! The control plane: stored configuration and its publication.
//!
//! Owns the revision journal. Checks what is to be stored with the very code that the data plane
//! compiles it with, and publishes it as the [`RevisionLog`] of the xDS server. It never talks
//! to a data plane itself.

mod journal;
mod random;

use std::path::Path;
use std::sync::Arc;

use outrider_config::Version;
use outrider_config::file::File;
use outrider_xds::RevisionLog;

pub use journal::{ApplyError, Change, Journal, JournalError, Op, Revision};

/// Who a resource file's changes are recorded under.
const FILE_ACTOR: &str = "resource file";

/// The control plane of one installation. Clones are the same one.
#[derive(Clone)]
pub struct ControlPlane {
    journal: Arc<Journal>,
}

impl ControlPlane {
    /// Opens the journal in `dir`, or creates both; `now_ms` is Unix milliseconds. Blocks.
    ///
    /// # Errors
    /// [`JournalError`] when the journal cannot be opened or is of a newer version.
    pub fn open(dir: &Path, now_ms: i64) -> Result<Self, JournalError> {
        Ok(Self {
            journal: Arc::new(Journal::open(dir, now_ms)?),
        })
    }

    /// Makes what the file says so: what it names is created or changed, and what an earlier
    /// file named and this one does not is removed. One revision, or none when nothing changes.
    ///
    /// # Errors
    /// [`ApplyError`]; nothing has changed then.
    pub async fn load_resources(
        &self,
        file: File,
        now_ms: i64,
    ) -> Result<Option<Revision>, ApplyError> {
        let journal = Arc::clone(&self.journal);
        let applied =
            tokio::task::spawn_blocking(move || journal.apply_file(&file, now_ms, FILE_ACTOR))
                .await;
        match applied {
            Ok(applied) => applied,
            // The transaction of a panicking thread is rolled back; the panic is a bug and stays loud.
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(ApplyError::Cancelled),
            },
        }
    }

    /// The journal as the xDS server reads it.
    #[must_use]
    pub fn revision_log(&self) -> Arc<dyn RevisionLog> {
        Arc::clone(&self.journal) as Arc<dyn RevisionLog>
    }

    /// The newest version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.journal.version()
    }

    /// The journal itself.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_loaded_file_is_announced_to_who_follows_the_log() {
        let dir = tempfile::TempDir::new().unwrap();
        let plane = ControlPlane::open(dir.path(), 0).unwrap();
        let mut head = plane.revision_log().head();
        let file = outrider_config::file::parse("projects: [{name: a, type: outgoing}]")
            .ok()
            .unwrap();
        assert_eq!(plane.load_resources(file, 1).await.unwrap(), Some(1));
        head.changed().await.unwrap();
        assert_eq!(*head.borrow(), plane.version());
    }
}
