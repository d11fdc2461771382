//! Writing the file anew: with what is in force, and behind it what is in quarantine.
//!
//! Of a resource in quarantine the older version that is served is written too, so that a
//! restart serves it again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use outrider_config::snapshot::{Document, Snapshot, Standing, Transaction};

use super::codec::Part;
use super::file::{Next, NotRead, Reader, Writer};
use super::{PartsOf, StateKey, parts_of};

/// A file in the making.
pub(super) struct Anew {
    writer: Writer,
    snapshot: Snapshot,
    parts: PartsOf,
    held: Vec<Document>,
}

impl Anew {
    /// Begins a file of what is in `snapshot`, which has a version.
    pub(super) fn create(path: &Path, key: &StateKey, snapshot: Snapshot) -> io::Result<Self> {
        let version = snapshot.version();
        let version = version.ok_or_else(|| io::Error::other("there is nothing to keep"))?;
        Ok(Self {
            writer: Writer::create(path, key)?,
            snapshot,
            parts: PartsOf::new(version, true),
            held: Vec::new(),
        })
    }

    /// Writes a document, if it still is what the snapshot has.
    pub(super) fn add(&mut self, document: Document) -> io::Result<()> {
        match self.snapshot.standing(&document) {
            Standing::InForce => match self.parts.push(document) {
                Some(part) => self.writer.append([part]),
                None => Ok(()),
            },
            Standing::Held => {
                self.held.push(document);
                Ok(())
            }
            Standing::Past => Ok(()),
        }
    }

    /// Adds the documents of a file, up to this place in it.
    pub(super) fn add_all(
        &mut self,
        from: &Path,
        key: &StateKey,
        end: u64,
        stop: &AtomicBool,
    ) -> io::Result<()> {
        each_document(from, key, end, |document| {
            match stop.load(Ordering::Relaxed) {
                true => Err(io::Error::other("the process is stopping")),
                false => self.add(document),
            }
        })
    }

    /// Adds the documents of a file that are served in place of one in quarantine. The others
    /// are in the transaction that the file is made of; by its revision alone a document of
    /// another journal could pass for one of them.
    pub(super) fn add_older(&mut self, from: &Path, key: &StateKey, end: u64) -> io::Result<()> {
        each_document(from, key, end, |document| {
            let is_replaced = self.snapshot.is_held(document.kind, document.uid);
            match is_replaced && self.snapshot.standing(&document) == Standing::InForce {
                true => self.add(document),
                false => Ok(()),
            }
        })
    }

    /// The finished file.
    pub(super) fn finish(mut self) -> io::Result<Writer> {
        let version = self.parts.version();
        self.writer.append([self.parts.finish()])?;
        if !self.held.is_empty() {
            let held = Transaction {
                version,
                is_full: false,
                upserts: self.held,
                removals: Vec::new(),
            };
            self.writer.append(parts_of(&held))?;
        }
        Ok(self.writer)
    }
}

fn each_document(
    from: &Path,
    key: &StateKey,
    end: u64,
    mut each: impl FnMut(Document) -> io::Result<()>,
) -> io::Result<()> {
    let mut reader = Reader::open(from, key).map_err(|error| match error {
        NotRead::Io(error) => error,
        _ => io::Error::other("the state log is not what it was"),
    })?;
    while reader.offset() < end {
        let part = match reader.next()? {
            Next::Record(bytes) => Part::decode(bytes),
            Next::End | Next::Damaged => None,
        };
        let part = part.ok_or_else(|| io::Error::other("the state log is damaged"))?;
        part.upserts.into_iter().try_for_each(&mut each)?;
    }
    Ok(())
}

/// A compaction under way, in a thread of its own. It ends when this is dropped.
pub(super) struct Compaction {
    thread: Option<JoinHandle<io::Result<Writer>>>,
    stop: Arc<AtomicBool>,
    /// Up to where of the old file it goes: number and place of the first record behind.
    pub(super) until: (u64, u64),
}

impl Compaction {
    /// Begins to write what `snapshot` has of the records of `from` before `until` into `to`.
    pub(super) fn start(
        from: PathBuf,
        to: PathBuf,
        key: StateKey,
        until: (u64, u64),
        snapshot: Snapshot,
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("state-log".into())
            .spawn(move || {
                let mut anew = Anew::create(&to, &key, snapshot)?;
                anew.add_all(&from, &key, until.1, &stopped)?;
                anew.finish()
            })?;
        Ok(Self {
            thread: Some(thread),
            stop,
            until,
        })
    }

    pub(super) fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// The new file; waits for it.
    pub(super) fn finish(mut self) -> io::Result<Writer> {
        let gone = || io::Error::other("the compaction ended with a panic");
        let thread = self.thread.take().ok_or_else(gone)?;
        thread.join().unwrap_or_else(|_| Err(gone()))
    }
}

impl Drop for Compaction {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // its half-written file is overwritten by the next one
        }
    }
}
