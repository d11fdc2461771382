//! The wait between two connections: doubling, with jitter.
//!
//! The jitter must differ between data planes, so that they do not come back all at once; it
//! need not be unguessable. It is drawn from a generator seeded with the node's id, which keeps
//! it a plain function that tests can repeat.

use std::time::Duration;

/// The state of a row of failures.
#[derive(Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
    random: u64,
}

impl Backoff {
    pub(crate) fn new(seed: &str, min: Duration, max: Duration) -> Self {
        // FNV-1a, 64 bit: spreads short, similar names well enough for a seed.
        let random = seed.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self {
            min,
            max,
            failures: 0,
            random,
        }
    }

    /// A connection worked: the next failure is the first of a new row.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The wait after one more failure: half of the doubled time is sure, half is chance.
    pub(crate) fn next_wait(&mut self) -> Duration {
        let ceiling = self
            .min
            .saturating_mul(1_u32 << self.failures.min(16))
            .min(self.max);
        self.failures = self.failures.saturating_add(1);
        let half = ceiling / 2;
        // 16 bits of chance are plenty for a wait.
        let chance = u32::from(u16::try_from(self.draw() >> 48).unwrap_or(u16::MAX));
        half + half.saturating_mul(chance) / u32::from(u16::MAX)
    }

    /// SplitMix64 (Steele, Lea, Flood 2014).
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_secs(10);

    #[test]
    fn a_wait_is_never_longer_than_the_maximum_nor_shorter_than_half_the_minimum() {
        let mut backoff = Backoff::new("dp-1", MIN, MAX);
        for _ in 0..200 {
            let wait = backoff.next_wait();
            assert!(wait >= MIN / 2 && wait <= MAX, "{wait:?}");
        }
    }

    #[test]
    fn waits_grow_until_a_connection_works() {
        let mut backoff = Backoff::new("dp-1", MIN, MAX);
        for _ in 0..10 {
            backoff.next_wait();
        }
        assert!(backoff.next_wait() >= MAX / 2);
        backoff.reset();
        assert!(backoff.next_wait() <= MIN);
    }

    #[test]
    fn two_nodes_do_not_wait_alike() {
        let waits = |id| {
            let mut backoff = Backoff::new(id, MIN, MAX);
            (0..5).map(|_| backoff.next_wait()).collect::<Vec<_>>()
        };
        assert_ne!(waits("dp-1"), waits("dp-2"));
        assert_eq!(waits("dp-1"), waits("dp-1"));
    }
}
