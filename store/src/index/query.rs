//! Lists: which rows, in which order, by which index.
//!
//! One condition picks the index that is walked, the others are looked at row by row. Where a
//! condition has several values, one walk per value is merged, so a page costs a page whatever
//! the order of the rows in the table. A walk looks at so many rows only, and then says where to
//! go on: a rare combination cannot hold a reader.

mod conditions;
mod count;
pub(super) mod deliveries;
pub(super) mod events;
mod search;
mod walk;

use outrider_webhook::id::{EndpointId, EventId, ProjectId, SourceId, SubscriptionId};
use outrider_webhook::undelivered::Reason;
use serde::{Deserialize, Serialize};

pub use self::conditions::CONDITIONS_MAX;
pub use self::count::Count;
pub use self::events::Kin;
pub use self::search::Search;
use crate::record::DeliveryStatus;

/// Work of one page at most: a row looked at counts 1, a record read for a search counts more.
const WORK_MAX: u32 = 10_000;

/// Which events. Empty lists and `None` mean all. As with deliveries, no unknown condition is
/// passed over.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventFilter {
    /// Of this project; required.
    pub project: Option<ProjectId>,
    /// That came from one of these.
    pub sources: Vec<SourceId>,
    /// That were routed to one of these.
    pub endpoints: Vec<EndpointId>,
    /// That were for an owner.
    pub owner: Option<OwnerFilter>,
    /// With this idempotency key, repeats too.
    pub idempotency_key: Option<String>,
    /// From this id on.
    pub from: Option<EventId>,
    /// Up to this id.
    pub to: Option<EventId>,
    /// That a search finds. Not for batches, which look at everything once.
    #[serde(skip)]
    pub search: Option<Search>,
}

/// Events for an owner: fanned out to him, or routed to one of his endpoints.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OwnerFilter {
    /// The owner id.
    pub owner: String,
    /// His endpoints.
    pub endpoints: Vec<EndpointId>,
}

/// Which deliveries. Empty lists and `None` mean all. A condition of a later version is not passed
/// over: what a batch does with the filter it would do to too many.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeliveryFilter {
    /// Of this project; required.
    pub project: Option<ProjectId>,
    /// To one of these.
    pub endpoints: Vec<EndpointId>,
    /// Of this subscription.
    pub subscription: Option<SubscriptionId>,
    /// Of this event.
    pub event: Option<EventId>,
    /// Of events with this idempotency key.
    pub idempotency_key: Option<String>,
    /// Of events of this type.
    pub event_type: Option<String>,
    /// In one of these states.
    pub statuses: Vec<DeliveryStatus>,
    /// That ended without success for one of these reasons. Left out where there are none, so
    /// that data planes of before them understand the filter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
    /// Of events from this id on.
    pub from: Option<EventId>,
    /// Of events up to this id.
    pub to: Option<EventId>,
}

impl DeliveryFilter {
    /// The states of deliveries that ended without success.
    pub const UNDELIVERED: [DeliveryStatus; 2] =
        [DeliveryStatus::Failure, DeliveryStatus::Discarded];
    /// The states of deliveries that have not ended.
    pub const OPEN: [DeliveryStatus; 3] = [
        DeliveryStatus::Scheduled,
        DeliveryStatus::Processing,
        DeliveryStatus::Retry,
    ];

    /// Keeps to these states; whether any of them was wanted.
    pub fn keep_only(&mut self, statuses: &[DeliveryStatus]) -> bool {
        if self.statuses.is_empty() {
            self.statuses = statuses.to_vec();
        } else {
            self.statuses.retain(|wanted| statuses.contains(wanted));
        }
        !self.statuses.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_of_a_later_version_is_refused() {
        for text in [
            r#"{"statuses":[],"colours":["red"]}"#,
            r#"{"reasons":["a_reason_of_tomorrow"]}"#,
        ] {
            assert!(serde_json::from_str::<DeliveryFilter>(text).is_err());
        }
        assert!(serde_json::from_str::<EventFilter>(r#"{"colours":["red"]}"#).is_err());
    }

    #[test]
    fn a_filter_reads_back_as_it_was_written_and_says_nothing_of_reasons_without_any() {
        let mut filter = DeliveryFilter {
            statuses: vec![DeliveryStatus::Failure],
            ..DeliveryFilter::default()
        };
        let written = serde_json::to_string(&filter).unwrap();
        assert!(!written.contains("reasons"), "{written}");
        let read: DeliveryFilter = serde_json::from_str(&written).unwrap();
        assert_eq!(
            (read.statuses, read.reasons),
            (filter.statuses.clone(), vec![])
        );
        filter.reasons = vec![Reason::Gone, Reason::Cancelled];
        let written = serde_json::to_string(&filter).unwrap();
        let read: DeliveryFilter = serde_json::from_str(&written).unwrap();
        assert_eq!(read.reasons, filter.reasons);
    }
}
