//! Jitter: the one source of randomness of the data plane, seeded at start.

use std::sync::{Mutex, PoisonError};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// A seeded generator. Not for secrets.
#[derive(Debug)]
pub struct Chance(Mutex<SmallRng>);

impl Chance {
    /// The same seed gives the same sequence.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Mutex::new(SmallRng::seed_from_u64(seed)))
    }

    /// The next 64 bits.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .next_u64()
    }
}
