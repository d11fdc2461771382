//! In which order a delivery with an order key went, by what its attempts recorded.

use axum::http::HeaderName;
use outrider_store::{AttemptRecord, DeliveryItem, DeliveryStatus};
use outrider_webhook::sign::{ORDER_LATE, ORDER_SEQUENCE};
use serde_json::{Value, json};

use super::super::time::rfc3339;

/// How something with an order key goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api) enum Goes {
    /// After the one before it.
    InLine,
    /// Apart from the others.
    Apart,
}

impl Goes {
    /// How an attempt went, which is what its receiver was told. `None` without an order key, and
    /// of one that was not sent.
    pub(in crate::api) fn of(attempt: &AttemptRecord) -> Option<Self> {
        let has = |wanted: &HeaderName| {
            let mut headers = attempt.request_headers.iter();
            headers.any(|(name, _)| name == wanted)
        };
        match (has(&ORDER_SEQUENCE), has(&ORDER_LATE)) {
            (_, true) => Some(Self::Apart),
            (true, false) => Some(Self::InLine),
            (false, false) => None,
        }
    }

    pub(in crate::api) const fn word(self) -> &'static str {
        match self {
            Self::InLine => "in_line",
            Self::Apart => "apart",
        }
    }
}

/// Why a delivery goes apart from the others of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Parked,
    AskedAgain,
    Replay,
}

impl Why {
    const fn word(self) -> &'static str {
        match self {
            Self::Parked => "parked",
            Self::AskedAgain => "asked_again",
            Self::Replay => "replay",
        }
    }
}

/// Whether the delivery left its line after this attempt.
pub(in crate::api) fn is_parked(attempt: &AttemptRecord) -> bool {
    attempt.flags & AttemptRecord::PARKED != 0
}

/// How a delivery goes, or went, and why; null without an order key.
pub(in crate::api) fn shown(item: &DeliveryItem, attempts: &[AttemptRecord]) -> Value {
    if item.target.order_key.is_none() {
        return Value::Null;
    }
    let parked_at = attempts.iter().find(|one| is_parked(one));
    let parked_at = parked_at.map(|attempt| rfc3339(ended_ms(attempt)));
    let (goes, why) = course(item, attempts, parked_at.is_some());
    let verb = if item.status.is_final() {
        "went"
    } else {
        "goes"
    };
    let apart = format!("it {verb} apart from the order of its key");
    let says = match (goes, why) {
        (Goes::InLine, _) => {
            format!("it {verb} in the order of its key, behind the one before it")
        }
        (Goes::Apart, Some(Why::Parked)) => {
            let at = parked_at.as_deref().unwrap_or_default();
            format!(
                "it was parked at {at}, so that the next one need not wait for it: since then {apart}"
            )
        }
        (Goes::Apart, Some(Why::AskedAgain)) => format!("it was asked for again: {apart}"),
        (Goes::Apart, Some(Why::Replay)) => format!("it is of a replay: {apart}"),
        (Goes::Apart, None) => format!("{apart}, for a reason that its attempts do not tell"),
    };
    json!({
        "goes": goes.word(), "why": why.map(Why::word), "parked_at": parked_at, "says": says,
    })
}

fn course(item: &DeliveryItem, attempts: &[AttemptRecord], is_parked: bool) -> (Goes, Option<Why>) {
    if item.event.decision.replay.is_some() {
        return (Goes::Apart, Some(Why::Replay));
    }
    if is_parked {
        return (Goes::Apart, Some(Why::Parked));
    }
    // Only what was opened again is scheduled for a reason.
    let is_opened = item.status == DeliveryStatus::Scheduled && item.reason.is_some();
    let is_apart = |one: &AttemptRecord| Goes::of(one) == Some(Goes::Apart);
    let first = attempts.iter().position(is_apart);
    // After its end there is an attempt only where somebody asked for one, sent or not.
    let end = attempts.iter().position(|one| one.result.is_final());
    if end.is_some_and(|end| end + 1 < attempts.len()) {
        return (Goes::Apart, Some(Why::AskedAgain));
    }
    if first.is_none() && !is_opened {
        return (Goes::InLine, None);
    }
    // Without an end before it, it may have been parked by an attempt that is not shown, or for
    // want of its event, or have been discarded and asked for again: that is not told apart.
    let before = attempts.iter().take(first.unwrap_or_default());
    let has_ended = before.into_iter().any(|one| one.result.is_final());
    let is_asked = is_opened || has_ended;
    (Goes::Apart, is_asked.then_some(Why::AskedAgain))
}

/// When an attempt was over, Unix milliseconds.
fn ended_ms(attempt: &AttemptRecord) -> i64 {
    let took_ms = i64::try_from(attempt.duration_us / 1_000).unwrap_or(i64::MAX);
    attempt.started_ms.saturating_add(took_ms)
}

#[cfg(test)]
mod tests;
