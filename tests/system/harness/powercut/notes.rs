//! The shim's notes, read back. Their layout is `struct note` in `tests/powercut/shim.c`.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const MAGIC: u32 = 0x5455_4350;
const HEAD_BYTES: usize = 48;

/// One note.
#[derive(Debug, Clone, Copy)]
pub(super) struct Note<'n> {
    /// Where it starts in the journal: what is durable is said by position.
    pub(super) position: u64,
    pub(super) what: What<'n>,
}

/// What it is about; `file` is an inode.
#[derive(Debug, Clone, Copy)]
pub(super) enum What<'n> {
    /// `span` bytes at `at`, where `old` was; the rest was behind the end at `old_len`.
    Wrote {
        file: u64,
        at: u64,
        span: u64,
        old_len: u64,
        old: &'n [u8],
    },
    /// A new length; `cut` is what was behind it.
    Resized {
        file: u64,
        len: u64,
        old_len: u64,
        cut: &'n [u8],
    },
    Created(&'n Path),
    Renamed(&'n Path, &'n Path),
    Removed(&'n Path),
    MadeDir(&'n Path),
    /// All notes about the file before a position are durable.
    Synced {
        file: u64,
        before: u64,
    },
    /// All names in the directory noted before a position are durable.
    SyncedDir {
        dir: &'n Path,
        before: u64,
    },
}

impl What<'_> {
    /// The name that it changes, if it changes one.
    fn name(&self) -> Option<&Path> {
        match self {
            Self::Created(path)
            | Self::Renamed(_, path)
            | Self::Removed(path)
            | Self::MadeDir(path) => Some(path),
            _ => None,
        }
    }
}

/// All whole notes, and where they end. One that is not whole can only be the last one.
pub(super) fn parse(bytes: &[u8]) -> (Vec<Note<'_>>, usize) {
    let (mut notes, mut at) = (Vec::new(), 0);
    while let Some((what, len)) = parse_one(&bytes[at..]) {
        notes.push(Note {
            position: at as u64,
            what,
        });
        at += len;
    }
    (notes, at)
}

fn parse_one(bytes: &[u8]) -> Option<(What<'_>, usize)> {
    let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
    let u32_at = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap());
    let u64_at = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().unwrap());
    assert_eq!(u32_at(0), MAGIC, "no note");
    let (a_len, b_len) = (u32_at(40) as usize, u32_at(44) as usize);
    let (a, rest) = rest.split_at_checked(a_len)?;
    let (b, _) = rest.split_at_checked(b_len)?;
    let (file, at, span, old_len) = (u64_at(8), u64_at(16), u64_at(24), u64_at(32));
    let path = |bytes| Path::new(OsStr::from_bytes(bytes));
    let what = match u32_at(4) {
        1 => What::Wrote {
            file,
            at,
            span,
            old_len,
            old: a,
        },
        2 => What::Resized {
            file,
            len: at,
            old_len,
            cut: a,
        },
        3 => What::Created(path(a)),
        4 => What::Renamed(path(a), path(b)),
        5 => What::Removed(path(a)),
        6 => What::MadeDir(path(a)),
        7 => What::Synced { file, before: at },
        8 => What::SyncedDir {
            dir: path(a),
            before: at,
        },
        kind => panic!("a note of kind {kind}"),
    };
    Some((what, HEAD_BYTES + a_len + b_len))
}

/// Up to which position the notes about each file are durable.
pub(super) fn synced_files(notes: &[Note<'_>]) -> HashMap<u64, u64> {
    let mut durable = HashMap::new();
    for note in notes {
        if let What::Synced { file, before } = note.what {
            let newest = durable.entry(file).or_default();
            *newest = before.max(*newest);
        }
    }
    durable
}

/// The notes about names that no sync of their directory followed, in order.
pub(super) fn unsynced_names<'n>(notes: &[Note<'n>]) -> Vec<Note<'n>> {
    let mut durable: HashMap<&Path, u64> = HashMap::new();
    for note in notes {
        if let What::SyncedDir { dir, before } = note.what {
            let newest = durable.entry(dir).or_default();
            *newest = before.max(*newest);
        }
    }
    let is_unsynced = |note: &&Note<'_>| {
        let dir = note.what.name().map(|path| path.parent().unwrap());
        dir.is_some_and(|dir| note.position >= durable.get(dir).copied().unwrap_or(0))
    };
    notes.iter().filter(is_unsynced).copied().collect()
}
