//! The directory of a log: its lock, its `meta.json`, and the names of its segments.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use outrider_webhook::id::NodeId;
use serde::{Deserialize, Serialize};

use crate::event::Position;

/// Version of the format this code reads and writes.
pub(crate) const FORMAT: u32 = 1;
const LOCK: &str = "LOCK";
const META: &str = "meta.json";
const META_NEW: &str = "meta.json.new";

/// A file operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct FileError {
    /// What was tried.
    pub action: &'static str,
    /// On which file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl FileError {
    pub(crate) fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self {
            action,
            path,
            source,
        }
    }
}

/// `meta.json` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MetaError {
    /// It cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not what we write.
    #[error("{} is damaged: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Its checksum does not fit: it was damaged, or changed by hand.
    #[error("{} is damaged or was changed by hand: its checksum does not fit", .0.display())]
    Checksum(PathBuf),
    /// There are segments but no `meta.json`, and with it the key of all public ids is gone.
    #[error("{} is missing although there are segments; restore it from a backup", .0.display())]
    Missing(PathBuf),
    /// The log was written by another version.
    #[error("the log has format {found}, this version reads format {FORMAT}")]
    Format {
        /// The format found.
        found: u32,
    },
    /// The log belongs to another node.
    #[error("the log was made by node {found}, this is node {wanted}")]
    Node {
        /// The node that made it.
        found: u16,
        /// The node of the options.
        wanted: u16,
    },
    /// There is no randomness for keys.
    #[error("the system gives no random bytes: {0}")]
    Random(io::Error),
}

/// A damaged stretch of a segment that was given up by a salvage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Damage {
    /// Where it starts.
    pub start: Position,
    /// Where the log goes on.
    pub end: Position,
}

/// Field of the file that holds the checksum of all others.
const CHECKSUM: &str = "crc32c";

/// What is fixed for the life of a log, and its epoch.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Meta {
    pub(crate) format: u32,
    pub(crate) node: u16,
    /// Counts the openings.
    pub(crate) epoch: u64,
    /// Start of every checksum. Unknown to senders, so they cannot plant records in payloads.
    pub(crate) salt: u64,
    /// Key of the public ids.
    #[serde(with = "hex::serde")]
    pub(crate) uid_key: [u8; 32],
    pub(crate) created_ms: i64,
    #[serde(default)]
    pub(crate) salvaged: Vec<Damage>,
}

impl Meta {
    fn create(node: NodeId, now_ms: i64) -> Result<Self, MetaError> {
        let mut random = [0_u8; 40];
        fill_random(&mut random).map_err(MetaError::Random)?;
        let (mut salt, mut uid_key) = ([0; 8], [0; 32]);
        let (head, tail) = random.split_at(8);
        salt.copy_from_slice(head);
        uid_key.copy_from_slice(tail);
        Ok(Self {
            format: FORMAT,
            node: node.get(),
            epoch: 0,
            salt: u64::from_le_bytes(salt),
            uid_key,
            created_ms: now_ms,
            salvaged: Vec::new(),
        })
    }

    /// Reads the file of a log; `None` when there is none.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>, MetaError> {
        let path = dir.join(META);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FileError::at("read", &path)(error).into()),
        };
        let json = |source| MetaError::Json {
            path: path.clone(),
            source,
        };
        // The version decides what the rest may look like, so it is looked at first.
        let mut value: serde_json::Value = serde_json::from_slice(&text).map_err(json)?;
        let format = value.get("format").and_then(serde_json::Value::as_u64);
        if let Some(found) = format
            .and_then(|found| u32::try_from(found).ok())
            .filter(|found| *found != FORMAT)
        {
            return Err(MetaError::Format { found });
        }
        let noted = value
            .as_object_mut()
            .and_then(|fields| fields.remove(CHECKSUM));
        if noted.and_then(|noted| noted.as_u64()) != Some(checksum(&value)) {
            return Err(MetaError::Checksum(path));
        }
        serde_json::from_value(value).map(Some).map_err(json)
    }

    /// Reads the file, or makes the first one of a new log, for this node.
    pub(crate) fn open(
        dir: &Path,
        node: NodeId,
        is_new: bool,
        now_ms: i64,
    ) -> Result<Self, MetaError> {
        match Self::read(dir)? {
            Some(meta) if meta.node != node.get() => Err(MetaError::Node {
                found: meta.node,
                wanted: node.get(),
            }),
            Some(meta) => Ok(meta),
            None if is_new => Self::create(node, now_ms),
            None => Err(MetaError::Missing(dir.join(META))),
        }
    }

    /// Replaces the file as a whole: either the old or the new one survives a crash.
    pub(crate) fn write(&self, dir: &Path) -> Result<(), MetaError> {
        let (path, new) = (dir.join(META), dir.join(META_NEW));
        let json = |source| MetaError::Json {
            path: path.clone(),
            source,
        };
        let mut value = serde_json::to_value(self).map_err(json)?;
        let checksum = checksum(&value);
        if let Some(fields) = value.as_object_mut() {
            fields.insert(CHECKSUM.into(), checksum.into());
        }
        let mut text = serde_json::to_vec_pretty(&value).map_err(json)?;
        text.push(b'\n');
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .map_err(FileError::at("create", &new))?;
        file.write_all(&text)
            .map_err(FileError::at("write", &new))?;
        file.sync_all().map_err(FileError::at("sync", &new))?;
        fs::rename(&new, &path).map_err(FileError::at("replace", &path))?;
        Ok(sync_dir(dir)?)
    }
}

/// Checksum of everything else in the file: one flipped bit in the salt, and no record reads.
fn checksum(value: &serde_json::Value) -> u64 {
    u64::from(crc32c::crc32c(value.to_string().as_bytes()))
}

fn fill_random(bytes: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        filled += rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(())
}

/// Makes the directory, for the owner alone.
pub(crate) fn create(dir: &Path) -> Result<(), FileError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(FileError::at("create", dir))?;
    // The name of the directory must survive a power cut as well as what is in it.
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => sync_dir(Path::new(".")),
    }
}

/// Takes the lock of a log for as long as the file lives; `None` when somebody else has it.
pub(crate) fn lock(dir: &Path) -> Result<Option<File>, FileError> {
    let path = dir.join(LOCK);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(FileError::at("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(FileError::at("lock", &path)(error)),
    }
}

/// What a lock that is not to be made says.
#[derive(Debug)]
pub(crate) enum Held {
    /// Nobody writes for as long as the file lives.
    Ours(File),
    /// There is no lock: nobody has opened this directory.
    Missing,
    /// Somebody else has it.
    Theirs,
}

/// Keeps writers away from a log for as long as the file lives. Changes nothing, needs no right
/// to write, and lets other readers in.
pub(crate) fn lock_for_reading(dir: &Path) -> Result<Held, FileError> {
    let path = dir.join(LOCK);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(Held::Missing),
        Err(error) => return Err(FileError::at("open", &path)(error)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Held::Ours(file)),
        Err(TryLockError::WouldBlock) => Ok(Held::Theirs),
        Err(TryLockError::Error(error)) => Err(FileError::at("lock", &path)(error)),
    }
}

/// Whether there is no such file, or what should be its directory is none.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Where the meta file is.
pub(crate) fn meta_path(dir: &Path) -> PathBuf {
    dir.join(META)
}

/// Makes creations, renames and removals in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), FileError> {
    File::open(dir)
        .and_then(|file| file.sync_all())
        .map_err(FileError::at("sync", dir))
}

/// The file of a segment.
pub(crate) fn segment_path(dir: &Path, segment: u32) -> PathBuf {
    dir.join(format!("{segment:08}.log"))
}

/// Numbers of the segments that exist, in order.
pub(crate) fn segments(dir: &Path) -> Result<Vec<u32>, FileError> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir).map_err(FileError::at("list", dir))? {
        let name = entry.map_err(FileError::at("list", dir))?.file_name();
        let stem = name.to_str().and_then(|name| name.strip_suffix(".log"));
        if let Some(number) = stem
            .filter(|stem| stem.len() >= 8)
            .and_then(|stem| stem.parse().ok())
        {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}
