//! Older idempotency keys: those that memory has let go of.

use outrider_webhook::id::{EventId, ProjectId};

use super::fold::first_word;
use super::mark::unpacked;
use super::{Index, IndexError};
use crate::codec::{Entry, IdemKey};
use crate::event::Position;
use crate::log::LocalLog;

impl Index {
    /// The event that a key of a project belongs to, if it is remembered at `now_ms`. Waits until
    /// the index has the events up to `through`.
    pub(crate) async fn first_with_key(
        &self,
        project: ProjectId,
        key: &str,
        now_ms: i64,
        through: EventId,
    ) -> Result<Option<EventId>, IndexError> {
        if self.inner.shared.progress.borrow().events < through {
            self.caught_up().await?;
        }
        let word = first_word(IdemKey::new(project, key));
        let key: Box<str> = key.into();
        self.read(move |connection, log| {
            let mut statement = connection.prepare_cached(
                "SELECT id, place FROM events WHERE idem = ?1 AND expires > ?2 ORDER BY id DESC",
            )?;
            let mut rows = statement.query((word, now_ms))?;
            while let Some(row) = rows.next()? {
                let (id, place): (i64, i64) = (row.get(0)?, row.get(1)?);
                // Half of a hash found it; the key itself decides.
                if is_of(log, unpacked(place), project, &key)? {
                    return Ok(EventId::from_raw(id));
                }
            }
            Ok(None)
        })
        .await
    }
}

fn is_of(
    log: &LocalLog,
    position: Position,
    project: ProjectId,
    key: &str,
) -> Result<bool, IndexError> {
    Ok(match log.entry(position)? {
        Entry::Accept { event, .. } => {
            event.facts.project == project && event.facts.idempotency_key.as_deref() == Some(key)
        }
        _ => false,
    })
}
