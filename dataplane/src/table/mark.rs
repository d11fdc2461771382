//! Which configuration journal this data plane last followed, and since when: kept on disk.
//!
//! Revisions of different journals cannot be compared. When the control plane comes back with
//! another journal (a lost or restored one), what older events were routed to may be missing in
//! it without anybody having deleted it; such deliveries are held, never discarded.

use std::fs;
use std::io;
use std::path::PathBuf;

use outrider_webhook::id::Uid;
use serde::{Deserialize, Serialize};

use crate::note;

/// A journal, and when it was followed first (Unix milliseconds; 0 for the first one ever).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) journal: Uid,
    pub(super) since_ms: i64,
}

/// The mark in its file.
pub(super) struct MarkFile {
    path: PathBuf,
    mark: Option<Mark>,
}

impl MarkFile {
    /// Reads the mark; none when there is no file yet.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let mark = match fs::read(&path) {
            Ok(bytes) => Some(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Self { path, mark })
    }

    /// Whether this journal was the last one followed.
    pub(super) fn is_of(&self, journal: Uid) -> bool {
        self.mark.is_some_and(|mark| mark.journal == journal)
    }

    /// Since when the present journal is followed.
    pub(super) fn since_ms(&self) -> i64 {
        self.mark.map_or(0, |mark| mark.since_ms)
    }

    /// Notes that `journal` is followed now. Blocks for a moment when it is another one.
    pub(super) fn follow(&mut self, journal: Uid, now_ms: i64) -> io::Result<()> {
        let since_ms = match self.mark {
            Some(mark) if mark.journal == journal => return Ok(()),
            Some(_) => now_ms,
            None => 0,
        };
        let mark = Mark { journal, since_ms };
        self.mark = Some(mark);
        note::replace(&self.path, &serde_json::to_vec(&mark)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_change_of_journal_moves_the_mark_and_it_survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let open = || MarkFile::open(dir.path().join("journal.json")).unwrap();
        let (one, two) = (Uid::from_bits(1), Uid::from_bits(2));
        let mut file = open();
        file.follow(one, 100).unwrap();
        assert_eq!(
            file.since_ms(),
            0,
            "the first journal ever has always been followed"
        );
        file.follow(one, 200).unwrap();
        assert_eq!(open().since_ms(), 0);
        let mut file = open();
        file.follow(two, 300).unwrap();
        assert_eq!((file.since_ms(), open().since_ms()), (300, 300));
    }

    #[test]
    fn a_damaged_mark_is_an_error_and_not_a_first_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.json");
        std::fs::write(&path, "{").unwrap();
        assert!(MarkFile::open(path).is_err());
    }
}
