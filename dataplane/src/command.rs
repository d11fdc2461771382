//! Commands of the control plane: what a person asks of the data plane that is no configuration
//! (RULINGS 18).
//!
//! A command and its effect are one group of the log, so a command that is sent again after a
//! crash is either unknown and done, or known and answered. One at a time: what a command finds
//! stays so until its effect is in the log. Questions have no effect, and no turn: see `question`.

mod question;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use outrider_config::snapshot::EndpointStatus;
use outrider_store::{
    Clock, CommandRecord, DeliveryItem, DeliveryStatus, Index, LocalLog, Pending, Record,
    StateRecord,
};
use outrider_webhook::id::{DeliveryKey, ProjectId, Uid};
use outrider_xds::{Action, Command, CommandHandler, Outcome};
use tokio::sync::Mutex;

pub(crate) use self::question::Questions;
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
    turn: Mutex<()>,
    questions: Questions,
}

/// Why a command is not carried out. The texts are the contract's (section 3.8), where it has one.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("event delivery not found")]
    NotFound,
    #[error("event already sent")]
    AlreadySent,
    #[error("cannot resend event that did not fail previously")]
    NotEnded,
    #[error("the endpoint is currently paused")]
    EndpointPaused,
    #[error("the endpoint is currently inactive")]
    EndpointInactive,
    #[error("the endpoint of this delivery was deleted")]
    EndpointDeleted,
    #[error("the endpoint has a URL template, and the event names no URL that it matches")]
    UnresolvedUrl,
    #[error("the payload of this event is gone: it was erased, or its retention is over")]
    PayloadGone,
    #[error("the event cannot be read just now, try again")]
    Unreadable,
    #[error("other commands take too long, try again")]
    Busy,
    #[error("the event log is not available")]
    LogUnavailable,
}

impl Refusal {
    /// Stable code: a closed set, which the control plane turns into a status.
    const fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "unknown_delivery",
            Self::AlreadySent => "already_sent",
            Self::NotEnded => "not_ended",
            Self::EndpointPaused => "endpoint_paused",
            Self::EndpointInactive => "endpoint_inactive",
            Self::EndpointDeleted => "endpoint_deleted",
            Self::UnresolvedUrl => "unresolved_url_template",
            Self::PayloadGone => "payload_gone",
            Self::Unreadable => "index_unavailable",
            Self::Busy => "commands_busy",
            Self::LogUnavailable => "log_unavailable",
        }
    }
}

impl Executor {
    pub(crate) fn new(
        queue: Queue,
        log: LocalLog,
        index: Index,
        clock: Arc<dyn Clock>,
        questions: Questions,
    ) -> Self {
        Self {
            queue,
            table: questions.table.clone(),
            log,
            index,
            clock,
            turn: Mutex::new(()),
            questions,
        }
    }

    /// When it is its turn. Its sender waits for seconds, so it is not begun much later.
    async fn resend_in_turn(
        &self,
        command: Uid,
        project: ProjectId,
        delivery: DeliveryKey,
    ) -> Result<(), Refusal> {
        let turn = tokio::time::timeout(TURN_LIMIT, self.turn.lock()).await;
        let _turn = turn.map_err(|_| Refusal::Busy)?;
        self.resend(command, project, delivery).await
    }

    /// Opens a delivery that ended without success for another attempt.
    async fn resend(
        &self,
        command: Uid,
        project: ProjectId,
        key: DeliveryKey,
    ) -> Result<(), Refusal> {
        let is_done = self.index.has_command(command.bits()).await;
        if is_done.map_err(unreadable)? {
            return Ok(());
        }
        let delivery = self.index.delivery(project, key).await;
        let delivery = delivery.map_err(unreadable)?.ok_or(Refusal::NotFound)?;
        match delivery.status {
            DeliveryStatus::Failure | DeliveryStatus::Discarded => {}
            DeliveryStatus::Success => return Err(Refusal::AlreadySent),
            _ => return Err(Refusal::NotEnded),
        }
        self.check_endpoint(project, &delivery)?;
        let position = delivery.event.position;
        match self.log.read(position).await {
            Ok(_) => {}
            Err(error) if error.is_permanent() => return Err(Refusal::PayloadGone),
            Err(_) => return Err(Refusal::Unreadable),
        }
        let now_ms = self.clock.now_ms();
        let effect = Record::State(StateRecord {
            key,
            position,
            at_ms: now_ms,
            status: DeliveryStatus::Scheduled,
            next_due_ms: Some(now_ms),
            attempts: delivery.attempts,
            reason: Some("resend".into()),
        });
        let recorded = self
            .log
            .record_together(&resend_record(command, now_ms), &[effect])
            .await;
        recorded.map_err(|_| Refusal::LogUnavailable)?;
        // A crash before this line finds the delivery open in the log.
        self.queue.restore(vec![Pending {
            key,
            position,
            project,
            target: delivery.target,
            attempts: delivery.attempts,
            attempts_free: 0, // one attempt more than there were, and no other
            due_ms: now_ms,
            revision: delivery.event.revision,
            bytes: u32::try_from(delivery.event.facts.body.len()).unwrap_or(u32::MAX),
        }]);
        Ok(())
    }

    fn check_endpoint(&self, project: ProjectId, delivery: &DeliveryItem) -> Result<(), Refusal> {
        let snapshot = self.table.load();
        let endpoint = snapshot
            .project(project)
            .and_then(|table| table.endpoint(delivery.target.endpoint));
        let endpoint = endpoint.ok_or(Refusal::EndpointDeleted)?;
        if self.questions.disabling.is_off(endpoint) {
            return Err(Refusal::EndpointInactive);
        }
        match endpoint.status() {
            EndpointStatus::Active => {}
            EndpointStatus::Paused => return Err(Refusal::EndpointPaused),
            EndpointStatus::Inactive => return Err(Refusal::EndpointInactive),
        }
        let named = delivery.event.facts.audience.named_url();
        let target = endpoint.url().resolve(named);
        target.map(drop).ok_or(Refusal::UnresolvedUrl)
    }
}

#[async_trait]
impl CommandHandler for Executor {
    async fn run(&self, command: Command) -> Outcome {
        let carried_out = match command.action {
            Action::Ask(question) => return self.questions.answer(question),
            Action::Resend { project, delivery } => {
                self.resend_in_turn(command.id, project, delivery).await
            }
        };
        match carried_out {
            Ok(()) => {
                tracing::info!(command_id = %command.id, "command carried out");
                Outcome::Done
            }
            Err(refusal) => {
                tracing::info!(command_id = %command.id, code = refusal.code(), "command refused");
                Outcome::Refused {
                    code: refusal.code().to_owned(),
                    message: refusal.to_string(),
                }
            }
        }
    }
}

fn unreadable(error: outrider_store::IndexError) -> Refusal {
    tracing::warn!(%error, code = error.code(), "a command could not look something up");
    Refusal::Unreadable
}

fn resend_record(command: Uid, now_ms: i64) -> Record {
    Record::Command(CommandRecord {
        id: command.bits(),
        at_ms: now_ms,
        verb: "resend".into(),
        cursor: None,
        affected: 1,
        is_done: true,
        body: bytes::Bytes::new(),
    })
}
