//! What may become of a delivery. The rules are recovery's: a final state is final, and after it
//! only a STATE opens a delivery again. An attempt behind it with a number that was given out
//! before is of a worker that had lost its lease; one with a new number was made although the
//! delivery had ended.

use outrider_webhook::id::DeliveryKey;

use super::super::known::{Delivery, Found};
use super::super::report::{About, Code};
use super::Fold;
use crate::event::Position;
use crate::record::{AttemptRecord, DeliveryStatus, StartedRecord, StateRecord};

/// An ATTEMPT or a STATE.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outcome {
    key: DeliveryKey,
    /// Where it says the event is.
    event: Position,
    status: DeliveryStatus,
    /// Attempts made up to it, its own included.
    attempts: u32,
    is_attempt: bool,
}

impl From<&AttemptRecord> for Outcome {
    fn from(record: &AttemptRecord) -> Self {
        Self {
            key: record.key,
            event: record.position,
            status: record.result,
            attempts: record.number,
            is_attempt: true,
        }
    }
}

impl From<&StateRecord> for Outcome {
    fn from(record: &StateRecord) -> Self {
        Self {
            key: record.key,
            event: record.position,
            status: record.status,
            attempts: record.attempts,
            is_attempt: false,
        }
    }
}

impl Outcome {
    /// Whether it opens a delivery that has ended.
    fn is_opening(&self) -> bool {
        !self.is_attempt && !self.status.is_final() && self.status != DeliveryStatus::Processing
    }
}

impl Fold {
    /// The delivery that a record at `at` is about, when it can be judged.
    fn delivery(
        &mut self,
        at: Position,
        key: DeliveryKey,
        event_at: Position,
    ) -> Option<&mut Delivery> {
        let event = match self.known.find(key.event) {
            Found::Event(event) => event,
            Found::Missing => {
                self.records.unjudged += 1;
                return None;
            }
            Found::Never => {
                let says = "a record for a delivery of an event that was never accepted".into();
                self.add(Code::NeverAccepted, at, About::Delivery(key), says);
                return None;
            }
        };
        let is_at = self.known.position(event);
        if let Some(is_at) = is_at.filter(|is_at| *is_at != event_at) {
            let says = format!("it takes its event to be at {event_at}, and that is at {is_at}");
            self.add(Code::WrongPosition, at, About::Delivery(key), says);
        }
        if self.known.delivery(event, key.ordinal).is_none() {
            let says = format!("its event has no delivery number {}", key.ordinal);
            self.add(Code::NeverAccepted, at, About::Delivery(key), says);
        }
        self.known.delivery(event, key.ordinal)
    }

    pub(super) fn outcome(&mut self, at: Position, outcome: Outcome) {
        let missing = self.missing;
        let Some(delivery) = self.delivery(at, outcome.key, outcome.event) else {
            return;
        };
        // What is missing may hold a record that explains this one.
        let is_sure = delivery.missing == missing;
        delivery.missing = missing;
        let before = *delivery;
        let fault = match (before.status.is_final(), outcome.is_opening()) {
            (true, false) => match behind_the_end(&before, &outcome) {
                Behind::Nothing => None,
                Behind::Late => {
                    self.records.late += 1;
                    None
                }
                Behind::Second if is_sure => Some(Code::SecondFate),
                Behind::Second => {
                    self.records.unjudged += 1;
                    None
                }
            },
            _ => {
                let expected = before.attempts.saturating_add(outcome.is_attempt.into());
                delivery.attempts = outcome.attempts;
                delivery.status = outcome.status;
                delivery.is_ended_by_state = !outcome.is_attempt;
                self.count_open(before.status, outcome.status);
                let is_wrong = is_sure && outcome.attempts != expected;
                is_wrong.then_some(Code::AttemptNumber)
            }
        };
        if let Some(code) = fault {
            let says = sentence(code, &before, &outcome);
            self.add(code, at, About::Delivery(outcome.key), says);
        }
    }

    fn count_open(&mut self, before: DeliveryStatus, after: DeliveryStatus) {
        match (before.is_final(), after.is_final()) {
            (false, true) => self.open = self.open.saturating_sub(1),
            (true, false) => self.open += 1,
            _ => {}
        }
    }

    pub(super) fn started(&mut self, at: Position, record: &StartedRecord) {
        let missing = self.missing;
        let Some(delivery) = self.delivery(at, record.key, record.position) else {
            return;
        };
        let is_sure = delivery.missing == missing && !delivery.status.is_final();
        let attempts = delivery.attempts;
        if is_sure && record.number != attempts.saturating_add(1) {
            let says = format!(
                "attempt {} begins, and {attempts} were made so far",
                record.number
            );
            self.add(Code::AttemptNumber, at, About::Delivery(record.key), says);
        }
    }
}

/// What an outcome is that comes behind the end of its delivery.
enum Behind {
    /// It says nothing.
    Nothing,
    /// Of a worker that had lost its lease.
    Late,
    /// Another fate.
    Second,
}

fn behind_the_end(delivery: &Delivery, outcome: &Outcome) -> Behind {
    if outcome.is_attempt {
        // A delivery that ended without an attempt may have had one under way.
        let given_out = delivery
            .attempts
            .saturating_add(delivery.is_ended_by_state.into());
        if outcome.attempts <= given_out {
            Behind::Late
        } else {
            Behind::Second
        }
    } else if outcome.status == DeliveryStatus::Processing {
        Behind::Nothing
    } else if outcome.status == delivery.status {
        Behind::Late // the same end, recorded twice
    } else {
        Behind::Second
    }
}

fn sentence(code: Code, before: &Delivery, outcome: &Outcome) -> String {
    let what = if outcome.is_attempt {
        format!("attempt {}", outcome.attempts)
    } else {
        format!("a STATE with {} attempts", outcome.attempts)
    };
    if code == Code::SecondFate {
        format!(
            "{what} says {:?}, and the delivery had ended with {:?} after {} attempts",
            outcome.status, before.status, before.attempts
        )
    } else {
        format!("{what}, and {} were made so far", before.attempts)
    }
}
