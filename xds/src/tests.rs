//! Both halves together, over real gRPC: the journal and the table are the only fakes.

mod fake;
mod odd;
mod push;
mod rejected;
mod resume;
