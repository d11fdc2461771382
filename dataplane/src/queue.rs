//! The queue: lanes in memory, time, and leases (stage 5).
//!
//! Owns which delivery goes next and when; the log owns that a delivery exists at all. One lane
//! per endpoint; lanes are served round robin over projects, then over the endpoints of the
//! project, so nobody's backlog is in front of anybody else's. A waiting delivery costs memory
//! only: there is no polling, [`Queue::lease`] sleeps until its next event. What must happen
//! after a lost task hangs on the lease's deadline.
//!
//! Knows nothing of HTTP, signatures or configuration.

mod backlog;
mod cache;
mod cancel;
mod chains;
mod health;
mod lanes;
mod packed;
mod schedule;
mod sink;
mod state;
#[cfg(test)]
mod tests;
mod turns;
mod view;
mod watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use outrider_store::{AcceptedSink, Clock, Gap, Pending, Position};
use outrider_webhook::breaker::Change;
use outrider_webhook::event::Target;
use outrider_webhook::id::{DeliveryKey, EndpointId, ProjectId};
use tokio::sync::Notify;
use tokio::time::Instant;

pub use self::cache::{CachedEvent, PayloadCache};
use self::cancel::{Cancels, PASSED_OVER_MAX};
use self::chains::Chains;
pub use self::chains::{Gaps, Missing};
pub use self::health::{Answer, Trip};
pub use self::lanes::Hold;
use self::lanes::Lanes;
use self::schedule::{LeaseId, Schedule};
use self::sink::Sink;
use self::state::State;
pub use self::view::LaneView;

/// Retries due later than this give up their cached payload and are read back when due.
const CACHE_HORIZON_MS: i64 = 1_000;

/// A delivery that waits for its turn.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Which delivery.
    pub key: DeliveryKey,
    /// Where its event is in the log.
    pub position: Position,
    /// Whose it is.
    pub project: ProjectId,
    /// Where it goes, as decided when it was accepted.
    pub target: Target,
    /// Configuration revision of that decision.
    pub revision: u64,
    /// Attempts made so far.
    pub attempts: u32,
    /// Those of them that do not count against the limit.
    pub attempts_free: u32,
    /// When the event was accepted, Unix milliseconds.
    pub accepted_ms: i64,
    /// When this attempt was meant to start, Unix milliseconds.
    pub due_ms: i64,
    /// When nothing of its line was in front of it any more, Unix milliseconds.
    pub turn_ms: i64,
    /// Whether its worker was lost when an attempt had begun that may not be made twice.
    pub has_begun: bool,
    /// How often in a row a worker panicked over it, since the start.
    pub losses: u8,
    /// Which opening it is of: 0 for the first, which made it. Any other one is for one attempt
    /// that somebody asked for.
    pub opening: u64,
    /// Whether it goes apart from the others of its order key: it was parked, asked for again, or
    /// is of a replay.
    pub is_out_of_order: bool,
    /// The event, when it is still in memory.
    pub event: Option<Arc<CachedEvent>>,
}

/// A delivery handed to one worker. It comes back through [`Queue::complete`],
/// [`Queue::retry`], [`Queue::park`] or, when its worker is lost, at its deadline.
#[derive(Debug)]
pub struct Lease {
    /// The delivery.
    pub entry: Entry,
    /// What is missing before it in its line, if it has an order key.
    pub gaps: Gaps,
    /// What its lane knows of its endpoint's own limit of attempts in flight.
    concurrency: Option<u32>,
    id: LeaseId,
    /// Changes of configuration seen when it was taken.
    generation: u64,
}

/// What is in the queue, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    /// Due now, waiting for their lane.
    pub ready: usize,
    /// Waiting for a time.
    pub scheduled: usize,
    /// Handed to a worker.
    pub leased: usize,
    /// In lanes that stand still, for a time or until the configuration changes.
    pub held: usize,
    /// With an order key, behind another one.
    pub in_line: usize,
    /// Lanes whose circuit breaker is open, that get probes, and that are sent at a pace.
    pub lanes_open: usize,
    /// See [`Depth::lanes_open`].
    pub lanes_probing: usize,
    /// See [`Depth::lanes_open`].
    pub lanes_paced: usize,
    /// Lines whose gaps were forgotten, since the start.
    pub gaps_forgotten: u64,
    /// Leases that were taken back at their deadline, since the start.
    pub leases_expired: u64,
}

/// The queue. Cheap to clone; all clones are one queue.
#[derive(Clone)]
pub struct Queue {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    wake: Notify,
    /// A cancelled delivery came back.
    ended: Notify,
    clock: Arc<dyn Clock>,
    cache: Arc<PayloadCache>,
    lease_limit: Duration,
}

impl Queue {
    /// An empty queue.
    ///
    /// `lane_concurrency`: attempts in flight per endpoint, at least 1. `in_flight_max`: attempts
    /// in flight in all; projects share it, see `Turns::share`. `lease_limit`: how long
    /// a worker may hold a delivery before it is taken for lost; longer than any attempt.
    #[must_use]
    pub fn new(
        clock: Arc<dyn Clock>,
        cache: Arc<PayloadCache>,
        lane_concurrency: u32,
        in_flight_max: u32,
        lease_limit: Duration,
    ) -> Self {
        let state = State {
            lanes: Lanes::new(lane_concurrency.max(1), in_flight_max.max(1)),
            schedule: Schedule::default(),
            cancels: Cancels::default(),
            chains: Chains::default(),
            expired: 0,
            generation: 0,
            seen_ms: i64::MIN,
        };
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                wake: Notify::new(),
                ended: Notify::new(),
                clock,
                cache,
                lease_limit,
            }),
        }
    }

    /// The sink through which the log hands over what it made durable.
    #[must_use]
    pub fn sink(&self) -> Box<dyn AcceptedSink> {
        Box::new(Sink {
            queue: self.clone(),
        })
    }

    /// Takes what recovery found open. Deliveries that were in flight are due at once.
    pub fn restore(&self, pending: impl IntoIterator<Item = Pending>) {
        let now_ms = self.shared.clock.now_ms();
        let mut state = self.state();
        for found in pending {
            if found.is_parked && found.is_of_line() {
                state.chains.restore_gap(&found.gap(), true);
            }
            let is_out_of_order = found.is_apart();
            let entry = Entry {
                key: found.key,
                position: found.position,
                project: found.project,
                target: found.target,
                revision: found.revision,
                attempts: found.attempts,
                attempts_free: found.attempts_free,
                accepted_ms: found.key.event.unix_ms(),
                due_ms: found.due_ms,
                turn_ms: now_ms,
                has_begun: false,
                losses: 0,
                opening: state.opening(found.is_reopened),
                is_out_of_order,
                event: None,
            };
            state.enter(entry, now_ms);
        }
        drop(state);
        self.shared.wake.notify_one();
    }

    /// Waits for the next due delivery. Cancel-safe: a delivery is taken only when it is returned.
    pub async fn lease(&self) -> Lease {
        loop {
            let (lease, wait) = self.try_lease();
            if let Some(lease) = lease {
                return lease;
            }
            match wait {
                None => self.shared.wake.notified().await,
                Some(wait) => tokio::select! {
                    () = self.shared.wake.notified() => {}
                    () = tokio::time::sleep(wait) => {}
                },
            }
        }
    }

    /// The delivery has its final state, which is synced if it has an order key.
    pub fn complete(&self, lease: &Lease, is_delivered: bool) {
        self.end_lease(lease, |state, now_ms| {
            state.cancels.forget(lease.id);
            let next = state.chains.end(&lease.entry, is_delivered);
            state.go_on(next, now_ms);
        });
    }

    /// The delivery is due again at `due_ms` (Unix milliseconds). The caller has counted the
    /// attempt in the lease's entry, if there was one. One that `is_parked` leaves its line.
    pub fn retry(&self, lease: Lease, due_ms: i64, is_parked: bool) {
        let now_ms = self.shared.clock.now_ms();
        let mut entry = lease.entry.clone();
        entry.due_ms = due_ms;
        if due_ms.saturating_sub(now_ms) > CACHE_HORIZON_MS {
            entry.event = None;
        }
        self.give_back(&lease, |state, _| {
            if is_parked && !entry.is_out_of_order {
                entry.is_out_of_order = true;
                let next = state.chains.park(&entry);
                state.go_on(next, now_ms);
            }
            state.add(entry, now_ms);
        });
    }

    /// Whether as many attempts are in flight as the endpoint takes, or fewer. If not, the
    /// delivery is to be put back. `concurrency`: the endpoint's own limit, if it has one.
    #[must_use]
    pub fn admit(&self, lease: &Lease, concurrency: Option<u32>) -> bool {
        if lease.concurrency == concurrency {
            return true;
        }
        let endpoint = lease.entry.target.endpoint;
        let has_room = self.state().lanes.limit(endpoint, concurrency);
        self.shared.wake.notify_one(); // there may be room for more
        has_room
    }

    /// The lane cannot be served under the configuration that was in force when the lease was
    /// taken: it stands still, with this delivery in front, until [`Queue::unpark`]. When that
    /// came in between, the lane goes on at once: the worker may have looked before the change.
    pub fn park(&self, lease: Lease) {
        let entry = lease.entry.clone();
        self.give_back(&lease, |state, _| {
            if state.generation == lease.generation {
                state.lanes.park(entry);
            } else {
                state.lanes.put_back(entry);
            }
        });
    }

    /// Nothing was tried: the delivery is in front of its lane again.
    pub fn put_back(&self, lease: Lease) {
        let entry = lease.entry.clone();
        self.give_back(&lease, |state, _| state.lanes.put_back(entry));
    }

    /// The lane of this lease stands still until `until_ms` (Unix milliseconds). Called before the
    /// lease ends. True when it would not have stood still as long without.
    pub fn hold(&self, lease: &Lease, why: Hold, until_ms: i64) -> bool {
        let (project, endpoint) = (lease.entry.project, lease.entry.target.endpoint);
        let mut state = self.state();
        // The rate that said so may have been changed in between.
        let is_outdated = why == Hold::Rate && state.generation != lease.generation;
        !is_outdated && state.hold(project, endpoint, why, until_ms)
    }

    /// The receiver of an endpoint asked to be left alone until `until_ms`, before the start.
    pub fn restore_hold(&self, project: ProjectId, endpoint: EndpointId, until_ms: i64) {
        self.state().hold(project, endpoint, Hold::Asked, until_ms);
    }

    /// The attempt is about to send its first byte. If `is_once` it may not be made twice: should
    /// its worker be lost, the delivery comes back marked. False when the worker is taken for lost
    /// already: somebody else has the delivery, and nothing may be sent.
    #[must_use]
    pub fn begin(&self, lease: &Lease, is_once: bool) -> bool {
        let deadline = Instant::now() + self.shared.lease_limit;
        self.state().schedule.begin(lease.id, deadline, is_once)
    }

    /// The attempt has its answer; what is left is to record it. From now on the delivery is
    /// not taken for lost, however long the log takes: its receiver has had it. What the answer
    /// says about the receiver holds for its lane at once.
    pub fn answered(&self, lease: &Lease, answer: &Answer<'_>) -> Option<Change> {
        let now_ms = self.shared.clock.now_ms();
        let endpoint = lease.entry.target.endpoint;
        let mut state = self.state();
        state.schedule.keep(lease.id);
        let change = state.lanes.answered(endpoint, answer, now_ms);
        if let Some(Change::Opened { until_ms, .. }) = change {
            state.schedule.hold(endpoint, until_ms);
        }
        change
    }

    /// The breaker of an endpoint was open when the process ended.
    pub fn restore_open(&self, of: (ProjectId, EndpointId), trip: &Trip) {
        let mut state = self.state();
        state.lanes.restore_open(of, trip);
        state.schedule.hold(of.1, trip.until_ms);
    }

    /// A delivery with an order key ended without success before the start.
    pub fn restore_gap(&self, gap: &Gap) {
        self.state().chains.restore_gap(gap, false);
    }

    /// Whether a delivery that is missing in its line is not the first of its event to its
    /// endpoint: known from now on.
    pub fn learn_gap(&self, target: &Target, key: DeliveryKey, is_repeat: bool) {
        self.state().chains.learn(target, key, is_repeat);
    }

    /// Lets parked lanes go on, and those that were held for a setting. Called after every change of configuration.
    pub fn unpark(&self) {
        let mut state = self.state();
        state.generation += 1;
        state.lanes.unpark();
        drop(state);
        self.shared.wake.notify_one();
    }

    /// What is in the queue now.
    #[must_use]
    pub fn depth(&self) -> Depth {
        let state = self.state();
        let (ready, held) = state.lanes.waiting();
        let [lanes_open, lanes_probing, lanes_paced] = state.lanes.unwell();
        Depth {
            in_line: state.chains.waiting(),
            gaps_forgotten: state.chains.forgotten(),
            lanes_open,
            lanes_probing,
            lanes_paced,
            ready,
            held,
            scheduled: state.schedule.waiting(),
            leased: state.schedule.leased(),
            leases_expired: state.expired,
        }
    }

    /// When the longest-waiting ready delivery was due, Unix milliseconds.
    #[must_use]
    pub fn oldest_due_ms(&self) -> Option<i64> {
        self.state().lanes.oldest_due_ms()
    }

    /// One try: a delivery, or how long to sleep unless something happens.
    fn try_lease(&self) -> (Option<Lease>, Option<Duration>) {
        let (now_ms, now) = (self.shared.clock.now_ms(), Instant::now());
        let mut state = self.state();
        if state.advance(now_ms, now) {
            self.shared.ended.notify_one();
        }
        for _ in 0..PASSED_OVER_MAX {
            let Some(taken) = state.next(now_ms) else {
                return (None, state.schedule.sleep(now_ms, now));
            };
            let entry = taken.entry;
            if state.cancels.is_dead(&entry) {
                state.lanes.give_place_back(entry.target.endpoint);
                state.lanes.free(entry.target.endpoint, now_ms);
                state.pass_over(&entry, now_ms);
                continue;
            }
            let lease = Lease {
                id: state.schedule.lease(&entry, now + self.shared.lease_limit),
                gaps: state.chains.gaps(&entry),
                concurrency: taken.concurrency,
                generation: state.generation,
                entry,
            };
            return (Some(lease), None);
        }
        (None, Some(Duration::ZERO))
    }

    /// Gives a delivery that has no final state back, unless it was cancelled.
    fn give_back(&self, lease: &Lease, then: impl FnOnce(&mut State, i64)) {
        self.end_lease(lease, |state, now_ms| {
            if state.ends(lease) {
                state.pass_over(&lease.entry, now_ms);
                self.shared.ended.notify_one();
            } else {
                then(state, now_ms);
            }
        });
    }

    /// Ends a lease, unless it was taken back already: then somebody else has the delivery.
    fn end_lease(&self, lease: &Lease, then: impl FnOnce(&mut State, i64)) {
        let now_ms = self.shared.clock.now_ms();
        let mut state = self.state();
        if let Some(is_answered) = state.schedule.end(lease.id) {
            let endpoint = lease.entry.target.endpoint;
            if !is_answered {
                state.lanes.give_place_back(endpoint);
            }
            state.lanes.free(endpoint, now_ms);
            then(&mut state, now_ms);
        }
        drop(state);
        self.shared.wake.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while the lock is held would be a bug in this module alone; the state is
        // consistent between statements, so going on is better than stopping all deliveries.
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
