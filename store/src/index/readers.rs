//! Reading connections: a few, kept, each used by one reader at a time.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

use super::{IndexError, schema};

/// Connections kept; more are opened when more readers come at once, and closed after.
const KEPT_MAX: usize = 8;

/// Which of the files that were the index one after the other; odd while there is none.
pub(super) type Generation = u64;

#[derive(Debug)]
pub(super) struct Readers {
    dir: PathBuf,
    idle: Mutex<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    connections: Vec<Connection>,
    /// A connection to a file that is gone is not kept.
    generation: Generation,
}

impl Readers {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            idle: Mutex::default(),
        }
    }

    /// Runs `read` on a connection, in one transaction: it sees one state of the index. An error
    /// comes with the file it is of. A connection is kept when `read` says so.
    pub(super) fn with<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<(T, bool), IndexError>,
    ) -> Result<T, (IndexError, Generation)> {
        let (kept, generation) = {
            let mut idle = self.idle();
            (idle.connections.pop(), idle.generation)
        };
        let of_this_file = |error: IndexError| (error, generation);
        let mut connection = match kept {
            Some(connection) => connection,
            None => schema::reader(&self.dir).map_err(of_this_file)?,
        };
        let result = {
            let transaction = connection.transaction();
            let transaction = transaction.map_err(|error| of_this_file(error.into()))?;
            read(&transaction).map_err(of_this_file)
        };
        let (value, is_good) = result?;
        let mut idle = self.idle();
        if is_good && idle.generation == generation && idle.connections.len() < KEPT_MAX {
            idle.connections.push(connection);
        }
        Ok(value)
    }

    /// Lets go of the connections.
    pub(super) fn close(&self) {
        self.idle().connections.clear();
    }

    /// The file is about to be another one. Lets go of the connections, here and at the end of
    /// it, so that none of the old file outlives the change.
    pub(super) fn begin_change(&self) {
        let mut idle = self.idle();
        idle.generation = (idle.generation + 1) | 1;
        idle.connections.clear();
    }

    /// The new file is there.
    pub(super) fn end_change(&self) {
        let mut idle = self.idle();
        idle.generation += 1;
        idle.connections.clear();
    }

    /// Whether this is the file that there is.
    pub(super) fn is_present(&self, generation: Generation) -> bool {
        generation.is_multiple_of(2) && self.generation() == generation
    }

    /// Whether somebody else has deleted the file.
    pub(super) fn is_gone(&self) -> bool {
        !super::file(&self.dir).exists()
    }

    pub(super) fn generation(&self) -> Generation {
        self.idle().generation
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
