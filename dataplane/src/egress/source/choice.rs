//! Which of our addresses a connection leaves from: the rules, without sockets and clocks.
//!
//! A pool is asked for its addresses of the destination's family that are up; another pool only
//! where it names one to fall back to and has none of its own. An address that is suspect comes
//! after all others: taken out it is not, so that it is never missed as the last one.

use std::cmp::Reverse;
use std::net::{IpAddr, SocketAddr};

use outrider_webhook::id::Uid;

/// How good an address of a pool is at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// It is used.
    Good,
    /// Connections from it run out of time more often than from the others.
    Suspect,
    /// It is meant to be used, and is not on this host or reaches nobody.
    Down,
    /// It is not meant to be used: published only, or about to leave.
    Idle,
}

impl Standing {
    pub(crate) const fn is_up(self) -> bool {
        matches!(self, Self::Good | Self::Suspect)
    }

    /// Whether the pool calls from it when all is well.
    const fn is_meant(self) -> bool {
        !matches!(self, Self::Idle)
    }
}

/// An address of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) address: IpAddr,
    pub(crate) standing: Standing,
}

/// Who leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The project.
    pub project: Uid,
    /// Its endpoint, where it is for one.
    pub endpoint: Option<Uid>,
}

/// How a pool chooses among its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Selection {
    /// The one with the fewest connections to the destination.
    LeastConnections,
    /// Always the same one for an endpoint, as long as it is there.
    Sticky,
}

/// Nothing may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nowhere {
    /// The pool has no address of any family of the destination.
    OtherFamily,
    /// None of the addresses it has is up.
    NoneUp,
}

/// The first of `pools` (a pool, and what it falls back to) that has an address which is up and
/// fits one of the destinations.
pub(crate) fn pick<'p, P>(
    pools: &'p [P],
    destinations: &[SocketAddr],
    candidates: impl Fn(&'p P) -> &'p [Candidate],
) -> Result<&'p P, Nowhere> {
    for (position, pool) in pools.iter().enumerate() {
        let fits = |candidate: &Candidate| {
            let mut families = destinations.iter().map(SocketAddr::is_ipv4);
            families.any(|is_ipv4| candidate.address.is_ipv4() == is_ipv4)
        };
        let all = candidates(pool);
        if all.iter().any(|one| fits(one) && one.standing.is_up()) {
            return Ok(pool);
        }
        let mut meant = all.iter().filter(|one| one.standing.is_meant());
        // What it is meant to call from is of another family: no failure of an address, so no
        // reason to call from those of another pool.
        if position == 0 && meant.clone().next().is_some() && !meant.any(fits) {
            return Err(Nowhere::OtherFamily);
        }
    }
    Err(Nowhere::NoneUp)
}

/// The addresses to leave from to `destination`, in the order of trying. `open` tells how many
/// connections there are from an address to it.
pub(crate) fn rank(
    candidates: &[Candidate],
    selection: Selection,
    destination: SocketAddr,
    caller: Caller,
    open: impl Fn(IpAddr) -> usize,
) -> Vec<IpAddr> {
    let mut ranked: Vec<_> = candidates
        .iter()
        .filter(|one| one.standing.is_up() && one.address.is_ipv4() == destination.is_ipv4())
        .map(|one| {
            let (busy, by) = match selection {
                Selection::LeastConnections => (open(one.address), caller.project),
                Selection::Sticky => (0, caller.endpoint.unwrap_or(caller.project)),
            };
            let rank = (one.standing, busy, Reverse(weight(by, one.address)));
            (rank, one.address)
        })
        .collect();
    ranked.sort_unstable_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, address)| address).collect()
}

/// Destinations in the order of trying, when both families may be used: one of each in turn, so
/// that a family which does not work costs one wait. The first one stays the first.
pub(crate) fn by_turns<T>(destinations: Vec<T>, is_ipv4: impl Fn(&T) -> bool) -> Vec<T> {
    let first = destinations.first().is_none_or(&is_ipv4);
    if destinations.iter().all(|of| is_ipv4(of) == first) {
        return destinations; // as most are
    }
    let (mut one, mut other): (Vec<_>, Vec<_>) = destinations
        .into_iter()
        .partition(|of| is_ipv4(of) == first);
    let mut turns = Vec::with_capacity(one.len() + other.len());
    let (mut one, mut other) = (one.drain(..), other.drain(..));
    loop {
        let pair = (one.next(), other.next());
        if pair.0.is_none() && pair.1.is_none() {
            return turns;
        }
        turns.extend([pair.0, pair.1].into_iter().flatten());
    }
}

/// A number for an owner and an address, the same on every host and in every version: each owner
/// has an order of the addresses of its own, which the going of one of them does not change.
fn weight(owner: Uid, address: IpAddr) -> u64 {
    let address = match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let halves = |bits: u128| [bits >> 64, bits & u128::from(u64::MAX)];
    let parts = halves(owner.bits()).into_iter().chain(halves(address));
    parts.fold(0, |mixed, part| {
        mix(mixed ^ u64::try_from(part).unwrap_or_default())
    })
}

/// The finaliser of `splitmix64`: every bit of what comes in changes half of what comes out.
const fn mix(bits: u64) -> u64 {
    let bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests;
