//! What came of each connect from an address of ours, for its health and the metrics.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::Instant;

use super::Sources;
use crate::metrics::Departure;

/// A connect that is given up before its time, but not before this, counts as one without an
/// answer: the first packet was sent twice by then.
const SILENT_MIN: Duration = Duration::from_secs(1);

/// A connect under way: what came of it is noted also when it is given up.
pub(super) struct Trying<'a> {
    sources: &'a Sources,
    pool: &'a str,
    source: IpAddr,
    destination: SocketAddr,
    started: Instant,
    has_ended: bool,
}

impl<'a> Trying<'a> {
    pub(super) fn new(
        sources: &'a Sources,
        pool: &'a str,
        source: IpAddr,
        destination: SocketAddr,
    ) -> Self {
        Self {
            sources,
            pool,
            source,
            destination,
            started: Instant::now(),
            has_ended: false,
        }
    }

    /// `has_answered`: what it says about the way there, if anything.
    pub(super) fn ended(mut self, result: &'static str, has_answered: Option<bool>) {
        self.note(result, has_answered);
    }

    fn note(&mut self, result: &'static str, has_answered: Option<bool>) {
        self.has_ended = true;
        let (source, took) = (self.source, self.started.elapsed());
        let from = Departure::Pool(self.pool, source);
        self.sources.metrics.connected(from, result, took);
        if let Some(has_answered) = has_answered {
            let mut known = self.sources.lock();
            let window = &mut known.entry(source).or_default().window;
            window.note(self.destination.ip(), has_answered, Instant::now());
        }
    }
}

impl Drop for Trying<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            let is_silent = self.started.elapsed() >= SILENT_MIN;
            self.note("given_up", is_silent.then_some(false));
        }
    }
}
