//! Source addresses: from which of our addresses a connection is opened.
//!
//! A delivery leaves from an address of its pool, or from where the host's route puts it when it
//! has none; never from the latter because of trouble with the former. The choice is made for each
//! new connection and is kept with it.
//!
//! - `leave`: what the configuration says of a delivery
//! - `choice`: which addresses may be used, and in which order they are tried
//! - `bind`: a connection from one of them
//! - `host_route`: a connection from none of them
//! - `health`, `window`, `reflector`, `watch`: which of them are up
//! - `usage`: how many connections they have
//! - `trying`: what came of each connect

pub(super) mod bind;
mod choice;
mod health;
mod host_route;
mod leave;
mod reflector;
mod trying;
mod usage;
mod watch;
mod window;

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use outrider_config::snapshot::{AddressState, EgressPool, PoolMode, PoolSelection};
use outrider_webhook::retry::Failure;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use self::bind::BindError;
pub use self::choice::Caller;
use self::choice::{Candidate, Nowhere, Selection, Standing, by_turns, pick, rank};
use self::health::{Change, Health};
pub use self::leave::Leave;
use self::trying::Trying;
pub(super) use self::usage::Counted;
use self::usage::Usage;
use self::window::Window;
use super::fault::Fault;
use super::pool::Key;
use super::route::ADDRESSES_TRIED_MAX;
use crate::metrics::{Departure, EgressMetrics};

/// Where a connection comes from. Two are equal when a connection of the one may be used for the
/// other, as far as [`Source::accepts`] does.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// Whatever the host's route gives it.
    HostRoute,
    /// An address of a pool.
    Pool(Arc<Leaving>),
}

/// What a pool had to offer to one caller when it asked.
#[derive(Debug)]
pub(super) struct Leaving {
    pool: Arc<EgressPool>,
    selection: Selection,
    caller: Caller,
    candidates: Box<[Candidate]>,
    /// One address is tried out: no other one will do, and no connection that is open already.
    is_trial: bool,
}

/// What a pool may have open.
pub(super) struct Room<'a> {
    pub(super) name: &'a Arc<str>,
    pub(super) connections_max: Option<usize>,
    /// By several projects.
    pub(super) is_shared: bool,
}

impl Source {
    /// The pool, and what it may have open.
    pub(super) fn pool(&self) -> Option<Room<'_>> {
        match self {
            Self::HostRoute => None,
            Self::Pool(leaving) => {
                let max = leaving.pool.max_connections();
                Some(Room {
                    name: leaving.pool.name(),
                    connections_max: max.map(|max| usize::try_from(max).unwrap_or(usize::MAX)),
                    is_shared: leaving.pool.mode() == PoolMode::Shared,
                })
            }
        }
    }

    /// Whether it is the pool of this name.
    pub(super) fn is_of(&self, name: &Arc<str>) -> bool {
        self.pool().is_some_and(|pool| pool.name == name)
    }

    /// Whether an open connection from this address will do. Not if the address is not used any
    /// more, or is not that of a caller who always has the same one.
    pub(super) fn accepts(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        let Self::Pool(leaving) = self else {
            return true;
        };
        if leaving.is_trial {
            return false;
        }
        let local = local.ip().to_canonical();
        match leaving.selection {
            Selection::LeastConnections => {
                let mut up = leaving.candidates.iter().filter(|one| one.standing.is_up());
                up.any(|one| one.address == local)
            }
            Selection::Sticky => leaving.rank(remote, |_| 0).first() == Some(&local),
        }
    }
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::HostRoute, Self::HostRoute) => true,
            (Self::Pool(one), Self::Pool(other)) => one.pool.name() == other.pool.name(),
            _ => false,
        }
    }
}

impl Eq for Source {}

impl Hash for Source {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.pool().map(|pool| pool.name).hash(state);
    }
}

impl Leaving {
    fn rank(&self, destination: SocketAddr, open: impl Fn(IpAddr) -> usize) -> Vec<IpAddr> {
        let candidates = &self.candidates;
        rank(candidates, self.selection, destination, self.caller, open)
    }
}

/// What is known of an address of ours.
#[derive(Debug, Default)]
struct Known {
    health: Health,
    window: Window,
    /// What a reflector saw in its place.
    mistaken_for: Option<IpAddr>,
}

/// Tells the pools of the configuration in force.
pub(super) type InForce = Box<dyn Fn() -> Vec<Arc<EgressPool>> + Send + Sync>;

/// Our addresses: which are up, and how much they are used.
pub(super) struct Sources {
    known: Mutex<HashMap<IpAddr, Known>>,
    /// When a pool was last asked for an address, by name.
    asked: Mutex<HashMap<Arc<str>, Instant>>,
    /// The pools of the configuration in force, once they are watched.
    in_force: ArcSwapOption<InForce>,
    usage: Arc<Usage>,
    metrics: EgressMetrics,
}

impl Sources {
    pub(super) fn new(metrics: EgressMetrics) -> Self {
        Self {
            known: Mutex::default(),
            asked: Mutex::default(),
            in_force: ArcSwapOption::empty(),
            usage: Arc::default(),
            metrics,
        }
    }

    /// Where connections are counted.
    pub(super) fn metrics(&self) -> &EgressMetrics {
        &self.metrics
    }

    /// Puts the source into the keys of checked addresses, and takes out those that cannot be
    /// called from it; what is left is in the order of trying.
    ///
    /// # Errors
    /// A [`Fault`] when nothing is left.
    pub(super) fn leave(&self, leave: &Leave, mut keys: Vec<Key>) -> Result<Vec<Key>, Fault> {
        let (pool, fallback, (caller, only)) = match leave {
            Leave::HostRoute => return Ok(in_turns(keys)),
            Leave::Missing(name) => {
                return Err(Fault::no_pool(name));
            }
            Leave::Pool {
                pool,
                fallback,
                caller,
                only,
            } => (pool, fallback, (*caller, *only)),
        };
        self.note_asked(pool, fallback.as_ref());
        let destinations: Vec<_> = keys.iter().map(|key| key.address).collect();
        let offer = |pool: &Arc<EgressPool>| match only {
            None => self.offer(pool, caller),
            Some(address) => self.trial(pool, caller, address),
        };
        let mut offers: Vec<Leaving> = vec![offer(pool)];
        offers.extend(fallback.iter().map(offer));
        let picked = pick(&offers, &destinations, |leaving| &leaving.candidates);
        let picked = picked.map(|picked| Arc::clone(&picked.pool));
        let picked = picked.map_err(|nowhere| nowhere.fault(pool.name()))?;
        offers.retain(|offer| Arc::ptr_eq(&offer.pool, &picked));
        let Some(leaving) = offers.pop() else {
            return Err(Nowhere::NoneUp.fault(pool.name())); // it was in there
        };
        let families = |is_ipv4| {
            let mut up = leaving.candidates.iter().filter(|one| one.standing.is_up());
            up.any(|one| one.address.is_ipv4() == is_ipv4)
        };
        let (v4, v6) = (families(true), families(false));
        keys.retain(|key| if key.address.is_ipv4() { v4 } else { v6 });
        let leaving = Arc::new(leaving);
        for key in &mut keys {
            key.source = Source::Pool(Arc::clone(&leaving));
        }
        Ok(in_turns(keys))
    }

    /// Both are looked after from now on, whichever is used: also one with nothing up comes back.
    fn note_asked(&self, pool: &EgressPool, fallback: Option<&Arc<EgressPool>>) {
        let (mut asked, now) = (self.lock_asked(), Instant::now());
        for pool in std::iter::once(pool).chain(fallback.map(|pool| &**pool)) {
            asked.insert(Arc::clone(pool.name()), now);
        }
    }

    /// Who knows the pools of the configuration in force, from now on.
    pub(super) fn in_force(&self, pools: InForce) {
        self.in_force.store(Some(Arc::new(pools)));
    }

    /// Nobody does any more. Whoever knows them may hold what this is part of.
    pub(super) fn forget_in_force(&self) {
        self.in_force.store(None);
    }

    /// What the same pool has to offer to the same caller by now, as far as is known here.
    ///
    /// # Errors
    /// A [`Fault`] of ours when it has gone, or is for others than before.
    pub(super) fn look_again(&self, leaving: &Arc<Leaving>) -> Result<Arc<Leaving>, Fault> {
        let before = &leaving.pool;
        let now = match self.in_force.load_full() {
            None => Some(Arc::clone(before)), // nobody says
            Some(pools) => pools()
                .into_iter()
                .find(|pool| pool.name() == before.name()),
        };
        let is_same = |now: &Arc<EgressPool>| {
            (now.mode(), now.projects()) == (before.mode(), before.projects())
        };
        match now.filter(is_same) {
            Some(_) if leaving.is_trial => Ok(Arc::clone(leaving)),
            Some(now) => Ok(Arc::new(self.offer(&now, leaving.caller))),
            None => {
                let name = before.name();
                let detail = format!("the egress pool `{name}` is another one by now");
                Err(Fault::new(Failure::NoHealthySource, detail))
            }
        }
    }

    /// A pool as it is now.
    fn offer(&self, pool: &Arc<EgressPool>, caller: Caller) -> Leaving {
        let now = Instant::now();
        let known = self.lock();
        let candidates = pool.addresses().iter().map(|one| Candidate {
            address: one.address,
            standing: match one.state {
                AddressState::Active => known
                    .get(&one.address)
                    .map_or(Standing::Good, |known| known.health.standing(now)),
                AddressState::Down => Standing::Down,
                AddressState::Warming | AddressState::Draining | AddressState::Retired => {
                    Standing::Idle
                }
            },
        });
        Leaving {
            pool: Arc::clone(pool),
            selection: match pool.selection() {
                PoolSelection::LeastConnections => Selection::LeastConnections,
                PoolSelection::Sticky => Selection::Sticky,
            },
            caller,
            candidates: candidates.collect(),
            is_trial: false,
        }
    }

    /// Nothing but this address of it.
    fn trial(&self, pool: &Arc<EgressPool>, caller: Caller, address: IpAddr) -> Leaving {
        let known = self.lock();
        let health = known.get(&address).map(|known| &known.health);
        let standing = health.map_or(Standing::Good, |health| health.standing(Instant::now()));
        Leaving {
            pool: Arc::clone(pool),
            selection: Selection::LeastConnections,
            caller,
            candidates: [Candidate { address, standing }].into(),
            is_trial: true,
        }
    }

    /// A connection to a destination from the first of the pool's addresses that has a port left
    /// for it. A destination that does not take it is not tried from another one.
    ///
    /// # Errors
    /// A [`Fault`] of the destination, or of ours when no address could be used.
    pub(super) async fn connect(
        &self,
        leaving: &Leaving,
        destination: SocketAddr,
        limit: Instant,
    ) -> Result<(TcpStream, Counted), Fault> {
        let ranked = self
            .usage
            .to(destination, |open| leaving.rank(destination, open));
        let (pool, mut is_exhausted) = (leaving.pool.name(), false);
        for source in ranked {
            let from = Departure::Pool(pool, source);
            let active = self.metrics.active(from);
            let counted = self.usage.count(source, destination, active);
            let trying = Trying::new(self, pool, source, destination);
            match timeout_at(limit, bind::connect(source, destination)).await {
                Ok(Ok(stream)) => {
                    trying.ended("connected", Some(true));
                    return Ok((stream, counted));
                }
                Ok(Err(BindError::Absent(error))) => {
                    trying.ended("source_absent", None);
                    self.looked(source, false, &error.to_string());
                }
                Ok(Err(BindError::Exhausted)) => {
                    trying.ended("port_exhausted", None);
                    self.metrics.exhausted(source);
                    is_exhausted = true;
                }
                Ok(Err(BindError::Failed(error))) => {
                    let fault = Fault::connect(destination, &error);
                    let answers = [Failure::ConnectRefused, Failure::ConnectReset];
                    let has_answered = answers.contains(&fault.failure).then_some(true);
                    trying.ended(fault.failure.code(), has_answered);
                    return Err(fault);
                }
                Err(_) => {
                    trying.ended(Failure::ConnectTimeout.code(), Some(false));
                    return Err(Fault::connect_timeout(destination));
                }
            }
        }
        Err(if is_exhausted {
            let detail =
                format!("no local port is left to {destination} from the egress pool `{pool}`");
            Fault::new(Failure::PortExhausted, detail)
        } else {
            Nowhere::NoneUp.fault(pool)
        })
    }

    /// Somebody looked whether an address is on this host.
    fn looked(&self, source: IpAddr, is_here: bool, why: &str) {
        let change = self
            .lock()
            .entry(source)
            .or_default()
            .health
            .looked(is_here, Instant::now());
        tell(source, change, why);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_asked(&self) -> MutexGuard<'_, HashMap<Arc<str>, Instant>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One line for each change of an address.
fn tell(source: IpAddr, change: Option<Change>, why: &str) {
    match change {
        Some(Change::Down) => tracing::warn!(source_ip = %source, why, "egress source down"),
        Some(Change::Up) => tracing::info!(source_ip = %source, why, "egress source up"),
        None => {}
    }
}

/// Both families in turn, IPv4 first as it came; one family alone as it is. No more than are tried.
fn in_turns(keys: Vec<Key>) -> Vec<Key> {
    let mut keys = by_turns(keys, |key| key.address.is_ipv4());
    keys.truncate(ADDRESSES_TRIED_MAX);
    keys
}

impl Nowhere {
    fn fault(self, pool: &str) -> Fault {
        match self {
            Self::OtherFamily => Fault::new(
                Failure::ConnectUnreachable,
                format!("the egress pool `{pool}` has no address of the destination's family"),
            ),
            Self::NoneUp => Fault::new(
                Failure::NoHealthySource,
                format!("no address of the egress pool `{pool}` can be used now"),
            ),
        }
    }
}
