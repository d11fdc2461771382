//! A segment's file, read in large parts.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::dir::{self, FileError};

/// Bytes read at once.
pub(super) const WINDOW_BYTES: usize = 1 << 20;

/// A part of a file in memory.
#[derive(Debug)]
pub(crate) struct Window {
    file: File,
    path: PathBuf,
    buffer: Vec<u8>,
    /// Bytes of the buffer that are of the file, from `start` on.
    filled: usize,
    start: u64,
}

impl Window {
    /// Opens a segment; `None` when there is no such file.
    pub(crate) fn open(dir: &Path, segment: u32) -> Result<Option<Self>, FileError> {
        let path = dir::segment_path(dir, segment);
        match File::open(&path) {
            Ok(file) => Ok(Some(Self {
                file,
                path,
                buffer: Vec::new(),
                filled: 0,
                start: 0,
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FileError::at("open", &path)(error)),
        }
    }

    /// Up to `len` bytes from `offset`; fewer at the end of the file.
    pub(crate) fn get(&mut self, offset: u64, len: usize) -> Result<&[u8], FileError> {
        if self.held(offset).len() < len {
            self.fill(offset, len.max(WINDOW_BYTES))
                .map_err(FileError::at("read", &self.path))?;
        }
        let held = self.held(offset);
        Ok(held.get(..len).unwrap_or(held))
    }

    /// Drops what is in memory: the file has changed.
    pub(crate) fn forget(&mut self) {
        self.filled = 0;
    }

    fn held(&self, offset: u64) -> &[u8] {
        let skip = offset
            .checked_sub(self.start)
            .and_then(|skip| usize::try_from(skip).ok());
        skip.and_then(|skip| self.buffer.get(skip..self.filled))
            .unwrap_or_default()
    }

    fn fill(&mut self, offset: u64, len: usize) -> io::Result<()> {
        if self.buffer.len() < len || self.buffer.len() > 4 * len {
            self.buffer = vec![0; len];
        }
        (self.start, self.filled) = (offset, 0);
        while let Some(rest) = self
            .buffer
            .get_mut(self.filled..)
            .filter(|rest| !rest.is_empty())
        {
            match self.file.read_at(rest, offset + self.filled as u64) {
                Ok(0) => break,
                Ok(read) => self.filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Where data may be from `offset` on; `None` when there are only holes.
    pub(super) fn next_data(&self, offset: u64) -> Option<u64> {
        match rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Data(offset)) {
            Ok(found) => Some(found.max(offset)),
            Err(rustix::io::Errno::NXIO) => None,
            Err(_) => Some(offset), // not known on this file system: look at everything
        }
    }
}
