//! Events through the subscriptions of today, again: the same for their receivers, with
//! deliveries of their own.
//!
//! The log keeps a replay as an event of its own that names the one it is of, and the command that
//! asked for it: so id and effect are one record, and everything that holds for events holds for
//! replays (decision 0019).

use std::sync::Arc;

use outrider_store::{AcceptError, EventContent, StoredEvent};
use outrider_webhook::event::{Audience, Replay, RoutedEvent, VerifiedEvent};
use outrider_webhook::id::{EventId, ProjectId, Uid};

use super::{Executor, Refusal};
use crate::route::route;

impl Executor {
    pub(super) async fn replay(
        &self,
        command: Uid,
        project: ProjectId,
        event: EventId,
    ) -> Result<(), Refusal> {
        let event = self.replayable(project, event).await?;
        self.check_payload(&event).await?;
        let of = original(&event);
        let numbers = self.index.replays_of(vec![of]).await?;
        let before = numbers.first().copied().unwrap_or(0);
        let routed = self.routed_again(&event, before, command)?;
        self.log.accept(routed).await?;
        Ok(())
    }

    /// The event with this id; of a repeat the one it repeats.
    async fn replayable(
        &self,
        project: ProjectId,
        id: EventId,
    ) -> Result<Arc<StoredEvent>, Refusal> {
        let mut found = self.index.event(project, id).await?;
        if let Some(EventContent::Duplicate(repeat)) = found.as_ref().map(|item| &item.content) {
            let first = repeat.first;
            found = self.index.event(project, first).await?;
        }
        match found.map(|item| item.content) {
            Some(EventContent::Event(event)) => Ok(event),
            Some(EventContent::Duplicate(_)) | None => Err(Refusal::UnknownEvent),
        }
    }

    /// Whether the event can still be sent. What was read with a body has one.
    pub(super) async fn check_payload(&self, event: &StoredEvent) -> Result<(), Refusal> {
        if !event.facts.body.is_empty() {
            return Ok(());
        }
        match self.log.read(event.position).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_permanent() => Err(Refusal::PayloadGone),
            Err(_) => Err(Refusal::Unreadable),
        }
    }

    /// An event with the deliveries that it gets now, as its replay after so many.
    pub(super) fn routed_again(
        &self,
        event: &StoredEvent,
        before: u32,
        command: Uid,
    ) -> Result<RoutedEvent, Refusal> {
        let snapshot = self.table.load();
        let table = snapshot.project(event.facts.project);
        let table = table.ok_or(Refusal::UnknownEvent)?;
        let revision = snapshot.version().map_or(0, |version| version.revision);
        let mut facts = event.facts.clone();
        if let Audience::Dynamic(dynamic) = &mut facts.audience {
            // It was made with the first one, and is made once.
            dynamic.made = None;
        }
        facts.received_ms = self.clock.now_ms();
        let replay = Replay {
            of: original(event),
            number: before.saturating_add(1),
            command,
        };
        let routed = route(VerifiedEvent::accepted_before(facts), table, revision);
        let routed = self.metrics.note_faults(routed);
        Ok(routed.replayed(replay, event.decision.verified_by.clone()))
    }
}

/// The event that was accepted from outside.
pub(super) fn original(event: &StoredEvent) -> EventId {
    let replay = event.decision.replay.as_ref();
    replay.map_or(event.id, |replay| replay.of)
}

impl From<AcceptError> for Refusal {
    fn from(error: AcceptError) -> Self {
        match error {
            AcceptError::TooLarge { .. } | AcceptError::TooManyTargets { .. } => Self::TooLarge,
            error => {
                tracing::warn!(%error, "a replay was refused by the log");
                Self::LogUnavailable
            }
        }
    }
}
