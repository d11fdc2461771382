//! The command stream, `outrider.control.v1`: what the control plane asks of one data plane, and
//! its answers (RULINGS 18).
//!
//! The data plane opens one session, on the transport the configuration uses too. Commands come
//! down, outcomes go up; the data plane may also ask for the journal's head (RULINGS 14). What
//! a command does is the data plane's business: this module moves commands and knows no queue.
//!
//! - A command is sent again, with the same id, whenever its node opens a new session while
//!   somebody waits for the outcome. A [`CommandHandler`] is therefore idempotent.
//! - One session per node: a newer one replaces the older, which may be half dead.
//! - Nothing is stored here. A command nobody waits for any more is not sent again.

mod ask;
mod client;
mod commands;
mod grpc;
mod offer;
mod offer_desk;
mod session;
pub(crate) mod wire;

use bytes::Bytes;
use outrider_config::Version;
use outrider_webhook::id::{DeliveryKey, EndpointId, EventId, ProjectId, Uid};
use outrider_webhook::secret::Secret;

pub use ask::{ANSWER_BYTES_MAX, Question};
pub use client::{ControlClient, HeadProbe};
pub use commands::{Commands, SendError};
pub(crate) use grpc::ControlService;
pub use offer::{DisabledEndpoint, EndpointOffer, Offer, OfferAnswer, OfferHandler, Offers};
#[cfg(test)]
pub(crate) use {client::RUNNING_MAX, commands::WAITING_MAX, grpc::open};

/// What one data plane is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Names the command: the same id is the same command, however often it arrives.
    pub id: Uid,
    /// What is to be done.
    pub action: Action,
}

/// Longest filter of a batch, bytes.
pub const FILTER_BYTES_MAX: usize = 64 << 10;

/// What a batch does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchKind {
    /// One more attempt of deliveries that ended without success.
    Retry,
    /// Ends deliveries that have not ended.
    Cancel,
    /// Events go through today's subscriptions again.
    Replay,
}

/// The same for everything that a filter finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The project; it has one at a time.
    pub project: ProjectId,
    /// What is done.
    pub kind: BatchKind,
    /// Which deliveries or events: a filter of the index, in JSON. At most [`FILTER_BYTES_MAX`].
    pub filter: Bytes,
}

/// Longest specification of a client of a token endpoint, bytes.
pub const CLIENT_BYTES_MAX: usize = 128 << 10;

/// Longest body of what is told, bytes.
pub const TOLD_BYTES_MAX: usize = 128 << 10;

/// Something that the owner of a project is to be told: a meta event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// The project.
    pub project: ProjectId,
    /// The event type of the meta event; 64 characters travel.
    pub kind: String,
    /// Names what happened: the same name is told once; 256 characters travel.
    pub name: String,
    /// The configuration without which the data plane must not judge whether it is wanted.
    pub version: Version,
    /// The body of the meta event; at most [`TOLD_BYTES_MAX`].
    pub body: Bytes,
}

/// The kinds of commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The owner of a project is told something.
    Tell(News),
    /// One more attempt of a delivery that was delivered.
    ForceResend {
        /// The project the delivery must belong to.
        project: ProjectId,
        /// The delivery.
        delivery: DeliveryKey,
    },
    /// No further attempt of a delivery that has not ended.
    Cancel {
        /// The project the delivery must belong to.
        project: ProjectId,
        /// The delivery.
        delivery: DeliveryKey,
    },
    /// An event goes through today's subscriptions again.
    Replay {
        /// The project the event must belong to.
        project: ProjectId,
        /// The event.
        event: EventId,
    },
    /// The begin of a batch, whose id is the command's.
    Batch(Batch),
    /// The end of a batch that is not finished.
    StopBatch {
        /// The project the batch must belong to.
        project: ProjectId,
        /// The batch.
        batch: Uid,
    },
    /// One more attempt of a delivery that ended without success.
    Resend {
        /// The project the delivery must belong to.
        project: ProjectId,
        /// The delivery.
        delivery: DeliveryKey,
    },
    /// A token is fetched by a client that no endpoint has yet. Changes nothing; the answer says
    /// what came of it.
    TryToken {
        /// The project whose way out is taken.
        project: ProjectId,
        /// The specification of the client, in JSON; at most [`CLIENT_BYTES_MAX`].
        client: Secret,
    },
    /// A request is sent to an endpoint from each address that it may be called from. Changes
    /// nothing; the answer says what came of each.
    Ping {
        /// The project the endpoint must belong to.
        project: ProjectId,
        /// The endpoint.
        endpoint: EndpointId,
    },
    /// A question about what the data plane has seen; answered at once, changes nothing.
    Ask(Question),
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is done, and durable where it has an effect that must be.
    Done,
    /// The answer to a question, in JSON; at most [`ANSWER_BYTES_MAX`] travel.
    Answered(Bytes),
    /// It will not be done.
    Refused {
        /// A stable word; 64 characters travel.
        code: String,
        /// For people; 1,024 characters travel.
        message: String,
    },
}

/// Runs commands. Implemented by the data plane.
#[tonic::async_trait]
pub trait CommandHandler: Send + Sync {
    /// Runs a command and says what became of it.
    ///
    /// Must be idempotent by the command's id: the same command arrives again after each
    /// reconnection, also while it still runs, and must then be answered again and not be done
    /// again. The call may be dropped at any await when the data plane shuts down.
    async fn run(&self, command: Command) -> Outcome;
}
