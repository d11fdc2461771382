//! A disk whose power can be cut. The gateway runs with a shim (`tests/powercut/shim.c`) that
//! notes every change before it is made and every sync after it has returned; a cut undoes what
//! was not synced when the process was killed.
//!
//! Knows files and names, and nothing of what the gateway keeps in them. A name is durable after
//! a sync of its directory, bytes and length after a sync of their file: no more than POSIX says.

mod notes;
mod undo;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rand::RngExt;
use rand::rngs::StdRng;
use tempfile::TempDir;

use super::outrider::Setup;

const SHIM: &str = include_str!("../../powercut/shim.c");

/// What a cut leaves of the changes that were never synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Nothing of them.
    LosesAll,
    /// Of every 512-byte sector some older or the newest state; of the names the first few.
    Tears,
}

/// What a cut undid.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Undone {
    /// Writes and changes of length, in whole or in part.
    pub(crate) writes: usize,
    /// Files created, renamed and removed.
    pub(crate) names: usize,
}

/// The disk of one data directory, over all runs of the gateway on it.
pub(crate) struct Disk {
    data_dir: PathBuf,
    /// Notes, kept files and the name of the boot; beside the data, so on the same volume.
    dir: PathBuf,
    boots: u32,
}

impl Disk {
    /// The disk below a gateway that was not started yet, and the gateway's setup on it.
    pub(crate) fn below(setup: Setup) -> (Self, Setup) {
        Self::with_syncs(setup, "0")
    }

    /// The same with syncs that do nothing: nothing is ever durable.
    pub(crate) fn that_never_syncs(setup: Setup) -> (Self, Setup) {
        Self::with_syncs(setup, "1")
    }

    fn with_syncs(setup: Setup, stub: &str) -> (Self, Setup) {
        let data_dir = setup.data_dir();
        let mut disk = Self {
            dir: data_dir.with_file_name("disk"),
            data_dir,
            boots: 0,
        };
        disk.begin();
        let setup = setup
            .env("LD_PRELOAD", text(shim()))
            .env("POWERCUT_DIR", text(&disk.data_dir))
            .env("POWERCUT_JOURNAL", text(&disk.journal()))
            .env("POWERCUT_BOOT_ID", text(&disk.dir.join("boot_id")))
            .env("POWERCUT_STUB_SYNC", stub);
        (disk, setup)
    }

    fn journal(&self) -> PathBuf {
        self.dir.join("journal")
    }

    fn kept(&self) -> PathBuf {
        self.dir.join("journal.kept")
    }

    /// A new boot: there is nothing that could be lost.
    fn begin(&mut self) {
        let _ = fs::remove_dir_all(&self.dir); // the first time there is none
        fs::create_dir_all(self.kept()).unwrap();
        self.boots += 1;
        let boot = format!("00000000-0000-4000-8000-{:012}\n", self.boots);
        fs::write(self.dir.join("boot_id"), boot).unwrap();
    }

    /// After the process was killed and the machine goes on: what was not synced can still be
    /// lost at a later cut. A note that was being written is taken away; its change was not made.
    pub(crate) fn survive(&self) {
        let bytes = fs::read(self.journal()).unwrap_or_default();
        let whole = notes::parse(&bytes).1;
        if whole < bytes.len() {
            let journal = fs::OpenOptions::new().write(true).open(self.journal());
            journal.unwrap().set_len(whole as u64).unwrap();
        }
    }

    /// Cuts the power of a machine whose gateway was just killed, and boots it again.
    pub(crate) fn cut(&mut self, cut: Cut, rng: &mut StdRng) -> Undone {
        // A gateway that was killed before it changed anything leaves no notes.
        let bytes = fs::read(self.journal()).unwrap_or_default();
        let (notes, _) = notes::parse(&bytes);
        let mut survives = || cut == Cut::Tears && rng.random_bool(0.5);
        let writes = undo::writes(&notes, &[&self.data_dir, &self.kept()], &mut survives);
        let unsynced = notes::unsynced_names(&notes);
        let surviving = match cut {
            Cut::LosesAll => 0,
            Cut::Tears => rng.random_range(0..=unsynced.len()),
        };
        let lost = &unsynced[surviving..];
        undo::names(lost, &self.kept());
        let names = lost.len();
        self.begin();
        Undone { writes, names }
    }
}

/// The shim, compiled once per run.
fn shim() -> &'static Path {
    static SHIM_DIR: OnceLock<TempDir> = OnceLock::new();
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let dir = SHIM_DIR.get_or_init(|| tempfile::tempdir().unwrap());
        let (source, shim) = (dir.path().join("shim.c"), dir.path().join("shim.so"));
        fs::write(&source, SHIM).unwrap();
        let compiled = Command::new("gcc")
            .args(["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror"])
            .arg("-o")
            .args([&shim, &source])
            .output()
            .expect("gcc runs");
        let said = String::from_utf8_lossy(&compiled.stderr);
        assert!(compiled.status.success(), "{said}");
        shim
    })
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
