//! Specifications of subscriptions out of what clients send.

use outrider_config::resource::{FilterConfigSpec, SubscriptionSpec};

use super::super::endpoints::{keep, keep_text};

/// The subscription with what is given of it. What this version does not act on is left in, to
/// be refused by the check.
pub(super) fn merged(old: SubscriptionSpec, mut given: SubscriptionSpec) -> SubscriptionSpec {
    keep_text(&mut given.name, old.name);
    keep_text(&mut given.endpoint_id, old.endpoint_id);
    keep_text(&mut given.source_id, old.source_id);
    keep_text(&mut given.delivery_mode, old.delivery_mode);
    match (&mut given.filter_config, old.filter_config) {
        (Some(given), Some(old)) => keep(&mut given.event_types, old.event_types),
        (given, old) => keep(given, old),
    }
    given
}

/// No event types are all of them.
pub(in crate::api) fn settle(spec: &mut SubscriptionSpec) {
    let config = spec
        .filter_config
        .get_or_insert_with(FilterConfigSpec::default);
    if config.event_types.as_ref().is_none_or(Vec::is_empty) {
        config.event_types = Some(vec!["*".to_owned()]);
    }
}
