//! What people write, checked types, and the compiled snapshot.
//!
//! Raw input has its own types (`..Spec`), is turned once into types that cannot be wrong, and
//! those are joined into an immutable [`snapshot::Snapshot`]. Files, REST and the wire share one
//! schema. No I/O here: texts and transactions come in as arguments.

pub mod bootstrap;
mod document;
pub mod file;
mod input;
pub mod openapi;
mod problem;
pub mod published;
pub mod resource;
pub mod snapshot;

pub use document::{Document, Kind, KindError, Quarantined, Transaction, Version};
pub use problem::Problem;
pub use snapshot::Snapshot;

use input::{Node, Value};

/// All problems of a file, whether it is a resource file or a bootstrap file. A file with
/// `projects`, `egress_pools` or `egress_policies` is the former.
#[must_use]
pub fn check(text: &str) -> Vec<Problem> {
    let is_resources = match Node::from_yaml(text) {
        Ok(root) => is_resource_file(&root),
        Err(problem) => return vec![problem],
    };
    if is_resources {
        file::parse(text).err().unwrap_or_default()
    } else {
        bootstrap::Bootstrap::load(Some(text), std::iter::empty())
            .err()
            .unwrap_or_default()
    }
}

/// Also with one of its fields misspelt.
fn is_resource_file(root: &Node) -> bool {
    let fields = ["projects", "egress_pools", "egress_policies"];
    match &root.value {
        Value::Map(entries) => entries
            .iter()
            .any(|entry| input::closest(&entry.key, fields).is_some()),
        _ => false,
    }
}
