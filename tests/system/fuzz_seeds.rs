//! Every seed of the fuzzer goes through its target: what it once found, and what it starts from.

#[path = "../../fuzz/targets.rs"]
#[allow(unreachable_pub, reason = "a library to the fuzzer")]
mod targets;

use std::fs;
use std::path::Path;
use std::process::Command;

const FUZZ: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz");

/// The inputs in a folder, none if there is no such folder.
fn inputs(folder: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries
        .map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .collect()
}

#[test]
fn every_target_returns_on_every_seed() {
    let seeds = tempfile::tempdir().unwrap();
    let made = Command::new("python3")
        .arg(format!("{FUZZ}/seeds.py"))
        .arg(seeds.path())
        .status();
    assert!(made.unwrap().success());
    for (name, target) in targets::TARGETS {
        let mut all = inputs(&seeds.path().join(name));
        assert!(!all.is_empty(), "no seeds for {name}");
        all.extend(inputs(&Path::new(FUZZ).join("corpus").join(name)));
        all.iter().for_each(|input| target(input));
    }
}
