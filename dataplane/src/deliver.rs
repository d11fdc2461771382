//! Stages 6 and 9, deliver and decide: one lease becomes one attempt.
//!
//! Leases due deliveries, has them signed and sent, asks the retry rules what follows, records
//! the attempt in the log and gives the lease back. Nobody waits for the record's sync: an
//! attempt lost to a crash is made again, which at-least-once permits.

mod record;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderValue;
use outrider_config::snapshot::{Endpoint, EndpointStatus, Kind, ProjectTable, Snapshot};
use outrider_store::{
    Clock, DeliveryStatus, LocalLog, LogClosed, Record, StartedRecord, StoredEvent,
};
use outrider_webhook::address::{ProjectRef, TargetUrl};
use outrider_webhook::cloudevents;
use outrider_webhook::event::{DeliveryMode, Origin};
use outrider_webhook::id::EndpointId;
use outrider_webhook::retry::{self, Failure, Made, Outcome, Step};
use outrider_webhook::sign::{self, Outgoing, SignError, SignedRequest};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::buckets::Buckets;
use crate::chance::Chance;
use crate::egress::{Egress, Exchange};
use crate::made::{Found, MadeEndpoints};
use crate::metrics::Metrics;
use crate::queue::{Entry, Hold, Lease, Queue};
use crate::table::RoutingTable;

/// The endpoint has a URL template, and the event no URL that matches it (contract section 9).
/// What matched when it was accepted does not count: its host may be somebody else's by now.
const UNRESOLVED_URL: &str = "unresolved_url_template";
/// How long a delivery waits when its event could not be read back just now.
const READ_RETRY_MS: i64 = 5_000;

/// Shorter holds of an endpoint are over when a process has started again.
const HOLD_RECORDED_MIN: Duration = Duration::from_secs(2);

/// Makes attempts.
pub struct Deliverer {
    /// Where deliveries come from.
    pub queue: Queue,
    /// The configuration in force.
    pub table: RoutingTable,
    /// Payloads and the record of attempts.
    pub log: LocalLog,
    /// Endpoints that are no configuration yet.
    pub made: MadeEndpoints,
    /// The way out.
    pub egress: Egress,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Jitter.
    pub chance: Chance,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// How much endpoints have had of their rates.
    pub(crate) rates: Buckets<EndpointId>,
    /// Bytes of a response kept with the attempt.
    pub excerpt_bytes_max: usize,
}

/// Why an attempt could not be made under the configuration in force.
enum Obstacle {
    /// The lane waits for a change of configuration.
    Hold(&'static str),
    /// The delivery ends here.
    Discard(&'static str),
    /// The delivery ends here, as a dead letter.
    Fail(&'static str),
    /// The event could not be read; tried again later.
    Unreadable,
    /// The log is closed: nothing may be begun that is not in it.
    LogClosed,
    /// The endpoint has had as much as it takes for now.
    RateLimited(Duration),
}

impl Deliverer {
    /// Leases due deliveries until `drain` fires, then waits for those in flight, at most `grace`.
    pub async fn run(
        self: Arc<Self>,
        in_flight_max: usize,
        drain: CancellationToken,
        grace: Duration,
    ) {
        let (permits, tasks) = (
            Arc::new(Semaphore::new(in_flight_max.max(1))),
            TaskTracker::new(),
        );
        let cut = CancellationToken::new();
        loop {
            // The permit comes first: a leased delivery must never wait for capacity.
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                break;
            };
            let lease = tokio::select! {
                biased;
                () = drain.cancelled() => break,
                lease = self.queue.lease() => lease, // cancel-safe
            };
            let (deliverer, cut) = (Arc::clone(&self), cut.clone());
            tasks.spawn(async move {
                let _permit = permit; // freed on return, cancel or panic alike
                // An attempt that is cut off is still open in the log and is made again.
                tokio::select! {
                    () = cut.cancelled() => {}
                    () = deliverer.attempt(lease) => {}
                }
            });
        }
        tasks.close();
        if tokio::time::timeout(grace, tasks.wait()).await.is_err() {
            tracing::warn!(
                attempts = tasks.len(),
                "attempts cut off at the end of the drain; they are made again"
            );
            cut.cancel();
            tasks.wait().await;
        }
    }

    async fn attempt(&self, lease: Lease) {
        self.metrics.in_flight.inc();
        let result = self.try_attempt(&lease).await;
        self.metrics.in_flight.dec();
        let written = match result {
            Ok(attempted) => self.decide(lease, attempted).await,
            Err(obstacle) => self.give_up(lease, obstacle).await,
        };
        if written.is_err() {
            // The log is gone and the process is about to end; the delivery is open in it.
            tracing::error!("the log is closed, an attempt could not be recorded");
        }
    }

    /// Everything up to the answer.
    async fn try_attempt(&self, lease: &Lease) -> Result<Attempted, Obstacle> {
        let entry = &lease.entry;
        // Before the table: what is not here any more by then is in a table that is loaded after.
        let made = self.made.find(entry.target.endpoint);
        let snapshot = self.table.load();
        let revision = snapshot.version().map_or(0, |version| version.revision);
        if self.is_behind(&snapshot, entry) {
            return Err(Obstacle::Hold("config_behind"));
        }
        let missing = |what| self.missing(&snapshot, entry, what);
        let table = snapshot
            .project(entry.project)
            .ok_or_else(|| missing("project_deleted"))?;
        let endpoint = match (table.endpoint(entry.target.endpoint), &made) {
            (Some(endpoint), _) | (None, Some(Found::Made(endpoint))) => endpoint,
            (None, Some(Found::Refused(reason))) => return Err(Obstacle::Fail(reason)),
            (None, None) => return Err(missing("endpoint_deleted")),
        };
        match endpoint.status() {
            EndpointStatus::Active => {}
            EndpointStatus::Paused => return Err(Obstacle::Hold("endpoint_paused")),
            EndpointStatus::Inactive => return Err(Obstacle::Discard("endpoint_inactive")),
        }
        if entry.has_begun {
            return Err(Obstacle::Fail("outcome_unknown"));
        }
        let event = self.event(entry).await?;
        self.take_token(endpoint)?;
        let started_ms = self.clock.now_ms();
        let lag_ms = u64::try_from(started_ms.saturating_sub(entry.due_ms)).unwrap_or(0);
        self.metrics
            .schedule_lag
            .observe(Duration::from_millis(lag_ms).as_secs_f64());
        let target = endpoint.url().resolve(event.facts.audience.named_url());
        let target = target.ok_or(Obstacle::Discard(UNRESOLVED_URL))?;
        let place = (&**table, &**endpoint, &target);
        let request = self.signed(entry, &event, place, started_ms / 1000)?;
        let request_headers = request.headers().clone();
        if entry.target.mode == DeliveryMode::AtMostOnce {
            self.begin(lease, started_ms, revision).await?;
        }
        let project = ProjectRef {
            id: entry.project,
            name: table.project().name(),
        };
        let exchange = self
            .egress
            .send(
                &project,
                request,
                endpoint.timeout(),
                self.excerpt_bytes_max,
            )
            .await;
        let strategy = endpoint.strategy(table.project());
        let free = entry.attempts_free + u32::from(retry::is_free(&exchange.outcome));
        let now_ms = self.clock.now_ms();
        let age_ms = u64::try_from(now_ms.saturating_sub(entry.accepted_ms)).unwrap_or(0);
        let made = Made {
            counted: (entry.attempts + 1).saturating_sub(free),
            age: Duration::from_millis(age_ms),
            retry_after: self.retry_after(&exchange, now_ms),
            random: self.chance.next(),
            mode: entry.target.mode,
        };
        let hold = retry::hold(&exchange.outcome, made.retry_after);
        let (policy, answers) = (&strategy.policy, &strategy.answers);
        let step = retry::next_step(policy, answers, &exchange.outcome, &made);
        Ok(Attempted {
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
    async fn begin(&self, lease: &Lease, at_ms: i64, revision: u64) -> Result<(), Obstacle> {
        let entry = &lease.entry;
        let started = Record::Started(StartedRecord {
            key: entry.key,
            position: entry.position,
            number: entry.attempts + 1,
            at_ms,
            revision,
        });
        self.queue.begin(lease);
        let written = self.log.record_synced(started).await;
        written.map_err(|LogClosed { .. }| Obstacle::LogClosed)
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

    /// How long the receiver asks to wait. What cannot be read is ignored and counted.
    fn retry_after(&self, exchange: &Exchange, now_ms: i64) -> Option<Duration> {
        let headers = &exchange.response_headers;
        let value = headers.get(http::header::RETRY_AFTER)?;
        let date = headers.get(http::header::DATE).map(HeaderValue::as_bytes);
        let now_ms = u64::try_from(now_ms).unwrap_or(0);
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(now_ms);
        let asked = retry::retry_after(value.as_bytes(), date, now);
        let label = if asked.is_ok() { "read" } else { "ignored" };
        self.metrics.retry_after.with_label_values(&[label]).inc();
        asked.ok()
    }

    /// Whether the delivery was decided by a newer configuration than this one, as after a start
    /// from disk. Nothing of an older one is good enough for it: not the URL, not the secret, not
    /// whether the endpoint is active.
    fn is_behind(&self, snapshot: &Snapshot, entry: &Entry) -> bool {
        let revision = snapshot.version().map_or(0, |version| version.revision);
        revision < entry.revision && entry.accepted_ms >= self.table.journal_since_ms()
    }

    /// What it means that project or endpoint of a delivery are not in the snapshot, which is not
    /// behind. Deleted is only what a configuration of the same journal does not know.
    fn missing(&self, snapshot: &Snapshot, entry: &Entry, what: &'static str) -> Obstacle {
        let is_held = snapshot.is_held(Kind::Endpoint, entry.target.endpoint.uid())
            || snapshot.is_held(Kind::Project, entry.project.uid());
        if is_held {
            Obstacle::Hold("config_quarantined")
        } else if entry.accepted_ms < self.table.journal_since_ms() {
            Obstacle::Hold("config_journal_changed")
        } else {
            Obstacle::Discard(what)
        }
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
                Err(Obstacle::Fail("payload_lost"))
            }
            Err(error) => {
                tracing::warn!(%error, event_id = %self.log.uids().event(entry.key.event), "payload not read");
                Err(Obstacle::Unreadable)
            }
        }
    }

    fn signed(
        &self,
        entry: &Entry,
        event: &StoredEvent,
        (table, endpoint, target): (&ProjectTable, &Endpoint, &Arc<TargetUrl>),
        now_s: i64,
    ) -> Result<SignedRequest, Obstacle> {
        let uids = self.log.uids();
        let facts = &event.facts;
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
        let outgoing = Outgoing {
            event_uid: uids.event(entry.key.event),
            delivery_uid: uids.delivery(entry.key),
            ordinal: entry.key.ordinal,
            repeat: is_repeat(event, entry.key.ordinal),
            target,
            query: &facts.query,
            event_headers: &facts.headers,
            content_type: own_type.unwrap_or_else(|| endpoint.content_type()).clone(),
            body: &facts.body,
            idempotency: facts
                .idempotency_key
                .as_deref()
                .map(|key| (table.project().idempotency_header(), key)),
        };
        sign::sign(&outgoing, table.project().signature(), endpoint.mode(), endpoint.keys(), now_s).map_err(|error| {
            if matches!(error, SignError::NoSecret | SignError::BadKey) {
                tracing::error!(endpoint_id = %endpoint.id(), project_id = %entry.project, code = error.code(), "no usable secret, deliveries are held");
                return Obstacle::Hold("no_usable_secret");
            }
            tracing::warn!(endpoint_id = %endpoint.id(), code = error.code(), "cannot sign");
            Obstacle::Fail(error.code())
        })
    }

    /// The answer is here: record it, and say what follows.
    async fn decide(&self, mut lease: Lease, attempted: Attempted) -> Result<(), LogClosed> {
        self.queue.answered(&lease);
        let now_ms = self.clock.now_ms();
        if let Some(hold) = attempted.hold {
            self.leave_alone(&lease, hold, now_ms).await?;
        }
        let next = Next::of(&attempted.step, now_ms);
        self.count(&lease.entry, &attempted, &next, now_ms);
        self.trace(&lease.entry, &attempted, &next);
        let is_free = retry::is_free(&attempted.exchange.outcome);
        self.log
            .record(record::attempt(&lease.entry, attempted, &next))
            .await?;
        match next.due_ms {
            Some(due_ms) => {
                lease.entry.attempts += 1;
                lease.entry.attempts_free += u32::from(is_free);
                self.queue.retry(lease, due_ms);
            }
            None => self.queue.complete(&lease),
        }
        Ok(())
    }

    /// The receiver asked for it. What is longer than a start takes is known after one as well.
    async fn leave_alone(
        &self,
        lease: &Lease,
        hold: Duration,
        now_ms: i64,
    ) -> Result<(), LogClosed> {
        let hold_ms = i64::try_from(hold.as_millis()).unwrap_or(i64::MAX);
        let until_ms = now_ms.saturating_add(hold_ms);
        let is_later = self.queue.hold(lease, Hold::Asked, until_ms);
        if !is_later || hold < HOLD_RECORDED_MIN {
            return Ok(());
        }
        let held = record::held(&lease.entry, now_ms, until_ms);
        self.log.record(held).await
    }

    async fn give_up(&self, lease: Lease, obstacle: Obstacle) -> Result<(), LogClosed> {
        let (status, reason) = match obstacle {
            Obstacle::Hold(reason) => {
                tracing::info!(endpoint_id = %lease.entry.target.endpoint, reason, "lane held");
                self.queue.park(lease);
                return Ok(());
            }
            Obstacle::Unreadable => {
                let due_ms = self.clock.now_ms() + READ_RETRY_MS;
                self.queue.retry(lease, due_ms);
                return Ok(());
            }
            // The delivery is open in the log.
            Obstacle::LogClosed => return Err(LogClosed),
            Obstacle::RateLimited(wait) => {
                // A millisecond more rather than once more too early.
                let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
                let until_ms = self
                    .clock
                    .now_ms()
                    .saturating_add(wait_ms)
                    .saturating_add(1);
                self.queue.hold(&lease, Hold::Rate, until_ms);
                self.queue.put_back(lease);
                return Ok(());
            }
            Obstacle::Discard(reason) => (DeliveryStatus::Discarded, reason),
            Obstacle::Fail(reason) => (DeliveryStatus::Failure, reason),
        };
        let delivery_id = self.log.uids().delivery(lease.entry.key);
        tracing::debug!(%delivery_id, endpoint_id = %lease.entry.target.endpoint, reason, "delivery ended without an attempt");
        self.metrics
            .finished
            .with_label_values(&[if status == DeliveryStatus::Discarded {
                "discarded"
            } else {
                "failed"
            }])
            .inc();
        self.log
            .record(record::state(
                &lease.entry,
                status,
                reason,
                self.clock.now_ms(),
            ))
            .await?;
        self.queue.complete(&lease);
        Ok(())
    }

    fn count(&self, entry: &Entry, attempted: &Attempted, next: &Next, now_ms: i64) {
        let which = if entry.attempts == 0 {
            "first"
        } else {
            "retry"
        };
        self.metrics
            .attempts
            .with_label_values(&[outcome_label(&attempted.exchange.outcome), which])
            .inc();
        let took = Duration::from_micros(attempted.exchange.timing.total_us);
        self.metrics.attempt_duration.observe(took.as_secs_f64());
        if next.status == DeliveryStatus::Success {
            let life_ms = u64::try_from(now_ms.saturating_sub(entry.accepted_ms)).unwrap_or(0);
            self.metrics
                .end_to_end
                .observe(Duration::from_millis(life_ms).as_secs_f64());
        }
        if next.status.is_final() {
            let result = if next.status == DeliveryStatus::Success {
                "success"
            } else {
                next.reason.unwrap_or("failed")
            };
            self.metrics.finished.with_label_values(&[result]).inc();
        }
    }

    fn trace(&self, entry: &Entry, attempted: &Attempted, next: &Next) {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        let exchange = &attempted.exchange;
        tracing::debug!(
            delivery_id = %self.log.uids().delivery(entry.key),
            endpoint_id = %entry.target.endpoint,
            attempt = entry.attempts + 1,
            outcome = ?exchange.outcome,
            next = ?next.status,
            detail = exchange.detail.as_deref().unwrap_or_default(),
            duration_us = exchange.timing.total_us,
            "attempt"
        );
    }
}

/// An attempt with its answer.
struct Attempted {
    exchange: Exchange,
    step: Step,
    /// How long the endpoint is left alone.
    hold: Option<Duration>,
    started_ms: i64,
    revision: u64,
    request_headers: http::HeaderMap,
}

/// What follows an attempt.
struct Next {
    status: DeliveryStatus,
    due_ms: Option<i64>,
    reason: Option<&'static str>,
}

impl Next {
    fn of(step: &Step, now_ms: i64) -> Self {
        match step {
            Step::Success => Self {
                status: DeliveryStatus::Success,
                due_ms: None,
                reason: None,
            },
            Step::RetryAfter(wait) => {
                let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
                Self {
                    status: DeliveryStatus::Retry,
                    due_ms: Some(now_ms.saturating_add(wait_ms)),
                    reason: None,
                }
            }
            Step::GiveUp(why) => Self {
                status: DeliveryStatus::Failure,
                due_ms: None,
                reason: Some(why.code()),
            },
        }
    }
}

/// Whether an earlier target of the event is the same endpoint; routing puts those side by side.
fn is_repeat(event: &StoredEvent, ordinal: u32) -> bool {
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

/// Label of `outrider_delivery_attempts_total`: a closed list.
fn outcome_label(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Answered { status: 200..=299 } => "success",
        Outcome::Answered { status: 429 } => "http_429",
        Outcome::Answered { status: 300..=399 } => "http_3xx",
        Outcome::Answered { status: 400..=499 } => "http_4xx",
        Outcome::Answered { .. } => "http_5xx",
        Outcome::Failed(Failure::EgressDenied { .. }) => "blocked",
        Outcome::Failed(failure) => failure.code(),
    }
}
