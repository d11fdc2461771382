//! From rows to what they stand for, read back from the log.

use std::sync::Arc;

use outrider_webhook::event::Target;
use outrider_webhook::id::{DeliveryKey, EventId};

use super::query::deliveries::DeliveryRow;
use super::query::events::{self, EventRow};
use super::{Direction, IndexError, Page, View};
use crate::codec::Entry;
use crate::event::{Position, StoredEvent};
use crate::read::ReadError;
use crate::record::{AttemptRecord, DeliveryStatus, DuplicateRecord};

/// Bytes that one page may take when it is shown, about. A page of more ends early.
const PAGE_BYTES_MAX: usize = 8 << 20;
/// Bytes of a row beside what people sent: ids, times, descriptions.
const ROW_BYTES: usize = 4 << 10;

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
    /// The event, with its first targets. Without headers and body when its payload was erased.
    Event(Arc<StoredEvent>),
    /// A repeat of another one.
    Duplicate(Arc<DuplicateRecord>),
}

/// A delivery with what it is about.
#[derive(Debug, Clone)]
pub struct DeliveryItem {
    /// Which delivery.
    pub key: DeliveryKey,
    /// Its event, with its first targets. Without headers and body when its payload was erased.
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

/// Where a delivery stands, without what it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryState {
    /// Which delivery.
    pub key: DeliveryKey,
    /// Where its event is in the log.
    pub position: Position,
    /// Its state.
    pub status: DeliveryStatus,
    /// Attempts made so far.
    pub attempts: u32,
}

/// The events of a page. What retention took in between is left out.
pub(super) fn events(
    view: &View<'_>,
    page: Page<EventRow, EventId>,
    direction: Direction,
) -> Result<Page<EventItem, EventId>, IndexError> {
    let read = |row: &EventRow| {
        let item = event(view, row)?;
        let bytes = item.as_ref().map_or(0, |item| match &item.content {
            EventContent::Event(event) => shown_bytes(event),
            EventContent::Duplicate(_) => ROW_BYTES,
        });
        Ok(item.map(|item| (item, bytes)))
    };
    hydrate(page, direction, |row| row.id, read)
}

/// One event.
pub(super) fn event(view: &View<'_>, row: &EventRow) -> Result<Option<EventItem>, IndexError> {
    let content = match found(view.log.entry_head(row.place))? {
        Some(Entry::Accept { event, .. }) => EventContent::Event(Arc::from(event)),
        Some(Entry::Duplicate(record)) => EventContent::Duplicate(Arc::new(record)),
        _ => return Ok(None),
    };
    Ok(Some(EventItem {
        id: row.id,
        content,
    }))
}

/// The deliveries of a page. Deliveries of one event stand together, and it is read once.
pub(super) fn deliveries(
    view: &View<'_>,
    page: Page<DeliveryRow, DeliveryKey>,
    direction: Direction,
) -> Result<Page<DeliveryItem, DeliveryKey>, IndexError> {
    let mut last: Option<Arc<StoredEvent>> = None;
    let read = |row: &DeliveryRow| {
        let known = last.take().filter(|event| event.id == row.key.event);
        let event = match known {
            Some(event) => Some(event),
            None => stored(view, row.key.event)?,
        };
        let Some(event) = event else {
            return Ok(None);
        };
        last = Some(Arc::clone(&event));
        let bytes = shown_bytes(&event); // it is shown with each of its deliveries
        Ok(item(view, row, event)?.map(|item| (item, bytes)))
    };
    hydrate(page, direction, |row| row.key, read)
}

/// One delivery.
pub(super) fn delivery(
    view: &View<'_>,
    row: &DeliveryRow,
) -> Result<Option<DeliveryItem>, IndexError> {
    match stored(view, row.key.event)? {
        Some(event) => item(view, row, event),
        None => Ok(None),
    }
}

/// Attempts at their places; those that retention took are left out.
pub(super) fn attempts(
    view: &View<'_>,
    places: &[Position],
) -> Result<Vec<AttemptRecord>, IndexError> {
    let mut attempts = Vec::with_capacity(places.len());
    for place in places {
        if let Some(Entry::Attempt(attempt)) = found(view.log.entry_head(*place))? {
            attempts.push(*attempt);
        }
    }
    Ok(attempts)
}

fn item(
    view: &View<'_>,
    row: &DeliveryRow,
    event: Arc<StoredEvent>,
) -> Result<Option<DeliveryItem>, IndexError> {
    let Some(target) = target(view, row.key.ordinal, &event)? else {
        return Ok(None);
    };
    let attempt = match row.attempt {
        Some(place) => match found(view.log.entry_head(place))? {
            Some(Entry::Attempt(attempt)) => Some(Arc::from(attempt)),
            _ => None,
        },
        None => None,
    };
    let reason = match row.state {
        Some(place) => match found(view.log.entry_head(place))? {
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

/// The target of a delivery: of most events all are in one record.
fn target(
    view: &View<'_>,
    ordinal: u32,
    event: &StoredEvent,
) -> Result<Option<Target>, IndexError> {
    let at = usize::try_from(ordinal).unwrap_or(usize::MAX);
    match event.targets.get(at) {
        Some(target) => Ok(Some(target.clone())),
        None => found(view.log.target(event.position, ordinal)),
    }
}

fn stored(view: &View<'_>, id: EventId) -> Result<Option<Arc<StoredEvent>>, IndexError> {
    let Some(row) = events::one(view.connection, id)? else {
        return Ok(None);
    };
    Ok(match found(view.log.entry_head(row.place))? {
        Some(Entry::Accept { event, .. }) => Some(Arc::from(event)),
        _ => None,
    })
}

/// A record that retention took is no error: its rows go as well, a moment later. One that is
/// damaged is left out, so that it does not hide all others of its page.
pub(super) fn found<T>(read: Result<T, ReadError>) -> Result<Option<T>, IndexError> {
    match read {
        Ok(entry) => Ok(Some(entry)),
        Err(ReadError::Gone(_)) => Ok(None),
        Err(error @ ReadError::Corrupt { .. }) => {
            tracing::error!(%error, "a record cannot be shown");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// What an event takes when it is shown: its body twice, as data and as text.
fn shown_bytes(event: &StoredEvent) -> usize {
    let headers: usize = event
        .facts
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    ROW_BYTES + 2 * event.facts.body.len() + headers
}

/// Reads the rows of a page until it holds too much, from where the client is; the rest is
/// another page.
fn hydrate<R, T, K: Copy>(
    mut page: Page<R, K>,
    direction: Direction,
    key: impl Fn(&R) -> K,
    mut read: impl FnMut(&R) -> Result<Option<(T, usize)>, IndexError>,
) -> Result<Page<T, K>, IndexError> {
    let is_back = direction == Direction::Prev;
    if is_back {
        page.rows.reverse();
    }
    let (mut rows, mut bytes, mut last) = (Vec::with_capacity(page.rows.len()), 0, None);
    for row in &page.rows {
        if bytes > PAGE_BYTES_MAX {
            match is_back {
                true => (page.first, page.has_prev) = (last, true),
                false => page.next = Some(key(row)),
            }
            break;
        }
        last = Some(key(row));
        if let Some((item, more)) = read(row)? {
            bytes += more;
            rows.push(item);
        }
    }
    if is_back {
        rows.reverse();
    }
    Ok(Page {
        rows,
        next: page.next,
        first: page.first,
        has_prev: page.has_prev,
    })
}
