//! What the log gives back: events with their place.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use outrider_webhook::event::{Decision, EventFacts, Target};
use outrider_webhook::id::EventId;
use serde::{Deserialize, Serialize};

/// Where a record starts: segment number and byte offset in it. Ordered as the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// Number of the segment, from 1.
    pub segment: u32,
    /// Byte offset in the segment.
    pub offset: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {} offset {}", self.segment, self.offset)
    }
}

/// The targets of an event in order of their ordinals. Cheap to clone: an event may have
/// millions, and each of its retries reads the event back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Targets(Arc<Vec<Target>>);

impl From<Vec<Target>> for Targets {
    fn from(list: Vec<Target>) -> Self {
        Self(Arc::new(list))
    }
}

impl Deref for Targets {
    type Target = [Target];
    fn deref(&self) -> &[Target] {
        &self.0
    }
}

impl<'a> IntoIterator for &'a Targets {
    type Item = &'a Target;
    type IntoIter = std::slice::Iter<'a, Target>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// An event that is in the log.
#[derive(Debug)]
pub struct StoredEvent {
    /// Its id.
    pub id: EventId,
    /// Where its ACCEPT record is.
    pub position: Position,
    /// Its facts.
    pub facts: EventFacts,
    /// Its deliveries.
    pub targets: Targets,
    /// Configuration revision under which it was routed; the one of the decision.
    pub revision: u64,
    /// How the deliveries came about.
    pub decision: Decision,
}
