//! The question how an endpoint is doing: what stands in its way, and since when its receiver fails.

use outrider_webhook::breaker::State;
use outrider_webhook::id::{EndpointId, ProjectId};
use outrider_xds::Outcome;
use serde_json::{Value, json};

use super::question::{Questions, answered, refused};
use crate::meta::rfc3339;
use crate::queue::LaneView;

impl Questions {
    pub(super) fn lane(&self, project: ProjectId, endpoint: EndpointId) -> Outcome {
        let table = self.table.load();
        let table = table.project(project);
        let Some(endpoint) = table.and_then(|table| table.endpoint(endpoint)) else {
            return refused(
                "unknown_endpoint",
                "this data plane does not have the endpoint",
            );
        };
        let mut lane = self
            .queue
            .lane(endpoint.id())
            .map_or_else(idle, |lane| shown(&lane));
        let is_watched = table.is_some_and(|table| endpoint.rate_alert(table.project()).is_some());
        let exceeded_ms = self.notices.exceeded_ms(endpoint.id(), self.clock.now_ms());
        let exceeded_ms = exceeded_ms.filter(|_| is_watched);
        lane["failure_rate_exceeded_since"] = exceeded_ms.map(rfc3339).into();
        lane["is_switched_off"] = self.disabling.is_off(endpoint).into();
        answered(&json!({"lanes": [lane]}))
    }
}

/// Of an endpoint that has had nothing for a while.
fn idle() -> Value {
    json!({
        "waiting": 0, "in_flight": 0, "is_parked": false, "holds": [], "attempts": 0, "failures": 0,
        "breaker": {"state": "closed", "until": null, "trips": 0}, "pace_per_s": null,
    })
}

fn shown(lane: &LaneView) -> Value {
    let (state, until_ms) = match lane.breaker {
        State::Closed => ("closed", None),
        State::Open { until_ms } => ("open", Some(until_ms)),
        State::HalfOpen => ("half_open", None),
    };
    let holds = lane.holds.iter();
    let holds =
        holds.map(|(why, until_ms)| json!({"reason": why.as_str(), "until": rfc3339(*until_ms)}));
    json!({
        "waiting": lane.waiting,
        "in_flight": lane.in_flight,
        "concurrency": lane.concurrency,
        "is_parked": lane.is_parked,
        "holds": holds.collect::<Vec<_>>(),
        "breaker": {"state": state, "until": until_ms.map(rfc3339), "trips": lane.trips},
        "attempts": lane.attempts,
        "failures": lane.failures,
        "pace_per_s": lane.pace_per_s.map(f64::round),
    })
}
