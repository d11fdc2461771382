//! What others are told of the end of a delivery, before it is recorded: after a crash in between
//! the delivery ends once more and is told under the same name.

use std::sync::Arc;

use outrider_config::snapshot::{MetaKind, ProjectTable};
use outrider_store::{DeliveryStatus, LogClosed, StoredEvent};
use outrider_webhook::event::DeliveryMode;
use outrider_webhook::id::SubscriptionId;
use serde_json::{Value, json};

use super::Deliverer;
use crate::meta::{self, Fact, rfc3339};
use crate::notices::{Notice, Trouble};
use crate::queue::Entry;

/// How a delivery ended.
pub(super) struct End<'e> {
    pub(super) status: DeliveryStatus,
    pub(super) reason: Option<&'e str>,
    /// Attempts in all.
    pub(super) attempts: u32,
    /// Status of the last answer.
    pub(super) http_status: Option<u16>,
    /// Stable code of what failed instead of an answer.
    pub(super) error: Option<&'e str>,
}

impl Deliverer {
    /// Tells the owner of the project, if he wants to know.
    pub(super) async fn tell_end(&self, entry: &Entry, end: &End<'_>) -> Result<(), LogClosed> {
        let kind = match end.status {
            DeliveryStatus::Success => MetaKind::DeliverySuccess,
            DeliveryStatus::Failure => MetaKind::DeliveryFailed,
            _ => return Ok(()),
        };
        let snapshot = self.table.load();
        let table = snapshot.project(entry.project);
        if let Some(table) = table.filter(|_| end.status == DeliveryStatus::Failure) {
            self.tell_failure(table, entry, end);
        }
        let meta = table.and_then(|table| table.project().meta());
        let Some(meta) = meta.filter(|meta| meta.wants(kind)) else {
            return Ok(());
        };
        let event: Option<Arc<StoredEvent>> = match &entry.event {
            Some(cached) => Some(Arc::clone(cached)),
            None => self.log.read(entry.position).await.ok().map(Arc::new),
        };
        let delivery = self.log.uids().delivery(entry.key);
        let fact = Fact {
            kind: kind.as_str(),
            name: &format!("{delivery}/{}", end.attempts),
            body: meta::body(kind.as_str(), &self.shown(entry, end, event.as_deref())),
            revision: snapshot.version().map_or(0, |version| version.revision),
        };
        self.teller.tell_or_count(meta.place(), &fact).await
    }

    /// Those who look after the endpoint hear of it when there are too many.
    fn tell_failure(&self, table: &ProjectTable, entry: &Entry, end: &End<'_>) {
        let subscription = entry.target.subscription;
        let subscription = subscription.and_then(|id| table.subscription(id));
        let Some((id, alert)) = subscription.and_then(|one| Some((one.id(), one.alert()?))) else {
            return;
        };
        let notice = Notice {
            project: entry.project,
            endpoint: entry.target.endpoint,
            trouble: Trouble::DeliveriesFailed,
            reason: end.reason.unwrap_or_default().into(),
            rate: None,
            at_ms: self.clock.now_ms(),
        };
        self.notices.failed(id, alert, notice);
    }

    /// The delivery, in the words of the API; what the event carried is not in it.
    fn shown(&self, entry: &Entry, end: &End<'_>, event: Option<&StoredEvent>) -> Value {
        let uids = self.log.uids();
        let facts = event.map(|event| &event.facts);
        let now = rfc3339(self.clock.now_ms());
        json!({
            "uid": uids.delivery(entry.key),
            "project_id": entry.project,
            "event_id": uids.event(entry.key.event),
            "endpoint_id": entry.target.endpoint,
            "subscription_id": entry.target.subscription.as_ref().map_or_else(String::new, SubscriptionId::to_string),
            "event_type": facts.map_or("", |facts| &*facts.event_type),
            "idempotency_key": facts.and_then(|facts| facts.idempotency_key.as_deref()).unwrap_or_default(),
            "delivery_mode": match entry.target.mode {
                DeliveryMode::AtLeastOnce => "at_least_once",
                DeliveryMode::AtMostOnce => "at_most_once",
            },
            "status": if end.status == DeliveryStatus::Success { "Success" } else { "Failure" },
            "description": end.reason.unwrap_or_default(),
            "metadata": {"num_trials": end.attempts},
            "latest_attempt": {"http_status": end.http_status, "error": end.error},
            "acknowledged_at": rfc3339(entry.accepted_ms),
            "created_at": rfc3339(entry.accepted_ms),
            "updated_at": now,
        })
    }
}
