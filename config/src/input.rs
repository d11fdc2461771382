//! Text to raw input types: YAML or JSON to a tree that knows its lines, and the tree to any
//! `..Spec` type with all problems at once.
//!
//! serde stops at the first error. Here a value that does not fit is reported, taken out of the
//! tree, and reading starts again, until what is left fits. No message carries a value, since
//! any value may be a secret.

mod read;
mod tree;
mod words;

pub(crate) use read::read;
pub(crate) use tree::{Node, Value};
pub(crate) use words::{closest, list};
