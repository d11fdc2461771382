//! Both halves together, over real gRPC: the journal and the table are the only fakes.

mod control;
mod control_odd;
mod fake;
mod in_force;
mod odd;
mod offers;
mod push;
mod rejected;
mod resume;
mod tls;
mod who;
