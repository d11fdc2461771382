//! A circuit breaker: leaves a receiver alone that keeps failing, and tries it again with probes.
//!
//! Decided at each answer over a sliding window, not by a scan now and then. A call needs neither
//! a clock nor memory beyond the breaker itself.

pub mod alert;
mod window;

use std::time::Duration;

use self::window::Window;

/// When a breaker opens and closes. The defaults are Convoy's (contract 5.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Whether it opens at all.
    pub is_enabled: bool,
    /// How far back attempts count.
    pub window: Duration,
    /// How long it is open.
    pub open: Duration,
    /// Failures of all attempts in the window that open it, percent, 1 to 100.
    pub failure_percent: u32,
    /// With fewer attempts in the window it does not open.
    pub requests_min: u32,
    /// Successes of the probes that close it, percent, 1 to 100.
    pub success_percent: u32,
    /// Probes that are made when it was open for its time, one after the other; at least 1.
    pub probes: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            is_enabled: true,
            window: Duration::from_secs(5 * 60),
            open: Duration::from_secs(30),
            failure_percent: 70,
            requests_min: 10,
            success_percent: 5,
            probes: 3,
        }
    }
}

/// Whether calls pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// They do.
    Closed,
    /// They do not, until a time, Unix milliseconds.
    Open {
        /// Until when.
        until_ms: i64,
    },
    /// One at a time does, to see how it goes.
    HalfOpen,
}

/// What an answer changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It opened, or opened again after its probes.
    Opened {
        /// Until when, Unix milliseconds.
        until_ms: i64,
        /// How often it has opened since it was last closed.
        trips: u32,
    },
    /// It closed: the receiver is back.
    Closed,
}

/// A breaker that waits for its probes for so long has nothing to say any more.
const UNPROBED_MS: i64 = 60 * 60 * 1_000;

/// The breaker of one receiver.
#[derive(Debug, Clone)]
pub struct Breaker {
    state: State,
    window: Window,
    /// Since when it is in its state: attempts that began before say nothing about it.
    since_ms: i64,
    trips: u32,
    probes_succeeded: u32,
    probes_failed: u32,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            state: State::Closed,
            window: Window::default(),
            since_ms: i64::MIN,
            trips: 0,
            probes_succeeded: 0,
            probes_failed: 0,
        }
    }
}

impl Breaker {
    /// One that was open until `until_ms` when its process ended, for the `trips`-th time in a row:
    /// the first where that is not known.
    #[must_use]
    pub fn opened(until_ms: i64, trips: u32) -> Self {
        Self {
            state: State::Open { until_ms },
            trips: trips.max(1),
            ..Self::default()
        }
    }

    /// Whether calls pass.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// How often it has opened since it was last closed.
    #[must_use]
    pub fn trips(&self) -> u32 {
        self.trips
    }

    /// Somebody vouches for the receiver: it opens for the first time again.
    pub fn forget_trips(&mut self) {
        self.trips = 0;
    }

    /// Attempts in its window, and those of them that failed. While it is not closed those are
    /// the probes.
    #[must_use]
    pub fn seen(&self, now_ms: i64) -> (u32, u32) {
        if self.state != State::Closed {
            let all = self.probes_succeeded.saturating_add(self.probes_failed);
            return (all, self.probes_failed);
        }
        let seen = self.window.seen(now_ms);
        (seen.all(), seen.failed)
    }

    /// Whether it is as good as one that has seen nothing.
    #[must_use]
    pub fn is_blank(&self, now_ms: i64) -> bool {
        match self.state {
            State::Closed => self.window.is_over(now_ms),
            State::Open { .. } => false,
            // Nobody came to be the probe.
            State::HalfOpen => now_ms.saturating_sub(self.since_ms) >= UNPROBED_MS,
        }
    }

    /// Its time is over: from now on probes pass. Nothing happens when it is not.
    pub fn half_open(&mut self, now_ms: i64) {
        if matches!(self.state, State::Open { until_ms } if until_ms <= now_ms) {
            self.enter(State::HalfOpen, now_ms);
        }
    }

    /// An attempt that began at `started_ms` has ended.
    pub fn record(
        &mut self,
        policy: &Policy,
        is_success: bool,
        started_ms: i64,
        now_ms: i64,
    ) -> Option<Change> {
        if started_ms < self.since_ms {
            return None;
        }
        if !policy.is_enabled {
            let was_closed = self.state == State::Closed;
            *self = Self::default();
            return (!was_closed).then_some(Change::Closed);
        }
        match self.state {
            State::Closed => self.count(policy, is_success, now_ms),
            State::Open { .. } => None,
            State::HalfOpen => self.probed(policy, is_success, now_ms),
        }
    }

    /// The wall clock was set.
    pub fn shift(&mut self, by_ms: i64) {
        self.since_ms = self.since_ms.saturating_add(by_ms);
        self.window.shift(by_ms);
        if let State::Open { until_ms } = &mut self.state {
            *until_ms = until_ms.saturating_add(by_ms);
        }
    }

    fn count(&mut self, policy: &Policy, is_success: bool, now_ms: i64) -> Option<Change> {
        let seen = self.window.add(policy.window, is_success, now_ms);
        let is_bad = !is_success
            && seen.all() >= policy.requests_min
            && reaches(seen.failed, seen.all(), policy.failure_percent);
        is_bad.then(|| self.open(policy, now_ms))
    }

    fn probed(&mut self, policy: &Policy, is_success: bool, now_ms: i64) -> Option<Change> {
        if is_success {
            self.probes_succeeded += 1;
        } else {
            self.probes_failed += 1;
        }
        let probes = policy.probes.max(1);
        if reaches(self.probes_succeeded, probes, policy.success_percent) {
            *self = Self {
                since_ms: now_ms,
                ..Self::default()
            };
            return Some(Change::Closed);
        }
        // What could still succeed is not enough any more.
        let best = probes.saturating_sub(self.probes_failed);
        let is_lost = best == 0 || !reaches(best, probes, policy.success_percent);
        is_lost.then(|| self.open(policy, now_ms))
    }

    fn open(&mut self, policy: &Policy, now_ms: i64) -> Change {
        let open_ms = i64::try_from(policy.open.as_millis()).unwrap_or(i64::MAX);
        let until_ms = now_ms.saturating_add(open_ms);
        self.trips = self.trips.saturating_add(1);
        self.enter(State::Open { until_ms }, now_ms);
        Change::Opened {
            until_ms,
            trips: self.trips,
        }
    }

    fn enter(&mut self, state: State, now_ms: i64) {
        self.state = state;
        self.since_ms = now_ms;
        self.window = Window::default();
        (self.probes_succeeded, self.probes_failed) = (0, 0);
    }
}

/// Whether `part` of `all` is at least so many percent.
fn reaches(part: u32, all: u32, percent: u32) -> bool {
    u64::from(part) * 100 >= u64::from(all) * u64::from(percent)
}

#[cfg(test)]
mod tests;
