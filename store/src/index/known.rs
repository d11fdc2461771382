//! What an index knows about its log before that log is opened: how far it was synced.
//!
//! A log whose end was cut off reads like one that ends there: only what lies behind could say
//! that it was synced, and that is gone. The index is written behind the sync, so it can say.

use std::path::{Path, PathBuf};

use super::{Index, IndexError, mark, schema, unsynced};
use crate::event::Position;

/// How far a log was synced at least, by what its index has taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    /// The index that says so.
    pub(crate) index: PathBuf,
    /// Which log: the salt of its checksums.
    pub(crate) log: u64,
    pub(crate) through: Position,
}

impl Index {
    /// How far the log was synced when the index in `dir` was last written; `None` when there is
    /// none, or none that can be trusted. Changes nothing. Blocks.
    #[must_use]
    pub fn synced(dir: &Path) -> Option<Synced> {
        // Whatever is wrong with it is told when it is opened, and then it is made again.
        read(dir).ok().flatten()
    }
}

fn read(dir: &Path) -> Result<Option<Synced>, IndexError> {
    if !super::file(dir).exists() || unsynced::is_suspect(dir)? || !schema::is_whole(dir)? {
        return Ok(None);
    }
    let reader = schema::reader(dir)?;
    if !schema::is_ours(&reader)? {
        return Ok(None);
    }
    Ok(mark::read(&reader)?.map(|mark| Synced {
        index: dir.to_owned(),
        log: mark.log,
        through: mark.position,
    }))
}
