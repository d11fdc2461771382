//! No further attempt of a delivery that has not ended.
//!
//! First the queue begins no attempt of it any more, then the command is logged with its key,
//! and then its end: with the attempts that were recorded until then. One that a worker has ends
//! when he is done with it. Whatever a crash leaves open in between, recovery knows to be
//! cancelled.

use std::collections::HashMap;
use std::sync::Arc;

use outrider_store::{CommandRecord, DeliveryState, DeliveryStatus, Position, Record, StateRecord};
use outrider_webhook::id::{DeliveryKey, ProjectId, Uid};
use outrider_webhook::undelivered::Reason;
use tokio_util::sync::CancellationToken;

use super::{Executor, Refusal};
use crate::queue::Entry;

/// Stable code of the reason.
const CANCELLED: &str = Reason::Cancelled.code();

/// An open delivery, as far as its end needs it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    pub(super) position: Position,
    pub(super) attempts: u32,
    /// When the next one is due, Unix milliseconds.
    pub(super) due_ms: Option<i64>,
}

impl Executor {
    pub(super) async fn cancel(
        &self,
        command: Uid,
        project: ProjectId,
        key: DeliveryKey,
    ) -> Result<(), Refusal> {
        let delivery = self.index.delivery(project, key).await?;
        let delivery = delivery.ok_or(Refusal::NotFound)?;
        if delivery.status.is_final() {
            return Err(Refusal::Ended);
        }
        let body = CommandRecord::body_of(&[key]);
        let record = self.done(command, CommandRecord::CANCEL, body);
        let open = Open {
            position: delivery.event.position,
            attempts: delivery.attempts,
            due_ms: delivery.due_ms,
        };
        self.call_off(HashMap::from([(key, open)]), &[record]).await
    }

    /// Ends open deliveries. The first of the records names them, and all of them are durable
    /// before any delivery ends.
    pub(super) async fn call_off(
        &self,
        open: HashMap<DeliveryKey, Open>,
        records: &[Record],
    ) -> Result<(), Refusal> {
        let Some((first, with)) = records.split_first() else {
            return Ok(());
        };
        let due = open.iter().map(|(key, open)| (*key, open.due_ms)).collect();
        let in_flight = self.queue.cancel(&due);
        // Whatever workers recorded before is durable with it.
        self.log.record_together(first, with).await?;
        self.queue.cancel_is_recorded(open.keys());
        let is_waiting = |key: &&DeliveryKey| !in_flight.contains(*key);
        let waiting: Vec<DeliveryKey> = open.keys().filter(is_waiting).copied().collect();
        let states = match self.index.states(waiting.clone()).await {
            Ok(states) => states,
            Err(error) => {
                // As they were found: none of them may stay without an end.
                tracing::warn!(%error, code = error.code(), "cancelled deliveries could not be looked up again");
                let state = |key: &DeliveryKey| Some(state_of(*key, open.get(key)?));
                waiting.iter().filter_map(state).collect()
            }
        };
        let mut ends = Vec::with_capacity(states.len());
        for state in states {
            if state.status.is_final() {
                self.queue.had_ended(state.key);
            } else {
                ends.push(self.discarded(state));
            }
        }
        if let Some((first, with)) = ends.split_first() {
            self.log.record_together(first, with).await?;
        }
        Ok(())
    }

    /// Ends what comes back from workers, until `stop` fires and nothing is left.
    pub(crate) async fn end_cancelled(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let entry = tokio::select! {
                biased;
                entry = self.queue.cancelled() => entry, // cancel-safe
                () = stop.cancelled() => break,
            };
            self.end(entry).await;
        }
        while let Some(entry) = self.queue.try_cancelled() {
            self.end(entry).await;
        }
    }

    async fn end(&self, entry: Entry) {
        let state = DeliveryState {
            key: entry.key,
            position: entry.position,
            status: DeliveryStatus::Retry,
            attempts: entry.attempts,
        };
        if self.log.record(self.discarded(state)).await.is_err() {
            tracing::error!("the log is closed, a cancelled delivery ends at the next start");
        }
    }

    fn discarded(&self, state: DeliveryState) -> Record {
        self.metrics.finished.with_label_values(&[CANCELLED]).inc();
        Record::State(StateRecord {
            key: state.key,
            position: state.position,
            at_ms: self.clock.now_ms(),
            status: DeliveryStatus::Discarded,
            next_due_ms: None,
            attempts: state.attempts,
            reason: Some(CANCELLED.into()),
        })
    }
}

fn state_of(key: DeliveryKey, open: &Open) -> DeliveryState {
    DeliveryState {
        key,
        position: open.position,
        status: DeliveryStatus::Retry,
        attempts: open.attempts,
    }
}
