//! Deliveries with an order key: what their receiver is told, and how long they hold up others.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use outrider_config::snapshot::ProjectTable;
use outrider_store::{LocalLog, StoredEvent};
use outrider_webhook::event::Target;
use outrider_webhook::sign::{ORDER_GAP, ORDER_LATE, ORDER_SEQUENCE, webhook_id};

use super::Deliverer;
use super::attempt::is_repeat;
use crate::queue::{Entry, Gaps, Lease, Missing, Queue};

impl Deliverer {
    /// The headers of a delivery with an order key; none without.
    pub(super) async fn order_headers(
        &self,
        lease: &Lease,
        event: &StoredEvent,
    ) -> Vec<(HeaderName, HeaderValue)> {
        let entry = &lease.entry;
        if entry.target.order_key.is_none() {
            return Vec::new();
        }
        // A replay is as old as what it is of: its receiver must not take it for news.
        let replay = event.decision.replay.as_ref();
        let of = replay.map_or(entry.key.event, |replay| replay.of);
        let mut headers = vec![(ORDER_SEQUENCE, HeaderValue::from(of.raw()))];
        if entry.is_out_of_order {
            headers.push((ORDER_LATE, HeaderValue::from_static("true")));
        }
        if !lease.gaps.is_empty() {
            let namer = Namer {
                log: &self.log,
                queue: &self.queue,
                target: &entry.target,
            };
            let gap = namer.gap(&lease.gaps).await;
            headers.extend(HeaderValue::try_from(gap).map(|value| (ORDER_GAP, value)));
        }
        headers
    }
}

/// Tells what is missing in the line of a target.
struct Namer<'a> {
    log: &'a LocalLog,
    queue: &'a Queue,
    target: &'a Target,
}

impl Namer<'_> {
    /// The `webhook-id`s of what is missing, with how many more at the end.
    async fn gap(&self, gaps: &Gaps) -> String {
        let (mut names, mut more) = (Vec::with_capacity(gaps.known.len() + 1), gaps.more);
        for missing in &gaps.known {
            match self.name(missing).await {
                Some(name) => names.push(name),
                None => more = more.saturating_add(1),
            }
        }
        if more > 0 {
            names.push(format!("+{more}"));
        }
        names.join(",")
    }

    /// What a delivery was, or would have been, called. `None` when its event cannot be read, and
    /// it may be the second one to its endpoint: better no name than that of the first one. An
    /// event is read for it once: it may be a large one, and each attempt of its line asks.
    async fn name(&self, missing: &Missing) -> Option<String> {
        let Missing { key, position, .. } = *missing;
        let is_repeat = match missing.is_repeat {
            Some(is_repeat) => is_repeat,
            None => {
                let event = self.log.read(position).await.ok()?;
                let is_repeat = is_repeat(&event, key.ordinal);
                self.queue.learn_gap(self.target, key, is_repeat);
                is_repeat
            }
        };
        let event = self.log.uids().event(key.event);
        Some(webhook_id(event, key.ordinal, is_repeat))
    }
}

/// How long a delivery may hold up those behind it under the configuration in force; `None` when
/// nobody waits for it. One whose subscription is gone is not waited for any longer.
pub(super) fn park_after(table: &ProjectTable, entry: &Entry) -> Option<Duration> {
    if entry.target.order_key.is_none() || entry.is_out_of_order {
        return None;
    }
    let id = entry.target.subscription;
    let of_endpoint = table.subscriptions_of_endpoint(entry.target.endpoint);
    let subscription = of_endpoint.all().find(|one| Some(one.id()) == id);
    let order = subscription.and_then(|subscription| subscription.order());
    Some(order.map_or(Duration::ZERO, |order| order.park_after()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use outrider_store::{Accepted, Options, Position, SystemClock};
    use outrider_webhook::event::{
        Audience, Decision, DeliveryMode, EventFacts, Origin, VerifiedEvent,
    };
    use outrider_webhook::id::{DeliveryKey, EndpointId, EventId, ProjectId, Uid};

    use super::*;
    use crate::queue::PayloadCache;

    fn target(endpoint: u128) -> Target {
        Target {
            endpoint: EndpointId::new(Uid::from_bits(endpoint)),
            subscription: None,
            mode: DeliveryMode::AtLeastOnce,
            order_key: Some(7),
        }
    }

    /// Puts an event into the log that the first of two endpoints gets twice; with its place.
    async fn accepted(log: &LocalLog, queue: &Queue) -> (EventId, Position) {
        let facts = EventFacts {
            project: ProjectId::new(Uid::from_bits(1)),
            origin: Origin::Api,
            audience: Audience::Broadcast,
            event_type: "a".into(),
            headers: Vec::new(),
            query: "".into(),
            path: "".into(),
            body: Bytes::new(),
            idempotency_key: None,
            idempotency_window_ms: 0,
            received_ms: 0,
        };
        let targets = vec![target(1), target(1), target(2)];
        let event = VerifiedEvent::accepted_before(facts).route(targets, Decision::default());
        let Accepted::Stored(id) = log.accept(event).await.unwrap() else {
            panic!("a repeat of nothing");
        };
        (id, queue.lease().await.entry.position)
    }

    #[tokio::test]
    async fn a_gap_names_what_the_delivery_carries_and_counts_what_it_cannot_name() {
        let (dir, clock) = (
            tempfile::tempdir().unwrap(),
            Arc::new(SystemClock::default()),
        );
        let cache = PayloadCache::new(0);
        let long = Duration::from_secs(60);
        let queue = Queue::new(Arc::<SystemClock>::clone(&clock), cache, 16, 64, long);
        let options = Options {
            segment_bytes: Options::SEGMENT_BYTES_MIN,
            ..Options::new(dir.path().join("log"))
        };
        let (log, _) = LocalLog::open(options, clock, queue.sink()).unwrap();
        let (event, position) = accepted(&log, &queue).await;
        let uid = log.uids().event(event);
        let missing = |ordinal: u32| Missing {
            key: DeliveryKey { event, ordinal },
            position,
            is_repeat: (ordinal == 0).then_some(false),
        };
        let lost = |ordinal| Missing {
            position: Position {
                segment: 99,
                ..position
            },
            ..missing(ordinal)
        };
        let looked_at = |ordinal| Missing {
            is_repeat: Some(true),
            ..lost(ordinal)
        };
        let namer = Namer {
            log: &log,
            queue: &queue,
            target: &target(1),
        };
        for (known, more, told) in [
            (vec![missing(0)], 0, format!("{uid}")),
            (vec![missing(1)], 0, format!("{uid}-1")),
            (vec![missing(2)], 0, format!("{uid}")),
            (vec![missing(0), missing(1)], 2, format!("{uid},{uid}-1,+2")),
            // The first one of an event is called like it, whether it can be read or not.
            (vec![lost(0)], 0, format!("{uid}")),
            (vec![lost(1)], 0, "+1".to_owned()),
            (vec![looked_at(1)], 0, format!("{uid}-1")),
            (vec![missing(2), lost(1)], 3, format!("{uid},+4")),
        ] {
            assert_eq!(namer.gap(&Gaps { known, more }).await, told);
        }
        log.close().await.unwrap();
    }
}
