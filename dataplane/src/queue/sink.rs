//! From the log into the lanes.

use std::sync::Arc;

use outrider_store::{AcceptedSink, StoredEvent};
use outrider_webhook::id::DeliveryKey;

use super::{Entry, PayloadCache, Queue};

/// Hands durable events to the lanes on the writer's thread: short, never waits.
pub(super) struct Sink {
    pub(super) queue: Queue,
}

impl AcceptedSink for Sink {
    fn accepted(&mut self, events: &mut Vec<Arc<StoredEvent>>) {
        // Nobody is woken for events that nobody gets, and their bodies are not kept.
        events.retain(|event| !event.targets.is_empty());
        if events.is_empty() {
            return;
        }
        let now_ms = self.queue.shared.clock.now_ms();
        let mut state = self.queue.state();
        for event in events.drain(..) {
            let cached = PayloadCache::hold(&self.queue.shared.cache, &event);
            for (ordinal, target) in (0_u32..).zip(&event.targets) {
                let entry = Entry {
                    key: DeliveryKey {
                        event: event.id,
                        ordinal,
                    },
                    position: event.position,
                    project: event.facts.project,
                    target: target.clone(),
                    revision: event.revision,
                    attempts: 0,
                    attempts_free: 0,
                    accepted_ms: event.id.unix_ms(),
                    due_ms: event.id.unix_ms(),
                    turn_ms: now_ms,
                    has_begun: false,
                    losses: 0,
                    opening: 0,
                    is_out_of_order: event.decision.replay.is_some(),
                    event: cached.clone(),
                };
                if let Some(first) = state.chains.enter(entry) {
                    state.lanes.push(first);
                }
            }
        }
        drop(state);
        self.queue.shared.wake.notify_one();
    }
}
