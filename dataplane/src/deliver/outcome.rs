//! Stage 9, decide: what follows an attempt, or what came in its way; recorded and counted.

use std::time::{Duration, SystemTime};

use http::HeaderValue;
use outrider_config::snapshot::RetryStrategy;
use outrider_store::{DeliveryStatus, LogClosed, Record};
use outrider_webhook::retry::{self, Failure, GiveUp, Made, Outcome, Step};
use outrider_webhook::undelivered::Reason;

use super::attempt::Attempted;
use super::told::End;
use super::{Deliverer, HOLD_RECORDED_MIN, Obstacle, READ_PARK_MS, READ_RETRY_MS, record};
use crate::egress::Exchange;
use crate::queue::{Answer, Entry, Hold, Lease};

/// What follows an attempt.
pub(super) struct Next {
    pub(super) status: DeliveryStatus,
    pub(super) due_ms: Option<i64>,
    pub(super) reason: Option<Reason>,
    /// Whether the delivery leaves the line of its order key.
    pub(super) is_parked: bool,
}

impl Next {
    fn of(step: &Step, now_ms: i64) -> Self {
        match step {
            Step::Success => Self {
                status: DeliveryStatus::Success,
                due_ms: None,
                reason: None,
                is_parked: false,
            },
            Step::RetryAfter(wait) => {
                let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
                Self {
                    status: DeliveryStatus::Retry,
                    due_ms: Some(now_ms.saturating_add(wait_ms)),
                    reason: None,
                    is_parked: false,
                }
            }
            Step::GiveUp(why) => Self {
                status: DeliveryStatus::Failure,
                due_ms: None,
                reason: Some(why.reason()),
                is_parked: false,
            },
        }
    }
}

impl Next {
    /// A delivery whose next attempt would come later than its successors have to wait for it is
    /// parked at once: nothing can change before that attempt.
    fn parked(mut self, entry: &Entry, park_after: Option<Duration>, now_ms: i64) -> Self {
        // A clock that was set back must not make it wait longer.
        let turn_ms = entry.turn_ms.min(now_ms);
        let waits = |due_ms: i64| u64::try_from(due_ms.saturating_sub(turn_ms)).unwrap_or(0);
        let is_late = |due_ms, bound: Duration| Duration::from_millis(waits(due_ms)) > bound;
        let late = self.due_ms.zip(park_after);
        self.is_parked = late.is_some_and(|(due_ms, bound)| is_late(due_ms, bound));
        self
    }
}

impl Deliverer {
    /// What follows an exchange, and how long its endpoint is left alone.
    pub(super) fn judge(
        &self,
        entry: &Entry,
        strategy: &RetryStrategy,
        exchange: &Exchange,
    ) -> (Step, Option<Duration>) {
        let free = entry.attempts_free + u32::from(retry::is_free(&exchange.outcome));
        let now_ms = self.clock.now_ms();
        let age_ms = u64::try_from(now_ms.saturating_sub(entry.accepted_ms)).unwrap_or(0);
        let made = Made {
            counted: (entry.attempts + 1).saturating_sub(free),
            age: Duration::from_millis(age_ms),
            retry_after: self.retry_after(exchange, now_ms),
            random: self.chance.next(),
            mode: entry.target.mode,
        };
        let (policy, answers) = (&strategy.policy, &strategy.answers);
        let step = retry::next_step(policy, answers, &exchange.outcome, &made);
        let hold = retry::hold(&exchange.outcome, made.retry_after);
        let hold = hold.filter(|_| step != Step::Success); // an endpoint may call a 429 that
        (only_one_more(entry, exchange, step), hold)
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

    /// The answer is here: record it, and say what follows.
    pub(super) async fn decide(
        &self,
        mut lease: Lease,
        attempted: Attempted,
    ) -> Result<(), LogClosed> {
        let answer = Answer {
            policy: &attempted.breaker,
            load: attempted.load,
            started_ms: attempted.started_ms,
            epoch: attempted.epoch,
        };
        let change = self.queue.answered(&lease, &answer);
        let now_ms = self.clock.now_ms();
        if let Some(change) = change {
            self.breaker_changed(&lease, change, &attempted).await?;
        }
        self.watch_rate(&lease, &attempted, now_ms);
        if let Some(hold) = attempted.hold {
            self.leave_alone(&lease, hold, now_ms).await?;
        }
        let next =
            Next::of(&attempted.step, now_ms).parked(&lease.entry, attempted.park_after, now_ms);
        self.count(&lease.entry, &attempted, &next, now_ms);
        self.trace(&lease.entry, &attempted, &next);
        let is_free = retry::is_free(&attempted.exchange.outcome);
        let (disables, epoch) = (attempted.disables, attempted.epoch);
        if next.status.is_final() {
            self.tell_end(&lease.entry, &end_of(&lease.entry, &attempted, &next))
                .await?;
        }
        let record = record::attempt(&lease.entry, attempted, &next);
        let moves_line = next.due_ms.is_none() || next.is_parked;
        self.write(&lease.entry, record, moves_line).await?;
        if let Some(reason) = disables {
            let whom = (lease.entry.project, lease.entry.target.endpoint);
            self.disabling.disable_as_of(whom, epoch, reason).await?;
        }
        match next.due_ms {
            Some(due_ms) => {
                lease.entry.attempts += 1;
                lease.entry.attempts_free += u32::from(is_free);
                self.queue.retry(lease, due_ms, next.is_parked);
            }
            None => {
                let is_delivered = next.status == DeliveryStatus::Success;
                self.queue.complete(&lease, is_delivered);
            }
        }
        Ok(())
    }

    /// Nobody waits for a record to be synced, but the next one in line: it must not be known to
    /// have arrived before the one in front of it (RULINGS 26).
    async fn write(
        &self,
        entry: &Entry,
        record: Record,
        moves_line: bool,
    ) -> Result<(), LogClosed> {
        let keeps_to_line = entry.target.order_key.is_some() && !entry.is_out_of_order;
        if moves_line && keeps_to_line {
            return self.log.record_synced(record).await;
        }
        self.log.record(record).await
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

    pub(super) async fn give_up(&self, lease: Lease, obstacle: Obstacle) -> Result<(), LogClosed> {
        let (status, reason) = match obstacle {
            Obstacle::Hold(reason) => {
                tracing::info!(endpoint_id = %lease.entry.target.endpoint, reason, "lane held");
                self.queue.park(lease);
                return Ok(());
            }
            Obstacle::Unreadable => {
                let now_ms = self.clock.now_ms();
                // Those behind it in its line are not held up by our own trouble for ever.
                let is_parked = now_ms.saturating_sub(lease.entry.turn_ms) > READ_PARK_MS;
                self.queue.retry(lease, now_ms + READ_RETRY_MS, is_parked);
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
            Obstacle::Full => {
                self.queue.put_back(lease);
                return Ok(());
            }
            Obstacle::LeaseLost => {
                let delivery_id = self.log.uids().delivery(lease.entry.key);
                tracing::warn!(%delivery_id, "an attempt was given up: it took too long to begin");
                return Ok(());
            }
            Obstacle::Discard(reason) => (DeliveryStatus::Discarded, reason),
            Obstacle::Fail(reason) => (DeliveryStatus::Failure, reason),
        };
        let delivery_id = self.log.uids().delivery(lease.entry.key);
        tracing::debug!(%delivery_id, endpoint_id = %lease.entry.target.endpoint, reason = reason.code(), "delivery ended without an attempt");
        self.metrics
            .finished
            .with_label_values(&[if status == DeliveryStatus::Discarded {
                "discarded"
            } else {
                "failed"
            }])
            .inc();
        let end = End {
            status,
            reason: Some(reason.code()),
            attempts: lease.entry.attempts,
            http_status: None,
            error: None,
        };
        self.tell_end(&lease.entry, &end).await?;
        let record = record::state(&lease.entry, status, reason, self.clock.now_ms());
        self.write(&lease.entry, record, true).await?;
        self.queue.complete(&lease, false);
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
                next.reason.map_or("failed", Reason::code)
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

/// Who asks for another attempt of a delivery that had ended gets one (RULINGS 24), and another
/// for one that does not count.
fn only_one_more(entry: &Entry, exchange: &Exchange, step: Step) -> Step {
    match step {
        Step::RetryAfter(_) if entry.opening > 0 && !retry::is_free(&exchange.outcome) => {
            Step::GiveUp(GiveUp::RetryLimitExceeded)
        }
        step => step,
    }
}

/// How an attempt ended its delivery.
fn end_of<'e>(entry: &Entry, attempted: &'e Attempted, next: &Next) -> End<'e> {
    let (http_status, error) = match &attempted.exchange.outcome {
        Outcome::Answered { status } => (Some(*status), None),
        Outcome::Failed(failure) => (None, Some(failure.code())),
    };
    End {
        status: next.status,
        reason: next.reason.map(Reason::code),
        attempts: entry.attempts + 1,
        http_status,
        error,
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
