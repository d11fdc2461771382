//! The steps of batches, one after the other: bounded, and with a pause in between, so that live
//! traffic and other commands never wait for long.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use outrider_store::{
    CommandRecord, DeliveryFilter, DeliveryItem, Direction, Page, PageRequest, Record, Sort,
};
use outrider_webhook::id::{DeliveryKey, Uid};
use tokio_util::sync::CancellationToken;

use super::super::cancel::Open;
use super::super::{Executor, Refusal};
use super::{Filter, Kind, State};

/// Deliveries of one step. With their command they fit in a group of the log.
const ROWS: usize = 100;
/// Between steps.
const PAUSE: Duration = Duration::from_millis(50);
/// Between steps while the queue is long, and after one that could not be made.
const LONG_PAUSE: Duration = Duration::from_secs(1);
/// Deliveries that wait for their turn, all in all, from which on batches add slowly.
const QUEUE_LONG: usize = 10_000;

impl Executor {
    /// Makes the steps of all batches in turns, until `stop` fires.
    pub(crate) async fn run_batches(self: Arc<Self>, stop: CancellationToken) {
        let mut last = None;
        loop {
            let next = self.batches.after(last);
            let Some(id) = next else {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = self.batches.wake.notified() => continue,
                }
            };
            last = Some(id);
            // What is in the log of a step that is dropped is found there at the next start.
            let stepped = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                stepped = self.step(id) => stepped,
            };
            let pause = match stepped {
                Ok(()) if self.is_long() => LONG_PAUSE,
                Ok(()) => PAUSE,
                Err(refusal) => {
                    tracing::warn!(batch_id = %id, code = refusal.code(), "a batch waits");
                    LONG_PAUSE
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn is_long(&self) -> bool {
        let depth = self.queue.depth();
        depth.ready + depth.held > QUEUE_LONG
    }

    async fn step(&self, id: Uid) -> Result<(), Refusal> {
        let _turn = self.turn.lock().await;
        // It may have been stopped since.
        let Some(state) = self.batches.get(id).filter(State::is_running) else {
            return Ok(());
        };
        match (state.kind, &state.filter) {
            (Kind::Retry, Filter::Deliveries(filter)) => {
                let page = self.page(filter, &state).await?;
                self.retry_page(state, page).await
            }
            (Kind::Cancel, Filter::Deliveries(filter)) => {
                let page = self.page(filter, &state).await?;
                self.cancel_page(state, page).await
            }
            (Kind::Replay, _) | (_, Filter::Events(_)) => Err(Refusal::NotSupported),
        }
    }

    /// The next deliveries, as they are in the log now.
    async fn page(
        &self,
        filter: &DeliveryFilter,
        state: &State,
    ) -> Result<Page<DeliveryItem, DeliveryKey>, Refusal> {
        let request = PageRequest {
            rows: ROWS,
            sort: Sort::Ascending,
            direction: Direction::Next,
            cursor: state.next,
        };
        let (page, lag) = self.index.deliveries(filter.clone(), request).await?;
        match lag {
            None => Ok(page),
            Some(_) => Err(Refusal::Unreadable),
        }
    }

    async fn retry_page(
        &self,
        mut state: State,
        page: Page<DeliveryItem, DeliveryKey>,
    ) -> Result<(), Refusal> {
        let (mut effects, mut pending) = (Vec::new(), Vec::new());
        for delivery in &page.rows {
            let verb = state.kind.verb();
            match self.reopening(state.project, delivery, verb).await {
                Ok((effect, opened)) => {
                    effects.push(effect);
                    pending.push(opened);
                }
                Err(Refusal::Unreadable) => return Err(Refusal::Unreadable),
                Err(why) => state.leave_out(why),
            }
        }
        state.done += effects.len() as u64;
        let record = self.advance(&mut state, page.next);
        self.log.record_together(&record, &effects).await?;
        // A crash before this line finds the deliveries open in the log.
        self.queue.reopen(pending);
        self.batches.put(state);
        Ok(())
    }

    async fn cancel_page(
        &self,
        mut state: State,
        page: Page<DeliveryItem, DeliveryKey>,
    ) -> Result<(), Refusal> {
        let open: HashMap<DeliveryKey, Open> = page.rows.iter().map(open).collect();
        let keys: Vec<DeliveryKey> = open.keys().copied().collect();
        state.done += keys.len() as u64;
        let record = self.advance(&mut state, page.next);
        let cancel = Record::Command(CommandRecord {
            id: state.id.bits(),
            at_ms: self.clock.now_ms(),
            verb: CommandRecord::CANCEL.into(),
            cursor: None,
            affected: keys.len() as u64,
            is_done: true,
            body: CommandRecord::body_of(&keys),
        });
        self.call_off(open, &[cancel, record]).await?;
        self.batches.put(state);
        Ok(())
    }

    /// Moves a batch on, and ends it behind the last page.
    fn advance(&self, state: &mut State, next: Option<DeliveryKey>) -> Record {
        let now_ms = self.clock.now_ms();
        match next {
            Some(next) => state.next = Some(next),
            None => state.ended_ms = Some(now_ms),
        }
        state.record(now_ms)
    }
}

fn open(delivery: &DeliveryItem) -> (DeliveryKey, Open) {
    let open = Open {
        position: delivery.event.position,
        attempts: delivery.attempts,
    };
    (delivery.key, open)
}
