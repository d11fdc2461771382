//! Specifications of subscriptions out of what clients send.

use outrider_config::resource::{FilterConfigSpec, SubscriptionSpec};

use super::super::endpoints::{keep, keep_text};

/// The subscription with what is given of it. What this version does not act on is left in, to
/// be refused by the check.
pub(super) fn merged(old: SubscriptionSpec, mut given: SubscriptionSpec) -> SubscriptionSpec {
    keep_text(&mut given.name, old.name);
    keep(&mut given.alert_config, old.alert_config);
    keep_text(&mut given.endpoint_id, old.endpoint_id);
    keep_text(&mut given.source_id, old.source_id);
    keep_text(&mut given.delivery_mode, old.delivery_mode);
    keep_text(&mut given.filter_mode, old.filter_mode);
    keep(&mut given.order, old.order);
    if let Some(types) = given
        .filter_config
        .as_mut()
        .and_then(|config| config.event_types.as_mut())
        && types.is_empty()
    {
        types.push("*".to_owned());
    }
    let types = given
        .filter_config
        .as_ref()
        .and_then(|config| config.event_types.clone());
    if given.filters.is_none() {
        given.filters = old.filters;
        // Types that are given are all of them: rows of others go.
        if let (Some(types), Some(rows)) =
            (types.filter(|types| !types.is_empty()), &mut given.filters)
        {
            rows.retain(|row| {
                row.event_type
                    .as_ref()
                    .is_some_and(|own| types.contains(own))
            });
        }
    }
    match (&mut given.filter_config, old.filter_config) {
        (Some(given), Some(old)) => {
            keep(&mut given.event_types, old.event_types);
            keep(&mut given.filter, old.filter);
        }
        (given, old) => keep(given, old),
    }
    given
}

/// No event types are all of them, and those of rows are listed with the others.
pub(in crate::api) fn settle(spec: &mut SubscriptionSpec) {
    let rows = spec.filters.iter().flatten();
    let of_rows: Vec<String> = rows.filter_map(|row| row.event_type.clone()).collect();
    let config = spec
        .filter_config
        .get_or_insert_with(FilterConfigSpec::default);
    let types = config.event_types.get_or_insert_default();
    for of_row in of_rows {
        if !types.contains(&of_row) {
            types.push(of_row);
        }
    }
    if types.is_empty() {
        types.push("*".to_owned());
    }
}
