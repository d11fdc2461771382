//! A compiled filter: conditions on paths, joined by and and or.

use std::sync::Arc;

use super::Scope;
use super::op::Test;
use super::path::Path;

/// The conditions of one scope.
#[derive(Debug)]
pub(super) struct Clause {
    pub(super) scope: Scope,
    pub(super) nodes: Box<[Node]>,
}

/// Something that holds or does not.
#[derive(Debug)]
pub(super) enum Node {
    Leaf(Leaf),
    /// One of the filters must hold.
    Any(Group),
    /// All of the filters must hold. Not the same as their conditions one by one: in Convoy's
    /// mode each filter needs a verdict of its own.
    All(Group),
}

/// Filters of `$or` or `$and`.
#[derive(Debug)]
pub(super) struct Group {
    /// The index of its first leaf, which stands for the whole.
    pub(super) first: u16,
    pub(super) filters: Box<[Box<[Node]>]>,
}

/// One condition.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) index: u16,
    /// Shared with the places of its demands.
    pub(super) path: Arc<Path>,
    pub(super) test: Test,
}

impl Node {
    /// The index of the leaf that stands for it.
    pub(super) fn index(&self) -> u16 {
        match self {
            Self::Leaf(leaf) => leaf.index,
            Self::Any(group) | Self::All(group) => group.first,
        }
    }
}
