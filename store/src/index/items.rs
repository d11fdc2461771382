//! From rows to what they stand for, read back from the log.

use std::sync::Arc;

use outrider_webhook::event::Target;
use outrider_webhook::id::{DeliveryKey, EventId};
use rusqlite::Connection;

use super::query::deliveries::DeliveryRow;
use super::query::events::{self, EventRow};
use super::{IndexError, Page};
use crate::codec::Entry;
use crate::event::{Position, StoredEvent};
use crate::log::LocalLog;
use crate::read::ReadError;
use crate::record::{AttemptRecord, DeliveryStatus, DuplicateRecord};

/// Bytes of records read for one page. A page that holds more ends early.
const PAGE_BYTES_MAX: usize = 32 << 20;

/// An event of a list.
#[derive(Debug, Clone)]
pub struct EventItem {
    /// Its id.
    pub id: EventId,
    /// What it is.
    pub content: EventContent,
}

/// What is kept of an event.
#[derive(Debug, Clone)]
pub enum EventContent {
    /// The event. Without headers and body when its payload was erased.
    Event(Arc<StoredEvent>),
    /// A repeat of another one.
    Duplicate(Arc<DuplicateRecord>),
}

/// A delivery with what it is about.
#[derive(Debug, Clone)]
pub struct DeliveryItem {
    /// Which delivery.
    pub key: DeliveryKey,
    /// Its event. Without headers and body when its payload was erased.
    pub event: Arc<StoredEvent>,
    /// Where it goes, as decided when it was accepted.
    pub target: Target,
    /// Its state.
    pub status: DeliveryStatus,
    /// Attempts made so far.
    pub attempts: u32,
    /// When the next one is due, Unix milliseconds.
    pub due_ms: Option<i64>,
    /// When its state changed last, Unix milliseconds: the beginning of the attempt, if it was one.
    pub updated_ms: i64,
    /// Stable code of why it ended.
    pub reason: Option<Box<str>>,
    /// The newest attempt.
    pub attempt: Option<Arc<AttemptRecord>>,
}

/// The events of a page. What retention took in between is left out.
pub(super) fn events(
    log: &LocalLog,
    page: Page<EventRow, EventId>,
) -> Result<Page<EventItem, EventId>, IndexError> {
    let read = |row: &EventRow| {
        let item = event(log, row)?;
        let bytes = item.as_ref().map_or(0, |item| item.content.bytes());
        Ok(item.map(|item| (item, bytes)))
    };
    hydrate(page, |row| row.id, read)
}

/// One event.
pub(super) fn event(log: &LocalLog, row: &EventRow) -> Result<Option<EventItem>, IndexError> {
    let content = match found(log.entry(row.place))? {
        Some(Entry::Accept { event, .. }) => EventContent::Event(Arc::from(event)),
        Some(Entry::Duplicate(record)) => EventContent::Duplicate(Arc::new(record)),
        _ => return Ok(None),
    };
    Ok(Some(EventItem {
        id: row.id,
        content,
    }))
}

impl EventContent {
    fn bytes(&self) -> usize {
        match self {
            Self::Event(event) => event.facts.body.len(),
            Self::Duplicate(_) => 0,
        }
    }
}

/// The deliveries of a page. Deliveries of one event stand together, and it is read once.
pub(super) fn deliveries(
    connection: &Connection,
    log: &LocalLog,
    page: Page<DeliveryRow, DeliveryKey>,
) -> Result<Page<DeliveryItem, DeliveryKey>, IndexError> {
    let mut last: Option<Arc<StoredEvent>> = None;
    let read = |row: &DeliveryRow| {
        let known = last.take().filter(|event| event.id == row.key.event);
        let is_known = known.is_some();
        let Some(event) = known.map_or_else(
            || stored(connection, log, row.key.event),
            |event| Ok(Some(event)),
        )?
        else {
            return Ok(None);
        };
        let bytes = if is_known { 0 } else { event.facts.body.len() };
        last = Some(Arc::clone(&event));
        let item = item(log, row, event)?;
        Ok(item.map(|item| (item, bytes)))
    };
    hydrate(page, |row| row.key, read)
}

/// One delivery.
pub(super) fn delivery(
    connection: &Connection,
    log: &LocalLog,
    row: &DeliveryRow,
) -> Result<Option<DeliveryItem>, IndexError> {
    match stored(connection, log, row.key.event)? {
        Some(event) => item(log, row, event),
        None => Ok(None),
    }
}

/// Attempts at their places; those that retention took are left out.
pub(super) fn attempts(
    log: &LocalLog,
    places: &[Position],
) -> Result<Vec<AttemptRecord>, IndexError> {
    let mut attempts = Vec::with_capacity(places.len());
    for place in places {
        if let Some(Entry::Attempt(attempt)) = found(log.entry(*place))? {
            attempts.push(*attempt);
        }
    }
    Ok(attempts)
}

fn item(
    log: &LocalLog,
    row: &DeliveryRow,
    event: Arc<StoredEvent>,
) -> Result<Option<DeliveryItem>, IndexError> {
    let ordinal = usize::try_from(row.key.ordinal).unwrap_or(usize::MAX);
    let Some(target) = event.targets.get(ordinal).cloned() else {
        return Ok(None);
    };
    let attempt = match row.attempt.map(|place| log.entry(place)) {
        Some(entry) => match found(entry)? {
            Some(Entry::Attempt(attempt)) => Some(Arc::from(attempt)),
            _ => None,
        },
        None => None,
    };
    let reason = match row.state.map(|place| log.entry(place)) {
        Some(entry) => match found(entry)? {
            Some(Entry::State(state)) => state.reason,
            _ => None,
        },
        None => attempt
            .as_ref()
            .and_then(|attempt: &Arc<AttemptRecord>| attempt.reason.clone()),
    };
    Ok(Some(DeliveryItem {
        key: row.key,
        event,
        target,
        status: row.status,
        attempts: row.attempts,
        due_ms: row.due_ms,
        updated_ms: row.at_ms,
        reason,
        attempt,
    }))
}

fn stored(
    connection: &Connection,
    log: &LocalLog,
    id: EventId,
) -> Result<Option<Arc<StoredEvent>>, IndexError> {
    let Some(row) = events::one(connection, id)? else {
        return Ok(None);
    };
    Ok(match found(log.entry(row.place))? {
        Some(Entry::Accept { event, .. }) => Some(Arc::from(event)),
        _ => None,
    })
}

/// A record that retention took is no error: its rows go as well, a moment later.
fn found(entry: Result<Entry, ReadError>) -> Result<Option<Entry>, IndexError> {
    match entry {
        Ok(entry) => Ok(Some(entry)),
        Err(ReadError::Gone(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Reads the rows of a page until it holds too much; the rest is the next page.
fn hydrate<R, T, K: Copy>(
    page: Page<R, K>,
    key: impl Fn(&R) -> K,
    mut read: impl FnMut(&R) -> Result<Option<(T, usize)>, IndexError>,
) -> Result<Page<T, K>, IndexError> {
    let (mut rows, mut bytes, mut next) = (Vec::with_capacity(page.rows.len()), 0, page.next);
    for row in &page.rows {
        if bytes > PAGE_BYTES_MAX {
            next = Some(key(row));
            break;
        }
        if let Some((item, more)) = read(row)? {
            bytes += more;
            rows.push(item);
        }
    }
    Ok(Page {
        rows,
        next,
        first: page.first,
        has_prev: page.has_prev,
    })
}
