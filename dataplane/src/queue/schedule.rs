//! What waits for a time: deliveries due later, and leases that may be lost.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use outrider_webhook::id::{DeliveryKey, EndpointId};
use tokio::time::Instant;

use super::Entry;
use super::packed::{Packed, Routes};

/// Longest sleep of an idle queue. Wall time and the runtime's clock are different clocks, so a
/// far-off time is looked at again now and then; a step of the wall clock then costs at most this.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// So much later a delivery comes back the first time that its worker has panicked: what made him
/// panic may do so again, and its receiver may have had it.
const LOST_AFTER: Duration = Duration::from_secs(5);
/// That is doubled so often: to 43 minutes.
const LOST_DOUBLED_MAX: u8 = 9;

/// One lease, never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct LeaseId(u64);

/// Deliveries by due time, and leases by deadline.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// Keyed by due time and a counter, so that equal times stay in order of arrival.
    due: BTreeMap<(i64, u64), Later>,
    routes: Routes,
    /// When held lanes may go on.
    holds: BTreeSet<(i64, EndpointId)>,
    leases: HashMap<LeaseId, (Instant, Entry)>,
    deadlines: BTreeMap<(Instant, LeaseId), ()>,
    counter: u64,
}

/// A delivery that is due later.
#[derive(Debug)]
enum Later {
    /// So soon that its event is kept in memory, which takes more than it.
    Whole(Box<Entry>),
    Packed(Packed),
}

impl Later {
    fn key(&self) -> DeliveryKey {
        match self {
            Self::Whole(entry) => entry.key,
            Self::Packed(packed) => packed.key(),
        }
    }
}

impl Schedule {
    /// Keeps a delivery until its time.
    pub(super) fn at(&mut self, entry: Entry) {
        self.counter += 1;
        let at = (entry.due_ms, self.counter);
        let packed = match entry.event {
            Some(_) => None,
            None => Packed::new(&entry, &mut self.routes, None),
        };
        let later = packed.map_or_else(|| Later::Whole(Box::new(entry)), Later::Packed);
        self.due.insert(at, later);
    }

    fn unpack(&mut self, later: Later, due_ms: i64) -> Option<Entry> {
        let entry = match later {
            Later::Whole(entry) => Some(*entry),
            Later::Packed(packed) => packed.unpack(&mut self.routes, None),
        };
        entry.map(|entry| Entry { due_ms, ..entry })
    }

    /// The wall clock was set: everything waits as long as was meant. The order stays.
    pub(super) fn shift(&mut self, by_ms: i64) {
        let moved = std::mem::take(&mut self.due).into_iter();
        self.due = moved
            .map(|((due_ms, counter), later)| ((due_ms.saturating_add(by_ms), counter), later))
            .collect();
        let holds = std::mem::take(&mut self.holds).into_iter();
        let moved = holds.map(|(until_ms, of)| (until_ms.saturating_add(by_ms), of));
        self.holds = moved.collect();
    }

    /// The next delivery whose time has come.
    pub(super) fn pop_due(&mut self, now_ms: i64) -> Option<Entry> {
        let first = self.due.first_entry()?;
        let due_ms = first.key().0;
        if due_ms > now_ms {
            return None;
        }
        let later = first.remove();
        self.unpack(later, due_ms)
    }

    /// Remembers that a lane may go on at a time.
    pub(super) fn hold(&mut self, endpoint: EndpointId, until_ms: i64) {
        self.holds.insert((until_ms, endpoint));
    }

    /// The next lane whose hold may be over: it may have been held longer since.
    pub(super) fn pop_hold(&mut self, now_ms: i64) -> Option<EndpointId> {
        let first = *self.holds.first()?;
        (first.0 <= now_ms).then(|| {
            self.holds.remove(&first);
            first.1
        })
    }

    /// Remembers that a worker has the delivery. The copy holds no payload.
    pub(super) fn lease(&mut self, entry: &Entry, deadline: Instant) -> LeaseId {
        self.counter += 1;
        let id = LeaseId(self.counter);
        let copy = Entry {
            event: None,
            ..entry.clone()
        };
        self.leases.insert(id, (deadline, copy));
        self.deadlines.insert((deadline, id), ());
        id
    }

    /// Gives a worker time until `deadline`. If the lease is lost after that, its delivery has
    /// begun, where that matters. False when it is lost already.
    pub(super) fn begin(&mut self, id: LeaseId, deadline: Instant, is_once: bool) -> bool {
        let Some((until, entry)) = self.leases.get_mut(&id) else {
            return false;
        };
        entry.has_begun |= is_once;
        self.deadlines.remove(&(*until, id));
        self.deadlines.insert((deadline, id), ());
        *until = deadline;
        true
    }

    /// The worker of this lease has panicked: it is taken back after a while, each time a longer
    /// one.
    pub(super) fn lose(&mut self, id: LeaseId, now: Instant) {
        if let Some((until, entry)) = self.leases.get_mut(&id) {
            let times = 1_u32 << entry.losses.min(LOST_DOUBLED_MAX);
            let deadline = now + LOST_AFTER * times;
            entry.losses = entry.losses.saturating_add(1);
            self.deadlines.remove(&(*until, id));
            self.deadlines.insert((deadline, id), ());
            *until = deadline;
        }
    }

    /// Takes a lease off the deadlines.
    pub(super) fn keep(&mut self, id: LeaseId) {
        if let Some((deadline, _)) = self.leases.get(&id) {
            self.deadlines.remove(&(*deadline, id));
        }
    }

    /// Ends a lease, and says whether there was an answer; `None` when it was taken back before.
    pub(super) fn end(&mut self, id: LeaseId) -> Option<bool> {
        let (deadline, _) = self.leases.remove(&id)?;
        let is_kept = self.deadlines.remove(&(deadline, id)).is_none();
        Some(is_kept)
    }

    /// The next delivery whose worker is lost.
    pub(super) fn pop_expired(&mut self, now: Instant) -> Option<(LeaseId, Entry)> {
        let (deadline, id) = *self.deadlines.first_key_value()?.0;
        if deadline > now {
            return None;
        }
        self.deadlines.remove(&(deadline, id));
        self.leases.remove(&id).map(|(_, entry)| (id, entry))
    }

    /// Takes a delivery out that waits for this time.
    pub(super) fn take(&mut self, key: DeliveryKey, due_ms: i64) -> Option<Entry> {
        let then = self.due.range((due_ms, 0)..=(due_ms, u64::MAX));
        let mut found = then.filter(|(_, later)| later.key() == key);
        let at = found.next().map(|(at, _)| *at)?;
        let later = self.due.remove(&at)?;
        self.unpack(later, due_ms)
    }

    /// The leases of these deliveries.
    pub(super) fn leased_of(
        &self,
        keys: &HashSet<DeliveryKey>,
    ) -> impl Iterator<Item = (LeaseId, DeliveryKey)> {
        let leases = self.leases.iter();
        leases.filter_map(|(id, (_, entry))| keys.contains(&entry.key).then_some((*id, entry.key)))
    }

    /// How long nothing can happen by time alone; `None` when nothing waits.
    pub(super) fn sleep(&self, now_ms: i64, now: Instant) -> Option<Duration> {
        let due = self.due.first_key_value().map(|((due_ms, _), _)| *due_ms);
        let hold = self.holds.first().map(|(until_ms, _)| *until_ms);
        let due = due.into_iter().chain(hold).min().map(|due_ms| {
            Duration::from_millis(u64::try_from(due_ms.saturating_sub(now_ms)).unwrap_or(0))
                .min(SLEEP_MAX)
        });
        let deadline = self
            .deadlines
            .first_key_value()
            .map(|((deadline, _), ())| deadline.duration_since(now));
        match (due, deadline) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.due.len()
    }

    pub(super) fn leased(&self) -> usize {
        self.leases.len()
    }
}
