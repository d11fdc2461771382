//! What a filter names, as the numbers that the rows have.

use outrider_webhook::id::{EventId, ProjectId};
use rusqlite::Connection;

use crate::codec::IdemKey;
use crate::index::IndexError;
use crate::index::fold::first_word;
use crate::index::names;
use crate::index::query::{DeliveryFilter, events};
use crate::record::DeliveryStatus;

/// Events with one idempotency key, one after the other, that are looked at.
const EVENTS_MAX: i64 = 1_000;

/// The events that are named, by id or by key; `None` when the filter names none.
pub(super) fn events_of(
    connection: &Connection,
    project: ProjectId,
    filter: &DeliveryFilter,
) -> Result<Option<Vec<i64>>, IndexError> {
    let by_key = match &filter.idempotency_key {
        None => None,
        Some(key) => {
            let word = first_word(IdemKey::new(project, key));
            // Repeats have no deliveries.
            let sql = "SELECT id FROM events INDEXED BY events_by_key
                       WHERE idem = ?1 AND first IS NULL ORDER BY id DESC LIMIT ?2";
            let mut statement = connection.prepare_cached(sql)?;
            let ids = statement.query_map((word, EVENTS_MAX), |row| row.get(0))?;
            Some(ids.collect::<Result<Vec<i64>, _>>()?)
        }
    };
    let Some(event) = filter.event else {
        return Ok(by_key);
    };
    // Its replays are the same event to people.
    let mut events = vec![event.raw()];
    let replays = events::of_first(connection, event, true)?;
    events.extend(replays.into_iter().map(EventId::raw));
    if let Some(by_key) = by_key {
        // The key is the first one's.
        if !by_key.contains(&event.raw()) {
            events.clear();
        }
    }
    Ok(Some(events))
}

pub(super) fn routes_of(
    connection: &Connection,
    filter: &DeliveryFilter,
) -> Result<Option<Vec<i64>>, IndexError> {
    let to = match filter.endpoints.is_empty() {
        true => None,
        false => Some(events::routes_to_any(connection, &filter.endpoints)?),
    };
    let Some(subscription) = filter.subscription else {
        return Ok(to);
    };
    let mut of = names::routes_of(connection, subscription)?;
    if let Some(to) = to {
        of.retain(|route| to.contains(route));
    }
    Ok(Some(of))
}

/// The reasons that are named; `None` when the filter names none.
pub(super) fn reasons_of(
    connection: &Connection,
    filter: &DeliveryFilter,
) -> Result<Option<Vec<i64>>, IndexError> {
    if filter.reasons.is_empty() {
        return Ok(None);
    }
    let mut numbers = names::reasons(connection, &filter.reasons)?;
    numbers.sort_unstable();
    numbers.dedup();
    Ok(Some(numbers))
}

pub(super) fn statuses(filter: &DeliveryFilter) -> Vec<i64> {
    let wanted = match filter.statuses.is_empty() {
        true => DeliveryStatus::ALL.as_slice(),
        false => &filter.statuses,
    };
    let mut numbers: Vec<i64> = wanted.iter().map(|one| i64::from(one.number())).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}
