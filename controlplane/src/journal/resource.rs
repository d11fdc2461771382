//! A resource as the journal keeps it, and a change to make of one.

use bytes::Bytes;
use outrider_config::resource::from_document;
use outrider_config::{Document, Kind};
use outrider_webhook::id::{ProjectId, Uid};
use rusqlite::Row;
use serde::de::DeserializeOwned;

use super::columns::Columns;
use super::{JournalError, Op, document};

/// Where a resource comes from. What came from a file is changed and removed by files only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A resource file.
    File,
    /// The API.
    Api,
}

impl Origin {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Api => "api",
        }
    }

    fn parse(text: &str) -> Result<Self, JournalError> {
        match text {
            "file" => Ok(Self::File),
            "api" => Ok(Self::Api),
            other => Err(JournalError::Corrupt(format!("origin `{other}`"))),
        }
    }
}

/// Who makes a revision, from where, and when.
#[derive(Debug, Clone, Copy)]
pub struct Author<'a> {
    /// For the history: `admin key`, `api key <uid>`.
    pub actor: &'a str,
    /// What the resources it makes come from.
    pub origin: Origin,
    /// Unix milliseconds.
    pub now_ms: i64,
}

/// A resource and what the journal knows of it. There is no `Debug`: documents hold secrets.
#[derive(Clone)]
pub struct Stored {
    /// The resource. Its revision counts once it is written.
    pub document: Document,
    /// Its name.
    pub name: String,
    /// Where it comes from.
    pub origin: Origin,
    /// When it was made, Unix milliseconds.
    pub created_ms: i64,
    /// When it was last changed, Unix milliseconds.
    pub updated_ms: i64,
}

/// The columns of a [`Stored`], in the order in which it is read.
pub(super) const STORED: &str =
    "kind, uid, project, revision, document, name, origin, created_ms, updated_ms";

impl Stored {
    /// A resource that is not there yet.
    ///
    /// # Errors
    /// [`JournalError::Corrupt`] when the document is not one.
    pub fn new(
        kind: Kind,
        uid: Uid,
        project: ProjectId,
        spec: Bytes,
        by: &Author<'_>,
    ) -> Result<Self, JournalError> {
        Ok(Self {
            name: Columns::of(kind, &spec)?.name,
            document: Document {
                kind,
                uid,
                project,
                revision: 0,
                spec,
            },
            origin: by.origin,
            created_ms: by.now_ms,
            updated_ms: by.now_ms,
        })
    }

    /// The same resource with another document.
    ///
    /// # Errors
    /// [`JournalError::Corrupt`] when the document is not one.
    pub fn changed(&self, spec: Bytes, by: &Author<'_>) -> Result<Self, JournalError> {
        let Document {
            kind, uid, project, ..
        } = self.document;
        if spec == self.document.spec {
            return Ok(self.clone());
        }
        Ok(Self {
            created_ms: self.created_ms,
            origin: self.origin,
            ..Self::new(kind, uid, project, spec, by)?
        })
    }

    /// What is written in its document.
    ///
    /// # Errors
    /// [`JournalError::Corrupt`] when that is something else.
    pub fn spec<S: DeserializeOwned>(&self) -> Result<S, JournalError> {
        from_document(&self.document.spec).map_err(|error| {
            let Document { kind, uid, .. } = self.document;
            JournalError::Corrupt(format!("{kind} {uid}: {error}"))
        })
    }

    /// Its id.
    #[must_use]
    pub fn uid(&self) -> Uid {
        self.document.uid
    }

    /// Out of the columns [`STORED`].
    pub(super) fn of(row: &Row<'_>) -> Result<Self, JournalError> {
        let origin: String = row.get(6)?;
        Ok(Self {
            document: document(row)?,
            name: row.get(5)?,
            origin: Origin::parse(&origin)?,
            created_ms: row.get(7)?,
            updated_ms: row.get(8)?,
        })
    }
}

/// One change to make. What refers to something that is deleted goes with it, unasked.
pub struct Edit {
    pub(super) before: Option<Stored>,
    pub(super) after: Option<Stored>,
}

impl Edit {
    /// Makes a resource.
    #[must_use]
    pub fn create(after: Stored) -> Self {
        Self {
            before: None,
            after: Some(after),
        }
    }

    /// Changes a resource; nothing when both are the same.
    #[must_use]
    pub fn update(before: Stored, after: Stored) -> Self {
        Self {
            before: Some(before),
            after: Some(after),
        }
    }

    /// Removes a resource.
    #[must_use]
    pub fn delete(before: Stored) -> Self {
        Self {
            before: Some(before),
            after: None,
        }
    }

    /// What it does to which resource; `None` when nothing.
    pub(super) fn what(&self) -> Option<(Op, &Document)> {
        match (&self.before, &self.after) {
            (None, Some(after)) => Some((Op::Create, &after.document)),
            (Some(before), Some(after)) => {
                let is_same = before.document.spec == after.document.spec;
                (!is_same).then_some((Op::Update, &after.document))
            }
            (Some(before), None) => Some((Op::Delete, &before.document)),
            (None, None) => None,
        }
    }
}
