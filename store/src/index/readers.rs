//! Reading connections: a few, kept, each used by one reader at a time.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

use super::{IndexError, schema};

/// Connections kept; more are opened when more readers come at once, and closed after.
const KEPT_MAX: usize = 8;

#[derive(Debug)]
pub(super) struct Readers {
    dir: PathBuf,
    idle: Mutex<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    connections: Vec<Connection>,
    /// Counts the files there were: a connection to a deleted one is not kept.
    generation: u64,
}

impl Readers {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            idle: Mutex::default(),
        }
    }

    /// Runs `read` on a connection, in one transaction: it sees one state of the index.
    pub(super) fn with<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, IndexError>,
    ) -> Result<T, IndexError> {
        let (kept, generation) = {
            let mut idle = self.idle();
            (idle.connections.pop(), idle.generation)
        };
        let mut connection = match kept {
            Some(connection) => connection,
            None => schema::reader(&self.dir)?,
        };
        let result = {
            let transaction = connection.transaction()?;
            read(&transaction)
        };
        let mut idle = self.idle();
        if result.is_ok() && idle.generation == generation && idle.connections.len() < KEPT_MAX {
            idle.connections.push(connection);
        }
        result
    }

    /// The file is about to be another one.
    pub(super) fn close(&self) {
        let mut idle = self.idle();
        idle.generation += 1;
        idle.connections.clear();
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
