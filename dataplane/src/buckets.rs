//! Token buckets by key, in memory, and bounded.
//!
//! A bucket that is full again says as much as none, so forgetting it changes nothing: only such
//! are swept out. When that does not make room, keys without a bucket share one: nobody gets a
//! fresh bucket by crowding out its own. To crowd out others one needs as many addresses as fit,
//! each of them sending faster than its bucket fills.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use outrider_webhook::rate::{Exhausted, Rate, Taken};

/// Locks that the buckets are spread over.
const SHARDS: usize = 32;
/// Below so many buckets of a shard nothing is swept.
const SWEEP_MIN: usize = 256;
/// A full shard is swept that often at most, nanoseconds.
const SWEEP_EVERY_NS: u64 = 1_000_000_000;

/// The buckets of all keys.
pub(crate) struct Buckets<K> {
    shards: [Mutex<Shard<K>>; SHARDS],
    /// Keyed anew in every process: nobody can aim at one shard.
    hasher: RandomState,
    shard_max: usize,
    started: Instant,
}

struct Shard<K> {
    /// When each bucket is full.
    full_at_ns: HashMap<K, u64>,
    /// Of the bucket that keys without one share.
    shared_full_at_ns: u64,
    sweep_at: usize,
    swept_ns: u64,
}

impl<K> Default for Shard<K> {
    fn default() -> Self {
        Self {
            full_at_ns: HashMap::new(),
            shared_full_at_ns: 0,
            sweep_at: SWEEP_MIN,
            swept_ns: 0,
        }
    }
}

impl<K: Hash + Eq + Copy> Buckets<K> {
    /// As many buckets as keys are in use.
    pub(crate) fn unbounded() -> Self {
        Self::bounded(usize::MAX)
    }

    /// At most about `max` buckets.
    pub(crate) fn bounded(max: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            shard_max: max.div_ceil(SHARDS),
            started: Instant::now(),
        }
    }

    /// Takes `tokens`, or none.
    pub(crate) fn take(&self, key: K, rate: &Rate, tokens: u32) -> Result<Taken, Exhausted> {
        let now_ns = self.now_ns();
        self.shard(&key)
            .take(key, self.shard_max, now_ns, |full_at_ns| {
                rate.take(full_at_ns, now_ns, tokens)
            })
    }

    /// Whether there is no token; none is taken.
    pub(crate) fn is_exhausted(&self, key: K, rate: &Rate) -> bool {
        let now_ns = self.now_ns();
        let shard = self.shard(&key);
        let full_at_ns = shard.full_at_ns.get(&key);
        full_at_ns.is_some_and(|full_at_ns| rate.take(*full_at_ns, now_ns, 1).is_err())
    }

    /// Takes as many of `tokens` as there are.
    pub(crate) fn take_up_to(&self, key: K, rate: &Rate, tokens: u32) -> u32 {
        let now_ns = self.now_ns();
        let mut granted = tokens;
        let taken = self
            .shard(&key)
            .take(key, self.shard_max, now_ns, |full_at_ns| {
                rate.take(full_at_ns, now_ns, tokens).or_else(|exhausted| {
                    granted = exhausted.remaining;
                    rate.take(full_at_ns, now_ns, granted)
                })
            });
        taken.map_or(0, |_| granted)
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// A poisoned lock guards what is still whole: each bucket is one number.
    fn shard(&self, key: &K) -> MutexGuard<'_, Shard<K>> {
        let shard = self.hasher.hash_one(key) % SHARDS as u64;
        let [first, ..] = &self.shards;
        let shard = usize::try_from(shard)
            .ok()
            .and_then(|at| self.shards.get(at));
        shard
            .unwrap_or(first)
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq + Copy> Shard<K> {
    fn take(
        &mut self,
        key: K,
        max: usize,
        now_ns: u64,
        take: impl FnOnce(u64) -> Result<Taken, Exhausted>,
    ) -> Result<Taken, Exhausted> {
        if let Some(full_at_ns) = self.full_at_ns.get_mut(&key) {
            return kept(full_at_ns, take);
        }
        self.make_room(max, now_ns);
        if self.full_at_ns.len() >= max {
            return kept(&mut self.shared_full_at_ns, take);
        }
        let taken = take(0)?;
        self.full_at_ns.insert(key, taken.full_at_ns);
        Ok(taken)
    }

    fn make_room(&mut self, max: usize, now_ns: u64) {
        let is_full = self.full_at_ns.len() >= self.sweep_at.min(max);
        if !is_full || now_ns < self.swept_ns.saturating_add(SWEEP_EVERY_NS) {
            return;
        }
        self.swept_ns = now_ns;
        self.full_at_ns.retain(|_, full_at_ns| *full_at_ns > now_ns);
        self.sweep_at = self.full_at_ns.len().saturating_mul(2).max(SWEEP_MIN);
    }
}

/// What the bucket is afterwards is kept, also when there were not enough tokens.
fn kept(
    full_at_ns: &mut u64,
    take: impl FnOnce(u64) -> Result<Taken, Exhausted>,
) -> Result<Taken, Exhausted> {
    let taken = take(*full_at_ns);
    *full_at_ns = match &taken {
        Ok(taken) => taken.full_at_ns,
        Err(exhausted) => exhausted.full_at_ns,
    };
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn rate() -> Rate {
        Rate::new(1, 10).unwrap()
    }

    fn take(shard: &mut Shard<u32>, key: u32, now_ns: u64) -> bool {
        shard
            .take(key, 2, now_ns, |full_at_ns| {
                rate().take(full_at_ns, now_ns, 1)
            })
            .is_ok()
    }

    #[test]
    fn crowding_gives_nobody_a_fresh_bucket() {
        let mut shard = Shard::default();
        assert!(take(&mut shard, 1, S) && take(&mut shard, 2, 2 * S));
        assert!(take(&mut shard, 3, 3 * S), "the shared one");
        assert!(!take(&mut shard, 4, 4 * S), "it is shared");
        assert!(!take(&mut shard, 1, 5 * S) && !take(&mut shard, 2, 5 * S));
        assert_eq!(shard.full_at_ns.len(), 2);
        // The first bucket is full again, so its place is free.
        assert!(take(&mut shard, 4, 11 * S));
        assert!(!take(&mut shard, 4, 12 * S) && !take(&mut shard, 2, 11 * S));
        assert_eq!(shard.full_at_ns.len(), 2);
    }

    #[test]
    fn buckets_that_are_full_again_are_forgotten() {
        let mut shard: Shard<u32> = Shard::default();
        let count = u32::try_from(SWEEP_MIN).unwrap();
        for key in 0..count {
            let taken = shard.take(key, usize::MAX, S, |full| rate().take(full, S, 1));
            taken.unwrap();
        }
        let later = 12 * S;
        let taken = shard.take(count, usize::MAX, later, |full| rate().take(full, later, 1));
        taken.unwrap();
        assert_eq!(shard.full_at_ns.len(), 1);
    }

    #[test]
    fn as_many_tokens_as_there_are_can_be_taken() {
        let buckets = Buckets::unbounded();
        let rate = Rate::new(5, 86_400).unwrap();
        assert_eq!(buckets.take_up_to(1, &rate, 3), 3);
        assert_eq!(buckets.take_up_to(1, &rate, 3), 2);
        assert_eq!(buckets.take_up_to(1, &rate, 3), 0);
        assert_eq!(buckets.take_up_to(2, &rate, 9), 5);
        assert!(buckets.take(1, &rate, 1).is_err());
    }
}
