//! One connection of a data plane: its requests, its answers, and the window between.
//!
//! The session is one task. It owes nothing to the client's speed: at most [`WINDOW`] responses
//! wait for their ACK, and a client that owes an answer too long is disconnected. What is sent
//! is decided in `session/push.rs`. Requests that make no sense are either answered with an error
//! that ends the stream or ignored as the protocol asks; none of them can stop the server.

mod answers;
mod push;

use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use outrider_config::Version;
use prost::Message;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use tracing::{debug, info, warn};

use self::answers::{check_type, received, replaced, too_slow};
use super::registry::{Registration, Registry};
use super::{Server, ServerSettings, WINDOW};
use crate::control::Commands;
use crate::log::RevisionLog;
use crate::node;

/// Characters of a client's reason that are kept.
const REASON_CHARS_MAX: usize = 1_024;

type Responses = mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>;

/// Why a session ends.
#[derive(Debug)]
enum End {
    /// The client closed the stream or the connection broke.
    Gone,
    /// The server shuts down.
    Shutdown,
    /// The server ends the stream with this word.
    Status(Status),
}

/// Why a transaction stops before its end.
#[derive(Debug)]
enum Stop {
    End(End),
    /// The client rejected it.
    Rejected,
}

impl From<End> for Stop {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

/// The state of one connection.
pub(super) struct Session {
    log: Arc<dyn RevisionLog>,
    registry: Arc<Registry>,
    commands: Commands,
    settings: ServerSettings,
    shutdown: CancellationToken,
    head: watch::Receiver<Version>,
    requests: Streaming<DeltaDiscoveryRequest>,
    responses: Responses,

    /// In the list once the client has introduced itself.
    registration: Option<Registration>,
    /// Fires when a newer connection of the same data plane took over.
    replaced: CancellationToken,
    node_id: String,
    /// What the client holds, as far as it acknowledged; `None` asks for a full sync.
    position: Option<Version>,
    /// Whether a transaction was acknowledged on this connection: the end of the initial set.
    is_synced: bool,
    is_subscribed: bool,
    /// The client subscribed again: it may have dropped what it had.
    is_full_wanted: bool,
    /// Resources a foreign client holds, to be removed where the full sync does not name them.
    held_names: HashSet<String>,

    last_nonce: u64,
    /// Nonces that wait for their answer, oldest first.
    outstanding: VecDeque<u64>,
    /// When the next answer is due, while there are outstanding ones.
    answer_due: Instant,
    /// The transaction being sent.
    sending: Version,
    is_rejected: bool,
    rejections: u32,
}

impl Session {
    pub(super) fn new(
        server: &Server,
        shutdown: CancellationToken,
        requests: Streaming<DeltaDiscoveryRequest>,
        responses: Responses,
    ) -> Self {
        let head = server.log.head();
        let sending = *head.borrow();
        Self {
            log: Arc::clone(&server.log),
            registry: Arc::clone(&server.registry),
            commands: server.commands.clone(),
            settings: server.settings,
            shutdown,
            head,
            requests,
            responses,
            registration: None,
            replaced: CancellationToken::new(),
            node_id: String::new(),
            position: None,
            is_synced: false,
            is_subscribed: true,
            is_full_wanted: false,
            held_names: HashSet::new(),
            last_nonce: 0,
            outstanding: VecDeque::with_capacity(WINDOW),
            answer_due: Instant::now(),
            sending,
            is_rejected: false,
            rejections: 0,
        }
    }

    /// Serves the client until it leaves, misbehaves or the server stops.
    pub(super) async fn run(mut self) {
        let Err(end) = self.serve().await;
        let status = match end {
            End::Gone => None,
            End::Shutdown => Some(Status::unavailable("the control plane shuts down")),
            End::Status(status) => Some(status),
        };
        let error = status.as_ref().map(Status::message);
        info!(node = %self.node_id, error, "data plane disconnected");
        if let Some(status) = status
            && self.responses.try_send(Err(status)).is_err()
        {
            // Only a client that does not read at all fills the channel: the stream just ends.
            debug!(node = %self.node_id, "the reason could not be sent");
        }
    }

    async fn serve(&mut self) -> Result<Infallible, End> {
        self.introduce().await?;
        loop {
            let head = *self.head.borrow_and_update();
            if !self.is_subscribed || self.is_current(head) {
                self.wait_for_change().await?;
                continue;
            }
            match self.push(head).await {
                Ok(()) => {}
                Err(Stop::End(end)) => return Err(end),
                Err(Stop::Rejected) => self.hold_back().await?,
            }
        }
    }

    /// Reads the first request: who the client is, what it wants, where it stands.
    async fn introduce(&mut self) -> Result<(), End> {
        let due = Instant::now() + self.settings.answer_timeout;
        let first = self.next_request(due).await?;
        check_type(&first)?;
        let wants_all = first
            .resource_names_subscribe
            .iter()
            .any(|name| name == "*");
        // No names at all is the older spelling of the wildcard.
        if !wants_all && !first.resource_names_subscribe.is_empty() {
            return Err(End::Status(Status::invalid_argument(
                "only the wildcard subscription `*` is served here",
            )));
        }
        let introduced = first.node.unwrap_or_default();
        let node = node::identity(&introduced);
        self.node_id.clone_from(&node.id);
        let metadata = node::read(&introduced);
        let head = *self.head.borrow();
        self.position = metadata.position.filter(|held| {
            // A foreign client's own list of versions asks for the standard way: a full sync.
            first.initial_resource_versions.is_empty()
                && held.journal == head.journal
                && held.revision <= head.revision
        });
        self.held_names = first.initial_resource_versions.into_keys().collect();
        let position = self.position;
        let (cluster, claim) = (node.cluster.clone(), node.claim);
        let registration = self.registry.register(node).map_err(|taken| {
            warn!(node = %self.node_id, %taken, "data plane refused");
            End::Status(Status::already_exists(taken.to_string()))
        })?;
        if let Some(claim) = claim {
            // Who has the stream has the number: commands go where the configuration goes.
            self.commands.evict(claim);
        }
        self.replaced = registration.replaced.clone();
        registration.update(|status| status.acked = position);
        info!(
            node = %self.node_id,
            %cluster,
            snapshot_version = position.map(|held| held.revision),
            is_resumed = position.is_some(),
            "data plane connected"
        );
        self.registration = Some(registration);
        Ok(())
    }

    /// Whether the client holds everything, and was told so on this connection. A position ahead
    /// of `head` is one that was read before the signal of the head arrived.
    fn is_current(&self, head: Version) -> bool {
        self.is_synced
            && !self.is_full_wanted
            && self
                .position
                .is_some_and(|held| held.journal == head.journal && held.revision >= head.revision)
    }

    /// Nothing to send: waits for a new head or for a word of the client.
    async fn wait_for_change(&mut self) -> Result<(), End> {
        // All arms are cancel-safe: a token, a watch, and a stream that keeps what it has read.
        let request = tokio::select! {
            biased;
            () = self.shutdown.cancelled() => return Err(End::Shutdown),
            () = self.replaced.cancelled() => return Err(replaced()),
            request = self.requests.message() => request,
            moved = self.head.changed() => {
                return moved.map_err(|_| End::Status(Status::unavailable("the journal is closed")));
            }
        };
        self.handle(received(request)?)
    }

    /// Waits after a rejection. The rest of the rejected transaction is answered meanwhile. A new
    /// revision may repair what was rejected, so it ends the wait once the minimum has passed.
    async fn hold_back(&mut self) -> Result<(), End> {
        while !self.outstanding.is_empty() {
            self.next_answer().await?;
        }
        let min = self.settings.rejected_wait_min;
        let doubled = min.saturating_mul(1 << self.rejections.saturating_sub(1).min(16));
        let now = Instant::now();
        let earliest = now + min;
        let mut until = now + doubled.min(self.settings.rejected_wait_max).max(min);
        loop {
            // Cancel-safe, as above.
            let request = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Err(End::Shutdown),
            () = self.replaced.cancelled() => return Err(replaced()),
                () = sleep_until(until) => return Ok(()),
                request = self.requests.message() => request,
                moved = self.head.changed(), if until > earliest => {
                    moved.map_err(|_| End::Status(Status::unavailable("the journal is closed")))?;
                    until = earliest;
                    continue;
                }
            };
            self.handle(received(request)?)?;
        }
    }

    /// Sends a part of the transaction, once the window has room for it.
    async fn send(&mut self, mut part: DeltaDiscoveryResponse) -> Result<(), Stop> {
        while self.outstanding.len() >= WINDOW {
            self.next_answer().await?;
        }
        if self.is_rejected {
            return Err(Stop::Rejected);
        }
        self.last_nonce += 1;
        if self.outstanding.is_empty() {
            self.answer_due = Instant::now() + self.settings.answer_timeout;
        }
        self.outstanding.push_back(self.last_nonce);
        part.nonce = self.last_nonce.to_string();
        let count = part.resources.len() + part.removed_resources.len();
        let bytes = part.encoded_len();
        let add = |sum: &mut u64, more: usize| {
            *sum = sum.saturating_add(u64::try_from(more).unwrap_or(u64::MAX));
        };
        self.update(|status| {
            add(&mut status.resources_sent, count);
            add(&mut status.bytes_sent, bytes);
        });
        debug!(node = %self.node_id, nonce = self.last_nonce, tag = %part.system_version_info, count, bytes, "response sent");
        // The channel is as long as the window. It is full only when the client acknowledges
        // what it cannot have read, so the wait is bounded like one for an answer.
        match timeout(self.settings.answer_timeout, self.responses.send(Ok(part))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone.into()),
            Err(_) => Err(too_slow("read its responses", self.settings.answer_timeout).into()),
        }
    }

    /// Waits until every part is answered; the transaction then is in force at the client.
    async fn settle(&mut self, version: Version) -> Result<(), Stop> {
        while !self.outstanding.is_empty() {
            self.next_answer().await?;
        }
        if self.is_rejected {
            return Err(Stop::Rejected);
        }
        self.position = Some(version);
        self.is_synced = true;
        self.rejections = 0;
        self.update(|status| status.acked = Some(version));
        Ok(())
    }

    fn update(&self, change: impl FnOnce(&mut super::DataplaneStatus)) {
        if let Some(registration) = &self.registration {
            registration.update(change);
        }
    }
}
