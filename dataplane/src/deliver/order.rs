//! Deliveries with an order key: what their receiver is told, and how long they hold up others.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use outrider_config::snapshot::ProjectTable;
use outrider_webhook::id::UidCodec;
use outrider_webhook::sign::{ORDER_GAP, ORDER_LATE, ORDER_SEQUENCE};

use crate::queue::{Entry, Gaps, Lease};

/// The headers of a delivery with an order key; none without.
pub(super) fn headers(lease: &Lease, uids: &UidCodec) -> Vec<(HeaderName, HeaderValue)> {
    let entry = &lease.entry;
    if entry.target.order_key.is_none() {
        return Vec::new();
    }
    let sequence = HeaderValue::from(entry.key.event.raw());
    let mut headers = vec![(ORDER_SEQUENCE, sequence)];
    if entry.is_out_of_order {
        headers.push((ORDER_LATE, HeaderValue::from_static("true")));
    }
    if !lease.gaps.is_empty()
        && let Ok(value) = HeaderValue::try_from(gap(&lease.gaps, uids))
    {
        headers.push((ORDER_GAP, value));
    }
    headers
}

/// Ids of what is missing, with how many more at the end.
fn gap(gaps: &Gaps, uids: &UidCodec) -> String {
    let ids = gaps
        .known
        .iter()
        .map(|key| uids.event(key.event).to_string());
    let more = (gaps.more > 0).then(|| format!("+{}", gaps.more));
    ids.chain(more).collect::<Vec<_>>().join(",")
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
