//! How many connections clients have, by their addresses: one that takes all there are leaves none
//! to the others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ingest::client_of;

/// The connections of all clients.
pub(super) struct Crowd {
    per_address_max: usize,
    /// Of each address, or /64 of IPv6, that has any.
    counts: Mutex<HashMap<u128, usize>>,
}

/// A connection's place, until it is dropped.
pub(super) struct Place {
    crowd: Arc<Crowd>,
    client: u128,
}

impl Crowd {
    pub(super) fn new(per_address_max: usize) -> Arc<Self> {
        Arc::new(Self {
            per_address_max,
            counts: Mutex::default(),
        })
    }

    /// A place for one more connection of this address; `None` when it has as many as it may.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let client = client_of(address);
        let mut counts = self.lock();
        let count = counts.entry(client).or_default();
        if *count >= self.per_address_max {
            return None; // at least one is there, so nothing is left behind
        }
        *count += 1;
        Some(Place {
            crowd: Arc::clone(self),
            client,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u128, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.crowd.lock();
        if let Some(count) = counts.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.client); // nothing is kept of who has gone
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_so_many_places_and_nothing_is_kept_of_it() {
        let crowd = Crowd::new(2);
        let enter = |address: &str| crowd.enter(address.parse().unwrap());
        let own = [enter("192.0.2.1"), enter("::ffff:192.0.2.1")];
        assert!(own.iter().all(Option::is_some));
        assert!(enter("192.0.2.1").is_none());
        let others = ["192.0.2.2", "2001:db8::1", "2001:db8::2"].map(enter);
        assert!(others.iter().all(Option::is_some));
        assert!(enter("2001:db8::3").is_none(), "the same /64");
        drop(own);
        assert!(enter("192.0.2.1").is_some());
        drop(others);
        assert!(crowd.lock().is_empty());
    }
}
