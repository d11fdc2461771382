//! How many requests are passed on at once, in all and for one client: a client with slow uploads
//! must not keep everybody else from the control plane.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, header};

/// Requests passed on at once, and so connections to the control plane.
const AT_ONCE_MAX: usize = 512;
/// Requests of one client among them.
const OF_CLIENT_MAX: usize = 64;

/// The slots that are in use.
#[derive(Default)]
pub(super) struct Slots {
    /// Keyed anew in every process, so that nobody can aim for the slots of somebody else.
    hasher: RandomState,
    used: Mutex<Used>,
}

#[derive(Default)]
struct Used {
    in_all: usize,
    /// Only clients that have any: so there are never more entries than slots.
    of: HashMap<Client, usize>,
}

/// Who asks, as far as can be told before the control plane has looked at the key: the hash of
/// what was presented, or of the address where nothing was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Client(u64);

/// Why there is no slot.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// All are in use.
    All,
    /// This client has as many as one may have.
    Client,
}

/// A slot, until it is dropped.
pub(super) struct Slot<'s> {
    slots: &'s Slots,
    client: Client,
}

impl Slots {
    /// Whose request it is.
    pub(super) fn client(&self, headers: &HeaderMap, address: Option<IpAddr>) -> Client {
        let mut hasher = self.hasher.build_hasher();
        let mut values = headers.get_all(header::AUTHORIZATION).iter().peekable();
        match values.peek() {
            None => address.hash(&mut hasher),
            Some(_) => values.for_each(|value| value.as_bytes().hash(&mut hasher)),
        }
        Client(hasher.finish())
    }

    /// A slot for a request of this client.
    pub(super) fn take(&self, client: Client) -> Result<Slot<'_>, Full> {
        let mut used = self.used();
        if used.in_all >= AT_ONCE_MAX {
            return Err(Full::All);
        }
        let of_client = used.of.entry(client).or_insert(0);
        if *of_client >= OF_CLIENT_MAX {
            return Err(Full::Client);
        }
        *of_client += 1;
        used.in_all += 1;
        let slots = self;
        Ok(Slot { slots, client })
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut used = self.slots.used();
        used.in_all -= 1;
        let left = used.of.get_mut(&self.client).map(|count| {
            *count -= 1;
            *count
        });
        if left == Some(0) {
            used.of.remove(&self.client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(keys: &[&str]) -> HeaderMap {
        let pairs = keys.iter();
        pairs
            .map(|key| (header::AUTHORIZATION, key.parse().unwrap()))
            .collect()
    }

    #[test]
    fn one_client_gets_some_and_the_others_the_rest() {
        let slots = Slots::default();
        let client = |key: &str| slots.client(&headers(&[key]), None);
        let mut taken = Vec::new();
        for _ in 0..OF_CLIENT_MAX {
            taken.push(slots.take(client("a")).ok().unwrap());
        }
        assert_eq!(slots.take(client("a")).err(), Some(Full::Client));
        for other in 0..AT_ONCE_MAX - OF_CLIENT_MAX {
            taken.push(slots.take(client(&format!("b{other}"))).ok().unwrap());
        }
        assert_eq!(slots.take(client("c")).err(), Some(Full::All));
        assert_eq!(slots.used().of.len(), 1 + AT_ONCE_MAX - OF_CLIENT_MAX);
        taken.clear();
        assert!(slots.used().of.is_empty() && slots.used().in_all == 0);
        assert!(slots.take(client("a")).is_ok());
    }

    #[test]
    fn clients_are_told_apart_by_what_they_present_or_else_by_address() {
        let slots = Slots::default();
        let [home, away] = ["192.0.2.1", "192.0.2.2"].map(|ip| ip.parse().ok());
        let client = |keys: &[&str], ip| slots.client(&headers(keys), ip);
        assert_eq!(client(&["a"], home), client(&["a"], away));
        assert_ne!(client(&["a"], home), client(&["b"], home));
        assert_ne!(client(&[], home), client(&[], away));
        assert_eq!(client(&[], home), client(&[], home));
        assert_ne!(client(&[], home), client(&["a"], home));
        assert_ne!(
            slots.client(&headers(&["a"]), home),
            Slots::default().client(&headers(&["a"]), home)
        );
    }
}
