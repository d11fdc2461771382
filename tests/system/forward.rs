//! The forward proxy, with the built binary: what it forwards, what it refuses, and whom.

mod answers;
mod bootstrap;
mod clients;
mod destination;
mod drain;
mod endings;
mod identities;
mod limits;
mod listener;
mod log;
mod metrics;
mod policies;
mod pools;
mod rebinding;
mod refusals;
mod requests;
mod support;
mod swaps;
mod tunnels;
mod vectors;
