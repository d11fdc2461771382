//! Writing a batch into the tables.

use outrider_webhook::id::{DeliveryKey, EventId};
use rusqlite::{Connection, OptionalExtension, Statement};

use super::IndexError;
use super::fold::{Batch, Change, EventRow, Made, StateChange};
use crate::event::Position;
use crate::record::DeliveryStatus;

/// Rows deleted at once, so that readers and new rows get their turn.
const DELETED_AT_ONCE: u32 = 5_000;
/// How long a command is remembered. Its sender gives up after seconds.
const COMMANDS_KEPT_MS: i64 = 24 * 3_600 * 1_000;

/// Writes all of it, in the transaction that is open.
pub(super) fn batch(connection: &Connection, batch: &mut Batch) -> Result<(), IndexError> {
    events(connection, &batch.events)?;
    batch.events.clear();
    let mut deliveries: Vec<(DeliveryKey, Change)> = batch.deliveries.drain().collect();
    // In the order of the table: neighbours share pages.
    deliveries.sort_unstable_by_key(|(key, _)| *key);
    let mut new = connection.prepare_cached(
        "INSERT INTO deliveries
         (event, ordinal, project, type, route, status, attempts, due, at, attempt, state, reason)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?;
    for (key, change) in &deliveries {
        match (change.made, &change.state) {
            (Some(made), Some(state)) => {
                let older = insert(&mut new, *key, made, change, state)?;
                attempts(connection, *key, older)?;
            }
            _ => update(connection, *key, change)?,
        }
    }
    for event in batch.removed.drain(..) {
        remove(connection, event)?;
    }
    endpoint_states(connection, batch)?;
    commands(connection, batch)
}

fn endpoint_states(connection: &Connection, batch: &mut Batch) -> Result<(), IndexError> {
    let sql = "INSERT OR IGNORE INTO endpoint_states (endpoint, at, place) VALUES (?1, ?2, ?3)";
    let mut insert = connection.prepare_cached(sql)?;
    for (endpoint, at_ms, place) in batch.endpoint_states.drain(..) {
        insert.execute((endpoint.uid().bits().to_be_bytes(), at_ms, place))?;
    }
    Ok(())
}

fn events(connection: &Connection, rows: &[EventRow]) -> Result<(), IndexError> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO events (id, project, type, source, owner, idem, expires, first, place, replay)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    for row in rows {
        let (idem, expires) = row.idempotency.unzip();
        insert.execute((
            row.id.raw(),
            row.project,
            row.event_type,
            row.source,
            row.owner,
            idem,
            expires,
            row.first.map(EventId::raw),
            row.place,
            row.replay,
        ))?;
    }
    Ok(())
}

/// Answers the attempts that are not the newest.
fn insert<'c>(
    new: &mut Statement<'_>,
    key: DeliveryKey,
    made: Made,
    change: &'c Change,
    state: &StateChange,
) -> Result<&'c [i64], IndexError> {
    let (newest, older) = match change.attempts.split_last() {
        Some((newest, older)) => (Some(*newest), older),
        None => (None, [].as_slice()),
    };
    new.execute((
        key.event.raw(),
        key.ordinal,
        made.project,
        made.event_type,
        made.route,
        state.status.number(),
        state.attempts,
        state.due_ms,
        state.at_ms,
        newest,
        state.state,
        state.reason,
    ))?;
    Ok(older)
}

fn update(connection: &Connection, key: DeliveryKey, change: &Change) -> Result<(), IndexError> {
    let row = connection
        .prepare_cached("SELECT status, attempt FROM deliveries WHERE event = ?1 AND ordinal = ?2")?
        .query_row((key.event.raw(), key.ordinal), |row| {
            Ok((row.get::<_, u8>(0)?, row.get::<_, Option<i64>>(1)?))
        })
        .optional()?;
    let Some((status, before)) = row else {
        return Ok(()); // its event was dropped
    };
    if let Some((newest, older)) = change.attempts.split_last() {
        attempts(connection, key, before.as_slice())?;
        attempts(connection, key, older)?;
        connection
            .prepare_cached("UPDATE deliveries SET attempt = ?3 WHERE event = ?1 AND ordinal = ?2")?
            .execute((key.event.raw(), key.ordinal, newest))?;
    }
    let is_final = DeliveryStatus::from_number(status).is_some_and(DeliveryStatus::is_final);
    match &change.state {
        Some(state) if change.is_reopened || !is_final => set(connection, key, state),
        _ => Ok(()),
    }
}

fn set(connection: &Connection, key: DeliveryKey, state: &StateChange) -> Result<(), IndexError> {
    connection
        .prepare_cached(
            "UPDATE deliveries SET status = ?3, attempts = ?4, due = ?5, at = ?6, state = ?7,
             reason = ?8
             WHERE event = ?1 AND ordinal = ?2",
        )?
        .execute((
            key.event.raw(),
            key.ordinal,
            state.status.number(),
            state.attempts,
            state.due_ms,
            state.at_ms,
            state.state,
            state.reason,
        ))?;
    Ok(())
}

/// Notes attempts that are not the newest any more.
fn attempts(connection: &Connection, key: DeliveryKey, places: &[i64]) -> Result<(), IndexError> {
    if places.is_empty() {
        return Ok(());
    }
    let sql = "INSERT OR IGNORE INTO attempts (event, ordinal, place) VALUES (?1, ?2, ?3)";
    let mut insert = connection.prepare_cached(sql)?;
    for place in places {
        insert.execute((key.event.raw(), key.ordinal, place))?;
    }
    Ok(())
}

fn remove(connection: &Connection, event: EventId) -> Result<(), IndexError> {
    for sql in [
        "DELETE FROM events WHERE id = ?1",
        "DELETE FROM deliveries WHERE event = ?1",
        "DELETE FROM attempts WHERE event = ?1",
    ] {
        connection.prepare_cached(sql)?.execute([event.raw()])?;
    }
    Ok(())
}

fn commands(connection: &Connection, batch: &mut Batch) -> Result<(), IndexError> {
    let Some(newest_ms) = batch.commands.iter().map(|(_, at_ms)| *at_ms).max() else {
        return Ok(());
    };
    let mut insert =
        connection.prepare_cached("INSERT OR REPLACE INTO commands (id, at) VALUES (?1, ?2)")?;
    for (id, at_ms) in batch.commands.drain(..) {
        insert.execute((id.to_be_bytes(), at_ms))?;
    }
    connection
        .prepare_cached("DELETE FROM commands WHERE at < ?1")?
        .execute([newest_ms.saturating_sub(COMMANDS_KEPT_MS)])?;
    Ok(())
}

/// Deletes rows of events that stand before `first`, which retention has dropped: some of them;
/// whether there are more.
pub(super) fn delete_before(connection: &Connection, first: Position) -> Result<bool, IndexError> {
    let mut oldest =
        connection.prepare_cached("SELECT id, place FROM events ORDER BY id LIMIT ?1")?;
    let rows = oldest.query_map([DELETED_AT_ONCE], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
    })?;
    let (mut last, mut count) = (None, 0);
    for row in rows {
        let (id, place) = row?;
        if place >= super::mark::packed(first) {
            break;
        }
        (last, count) = (Some(id), count + 1);
    }
    connection
        .prepare_cached("DELETE FROM endpoint_states WHERE place < ?1")?
        .execute([super::mark::packed(first)])?;
    let Some(last) = last else { return Ok(false) };
    for sql in [
        "DELETE FROM attempts WHERE event <= ?1",
        "DELETE FROM deliveries WHERE event <= ?1",
        "DELETE FROM events WHERE id <= ?1",
    ] {
        connection.prepare_cached(sql)?.execute([last])?;
    }
    Ok(count == DELETED_AT_ONCE)
}
