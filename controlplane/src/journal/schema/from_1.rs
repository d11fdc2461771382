//! From schema 1, which knew only resource files: no times, no columns to filter by, and names
//! that were unique among all resources of a kind.

use outrider_config::Kind;
use rusqlite::Connection;

use super::super::columns::Columns;
use super::super::{JournalError, kind_of};
use super::RESOURCES;

/// A resource was made by its last creation: a uid may have been removed and used again.
const OLD_RESOURCES: &str = "
    SELECT o.uid, o.kind, o.project, o.origin, o.revision, o.document,
        coalesce(
            (SELECT r.at FROM changes c JOIN revisions r ON r.number = c.revision
             WHERE c.uid = o.uid AND c.op = 'create' ORDER BY c.revision DESC LIMIT 1),
            (SELECT r.at FROM revisions r WHERE r.number = o.revision), 0),
        coalesce((SELECT r.at FROM revisions r WHERE r.number = o.revision), 0)
    FROM resources_1 o";

/// Makes the tables of today out of those of schema 1.
pub(super) fn migrate(transaction: &Connection) -> Result<(), JournalError> {
    transaction.execute_batch(
        "DROP INDEX resources_by_name;
         DROP INDEX projects_by_name;
         DROP INDEX resources_by_owner;
         ALTER TABLE resources RENAME TO resources_1;",
    )?;
    transaction.execute_batch(RESOURCES)?;
    let mut old = transaction.prepare(OLD_RESOURCES)?;
    let mut insert = transaction.prepare(
        "INSERT INTO resources (uid, kind, project, origin, revision, document, created_ms, updated_ms,
            name, folded, owner, endpoint, source, source_type, provider)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
    )?;
    let mut rows = old.query(())?;
    while let Some(row) = rows.next()? {
        let (kind, spec): (String, Vec<u8>) = (row.get(1)?, row.get(5)?);
        let kind: Kind = kind_of(&kind)?;
        let columns = Columns::of(kind, &spec)?;
        insert.execute((
            row.get::<_, String>(0)?,
            kind.as_str(),
            row.get::<_, String>(2)?,
            row.get::<_, String>(3)?,
            row.get::<_, i64>(4)?,
            spec,
            row.get::<_, i64>(6)?,
            row.get::<_, i64>(7)?,
            columns.name,
            columns.folded,
            columns.owner,
            columns.endpoint,
            columns.source,
            columns.source_type,
            columns.provider,
        ))?;
    }
    drop(rows);
    transaction.execute_batch("DROP TABLE resources_1;")?;
    Ok(())
}
