//! The parts of the suite, by what they promise.

mod harness;

mod addresses;
mod command_line;
mod crash;
mod incoming;
mod intake_limits;
mod outgoing;
mod quarantine;
mod receivers;
mod secrets;
