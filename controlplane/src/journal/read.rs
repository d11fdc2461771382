//! Reading the journal: the whole state, the tail, and the history.

use std::ops::ControlFlow;

use std::sync::PoisonError;

use outrider_config::{Document, Snapshot, Transaction, Version};
use outrider_webhook::id::{ProjectId, Uid};
use outrider_xds::{RevisionLog, RevisionLogError, Since};
use rusqlite::{Connection, Row};
use tokio::sync::watch;

use super::{
    Change, IDLE_READERS_MAX, Journal, JournalError, Op, TAIL_REVISIONS, View, document, kind_of,
    number, raw, schema, uid,
};

/// Documents handed over at once.
const CHUNK: usize = 2_000;

/// Kinds in the order in which they refer to each other, then by id.
const ALL_RESOURCES: &str = "
    SELECT kind, uid, project, revision, document FROM resources
    ORDER BY CASE kind
        WHEN 'egress_policy' THEN 0 WHEN 'egress_pool' THEN 1 WHEN 'project' THEN 2
        WHEN 'event_type' THEN 3 WHEN 'source' THEN 4 WHEN 'endpoint' THEN 5
        WHEN 'subscription' THEN 6 ELSE 7
    END, uid";

const CHANGES_SINCE: &str = "
    SELECT revision, op, kind, uid, project, after FROM changes
    WHERE revision > ?1 ORDER BY revision, seq";

const HISTORY: &str = "
    SELECT c.revision, r.at, r.actor, c.op, c.kind, c.uid, c.project, c.before, c.after
    FROM changes c JOIN revisions r ON r.number = c.revision
    WHERE c.revision > ?1 ORDER BY c.revision, c.seq LIMIT ?2";

impl Journal {
    /// Looks things up in one state of the journal. Changes do not wait for it, nor it for them.
    ///
    /// # Errors
    /// What `look` says, and [`JournalError`].
    pub fn read<T, E: From<JournalError>>(
        &self,
        look: impl FnOnce(&View<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let lock = || {
            self.idle_readers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        let idle = lock().pop();
        let mut reader = match idle {
            Some(reader) => reader,
            None => self.reader()?,
        };
        let transaction = reader.transaction().map_err(JournalError::from)?;
        // A transaction sees the state of its first look, not of its beginning: without this one
        // the snapshot could be older than the rows by any number of revisions.
        schema::version(&transaction)?;
        let looked = look(&View::new(&transaction, &self.snapshot()));
        transaction.finish().map_err(JournalError::from)?;
        let mut idle = lock();
        if idle.len() < IDLE_READERS_MAX {
            idle.push(reader);
        }
        looked
    }

    /// The snapshot of what is stored.
    pub(super) fn compile(&self) -> Result<Snapshot, JournalError> {
        let mut upserts = Vec::new();
        let version = self.full(&mut |chunk| {
            upserts.extend(chunk);
            ControlFlow::Continue(())
        })?;
        let everything = Transaction {
            version,
            is_full: true,
            upserts,
            removals: Vec::new(),
        };
        Ok(Snapshot::empty().apply(&everything).0)
    }

    /// The changes after a revision, oldest first, at most `limit`.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn history(&self, after: u64, limit: u32) -> Result<Vec<Change>, JournalError> {
        let reader = self.reader()?;
        let mut statement = reader.prepare(HISTORY)?;
        let mut rows = statement.query((raw(after), limit))?;
        let mut changes = Vec::new();
        while let Some(row) = rows.next()? {
            changes.push(change(row)?);
        }
        Ok(changes)
    }

    fn full(
        &self,
        each: &mut dyn FnMut(Vec<Document>) -> ControlFlow<()>,
    ) -> Result<Version, JournalError> {
        let mut reader = self.reader()?;
        let reader = reader.transaction()?; // one consistent state
        let version = schema::version(&reader)?;
        let mut statement = reader.prepare(ALL_RESOURCES)?;
        let mut rows = statement.query(())?;
        let mut chunk = Vec::new();
        while let Some(row) = rows.next()? {
            chunk.push(document(row)?);
            if chunk.len() == CHUNK && each(std::mem::take(&mut chunk)).is_break() {
                return Ok(version);
            }
        }
        if !chunk.is_empty() {
            let _ = each(chunk); // the last one: stopping here and being done are the same
        }
        Ok(version)
    }

    fn since(
        &self,
        revision: u64,
        each: &mut dyn FnMut(Transaction) -> ControlFlow<()>,
    ) -> Result<Since, JournalError> {
        let mut reader = self.reader()?;
        let reader = reader.transaction()?;
        let head = schema::version(&reader)?;
        if head
            .revision
            .checked_sub(revision)
            .is_none_or(|behind| behind > TAIL_REVISIONS)
        {
            return Ok(Since::Gone);
        }
        tail(&reader, head, revision, each)?;
        Ok(Since::UpTo(head))
    }
}

/// Hands over one transaction per revision.
fn tail(
    reader: &Connection,
    head: Version,
    after: u64,
    each: &mut dyn FnMut(Transaction) -> ControlFlow<()>,
) -> Result<(), JournalError> {
    let empty = |revision| Transaction {
        version: Version { revision, ..head },
        is_full: false,
        upserts: Vec::new(),
        removals: Vec::new(),
    };
    let mut statement = reader.prepare(CHANGES_SINCE)?;
    let mut rows = statement.query((raw(after),))?;
    let mut open: Option<Transaction> = None;
    while let Some(row) = rows.next()? {
        let revision = number(row.get(0)?)?;
        if open
            .as_ref()
            .is_some_and(|open| open.version.revision != revision)
            && let Some(done) = open.take()
            && each(done).is_break()
        {
            return Ok(());
        }
        add(open.get_or_insert_with(|| empty(revision)), revision, row)?;
    }
    if let Some(done) = open {
        let _ = each(done);
    }
    Ok(())
}

fn add(transaction: &mut Transaction, revision: u64, row: &Row<'_>) -> Result<(), JournalError> {
    let (op, kind, id, project): (String, String, String, String) =
        (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
    let (kind, uid, project) = (kind_of(&kind)?, uid(&id)?, ProjectId::new(uid(&project)?));
    match Op::parse(&op)? {
        Op::Delete => transaction.removals.push((kind, uid)),
        Op::Create | Op::Update => {
            let spec: Option<Vec<u8>> = row.get(5)?;
            let spec = spec.ok_or_else(|| {
                JournalError::Corrupt(format!("revision {revision}: no document"))
            })?;
            transaction.upserts.push(Document {
                kind,
                uid,
                project,
                revision,
                spec: spec.into(),
            });
        }
    }
    Ok(())
}

fn change(row: &Row<'_>) -> Result<Change, JournalError> {
    let (op, kind, id, project): (String, String, String, String) =
        (row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?);
    let uid_of = |text: &str| -> Result<Uid, JournalError> { uid(text) };
    Ok(Change {
        revision: number(row.get(0)?)?,
        at_ms: row.get(1)?,
        actor: row.get(2)?,
        op: Op::parse(&op)?,
        kind: kind_of(&kind)?,
        uid: uid_of(&id)?,
        project: ProjectId::new(uid_of(&project)?),
        before: row.get(7)?,
        after: row.get(8)?,
    })
}

fn log_error(error: JournalError) -> RevisionLogError {
    match error {
        JournalError::Corrupt(what) => RevisionLogError::Corrupt(what),
        other => RevisionLogError::read(other),
    }
}

impl RevisionLog for Journal {
    fn head(&self) -> watch::Receiver<Version> {
        self.head.subscribe()
    }

    fn read_full(
        &self,
        each: &mut dyn FnMut(Vec<Document>) -> ControlFlow<()>,
    ) -> Result<Version, RevisionLogError> {
        self.full(each).map_err(log_error)
    }

    fn read_since(
        &self,
        revision: u64,
        each: &mut dyn FnMut(Transaction) -> ControlFlow<()>,
    ) -> Result<Since, RevisionLogError> {
        self.since(revision, each).map_err(log_error)
    }
}
