//! The data plane's side: keeps a session open, runs the commands, asks for the head.
//!
//! [`ControlClient::run`] reconnects for ever, with the same back-off as the configuration
//! stream. Commands run in tasks of their own that outlive the session; an outcome whose session
//! is gone is dropped, since the control plane then sends the command again.

mod link;

use std::sync::Arc;
use std::time::Duration;

use outrider_config::Version;
use outrider_webhook::id::Uid;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Channel;
use tracing::{info, warn};

use super::offer::{Offer, OfferAnswer, Offers};
use super::{Command, CommandHandler, Outcome, wire};
use crate::backoff::Backoff;
use crate::node::{Claim, Node};
use link::Link;

/// Commands that run at a time, over all sessions. When so many run nothing more is read from
/// the session, and the control plane's queue fills.
pub(crate) const RUNNING_MAX: usize = 64;
/// A control plane that does not open the session, or does not read an outcome, within this
/// time is left.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The first wait before a new session; doubles with each failure.
const RECONNECT_WAIT_MIN: Duration = Duration::from_millis(100);
/// Where the doubling ends.
const RECONNECT_WAIT_MAX: Duration = Duration::from_secs(10);
/// A session this old worked: the next failure is the first of a new row. Two processes with one
/// node number replace each other sooner, and so end up at the longest wait.
const STEADY_AFTER: Duration = Duration::from_secs(5);
/// What running commands get to finish when the data plane shuts down.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// One data plane's command session.
pub struct ControlClient {
    channel: Channel,
    claim: Claim,
    node: Node,
    runner: Runner,
    asks: watch::Sender<Option<mpsc::Sender<Ask>>>,
}

/// What is asked of the control plane, and by whom.
pub(super) enum Ask {
    /// For the journal's head.
    Head(oneshot::Sender<Version>),
    /// Whether it makes something configuration.
    Offer(Box<Offer>, oneshot::Sender<OfferAnswer>),
}

impl Ask {
    /// Nobody waits for the answer any more.
    fn is_closed(&self) -> bool {
        match self {
            Self::Head(asker) => asker.is_closed(),
            Self::Offer(_, asker) => asker.is_closed(),
        }
    }
}

impl ControlClient {
    /// A client that runs the commands of the number it claims with `handler`. The channel may
    /// be the one the [`crate::Client`] uses.
    #[must_use]
    pub fn new(
        channel: Channel,
        claim: Claim,
        node: Node,
        handler: Arc<dyn CommandHandler>,
    ) -> Self {
        Self {
            channel,
            claim,
            node,
            runner: Runner::new(handler),
            asks: watch::Sender::new(None),
        }
    }

    /// A handle that asks for the journal's head over the session that is open then.
    #[must_use]
    pub fn head(&self) -> HeadProbe {
        HeadProbe {
            asks: self.asks.subscribe(),
        }
    }

    /// A handle that makes offers over the session that is open then.
    #[must_use]
    pub fn offers(&self) -> Offers {
        Offers {
            asks: self.asks.subscribe(),
        }
    }

    /// Runs until `shutdown` fires. Commands that run then get 5 s to finish and be answered;
    /// what is left is dropped.
    pub async fn run(self, shutdown: CancellationToken) {
        let _stop = self.runner.stop.clone().drop_guard(); // also when this future is dropped
        let mut backoff = Backoff::new(&self.node.id, RECONNECT_WAIT_MIN, RECONNECT_WAIT_MAX);
        loop {
            let begun = Instant::now();
            let ended = self.connect_and_serve(&shutdown).await;
            self.asks.send_replace(None);
            let Err(error) = ended else { break };
            if begun.elapsed() >= STEADY_AFTER {
                backoff.reset();
            }
            let wait = backoff.next_wait();
            warn!(%error, code = error.code(), wait_ms = wait.as_millis(), "the command session broke");
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
            }
        }
        self.runner.drain().await;
        info!("the command session is closed");
    }

    /// One session: `Ok` when `shutdown` ended it.
    async fn connect_and_serve(&self, shutdown: &CancellationToken) -> Result<(), link::LinkError> {
        let Some(link) = Link::open(self, shutdown).await? else {
            return Ok(());
        };
        link.serve(&self.runner, shutdown).await
    }
}

/// Asks the control plane for its journal's head. Clones ask over the same session.
#[derive(Clone)]
pub struct HeadProbe {
    asks: watch::Receiver<Option<mpsc::Sender<Ask>>>,
}

impl HeadProbe {
    /// The version of the control plane's journal, as it was after this call began. `None` when
    /// no session is open, or there is no answer within `limit`.
    pub async fn head(&self, limit: Duration) -> Option<Version> {
        let asks = self.asks.borrow().clone()?;
        let (ask, answer) = oneshot::channel();
        let asking = async {
            asks.send(Ask::Head(ask)).await.ok()?;
            answer.await.ok()
        };
        timeout(limit, asking).await.ok().flatten()
    }
}

/// Runs commands and owns their tasks.
struct Runner {
    handler: Arc<dyn CommandHandler>,
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
    /// Ends tasks that did not end in time.
    stop: CancellationToken,
}

impl Runner {
    fn new(handler: Arc<dyn CommandHandler>) -> Self {
        Self {
            handler,
            permits: Arc::new(Semaphore::new(RUNNING_MAX)),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Runs a command, for which the session already has the permit, and sends its outcome.
    fn start(
        &self,
        command: Command,
        permit: tokio::sync::OwnedSemaphorePermit,
        outgoing: mpsc::Sender<wire::FromNode>,
    ) {
        let handler = Arc::clone(&self.handler);
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let _permit = permit; // freed on return, stop or panic alike
            let answered = async {
                let id = command.id;
                let outcome = handler.run(command).await;
                report(id, &outcome, &outgoing).await;
            };
            stop.run_until_cancelled(answered).await;
        });
    }

    /// Waits for the running commands, a limited time; drops what is left.
    async fn drain(&self) {
        self.tasks.close();
        if timeout(DRAIN_TIMEOUT, self.tasks.wait()).await.is_err() {
            let left = self.tasks.len();
            warn!(left, "commands did not finish before the shutdown");
            self.stop.cancel();
            self.tasks.wait().await;
        }
    }
}

async fn report(command: Uid, outcome: &Outcome, outgoing: &mpsc::Sender<wire::FromNode>) {
    let sent = timeout(
        ANSWER_TIMEOUT,
        outgoing.send(wire::outcome(command, outcome)),
    )
    .await;
    match sent {
        Ok(Ok(())) => {}
        // It is asked for again over the next session, if anybody still waits.
        Ok(Err(_)) => info!(%command, "the session of a command is gone"),
        Err(_) => warn!(%command, "the control plane does not read outcomes"),
    }
}
