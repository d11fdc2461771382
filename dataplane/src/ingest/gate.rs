//! How many connections there may be: in all, and from one client address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use outrider_webhook::address::AddressSet;

use crate::metrics::Metrics;

/// Counts of addresses are spread over so many locks.
const SHARDS: usize = 16;

/// Counts the connections of the public listener.
pub(super) struct Gate {
    max: usize,
    per_address_max: usize,
    proxies: AddressSet,
    open: AtomicUsize,
    addresses: [Mutex<HashMap<u128, usize>>; SHARDS],
    metrics: Arc<Metrics>,
}

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Full {
    /// All places are taken.
    #[error("too many connections at once")]
    All,
    /// All places for one address are taken.
    #[error("too many connections at once from this address")]
    Address,
}

impl Full {
    /// Stable code, also the metric's label.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::All => "too_many_connections",
            Self::Address => "too_many_connections_of_address",
        }
    }
}

impl Gate {
    /// `caps` are for all and for one address; proxies have as many as they need.
    pub(super) fn new(caps: [usize; 2], proxies: AddressSet, metrics: Arc<Metrics>) -> Self {
        let [max, per_address_max] = caps;
        Self {
            max,
            per_address_max,
            proxies,
            open: AtomicUsize::new(0),
            addresses: Default::default(),
            metrics,
        }
    }

    /// A place for a connection, until it is dropped.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Result<Place, Full> {
        let mut place = Place {
            gate: Arc::clone(self),
            client: None,
        };
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        self.metrics.connections_open.inc();
        if open > self.max {
            return Err(self.refused(Full::All));
        }
        if self.proxies.contains(address) {
            return Ok(place);
        }
        let client = client_of(address);
        {
            let mut counts = self.counts(client);
            let count = counts.entry(client).or_default();
            if *count >= self.per_address_max {
                return Err(self.refused(Full::Address));
            }
            *count += 1;
        }
        place.client = Some(client);
        Ok(place)
    }

    fn refused(&self, full: Full) -> Full {
        let refusals = &self.metrics.connections_refused;
        refusals.with_label_values(&[full.code()]).inc();
        full
    }

    fn counts(&self, client: u128) -> MutexGuard<'_, HashMap<u128, usize>> {
        // Folded, as neighbours often differ in their last bits only.
        let folded = (client ^ (client >> 64) ^ (client >> 8)) % SHARDS as u128;
        let shard = usize::try_from(folded).unwrap_or(0);
        let [first, ..] = &self.addresses;
        let counts = self.addresses.get(shard).unwrap_or(first);
        counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place.
pub(super) struct Place {
    gate: Arc<Gate>,
    client: Option<u128>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gate.open.fetch_sub(1, Ordering::Relaxed);
        self.gate.metrics.connections_open.dec();
        let Some(client) = self.client else { return };
        let mut counts = self.gate.counts(client);
        if let Some(count) = counts.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&client);
            }
        }
    }
}

/// Who an address counts as. A host has a whole /64 of IPv6 to choose from.
pub(crate) fn client_of(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits() >> 64 << 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(max: usize, per_address_max: usize) -> Arc<Gate> {
        let metrics = Arc::new(Metrics::new().unwrap());
        let proxies = ["203.0.113.0/24".parse().unwrap()].into_iter().collect();
        Arc::new(Gate::new([max, per_address_max], proxies, metrics))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_address_cannot_take_the_places_of_the_others() {
        let gate = gate(5, 2);
        let held: Vec<_> = ["192.0.2.1", "::ffff:192.0.2.1"]
            .map(|text| gate.enter(ip(text)).unwrap())
            .into();
        assert_eq!(gate.enter(ip("192.0.2.1")).err(), Some(Full::Address));
        let held6: Vec<_> = ["2001:db8::1", "2001:db8::2:1"]
            .map(|text| gate.enter(ip(text)).unwrap())
            .into();
        assert_eq!(gate.enter(ip("2001:db8::3")).err(), Some(Full::Address));
        let last = gate.enter(ip("2001:db8:0:1::3")).unwrap();
        assert_eq!(gate.enter(ip("192.0.2.2")).err(), Some(Full::All));
        drop((held, held6, last));
        let proxied: Vec<_> = (0..5).map(|_| gate.enter(ip("203.0.113.1"))).collect();
        assert!(proxied.iter().all(Result::is_ok));
        assert_eq!(gate.enter(ip("203.0.113.1")).err(), Some(Full::All));
        drop(proxied);
        assert_eq!(gate.metrics.connections_open.get(), 0);
        assert_eq!(gate.open.load(Ordering::Relaxed), 0);
        assert!(
            gate.addresses
                .iter()
                .all(|shard| shard.lock().unwrap().is_empty())
        );
        let refused = |code| {
            gate.metrics
                .connections_refused
                .with_label_values(&[code])
                .get()
        };
        assert_eq!(refused("too_many_connections"), 2);
        assert_eq!(refused("too_many_connections_of_address"), 2);
    }
}
