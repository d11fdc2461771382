//! Commands of the control plane: what a person asks of the data plane that is no configuration
//! (RULINGS 18).
//!
//! A command and its effect are one group of the log, so a command that is sent again after a
//! crash is either unknown and done, or known and answered. One at a time: what a command finds
//! stays so until its effect is in the log. Questions have no effect, and no turn: see `question`.
//!
//! - `resend`: one more attempt of a delivery that has ended
//! - `cancel`: no further attempt of one that has not
//! - `replay`: an event through today's subscriptions
//! - `batch`: the same for all that a filter finds, step by step
//! - `ping`: whether an endpoint takes requests from each of our addresses
//! - `token`: whether a token endpoint gives a token

mod batch;
mod cancel;
mod lane;
mod ping;
mod question;
mod refusal;
mod replay;
mod resend;
mod tell;
mod token;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use outrider_store::{Batch, Clock, CommandRecord, Index, LocalLog, Record};
use outrider_webhook::id::Uid;
use outrider_xds::{Action, Command, CommandHandler, Outcome};
use tokio::sync::{Mutex, MutexGuard};

use self::batch::Batches;
pub(crate) use self::question::Questions;
use self::refusal::Refusal;
pub(crate) use self::token::Trials;
use crate::meta::Teller;
use crate::metrics::Metrics;
use crate::queue::Queue;
use crate::table::RoutingTable;

/// How long a command waits for the ones before it.
const TURN_LIMIT: Duration = Duration::from_secs(5);

/// Carries commands out.
pub(crate) struct Executor {
    queue: Queue,
    table: RoutingTable,
    log: LocalLog,
    index: Index,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    teller: Teller,
    turn: Mutex<()>,
    questions: Questions,
    trials: Trials,
    batches: Batches,
    /// Between two steps of a batch.
    batch_pause: Duration,
}

/// What commands work on.
pub(crate) struct Means {
    pub(crate) queue: Queue,
    pub(crate) log: LocalLog,
    pub(crate) index: Index,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) teller: Teller,
    pub(crate) trials: Trials,
    pub(crate) batch_pause: Duration,
}

impl Executor {
    /// `batches` is what the log knows of batches of earlier processes.
    pub(crate) fn new(means: Means, questions: Questions, batches: Vec<Batch>) -> Self {
        let Means {
            queue,
            log,
            index,
            clock,
            metrics,
            teller,
            trials,
            batch_pause,
        } = means;
        Self {
            queue,
            table: questions.table.clone(),
            log,
            index,
            clock,
            metrics,
            teller,
            turn: Mutex::new(()),
            questions,
            trials,
            batches: Batches::restore(batches),
            batch_pause,
        }
    }

    /// Waits until it is its turn. Its sender waits for seconds, so it is not begun much later.
    async fn take_turn(&self) -> Result<MutexGuard<'_, ()>, Refusal> {
        let turn = tokio::time::timeout(TURN_LIMIT, self.turn.lock()).await;
        turn.map_err(|_| Refusal::Busy)
    }

    /// Carries a command out, when it is its turn, unless it was before.
    async fn carry_out(&self, command: Uid, action: Action) -> Result<(), Refusal> {
        let _turn = self.take_turn().await?;
        if self.index.has_command(command.bits()).await? {
            return Ok(());
        }
        match action {
            Action::Resend { project, delivery } => {
                self.resend(command, (project, delivery), false).await
            }
            Action::ForceResend { project, delivery } => {
                self.resend(command, (project, delivery), true).await
            }
            Action::Cancel { project, delivery } => self.cancel(command, project, delivery).await,
            Action::Batch(batch) => self.begin_batch(command, batch).await,
            Action::StopBatch { project, batch } => self.stop_batch(project, batch).await,
            Action::Replay { project, event } => self.replay(command, project, event).await,
            // Those are answered without a turn.
            Action::Ask(_) | Action::Tell(_) | Action::TryToken { .. } | Action::Ping { .. } => {
                Err(Refusal::NotSupported)
            }
        }
    }

    /// The record of a command that is done as soon as it is recorded.
    fn done(&self, command: Uid, verb: &str, body: Bytes) -> Record {
        Record::Command(CommandRecord {
            id: command.bits(),
            at_ms: self.clock.now_ms(),
            verb: verb.into(),
            cursor: None,
            affected: 1,
            is_done: true,
            body,
        })
    }
}

#[async_trait]
impl CommandHandler for Executor {
    async fn run(&self, command: Command) -> Outcome {
        let Command { id, action } = command;
        match action {
            Action::Ask(outrider_xds::Question::Batches { project }) => {
                return question::answered(&self.batches.shown(project));
            }
            Action::Ask(question) => return self.questions.answer(question),
            Action::Tell(news) => return self.tell(news).await,
            Action::TryToken { project, client } => {
                return self.try_token(project, &client).await;
            }
            Action::Ping { project, endpoint } => return self.ping(id, project, endpoint).await,
            _ => {}
        }
        match self.carry_out(id, action).await {
            Ok(()) => {
                tracing::info!(command_id = %id, "command carried out");
                Outcome::Done
            }
            Err(refusal) => {
                tracing::info!(command_id = %id, code = refusal.code(), "command refused");
                refusal.into()
            }
        }
    }
}
