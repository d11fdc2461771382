//! Whole-system tests: they start the built binary, talk to it as producers and operators do,
//! and receive as customers do. One test binary, because each one links everything.
//!
//! A run that fails prints the seed of its faults; `OUTRIDER_SEED=<seed>` repeats them.

#[cfg(test)]
mod system;
