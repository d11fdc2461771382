//! One file of sealed records.
//!
//! ```text
//! file:   8 magic | u32 format | 16 salt | record 0 | record 1 | ...
//! record: u32 length of what follows the numbers | u64 number | u64 first of its append
//!         | 12 nonce | sealed bytes | 16 tag
//! ```
//!
//! Records are sealed with ChaCha20-Poly1305 (RFC 8439) under a key that HKDF (RFC 5869) makes of
//! the node's key and the salt, so a file has its own. The numbers are sealed with it: a record
//! opens in its place only, and none can be changed, moved or left out unnoticed but the last
//! ones. Nonces are random, not the number, since a record that was cut off half written is
//! followed by another one with its number. Record 0 says nothing: it tells a wrong key from a
//! damaged file.
//!
//! An append of several records is synced once, so a power cut may leave any of them out. A record
//! that does not open was synced, and is damaged, only if somewhere behind it there is one whose
//! append began later.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use bytes::Bytes;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};

use super::StateKey;

const MAGIC: [u8; 8] = *b"OUTRSTAT";
const FORMAT: u32 = 1;
const SALT_BYTES: usize = 16;
const HEADER_BYTES: u64 = 8 + 4 + SALT_BYTES as u64;
const INFO: &[u8] = b"outrider state log";
const FIRST: &[u8] = b"the key fits";
/// A part is near 1 MiB, and a single document is at most 16 MiB.
const RECORD_BYTES_MAX: usize = 32 << 20;
/// Length and numbers.
const FRAME_BYTES: usize = 4 + 8 + 8;

/// What a file is not.
#[derive(Debug)]
pub(super) enum NotRead {
    Io(io::Error),
    /// Written by something else, or in a format of another version.
    Foreign,
    /// Sealed with another key.
    Key,
}

impl From<io::Error> for NotRead {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Seals and opens the records of one file.
struct Seal(LessSafeKey);

impl Seal {
    fn new(key: &StateKey, salt: &[u8]) -> Option<Self> {
        let derived = Salt::new(HKDF_SHA256, salt).extract(key.bytes());
        let key = derived.expand(&[INFO], &CHACHA20_POLY1305).ok()?;
        Some(Self(LessSafeKey::new(UnboundKey::from(key))))
    }

    /// What follows the length: nonce, sealed bytes and tag.
    fn seal(&self, at: At, plain: &[u8]) -> io::Result<Vec<u8>> {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut sealed = Vec::with_capacity(NONCE_LEN + plain.len() + CHACHA20_POLY1305.tag_len());
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let too_much = |_| io::Error::other("a record is too large to be sealed");
        let (_, text) = sealed.split_at_mut(NONCE_LEN);
        let (nonce, place) = (Nonce::assume_unique_for_key(nonce), Aad::from(at.bytes()));
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, place, text)
            .map_err(too_much)?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// The plain bytes; `None` when it is not the record that belongs there.
    fn open(&self, at: At, mut sealed: Vec<u8>) -> Option<Bytes> {
        let (nonce, text) = sealed.split_first_chunk_mut::<NONCE_LEN>()?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self
            .0
            .open_in_place(nonce, Aad::from(at.bytes()), text)
            .ok()?
            .len();
        Some(Bytes::from(sealed).slice(NONCE_LEN..NONCE_LEN + length))
    }
}

/// Which record of the file, and which one was the first of its append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct At {
    number: u64,
    first: u64,
}

impl At {
    fn bytes(self) -> [u8; 16] {
        (u128::from(self.number) | u128::from(self.first) << 64).to_le_bytes()
    }

    /// The numbers and the length in front of a record; `None` when there are too few bytes.
    fn read(frame: &[u8]) -> Option<(Self, usize)> {
        let (length, rest) = frame.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let first = rest.first_chunk()?;
        let at = Self {
            number: u64::from_le_bytes(*number),
            first: u64::from_le_bytes(*first),
        };
        let length = u32::from_le_bytes(*length);
        Some((at, usize::try_from(length).unwrap_or(usize::MAX)))
    }
}

/// Appends records.
pub(super) struct Writer {
    file: File,
    seal: Seal,
    next: u64,
    /// Up to here everything is written and synced.
    length: u64,
}

impl Writer {
    /// A new file, with record 0.
    pub(super) fn create(path: &Path, key: &StateKey) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        let salt: [u8; SALT_BYTES] = rand::random();
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(&FORMAT.to_le_bytes());
        header.extend_from_slice(&salt);
        file.write_all(&header)?;
        let mut writer = Self {
            seal: Seal::new(key, &salt).ok_or_else(|| io::Error::other("no key can be made"))?,
            file,
            next: 0,
            length: HEADER_BYTES,
        };
        writer.append([FIRST.to_vec()])?;
        Ok(writer)
    }

    /// Goes on behind the records that `reader` has read; what is behind them is cut off.
    pub(super) fn resume(path: &Path, reader: Reader) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        file.set_len(reader.offset)?;
        file.sync_all()?;
        Ok(Self {
            file,
            seal: reader.seal,
            next: reader.next,
            length: reader.offset,
        })
    }

    /// Appends records and syncs them: all or, after an error, none.
    pub(super) fn append(&mut self, parts: impl IntoIterator<Item = Vec<u8>>) -> io::Result<()> {
        let (mut next, mut length) = (self.next, self.length);
        self.file.set_len(length)?; // an earlier call may have failed half way
        self.file.seek(SeekFrom::Start(length))?;
        for part in parts {
            let at = At {
                number: next,
                first: self.next,
            };
            let sealed = self.seal.seal(at, &part)?;
            let framed = u32::try_from(sealed.len()).map_err(io::Error::other)?;
            self.file.write_all(&framed.to_le_bytes())?;
            self.file.write_all(&at.bytes())?;
            self.file.write_all(&sealed)?;
            next += 1;
            length += FRAME_BYTES as u64 + u64::from(framed);
        }
        self.file.sync_data()?;
        (self.next, self.length) = (next, length);
        Ok(())
    }

    /// One that can write nothing: its file is open for reading.
    #[cfg(test)]
    pub(super) fn broken(path: &Path, key: &StateKey) -> Self {
        let reader = Reader::open(path, key).unwrap();
        Self {
            file: File::open(path).unwrap(),
            seal: reader.seal,
            next: reader.next,
            length: reader.offset,
        }
    }

    /// Bytes of the file.
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    /// The number of the next record.
    pub(super) const fn next(&self) -> u64 {
        self.next
    }
}

/// What comes next in a file.
pub(super) enum Next {
    Record(Bytes),
    /// Nothing more, or what was never synced.
    End,
    /// A record that was synced and does not open.
    Damaged,
}

/// Reads records, one after the other.
pub(super) struct Reader {
    file: BufReader<File>,
    seal: Seal,
    next: u64,
    offset: u64,
}

impl Reader {
    /// Opens a file behind its record 0.
    pub(super) fn open(path: &Path, key: &StateKey) -> Result<Self, NotRead> {
        let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
        let mut header = Vec::new();
        file.by_ref().take(HEADER_BYTES).read_to_end(&mut header)?;
        let rest = header.strip_prefix(&MAGIC).ok_or(NotRead::Foreign)?;
        let (format, salt) = rest.split_first_chunk().ok_or(NotRead::Foreign)?;
        if u32::from_le_bytes(*format) != FORMAT || salt.len() != SALT_BYTES {
            return Err(NotRead::Foreign);
        }
        let mut reader = Self {
            file,
            seal: Seal::new(key, salt).ok_or(NotRead::Key)?,
            next: 0,
            offset: HEADER_BYTES,
        };
        match reader.next()? {
            Next::Record(first) if first == FIRST => Ok(reader),
            _ => Err(NotRead::Key),
        }
    }

    /// Goes to a record whose place is known.
    pub(super) fn skip_to(&mut self, next: u64, offset: u64) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(offset))?;
        (self.next, self.offset) = (next, offset);
        Ok(())
    }

    /// The number of the next record.
    pub(super) const fn number(&self) -> u64 {
        self.next
    }

    /// Where the next record begins.
    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    /// The next record.
    pub(super) fn next(&mut self) -> io::Result<Next> {
        if let Some((at, sealed)) = self.framed()?
            && at.number == self.next
        {
            let length = FRAME_BYTES + sealed.len();
            if let Some(plain) = self.seal.open(at, sealed) {
                self.next += 1;
                self.offset += length as u64;
                return Ok(Next::Record(plain));
            }
        }
        self.file.seek(SeekFrom::Start(self.offset))?;
        let mut rest = Vec::new();
        self.file.read_to_end(&mut rest)?;
        Ok(match self.was_synced(&rest) {
            true => Next::Damaged,
            false => Next::End,
        })
    }

    /// Whether some record in `rest` was appended after the record that is missing in front.
    fn was_synced(&self, rest: &[u8]) -> bool {
        (1..rest.len()).any(|start| {
            let frame = rest.get(start..).unwrap_or_default();
            let Some((at, length)) = At::read(frame) else {
                return false;
            };
            // Almost nothing else looks like this, so next to nothing is opened in vain.
            let is_later = at.first > self.next && at.first <= at.number;
            let sealed = frame.get(FRAME_BYTES..FRAME_BYTES.saturating_add(length));
            let sealed = sealed.filter(|_| is_later && length <= RECORD_BYTES_MAX);
            sealed.is_some_and(|sealed| self.seal.open(at, sealed.to_vec()).is_some())
        })
    }

    /// The bytes of a record, opened or not; `None` when the file ends before it does.
    fn framed(&mut self) -> io::Result<Option<(At, Vec<u8>)>> {
        let mut frame = Vec::with_capacity(FRAME_BYTES);
        self.file
            .by_ref()
            .take(FRAME_BYTES as u64)
            .read_to_end(&mut frame)?;
        let Some((at, length)) = At::read(&frame).filter(|(_, length)| *length <= RECORD_BYTES_MAX)
        else {
            return Ok(None);
        };
        let mut sealed = Vec::with_capacity(length);
        self.file
            .by_ref()
            .take(length as u64)
            .read_to_end(&mut sealed)?;
        Ok((sealed.len() == length).then_some((at, sealed)))
    }
}
