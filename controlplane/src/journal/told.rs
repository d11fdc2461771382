//! How far the owners of projects were told of revisions.

use rusqlite::OptionalExtension;

use super::{Journal, JournalError, Revision, number, raw};

const KEY: &str = "told_revision";

impl Journal {
    /// The last revision that was told; `None` when none ever was.
    pub(crate) fn told(&self) -> Result<Option<Revision>, JournalError> {
        let reader = self.reader()?;
        let sql = "SELECT CAST(value AS INTEGER) FROM meta WHERE key = ?1";
        let found: Option<i64> = reader.query_row(sql, [KEY], |row| row.get(0)).optional()?;
        found.map(number).transpose()
    }

    /// Notes that everything up to this revision was told.
    pub(crate) fn set_told(&self, revision: Revision) -> Result<(), JournalError> {
        let sql = "INSERT INTO meta (key, value) VALUES (?1, ?2)
            ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        let text = raw(revision).to_string();
        self.writer().execute(sql, (KEY, text))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_known_after_a_restart() {
        let dir = tempfile::TempDir::new().unwrap();
        let journal = Journal::open(dir.path(), 0).unwrap();
        assert_eq!(journal.told().unwrap(), None);
        for revision in [7, 9] {
            journal.set_told(revision).unwrap();
            assert_eq!(journal.told().unwrap(), Some(revision));
        }
        drop(journal);
        let journal = Journal::open(dir.path(), 0).unwrap();
        assert_eq!(journal.told().unwrap(), Some(9));
    }
}
