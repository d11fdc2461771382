//! Whether the index may have lost writes. It is never synced while it is written: a sync holds
//! up the ones of the log, and what is lost can be made again. A killed process loses nothing, the
//! system writes its pages out; a system that went down may have. So a note, synced before the
//! first write and taken away after everything is synced at the end, says under which boot of
//! the system the index was being written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::IndexError;
use crate::dir::{self, FileError};

/// The kernel's name of this boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

fn note(dir: &Path) -> PathBuf {
    dir.join("unsynced")
}

/// This boot of the system. Where it has no name every end in disorder counts as a power cut.
fn boot() -> String {
    fs::read_to_string(BOOT_ID).unwrap_or_default()
}

/// Whether writes of an earlier boot may be lost.
pub(super) fn is_suspect(dir: &Path) -> Result<bool, IndexError> {
    let path = note(dir);
    match fs::read_to_string(&path) {
        Ok(noted) => Ok(noted.is_empty() || noted != boot()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(FileError::at("read", &path)(error).into()),
    }
}

/// From now on the index is written without syncs.
pub(super) fn begin(dir: &Path, writer: &Connection) -> Result<(), IndexError> {
    let path = note(dir);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .map_err(FileError::at("create", &path))?;
    file.write_all(boot().as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(FileError::at("write", &path))?;
    dir::sync_dir(dir)?;
    writer.pragma_update(None, "synchronous", "OFF")?;
    Ok(())
}

/// Everything that was written is on the disk, and nothing more will be written.
pub(super) fn end(dir: &Path, writer: &Connection) -> Result<(), IndexError> {
    writer.pragma_update(None, "synchronous", "FULL")?;
    let is_busy: bool =
        writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get(0))?;
    if is_busy {
        return Ok(()); // a reader is at work: the note stays
    }
    // Also what earlier checkpoints left to the system.
    let path = super::file(dir);
    let synced = File::open(&path).and_then(|file| file.sync_all());
    synced.map_err(FileError::at("sync", &path))?;
    let path = note(dir);
    fs::remove_file(&path).map_err(FileError::at("remove", &path))?;
    Ok(dir::sync_dir(dir)?)
}
