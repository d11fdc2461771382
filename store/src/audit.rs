//! Audit: from the segments of a stopped log alone, that every accepted event has exactly one
//! fate for each of its deliveries, and that the log is what was written.
//!
//! Reads with the scanner of recovery and changes nothing: no meta file, no tail,
//! not even the lock. Does not look at the index, which proves nothing, and does not repair.
//!
//! ```text
//! segments -> walk.rs: groups, headers, chain, what is missing -> fold.rs: records -> known.rs
//!                                       `-> report.rs <-'
//! ```
//! What a missing stretch could explain is not held against the log: behind a segment that
//! retention dropped, or damage that a salvage gave up, a record may speak of what is not there
//! any more. The [`Report`] counts such records.
//!
//! One pass. Memory: 24 bytes for each event and 8 for each of its deliveries, about 100 for each
//! of the newest 2,000,000 idempotency keys, 16 for each zeroed payload until its ERASE comes, and
//! one group.

mod fold;
mod known;
mod report;
mod walk;

use std::path::{Path, PathBuf};

pub use self::report::{Code, EventPoint, Fates, Records, Report, Stretch, Violation};
use self::walk::Walk;
use crate::dir::{self, FileError, Held, Meta, MetaError};

/// A log could not be audited.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A process has the log open, or opened it during the audit.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// There is no log.
    #[error("there is no event log: {} was looked for", .0.display())]
    NoLog(PathBuf),
    /// `meta.json` cannot be used, and without it no record can be read.
    #[error(transparent)]
    Meta(MetaError),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl From<MetaError> for Error {
    fn from(error: MetaError) -> Self {
        match error {
            MetaError::File(error) => Self::File(error),
            error => Self::Meta(error),
        }
    }
}

/// Audits the log in `dir`, which no process may have open. Blocks, for as long as it takes to
/// read the log once.
///
/// # Errors
/// [`Error`]: it could not be read. What is wrong with what could be read is in the [`Report`].
pub fn run(dir: &Path) -> Result<Report, Error> {
    let in_use = || Error::InUse(dir.to_owned());
    let lock = match dir::lock_for_reading(dir)? {
        Held::Ours(lock) => Some(lock),
        Held::Missing => None,
        Held::Theirs => return Err(in_use()),
    };
    let (meta, numbers) = find(dir)?;
    let mut walk = Walk::new(dir, &meta);
    walk.read(&numbers)?;
    match lock {
        Some(lock) => drop(lock),
        // A copy has none. Who opened it meanwhile made one.
        None if !matches!(dir::lock_for_reading(dir)?, Held::Missing) => return Err(in_use()),
        None => {}
    }
    Ok(walk.finish(&numbers))
}

/// The meta file and the numbers of the segments, each once.
fn find(dir: &Path) -> Result<(Meta, Vec<u32>), Error> {
    let path = dir::meta_path(dir);
    let meta = match Meta::read(dir) {
        Err(MetaError::File(error)) if dir::is_absent(&error.source) => None,
        read => read?,
    };
    let mut numbers = match dir::segments(dir) {
        Err(error) if dir::is_absent(&error.source) => return Err(Error::NoLog(path)),
        read => read?,
    };
    numbers.dedup();
    match meta {
        Some(meta) => Ok((meta, numbers)),
        None if numbers.is_empty() => Err(Error::NoLog(path)),
        None => Err(MetaError::Missing(path).into()),
    }
}
