//! Which endpoints fail too often: what was seen of those whose people want to hear of it.

use std::collections::HashMap;

use outrider_webhook::breaker::alert::{Change, Policy, Watch};
use outrider_webhook::id::EndpointId;

/// With so many endpoints, those are looked for that nothing is known of any more.
const SWEEP_MIN: usize = 1_024;

/// Endpoints under watch: those that were called lately, and those that people heard of.
#[derive(Debug)]
pub(super) struct Rates {
    watches: HashMap<EndpointId, Watch>,
    sweep_at: usize,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            watches: HashMap::new(),
            sweep_at: SWEEP_MIN,
        }
    }
}

impl Rates {
    /// Counts an attempt.
    pub(super) fn record(
        &mut self,
        endpoint: EndpointId,
        policy: &Policy,
        is_success: bool,
        now_ms: i64,
    ) -> Option<Change> {
        if self.watches.len() >= self.sweep_at {
            self.watches.retain(|_, watch| !watch.is_blank(now_ms));
            self.sweep_at = SWEEP_MIN.max(self.watches.len() * 2);
        }
        let watch = self.watches.entry(endpoint).or_default();
        watch.record(policy, is_success, now_ms)
    }

    /// Since when an endpoint fails too often.
    pub(super) fn exceeded_ms(&self, endpoint: EndpointId, now_ms: i64) -> Option<i64> {
        self.watches.get(&endpoint)?.exceeded_ms(now_ms)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.watches.len()
    }
}
