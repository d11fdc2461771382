//! Deliveries that are cancelled, and those that are opened again.
//!
//! A cancelled delivery is not looked for in its lane, which may be long: its entry is marked as
//! dead and falls out when its turn comes. One that a worker has is ended when it comes back:
//! what the worker records then is in the log before its end is. An entry is dead up to an
//! opening, so that the delivery may be opened again while the dead one still waits.

use std::collections::{HashMap, HashSet};

use outrider_store::Pending;
use outrider_webhook::id::DeliveryKey;

use super::schedule::LeaseId;
use super::{Entry, Lease, Queue};

/// Dead entries that one look for a due delivery passes over: more would hold up everybody else.
pub(super) const PASSED_OVER_MAX: usize = 1_000;

/// What is known of cancelled deliveries.
#[derive(Debug, Default)]
pub(super) struct Cancels {
    dead: HashMap<DeliveryKey, Dead>,
    /// Leases whose delivery ends when they come back.
    leased: HashSet<LeaseId>,
    /// Those that came back.
    ended: Vec<Entry>,
    /// Those whose cancelling is not on disk yet.
    unrecorded: HashSet<DeliveryKey>,
    /// Those of them that are over, with their line waiting.
    over: Vec<Entry>,
    /// Calls of [`Queue::reopen`] so far.
    openings: u64,
}

/// Entries of a delivery that fall out.
#[derive(Debug)]
struct Dead {
    /// Those of this opening, and of the ones before.
    through: u64,
    entries: u32,
}

impl Cancels {
    /// The number of the newest opening by somebody; those that a start finds have the first.
    fn newest(&self) -> u64 {
        self.openings + 1
    }

    /// Whether the entry falls out. Asked once of each that has its turn.
    pub(super) fn is_dead(&mut self, entry: &Entry) -> bool {
        if self.dead.is_empty() {
            return false;
        }
        let Some(dead) = self.dead.get_mut(&entry.key) else {
            return false;
        };
        if entry.opening > dead.through {
            return false;
        }
        dead.entries -= 1;
        if dead.entries == 0 {
            self.dead.remove(&entry.key);
        }
        true
    }

    /// Whether a lease that comes back, or is lost, was its delivery's last: then that is kept
    /// until it is asked for.
    pub(super) fn ends(&mut self, lease: LeaseId, entry: &Entry) -> bool {
        let is_last = self.leased.remove(&lease);
        if is_last {
            self.ended.push(Entry {
                event: None,
                ..entry.clone()
            });
        }
        is_last
    }

    /// Whether the line of a cancelled delivery has to wait until that is on disk: after a crash
    /// the delivery would come behind its successor.
    pub(super) fn waits_for_record(&mut self, entry: &Entry) -> bool {
        let waits = entry.target.order_key.is_some() && self.unrecorded.contains(&entry.key);
        if waits {
            self.over.push(Entry {
                event: None,
                ..entry.clone()
            });
        }
        waits
    }

    /// The delivery has its final state already.
    pub(super) fn forget(&mut self, lease: LeaseId) {
        self.leased.remove(&lease);
    }
}

impl Queue {
    /// No attempt of these open deliveries, with the times that they are known to be due at, is
    /// begun any more. Gives those that a worker has: they come out of [`Queue::cancelled`] when
    /// he is done, unless he ends them himself. The caller ends the others.
    pub fn cancel(&self, open: &HashMap<DeliveryKey, Option<i64>>) -> HashSet<DeliveryKey> {
        let mut state = self.state();
        let keys: HashSet<DeliveryKey> = open.keys().copied().collect();
        let leased: Vec<(LeaseId, DeliveryKey)> = state.schedule.leased_of(&keys).collect();
        let (through, mut in_flight) = (state.cancels.newest(), HashSet::new());
        state.cancels.unrecorded.extend(&keys);
        for (lease, key) in leased {
            state.cancels.leased.insert(lease);
            in_flight.insert(key);
        }
        for key in keys.difference(&in_flight) {
            let dead = state.cancels.dead.entry(*key);
            let dead = dead.or_insert(Dead {
                through,
                entries: 0,
            });
            dead.through = through;
            dead.entries += 1;
            // It falls out now, and its line goes on, rather than at its time.
            let due_ms = open.get(key).copied().flatten();
            if let Some(entry) = due_ms.and_then(|due_ms| state.schedule.take(*key, due_ms)) {
                state.lanes.push(entry);
            }
        }
        drop(state);
        self.shared.wake.notify_one();
        in_flight
    }

    /// What [`Queue::cancel`] was told of is on disk: lines go on.
    pub fn cancel_is_recorded<'k>(&self, keys: impl Iterator<Item = &'k DeliveryKey>) {
        let now_ms = self.shared.clock.now_ms();
        let mut state = self.state();
        for key in keys {
            state.cancels.unrecorded.remove(key);
        }
        for entry in std::mem::take(&mut state.cancels.over) {
            state.pass_over(&entry, now_ms);
        }
        drop(state);
        self.shared.wake.notify_one();
    }

    /// This delivery had ended before it was cancelled: no entry of it waits.
    pub fn had_ended(&self, key: DeliveryKey) {
        let mut state = self.state();
        if let Some(dead) = state.cancels.dead.get_mut(&key) {
            dead.entries -= 1;
            if dead.entries == 0 {
                state.cancels.dead.remove(&key);
            }
        }
    }

    /// Takes deliveries that had ended, and get one more attempt.
    pub fn reopen(&self, pending: impl IntoIterator<Item = Pending>) {
        self.state().cancels.openings += 1;
        self.restore(pending);
    }

    /// The next cancelled delivery that its worker gave back, to be ended. Cancel-safe.
    pub async fn cancelled(&self) -> Entry {
        loop {
            let ended = self.state().cancels.ended.pop();
            if let Some(ended) = ended {
                return ended;
            }
            self.shared.ended.notified().await;
        }
    }

    /// As [`Queue::cancelled`], when there is one now.
    pub fn try_cancelled(&self) -> Option<Entry> {
        self.state().cancels.ended.pop()
    }
}

impl super::State {
    /// Which opening an entry is of.
    pub(super) fn opening(&self, is_reopened: bool) -> u64 {
        match is_reopened {
            true => self.cancels.newest(),
            false => 0,
        }
    }

    /// Whether a lease that comes back is the end of its delivery.
    pub(super) fn ends(&mut self, lease: &Lease) -> bool {
        self.cancels.ends(lease.id, &lease.entry)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};
    use std::time::Duration;

    use outrider_store::Pending;

    use super::super::tests::{NOW_MS, is_quiet, pending, queue};

    fn again(one: &Pending, attempts: u32) -> Pending {
        Pending {
            is_reopened: true,
            attempts,
            ..one.clone()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_falls_out_and_what_is_opened_again_after_that_does_not() {
        let (queue, _) = queue(16);
        let one = pending(1, 1, 1, NOW_MS);
        let keys = HashMap::from([(one.key, None)]);
        queue.restore(vec![one.clone(), pending(1, 1, 2, NOW_MS)]);
        assert!(queue.cancel(&keys).is_empty());
        queue.reopen(vec![again(&one, 3)]);
        // Cancelled and opened a second time while the first two entries still stand in line.
        assert!(queue.cancel(&keys).is_empty());
        queue.reopen(vec![again(&one, 7)]);
        let (first, second) = (queue.lease().await, queue.lease().await);
        assert_eq!(first.entry.key, pending(1, 1, 2, NOW_MS).key);
        assert_eq!((second.entry.key, second.entry.attempts), (one.key, 7));
        assert!(is_quiet(&queue).await);
        assert!(queue.try_cancelled().is_none());
        // Nothing is remembered of them.
        queue.complete(&first, true);
        queue.retry(second, NOW_MS, false);
        assert_eq!(queue.lease().await.entry.key, one.key);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_is_as_wide_as_before_when_something_fell_out_of_it() {
        let (queue, _) = queue(1);
        let all: Vec<Pending> = (0..5).map(|n| pending(1, 1, n, NOW_MS)).collect();
        let dead = all[..4].iter().map(|one| (one.key, None)).collect();
        queue.restore(all.clone());
        queue.cancel(&dead);
        assert_eq!(queue.lease().await.entry.key, all[4].key);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_worker_has_comes_out_when_he_gives_it_back_however_he_does() {
        let (queue, _) = queue(16);
        let all: Vec<Pending> = (0..4).map(|n| pending(1, 1, n, NOW_MS)).collect();
        queue.restore(all.clone());
        let mut leases = Vec::new();
        for _ in 0..4 {
            leases.push(queue.lease().await);
        }
        let keys: HashSet<_> = all.iter().map(|one| one.key).collect();
        let open = keys.iter().map(|key| (*key, None)).collect();
        assert_eq!(queue.cancel(&open), keys);
        assert!(queue.try_cancelled().is_none());
        let mut retried = leases.pop().unwrap();
        retried.entry.attempts += 1;
        queue.retry(retried, NOW_MS, false);
        assert_eq!(queue.cancelled().await.attempts, 1);
        queue.put_back(leases.pop().unwrap());
        assert_eq!(queue.cancelled().await.attempts, 0);
        // It has its final state by itself.
        queue.complete(&leases.pop().unwrap(), true);
        assert!(queue.try_cancelled().is_none());
        // Its worker is lost.
        tokio::time::advance(Duration::from_secs(181)).await;
        assert!(is_quiet(&queue).await);
        assert_eq!(queue.cancelled().await.key, leases[0].entry.key);
    }

    #[tokio::test(start_paused = true)]
    async fn what_had_ended_already_leaves_no_mark() {
        let (queue, _) = queue(16);
        let one = pending(1, 1, 1, NOW_MS);
        queue.cancel(&HashMap::from([(one.key, None)]));
        queue.had_ended(one.key);
        queue.restore(vec![one.clone()]);
        assert_eq!(queue.lease().await.entry.key, one.key);
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_its_time_falls_out_now_and_its_line_goes_on() {
        let (queue, _) = queue(16);
        let in_line = |n, due_ms| {
            let mut one = pending(1, 1, n, due_ms);
            one.target.order_key = Some(7);
            one
        };
        let (head, next) = (in_line(1, NOW_MS + 3_600_000), in_line(2, NOW_MS));
        queue.restore(vec![head.clone(), next.clone()]);
        assert!(is_quiet(&queue).await);
        queue.cancel(&HashMap::from([(head.key, Some(head.due_ms))]));
        // After a crash now it would come behind the next one.
        assert!(is_quiet(&queue).await);
        queue.cancel_is_recorded([&head.key].into_iter());
        assert_eq!(queue.lease().await.entry.key, next.key);
        assert_eq!(queue.depth().scheduled, 0);
    }
}
