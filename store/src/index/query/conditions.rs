//! What data planes decided about an endpoint by themselves.

use outrider_webhook::id::EndpointId;

use crate::codec::Entry;
use crate::index::mark::unpacked;
use crate::index::{Index, IndexError, items};
use crate::record::EndpointStateRecord;

/// Conditions that are read at once.
pub const CONDITIONS_MAX: u32 = 100;
/// Those before the begin that are read as well: one may still have held then.
const BEFORE: u32 = 3;

impl Index {
    /// The conditions of an endpoint from one time to another (Unix milliseconds), oldest first,
    /// and the last ones before that; at most [`CONDITIONS_MAX`].
    ///
    /// # Errors
    /// [`IndexError`].
    pub async fn conditions(
        &self,
        endpoint: EndpointId,
        (from_ms, to_ms): (i64, i64),
    ) -> Result<Vec<EndpointStateRecord>, IndexError> {
        self.get(&self.inner.reads, move |view| {
            let key = endpoint.uid().bits().to_be_bytes();
            let mut before = view.connection.prepare_cached(
                "SELECT place FROM endpoint_states WHERE endpoint = ?1 AND at < ?2
                 ORDER BY at DESC, place DESC LIMIT ?3",
            )?;
            let bounds = (key, from_ms, BEFORE);
            let places = before.query_map(bounds, |row| row.get::<_, i64>(0))?;
            let mut places: Vec<i64> = places.collect::<Result<_, _>>()?;
            places.reverse();
            let mut within = view.connection.prepare_cached(
                "SELECT place FROM endpoint_states WHERE endpoint = ?1 AND at >= ?2 AND at <= ?3
                 ORDER BY at, place LIMIT ?4",
            )?;
            let bounds = (key, from_ms, to_ms, CONDITIONS_MAX - BEFORE);
            let found = within.query_map(bounds, |row| row.get::<_, i64>(0))?;
            places.extend(found.collect::<Result<Vec<_>, _>>()?);
            let mut records = Vec::with_capacity(places.len());
            for place in places {
                let entry = items::found(view.log.entry_head(unpacked(place)))?;
                if let Some(Entry::EndpointState(record)) = entry {
                    records.push(record);
                }
            }
            Ok(records)
        })
        .await
    }
}
