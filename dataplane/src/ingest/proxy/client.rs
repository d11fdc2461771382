//! Whose request is passed on, as far as can be told before the control plane has looked at the key.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::net::IpAddr;

use http::{HeaderMap, header};

/// The hash of what was presented, or of the address where nothing was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Client(u64);

/// Tells clients apart.
#[derive(Default)]
pub(super) struct Clients {
    /// Keyed anew in every process, so that nobody can aim for the slots of somebody else.
    hasher: RandomState,
}

impl Clients {
    /// Whose request it is.
    pub(super) fn of(&self, headers: &HeaderMap, address: Option<IpAddr>) -> Client {
        let mut hasher = self.hasher.build_hasher();
        let mut values = headers.get_all(header::AUTHORIZATION).iter().peekable();
        match values.peek() {
            None => address.hash(&mut hasher),
            Some(_) => values.for_each(|value| value.as_bytes().hash(&mut hasher)),
        }
        Client(hasher.finish())
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
    fn clients_are_told_apart_by_what_they_present_or_else_by_address() {
        let clients = Clients::default();
        let [home, away] = ["192.0.2.1", "192.0.2.2"].map(|ip| ip.parse().ok());
        let client = |keys: &[&str], ip| clients.of(&headers(keys), ip);
        assert_eq!(client(&["a"], home), client(&["a"], away));
        assert_ne!(client(&["a"], home), client(&["b"], home));
        assert_ne!(client(&[], home), client(&[], away));
        assert_eq!(client(&[], home), client(&[], home));
        assert_ne!(client(&[], home), client(&["a"], home));
        assert_ne!(
            clients.of(&headers(&["a"]), home),
            Clients::default().of(&headers(&["a"]), home)
        );
    }
}
