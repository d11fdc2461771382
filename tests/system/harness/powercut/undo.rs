//! Undoing changes, newest first.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::notes::{self, Note, What};

/// What a disk writes as a whole or not at all.
const SECTOR_BYTES: u64 = 512;

/// Undoes what was written below `dirs` and never synced, except where a piece `survives`: the
/// state it is in then is the one that reached the disk, so nothing older is looked at. How many
/// changes were undone, in whole or in part.
pub(super) fn writes(
    notes: &[Note<'_>],
    dirs: &[&Path],
    survives: &mut impl FnMut() -> bool,
) -> usize {
    let synced = notes::synced_files(notes);
    let mut files = Files::below(dirs);
    let mut undone = 0;
    for note in notes.iter().rev() {
        let (What::Wrote { file, .. } | What::Resized { file, .. }) = note.what else {
            continue;
        };
        if note.position < synced.get(&file).copied().unwrap_or(0) {
            continue;
        }
        let Some(file) = files.open(file) else {
            continue; // gone with its name: made and removed in this boot
        };
        let is_undone = match note.what {
            What::Wrote {
                at,
                span,
                old_len,
                old,
                ..
            } => {
                let is_shortened = at + span > old_len && file.undo_length(old_len, survives);
                // What is behind the end is no bytes of the file, whatever the disk holds there.
                file.undo_bytes(at, span, old, survives) || is_shortened
            }
            What::Resized {
                len, old_len, cut, ..
            } => {
                let is_resized = file.undo_length(old_len, survives);
                if is_resized {
                    file.undo_bytes(len, cut.len() as u64, cut, &mut || false);
                }
                is_resized
            }
            _ => false,
        };
        undone += usize::from(is_undone);
    }
    undone
}

/// Undoes changes of names, newest first. Each finds the names as they were right after it.
pub(super) fn names(lost: &[Note<'_>], kept: &Path) {
    let restore = |position: u64, path: &Path| {
        match fs::hard_link(kept.join(position.to_string()), path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {} // there was no such file
            other => other.unwrap(),
        }
    };
    for note in lost.iter().rev() {
        // A process that was killed between note and change has not made the change.
        match note.what {
            What::Created(path) => drop(fs::remove_file(path)),
            What::MadeDir(path) => drop(fs::remove_dir_all(path)),
            What::Removed(path) if !path.exists() => restore(note.position, path),
            What::Renamed(from, to) if !from.exists() => {
                fs::rename(to, from).unwrap();
                restore(note.position, to);
            }
            _ => {}
        }
    }
}

/// The files there are, by inode.
struct Files {
    paths: HashMap<u64, PathBuf>,
    open: HashMap<u64, Restored>,
}

impl Files {
    fn below(dirs: &[&Path]) -> Self {
        let mut paths = HashMap::new();
        for dir in dirs {
            list(dir, &mut paths);
        }
        Self {
            paths,
            open: HashMap::new(),
        }
    }

    fn open(&mut self, inode: u64) -> Option<&mut Restored> {
        let path = self.paths.get(&inode)?;
        let open = || Restored {
            file: OpenOptions::new().write(true).open(path).unwrap(),
            has_length: false,
            sectors: HashSet::new(),
        };
        Some(self.open.entry(inode).or_insert_with(open))
    }
}

fn list(dir: &Path, paths: &mut HashMap<u64, PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else {
        return; // not made yet
    };
    for entry in entries {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() {
            list(&entry.path(), paths);
        } else {
            paths.insert(metadata.ino(), entry.path());
        }
    }
}

/// A file on its way back, and what of it is as it reached the disk.
struct Restored {
    file: File,
    has_length: bool,
    sectors: HashSet<u64>,
}

impl Restored {
    fn undo_length(&mut self, old_len: u64, survives: &mut impl FnMut() -> bool) -> bool {
        if self.has_length || survives() {
            self.has_length = true;
            return false;
        }
        self.file.set_len(old_len).unwrap();
        true
    }

    /// Writes `old`, and zeros behind it, over `span` bytes; never beyond the end.
    fn undo_bytes(
        &mut self,
        at: u64,
        span: u64,
        old: &[u8],
        survives: &mut impl FnMut() -> bool,
    ) -> bool {
        let end = (at + span).min(self.file.metadata().unwrap().len());
        let (mut from, mut is_undone) = (at, false);
        while from < end {
            let sector = from / SECTOR_BYTES;
            let next = end.min((sector + 1) * SECTOR_BYTES);
            if !self.sectors.contains(&sector) {
                if survives() {
                    self.sectors.insert(sector);
                } else {
                    let skip = usize::try_from(from - at).unwrap();
                    let mut piece = vec![0; usize::try_from(next - from).unwrap()];
                    let old = old.get(skip..).unwrap_or_default();
                    let count = old.len().min(piece.len());
                    piece[..count].copy_from_slice(&old[..count]);
                    self.file.write_all_at(&piece, from).unwrap();
                    is_undone = true;
                }
            }
            from = next;
        }
        is_undone
    }
}
