//! One state of the journal, to look things up in: the state of a read, or the one that a change
//! is decided on.

mod list;

use outrider_config::resource::from_document;
use outrider_config::{Kind, Snapshot};
use outrider_webhook::id::{EndpointId, ProjectId, Uid};
use rusqlite::{Connection, OptionalExtension, Params};
use serde::de::DeserializeOwned;

use super::resource::STORED;
use super::{JournalError, Stored};

pub use list::Selection;

/// One state of the journal.
pub struct View<'v> {
    connection: &'v Connection,
    snapshot: &'v Snapshot,
}

impl<'v> View<'v> {
    pub(super) fn new(connection: &'v Connection, snapshot: &'v Snapshot) -> Self {
        Self {
            connection,
            snapshot,
        }
    }

    /// What is in force. In a change, exactly the state that is changed. In a read, that state, a
    /// later one, or the one right before it: a revision is in the journal first, and what it
    /// says is in force a moment later.
    #[must_use]
    pub fn snapshot(&self) -> &'v Snapshot {
        self.snapshot
    }

    /// A resource of a project; a project is its own.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn get(
        &self,
        kind: Kind,
        project: ProjectId,
        uid: Uid,
    ) -> Result<Option<Stored>, JournalError> {
        let found = self.by_uid(uid)?;
        let is_it = |one: &Stored| (one.document.kind, one.document.project) == (kind, project);
        Ok(found.filter(is_it))
    }

    /// What was written of a resource of a project when a revision was in force, and the revision
    /// that had written it; `None` when that is not known.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn as_of<S: DeserializeOwned>(
        &self,
        (kind, project, uid): (Kind, ProjectId, Uid),
        revision: u64,
    ) -> Result<Option<(u64, S)>, JournalError> {
        let sql = "SELECT revision, after FROM changes
                   WHERE uid = ?1 AND revision <= ?2 AND kind = ?3 AND project = ?4
                   ORDER BY revision DESC, seq DESC LIMIT 1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let which = (
            uid.to_string(),
            i64::try_from(revision).unwrap_or(i64::MAX),
            kind.as_str(),
            project.to_string(),
        );
        let row = |row: &rusqlite::Row<'_>| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Option<Vec<u8>>>(1)?))
        };
        let found = statement.query_row(which, row).optional()?;
        let Some((revision, Some(document))) = found else {
            return Ok(None);
        };
        // What an older version wrote need not be what this one reads.
        let spec = from_document(&document).ok();
        Ok(spec.map(|spec| (u64::try_from(revision).unwrap_or(0), spec)))
    }

    /// The resource with this id, whatever it is.
    pub(super) fn by_uid(&self, uid: Uid) -> Result<Option<Stored>, JournalError> {
        self.one("uid = ?1", [uid.to_string()])
    }

    /// The project, egress pool or policy, or what a project has that has this name: an event type, or an endpoint, of
    /// which a file and the API may each have made one. `None` for other kinds, whose names are
    /// not unique.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn named(
        &self,
        kind: Kind,
        project: ProjectId,
        name: &str,
    ) -> Result<Option<Stored>, JournalError> {
        match kind {
            Kind::EgressPolicy => self.one("kind = 'egress_policy' AND name = ?1", [name]),
            Kind::EgressPool => self.one("kind = 'egress_pool' AND name = ?1", [name]),
            Kind::Project => self.one("kind = 'project' AND name = ?1", [name]),
            Kind::EventType | Kind::Endpoint => self.one(
                "kind = ?1 AND project = ?2 AND name = ?3",
                (kind.as_str(), project.to_string(), name),
            ),
            Kind::Source | Kind::Subscription | Kind::ApiKey => Ok(None),
        }
    }

    /// All projects, in the order of their ids.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn projects(&self) -> Result<Vec<Stored>, JournalError> {
        self.all("kind = 'project' ORDER BY uid", ())
    }

    /// All egress pools, in the order of their names.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn egress_pools(&self) -> Result<Vec<Stored>, JournalError> {
        self.all("kind = 'egress_pool' ORDER BY name", ())
    }

    /// All egress policies, in the order of their names.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn egress_policies(&self) -> Result<Vec<Stored>, JournalError> {
        self.all("kind = 'egress_policy' ORDER BY name", ())
    }

    /// The subscriptions of an endpoint, in the order of their ids.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn subscriptions_of(&self, endpoint: EndpointId) -> Result<Vec<Stored>, JournalError> {
        self.all("endpoint = ?1 ORDER BY uid", [endpoint.to_string()])
    }

    /// Whether a project has any resource of this kind.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn has(&self, kind: Kind, project: ProjectId) -> Result<bool, JournalError> {
        let sql = "SELECT 1 FROM resources WHERE project = ?1 AND kind = ?2 LIMIT 1";
        let mut statement = self.connection.prepare_cached(sql)?;
        Ok(statement.exists((project.to_string(), kind.as_str()))?)
    }

    /// Everything that resource files made.
    pub(super) fn made_by_files(&self) -> Result<Vec<Stored>, JournalError> {
        self.all("origin = 'file'", ())
    }

    fn one(&self, which: &str, params: impl Params) -> Result<Option<Stored>, JournalError> {
        let sql = format!("SELECT {STORED} FROM resources WHERE {which}");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let row = statement.query_row(params, |row| Ok(Stored::of(row)));
        row.optional()?.transpose()
    }

    fn all(&self, which: &str, params: impl Params) -> Result<Vec<Stored>, JournalError> {
        let sql = format!("SELECT {STORED} FROM resources WHERE {which}");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params)?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push(Stored::of(row)?);
        }
        Ok(all)
    }
}
