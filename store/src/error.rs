//! How the log refuses, fails and ends.

use std::io;
use std::path::PathBuf;

use crate::dir::{FileError, MetaError};
use crate::event::Position;
use crate::scan::ScanError;

/// The log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{} is in use by another process", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// The segment size is too small, or beyond what a record's length can say.
    #[error("segments of {bytes} bytes: at least {min} and at most {max} are possible")]
    SegmentBytes {
        /// The size of the options.
        bytes: u64,
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
    },
    /// `meta.json` cannot be used.
    #[error(transparent)]
    Meta(#[from] MetaError),
    /// The segments cannot be read.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// The end of the log is gone: the segments are whole up to where they end, too early.
    #[error(
        "the log ends at {end} and was synced up to {synced}: what was acknowledged in between is \
         gone. Restore the log from a backup, or remove {} and start with what is left", index.display()
    )]
    CutShort {
        /// Where it ends now.
        end: Position,
        /// Where it ended at least.
        synced: Position,
        /// The index that knows it.
        index: PathBuf,
    },
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// An event was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AcceptError {
    /// Too much waits to be written.
    #[error("too many events wait to be stored, try again")]
    Overloaded,
    /// The disk is full.
    #[error("there is no space left to store events")]
    DiskFull,
    /// The log failed or was closed. The event may or may not have been stored.
    #[error("the event log is not available")]
    Unavailable,
    /// The key is not among the recent ones, and the index is too far behind to say whether it
    /// was used before that.
    #[error("whether this idempotency key was used before cannot be told just now, try again")]
    KeyUnknown,
    /// The event is new, and was to be taken only as a repeat.
    #[error("the event repeats none that was accepted")]
    NoRepeat,
    /// The event does not fit in a segment.
    #[error("the event takes {bytes} bytes in the log, at most {max} are possible")]
    TooLarge {
        /// Bytes of its largest record.
        bytes: usize,
        /// Bytes a record may have.
        max: usize,
    },
    /// The event has more deliveries than can be told apart.
    #[error("the event has {targets} deliveries, at most {max} are possible")]
    TooManyTargets {
        /// Its deliveries.
        targets: usize,
        /// How many are possible.
        max: usize,
    },
}

impl AcceptError {
    /// Stable code for metric labels and API bodies: a closed set.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Overloaded => "overloaded",
            Self::DiskFull => "disk_full",
            Self::Unavailable => "log_unavailable",
            Self::KeyUnknown => "index_behind",
            Self::NoRepeat => "no_repeat",
            Self::TooLarge { .. } => "event_too_large",
            Self::TooManyTargets { .. } => "too_many_targets",
        }
    }

    /// When trying again makes sense, seconds; `None` when it never does.
    #[must_use]
    pub const fn retry_after_s(&self) -> Option<u32> {
        match self {
            Self::Overloaded | Self::KeyUnknown => Some(1),
            Self::DiskFull => Some(30),
            Self::Unavailable => Some(5),
            Self::NoRepeat | Self::TooLarge { .. } | Self::TooManyTargets { .. } => None,
        }
    }
}

/// The log takes no more records: it was closed, or it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the event log is closed")]
pub struct LogClosed;

/// Records were not recorded together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TogetherError {
    /// The log was closed or has failed; they may be durable or not, but all or none of them.
    #[error(transparent)]
    Closed(#[from] LogClosed),
    /// They do not fit in one group. None was recorded.
    #[error("{records} records of {bytes} bytes cannot be recorded together")]
    TooMuch {
        /// How many.
        records: usize,
        /// How large, in all.
        bytes: usize,
    },
}

/// The log cannot make anything durable any more. The process is expected to end and to start
/// again through recovery: after a failed sync nothing can be proven by reading (RULINGS 1).
#[derive(Debug, thiserror::Error)]
pub enum FatalError {
    /// A file operation failed; a sync is never tried again.
    #[error(transparent)]
    File(#[from] FileError),
    /// The writer ended by a panic: a bug.
    #[error("the writer of the log panicked")]
    Panicked,
}

/// The log was not closed in good order. What was acknowledged is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CloseError {
    /// The log had failed before, or was closed already.
    #[error("the event log had failed or was closed before")]
    Closed,
    /// There was no space for what still waited: outcomes of attempts, which are made again.
    #[error("there was no space left to record what still waited")]
    DiskFull,
}
