//! How far the index is, as it is kept with the rows.

use outrider_webhook::id::EventId;
use rusqlite::{Connection, OptionalExtension};

use super::{IndexError, Progress};
use crate::codec::Chain;
use crate::event::Position;

/// Everything before `position` is in the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) position: Position,
    /// The log's hash chain up to there.
    pub(super) chain: Chain,
    /// Every event up to this one is in the tables.
    pub(super) events: EventId,
    /// Time of the newest group, Unix milliseconds.
    pub(super) at_ms: i64,
}

impl Mark {
    pub(super) fn progress(&self) -> Progress {
        Progress {
            position: self.position,
            events: self.events,
            at_ms: self.at_ms,
        }
    }
}

/// The mark as it was found, with what says whether it is to be trusted.
pub(super) struct Found {
    pub(super) mark: Mark,
    /// Which log: the salt of its checksums.
    pub(super) log: u64,
    pub(super) is_clean: bool,
}

/// The mark; `None` in an index that has seen nothing.
pub(super) fn read(connection: &Connection) -> Result<Option<Found>, IndexError> {
    let sql = "SELECT log, segment, place, chain, at, is_clean,
               (SELECT coalesce(max(id), 0) FROM events) FROM mark";
    let found = connection
        .query_row(sql, (), |row| {
            let position = Position {
                segment: row.get(1)?,
                offset: u64::try_from(row.get::<_, i64>(2)?).unwrap_or(0),
            };
            Ok(Found {
                mark: Mark {
                    position,
                    chain: row.get(3)?,
                    events: EventId::from_raw(row.get(6)?).unwrap_or(EventId::ZERO),
                    at_ms: row.get(4)?,
                },
                log: row.get::<_, i64>(0)?.cast_unsigned(),
                is_clean: row.get(5)?,
            })
        })
        .optional()?;
    Ok(found)
}

/// Writes the mark, in the transaction of what it covers.
pub(super) fn write(
    connection: &Connection,
    log: u64,
    mark: &Mark,
    is_clean: bool,
) -> Result<(), IndexError> {
    let sql = "INSERT OR REPLACE INTO mark (one, log, segment, place, chain, at, is_clean)
               VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6)";
    connection.prepare_cached(sql)?.execute((
        log.cast_signed(),
        mark.position.segment,
        i64::try_from(mark.position.offset).unwrap_or(i64::MAX),
        mark.chain,
        mark.at_ms,
        is_clean,
    ))?;
    Ok(())
}

/// A place in one number, ordered as the log is. Segments are at most 2 GiB.
pub(super) fn packed(position: Position) -> i64 {
    let offset = u32::try_from(position.offset).unwrap_or(u32::MAX);
    (i64::from(position.segment) << 32) | i64::from(offset)
}

/// The place of a number.
pub(super) fn unpacked(number: i64) -> Position {
    Position {
        segment: u32::try_from(number >> 32).unwrap_or(0),
        offset: u64::from(u32::try_from(number & i64::from(u32::MAX)).unwrap_or(0)),
    }
}
