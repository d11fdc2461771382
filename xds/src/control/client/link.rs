//! One open session of the data plane: commands in, outcomes and questions out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tracing::{debug, info, warn};

use super::{ANSWER_TIMEOUT, Ask, ControlClient, RUNNING_MAX, Runner};
use crate::control::wire::{
    self, CommandFields, ControlSaid, FromNode, HeadFields, OfferAnswerFields, ToNode, WireError,
};
use crate::control::{Command, Outcome, grpc};

/// Messages that may wait to be written: an outcome of each running command, and questions.
const OUTGOING_MAX: usize = 2 * RUNNING_MAX;
/// Questions that may wait to be taken, and questions that may wait for their answer.
const ASKS_MAX: usize = 64;
/// How long the control plane may take to end a session that was closed in order.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a session ended, other than by our own wish.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("{}", crate::tls::status(.0))]
    Status(#[from] tonic::Status),
    #[error("the control plane closed the session")]
    Closed,
    #[error("the control plane did not open the session within {} ms", .0.as_millis())]
    Silent(Duration),
    #[error("the control plane sent nonsense")]
    Wire(#[from] WireError),
}

impl LinkError {
    /// Stable code: a closed set.
    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::Status(_) => "status",
            Self::Closed => "closed",
            Self::Silent(_) => "silent",
            Self::Wire(error) => error.code(),
        }
    }
}

/// An open session.
pub(super) struct Link {
    incoming: Streaming<ToNode>,
    outgoing: mpsc::Sender<FromNode>,
    asks: mpsc::Receiver<Ask>,
    last_number: u64,
    /// Questions that wait for their answer, by number.
    asked: BTreeMap<u64, Ask>,
}

impl Link {
    /// Opens the session and says who we are. `None` when `shutdown` came first.
    pub(super) async fn open(
        client: &ControlClient,
        shutdown: &CancellationToken,
    ) -> Result<Option<Self>, LinkError> {
        let (outgoing, requests) = mpsc::channel(OUTGOING_MAX);
        let hello = wire::hello(client.claim, &client.node.id);
        outgoing.try_send(hello).map_err(|_| LinkError::Closed)?;
        let opening = timeout(ANSWER_TIMEOUT, grpc::open(client.channel.clone(), requests));
        let incoming = tokio::select! {
            () = shutdown.cancelled() => return Ok(None),
            opened = opening => opened.map_err(|_| LinkError::Silent(ANSWER_TIMEOUT))??,
        };
        info!(
            node_number = client.claim.number.get(),
            "command session opened"
        );
        let (sender, asks) = mpsc::channel(ASKS_MAX);
        client.asks.send_replace(Some(sender));
        Ok(Some(Self {
            incoming,
            outgoing,
            asks,
            last_number: 0,
            asked: BTreeMap::new(),
        }))
    }

    /// Takes commands until the session breaks (an error) or `shutdown` fires.
    pub(super) async fn serve(
        mut self,
        runner: &Runner,
        shutdown: &CancellationToken,
    ) -> Result<(), LinkError> {
        // The permit comes first: a command that was read must not wait for capacity.
        let mut permit: Option<OwnedSemaphorePermit> = None;
        loop {
            let permits = Arc::clone(&runner.permits);
            // All arms are cancel-safe: a token, a place in a queue, a channel, and a stream
            // that keeps what it has read. A session at rest may be silent; dead connections
            // are found by the transport's pings.
            let message = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(ask) = self.asks.recv() => {
                    self.ask(ask);
                    continue;
                }
                acquired = permits.acquire_owned(), if permit.is_none() => {
                    permit = Some(acquired.map_err(|_| LinkError::Closed)?);
                    continue;
                }
                message = self.incoming.message(), if permit.is_some() => message?,
            };
            match message.ok_or(LinkError::Closed)?.said {
                Some(ControlSaid::Command(fields)) => self.begin(&fields, runner, &mut permit)?,
                Some(ControlSaid::Head(fields)) => self.answered(&fields)?,
                Some(ControlSaid::OfferAnswer(fields)) => self.offer_answered(fields)?,
                None => debug!("a message of a kind this version does not know"),
            }
        }
        runner.drain().await;
        self.close().await;
        Ok(())
    }

    fn begin(
        &self,
        fields: &CommandFields,
        runner: &Runner,
        permit: &mut Option<OwnedSemaphorePermit>,
    ) -> Result<(), LinkError> {
        let id = fields.read_id()?;
        match fields.read_action() {
            Ok(action) => {
                if let Some(permit) = permit.take() {
                    runner.start(Command { id, action }, permit, self.outgoing.clone());
                }
            }
            Err(error) => self.refuse(id, &error),
        }
        Ok(())
    }

    /// Refuses a command that cannot be understood, so that its sender need not wait.
    fn refuse(&self, id: outrider_webhook::id::Uid, error: &WireError) {
        warn!(command = %id, %error, code = error.code(), "a command is refused");
        let refused = Outcome::Refused {
            code: error.code().to_owned(),
            message: error.to_string(),
        };
        if self.outgoing.try_send(wire::outcome(id, &refused)).is_err() {
            debug!(command = %id, "no room for the refusal");
        }
    }

    /// Passes a question on. One that cannot be asked is dropped, which its asker sees at once.
    fn ask(&mut self, ask: Ask) {
        self.asked.retain(|_, ask| !ask.is_closed());
        if self.asked.len() >= ASKS_MAX {
            debug!("too many questions wait");
            return;
        }
        self.last_number += 1;
        let number = self.last_number;
        let message = match &ask {
            Ask::Head(_) => wire::head_request(number),
            Ask::Offer(offer, _) => wire::offer(number, offer),
        };
        if self.outgoing.try_send(message).is_ok() {
            self.asked.insert(number, ask);
        }
    }

    fn answered(&mut self, fields: &HeadFields) -> Result<(), LinkError> {
        let (number, version) = fields.read()?;
        if let Some(Ask::Head(asker)) = self.asked.remove(&number) {
            // An asker that gave up meanwhile is no error.
            let _ = asker.send(version);
        }
        Ok(())
    }

    fn offer_answered(&mut self, fields: OfferAnswerFields) -> Result<(), LinkError> {
        let (number, answer) = fields.read()?;
        if let Some(Ask::Offer(_, asker)) = self.asked.remove(&number) {
            let _ = asker.send(answer); // as above
        }
        Ok(())
    }

    /// Closes our half and waits for the other, so that the last outcomes arrive.
    async fn close(self) {
        let Self {
            mut incoming,
            outgoing,
            ..
        } = self;
        drop(outgoing);
        let rest = async { while let Ok(Some(_)) = incoming.message().await {} };
        if timeout(CLOSE_TIMEOUT, rest).await.is_err() {
            debug!("the control plane did not end the session");
        }
    }
}
