//! How far the index is, as it is kept with the rows.

use outrider_webhook::id::EventId;
use rusqlite::{Connection, OptionalExtension};

use super::IndexError;
use crate::codec::Chain;
use crate::event::Position;

/// Everything before `position` is in the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// Which log: the salt of its checksums.
    pub(super) log: u64,
    pub(super) position: Position,
    /// The log's hash chain up to there.
    pub(super) chain: Chain,
    /// An event that is in the tables although its last target has not come yet: not accepted,
    /// and not to be shown.
    pub(super) open: Option<EventId>,
}

/// The mark that a connection sees; `None` in an index that has seen nothing.
pub(super) fn read(connection: &Connection) -> Result<Option<Mark>, IndexError> {
    let sql = "SELECT log, segment, place, chain, open FROM mark";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_row((), |row| {
        Ok(Mark {
            log: row.get::<_, i64>(0)?.cast_unsigned(),
            position: Position {
                segment: row.get(1)?,
                offset: u64::try_from(row.get::<_, i64>(2)?).unwrap_or(0),
            },
            chain: row.get(3)?,
            open: EventId::from_raw(row.get(4)?).filter(|id| *id > EventId::ZERO),
        })
    });
    Ok(found.optional()?)
}

/// Writes the mark, in the transaction of what it covers.
pub(super) fn write(connection: &Connection, mark: &Mark) -> Result<(), IndexError> {
    let sql = "INSERT OR REPLACE INTO mark (one, log, segment, place, chain, open)
               VALUES (1, ?1, ?2, ?3, ?4, ?5)";
    connection.prepare_cached(sql)?.execute((
        mark.log.cast_signed(),
        mark.position.segment,
        i64::try_from(mark.position.offset).unwrap_or(i64::MAX),
        mark.chain,
        mark.open.map_or(0, EventId::raw),
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
