//! New connections to one destination, evenly.
//!
//! A delivery on a connection of its own costs several times one on a connection that was kept,
//! and with TLS more. A receiver that keeps none and has hundreds of deliveries due would have the
//! machine's cores, and everybody else would wait for them. So a project opens only so many a
//! second to a host and port: who comes sooner waits, in the order of coming, for a turn or for a
//! connection that becomes idle.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use outrider_webhook::id::ProjectId;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::fault::Fault;
use super::gate::Waiting;
use super::pool::{Key, Pool, Pooled};
use crate::metrics::{Delayed, EgressMetrics};

/// So many come at once before the others wait: about what an endpoint has in flight, twice. More
/// would be felt by those who are there at the same time.
const AT_ONCE: u32 = 32;
/// Below so many lines none is forgotten.
const SWEEP_MIN: usize = 256;

/// Whose connections are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Whither {
    project: ProjectId,
    host: Box<str>,
    port: u16,
}

impl Whither {
    fn of(key: &Key) -> Self {
        Self {
            project: key.project,
            host: key.server_name.clone(),
            port: key.port(),
        }
    }
}

/// Those who want connections to one destination.
pub(super) struct Line {
    /// When the next connection would be opened, if none came at once.
    next: Mutex<Instant>,
    /// Who has it stands in front.
    front: tokio::sync::Mutex<()>, // fair: in the order of coming
    waiting: AtomicUsize,
    /// A connection became idle: to the one in front.
    idle: Notify,
}

struct Lines {
    by_destination: HashMap<Whither, Arc<Line>>,
    sweep_at: usize,
}

/// Says when new connections may be opened.
pub(super) struct Openings {
    /// Between two.
    each: Duration,
    lines: Mutex<Lines>,
    /// In all lines.
    waiting: AtomicUsize,
    metrics: EgressMetrics,
}

/// What a request may do.
pub(super) enum Turn<C> {
    /// Open a connection; at once, or after a wait in which the world may have changed.
    Open {
        /// Whether there was one.
        has_waited: bool,
    },
    /// Use one that became idle meanwhile.
    Idle(Key, C),
}

impl Openings {
    /// `per_second` to each destination, at least one.
    pub(super) fn new(per_second: u32, metrics: EgressMetrics) -> Self {
        Self {
            each: Duration::from_secs(1) / per_second.max(1),
            lines: Mutex::new(Lines {
                by_destination: HashMap::new(),
                sweep_at: SWEEP_MIN,
            }),
            waiting: AtomicUsize::new(0),
            metrics,
        }
    }

    /// Waits until a connection to the first of `keys` may be opened, or one to any of them is
    /// idle.
    ///
    /// # Errors
    /// When there is neither before `until`.
    pub(super) async fn turn<C: Pooled>(
        &self,
        keys: &[Key],
        pool: &Pool<C>,
        until: Instant,
    ) -> Result<Turn<C>, Fault> {
        let Some(first) = keys.first() else {
            return Ok(Turn::Open { has_waited: false }); // nowhere to go: for others to tell
        };
        let line = self.line(first);
        if !line.has_waiting() && line.take(self.each).is_ok() {
            return Ok(Turn::Open { has_waited: false });
        }
        let _waiting = [Waiting::new(&self.waiting), Waiting::new(&line.waiting)];
        let turn = timeout_at(until, line.wait(self.each, keys, pool)).await;
        self.metrics.delayed(match turn {
            Ok(Turn::Open { .. }) => Delayed::Opened,
            Ok(Turn::Idle(..)) => Delayed::Reused,
            Err(_) => Delayed::Refused,
        });
        turn.map_err(|_| Fault::no_turn(&first.server_name, first.port()))
    }

    /// Who is to be told when a connection becomes idle; `None` when nobody waits, which is nearly
    /// always. Who comes after this was asked is not told, and has its turn.
    pub(super) fn line_to(&self, key: &Key) -> Option<Arc<Line>> {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return None;
        }
        let lines = self.lock();
        let line = lines.by_destination.get(&Whither::of(key))?;
        line.has_waiting().then(|| Arc::clone(line))
    }

    /// How many lines there are.
    #[cfg(test)]
    pub(super) fn lines(&self) -> usize {
        self.lock().by_destination.len()
    }

    fn line(&self, key: &Key) -> Arc<Line> {
        let now = Instant::now();
        let mut lines = self.lock();
        lines.sweep(now);
        let line = lines.by_destination.entry(Whither::of(key));
        Arc::clone(line.or_insert_with(|| Arc::new(Line::new(now))))
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner) // a map is whole after a panic
    }
}

impl Line {
    fn new(now: Instant) -> Self {
        Self {
            next: Mutex::new(now),
            front: tokio::sync::Mutex::default(),
            waiting: AtomicUsize::new(0),
            idle: Notify::new(),
        }
    }

    /// A connection became idle.
    pub(super) fn idle_came(&self) {
        self.idle.notify_one();
    }

    /// Whether whoever comes now stands behind somebody.
    fn has_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }

    async fn wait<C: Pooled>(&self, each: Duration, keys: &[Key], pool: &Pool<C>) -> Turn<C> {
        let _front = self.front.lock().await;
        loop {
            if let Some((key, connection)) = pool.take_any(keys) {
                return Turn::Idle(key, connection);
            }
            let Err(turn) = self.take(each) else {
                return Turn::Open { has_waited: true };
            };
            tokio::select! {
                () = sleep_until(turn) => {}
                () = self.idle.notified() => {} // one that is lost costs a wait until the turn
            }
        }
    }

    /// Takes the next turn, if it is there; says when it will be else.
    fn take(&self, each: Duration) -> Result<(), Instant> {
        let now = Instant::now();
        let mut next = self.next();
        let ahead = next.saturating_duration_since(now + each * (AT_ONCE - 1));
        if !ahead.is_zero() {
            return Err(now + ahead);
        }
        *next = (*next).max(now) + each;
        Ok(())
    }

    fn next(&self) -> MutexGuard<'_, Instant> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    /// Forgets lines that are as good as new, when they are many.
    fn sweep(&mut self, now: Instant) {
        if self.by_destination.len() < self.sweep_at {
            return;
        }
        self.by_destination
            .retain(|_, line| Arc::strong_count(line) > 1 || *line.next() > now);
        self.sweep_at = (self.by_destination.len() * 2).max(SWEEP_MIN);
    }
}
