//! Older idempotency keys: those that memory has let go of.

use std::sync::Arc;

use outrider_webhook::id::{EventId, ProjectId};
use tokio::time::timeout;

use super::fold::first_word;
use super::mark::unpacked;
use super::{GET_WAIT, Index, IndexError, Need, View, items};
use crate::codec::{Entry, IdemKey};
use crate::event::Position;

impl Index {
    /// The event that a key of a project belongs to, if it is remembered at `now_ms`. Sees every
    /// event up to `through`, and waits for that if it has to.
    pub(crate) async fn first_with_key(
        &self,
        project: ProjectId,
        key: &str,
        now_ms: i64,
        through: EventId,
    ) -> Result<Option<EventId>, IndexError> {
        let key: Box<str> = key.into();
        let word = first_word(IdemKey::new(project, &key));
        let look = move |view: &View<'_>| -> Result<Option<EventId>, IndexError> {
            let mut statement = view.connection.prepare_cached(
                "SELECT id, place FROM events INDEXED BY events_by_key
                 WHERE idem = ?1 AND first IS NULL AND expires > ?2 ORDER BY id DESC",
            )?;
            let mut rows = statement.query((word, now_ms))?;
            while let Some(row) = rows.next()? {
                let (id, place): (i64, i64) = (row.get(0)?, row.get(1)?);
                // Half of a hash found it; the key itself decides.
                if is_of(view, unpacked(place), project, &key)? {
                    return Ok(EventId::from_raw(id));
                }
            }
            Ok(None)
        };
        let look = Arc::new(look);
        let turns = &self.inner.keys;
        let limit = timeout(GET_WAIT, self.read(turns, Need::Events(through), &look));
        match limit.await {
            Ok(found) => match found? {
                Some((first, _)) => Ok(first),
                // Behind, or all events that old are gone.
                None => self.get(turns, move |view| look(view)).await,
            },
            Err(_) => Err(IndexError::Behind { lag_ms: 1 }),
        }
    }
}

fn is_of(
    view: &View<'_>,
    position: Position,
    project: ProjectId,
    key: &str,
) -> Result<bool, IndexError> {
    Ok(match items::found(view.log.entry_head(position))? {
        Some(Entry::Accept { event, .. }) => {
            event.facts.project == project && event.facts.idempotency_key.as_deref() == Some(key)
        }
        _ => false,
    })
}
