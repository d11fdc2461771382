//! The journal as the push reads it: everything at once, or what changed since.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use outrider_config::{Document, Transaction, Version};
use outrider_webhook::id::ProjectId;
use outrider_xds::{RevisionLog, RevisionLogError, Since};
use rusqlite::{Connection, Row};
use tokio::sync::watch;

use crate::journal::{Journal, JournalError, kind_of, sql, uid_of, version};

/// Documents handed over at once.
const CHUNK: usize = 2_000;
/// Furthest revision behind the head that is caught up with change by change; beyond it reading
/// everything is cheaper.
const TAIL_REVISIONS: u64 = 10_000;

/// Hands the journal to the push.
pub(crate) struct JournalReader(pub(crate) Arc<Journal>);

impl RevisionLog for JournalReader {
    fn head(&self) -> watch::Receiver<Version> {
        self.0.head()
    }

    fn read_full(
        &self,
        each: &mut dyn FnMut(Vec<Document>) -> ControlFlow<()>,
    ) -> Result<Version, RevisionLogError> {
        self.full(each).map_err(RevisionLogError::read)
    }

    fn read_since(
        &self,
        revision: u64,
        each: &mut dyn FnMut(Transaction) -> ControlFlow<()>,
    ) -> Result<Since, RevisionLogError> {
        self.since(revision, each).map_err(RevisionLogError::read)
    }
}

impl JournalReader {
    fn full(&self, each: &mut dyn FnMut(Vec<Document>) -> ControlFlow<()>) -> Result<Version, JournalError> {
        let mut connection = self.0.reader()?;
        let state = connection.transaction()?; // one state, whatever is written meanwhile
        let version = version(&state)?;
        let mut query = state.prepare("SELECT kind, uid, project, revision, document FROM resources ORDER BY project")?;
        let mut rows = query.query([])?;
        let mut chunk = Vec::new();
        while let Some(row) = rows.next()? {
            chunk.push(document(row)?);
            if chunk.len() == CHUNK && each(std::mem::take(&mut chunk)).is_break() {
                return Ok(version);
            }
        }
        if !chunk.is_empty() {
            let _ = each(chunk); // it was the last one anyhow
        }
        Ok(version)
    }

    fn since(&self, revision: u64, each: &mut dyn FnMut(Transaction) -> ControlFlow<()>) -> Result<Since, JournalError> {
        let mut connection = self.0.reader()?;
        let state = connection.transaction()?;
        let head = version(&state)?;
        if revision > head.revision || head.revision - revision > TAIL_REVISIONS {
            return Ok(Since::Gone);
        }
        for number in revision + 1..=head.revision {
            let version = Version { journal: head.journal, revision: number };
            if each(changes(&state, version)?).is_break() {
                break;
            }
        }
        Ok(Since::UpTo(head))
    }
}

fn document(row: &Row<'_>) -> Result<Document, JournalError> {
    let revision = u64::try_from(row.get::<_, i64>(3)?).map_err(|_| JournalError::Corrupt("a negative revision".into()))?;
    Ok(Document {
        kind: kind_of(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?,
        uid: uid_of(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?)?,
        project: ProjectId::new(uid_of(row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?)?),
        revision,
        spec: Bytes::from(row.get::<_, Vec<u8>>(4)?),
    })
}

/// One revision as a transaction: the last word on each resource.
fn changes(state: &Connection, version: Version) -> Result<Transaction, JournalError> {
    let mut query = state.prepare_cached(
        "SELECT kind, uid, project, revision, after FROM changes WHERE revision = ?1 ORDER BY seq",
    )?;
    let mut rows = query.query([sql(version.revision)])?;
    let mut last = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let is_removal = row.get_ref(4)?.as_blob_or_null().map_err(rusqlite::Error::from)?.is_none();
        let kind = kind_of(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?;
        let uid = uid_of(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?)?;
        last.insert((kind, uid), if is_removal { None } else { Some(document(row)?) });
    }
    let mut transaction = Transaction { version, is_full: false, upserts: Vec::new(), removals: Vec::new() };
    for ((kind, uid), document) in last {
        match document {
            Some(document) => transaction.upserts.push(document),
            None => transaction.removals.push((kind, uid)),
        }
    }
    Ok(transaction)
}
