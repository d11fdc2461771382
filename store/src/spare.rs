//! The next segment, made ahead of time on a thread of its own, and the room left on the disk.
//!
//! Making a segment takes milliseconds, which would otherwise be in front of somebody's reply.
//! The spare is also what completions are recorded in when the disk is full: a new one is made
//! only while the volume keeps its reserve (RULINGS 10).

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::dir::FileError;
use crate::options::Options;
use crate::segment::{SegmentFile, SegmentHeader};

/// How often the room on the disk is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(1);
/// The reserve is at most this (RULINGS 10).
const RESERVE_BYTES_MAX: u64 = 2 << 30;
/// The reserve is at most this share of the volume: 5 %.
const RESERVE_SHARE: u64 = 20;

/// Room on the volume, for everybody to look at.
#[derive(Debug, Default)]
pub(crate) struct Room {
    free_bytes: AtomicU64,
    is_full: AtomicBool,
}

impl Room {
    /// Bytes free on the volume when last measured.
    pub(crate) fn free_bytes(&self) -> u64 {
        self.free_bytes.load(Ordering::Relaxed)
    }

    /// Whether no further events may be taken.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }
}

/// The writer's side.
#[derive(Debug)]
pub(crate) struct Spares {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    room: Arc<Room>,
    dir: PathBuf,
    segment_bytes: u64,
    free_bytes_min: Option<u64>,
    #[cfg(test)]
    faults: crate::segment::Faults,
}

#[derive(Debug, Default)]
struct State {
    wanted: Option<SegmentHeader>,
    made: Option<Result<SegmentFile, FileError>>,
    has_no_space: bool,
    is_stopped: bool,
}

/// What came of asking for the next segment.
#[derive(Debug)]
pub(crate) enum Taken {
    Segment(SegmentFile),
    /// The disk is full; ask again later.
    NoSpace,
}

impl Spares {
    /// Starts the thread and has it make the first spare.
    pub(crate) fn start(
        options: &Options,
        room: Arc<Room>,
        first: SegmentHeader,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                wanted: Some(first),
                ..State::default()
            }),
            changed: Condvar::new(),
            room,
            dir: options.dir.clone(),
            segment_bytes: options.segment_bytes,
            free_bytes_min: options.free_bytes_min,
            #[cfg(test)]
            faults: options.faults.clone(),
        });
        shared.measure(false);
        let worker = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("outrider-spare".into())
            .spawn(move || worker.run())?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// The segment that was asked for; waits while it is being made.
    pub(crate) fn take(&self) -> Result<Taken, FileError> {
        let mut state = self.shared.state();
        while state.made.is_none() && !state.has_no_space {
            if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
                let ended = io::Error::other("the thread that makes segments has ended");
                return Err(FileError::at("make a segment in", &self.shared.dir)(ended));
            }
            let waited = self.shared.changed.wait_timeout(state, MEASURE_EVERY);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(match state.made.take() {
            Some(made) => Taken::Segment(made?),
            None => Taken::NoSpace,
        })
    }

    /// Asks for the next segment, to be taken later.
    pub(crate) fn want(&self, header: SegmentHeader) {
        self.shared.state().wanted = Some(header);
        self.shared.changed.notify_all();
    }

    /// Waits for something to change, for a while.
    pub(crate) fn wait(&self) {
        let state = self.shared.state();
        let _ = self.shared.changed.wait_timeout(state, MEASURE_EVERY);
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        self.shared.state().is_stopped = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic there has nothing left to tell: the log is being closed.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self) {
        loop {
            let header = {
                let state = self.state();
                let is_idle = |state: &mut State| {
                    !state.is_stopped && (state.wanted.is_none() || state.has_no_space)
                };
                let waited = self
                    .changed
                    .wait_timeout_while(state, MEASURE_EVERY, is_idle);
                let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
                if state.is_stopped {
                    return;
                }
                state.wanted
            };
            let made = match (self.measure(header.is_some()), header) {
                (true, Some(header)) => self.make(&header),
                (true, None) => continue,
                (false, _) => None,
            };
            let mut state = self.state();
            state.has_no_space = header.is_some() && made.is_none();
            if made.is_some() {
                state.made = made;
                state.wanted = None;
            }
            self.room
                .is_full
                .fetch_or(state.has_no_space, Ordering::Relaxed);
            drop(state);
            self.changed.notify_all();
        }
    }

    /// A segment; `None` when there is no space for it.
    fn make(&self, header: &SegmentHeader) -> Option<Result<SegmentFile, FileError>> {
        let made = SegmentFile::create(&self.dir, header, self.segment_bytes);
        #[cfg(test)]
        let made = made.map(|file| file.with_faults(&self.faults));
        match made {
            Err(error) if is_full(&error.source) => {
                tracing::warn!(%error, "no space for the next segment");
                None
            }
            made => Some(made),
        }
    }

    /// Measures the room; whether a segment can be made (if one is wanted) and the reserve kept.
    fn measure(&self, is_wanted: bool) -> bool {
        let Some((free, total)) = self.space() else {
            return true;
        };
        let reserve = self
            .free_bytes_min
            .unwrap_or_else(|| (total / RESERVE_SHARE).min(RESERVE_BYTES_MAX));
        let has_space = !is_wanted || free >= reserve.saturating_add(self.segment_bytes);
        let is_full = free < reserve || !has_space;
        self.room.free_bytes.store(free, Ordering::Relaxed);
        if self.room.is_full.swap(is_full, Ordering::Relaxed) != is_full {
            tracing::warn!(
                is_full,
                free_bytes = free,
                reserve_bytes = reserve,
                "room on the log's volume changed"
            );
        }
        has_space
    }

    /// Free and total bytes; `None` when the system does not say.
    fn space(&self) -> Option<(u64, u64)> {
        let stat = match rustix::fs::statvfs(&self.dir) {
            Ok(stat) => stat,
            Err(error) => {
                tracing::warn!(error = %io::Error::from(error), "cannot measure the log's volume");
                return None;
            }
        };
        let total = stat.f_blocks.saturating_mul(stat.f_frsize);
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        #[cfg(test)]
        let free = match self.faults.free_bytes.load(Ordering::SeqCst) {
            0 => free,
            told => told,
        };
        Some((free, total))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
