//! One attempt, from the lease to the answer.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use outrider_config::snapshot::Endpoint;
use outrider_store::{LogClosed, Record, StartedRecord, StoredEvent};
use outrider_webhook::authentication::Authentication;
use outrider_webhook::breaker::{self, alert};
use outrider_webhook::cloudevents;
use outrider_webhook::event::{DeliveryMode, Origin};
use outrider_webhook::form;
use outrider_webhook::pace::Load;
use outrider_webhook::retry::{self, Step};
use outrider_webhook::sign::{self, Outgoing, SignedRequest};
use outrider_webhook::undelivered::Reason;

use super::send::{Going, Sent};
use super::{Deliverer, Obstacle, order};
use crate::disabled;
use crate::egress::{Exchange, Leave};
use crate::queue::{Entry, Lease};

/// A delivery that so many workers panicked over, one after the other, is not tried again.
const LOSSES_MAX: u8 = 5;

/// An attempt with its answer.
pub(super) struct Attempted {
    pub(super) exchange: Exchange,
    pub(super) step: Step,
    /// How long the endpoint is left alone.
    pub(super) hold: Option<Duration>,
    pub(super) started_ms: i64,
    pub(super) revision: u64,
    pub(super) request_headers: http::HeaderMap,
    /// Why it switches its endpoint off, if it does.
    pub(super) disables: Option<&'static str>,
    /// The activation epoch of the endpoint.
    pub(super) epoch: u64,
    /// What it says about its receiver, and when the receiver's breaker opens.
    pub(super) load: Option<Load>,
    pub(super) breaker: breaker::Policy,
    /// After how many trips in a row the endpoint is switched off, if it ever is.
    pub(super) trips_max: Option<u32>,
    /// When people hear how much fails.
    pub(super) rate_alert: Option<alert::Policy>,
    /// How long the delivery may hold up those behind it, if any.
    pub(super) park_after: Option<Duration>,
}

impl Deliverer {
    /// Everything up to the answer.
    pub(super) async fn try_attempt(&self, lease: &Lease) -> Result<Attempted, Obstacle> {
        let entry = &lease.entry;
        // Before the table: what is not here any more by then is in a table that is loaded after.
        let made = self.made.find(entry.target.endpoint);
        let snapshot = self.table.load();
        let revision = snapshot.version().map_or(0, |version| version.revision);
        let (table, endpoint) = self.place(&snapshot, entry, made.as_ref())?;
        if entry.has_begun {
            return Err(Obstacle::Fail(Reason::OutcomeUnknown));
        }
        if entry.losses >= LOSSES_MAX {
            return Err(Obstacle::Fail(Reason::Internal));
        }
        if !self.queue.admit(lease, endpoint.concurrency()) {
            return Err(Obstacle::Full);
        }
        let event = self.event(entry).await?;
        self.take_token(endpoint)?;
        let order = self.order_headers(lease, &event).await;
        let started_ms = self.clock.now_ms();
        let lag_ms = u64::try_from(started_ms.saturating_sub(entry.due_ms)).unwrap_or(0);
        self.metrics
            .schedule_lag
            .observe(Duration::from_millis(lag_ms).as_secs_f64());
        let target = endpoint.url().resolve(event.facts.audience.named_url());
        // What matched when it was accepted does not count (contract section 9): its host may be
        // somebody else's by now.
        let target = target.ok_or(Obstacle::Discard(Reason::UnresolvedUrlTemplate))?;
        let leave = Leave::of(&snapshot, table, Some(endpoint));
        let going = Going {
            lease,
            event: &event,
            table,
            endpoint,
            target: &target,
            timeout: self.spread(endpoint.timeout()),
            started_ms,
            revision,
            leave: &leave,
            order: &order,
        };
        let Sent {
            exchange,
            request_headers,
        } = self.send(&going).await?;
        let strategy = endpoint.strategy(table.project());
        let (step, hold) = self.judge(entry, strategy, &exchange);
        let project = table.project();
        Ok(Attempted {
            load: retry::load(&exchange.outcome, &step, hold),
            breaker: project.breaker().policy,
            trips_max: (project.disables_endpoints()).then(|| project.breaker().trips_max),
            rate_alert: endpoint.rate_alert(project),
            disables: {
                let outcome = (&exchange.outcome, exchange.denial.as_ref());
                disabled::cause(&step, outcome, project)
            },
            epoch: endpoint.activation_epoch(),
            park_after: order::park_after(table, entry),
            exchange,
            step,
            hold,
            started_ms,
            revision,
            request_headers,
        })
    }

    /// An attempt that may not be made twice: that it begins is on disk before its first byte is
    /// sent (RULINGS 27).
    pub(super) async fn begin(
        &self,
        lease: &Lease,
        at_ms: i64,
        revision: u64,
    ) -> Result<(), Obstacle> {
        let entry = &lease.entry;
        let started = Record::Started(StartedRecord {
            key: entry.key,
            position: entry.position,
            number: entry.attempts + 1,
            at_ms,
            revision,
        });
        self.hold_on(lease)?;
        let written = self.log.record_synced(started).await;
        written.map_err(|LogClosed { .. }| Obstacle::LogClosed)
    }

    /// Nothing is sent for a delivery that somebody else has by now.
    pub(super) fn hold_on(&self, lease: &Lease) -> Result<(), Obstacle> {
        let is_once = lease.entry.target.mode == DeliveryMode::AtMostOnce;
        let is_ours = self.queue.begin(lease, is_once);
        is_ours.then_some(()).ok_or(Obstacle::LeaseLost)
    }

    /// Last of what may come in between, so that no token is taken for nothing.
    fn take_token(&self, endpoint: &Endpoint) -> Result<(), Obstacle> {
        let Some(rate) = endpoint.rate() else {
            return Ok(());
        };
        let taken = self.rates.take(endpoint.id(), rate, 1);
        taken.map(drop).map_err(|exhausted| {
            self.metrics.endpoint_rate_limited.inc();
            // There is always room for one token some time.
            Obstacle::RateLimited(exhausted.wait.unwrap_or(rate.window()))
        })
    }

    /// The event, from memory or back from the log.
    async fn event(&self, entry: &Entry) -> Result<Arc<StoredEvent>, Obstacle> {
        if let Some(cached) = &entry.event {
            return Ok(Arc::clone(cached));
        }
        match self.log.read(entry.position).await {
            Ok(event) => Ok(Arc::new(event)),
            Err(error) if error.is_permanent() => {
                tracing::error!(%error, event_id = %self.log.uids().event(entry.key.event), "payload lost");
                Err(Obstacle::Fail(Reason::PayloadLost))
            }
            Err(error) => {
                tracing::warn!(%error, event_id = %self.log.uids().event(entry.key.event), "payload not read");
                Err(Obstacle::Unreadable)
            }
        }
    }

    /// The request, with the token of the endpoint where it has one.
    pub(super) fn signed(
        &self,
        going: &Going<'_>,
        token: Option<&HeaderValue>,
    ) -> Result<SignedRequest, Obstacle> {
        let (table, endpoint, event) = (going.table, going.endpoint, going.event);
        let (entry, now_s) = (&going.lease.entry, going.started_ms / 1000);
        let uids = self.log.uids();
        let (facts, replay) = (&event.facts, event.decision.replay.as_deref());
        // Incoming events and CloudEvents travel with the content type they came with, the rest
        // with the endpoint's.
        let own_type = match facts.origin {
            Origin::Source(_) => facts
                .headers
                .iter()
                .find(|(name, _)| *name == http::header::CONTENT_TYPE),
            Origin::Api => None,
        };
        let own_type = own_type.map(|(_, value)| value);
        let own_type = own_type.or_else(|| cloudevents::content_type(&facts.headers));
        let made_form = match own_type {
            None if endpoint.takes_forms() => {
                let made = form::from_json(&facts.body);
                Some(made.map_err(|_| Obstacle::Fail(Reason::DataNotAForm))?)
            }
            _ => None,
        };
        let authentication = match endpoint.authentication() {
            None => None,
            Some(Authentication::Fixed(fixed)) => Some((fixed.name(), fixed.value())),
            // Without a token nothing gets this far; if it did it would not go on.
            Some(how @ Authentication::OAuth2(_)) => {
                let token = token.ok_or(Obstacle::Fail(Reason::AuthUnavailable))?;
                Some((how.header(), token))
            }
        };
        let outgoing = Outgoing {
            event_uid: uids.event(replay.map_or(entry.key.event, |replay| replay.of)),
            replay: replay.map(|replay| replay.number),
            delivery_uid: uids.delivery(entry.key),
            ordinal: entry.key.ordinal,
            repeat: is_repeat(event, entry.key.ordinal),
            target: going.target,
            query: &facts.query,
            event_headers: &facts.headers,
            content_type: own_type.unwrap_or_else(|| endpoint.content_type()).clone(),
            body: made_form.as_ref().unwrap_or(&facts.body),
            json: made_form.as_ref().map(|_| &facts.body),
            authentication,
            idempotency: facts
                .idempotency_key
                .as_deref()
                .map(|key| (table.project().idempotency_header(), key)),
            more: going.order,
        };
        sign::sign(&outgoing, table.project().signature(), endpoint.mode(), endpoint.keys(), now_s).map_err(|error| {
            let Some(reason) = error.reason() else {
                tracing::error!(endpoint_id = %endpoint.id(), project_id = %entry.project, code = error.code(), "no usable secret, deliveries are held");
                return Obstacle::Hold("no_usable_secret");
            };
            tracing::warn!(endpoint_id = %endpoint.id(), code = error.code(), "cannot sign");
            Obstacle::Fail(reason)
        })
    }
}

/// Whether an earlier target of the event is the same endpoint; routing puts those side by side.
pub(super) fn is_repeat(event: &StoredEvent, ordinal: u32) -> bool {
    let at = usize::try_from(ordinal).unwrap_or(usize::MAX);
    match (
        at.checked_sub(1)
            .and_then(|before| event.targets.get(before)),
        event.targets.get(at),
    ) {
        (Some(before), Some(this)) => before.endpoint == this.endpoint,
        _ => false,
    }
}
