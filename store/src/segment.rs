//! One segment: a preallocated file with a header, written at an offset and synced.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use outrider_webhook::id::EventId;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::codec::{Cursor, Malformed};
use crate::dir::{self, FileError};

/// Bytes of a segment's header; records follow.
pub(crate) const HEADER_BYTES: u64 = 64;
const MAGIC: [u8; 8] = *b"OUTRIDER";
/// What the header's fields take before its checksum.
const CHECKED: usize = 60;

/// Header of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) segment: u32,
    pub(crate) node: u16,
    /// Opening of the log in which the segment was made.
    pub(crate) epoch: u64,
    /// Every event in the segment has a larger id. (The exact first id is in its first GROUP:
    /// a segment is made before it is known what will be in it.)
    pub(crate) id_floor: EventId,
    pub(crate) created_ms: i64,
    /// Fingerprint of the salt that the records' checksums start from: with another salt no
    /// record reads, and a whole log would pass for one that was never synced.
    pub(crate) salt_print: u32,
}

/// The fingerprint of a salt; it does not give the salt away.
pub(crate) fn salt_print(salt: u64) -> u32 {
    crc32c::crc32c_append(
        crc32c::crc32c(b"salt of the checksums"),
        &salt.to_le_bytes(),
    )
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&dir::FORMAT.to_le_bytes());
        bytes.extend_from_slice(&self.segment.to_le_bytes());
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        bytes.extend_from_slice(&self.id_floor.raw().to_le_bytes());
        bytes.extend_from_slice(&self.created_ms.to_le_bytes());
        bytes.extend_from_slice(&self.node.to_le_bytes());
        bytes.extend_from_slice(&self.salt_print.to_le_bytes());
        bytes.resize(CHECKED, 0);
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (checked, crc) = bytes
            .split_at_checked(CHECKED)
            .ok_or(Malformed("segment header"))?;
        if Cursor::new(crc).u32()? != crc32c::crc32c(checked) {
            return Err(Malformed("segment header checksum"));
        }
        let mut at = Cursor::new(checked);
        if at.array()? != MAGIC {
            return Err(Malformed("segment magic"));
        }
        if at.u32()? != dir::FORMAT {
            return Err(Malformed("segment format version"));
        }
        Ok(Self {
            segment: at.u32()?,
            epoch: at.u64()?,
            id_floor: EventId::from_raw(at.i64()?).ok_or(Malformed("event id"))?,
            created_ms: at.i64()?,
            node: at.u16()?,
            salt_print: at.u32()?,
        })
    }
}

/// A segment that can be written.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    pub(crate) number: u32,
    pub(crate) bytes: u64,
    file: File,
    #[cfg(test)]
    faults: Faults,
}

impl SegmentFile {
    /// Makes a segment: allocated in full, its header and its name durable.
    pub(crate) fn create(
        dir: &Path,
        header: &SegmentHeader,
        bytes: u64,
    ) -> Result<Self, FileError> {
        let path = dir::segment_path(dir, header.segment);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .map_err(FileError::at("create", &path))?;
        allocate(&file, bytes).map_err(FileError::at("allocate", &path))?;
        file.write_all_at(&header.encode(), 0)
            .map_err(FileError::at("write", &path))?;
        file.sync_all().map_err(FileError::at("sync", &path))?;
        dir::sync_dir(dir)?;
        Ok(Self::new(header.segment, bytes, file))
    }

    /// Opens the last segment of a log again, to go on behind `end`. Whatever is behind it is
    /// cleared, and everything between `proven` and `end` is written once more: after a failed
    /// sync the system may show bytes that never reached the disk and take them for clean.
    pub(crate) fn reopen(
        dir: &Path,
        number: u32,
        bytes: u64,
        proven: u64,
        end: u64,
    ) -> Result<Self, FileError> {
        let path = dir::segment_path(dir, number);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(FileError::at("open", &path))?;
        file.set_len(end)
            .map_err(FileError::at("truncate", &path))?;
        rewrite(&file, proven, end).map_err(FileError::at("write", &path))?;
        allocate(&file, bytes.max(end)).map_err(FileError::at("allocate", &path))?;
        file.sync_all().map_err(FileError::at("sync", &path))?;
        Ok(Self::new(number, bytes.max(end), file))
    }

    /// Writes everything from `from` on once more and syncs it, as [`SegmentFile::reopen`] does.
    pub(crate) fn renew(dir: &Path, number: u32, from: u64) -> Result<(), FileError> {
        let path = dir::segment_path(dir, number);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(FileError::at("open", &path))?;
        let end = file.metadata().map_err(FileError::at("read", &path))?.len();
        rewrite(&file, from, end).map_err(FileError::at("write", &path))?;
        file.sync_all().map_err(FileError::at("sync", &path))
    }

    fn new(number: u32, bytes: u64, file: File) -> Self {
        Self {
            number,
            bytes,
            file,
            #[cfg(test)]
            faults: Faults::default(),
        }
    }

    #[cfg(test)]
    pub(crate) fn with_faults(self, faults: &Faults) -> Self {
        Self {
            faults: faults.clone(),
            ..self
        }
    }

    pub(crate) fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        #[cfg(test)]
        self.faults.on_write()?;
        self.file.write_all_at(bytes, offset)
    }

    /// Through `std`, so that a preloaded shim can stand in for the system in tests.
    pub(crate) fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        self.faults.on_sync()?;
        self.file.sync_data()
    }
}

/// Reserves the blocks of a file up to `bytes`.
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        // Some file systems cannot reserve space. A full disk then shows up as a failed write.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.set_len(bytes),
        Err(error) => Err(error.into()),
    }
}

fn rewrite(file: &File, mut from: u64, end: u64) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    while from < end {
        let len = usize::try_from(end - from)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let Some(part) = buffer.get_mut(..len) else {
            break;
        };
        file.read_exact_at(part, from)?;
        file.write_all_at(part, from)?;
        from += len as u64;
    }
    Ok(())
}

/// Faults a test injects into writing and syncing.
#[cfg(test)]
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    pub(crate) fail_write: std::sync::Arc<std::sync::atomic::AtomicBool>,
    pub(crate) fail_sync: std::sync::Arc<std::sync::atomic::AtomicBool>,
    pub(crate) syncs_tried: std::sync::Arc<std::sync::atomic::AtomicU64>,
    /// Free bytes to report instead of the truth; 0 is the truth.
    pub(crate) free_bytes: std::sync::Arc<std::sync::atomic::AtomicU64>,
}

#[cfg(test)]
impl Faults {
    fn on_write(&self) -> io::Result<()> {
        match self.fail_write.load(std::sync::atomic::Ordering::SeqCst) {
            true => Err(io::Error::other("injected write error")),
            false => Ok(()),
        }
    }

    fn on_sync(&self) -> io::Result<()> {
        self.syncs_tried
            .fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        match self.fail_sync.load(std::sync::atomic::Ordering::SeqCst) {
            true => Err(io::Error::other("injected sync error")),
            false => Ok(()),
        }
    }
}
