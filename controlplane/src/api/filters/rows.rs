//! The filters of a subscription: those it stores, and those its other event types have.

use outrider_config::resource::{FilterRowSpec, SubscriptionSpec};
use outrider_webhook::id::Uid;
use sha2::{Digest, Sha256};

/// One filter.
pub(super) struct Row {
    pub(super) uid: Uid,
    pub(super) event_type: String,
    pub(super) spec: FilterRowSpec,
}

/// All filters, in the order of the event types, each with its id.
pub(super) fn all(subscription: Uid, spec: &SubscriptionSpec) -> Vec<Row> {
    let config = spec.filter_config.as_ref();
    let listed = config
        .and_then(|config| config.event_types.as_deref())
        .unwrap_or_default();
    let stored = spec.filters.as_deref().unwrap_or_default();
    let mut types: Vec<&str> = Vec::new();
    let of_rows = stored.iter().filter_map(|row| row.event_type.as_deref());
    for event_type in listed.iter().map(String::as_str).chain(of_rows) {
        if !types.contains(&event_type) {
            types.push(event_type);
        }
    }
    if types.is_empty() {
        types.push("*");
    }
    let row = |event_type: &str| {
        let stored = stored
            .iter()
            .find(|row| row.event_type.as_deref() == Some(event_type));
        let spec = stored.cloned().unwrap_or_else(|| shared(spec, event_type));
        let given = spec.uid.as_deref().and_then(|uid| uid.parse().ok());
        Row {
            uid: given.unwrap_or_else(|| uid_of(subscription, event_type)),
            event_type: event_type.to_owned(),
            spec,
        }
    };
    types.into_iter().map(row).collect()
}

/// The conditions for the whole subscription, as the filter of one of its types.
fn shared(spec: &SubscriptionSpec, event_type: &str) -> FilterRowSpec {
    let config = spec.filter_config.clone().unwrap_or_default();
    let filter = config.filter.unwrap_or_default();
    FilterRowSpec {
        event_type: Some(event_type.to_owned()),
        headers: filter.headers,
        body: filter.body,
        query: filter.query,
        path: filter.path,
        ..FilterRowSpec::default()
    }
}

/// The id of a filter that has none of its own: of the moment of its subscription, and otherwise
/// a digest, so that it is the same one whenever and wherever it is asked for.
pub(super) fn uid_of(subscription: Uid, event_type: &str) -> Uid {
    let mut digest = Sha256::new();
    digest.update(subscription.bits().to_be_bytes());
    digest.update(event_type.as_bytes());
    let mut bits = [0; 16];
    bits.iter_mut()
        .zip(digest.finalize())
        .for_each(|(to, from)| *to = from);
    let random = u128::from_be_bytes(bits) >> 48;
    Uid::from_bits((subscription.bits() >> 80 << 80) | random)
}
