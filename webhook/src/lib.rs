//! The rules of webhooks, pure: ids, verification, signing, retry policy, address policy.
//!
//! No I/O, no clock, no runtime. Time, chance and names come in as arguments, so every rule
//! can be tested with plain data and fuzzed cheaply. Both planes use this crate, so a preview
//! in the control plane cannot differ from what the data plane does.

pub mod address;
pub mod authentication;
pub mod breaker;
pub mod client_certificate;
pub mod client_tls;
pub mod cloudevents;
pub mod decode;
pub mod dynamic;
pub mod event;
pub mod event_type;
pub mod filter;
pub mod form;
pub mod http1;
pub mod id;
pub mod idempotency;
pub mod json;
pub mod pace;
pub mod proxy_protocol;
pub mod rate;
pub mod retry;
pub mod schema;
pub mod secret;
pub mod selector;
pub mod sign;
pub mod trace;
pub mod undelivered;
pub mod url_template;
#[cfg(test)]
mod vectors;
pub mod verify;
pub mod view;
