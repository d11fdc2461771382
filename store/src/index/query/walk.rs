//! Walking one or several indexes in order, merged.

use rusqlite::types::ToSql;
use rusqlite::{CachedStatement, Row, Rows};

use super::WORK_MAX;
use crate::index::page::Direction;
use crate::index::{IndexError, Page, PageRequest};

/// A row of a list, as its columns say.
pub(super) trait Found: Sized {
    /// What it is identified and ordered by.
    type Key: Copy + Ord;

    fn read(row: &Row<'_>) -> Result<Self, rusqlite::Error>;
    fn key(&self) -> Self::Key;
}

/// A statement with one condition, and the value of that condition.
pub(super) struct Walk<'c> {
    pub(super) statement: CachedStatement<'c>,
    pub(super) parameters: Vec<i64>,
}

/// What a page may still cost.
#[derive(Debug)]
pub(super) struct Work(u32);

impl Work {
    pub(super) fn new() -> Self {
        Self(WORK_MAX)
    }

    /// Another bound, for what is no page.
    pub(super) fn of(units: u32) -> Self {
        Self(units)
    }

    pub(super) fn spend(&mut self, units: u32) {
        self.0 = self.0.saturating_sub(units);
    }

    fn is_over(&self) -> bool {
        self.0 == 0
    }
}

/// What was found on the way.
pub(super) struct Walked<F: Found> {
    pub(super) rows: Vec<F>,
    /// Where to go on: the first row that was not taken.
    pub(super) next: Option<F::Key>,
}

/// Takes up to `limit` rows that `wanted` wants, and the key of the one after them.
pub(super) fn walk<F: Found>(
    walks: &mut [Walk<'_>],
    is_backwards: bool,
    limit: usize,
    work: &mut Work,
    mut wanted: impl FnMut(&F, &mut Work) -> Result<bool, IndexError>,
) -> Result<Walked<F>, IndexError> {
    let mut streams = Vec::with_capacity(walks.len());
    for walk in walks {
        let parameters: Vec<&dyn ToSql> = walk.parameters.iter().map(|one| one as _).collect();
        let rows = walk.statement.query(parameters.as_slice())?;
        if let Some(stream) = Stream::open(rows)? {
            streams.push(stream);
        }
    }
    let (mut rows, mut last) = (Vec::new(), None);
    while let Some(row) = take::<F>(&mut streams, is_backwards)? {
        if last.replace(row.key()) == Some(row.key()) {
            continue; // the same row by two conditions
        }
        if work.is_over() {
            return Ok(Walked {
                next: Some(row.key()),
                rows,
            });
        }
        work.spend(1);
        if !wanted(&row, work)? {
            continue;
        }
        if rows.len() == limit {
            return Ok(Walked {
                next: Some(row.key()),
                rows,
            });
        }
        rows.push(row);
    }
    Ok(Walked { rows, next: None })
}

/// The rows of one walk, with the next one at hand.
struct Stream<'r, F> {
    head: F,
    rows: Rows<'r>,
}

impl<'r, F: Found> Stream<'r, F> {
    fn open(mut rows: Rows<'r>) -> Result<Option<Self>, IndexError> {
        let head = rows.next()?.map(F::read).transpose()?;
        Ok(head.map(|head| Self { head, rows }))
    }
}

/// The first row of all streams in the order of the walk.
fn take<F: Found>(
    streams: &mut Vec<Stream<'_, F>>,
    is_backwards: bool,
) -> Result<Option<F>, IndexError> {
    let keys = streams
        .iter()
        .enumerate()
        .map(|(at, one)| (one.head.key(), at));
    let first = match is_backwards {
        true => keys.max(),
        false => keys.min(),
    };
    let Some(at) = first.map(|(_, at)| at) else {
        return Ok(None);
    };
    let Some(stream) = streams.get_mut(at) else {
        return Ok(None);
    };
    match stream.rows.next()?.map(F::read).transpose()? {
        Some(next) => Ok(Some(std::mem::replace(&mut stream.head, next))),
        None => Ok(Some(streams.swap_remove(at).head)),
    }
}

/// A page, out of a walk of the list.
///
/// `walk` gives rows from a key on (or from the end of the list), that key included, from new to
/// old or the other way; at most so many. All walks of a page share what it may cost.
pub(super) fn page<F: Found>(
    request: &PageRequest<F::Key>,
    mut walk: impl FnMut(Option<F::Key>, bool, usize) -> Result<Walked<F>, IndexError>,
) -> Result<Page<F, F::Key>, IndexError> {
    let is_backwards = request.is_backwards();
    let walked = walk(request.cursor, is_backwards, request.rows)?;
    if request.direction == Direction::Prev {
        return page_before(request, walked, walk);
    }
    let Some(first) = walked.rows.first().map(Found::key).or(walked.next) else {
        return Ok(Page::default());
    };
    // Nothing is before the beginning.
    let has_prev = request.cursor.is_some() && has_beyond(first, !is_backwards, &mut walk)?;
    Ok(Page {
        rows: walked.rows,
        next: walked.next,
        first: Some(first),
        has_prev,
    })
}

/// Going back: the walk ran against the order of the list, and its first row is where the page
/// that the client comes from begins. That row is left out when the page is full without it.
fn page_before<F: Found>(
    request: &PageRequest<F::Key>,
    walked: Walked<F>,
    mut walk: impl FnMut(Option<F::Key>, bool, usize) -> Result<Walked<F>, IndexError>,
) -> Result<Page<F, F::Key>, IndexError> {
    let Walked { mut rows, next } = walked;
    let is_backwards = request.is_backwards();
    let (mut more, mut after) = (next, None);
    // The row of the cursor may not be in the list any more.
    let has_cursor = rows
        .first()
        .is_some_and(|row| Some(row.key()) == request.cursor);
    if has_cursor && rows.len() == request.rows && next.is_some() {
        // One row further back, and without the one the client has.
        let mut before = walk(next, is_backwards, 1)?;
        more = before.next;
        if let Some(row) = before.rows.pop() {
            after = Some(rows.remove(0).key());
            rows.push(row);
        }
    }
    if let (None, Some(last)) = (after, rows.first().map(Found::key)) {
        after = walk(Some(last), !is_backwards, 1)?.next;
    }
    rows.reverse();
    // A walk that was cut short goes on where it stopped.
    let is_short = rows.len() < request.rows;
    let first = more.filter(|_| is_short).or(rows.first().map(Found::key));
    Ok(Page {
        rows,
        next: after,
        first,
        has_prev: more.is_some(),
    })
}

/// Whether there is a row beyond this one. When the page has cost too much to find out: perhaps.
fn has_beyond<F: Found>(
    key: F::Key,
    is_backwards: bool,
    walk: &mut impl FnMut(Option<F::Key>, bool, usize) -> Result<Walked<F>, IndexError>,
) -> Result<bool, IndexError> {
    let walked = walk(Some(key), is_backwards, 1)?;
    let is_other = |found: &F| found.key() != key;
    Ok(walked.next.is_some() || walked.rows.first().is_some_and(is_other))
}

/// The direction of a walk in SQL.
pub(super) const fn direction(is_backwards: bool) -> &'static str {
    match is_backwards {
        true => "DESC",
        false => "ASC",
    }
}
