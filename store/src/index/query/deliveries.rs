//! The list of deliveries, one by its key, and the attempts of one.

mod plan;

use outrider_webhook::id::{DeliveryKey, EventId, ProjectId};
use rusqlite::{Connection, OptionalExtension, Row};

use self::plan::Plan;
use super::walk::{Work, page};
use super::{Count, DeliveryFilter};
use crate::event::Position;
use crate::index::mark::unpacked;
use crate::index::names::{self, Kind};
use crate::index::{
    DeliveryItem, DeliveryState, Index, IndexError, Page, PageRequest, View, items,
};
use crate::record::{AttemptRecord, DeliveryStatus};

/// Attempts of a delivery that are shown.
const ATTEMPTS_MAX: u32 = 1_000;

/// A row of `deliveries`, as far as it is shown.
#[derive(Debug, Clone, Copy)]
pub(in crate::index) struct DeliveryRow {
    pub(in crate::index) key: DeliveryKey,
    pub(in crate::index) status: DeliveryStatus,
    pub(in crate::index) attempts: u32,
    pub(in crate::index) due_ms: Option<i64>,
    pub(in crate::index) at_ms: i64,
    /// Place of the newest ATTEMPT.
    pub(in crate::index) attempt: Option<Position>,
    /// Place of a STATE that came after it.
    pub(in crate::index) state: Option<Position>,
}

impl DeliveryRow {
    fn read(row: &Row<'_>) -> Result<Self, rusqlite::Error> {
        Ok(Self {
            key: key_of(row)?,
            status: DeliveryStatus::from_number(row.get(2)?).unwrap_or(DeliveryStatus::Scheduled),
            attempts: row.get(3)?,
            due_ms: row.get(4)?,
            at_ms: row.get(5)?,
            attempt: row.get::<_, Option<i64>>(6)?.map(unpacked),
            state: row.get::<_, Option<i64>>(7)?.map(unpacked),
        })
    }
}

fn key_of(row: &Row<'_>) -> Result<DeliveryKey, rusqlite::Error> {
    Ok(DeliveryKey {
        event: EventId::from_raw(row.get(0)?).unwrap_or(EventId::ZERO),
        ordinal: row.get(1)?,
    })
}

impl Index {
    /// A page of deliveries, and how far the index was behind if it did not catch up in time,
    /// milliseconds.
    ///
    /// # Errors
    /// [`IndexError`].
    pub async fn deliveries(
        &self,
        filter: DeliveryFilter,
        request: PageRequest<DeliveryKey>,
    ) -> Result<(Page<DeliveryItem, DeliveryKey>, Option<u64>), IndexError> {
        self.list(move |view| {
            let found = list(view, &filter, &request)?;
            items::deliveries(view, found, request.direction)
        })
        .await
    }

    /// A delivery; `None` when there is none in the project.
    ///
    /// # Errors
    /// [`IndexError`].
    pub async fn delivery(
        &self,
        project: ProjectId,
        key: DeliveryKey,
    ) -> Result<Option<DeliveryItem>, IndexError> {
        self.get(&self.inner.reads, move |view| {
            match one(view, project, key)? {
                Some(row) => items::delivery(view, &row),
                None => Ok(None),
            }
        })
        .await
    }

    /// The attempts of a delivery, oldest first, the newest 1,000; `None` when there is no such
    /// delivery in the project.
    ///
    /// # Errors
    /// [`IndexError`].
    pub async fn attempts(
        &self,
        project: ProjectId,
        key: DeliveryKey,
    ) -> Result<Option<Vec<AttemptRecord>>, IndexError> {
        self.get(&self.inner.reads, move |view| {
            match one(view, project, key)? {
                Some(row) => items::attempts(view, &attempt_places(view, &row)?).map(Some),
                None => Ok(None),
            }
        })
        .await
    }

    /// Where these deliveries stand, of those that there are.
    ///
    /// # Errors
    /// [`IndexError`].
    pub async fn states(&self, keys: Vec<DeliveryKey>) -> Result<Vec<DeliveryState>, IndexError> {
        self.get(&self.inner.reads, move |view| {
            let mut statement = view.connection.prepare_cached(
                "SELECT d.event, d.ordinal, d.status, d.attempts, e.place
                 FROM deliveries d CROSS JOIN events e ON e.id = d.event
                 WHERE d.event = ?1 AND d.ordinal = ?2",
            )?;
            let mut states = Vec::with_capacity(keys.len());
            for key in &keys {
                let found = statement.query_row((key.event.raw(), key.ordinal), state);
                states.extend(found.optional()?);
            }
            Ok(states)
        })
        .await
    }

    /// Whether a command was carried out.
    ///
    /// # Errors
    /// [`IndexError`].
    pub async fn has_command(&self, id: u128) -> Result<bool, IndexError> {
        self.get(&self.inner.reads, move |view| {
            let mut statement = view
                .connection
                .prepare_cached("SELECT 1 FROM commands WHERE id = ?1")?;
            Ok(statement.exists([id.to_be_bytes()])?)
        })
        .await
    }
}

fn state(row: &Row<'_>) -> Result<DeliveryState, rusqlite::Error> {
    Ok(DeliveryState {
        key: key_of(row)?,
        position: unpacked(row.get(4)?),
        status: DeliveryStatus::from_number(row.get(2)?).unwrap_or(DeliveryStatus::Scheduled),
        attempts: row.get(3)?,
    })
}

/// The row of a delivery that is in the project and of an event that is whole.
fn one(
    view: &View<'_>,
    project: ProjectId,
    key: DeliveryKey,
) -> Result<Option<DeliveryRow>, IndexError> {
    let number = names::find(view.connection, Kind::Project, project, "")?;
    let row = row(view.connection, key)?.filter(|_| view.open != Some(key.event));
    Ok(row
        .filter(|(_, project)| number == Some(*project))
        .map(|(row, _)| row))
}

/// A row and its project.
fn row(
    connection: &Connection,
    key: DeliveryKey,
) -> Result<Option<(DeliveryRow, i64)>, IndexError> {
    let mut statement = connection.prepare_cached(
        "SELECT event, ordinal, status, attempts, due, at, attempt, state, project
         FROM deliveries WHERE event = ?1 AND ordinal = ?2",
    )?;
    let read = |row: &Row<'_>| Ok((DeliveryRow::read(row)?, row.get(8)?));
    let found = statement.query_row((key.event.raw(), key.ordinal), read);
    Ok(found.optional()?)
}

fn attempt_places(view: &View<'_>, row: &DeliveryRow) -> Result<Vec<Position>, IndexError> {
    let mut statement = view.connection.prepare_cached(
        "SELECT place FROM attempts WHERE event = ?1 AND ordinal = ?2
         ORDER BY place DESC LIMIT ?3",
    )?;
    let key = (row.key.event.raw(), row.key.ordinal, ATTEMPTS_MAX - 1);
    let older = statement.query_map(key, |row| row.get::<_, i64>(0).map(unpacked))?;
    let mut places = older.collect::<Result<Vec<_>, _>>()?;
    places.reverse();
    places.extend(row.attempt);
    Ok(places)
}

pub(super) fn count(
    view: &View<'_>,
    filter: &DeliveryFilter,
    most: u32,
) -> Result<Count, IndexError> {
    let Some(plan) = Plan::make(view, filter)? else {
        return Ok(Count::default());
    };
    plan.count(view, &mut Work::of(most))
}

fn list(
    view: &View<'_>,
    filter: &DeliveryFilter,
    request: &PageRequest<DeliveryKey>,
) -> Result<Page<DeliveryRow, DeliveryKey>, IndexError> {
    let Some(plan) = Plan::make(view, filter)? else {
        return Ok(Page::default());
    };
    let mut work = Work::new();
    let found = page(request, |from, is_backwards, limit| {
        plan.walk(view, &mut work, from, is_backwards, limit)
    })?;
    let mut rows = Vec::with_capacity(found.rows.len());
    for candidate in &found.rows {
        rows.extend(row(view.connection, candidate.key)?.map(|(row, _)| row));
    }
    Ok(Page {
        rows,
        next: found.next,
        first: found.first,
        has_prev: found.has_prev,
    })
}
