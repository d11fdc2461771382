//! What the tests stand on: the gateway as a process, a producer, a receiver with faults.
//!
//! Knows the product from outside only. Nothing here uses its crates, so that a mistake in a
//! rule cannot hide behind the same mistake in its test.

mod api;
mod authority;
mod faults;
mod github;
mod http_client;
mod https;
mod listed;
mod mailbox;
mod name_server;
mod namespace;
mod outrider;
mod planes;
mod ports;
mod powercut;
mod producer;
mod receiver;
mod resources;
mod signature;
mod tls_receiver;
mod token_endpoint;
mod wait;

pub(crate) use self::api::{Api, uid_of};
pub(crate) use self::authority::{Authority, Identity, TlsClient};
pub(crate) use self::faults::Faults;
pub(crate) use self::github::{Payload, payloads};
pub(crate) use self::http_client::{Client, Framing, RawClient, Reply, get};
pub(crate) use self::https::Https;
pub(crate) use self::listed::{Callers, LEAVES_FROM, Witness};
pub(crate) use self::mailbox::{Begin, Login, Mailbox, Rules, Seen};
pub(crate) use self::name_server::NameServer;
pub(crate) use self::namespace::{is_inside, run};
pub(crate) use self::outrider::{
    Ended, Outrider, Setup, audit, check, explain, reason_of_the_last,
};
pub(crate) use self::planes::{DataPlane, EgressRole, Planes};
pub(crate) use self::ports::free_port;
pub(crate) use self::powercut::{Cut, Disk, Undone};
pub(crate) use self::producer::Producer;
pub(crate) use self::receiver::{Fault, Received, Receiver};
pub(crate) use self::resources::{API_KEY, Endpoint, MASK, OUTGOING, Resources, WEAKER, uid};
pub(crate) use self::signature::{
    convoy_advanced, convoy_simple, github, message_signatures, standard_webhooks,
    standard_webhooks_v1a,
};
pub(crate) use self::tls_receiver::TlsReceiver;
pub(crate) use self::token_endpoint::TokenEndpoint;
pub(crate) use self::wait::{DEADLINE, until};
