//! The control plane: stored configuration and its publication.
//!
//! Owns the revision journal and the REST API that changes it. Checks what is to be stored with
//! the very code that the data plane compiles it with, and publishes it as the [`RevisionLog`] of
//! the xDS server. It never talks to a data plane itself.

mod admin_key;
pub mod api;
mod journal;
mod random;

use std::path::Path;
use std::sync::Arc;

use outrider_config::Version;
use outrider_config::file::File;
use outrider_xds::RevisionLog;
use tokio::sync::Semaphore;

pub use admin_key::{AdminKey, AdminKeyError};
pub use journal::{
    ApplyError, Author, Change, ChangeError, Changed, Edit, Journal, JournalError, Op, Origin,
    Revision, Selection, Stored, View,
};

/// Who a resource file's changes are recorded under.
const FILE_ACTOR: &str = "resource file";

/// Reads under way at a time: each has a thread while it runs. The others wait for their turn.
const READS_MAX: usize = 16;

/// The control plane of one installation. Clones are the same one.
#[derive(Clone)]
pub struct ControlPlane {
    journal: Arc<Journal>,
    turns: Turns,
}

/// Whose turn it is to block a thread: changes are made one by one anyway.
#[derive(Clone)]
struct Turns {
    reads: Arc<Semaphore>,
    changes: Arc<Semaphore>,
}

/// The process is stopping, and what was asked for was not begun.
#[derive(Debug, thiserror::Error)]
#[error("the process is stopping")]
pub struct Stopping;

impl ControlPlane {
    /// Opens the journal in `dir`, or creates both; `now_ms` is Unix milliseconds. Blocks.
    ///
    /// # Errors
    /// [`JournalError`] when the journal cannot be opened or is of a newer version.
    pub fn open(dir: &Path, now_ms: i64) -> Result<Self, JournalError> {
        Ok(Self {
            journal: Arc::new(Journal::open(dir, now_ms)?),
            turns: Turns {
                reads: Arc::new(Semaphore::new(READS_MAX)),
                changes: Arc::new(Semaphore::new(1)),
            },
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
        let apply = move || journal.apply_file(&file, now_ms, FILE_ACTOR);
        blocking(&self.turns.changes, apply)
            .await
            .map_err(|Stopping| ApplyError::Cancelled)?
    }

    /// [`Journal::read`] off the runtime.
    ///
    /// # Errors
    /// What `look` says, [`JournalError`] and [`Stopping`].
    pub async fn read<T, E>(
        &self,
        look: impl FnOnce(&View<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<JournalError> + From<Stopping> + Send + 'static,
    {
        let journal = Arc::clone(&self.journal);
        blocking(&self.turns.reads, move || journal.read(look)).await?
    }

    /// [`Journal::change`] of the API, off the runtime. It runs to its end, whatever becomes of
    /// who asked for it.
    ///
    /// # Errors
    /// What `decide` says, [`ChangeError`] and [`Stopping`].
    pub async fn change<T, E>(
        &self,
        actor: String,
        now_ms: i64,
        decide: impl FnOnce(&View<'_>, &Author<'_>) -> Result<(Vec<Edit>, T), E> + Send + 'static,
    ) -> Result<Changed<T>, E>
    where
        T: Send + 'static,
        E: From<ChangeError> + From<Stopping> + Send + 'static,
    {
        let journal = Arc::clone(&self.journal);
        let change = move || {
            let by = Author {
                actor: &actor,
                origin: Origin::Api,
                now_ms,
            };
            journal.change(&by, |view| decide(view, &by))
        };
        blocking(&self.turns.changes, change).await?
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

    /// The journal itself. Its calls block.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }
}

/// Runs what blocks on a thread for such, when it is its turn.
async fn blocking<T: Send + 'static>(
    turns: &Arc<Semaphore>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Stopping> {
    let turn = Arc::clone(turns).acquire_owned().await;
    let turn = turn.map_err(|_| Stopping)?;
    let done = tokio::task::spawn_blocking(move || {
        let _turn = turn; // freed with the work, also when nobody waits for it any more
        work()
    });
    done.await.map_err(|failed| match failed.try_into_panic() {
        // The transaction of a panicking thread is rolled back; the panic is a bug and stays loud.
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Stopping,
    })
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
