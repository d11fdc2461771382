//! The steps of batches, one after the other: bounded, and with a pause in between, so that live
//! traffic and other commands never wait for long.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use outrider_store::{
    CommandRecord, DeliveryFilter, DeliveryItem, Direction, EventContent, EventItem, Page,
    PageRequest, Record, Sort, StoredEvent,
};
use outrider_webhook::id::{DeliveryKey, EventId, Uid};
use tokio_util::sync::CancellationToken;

use super::super::cancel::Open;
use super::super::{Executor, Refusal};
use super::{Filter, Kind, State};

/// Deliveries of one step. With their command they fit in a group of the log.
const ROWS: usize = 100;
/// Between steps while the queue is long, and after one that could not be made; at least.
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
                Ok(()) if self.is_long() => LONG_PAUSE.max(self.batch_pause),
                Ok(()) => self.batch_pause,
                Err(refusal) => {
                    tracing::warn!(batch_id = %id, code = refusal.code(), "a batch waits");
                    LONG_PAUSE.max(self.batch_pause)
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
            (Kind::Replay, Filter::Events(filter)) => {
                let request = request(state.next.map(|next| next.event));
                let (page, lag) = self.index.events((**filter).clone(), request).await?;
                match lag {
                    None => self.replay_page(state, page).await,
                    Some(_) => Err(Refusal::Unreadable),
                }
            }
            // No batch is made like this.
            (Kind::Replay, _) | (_, Filter::Events(_)) => Err(Refusal::BadFilter),
        }
    }

    /// The next deliveries, as they are in the log now.
    async fn page(
        &self,
        filter: &DeliveryFilter,
        state: &State,
    ) -> Result<Page<DeliveryItem, DeliveryKey>, Refusal> {
        let request = request(state.next);
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

    /// Each replay is in the log by itself, with the batch that asked for it. So one that a crash
    /// cuts short, or that the log has no room for just now, repeats none of them.
    async fn replay_page(
        &self,
        mut state: State,
        page: Page<EventItem, EventId>,
    ) -> Result<(), Refusal> {
        let (again, mut left_out) = self.to_replay(&state, page.rows).await?;
        let ids = again.iter().map(|event| event.id).collect();
        let numbers = self.index.replays_of(ids).await?;
        let mut accepts = Vec::with_capacity(again.len());
        for (event, before) in again.iter().zip(numbers) {
            let routed = self.routed_again(event, before, state.id)?;
            // Boxed: each is large, and there are many.
            let accept = Box::pin(self.log.accept(routed));
            accepts.push(async move { (event.id, accept.await) });
        }
        let mut failed = None;
        for (id, accepted) in join_all(accepts).await {
            match accepted.map_err(Refusal::from) {
                Ok(_) => {
                    state.done += 1;
                    state.replayed.insert(id);
                }
                Err(Refusal::TooLarge) => left_out.push(Refusal::TooLarge),
                Err(why) => failed = Some(why),
            }
        }
        if let Some(why) = failed {
            // The rest of this page is tried again.
            self.batches.put(state);
            return Err(why);
        }
        for why in left_out {
            state.leave_out(why);
        }
        state.replayed.clear();
        let next = page.next.map(|event| DeliveryKey { event, ordinal: 0 });
        let record = self.advance(&mut state, next);
        self.log.record_synced(record).await?;
        self.batches.put(state);
        Ok(())
    }

    /// The events of a page that are replayed, and why others are not.
    async fn to_replay(
        &self,
        state: &State,
        items: Vec<EventItem>,
    ) -> Result<(Vec<Arc<StoredEvent>>, Vec<Refusal>), Refusal> {
        let (mut again, mut left_out) = (Vec::with_capacity(items.len()), Vec::new());
        for item in items {
            let EventContent::Event(event) = item.content else {
                left_out.push(Refusal::Repeat);
                continue;
            };
            if state.replayed.contains(&event.id) {
                continue;
            }
            match self.check_payload(&event).await {
                Ok(()) => again.push(event),
                Err(Refusal::PayloadGone) => left_out.push(Refusal::PayloadGone),
                Err(other) => return Err(other),
            }
        }
        Ok((again, left_out))
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

/// The next page of a batch.
fn request<K>(cursor: Option<K>) -> PageRequest<K> {
    PageRequest {
        rows: ROWS,
        sort: Sort::Ascending,
        direction: Direction::Next,
        cursor,
    }
}

fn open(delivery: &DeliveryItem) -> (DeliveryKey, Open) {
    let open = Open {
        position: delivery.event.position,
        attempts: delivery.attempts,
        due_ms: delivery.due_ms,
    };
    (delivery.key, open)
}
