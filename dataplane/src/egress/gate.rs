//! How many connections may be open: per project, per destination, per pool of source addresses
//! that has a limit, in all.
//!
//! At a limit the newcomer waits, within its own connect time, until a connection ends or one of
//! its own kind becomes idle; idle ones of others that stand in its way are given up, one at a
//! time. One project has at most half of what a destination gets, so projects that share an
//! address (a content network, say) do not shut each other out; and of what a shared pool gets,
//! so that one whose receivers hold connections leaves some to others. Counted from before the connect to the end of the
//! connection's task, so that the limit is one on sockets.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use outrider_webhook::id::ProjectId;
use tokio::sync::Notify;

use super::pool::{Give, Key, Place, Pool, Pooled};
use super::source::Counted;
use crate::metrics::Active;

/// Limits on open connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caps {
    pub(super) per_project: usize,
    pub(super) per_destination: usize,
    pub(super) total: usize,
}

#[derive(Default)]
struct Counts {
    projects: HashMap<ProjectId, usize>,
    destinations: HashMap<Place, usize>,
    pairs: HashMap<(ProjectId, Place), usize>,
    pools: HashMap<Arc<str>, usize>,
    /// Of each pool, by who has them.
    shares: HashMap<(ProjectId, Arc<str>), usize>,
    total: usize,
}

/// Counts open connections.
pub(super) struct Gate {
    caps: Caps,
    counts: Mutex<Counts>,
    freed: Notify,
    waiting: AtomicUsize,
    /// An idle connection was given up, and its end has not come yet.
    is_giving_up: AtomicBool,
    /// All that keep idle connections which are counted here.
    keepers: OnceLock<Vec<Weak<dyn Keeper>>>, // what they keep holds this
}

/// Keeps idle connections.
pub(super) trait Keeper: Send + Sync {
    /// Closes the one that was idle longest among those that may be given up.
    fn give_up_one(&self, which: &Give) -> bool;
}

/// The right to have one connection open; given back on drop.
pub(super) struct Permit {
    gate: Arc<Gate>,
    project: ProjectId,
    destination: Place,
    /// The pool it is counted for.
    pool: Option<Arc<str>>,
    /// Its place in the count of where it is opened from; none for one to a proxy.
    _leaving: Option<Box<Leaving>>, // small: this is in everything that opens
}

/// Where a connection is counted besides.
enum Leaving {
    /// With those by the host's route.
    HostRoute { _active: Active },
    /// With those of an address of ours.
    Address { _counted: Counted },
}

impl Permit {
    /// The connection is opened from an address of ours, and counted there.
    pub(super) fn counted(mut self, counted: Counted) -> Self {
        let leaving = Leaving::Address { _counted: counted };
        self._leaving = Some(Box::new(leaving));
        self
    }

    /// It is opened by the host's route.
    pub(super) fn active(mut self, active: Active) -> Self {
        let leaving = Leaving::HostRoute { _active: active };
        self._leaving = Some(Box::new(leaving));
        self
    }
}

/// How an attempt gets its connection.
pub(super) enum Entered<C> {
    /// It may open one; at once, or after a wait in which the world may have changed.
    Room {
        /// Its place.
        permit: Permit,
        has_waited: bool,
    },
    /// One that was in use became idle meanwhile.
    Idle(C),
}

impl Gate {
    pub(super) fn new(caps: Caps) -> Arc<Self> {
        Arc::new(Self {
            caps,
            counts: Mutex::default(),
            freed: Notify::new(),
            waiting: AtomicUsize::new(0),
            is_giving_up: AtomicBool::new(false),
            keepers: OnceLock::new(),
        })
    }

    /// Whose idle connections may be given up, whoever needs their place.
    pub(super) fn kept_by(&self, keepers: Vec<Weak<dyn Keeper>>) {
        let _ = self.keepers.set(keepers); // once, at the start
    }

    /// Waits for room, or for a connection that needs none. Cancel-safe; the caller bounds the
    /// time.
    pub(super) async fn enter<C: Pooled>(
        self: &Arc<Self>,
        key: &Key,
        pool: &Pool<C>,
    ) -> Entered<C> {
        let _waiting = Waiting::new(&self.waiting);
        let mut has_waited = false;
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable(); // before the look, so that no end is missed between the two
            match self.try_enter(key) {
                Ok(permit) => return Entered::Room { permit, has_waited },
                Err(full) => {
                    if let Some(connection) = pool.take(key) {
                        return Entered::Idle(connection);
                    }
                    self.make_room(&full);
                }
            }
            freed.await;
            has_waited = true;
        }
    }

    /// Gives up one idle connection, unless one is on its way out already.
    fn make_room(&self, full: &Give) {
        let keepers = self.keepers.get().map_or(&[][..], Vec::as_slice);
        let mut there = keepers.iter().filter_map(Weak::upgrade);
        if !self.is_giving_up.swap(true, Ordering::AcqRel)
            && !there.any(|keeper| keeper.give_up_one(full))
        {
            self.is_giving_up.store(false, Ordering::Release);
        }
    }

    /// A connection became idle: whoever waits may want it given up.
    pub(super) fn idle_changed(&self) {
        if self.waiting.load(Ordering::Acquire) > 0 {
            self.freed.notify_waiters();
        }
    }

    /// Connections open now.
    pub(super) fn open(&self) -> usize {
        self.lock().total
    }

    /// How many ask for a place now.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    fn try_enter(self: &Arc<Self>, key: &Key) -> Result<Permit, Give> {
        let (project, destination) = (key.project, key.place());
        let mut counts = self.lock();
        let of = |count: Option<&usize>| count.copied().unwrap_or(0);
        if of(counts.projects.get(&project)) >= self.caps.per_project {
            return Err(Give::Project(project));
        }
        if of(counts.destinations.get(&destination)) >= self.caps.per_destination {
            return Err(Give::Destination(destination));
        }
        let pair = (project, destination);
        if of(counts.pairs.get(&pair)) >= self.caps.per_destination.div_ceil(2) {
            return Err(Give::Pair(pair.0, pair.1));
        }
        let (_, destination) = &pair;
        let pool = key.source.pool();
        if let Some(pool) = &pool
            && let Some(max) = pool.connections_max
        {
            if of(counts.pools.get(pool.name)) >= max {
                return Err(Give::Pool(Arc::clone(pool.name)));
            }
            let share = (project, Arc::clone(pool.name));
            if pool.is_shared && of(counts.shares.get(&share)) >= max.div_ceil(2) {
                return Err(Give::Share(share.0, share.1));
            }
        }
        if counts.total >= self.caps.total {
            return Err(Give::Any);
        }
        let pool = pool.map(|pool| Arc::clone(pool.name));
        if let Some(name) = &pool {
            *counts.pools.entry(Arc::clone(name)).or_default() += 1;
            let share = (project, Arc::clone(name));
            *counts.shares.entry(share).or_default() += 1;
        }
        *counts.projects.entry(project).or_default() += 1;
        *counts.destinations.entry(destination.clone()).or_default() += 1;
        *counts.pairs.entry(pair.clone()).or_default() += 1;
        counts.total += 1;
        Ok(Permit {
            gate: Arc::clone(self),
            project,
            destination: pair.1,
            pool,
            _leaving: None,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.gate.lock();
        less(&mut counts.projects, self.project);
        less(&mut counts.destinations, self.destination.clone());
        less(&mut counts.pairs, (self.project, self.destination.clone()));
        if let Some(pool) = self.pool.take() {
            less(&mut counts.shares, (self.project, Arc::clone(&pool)));
            less(&mut counts.pools, pool);
        }
        counts.total = counts.total.saturating_sub(1);
        drop(counts);
        self.gate.is_giving_up.store(false, Ordering::Release);
        self.gate.freed.notify_waiters();
    }
}

/// Counts one less, and forgets what has come to nothing.
fn less<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K) {
    if let Entry::Occupied(mut count) = counts.entry(key) {
        if *count.get() <= 1 {
            count.remove();
        } else {
            *count.get_mut() -= 1;
        }
    }
}

/// One more in a count of those who wait, for as long as it lives.
pub(super) struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    pub(super) fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::AcqRel);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
