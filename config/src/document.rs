//! What is journaled and what travels: resources as documents, and changes as transactions.
//!
//! A document carries its specification as the JSON that files and REST use, so there is one
//! schema everywhere. This module knows nothing of what is inside.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use outrider_webhook::id::{ProjectId, Uid};

/// The kinds of resources, in the order in which they may refer to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A policy that closes destinations. The installation's, not a project's: it owns itself.
    EgressPolicy,
    /// A pool of source addresses. The installation's, not a project's: it owns itself.
    EgressPool,
    /// Owns everything below.
    Project,
    /// A type of events, perhaps with a schema of them.
    EventType,
    /// Where incoming events come from.
    Source,
    /// A receiver.
    Endpoint,
    /// Source and types to endpoint.
    Subscription,
    /// Lets a backend service publish events.
    ApiKey,
}

impl Kind {
    /// All kinds, in their order.
    pub const ALL: [Self; 8] = [
        Self::EgressPolicy,
        Self::EgressPool,
        Self::Project,
        Self::EventType,
        Self::Source,
        Self::Endpoint,
        Self::Subscription,
        Self::ApiKey,
    ];

    /// The word for it in names, the journal and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EgressPolicy => "egress_policy",
            Self::EgressPool => "egress_pool",
            Self::Project => "project",
            Self::EventType => "event_type",
            Self::Source => "source",
            Self::Endpoint => "endpoint",
            Self::Subscription => "subscription",
            Self::ApiKey => "api_key",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no kind of resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no kind of resource: egress_policy, egress_pool, project, event_type, source, endpoint, subscription or api_key"
)]
pub struct KindError(String);

impl FromStr for Kind {
    type Err = KindError;
    fn from_str(text: &str) -> Result<Self, KindError> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| KindError(text.chars().take(64).collect()))
    }
}

/// One resource at one revision.
#[derive(Clone, PartialEq, Eq)]
pub struct Document {
    /// What it is.
    pub kind: Kind,
    /// Its id, unique over all kinds.
    pub uid: Uid,
    /// The project that owns it; a project owns itself, and so does what is of none.
    pub project: ProjectId,
    /// The revision that wrote it.
    pub revision: u64,
    /// JSON of the kind's specification. Holds secrets.
    pub spec: Bytes,
}

/// Leaves the specification out, because it holds secrets.
impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            uid,
            revision,
            ..
        } = self;
        write!(f, "Document({kind}/{uid} at {revision})")
    }
}

/// A state of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version {
    /// Which journal; a new one whenever a journal is created or restored.
    pub journal: Uid,
    /// Its revision; 0 is the empty journal.
    pub revision: u64,
}

/// A change that is put in force as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// The version in force after it.
    pub version: Version,
    /// Whether it replaces everything: what it does not name is removed.
    pub is_full: bool,
    /// Resources that are new or changed.
    pub upserts: Vec<Document>,
    /// Resources that are gone. Disjoint from `upserts`.
    pub removals: Vec<(Kind, Uid)>,
}

/// A resource that was refused, while the rest of its transaction is in force. The version it
/// had before, if any, stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// What it is.
    pub kind: Kind,
    /// Its id.
    pub uid: Uid,
    /// What is wrong with it, for the person who configured it. Never a secret.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_name_no_kind_are_refused() {
        for text in ["", "Project", "endpoints", "api-key", "project "] {
            assert!(text.parse::<Kind>().is_err(), "{text}");
        }
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
    }

    #[test]
    fn debug_of_a_document_leaves_its_specification_out() {
        let uid = Uid::from_bits(7);
        let document = Document {
            kind: Kind::Endpoint,
            uid,
            project: ProjectId::new(Uid::from_bits(1)),
            revision: 3,
            spec: Bytes::from_static(br#"{"secret":"hunter2"}"#),
        };
        assert_eq!(
            format!("{document:?}"),
            format!("Document(endpoint/{uid} at 3)")
        );
    }
}
