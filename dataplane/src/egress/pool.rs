//! Connections kept open between attempts.
//!
//! The key holds everything that makes two connections different in the eyes of anyone: a
//! connection is never shared by two projects, two source addresses, two policies or two sets of
//! TLS settings. Bounded per
//! key and in all; a connection is young (its address was checked when it was opened) and was
//! idle for a short time only.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use outrider_webhook::id::ProjectId;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::fault::Fault;
use super::gate::Keeper;
use super::heard::LastWords;
use super::source::Source;
use super::tls::Profile;
use super::vetting::Judged;
use super::via::Through;

/// What must be equal for a connection to be used again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Whose connection it is.
    pub(super) project: ProjectId,
    /// Where it comes from: a pool of ours, or the host's route.
    pub(super) source: Source,
    /// The checked address it goes to; that of the proxy, where it goes through one.
    pub(super) address: SocketAddr,
    /// What is behind the proxy.
    pub(super) through: Option<Arc<Through>>,
    /// TLS settings; `None` is plain HTTP.
    pub(super) tls: Option<Profile>,
    /// Name in the certificate and in `Host`.
    pub(super) server_name: Box<str>,
    /// The address policy it was checked under.
    pub(super) policy_version: Judged,
}

/// What connections are counted by, besides their projects.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// A checked address.
    At(SocketAddr),
    /// What is behind a proxy: at which address is known there.
    Behind(Arc<Through>),
}

impl Key {
    /// Whether requests are given to the proxy, which makes TLS.
    pub(super) fn forwarded(&self) -> Option<&Arc<Through>> {
        self.through
            .as_ref()
            .filter(|through| through.is_forwarded())
    }

    /// Whether an open connection will do.
    fn accepts(&self, open: &impl Pooled) -> bool {
        let local = open.local();
        match &self.through {
            None => self.source.accepts(local, self.address),
            Some(through) => through.accepts(local, (self.address, open.opened())),
        }
    }

    /// Of the destination, also behind a proxy.
    pub(super) fn port(&self) -> u16 {
        let through = self.through.as_ref();
        through.map_or(self.address.port(), |through| through.port())
    }

    pub(super) fn place(&self) -> Place {
        match &self.through {
            None => Place::At(self.address),
            Some(through) => Place::Behind(Arc::clone(through)),
        }
    }
}

/// Tells the task of a connection, by being dropped, that nobody will use it any more.
pub(super) type Alive = oneshot::Sender<Infallible>;

/// Says why a connection broke; closed when it ended well, or is used.
pub(super) type Broken = oneshot::Receiver<Fault>;

/// An open connection: the sending half; the other half is a task that ends when this is dropped.
pub(super) struct Connection {
    pub(super) _alive: Alive,
    /// What was wrong with TLS, if it was.
    pub(super) last_words: LastWords,
    /// Why it broke, from its task.
    pub(super) broken: Broken,
    pub(super) sender: SendRequest<Full<Bytes>>,
    pub(super) opened: Instant,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
}

/// What a pool keeps.
pub(super) trait Pooled {
    /// When it was opened.
    fn opened(&self) -> Instant;
    /// Whether it can be used at once, as far as is known here.
    fn is_ready(&self) -> bool;
    /// Our side of it.
    fn local(&self) -> SocketAddr;
}

impl Pooled for Connection {
    fn opened(&self) -> Instant {
        self.opened
    }

    fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    fn local(&self) -> SocketAddr {
        self.local
    }
}

struct Idle<C> {
    connection: C,
    since: Instant,
    until: Instant,
}

impl<C: Pooled> Idle<C> {
    fn is_usable(&self, now: Instant) -> bool {
        now < self.until && self.connection.is_ready()
    }
}

/// Bounds of the pool.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) idle_timeout: Duration,
    pub(super) age_max: Duration,
    pub(super) per_key_max: usize,
    pub(super) total_max: usize,
}

/// Which idle connections may be given up to make room for a new one.
#[derive(Debug, Clone)]
pub(super) enum Give {
    /// Any of this project.
    Project(ProjectId),
    /// Any to this place.
    Destination(Place),
    /// Any of this project to this place.
    Pair(ProjectId, Place),
    /// Any from this pool of ours.
    Pool(Arc<str>),
    /// Any of this project from this pool of ours.
    Share(ProjectId, Arc<str>),
    /// Any.
    Any,
}

impl Give {
    fn covers(&self, key: &Key) -> bool {
        match self {
            Self::Project(project) => key.project == *project,
            Self::Destination(place) => key.place() == *place,
            Self::Pair(project, place) => key.project == *project && key.place() == *place,
            Self::Pool(name) => key.source.is_of(name),
            Self::Share(project, name) => key.project == *project && key.source.is_of(name),
            Self::Any => true,
        }
    }
}

struct State<C> {
    queues: HashMap<Key, VecDeque<Idle<C>>>, // oldest in front; no queue is empty
    total: usize,
}

impl<C> Default for State<C> {
    fn default() -> Self {
        Self {
            queues: HashMap::new(),
            total: 0,
        }
    }
}

/// Idle connections.
pub(super) struct Pool<C> {
    bounds: Bounds,
    state: Mutex<State<C>>,
}

impl<C: Pooled> Pool<C> {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            state: Mutex::default(),
        }
    }

    /// Takes the connection that was used last, which is the one least likely to be closed by the
    /// other side; drops those found unusable on the way. One from an address of ours
    /// that the asker does not leave from is passed over.
    pub(super) fn take(&self, key: &Key) -> Option<C> {
        let now = Instant::now();
        let mut state = self.lock();
        let State { queues, total } = &mut *state;
        let queue = queues.get_mut(key)?;
        let (mut found, mut at) = (None, queue.len());
        while found.is_none() && at > 0 {
            at -= 1;
            let Some(idle) = queue.get(at) else { break };
            let is_usable = idle.is_usable(now);
            if is_usable && !key.accepts(&idle.connection) {
                continue;
            }
            let removed = queue.remove(at);
            *total -= 1;
            found = removed.filter(|_| is_usable).map(|idle| idle.connection);
        }
        if queue.is_empty() {
            queues.remove(key);
        }
        found
    }

    /// As [`Pool::take`], of the first of these keys that has one.
    pub(super) fn take_any(&self, keys: &[Key]) -> Option<(Key, C)> {
        let mut found = keys
            .iter()
            .filter_map(|key| self.take(key).map(|one| (key, one)));
        found.next().map(|(key, one)| (key.clone(), one))
    }

    /// Keeps a connection for the next attempt. `promised`: how long the receiver said it keeps
    /// idle connections. At the bound of its key the oldest gives way; at the bound of the
    /// process the newcomer is closed.
    pub(super) fn put(&self, key: Key, connection: C, promised: Option<Duration>) {
        let now = Instant::now();
        let keep = promised.map_or(self.bounds.idle_timeout, |promised| {
            promised.min(self.bounds.idle_timeout)
        });
        let until = (now + keep).min(connection.opened() + self.bounds.age_max);
        if until <= now || self.bounds.per_key_max == 0 {
            return;
        }
        let mut state = self.lock();
        let State { queues, total } = &mut *state;
        let full = *total >= self.bounds.total_max;
        let oldest = match queues.get_mut(&key) {
            Some(queue) if full || queue.len() >= self.bounds.per_key_max => queue.pop_front(),
            _ if full => return,
            _ => None,
        };
        if oldest.is_none() {
            *total += 1;
        }
        queues.entry(key).or_default().push_back(Idle {
            connection,
            since: now,
            until,
        });
    }

    /// Closes what is over its time, or was closed by the other side.
    pub(super) fn reap(&self) {
        let now = Instant::now();
        let mut state = self.lock();
        let mut total = 0;
        state.queues.retain(|_, queue| {
            queue.retain(|idle| idle.is_usable(now));
            total += queue.len();
            !queue.is_empty()
        });
        state.total = total;
    }

    /// Closes all.
    pub(super) fn clear(&self) {
        *self.lock() = State::default();
    }

    /// How many are idle.
    pub(super) fn idle(&self) -> usize {
        self.lock().total
    }

    fn lock(&self) -> MutexGuard<'_, State<C>> {
        // A panic while it was held is a bug elsewhere; the worst left behind is a wrong count.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Pooled + Send> Keeper for Pool<C> {
    /// A scan: only called when a limit on open connections is reached.
    fn give_up_one(&self, which: &Give) -> bool {
        let mut state = self.lock();
        let oldest = state
            .queues
            .iter()
            .filter(|(key, _)| which.covers(key))
            .filter_map(|(key, queue)| Some((queue.front()?.since, key)))
            .min_by_key(|(since, _)| *since)
            .map(|(_, key)| key.clone());
        let Some(key) = oldest else { return false };
        let State { queues, total } = &mut *state;
        let Some(queue) = queues.get_mut(&key) else {
            return false;
        };
        if queue.pop_front().is_some() {
            *total -= 1;
        }
        if queue.is_empty() {
            queues.remove(&key);
        }
        true
    }
}
