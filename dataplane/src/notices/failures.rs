//! When the deliveries of a subscription that failed are too many.

use std::collections::{HashMap, VecDeque};

use outrider_config::snapshot::FailureAlert;
use outrider_webhook::id::SubscriptionId;

/// Subscriptions that are counted at a time: beyond, those that failed longest ago are forgotten.
const COUNTED_MAX: usize = 10_000;

/// Times of failures, of subscriptions whose people want to hear of them.
#[derive(Debug, Default)]
pub(super) struct Failures {
    times: HashMap<SubscriptionId, VecDeque<i64>>,
}

impl Failures {
    /// Counts one; true when there are as many as the alert says within its time, which begins
    /// anew then.
    pub(super) fn add(&mut self, id: SubscriptionId, alert: FailureAlert, now_ms: i64) -> bool {
        if self.times.len() >= COUNTED_MAX && !self.times.contains_key(&id) {
            let last = |times: &VecDeque<i64>| times.back().copied().unwrap_or(i64::MIN);
            let oldest = self.times.iter().min_by_key(|(_, times)| last(times));
            if let Some(oldest) = oldest.map(|(id, _)| *id) {
                self.times.remove(&oldest);
            }
        }
        let times = self.times.entry(id).or_default();
        let within_ms = i64::try_from(alert.within.as_millis()).unwrap_or(i64::MAX);
        let since_ms = now_ms.saturating_sub(within_ms);
        while times.pop_front_if(|at_ms| *at_ms < since_ms).is_some() {}
        times.push_back(now_ms);
        let is_too_many = times.len() >= usize::try_from(alert.count).unwrap_or(usize::MAX);
        if is_too_many {
            self.times.remove(&id);
        }
        is_too_many
    }
}
