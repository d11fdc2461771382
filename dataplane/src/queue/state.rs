//! What the queue holds, and what time does to it.

use outrider_webhook::id::{EndpointId, ProjectId};
use tokio::time::Instant;

use super::cancel::Cancels;
use super::chains::Chains;
use super::lanes::{Lanes, Taken};
use super::schedule::Schedule;
use super::{Entry, Hold};

/// A wall clock that goes back by more than this was set; less is how clocks are kept right.
const CLOCK_STEP_MS: i64 = 1_000;

pub(super) struct State {
    pub(super) lanes: Lanes,
    pub(super) schedule: Schedule,
    pub(super) chains: Chains,
    pub(super) cancels: Cancels,
    pub(super) expired: u64,
    /// Counts the calls of [`Queue::unpark`].
    pub(super) generation: u64,
    /// The wall clock when it was last looked at.
    pub(super) seen_ms: i64,
}

impl State {
    pub(super) fn hold(
        &mut self,
        project: ProjectId,
        endpoint: EndpointId,
        why: Hold,
        until_ms: i64,
    ) -> bool {
        let is_later = self.lanes.hold((project, endpoint), why, until_ms);
        if is_later {
            self.schedule.hold(endpoint, until_ms);
        }
        is_later
    }

    /// The next delivery in turn.
    pub(super) fn next(&mut self, now_ms: i64) -> Option<Taken> {
        let mut paced = Vec::new(); // hardly ever one
        let taken = self.lanes.next(now_ms, &mut paced);
        for (endpoint, until_ms) in paced {
            self.schedule.hold(endpoint, until_ms);
        }
        taken
    }

    /// A delivery is new in the queue.
    pub(super) fn enter(&mut self, entry: Entry, now_ms: i64) {
        if let Some(mut first) = self.chains.enter(entry) {
            first.turn_ms = now_ms;
            self.add(first, now_ms);
        }
    }

    /// Nothing of its line is in front of a delivery any more.
    pub(super) fn go_on(&mut self, next: Option<Entry>, now_ms: i64) {
        if let Some(mut next) = next {
            next.turn_ms = now_ms;
            if next.due_ms <= now_ms {
                // Where it would stand if it had not waited for the one before it.
                self.lanes.put_in_place(next);
            } else {
                self.schedule.at(next);
            }
        }
    }

    pub(super) fn add(&mut self, entry: Entry, now_ms: i64) {
        if entry.due_ms <= now_ms {
            self.lanes.push(entry);
        } else {
            self.schedule.at(entry);
        }
    }

    /// A delivery was cancelled: its line goes on without it, as soon as that is on disk.
    pub(super) fn pass_over(&mut self, entry: &Entry, now_ms: i64) {
        if self.cancels.waits_for_record(entry) {
            return;
        }
        let next = self.chains.end(entry, false);
        self.go_on(next, now_ms);
    }

    /// Moves what has become due into its lane, and takes back leases whose worker is lost.
    /// Whether one of those was its delivery's last.
    pub(super) fn advance(&mut self, now_ms: i64, now: Instant) -> bool {
        if now_ms < self.seen_ms.saturating_sub(CLOCK_STEP_MS) {
            tracing::warn!(
                by_ms = self.seen_ms.saturating_sub(now_ms),
                "the clock was set back"
            );
            let by_ms = now_ms.saturating_sub(self.seen_ms);
            self.schedule.shift(by_ms);
            self.lanes.shift(by_ms);
        }
        self.seen_ms = now_ms;
        while let Some(endpoint) = self.schedule.pop_hold(now_ms) {
            self.lanes.release(endpoint, now_ms);
        }
        while let Some(entry) = self.schedule.pop_due(now_ms) {
            self.lanes.push(entry);
        }
        let mut is_ended = false;
        while let Some((lease, entry)) = self.schedule.pop_expired(now) {
            self.expired += 1;
            self.lanes.free(entry.target.endpoint, now_ms);
            // What may have arrived is not called off.
            if !entry.has_begun && self.cancels.ends(lease, &entry) {
                self.pass_over(&entry, now_ms);
                is_ended = true;
            } else {
                self.cancels.forget(lease);
                self.lanes.push(entry);
            }
        }
        is_ended
    }
}
