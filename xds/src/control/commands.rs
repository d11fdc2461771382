//! Where commands are sent, and where their outcomes are waited for: the control plane's side.
//!
//! A waiting [`Commands::send`] drives its own command: it watches the node's session and puts
//! the command into each new one. Sessions only say where they are and hand outcomes over.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use outrider_webhook::id::{NodeId, Uid};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::wire::{self, ToNode};
use super::{Command, Outcome};
use crate::node::{Claim, Taken};

/// Commands that may wait for their outcome at a time, over all nodes.
pub(crate) const WAITING_MAX: usize = 1_024;
/// Messages that may wait to be written to one session.
pub(super) const QUEUED_MAX: usize = 64;

/// The way into a session.
pub(super) type Outgoing = mpsc::Sender<Result<ToNode, Status>>;

/// Sends commands to data planes. A handle: clones share the sessions.
#[derive(Clone, Default)]
pub struct Commands {
    hub: Arc<Mutex<Hub>>,
}

/// Why there is no outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The command was not sent: no session of the node came up in time.
    #[error("the data plane is not connected")]
    NotConnected,
    /// The command was sent, and may have been or may yet be run: there is no outcome in time.
    #[error("the data plane did not answer in time")]
    Timeout,
    /// The command was not sent: too many wait, all over or for this node.
    #[error("too many commands are waiting")]
    Busy,
}

impl SendError {
    /// Stable code for metric labels and API bodies: a closed set.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotConnected => "dataplane_not_connected",
            Self::Timeout => "dataplane_timeout",
            Self::Busy => "commands_busy",
        }
    }
}

#[derive(Default)]
struct Hub {
    /// The number of the newest session or waiter.
    last: u64,
    /// Each node that ever came, and its open session. At most 1,024: a node is ten bits.
    nodes: BTreeMap<NodeId, watch::Sender<Option<Route>>>,
    /// Who waits for the outcome of which command. The number tells two waiters of one apart.
    waiting: BTreeMap<WaitKey, oneshot::Sender<Outcome>>,
}

type WaitKey = (NodeId, Uid, u64);

/// An open session.
#[derive(Clone)]
struct Route {
    session: u64,
    claim: Claim,
    outgoing: Outgoing,
    replaced: CancellationToken,
}

/// How far a command came; what was sent once stays sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reached {
    Nowhere,
    /// A session was open, but took nothing.
    Session,
    Sent,
}

impl Commands {
    /// Sends a command to a node and waits for its outcome, at most `limit`. While it waits the
    /// command is sent again, with the same id, each time the node opens a new session. Commands
    /// that wait at the same time have no order among them.
    ///
    /// # Errors
    /// When there is no outcome within the limit, or too many commands wait already.
    pub async fn send(
        &self,
        node: NodeId,
        command: Command,
        limit: Duration,
    ) -> Result<Outcome, SendError> {
        let (_waiter, outcome) = self.enlist(node, command.id)?;
        let mut reached = Reached::Nowhere;
        let driven = drive(self.route(node), command, &mut reached);
        let first = async {
            tokio::select! {
                biased;
                outcome = outcome => outcome.ok(),
                () = driven => None,
            }
        };
        match timeout(limit, first).await {
            Ok(Some(outcome)) => Ok(outcome),
            Ok(None) | Err(_) => Err(match reached {
                Reached::Nowhere => SendError::NotConnected,
                Reached::Session => SendError::Busy,
                Reached::Sent => SendError::Timeout,
            }),
        }
    }

    /// The nodes that have a session open now, in the order of their numbers.
    #[must_use]
    pub fn connected(&self) -> Vec<NodeId> {
        let hub = self.lock();
        let open = hub
            .nodes
            .iter()
            .filter(|(_, place)| place.borrow().is_some());
        open.map(|(node, _)| *node).collect()
    }

    /// A session is open, and replaces an older one of the same data plane. It has the node's
    /// place until the seat is dropped.
    pub(super) fn open(&self, claim: Claim, outgoing: Outgoing) -> Result<Seat, Taken> {
        let node = claim.number;
        let mut hub = self.lock();
        hub.last += 1;
        let session = hub.last;
        let replaced = CancellationToken::new();
        let route = Route {
            session,
            claim,
            outgoing,
            replaced: replaced.clone(),
        };
        let place = hub.nodes.entry(node).or_default();
        let is_taken = |route: &Route| route.claim.conflicts(claim);
        if place.borrow().as_ref().is_some_and(is_taken) {
            return Err(Taken(node));
        }
        if let Some(older) = place.send_replace(Some(route)) {
            older.replaced.cancel();
        }
        drop(hub);
        Ok(Seat {
            commands: self.clone(),
            node,
            session,
            replaced,
        })
    }

    /// The claim is another data plane's: a session that has its place is ended.
    pub(crate) fn evict(&self, claim: Claim) {
        let hub = self.lock();
        if let Some(place) = hub.nodes.get(&claim.number) {
            let other = place.borrow().clone();
            if let Some(other) = other.filter(|route| route.claim.conflicts(claim)) {
                other.replaced.cancel();
                place.send_replace(None);
            }
        }
    }

    /// Hands an outcome to all who wait for it. `false` when nobody does.
    pub(super) fn settle(&self, node: NodeId, command: Uid, outcome: &Outcome) -> bool {
        let range = (node, command, 0)..=(node, command, u64::MAX);
        let mut hub = self.lock();
        let found: Vec<_> = hub.waiting.extract_if(range, |_, _| true).collect();
        drop(hub);
        let mut is_awaited = false;
        for (_, waiter) in found {
            is_awaited |= waiter.send(outcome.clone()).is_ok();
        }
        is_awaited
    }

    fn route(&self, node: NodeId) -> watch::Receiver<Option<Route>> {
        self.lock().nodes.entry(node).or_default().subscribe()
    }

    fn enlist(
        &self,
        node: NodeId,
        command: Uid,
    ) -> Result<(Waiter, oneshot::Receiver<Outcome>), SendError> {
        let mut hub = self.lock();
        if hub.waiting.len() >= WAITING_MAX {
            return Err(SendError::Busy);
        }
        hub.last += 1;
        let key = (node, command, hub.last);
        let (sender, outcome) = oneshot::channel();
        hub.waiting.insert(key, sender);
        drop(hub);
        let commands = self.clone();
        Ok((Waiter { commands, key }, outcome))
    }

    /// A poisoned hub is still one: each change to it is one insertion or removal.
    fn lock(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts the command into each session of the node, once. Returns only when there can be none.
async fn drive(mut route: watch::Receiver<Option<Route>>, command: Command, reached: &mut Reached) {
    loop {
        // A clone of the sender must not outlive the send: it would keep the stream open.
        let outgoing = route
            .borrow_and_update()
            .as_ref()
            .map(|route| route.outgoing.clone());
        if let Some(outgoing) = outgoing {
            *reached = (*reached).max(Reached::Session);
            // Both arms are cancel-safe: what is not sent stays here, for the next session.
            let sent = tokio::select! {
                biased;
                moved = route.changed() => match moved {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                sent = outgoing.send(Ok(wire::command(command.clone()))) => sent,
            };
            if sent.is_ok() {
                *reached = Reached::Sent;
            }
        }
        if route.changed().await.is_err() {
            return;
        }
    }
}

/// One waiter's place in the list, whether it gets its outcome, gives up or is dropped.
struct Waiter {
    commands: Commands,
    key: WaitKey,
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.commands.lock().waiting.remove(&self.key);
    }
}

/// A session's place as the one of its node.
pub(super) struct Seat {
    commands: Commands,
    pub(super) node: NodeId,
    session: u64,
    /// Fires when a newer session took the place.
    pub(super) replaced: CancellationToken,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let hub = self.commands.lock();
        if let Some(route) = hub.nodes.get(&self.node) {
            route.send_if_modified(|route| {
                let is_ours = route
                    .as_ref()
                    .is_some_and(|route| route.session == self.session);
                if is_ours {
                    *route = None;
                }
                is_ours
            });
        }
    }
}
