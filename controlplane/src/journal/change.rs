//! Making a revision: what is wanted is decided inside one transaction, tried on the snapshot in
//! force, written and announced. Resource files and the API go this one way.

use std::collections::HashSet;

use outrider_config::{Document, Kind, Quarantined, Snapshot, Transaction, Version};
use outrider_webhook::id::Uid;
use rusqlite::{Connection, TransactionBehavior};

use super::columns::Columns;
use super::resource::STORED;
use super::{Author, Edit, Journal, JournalError, Op, Origin, Revision, Stored, View, raw, schema};

/// A change that was not made; nothing is different.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Together with what is stored, resources could not be put in force.
    #[error("{}", reasons(.0))]
    Refused(Vec<Quarantined>),
    /// Only a resource file may change it.
    #[error("{kind} `{name}` is managed by the resource file: change it there")]
    FromFile {
        /// What it is.
        kind: Kind,
        /// Its name.
        name: String,
    },
}

impl ChangeError {
    /// Stable code for metric labels and API bodies: a closed set.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Journal(error) => error.code(),
            Self::Refused(_) => "refused",
            Self::FromFile { .. } => "managed_by_file",
        }
    }
}

impl From<rusqlite::Error> for ChangeError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Journal(error.into())
    }
}

fn reasons(refused: &[Quarantined]) -> String {
    let texts: Vec<String> = refused
        .iter()
        .map(|one| format!("{}/{}: {}", one.kind, one.uid, one.reason))
        .collect();
    texts.join("; ")
}

/// What a change led to.
#[derive(Debug)]
pub struct Changed<T> {
    /// The newest version after it.
    pub version: Version,
    /// The revision that it made; `None` when everything was so already.
    pub revision: Option<Revision>,
    /// What was decided beside the edits.
    pub value: T,
}

impl Journal {
    /// Makes one revision of what `decide` wants, or none when it wants nothing new. `decide`
    /// sees the state that its edits are applied to; nobody else writes meanwhile.
    ///
    /// What is in a project that goes, and subscriptions whose endpoint or source goes, go in
    /// the same revision.
    ///
    /// # Errors
    /// What `decide` refused, and [`ChangeError`]; nothing has changed then.
    pub fn change<T, E: From<ChangeError>>(
        &self,
        by: &Author<'_>,
        decide: impl FnOnce(&View<'_>) -> Result<(Vec<Edit>, T), E>,
    ) -> Result<Changed<T>, E> {
        let mut writer = self.writer();
        let transaction = writer
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(ChangeError::from)?;
        let snapshot = self.snapshot();
        let (edits, value) = decide(&View::new(&transaction, &snapshot))?;
        let revision = revise(&transaction, &snapshot, edits, by)?;
        let Some((version, next)) = revision else {
            let version = self.version();
            return Ok(Changed {
                version,
                revision: None,
                value,
            });
        };
        transaction.commit().map_err(ChangeError::from)?;
        // Under the writer's lock still, so snapshots and heads follow each other in order.
        self.snapshot.store(next.into());
        self.head.send_replace(version);
        Ok(Changed {
            version,
            revision: Some(version.revision),
            value,
        })
    }
}

/// Writes the revision. `None` when nothing changes.
fn revise(
    transaction: &Connection,
    snapshot: &Snapshot,
    edits: Vec<Edit>,
    by: &Author<'_>,
) -> Result<Option<(Version, Snapshot)>, ChangeError> {
    let edits = ordered(with_dependents(transaction, edits)?);
    if edits.is_empty() {
        return Ok(None);
    }
    if by.origin == Origin::Api {
        refuse_from_file(&edits)?;
    }
    let head = schema::version(transaction)?;
    if snapshot.version() != Some(head) {
        let what = "revisions that this process did not write";
        return Err(JournalError::Corrupt(what.to_owned()).into());
    }
    let version = Version {
        revision: head.revision + 1,
        ..head
    };
    let next = dry_run(snapshot, &edits, version)?;
    write(transaction, &edits, version.revision, by)?;
    Ok(Some((version, next)))
}

/// Adds the deletions that follow from deletions.
fn with_dependents(
    transaction: &Connection,
    mut edits: Vec<Edit>,
) -> Result<Vec<Edit>, JournalError> {
    let mut known: HashSet<Uid> = edits
        .iter()
        .filter_map(|edit| edit.before.as_ref().map(Stored::uid))
        .collect();
    let deleted: Vec<(Kind, Uid)> = edits
        .iter()
        .filter_map(Edit::what)
        .filter(|(op, _)| *op == Op::Delete)
        .map(|(_, document)| (document.kind, document.uid))
        .collect();
    for (kind, uid) in deleted {
        let column = match kind {
            Kind::Project => "project",
            Kind::Endpoint => "endpoint",
            Kind::Source => "source",
            Kind::EgressPolicy
            | Kind::EgressPool
            | Kind::EventType
            | Kind::Subscription
            | Kind::ApiKey => continue,
        };
        let sql = format!("SELECT {STORED} FROM resources WHERE {column} = ?1");
        let mut statement = transaction.prepare_cached(&sql)?;
        let mut rows = statement.query([uid.to_string()])?;
        while let Some(row) = rows.next()? {
            let dependent = Stored::of(row)?;
            if known.insert(dependent.uid()) {
                edits.push(Edit::delete(dependent));
            }
        }
    }
    Ok(edits)
}

/// Deletions first, those that refer to others before them; then the rest in the order of the
/// kinds. So no reference ever dangles, and names and uids are free when they are taken.
fn ordered(edits: Vec<Edit>) -> Vec<Edit> {
    let (mut deletions, mut upserts) = (Vec::new(), Vec::new());
    for edit in edits {
        let key = match edit.what() {
            Some((op, document)) => (op, document.kind, document.uid),
            None => continue,
        };
        match key {
            (Op::Delete, kind, uid) => deletions.push(((kind, uid), edit)),
            (_, kind, uid) => upserts.push(((kind, uid), edit)),
        }
    }
    deletions.sort_by_key(|(key, _)| std::cmp::Reverse(*key));
    upserts.sort_by_key(|(key, _)| *key);
    let ordered = deletions.into_iter().chain(upserts);
    ordered.map(|(_, edit)| edit).collect()
}

fn refuse_from_file(edits: &[Edit]) -> Result<(), ChangeError> {
    let is_from_file = |before: &&Stored| before.origin == Origin::File;
    let mut touched = edits.iter().filter_map(|edit| edit.before.as_ref());
    match touched.find(is_from_file) {
        None => Ok(()),
        Some(before) => Err(ChangeError::FromFile {
            kind: before.document.kind,
            name: before.name.clone(),
        }),
    }
}

/// Puts the revision in force in our own snapshot: what a data plane would quarantine is refused
/// before it is written.
fn dry_run(snapshot: &Snapshot, edits: &[Edit], version: Version) -> Result<Snapshot, ChangeError> {
    let mut change = Transaction {
        version,
        is_full: false,
        upserts: Vec::new(),
        removals: Vec::new(),
    };
    for (op, document) in edits.iter().filter_map(Edit::what) {
        match op {
            Op::Delete => change.removals.push((document.kind, document.uid)),
            Op::Create | Op::Update => change.upserts.push(Document {
                revision: version.revision,
                ..document.clone()
            }),
        }
    }
    let (next, held) = snapshot.apply(&change);
    let upserts = change.upserts.iter();
    let touched: HashSet<Uid> = upserts.map(|document| document.uid).collect();
    // What was refused before, by rules that are newer than the resource, does not block the
    // change of something else, whatever is said against it now.
    let refused: Vec<Quarantined> = held
        .into_iter()
        .filter(|one| touched.contains(&one.uid) || !snapshot.is_held(one.kind, one.uid))
        .collect();
    if refused.is_empty() {
        Ok(next)
    } else {
        Err(ChangeError::Refused(refused))
    }
}

fn write(
    transaction: &Connection,
    edits: &[Edit],
    revision: Revision,
    by: &Author<'_>,
) -> Result<(), JournalError> {
    transaction.execute(
        "INSERT INTO revisions (number, at, actor, summary) VALUES (?1, ?2, ?3, ?4)",
        (raw(revision), by.now_ms, by.actor, summary(edits)),
    )?;
    // All rows that change go first: two resources may have swapped names.
    let mut delete = transaction.prepare_cached("DELETE FROM resources WHERE uid = ?1")?;
    for before in edits.iter().filter_map(|edit| edit.before.as_ref()) {
        delete.execute([before.uid().to_string()])?;
    }
    let mut record = transaction.prepare_cached(
        "INSERT INTO changes (revision, seq, kind, uid, project, op, before, after)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for (seq, edit) in (1_i64..).zip(edits) {
        let Some((op, document)) = edit.what() else {
            continue;
        };
        record.execute((
            raw(revision),
            seq,
            document.kind.as_str(),
            document.uid.to_string(),
            document.project.to_string(),
            op.as_str(),
            edit.before.as_ref().map(|one| &one.document.spec[..]),
            edit.after.as_ref().map(|one| &one.document.spec[..]),
        ))?;
        if let Some(after) = &edit.after {
            insert(transaction, after, revision)?;
        }
    }
    Ok(())
}

fn insert(transaction: &Connection, one: &Stored, revision: Revision) -> Result<(), JournalError> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO resources (uid, kind, project, name, folded, owner, endpoint, source, source_type,
            provider, origin, revision, created_ms, updated_ms, document)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
    )?;
    let document = &one.document;
    let columns = Columns::of(document.kind, &document.spec)?;
    insert.execute((
        document.uid.to_string(),
        document.kind.as_str(),
        document.project.to_string(),
        columns.name,
        columns.folded,
        columns.owner,
        columns.endpoint,
        columns.source,
        columns.source_type,
        columns.provider,
        one.origin.as_str(),
        raw(revision),
        one.created_ms,
        one.updated_ms,
        &document.spec[..],
    ))?;
    Ok(())
}

/// "2 created, 1 updated, 0 deleted".
fn summary(edits: &[Edit]) -> String {
    let count = |op| {
        edits
            .iter()
            .filter_map(Edit::what)
            .filter(|(what, _)| *what == op)
            .count()
    };
    format!(
        "{} created, {} updated, {} deleted",
        count(Op::Create),
        count(Op::Update),
        count(Op::Delete)
    )
}
