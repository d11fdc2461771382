//! How long a client may take nothing of what is written to it.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use crate::ingest::alarm::Alarm;

/// For a client to take a part of an answer. Who takes nothing for so long keeps a place that
/// another client could have.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// The limit of a connection's writes. What is written at once does not know of it.
#[derive(Debug, Default)]
pub(super) struct WriteLimit {
    alarm: Alarm,
    /// Of a write that waits: counted from when it had to, and kept when another one goes on in
    /// its place.
    deadline: Option<Instant>,
    has_failed: bool,
}

impl WriteLimit {
    /// What came of a write: [`io::ErrorKind::TimedOut`] when it has waited for too long.
    pub(super) fn bound<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(result) = written {
            self.deadline = None;
            self.has_failed |= result.is_err();
            return Poll::Ready(result);
        }
        let from_now = || Instant::now() + WRITE_TIMEOUT;
        let deadline = *self.deadline.get_or_insert_with(from_now);
        ready!(self.alarm.poll(cx, deadline));
        self.has_failed = true;
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Whether a write failed: nothing that comes after it is of use to the client.
    pub(super) const fn has_failed(&self) -> bool {
        self.has_failed
    }
}
