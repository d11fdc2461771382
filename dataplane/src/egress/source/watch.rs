//! Looks after our addresses: twice a second whether they are on this host and what was seen of
//! them meanwhile, every ten seconds whether they reach the reflectors.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, FuturesUnordered};
use outrider_config::snapshot::{AddressState, EgressPool};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::health::Change;
use super::reflector::{Reflection, reflect};
use super::window::{Tally, is_suspect};
use super::{Sources, bind, tell};
use crate::egress::resolve::Resolver;
use crate::egress::settings::Reflector;
use crate::metrics::SourceNow;

const LOOK_EVERY: Duration = Duration::from_millis(500);
const REFLECT_EVERY: Duration = Duration::from_secs(10);
/// A pool that nobody asked for so long is not tried on reflectors, unless one of its addresses is
/// down by them.
const UNUSED_AFTER: Duration = Duration::from_secs(600);
/// Reflectors that have to be missed for a round to have failed: one may be away itself.
const MISSED_MIN: usize = 2;
/// Sockets that a round has open at once.
const SOCKETS_MAX: usize = 256;
/// Addresses of a family that a reflector is tried at.
const PLACES_MAX: usize = 4;
/// Share of the ports to one destination, in hundredths, from which on it is worth a line.
const PORTS_NEAR: usize = 70;
/// Ports that the kernel gives by itself, where it cannot be asked.
const PORTS_DEFAULT: usize = 28_232;

/// What came of a round of reflectors for an address.
struct Round {
    source: IpAddr,
    /// One for each reflector that has addresses of the family.
    reflections: Vec<Reflection>,
}

/// What was shown last, to be taken back when it is no longer so.
#[derive(Default)]
struct Shown {
    states: HashMap<IpAddr, &'static str>,
    near: HashSet<IpAddr>,
}

impl Sources {
    /// Watches until `stop`.
    pub(in crate::egress) async fn watch(
        &self,
        pools: impl Fn() -> Vec<Arc<EgressPool>>,
        reflectors: &[Reflector],
        resolver: &Resolver,
        stop: CancellationToken,
    ) {
        let ports = ports();
        let (mut rounds, mut shown) = (FuturesUnordered::new(), Shown::default());
        let mut tick = interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reflect_at = Instant::now();
        loop {
            // Any may be dropped at any point; rounds go on where they were.
            tokio::select! {
                () = stop.cancelled() => return,
                Some(done) = rounds.next() => {
                    let done: Vec<Round> = done;
                    done.iter().for_each(|round| self.reflected(round));
                    continue;
                }
                _ = tick.tick() => {}
            }
            let pools = pools();
            self.look(&pools);
            self.compare(&pools);
            self.show(&pools, ports, &mut shown);
            if reflectors.is_empty() || Instant::now() < reflect_at || !rounds.is_empty() {
                continue;
            }
            let used = self.used(&pools);
            if !used.is_empty() {
                reflect_at = Instant::now() + REFLECT_EVERY;
                rounds.push(round(used, reflectors, resolver));
            }
        }
    }

    /// Whether the addresses that are meant to be used are on this host.
    fn look(&self, pools: &[Arc<EgressPool>]) {
        let all = pools.iter().flat_map(|pool| pool.addresses().iter());
        let all: HashSet<IpAddr> = all.map(|one| one.address).collect();
        self.lock().retain(|source, _| all.contains(source));
        for source in active(pools) {
            // For want of a socket nothing is known.
            if let Some(is_here) = bind::is_here(source) {
                self.looked(source, is_here, "it is looked for twice a second");
            }
        }
    }

    /// Marks addresses that reach much less than the others of their pool.
    fn compare(&self, pools: &[Arc<EgressPool>]) {
        let now = Instant::now();
        let mut known = self.lock();
        for pool in pools {
            let mut tallies = Vec::new();
            for source in active(std::slice::from_ref(pool)) {
                if let Some(known) = known.get_mut(&source) {
                    tallies.push((source, known.window.tally(now)));
                }
            }
            let all = tallies
                .iter()
                .fold(Tally::default(), |all, (_, one)| all.plus(*one));
            for (source, own) in tallies {
                if is_suspect(own, all.minus(own))
                    && let Some(known) = known.get_mut(&source)
                    && known.health.suspect(now)
                {
                    tracing::warn!(
                        source_ip = %source,
                        pool = &**pool.name(),
                        destinations = own.destinations,
                        silent = own.silent,
                        "egress source suspect"
                    );
                }
            }
        }
    }

    /// Addresses that reflectors are worth to be tried from.
    fn used(&self, pools: &[Arc<EgressPool>]) -> Vec<IpAddr> {
        let now = Instant::now();
        let is_late = |asked: &Instant| now.saturating_duration_since(*asked) > UNUSED_AFTER;
        let asked: HashSet<Arc<str>> = {
            let mut asked = self.lock_asked();
            asked.retain(|_, at| !is_late(at));
            asked.keys().cloned().collect()
        };
        let known = self.lock();
        let is_unreached = |source: IpAddr| {
            known
                .get(&source)
                .is_some_and(|one| one.health.is_unreached())
        };
        let is_used = |pool: &&Arc<EgressPool>| {
            asked.contains(pool.name()) || active(std::slice::from_ref(*pool)).any(is_unreached)
        };
        let used: Vec<_> = pools.iter().filter(is_used).cloned().collect();
        let is_here = |source: &IpAddr| known.get(source).is_some_and(|one| one.health.is_here());
        active(&used).filter(is_here).collect()
    }

    /// A round is over: one reflector that is reached is enough, one that is missed alone says
    /// nothing, nor does one that could not be tried.
    fn reflected(&self, round: &Round) {
        let source = round.source;
        let seen = round
            .reflections
            .iter()
            .find_map(|reflection| match reflection {
                Reflection::Reached { seen } => *seen,
                Reflection::Missed | Reflection::Untried => None,
            });
        let is = |reflection: &Reflection| matches!(reflection, Reflection::Reached { .. });
        let has_reached = round.reflections.iter().any(is);
        let missed = round
            .reflections
            .iter()
            .filter(|one| **one == Reflection::Missed);
        let has_missed = missed.count() >= MISSED_MIN;
        let change = {
            let mut all = self.lock();
            let Some(known) = all.get_mut(&source) else {
                return; // no address of ours any more
            };
            if has_reached {
                let other = seen.filter(|seen| *seen != source);
                if let Some(other) = other.filter(|_| known.mistaken_for != other) {
                    tracing::warn!(source_ip = %source, seen = %other, "egress source_mismatch");
                }
                known.mistaken_for = other;
            }
            (has_reached || has_missed)
                .then(|| known.health.reached(has_reached))
                .flatten()
        };
        let why = match change {
            Some(Change::Down) => "no reflector is reached",
            _ => "reflectors are reached",
        };
        tell(source, change, why);
    }

    fn show(&self, pools: &[Arc<EgressPool>], ports: usize, shown: &mut Shown) {
        let (now, most) = (Instant::now(), self.usage.most());
        let (mut states, mut near) = (HashMap::new(), HashSet::new());
        let known = self.lock();
        for one in pools.iter().flat_map(|pool| pool.addresses().iter()) {
            let known = known.get(&one.address);
            let state = match (one.state, known) {
                (AddressState::Active, Some(known)) => known.health.word(now),
                (state, _) => state.as_str(),
            };
            let mistaken = known.is_some_and(|known| known.mistaken_for.is_some());
            let used = most.get(&one.address).copied().unwrap_or(0);
            if used.saturating_mul(100) > ports.saturating_mul(PORTS_NEAR) {
                near.insert(one.address);
            }
            let now = SourceNow {
                state,
                ports: share(used, ports),
                is_mistaken: mistaken,
            };
            self.metrics.show(one.address, &now);
            states.insert(one.address, state);
        }
        drop(known);
        for (source, state) in &shown.states {
            if states.get(source) != Some(state) {
                self.metrics
                    .unshow(*source, state, !states.contains_key(source));
            }
        }
        for source in near.difference(&shown.near) {
            tracing::warn!(source_ip = %source, "egress source is short of ports to a destination");
        }
        *shown = Shown { states, near };
    }
}

/// The addresses that are meant to be used.
fn active(pools: &[Arc<EgressPool>]) -> impl Iterator<Item = IpAddr> {
    let all = pools.iter().flat_map(|pool| pool.addresses().iter());
    let active = all.filter(|one| one.state == AddressState::Active);
    active.map(|one| one.address)
}

/// Where each reflector is.
async fn addresses(reflectors: &[Reflector], resolver: &Resolver) -> Vec<Vec<SocketAddr>> {
    let mut places = Vec::new();
    for reflector in reflectors {
        match reflector {
            Reflector::At(address) => places.push(vec![*address]),
            Reflector::Named(name, port) => {
                let answers = resolver.lookup(name).await;
                match &answers.addresses {
                    Ok(found) => {
                        let found = found.iter().map(|ip| SocketAddr::new(*ip, *port));
                        places.push(found.collect());
                    }
                    Err(error) => tracing::warn!(%error, reflector = %name, "no egress reflector"),
                }
            }
        }
    }
    places
}

/// All addresses on all reflectors.
async fn round(used: Vec<IpAddr>, reflectors: &[Reflector], resolver: &Resolver) -> Vec<Round> {
    let places = addresses(reflectors, resolver).await;
    try_all(&used, &places, reflect).await
}

/// Tries each source on each place of its family, not too many at once.
async fn try_all<F: Future<Output = Reflection>>(
    used: &[IpAddr],
    places: &[Vec<SocketAddr>],
    reflect: impl Fn(IpAddr, SocketAddr) -> F,
) -> Vec<Round> {
    let mut tries = Vec::new();
    for source in used {
        for (place, addresses) in places.iter().enumerate() {
            let of_family = addresses
                .iter()
                .filter(|to| to.is_ipv4() == source.is_ipv4());
            tries.extend(of_family.take(PLACES_MAX).map(|to| (*source, place, *to)));
        }
    }
    let tries = tries.into_iter().map(|(source, place, to)| {
        let reflection = reflect(source, to);
        async move { (source, place, reflection.await) }
    });
    let mut tries = stream::iter(tries).buffer_unordered(SOCKETS_MAX);
    let mut found: HashMap<IpAddr, HashMap<usize, Reflection>> = HashMap::new();
    while let Some((source, place, reflection)) = tries.next().await {
        let of_source = found.entry(source).or_default();
        let before = of_source.remove(&place).unwrap_or(Reflection::Untried);
        of_source.insert(place, before.or(reflection));
    }
    let rounds = found.into_iter().map(|(source, reflections)| Round {
        source,
        reflections: reflections.into_values().collect(),
    });
    rounds.collect()
}

fn share(used: usize, ports: usize) -> f64 {
    let [used, ports] = [used, ports].map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    f64::from(used) / f64::from(ports)
}

/// How many ports a source has to one destination.
fn ports() -> usize {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let range = range.unwrap_or_default();
    let mut ends = range.split_whitespace().map(str::parse::<usize>);
    match (ends.next(), ends.next()) {
        (Some(Ok(low)), Some(Ok(high))) if low <= high => high - low + 1,
        _ => PORTS_DEFAULT,
    }
}

#[cfg(test)]
mod tests;
