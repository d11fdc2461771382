//! One seeded source of faults. What an attempt meets depends on the seed, the event and the
//! number of the attempt alone, so a seed repeats a run however its requests interleave. When a
//! receiver refuses, a gateway is killed or a clock jumps is drawn from the same seed by the test
//! that does it, with [`Faults::rng`].

use std::hash::{DefaultHasher, Hash, Hasher};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::receiver::{Fault, Received};

/// More than anybody keeps of a response.
const OVERSIZE_BYTES: usize = 128 << 10;

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
        match self.draw((&request.body[..], request.attempt)) {
            0..12 => Fault::Status(500),
            12..18 => Fault::Status(503),
            18..28 => Fault::Reset,
            28..30 => Fault::Stall,
            30..32 => Fault::Trickle,
            32..34 => Fault::Oversize(OVERSIZE_BYTES),
            _ => Fault::None,
        }
    }

    /// What it does to its connection with this number: about one in twenty is no use.
    pub(crate) fn of_connection(self, number: usize) -> Fault {
        match self.draw(("connection", number)) {
            0..2 => Fault::NeverReads,
            2..5 => Fault::Reset,
            _ => Fault::None,
        }
    }

    /// A number below 100 that stands for `what`.
    fn draw(self, what: impl Hash) -> u32 {
        let mut hasher = DefaultHasher::new();
        (self.seed, what).hash(&mut hasher);
        StdRng::seed_from_u64(hasher.finish()).random_range(0..100)
    }

    /// The generator itself, for choices of a test.
    pub(crate) fn rng(self) -> StdRng {
        StdRng::seed_from_u64(self.seed)
    }

    /// The generator for the choices of a round.
    pub(crate) fn rng_of_round(self, round: usize) -> StdRng {
        let mut hasher = DefaultHasher::new();
        (self.seed, "round", round).hash(&mut hasher);
        StdRng::seed_from_u64(hasher.finish())
    }
}
