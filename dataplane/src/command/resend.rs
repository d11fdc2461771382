//! One more attempt of a delivery that has ended: a STATE opens it again.

use bytes::Bytes;
use outrider_config::snapshot::EndpointStatus;
use outrider_store::{DeliveryItem, DeliveryStatus, Pending, Record, StateRecord};
use outrider_webhook::id::{DeliveryKey, ProjectId, Uid};

use super::{Executor, Refusal};

impl Executor {
    /// Opens a delivery for another attempt: one that ended without success, or, when it is
    /// forced, one that was delivered.
    pub(super) async fn resend(
        &self,
        command: Uid,
        (project, key): (ProjectId, DeliveryKey),
        is_forced: bool,
    ) -> Result<(), Refusal> {
        let delivery = self.index.delivery(project, key).await?;
        let delivery = delivery.ok_or(Refusal::NotFound)?;
        check_status(delivery.status, is_forced)?;
        let verb = if is_forced { "force_resend" } else { "resend" };
        let (effect, pending) = self.reopening(project, &delivery, verb).await?;
        let record = self.done(command, verb, Bytes::new());
        self.log.record_together(&record, &[effect]).await?;
        // A crash before this line finds the delivery open in the log.
        self.queue.reopen(vec![pending]);
        Ok(())
    }

    /// What opens an ended delivery again: for the log, and for the queue when it is in there.
    pub(super) async fn reopening(
        &self,
        project: ProjectId,
        delivery: &DeliveryItem,
        verb: &str,
    ) -> Result<(Record, Pending), Refusal> {
        self.check_endpoint(project, delivery)?;
        let (event, now_ms) = (&delivery.event, self.clock.now_ms());
        self.check_payload(event).await?;
        let effect = Record::State(StateRecord {
            key: delivery.key,
            position: event.position,
            at_ms: now_ms,
            status: DeliveryStatus::Scheduled,
            next_due_ms: Some(now_ms),
            attempts: delivery.attempts,
            reason: Some(verb.into()),
        });
        let pending = Pending {
            key: delivery.key,
            position: event.position,
            project,
            target: delivery.target.clone(),
            attempts: delivery.attempts,
            attempts_free: 0, // one attempt more than there were, and no other
            is_parked: false,
            due_ms: now_ms,
            revision: event.revision,
            is_reopened: true,
            is_replay: event.decision.replay.is_some(),
        };
        Ok((effect, pending))
    }

    fn check_endpoint(&self, project: ProjectId, delivery: &DeliveryItem) -> Result<(), Refusal> {
        let snapshot = self.table.load();
        let endpoint = snapshot
            .project_of_delivery(project)
            .and_then(|table| snapshot.endpoint_of_delivery(table, delivery.target.endpoint));
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

fn check_status(status: DeliveryStatus, is_forced: bool) -> Result<(), Refusal> {
    match (status, is_forced) {
        (DeliveryStatus::Failure | DeliveryStatus::Discarded, false)
        | (DeliveryStatus::Success, true) => Ok(()),
        (DeliveryStatus::Success, false) => Err(Refusal::AlreadySent),
        (_, false) => Err(Refusal::NotEnded),
        (_, true) => Err(Refusal::NotDelivered),
    }
}
