//! One seeded source of faults. What an attempt meets depends on the seed, the event and the
//! number of the attempt alone, so a seed repeats a run however its requests interleave.

use std::hash::{DefaultHasher, Hash, Hasher};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::receiver::{Fault, Received};

/// A seeded generator of faults.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Faults {
    seed: u64,
}

impl Faults {
    /// Seed from `OUTRIDER_SEED`, else a fresh one; printed, which a failing test shows.
    pub(crate) fn new() -> Self {
        let seed = match std::env::var("OUTRIDER_SEED") {
            Ok(text) => text.parse().expect("OUTRIDER_SEED is a number"),
            Err(_) => rand::random(),
        };
        eprintln!("OUTRIDER_SEED={seed} repeats the faults of this run");
        Self { seed }
    }

    /// What a receiver in trouble does to this request: about one in three fails.
    pub(crate) fn of(self, request: &Received) -> Fault {
        let mut hasher = DefaultHasher::new();
        (self.seed, &request.body[..], request.attempt).hash(&mut hasher);
        match StdRng::seed_from_u64(hasher.finish()).random_range(0..100_u32) {
            0..12 => Fault::Status(500),
            12..18 => Fault::Status(503),
            18..28 => Fault::Reset,
            28..30 => Fault::Stall,
            30..32 => Fault::Trickle,
            _ => Fault::None,
        }
    }

    /// The generator itself, for choices of a test.
    pub(crate) fn rng(self) -> StdRng {
        StdRng::seed_from_u64(self.seed)
    }
}
