//! Egress against real sockets on loopback.

mod answers;
mod connections;
mod figures;
mod names;
mod openings;
mod policy;
mod room;
mod sources;
mod support;
mod tls;
