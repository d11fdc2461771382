//! A snapshot on the wire: delta ADS, the server half and the client half.
//!
//! The control plane implements [`RevisionLog`] and runs a [`Server`]; the data plane implements
//! [`Table`] and runs a [`Client`]. Both speak Envoy's own
//! `AggregatedDiscoveryService/DeltaAggregatedResources`, so one revision of the journal is one
//! transaction on the wire and one swap in the data plane (RULINGS 11). `outrider serve` uses the
//! very same two halves over an in-process connection ([`serve_in_process`]).
//!
//! Beside the configuration runs the command stream, `outrider.control.v1` (RULINGS 18): the
//! control plane sends [`Commands`] to one data plane, which runs them with a [`ControlClient`].
//!
//! This crate moves documents; it never looks into a resource's specification and owns no
//! storage. What it promises:
//!
//! - A transaction arrives whole or not at all, however many responses it takes.
//! - Every response is answered with its nonce, with ACK or with NACK and a reason.
//! - A client that comes back resumes from its revision when the journal still can serve it.
//! - Nothing is unbounded: responses, transactions, windows and silence all have limits.

mod assemble;
mod backoff;
mod client;
mod coalesce;
mod control;
mod log;
mod node;
mod pack;
mod resource;
mod serve;
mod server;
mod table;
mod tag;
#[cfg(test)]
mod tests;
mod tls;

pub use client::{Client, ClientSettings, Rejection, Status};
pub use control::{
    ANSWER_BYTES_MAX, Action, Batch, BatchKind, CLIENT_BYTES_MAX, Command, CommandHandler,
    Commands, ControlClient, DisabledEndpoint, EndpointOffer, FILTER_BYTES_MAX, HeadProbe, News,
    Offer, OfferAnswer, OfferHandler, Offers, Outcome, Question, SendError, TOLD_BYTES_MAX,
};
pub use log::{RevisionLog, RevisionLogError, Since};
pub use node::{Claim, INTEREST_ALL, Node};
pub use pack::{RESPONSE_BYTES_MAX, RESPONSE_RESOURCES_MAX};
pub use resource::TYPE_URL;
pub use serve::{ServeError, channel, serve_in_process, serve_tcp};
pub use server::{DataplaneStatus, Link, Nack, Server, ServerSettings};
pub use table::{NotDurable, Table};
pub use tls::Tls;
pub use tonic::transport::Channel;

/// Largest message either side decodes, bytes. Responses stay near [`RESPONSE_BYTES_MAX`]; the
/// room is for one large document, and for the version list of a foreign client.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;
