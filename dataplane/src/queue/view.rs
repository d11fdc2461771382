//! What stands in the way of an endpoint's deliveries, for people.

use outrider_webhook::breaker::State as BreakerState;
use outrider_webhook::id::EndpointId;

use super::{Hold, Queue};

/// A lane at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct LaneView {
    /// Deliveries that are due.
    pub waiting: usize,
    /// Attempts under way.
    pub in_flight: u32,
    /// Attempts that may be under way now: one while it is probed.
    pub concurrency: u32,
    /// Whether it stands still until the configuration changes, as when it is paused.
    pub is_parked: bool,
    /// Until when it stands still, Unix milliseconds, and why.
    pub holds: Vec<(Hold, i64)>,
    /// Whether its breaker lets attempts pass.
    pub breaker: BreakerState,
    /// How often the breaker has opened since it was last closed.
    pub trips: u32,
    /// Attempts in the breaker's window, and those of them that failed.
    pub attempts: u32,
    /// See [`LaneView::attempts`].
    pub failures: u32,
    /// Deliveries per second at most, while a backlog is sent at the pace of its receiver.
    pub pace_per_s: Option<f64>,
}

impl Hold {
    /// A stable word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "retry_after",
            Self::Rate => "rate_limit",
            Self::Pace => "pace",
            Self::Breaker => "breaker",
        }
    }
}

impl Queue {
    /// The lane of an endpoint; `None` when nothing waits for it and nothing is known of it.
    #[must_use]
    pub fn lane(&self, endpoint: EndpointId) -> Option<LaneView> {
        let now_ms = self.shared.clock.now_ms();
        self.state().lanes.view(endpoint, now_ms)
    }
}
