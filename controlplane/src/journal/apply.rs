//! Making what a resource file says so: the difference to what is stored, as one revision.

use std::collections::{HashMap, HashSet};

use outrider_config::file::{File, Naming, PlanError, Planned};
use outrider_config::resource::mask_of;
use outrider_config::{Document, Kind, Quarantined, Snapshot, Transaction, Version};
use outrider_webhook::id::{ProjectId, Uid};
use rusqlite::{Connection, TransactionBehavior};

use super::{Journal, JournalError, Op, Revision, document, raw, schema};
use crate::random;

/// Where a resource comes from: only what came from a file is removed by one.
const ORIGIN_FILE: &str = "file";

/// The file was not put in force, and nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The file cannot be planned: a bug.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A resource of this name exists and did not come from a file.
    #[error("{kind} `{name}` exists and was not made by a resource file: remove one of the two")]
    Foreign {
        /// What it is.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// The uid belongs to something else.
    #[error("{kind} `{name}`: uid {uid} belongs to another resource")]
    UidTaken {
        /// What it is in the file.
        kind: Kind,
        /// Its name in the file.
        name: String,
        /// The uid.
        uid: Uid,
    },
    /// Together with what is stored, resources could not be put in force.
    #[error("{}", refusals(.0))]
    Refused(Vec<Quarantined>),
    /// The process is stopping.
    #[error("the process is stopping")]
    Cancelled,
}

impl ApplyError {
    /// Stable code for metric labels and API bodies: a closed set.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Journal(error) => error.code(),
            Self::Plan(_) => "plan",
            Self::Foreign { .. } => "foreign_resource",
            Self::UidTaken { .. } => "uid_taken",
            Self::Refused(_) => "refused",
            Self::Cancelled => "cancelled",
        }
    }
}

impl From<rusqlite::Error> for ApplyError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Journal(error.into())
    }
}

fn refusals(refused: &[Quarantined]) -> String {
    let texts: Vec<String> = refused
        .iter()
        .map(|one| format!("{}/{}: {}", one.kind, one.uid, one.reason))
        .collect();
    texts.join("; ")
}

/// A resource as it is stored.
struct Stored {
    document: Document,
    name: String,
    is_from_file: bool,
}

/// One change to make.
struct Edit<'e> {
    op: Op,
    before: Option<&'e Stored>,
    after: Option<&'e Planned>,
}

impl Journal {
    /// Makes what the file says so, as one revision. Answers its number, or `None` when
    /// everything is so already.
    ///
    /// # Errors
    /// [`ApplyError`]; nothing has changed then.
    pub fn apply_file(
        &self,
        file: &File,
        now_ms: i64,
        actor: &str,
    ) -> Result<Option<Revision>, ApplyError> {
        let mut writer = self.writer();
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let head = schema::version(&transaction)?;
        let stored = stored(&transaction)?;
        let planned = plan(file, &stored, now_ms)?;
        let edits = edits(&stored, &planned)?;
        if edits.is_empty() {
            return Ok(None);
        }
        let version = Version {
            revision: head.revision + 1,
            ..head
        };
        dry_run(&stored, &edits, head, version)?;
        write(&transaction, &edits, version.revision, now_ms, actor)?;
        transaction.commit()?;
        // Under the writer's lock still, so heads are announced in their order.
        self.head.send_replace(version);
        Ok(Some(version.revision))
    }
}

fn stored(connection: &Connection) -> Result<HashMap<Uid, Stored>, JournalError> {
    let sql = "SELECT kind, uid, project, revision, document, name, origin FROM resources";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query(())?;
    let mut stored = HashMap::new();
    while let Some(row) = rows.next()? {
        let document = document(row)?;
        let origin: String = row.get(6)?;
        let one = Stored {
            name: row.get(5)?,
            is_from_file: origin == ORIGIN_FILE,
            document,
        };
        stored.insert(one.document.uid, one);
    }
    Ok(stored)
}

/// Gives resources of the file the ids and masks they had.
struct Names<'s> {
    by_name: HashMap<(Kind, Option<ProjectId>, &'s str), Uid>,
    stored: &'s HashMap<Uid, Stored>,
    now_ms: i64,
}

impl Naming for Names<'_> {
    fn uid(&mut self, kind: Kind, project: Option<ProjectId>, name: &str) -> Uid {
        self.by_name
            .get(&(kind, project, name))
            .copied()
            .unwrap_or_else(|| random::uid(self.now_ms))
    }

    fn mask(&mut self, source: Uid) -> String {
        let stored = self.stored.get(&source);
        stored
            .and_then(|stored| mask_of(&stored.document.spec))
            .unwrap_or_else(random::mask)
    }
}

fn plan(
    file: &File,
    stored: &HashMap<Uid, Stored>,
    now_ms: i64,
) -> Result<Vec<Planned>, PlanError> {
    let by_name = stored.values().map(|one| {
        let Document {
            kind, uid, project, ..
        } = one.document;
        let project = (kind != Kind::Project).then_some(project);
        ((kind, project, one.name.as_str()), uid)
    });
    file.plan(&mut Names {
        by_name: by_name.collect(),
        stored,
        now_ms,
    })
}

/// What is different: deletions first, those that refer to others before them; then the rest in
/// the order of the kinds. So no reference ever dangles, and names and uids are free when they
/// are taken.
fn edits<'e>(
    stored: &'e HashMap<Uid, Stored>,
    planned: &'e [Planned],
) -> Result<Vec<Edit<'e>>, ApplyError> {
    let mut edits = Vec::new();
    let wanted: HashSet<Uid> = planned.iter().map(|one| one.uid).collect();
    let is_gone = |one: &&Stored| one.is_from_file && !wanted.contains(&one.document.uid);
    let mut gone: Vec<&Stored> = stored.values().filter(is_gone).collect();
    gone.sort_by_key(|one| std::cmp::Reverse((one.document.kind, one.document.uid)));
    edits.extend(gone.into_iter().map(|one| Edit {
        op: Op::Delete,
        before: Some(one),
        after: None,
    }));
    let kept: HashSet<(Kind, ProjectId, &str)> = stored
        .values()
        .filter(|one| !one.is_from_file)
        .map(|one| (one.document.kind, one.document.project, one.name.as_str()))
        .collect();
    let mut upserts = Vec::new();
    for one in planned {
        match stored.get(&one.uid) {
            Some(before)
                if (before.document.kind, before.document.project) != (one.kind, one.project) =>
            {
                return Err(ApplyError::UidTaken {
                    kind: one.kind,
                    name: one.name.clone(),
                    uid: one.uid,
                });
            }
            Some(before) if !before.is_from_file => {
                return Err(ApplyError::Foreign {
                    kind: one.kind,
                    name: one.name.clone(),
                });
            }
            Some(before) if before.document.spec == one.spec && before.name == one.name => {}
            Some(before) => upserts.push(Edit {
                op: Op::Update,
                before: Some(before),
                after: Some(one),
            }),
            None if kept.contains(&(one.kind, one.project, one.name.as_str())) => {
                return Err(ApplyError::Foreign {
                    kind: one.kind,
                    name: one.name.clone(),
                });
            }
            None => upserts.push(Edit {
                op: Op::Create,
                before: None,
                after: Some(one),
            }),
        }
    }
    upserts.sort_by_key(|edit| edit.after.map(|one| (one.kind, one.uid)));
    edits.extend(upserts);
    Ok(edits)
}

/// Puts the revision in force in a snapshot of our own: what a data plane would quarantine is
/// refused before it is written.
fn dry_run(
    stored: &HashMap<Uid, Stored>,
    edits: &[Edit<'_>],
    head: Version,
    version: Version,
) -> Result<(), ApplyError> {
    let present = Transaction {
        version: head,
        is_full: true,
        upserts: stored.values().map(|one| one.document.clone()).collect(),
        removals: Vec::new(),
    };
    let mut change = Transaction {
        version,
        is_full: false,
        upserts: Vec::new(),
        removals: Vec::new(),
    };
    for edit in edits {
        match (edit.before, edit.after) {
            (_, Some(after)) => change.upserts.push(Document {
                kind: after.kind,
                uid: after.uid,
                project: after.project,
                revision: version.revision,
                spec: after.spec.clone(),
            }),
            (Some(before), None) => change
                .removals
                .push((before.document.kind, before.document.uid)),
            (None, None) => {}
        }
    }
    let (present, before) = Snapshot::empty().apply(&present);
    let (_, after) = present.apply(&change);
    // What was refused before, by rules that are newer than the resource, does not block a change.
    let refused: Vec<Quarantined> = after
        .into_iter()
        .filter(|one| !before.contains(one))
        .collect();
    if refused.is_empty() {
        Ok(())
    } else {
        Err(ApplyError::Refused(refused))
    }
}

fn write(
    transaction: &Connection,
    edits: &[Edit<'_>],
    revision: Revision,
    now_ms: i64,
    actor: &str,
) -> Result<(), JournalError> {
    transaction.execute(
        "INSERT INTO revisions (number, at, actor, summary) VALUES (?1, ?2, ?3, ?4)",
        (raw(revision), now_ms, actor, summary(edits)),
    )?;
    // All rows that change go first: two resources may have swapped names.
    let mut delete = transaction.prepare("DELETE FROM resources WHERE uid = ?1")?;
    for before in edits.iter().filter_map(|edit| edit.before) {
        delete.execute([before.document.uid.to_string()])?;
    }
    let mut insert = transaction.prepare(
        "INSERT INTO resources (uid, kind, project, name, owner, origin, revision, document)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    let mut record = transaction.prepare(
        "INSERT INTO changes (revision, seq, kind, uid, project, op, before, after)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for (seq, edit) in (1_i64..).zip(edits) {
        let (kind, uid, project) = match (edit.before, edit.after) {
            (_, Some(after)) => (after.kind, after.uid, after.project),
            (Some(before), None) => (
                before.document.kind,
                before.document.uid,
                before.document.project,
            ),
            (None, None) => continue,
        };
        let (uid, project) = (uid.to_string(), project.to_string());
        let before = edit.before.map(|before| &before.document.spec[..]);
        let after = edit.after.map(|after| &after.spec[..]);
        record.execute((
            raw(revision),
            seq,
            kind.as_str(),
            &uid,
            &project,
            edit.op.as_str(),
            before,
            after,
        ))?;
        if let Some(Planned {
            name, owner, spec, ..
        }) = edit.after
        {
            insert.execute((
                &uid,
                kind.as_str(),
                &project,
                name,
                owner,
                ORIGIN_FILE,
                raw(revision),
                &spec[..],
            ))?;
        }
    }
    Ok(())
}

/// "2 created, 1 updated, 0 deleted".
fn summary(edits: &[Edit<'_>]) -> String {
    let count = |op| edits.iter().filter(|edit| edit.op == op).count();
    format!(
        "{} created, {} updated, {} deleted",
        count(Op::Create),
        count(Op::Update),
        count(Op::Delete)
    )
}
