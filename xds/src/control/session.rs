//! One session of a data plane, at the control plane: checks what comes, hands outcomes over.
//!
//! The session's task only reads. Commands are put into the response channel by those who wait
//! for them, so a data plane that does not read holds up its own commands and nothing else.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use outrider_config::Version;
use outrider_webhook::id::NodeId;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use tracing::{debug, info};

use super::commands::{Commands, Outgoing, Seat};
use super::grpc::ControlService;
use super::offer::Offer;
use super::offer_desk::OfferDesk;
use super::wire::{self, FromNode, NodeSaid, WireError};
use crate::node::Taken;
use crate::server::Registry;

/// Why a session ends.
#[derive(Debug)]
enum End {
    /// The client closed the stream.
    Gone,
    /// The server ends the stream with this word.
    Status(Status),
}

impl From<Status> for End {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

impl From<WireError> for End {
    fn from(error: WireError) -> Self {
        Self::Status(error.into())
    }
}

/// The state of one session.
pub(super) struct Session {
    commands: Commands,
    registry: Arc<Registry>,
    head: watch::Receiver<Version>,
    answer_timeout: Duration,
    offers: OfferDesk,
    shutdown: CancellationToken,
    requests: Streaming<FromNode>,
    responses: Outgoing,
    node: Option<NodeId>,
}

impl Session {
    pub(super) fn new(
        service: &ControlService,
        requests: Streaming<FromNode>,
        responses: Outgoing,
    ) -> Self {
        Self {
            commands: service.commands.clone(),
            registry: Arc::clone(&service.registry),
            head: service.head.clone(),
            answer_timeout: service.answer_timeout,
            offers: OfferDesk::new(service, responses.clone()),
            shutdown: service.shutdown.clone(),
            requests,
            responses,
            node: None,
        }
    }

    /// Serves the client until it leaves, misbehaves, is replaced or the server stops.
    pub(super) async fn run(mut self) {
        let Err(end) = self.serve().await;
        let status = match end {
            End::Gone => None,
            End::Status(status) => Some(status),
        };
        let error = status.as_ref().map(Status::message);
        info!(node_number = self.number(), error, "command session closed");
        if let Some(status) = status
            && self.responses.try_send(Err(status)).is_err()
        {
            // Full of commands that were not read, or broken: the stream just ends.
            debug!(node_number = self.number(), "the reason could not be sent");
        }
    }

    async fn serve(&mut self) -> Result<Infallible, End> {
        let seat = self.introduce().await?;
        loop {
            // All arms are cancel-safe: tokens, and a stream that keeps what it has read.
            let request = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Err(shutting_down()),
                () = seat.replaced.cancelled() => {
                    return Err(Status::aborted("a newer session of this node replaced it").into());
                }
                request = self.requests.message() => request?.ok_or(End::Gone)?,
            };
            self.handle(seat.node, request)?;
        }
    }

    /// Reads the first message, which says who the client is.
    async fn introduce(&mut self) -> Result<Seat, End> {
        let limit = self.answer_timeout;
        // Both arms are cancel-safe, as above.
        let first = tokio::select! {
            biased;
            () = self.shutdown.cancelled() => return Err(shutting_down()),
            first = timeout(limit, self.requests.message()) => first,
        };
        let first = first.map_err(|_| too_slow(limit))??.ok_or(End::Gone)?;
        let Some(NodeSaid::Hello(hello)) = first.said else {
            return Err(Status::invalid_argument("the first message must be a hello").into());
        };
        let (claim, id) = hello.read()?;
        if self.registry.is_taken(claim) {
            return Err(Status::already_exists(Taken(claim.number).to_string()).into());
        }
        let seat = self.commands.open(claim, self.responses.clone());
        let seat = seat.map_err(|taken| Status::already_exists(taken.to_string()))?;
        self.node = Some(claim.number);
        info!(node_number = claim.number.get(), node = %id, "command session opened");
        Ok(seat)
    }

    /// Takes a message after the first.
    fn handle(&self, node: NodeId, request: FromNode) -> Result<(), End> {
        match request.said {
            Some(NodeSaid::Outcome(outcome)) => {
                let (command, outcome) = outcome.read()?;
                if !self.commands.settle(node, command, &outcome) {
                    debug!(node_number = node.get(), %command, "outcome nobody waits for");
                }
            }
            Some(NodeSaid::HeadRequest(request)) => self.answer_head(node, request.number),
            Some(NodeSaid::Offer(fields)) => {
                let number = fields.number;
                self.offers.take(number, Offer::Endpoint(fields.read()?));
            }
            Some(NodeSaid::Disabled(fields)) => {
                let number = fields.number;
                self.offers.take(number, Offer::Disabled(fields.read()?));
            }
            Some(NodeSaid::Hello(_)) => {
                return Err(Status::invalid_argument("a session has one hello").into());
            }
            None => return Err(WireError::Unknown("said").into()),
        }
        Ok(())
    }

    /// Answers at once or not at all: the asker waits for a short time only, and this task must
    /// not wait for a client that does not read.
    fn answer_head(&self, node: NodeId, number: u64) {
        let answer = wire::head(number, *self.head.borrow());
        if self.responses.try_send(Ok(answer)).is_err() {
            debug!(node_number = node.get(), "no room for the head");
        }
    }

    fn number(&self) -> Option<u16> {
        self.node.map(NodeId::get)
    }
}

fn shutting_down() -> End {
    Status::unavailable("the control plane shuts down").into()
}

fn too_slow(limit: Duration) -> End {
    let text = format!("no hello came within {} ms", limit.as_millis());
    Status::deadline_exceeded(text).into()
}
