//! How many connections are open from each of our addresses to each destination: what the choice
//! of an address goes by, and how near the end its ports are.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::metrics::Active;

type Pair = (IpAddr, SocketAddr);

/// Counts connections, from before the connect to the end of the socket.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    pairs: Mutex<HashMap<Pair, usize>>,
}

/// One connection, counted as long as this lives.
#[derive(Debug)]
pub(crate) struct Counted {
    usage: Arc<Usage>,
    pair: Pair,
    _active: Active,
}

impl Usage {
    /// One more from `source` to `destination`, which is shown by `active`.
    pub(crate) fn count(
        self: &Arc<Self>,
        source: IpAddr,
        destination: SocketAddr,
        active: Active,
    ) -> Counted {
        let pair = (source, destination);
        *self.lock().entry(pair).or_default() += 1;
        Counted {
            usage: Arc::clone(self),
            pair,
            _active: active,
        }
    }

    /// Runs `look` with a count of connections to `destination` by source, all of one moment.
    pub(crate) fn to<T>(
        &self,
        destination: SocketAddr,
        look: impl FnOnce(&dyn Fn(IpAddr) -> usize) -> T,
    ) -> T {
        let pairs = self.lock();
        look(&|source| pairs.get(&(source, destination)).copied().unwrap_or(0))
    }

    /// Of each source: connections to the destination that has most.
    pub(crate) fn most(&self) -> HashMap<IpAddr, usize> {
        let mut sources = HashMap::<IpAddr, usize>::new();
        for ((source, _), count) in self.lock().iter() {
            let most = sources.entry(*source).or_default();
            *most = (*most).max(*count);
        }
        sources
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Pair, usize>> {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.usage.lock().entry(self.pair) {
            if *count.get() <= 1 {
                count.remove(); // nothing is kept of pairs without connections
            } else {
                *count.get_mut() -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_counted_as_long_as_it_lives() {
        let usage = Arc::new(Usage::default());
        let source: IpAddr = "192.0.2.1".parse().unwrap();
        let [a, b] = ["198.51.100.1:443", "198.51.100.1:8443"].map(|to| to.parse().unwrap());
        let active = prometheus::IntGauge::new("active", "of the source").unwrap();
        let one = |to| usage.count(source, to, Active::new(active.clone()));
        let held = [a, a].map(one);
        let other = one(b);
        let open = |to| usage.to(to, |open| open(source));
        assert_eq!((open(a), open(b)), (2, 1));
        assert_eq!((active.get(), usage.most()[&source]), (3, 2));
        drop(held);
        assert_eq!((open(a), open(b)), (0, 1));
        drop(other);
        assert_eq!(active.get(), 0);
        assert!(usage.lock().is_empty());
    }
}
