//! The configuration in force, kept on disk: what a data plane starts from when there is no
//! control plane to ask (RULINGS 13).
//!
//! A file of one full transaction and the deltas after it, each synced before it is acknowledged.
//! It is sealed with the node's key, since configuration holds secrets. When the deltas outweigh
//! what is in force the file is written anew in the background. A crash leaves a transaction
//! whole or not at all; the control plane sends again what was not acknowledged.

mod codec;
mod compact;
mod file;

#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use outrider_config::snapshot::{Document, Kind, Snapshot, Transaction, Version};
use outrider_webhook::id::Uid;
use zeroize::Zeroizing;

use self::codec::Part;
use self::compact::{Anew, Compaction};
use self::file::{Next, NotRead, Reader, Writer};

const FILE_NAME: &str = "state.log";
/// Bytes of a part, about, unless a single document is larger.
const PART_BYTES: usize = 1 << 20;
/// Deltas that may pile up however little is in force, bytes.
const SLACK_BYTES: u64 = 8 << 20;

/// Seals the state log. Wiped when dropped.
#[derive(Clone)]
pub struct StateKey(Zeroizing<[u8; 32]>);

impl StateKey {
    /// From 64 hexadecimal digits; `None` for anything else.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text, bytes.as_mut_slice()).ok()?;
        Some(Self(bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_slice()
    }
}

/// The state log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateLogError {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It was sealed with another key.
    #[error(
        "{} was sealed with another key: give that one, or remove the file to start over from the control plane",
        .0.display()
    )]
    Key(PathBuf),
    /// It is something else, or of a newer version.
    #[error(
        "{} is no state log of this version: remove it to start over from the control plane",
        .0.display()
    )]
    Foreign(PathBuf),
}

/// The file, open.
pub struct StateLog {
    dir: PathBuf,
    key: StateKey,
    /// `None` before the first transaction, and after a full one that could not be written: then
    /// deltas would be put on what they do not belong to.
    writer: Option<Writer>,
    /// The version of what is in it.
    kept: Option<Version>,
    /// Bytes of the file when it was last written anew.
    full_bytes: u64,
    compaction: Option<Compaction>,
}

impl StateLog {
    /// Reads what was kept in `dir`, which is made when it is missing, and goes on behind it. The
    /// snapshot is empty when nothing was kept. A damaged file is set aside, with an error in the
    /// log: an older configuration than the last acknowledged one is not served. Blocks.
    ///
    /// # Errors
    /// [`StateLogError`].
    pub fn open(dir: PathBuf, key: StateKey) -> Result<(Self, Snapshot), StateLogError> {
        let path = dir.join(FILE_NAME);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| StateLogError::Io { path, source }
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(failed(&dir))?;
        let mut log = Self {
            dir,
            key,
            writer: None,
            kept: None,
            full_bytes: 0,
            compaction: None,
        };
        let reader = match Reader::open(&path, &log.key) {
            Ok(reader) => reader,
            Err(NotRead::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((log, Snapshot::empty()));
            }
            Err(NotRead::Io(source)) => return Err(StateLogError::Io { path, source }),
            Err(NotRead::Key) => return Err(StateLogError::Key(path)),
            Err(NotRead::Foreign) => return Err(StateLogError::Foreign(path)),
        };
        match log.restore(reader) {
            Ok(snapshot) => Ok((log, snapshot)),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(StateLogError::Foreign(path))
            }
            Err(source) => Err(StateLogError::Io { path, source }),
        }
    }

    fn restore(&mut self, mut reader: Reader) -> io::Result<Snapshot> {
        let mut restored = Restored::default();
        loop {
            match reader.next()? {
                Next::End => break,
                Next::Record(bytes) => match Part::decode(bytes) {
                    Some(part) => restored.add(part, &reader),
                    None => return Err(foreign()),
                },
                Next::Damaged => return self.set_aside(),
            }
        }
        let Some((next, offset)) = restored.end else {
            return Ok(Snapshot::empty()); // not even the first transaction is whole
        };
        reader.skip_to(next, offset)?;
        self.full_bytes = restored.full_bytes;
        self.kept = restored.snapshot.version();
        self.writer = Some(Writer::resume(&self.path(), reader)?);
        Ok(restored.snapshot)
    }

    fn set_aside(&self) -> io::Result<Snapshot> {
        let aside = self.dir.join("state.log.damaged");
        fs::rename(self.path(), &aside)?;
        tracing::error!(path = %aside.display(), "the kept configuration is damaged and set aside; the control plane is needed to go on");
        Ok(Snapshot::empty())
    }

    /// Makes a transaction durable; `snapshot` is what it has led to. Blocks.
    ///
    /// # Errors
    /// When it could not be written. After a delta the file is as it was before; after a full
    /// transaction there is none, since the old one would serve what is not in force any more.
    /// See [`StateLog::version`] for where to go on.
    pub fn keep(&mut self, transaction: &Transaction, snapshot: &Snapshot) -> io::Result<()> {
        if transaction.is_full {
            let begun = self.begin_anew(transaction, snapshot);
            if begun.is_err() {
                // Needs no room. What cannot be removed is replaced at the next try.
                let _ = fs::remove_file(self.path());
                (self.writer, self.kept) = (None, None);
            }
            begun?;
        } else if self.has(transaction) {
            return Ok(()); // each connection begins with one that says nothing
        } else {
            let writer = self.writer.as_mut().ok_or_else(no_base)?;
            writer.append(parts_of(transaction))?;
            if let Err(error) = self.compact(snapshot) {
                // What is there stays good, and is tried again when it has doubled.
                tracing::warn!(%error, "the state log could not be compacted");
                self.full_bytes = self.writer.as_ref().map_or(0, Writer::length);
            }
        }
        self.kept = Some(transaction.version);
        Ok(())
    }

    /// Whether a transaction changes nothing, its version included.
    fn has(&self, transaction: &Transaction) -> bool {
        self.kept == Some(transaction.version)
            && transaction.upserts.is_empty()
            && transaction.removals.is_empty()
    }

    /// What is on disk is of no use: everything is needed.
    pub fn forget(&mut self) {
        self.kept = None;
    }

    /// The version on disk; `None` when there is none, and everything is needed.
    #[must_use]
    pub const fn version(&self) -> Option<Version> {
        self.kept
    }

    /// Bytes of the file; 0 when there is none.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.writer.as_ref().map_or(0, Writer::length)
    }

    fn begin_anew(&mut self, transaction: &Transaction, snapshot: &Snapshot) -> io::Result<()> {
        self.compaction = None;
        let old = self.writer.take();
        let mut anew = Anew::create(&self.fresh(), &self.key, snapshot.clone())?;
        if let Some(old) = old
            && snapshot.serves_older()
            && let Err(error) = anew.add_older(&self.path(), &self.key, old.length())
        {
            tracing::warn!(%error, "older versions that are served instead of refused ones are not kept over a restart");
        }
        for document in &transaction.upserts {
            anew.add(document.clone())?;
        }
        let writer = anew.finish()?;
        self.put_in_place(writer)
    }

    fn put_in_place(&mut self, writer: Writer) -> io::Result<()> {
        fs::rename(self.fresh(), self.path())?;
        // From here on the old file is nowhere: what follows goes into the new one.
        self.full_bytes = writer.length();
        self.writer = Some(writer);
        File::open(&self.dir)?.sync_all()
    }

    /// Begins a compaction when it is worth it, and ends one that is done.
    fn compact(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        let Some(writer) = &self.writer else {
            return Ok(());
        };
        match self
            .compaction
            .take_if(|compaction| compaction.is_finished())
        {
            Some(compaction) => self.swap(compaction),
            None if self.compaction.is_none()
                && writer.length() > 2 * self.full_bytes + SLACK_BYTES =>
            {
                let until = (writer.next(), writer.length());
                let (from, to, key) = (self.path(), self.fresh(), self.key.clone());
                let begun = Compaction::start(from, to, key, until, snapshot.clone())?;
                self.compaction = Some(begun);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Copies what came while the compaction ran, and goes on in the new file.
    fn swap(&mut self, compaction: Compaction) -> io::Result<()> {
        let (next, offset) = compaction.until;
        let mut writer = compaction.finish()?;
        let unreadable = |_| io::Error::other("the state log cannot be read back");
        let mut reader = Reader::open(&self.path(), &self.key).map_err(unreadable)?;
        reader.skip_to(next, offset)?;
        let mut parts = Vec::new();
        while reader.offset() < self.bytes() {
            match reader.next()? {
                Next::Record(part) => parts.push(part.to_vec()),
                Next::End | Next::Damaged => return Err(io::Error::other("a record is damaged")),
            }
        }
        writer.append(parts)?;
        self.put_in_place(writer)
    }

    fn path(&self) -> PathBuf {
        self.dir.join(FILE_NAME)
    }

    fn fresh(&self) -> PathBuf {
        self.dir.join("state.log.new")
    }
}

/// Sealed by us, and of a kind that we do not know.
fn foreign() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

fn no_base() -> io::Error {
    io::Error::other("what it changes is not on disk: everything is needed first")
}

/// What is read back, transaction by transaction.
#[derive(Default)]
struct Restored {
    snapshot: Snapshot,
    open: Option<Transaction>,
    /// Behind the last whole transaction: number and place of the next record.
    end: Option<(u64, u64)>,
    full_bytes: u64,
}

impl Restored {
    fn add(&mut self, part: Part, reader: &Reader) {
        let open = self.open.get_or_insert_with(|| Transaction {
            version: part.version,
            is_full: part.is_full,
            upserts: Vec::new(),
            removals: Vec::new(),
        });
        open.upserts.extend(part.upserts);
        open.removals.extend(part.removals);
        if part.is_last
            && let Some(transaction) = self.open.take()
        {
            self.snapshot = self.snapshot.apply(&transaction).0;
            self.end = Some((reader.number(), reader.offset()));
            if transaction.is_full {
                self.full_bytes = reader.offset();
            }
        }
    }
}

/// A transaction, cut into parts.
fn parts_of(transaction: &Transaction) -> Vec<Vec<u8>> {
    let mut parts = PartsOf::new(transaction.version, transaction.is_full);
    let mut done = Vec::new();
    for (kind, uid) in &transaction.removals {
        done.extend(parts.remove(*kind, *uid));
    }
    for document in &transaction.upserts {
        done.extend(parts.push(document.clone()));
    }
    done.push(parts.finish());
    done
}

/// Cuts a transaction into parts.
struct PartsOf {
    part: Part,
    bytes: usize,
}

impl PartsOf {
    fn new(version: Version, is_full: bool) -> Self {
        Self {
            part: Part::new(version, is_full),
            bytes: 0,
        }
    }

    const fn version(&self) -> Version {
        self.part.version
    }

    /// Adds a document; the part before it when that is full.
    fn push(&mut self, document: Document) -> Option<Vec<u8>> {
        let part = self.make_room(codec::bytes_of(&document));
        self.part.upserts.push(document);
        part
    }

    fn remove(&mut self, kind: Kind, uid: Uid) -> Option<Vec<u8>> {
        let part = self.make_room(17);
        self.part.removals.push((kind, uid));
        part
    }

    fn finish(mut self) -> Vec<u8> {
        self.part.is_last = true;
        self.part.encode()
    }

    fn make_room(&mut self, bytes: usize) -> Option<Vec<u8>> {
        let is_full = self.bytes > 0 && self.bytes + bytes > PART_BYTES;
        let next = Part::new(self.part.version, self.part.is_full);
        let part = is_full.then(|| std::mem::replace(&mut self.part, next).encode());
        self.bytes = if is_full { bytes } else { self.bytes + bytes };
        part
    }
}
