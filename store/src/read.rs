//! Reading one event back from its place.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use outrider_webhook::event::Target;

use crate::codec::{
    Entry, GROUP_BYTES, GroupHead, Malformed, PREFIX, PayloadCheck, Prefix, RawRecord, Seed, flag,
    kind, stored_event, targets_of,
};
use crate::dir::{self, FileError};
use crate::event::{Position, StoredEvent, Targets};
use crate::scan::Window;
use crate::segment::HEADER_BYTES;

/// Read first; most records are smaller, and then one read is enough.
const FIRST_READ_BYTES: usize = 4096;
/// Open segment files kept.
const FILES_MAX: usize = 64;
/// Long target lists kept, so that an event of many thousands of deliveries is not read in full
/// for each of them.
const LISTS_MAX: usize = 8;

/// An event could not be read back.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Its segment was dropped by retention, or its payload was erased.
    #[error("the event at {0} is gone")]
    Gone(Position),
    /// What is there is not what was written.
    #[error("the event at {position} is damaged: {what}")]
    Corrupt {
        /// Where.
        position: Position,
        /// What is wrong.
        what: Malformed,
    },
    /// The file cannot be read just now.
    #[error(transparent)]
    File(#[from] FileError),
    /// The reading task was stopped.
    #[error("reading was interrupted")]
    Interrupted,
}

impl ReadError {
    /// Stable code for metric labels.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Gone(_) => "payload_gone",
            Self::Corrupt { .. } => "payload_corrupt",
            Self::File(_) => "io",
            Self::Interrupted => "interrupted",
        }
    }

    /// Whether trying again cannot help.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        matches!(self, Self::Gone(_) | Self::Corrupt { .. })
    }
}

/// Reads events of a log. Keeps what is expensive to get again.
#[derive(Debug)]
pub(crate) struct Reader {
    dir: PathBuf,
    salt: u64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    files: VecDeque<(u32, Arc<File>)>,
    lists: VecDeque<(Position, Targets)>,
}

impl Reader {
    pub(crate) fn new(dir: &Path, salt: u64) -> Self {
        Self {
            dir: dir.to_owned(),
            salt,
            kept: Mutex::default(),
        }
    }

    /// The event whose ACCEPT record is at `position`, with all its targets. Blocks.
    pub(crate) fn event(&self, position: Position) -> Result<StoredEvent, ReadError> {
        self.whole_event(position, false)
    }

    /// As [`Reader::event`]; an erased one comes without its payload.
    fn event_or_erased(&self, position: Position) -> Result<StoredEvent, ReadError> {
        self.whole_event(position, true)
    }

    fn whole_event(
        &self,
        position: Position,
        may_be_erased: bool,
    ) -> Result<StoredEvent, ReadError> {
        let file = self.file(position)?;
        let bytes = read_record(&file, position).map_err(|error| self.failed(error, position))?;
        let seed = Seed::new(self.salt, position.segment);
        let corrupt = |what| ReadError::Corrupt { position, what };
        let (record, check) = RawRecord::check(&bytes, seed).map_err(corrupt)?;
        if record.prefix.kind != kind::ACCEPT || record.prefix.is_reserved() {
            return Err(corrupt(Malformed("kind")));
        }
        if check == PayloadCheck::Zeroed && !may_be_erased {
            return Err(ReadError::Gone(position));
        }
        let (mut event, total) = stored_event(&record, check, position, &bytes).map_err(corrupt)?;
        if !record.prefix.has(flag::END) {
            let end = Position {
                offset: position.offset + bytes.len() as u64,
                ..position
            };
            event.targets = self.all_targets(&event, end, total)?;
        }
        Ok(event)
    }

    /// The record at `position`, whatever it is; of an event the targets that are in it, not
    /// those that follow. An erased payload gives a record without one. Blocks.
    pub(crate) fn entry_head(&self, position: Position) -> Result<Entry, ReadError> {
        let file = self.file(position)?;
        let bytes = read_record(&file, position).map_err(|error| self.failed(error, position))?;
        let seed = Seed::new(self.salt, position.segment);
        let corrupt = |what| ReadError::Corrupt { position, what };
        let (record, check) = RawRecord::check(&bytes, seed).map_err(corrupt)?;
        Entry::decode(&record, check, position, &bytes).map_err(corrupt)
    }

    /// One target of the event whose ACCEPT is at `position`. Blocks.
    pub(crate) fn target(&self, position: Position, ordinal: u32) -> Result<Target, ReadError> {
        let event = self.event_or_erased(position)?;
        let ordinal = usize::try_from(ordinal).unwrap_or(usize::MAX);
        let target = event.targets.get(ordinal).cloned();
        target.ok_or(ReadError::Corrupt {
            position,
            what: Malformed("ordinal"),
        })
    }

    fn failed(&self, error: io::Error, position: Position) -> ReadError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => ReadError::Corrupt {
                position,
                what: Malformed("length"),
            },
            _ => {
                FileError::at("read", &dir::segment_path(&self.dir, position.segment))(error).into()
            }
        }
    }

    fn file(&self, position: Position) -> Result<Arc<File>, ReadError> {
        let segment = position.segment;
        if let Some((_, file)) = self
            .kept()
            .files
            .iter()
            .find(|(number, _)| *number == segment)
        {
            return Ok(Arc::clone(file));
        }
        let path = dir::segment_path(&self.dir, segment);
        let file = match File::open(&path) {
            Ok(file) => Arc::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ReadError::Gone(position));
            }
            Err(error) => return Err(FileError::at("open", &path)(error).into()),
        };
        let mut kept = self.kept();
        kept.files.push_front((segment, Arc::clone(&file)));
        kept.files.truncate(FILES_MAX);
        Ok(file)
    }

    /// Forgets the segments before `first`: their files are deleted.
    pub(crate) fn forget_before(&self, first: u32) {
        self.kept().files.retain(|(segment, _)| *segment >= first);
    }

    fn all_targets(
        &self,
        event: &StoredEvent,
        end: Position,
        total: u32,
    ) -> Result<Targets, ReadError> {
        let at = event.position;
        if let Some((_, list)) = self
            .kept()
            .lists
            .iter()
            .find(|(position, _)| *position == at)
        {
            return Ok(list.clone());
        }
        let list = Targets::from(self.read_targets(event, end)?);
        if u32::try_from(list.len()) != Ok(total) {
            return Err(ReadError::Corrupt {
                position: at,
                what: Malformed("targets"),
            });
        }
        let mut kept = self.kept();
        kept.lists.push_front((at, list.clone()));
        kept.lists.truncate(LISTS_MAX);
        Ok(list)
    }

    /// Follows the TARGETS records of an event, over groups and segments, to the last one.
    fn read_targets(
        &self,
        event: &StoredEvent,
        mut at: Position,
    ) -> Result<Vec<Target>, ReadError> {
        let missing = ReadError::Corrupt {
            position: event.position,
            what: Malformed("targets"),
        };
        let mut list = event.targets.to_vec();
        let Some(mut window) = Window::open(&self.dir, at.segment)? else {
            return Err(missing);
        };
        loop {
            let seed = Seed::new(self.salt, at.segment);
            if GroupHead::decode(window.get(at.offset, GROUP_BYTES)?, seed).is_ok() {
                at.offset += GROUP_BYTES as u64;
            }
            let len =
                Prefix::decode(window.get(at.offset, PREFIX)?).map_or(0, |prefix| prefix.len());
            match RawRecord::check_head(window.get(at.offset, len)?, seed) {
                Ok(record)
                    if record.prefix.kind == kind::TARGETS
                        && record.prefix.id == event.id.raw() =>
                {
                    list.extend(targets_of(&record).map_err(|_| ReadError::Corrupt {
                        position: at,
                        what: Malformed("targets"),
                    })?);
                    if record.prefix.has(flag::END) {
                        return Ok(list);
                    }
                    at.offset += len as u64;
                }
                Ok(_) => return Err(missing),
                // The end of a segment.
                Err(_) if at.offset == HEADER_BYTES => return Err(missing),
                Err(_) => {
                    at = Position {
                        segment: at.segment.saturating_add(1),
                        offset: HEADER_BYTES,
                    };
                    match Window::open(&self.dir, at.segment)? {
                        Some(next) => window = next,
                        None => return Err(missing),
                    }
                }
            }
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The event at a position of a log that nobody has open yet.
pub(crate) fn event_at(
    dir: &Path,
    salt: u64,
    position: Position,
) -> Result<StoredEvent, ReadError> {
    Reader::new(dir, salt).event(position)
}

/// The bytes of a record; its length is believed only as far as the file goes.
fn read_record(file: &File, position: Position) -> io::Result<Bytes> {
    let mut bytes = vec![0; FIRST_READ_BYTES];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, position.offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    let prefix = Prefix::decode(&bytes).map_err(|_| io::ErrorKind::InvalidData)?;
    let room = file.metadata()?.len().saturating_sub(position.offset);
    if u64::from(prefix.len) > room {
        return Err(io::ErrorKind::InvalidData.into());
    }
    bytes.resize(prefix.len(), 0);
    if let Some(rest) = bytes.get_mut(filled..) {
        file.read_exact_at(rest, position.offset + filled as u64)?;
    }
    Ok(bytes.into())
}
