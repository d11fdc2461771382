//! The shared vectors, for tests.

use std::path::Path;

/// Loads a file of the shared vectors: beside the workspace, else the copy inside it.
pub(crate) fn load(name: &str) -> serde_json::Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let candidates = [
        root.join("../shared/vectors").join(name),
        root.join("tests/vectors").join(name),
    ];
    let path = candidates
        .iter()
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("{name} not found"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}
