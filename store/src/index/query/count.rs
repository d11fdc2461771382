//! How many rows a filter finds, without reading what they are about.

use outrider_webhook::id::ProjectId;

use super::{DeliveryFilter, EventFilter, deliveries, events};
use crate::index::names::{self, Kind};
use crate::index::{Index, IndexError, View};
use crate::record::DeliveryStatus;

/// Rows looked at for a number: some hundred milliseconds of one reader.
const LOOKED_AT_MAX: u32 = 1_000_000;

/// A number of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Rows that were found.
    pub rows: u64,
    /// Whether there may be more: so many were looked at, and then no more.
    pub is_least: bool,
}

impl Index {
    /// How many deliveries a filter finds.
    ///
    /// # Errors
    /// [`IndexError`].
    pub async fn count_deliveries(&self, filter: DeliveryFilter) -> Result<Count, IndexError> {
        let counted = self.list(move |view| deliveries::count(view, &filter, LOOKED_AT_MAX));
        Ok(counted.await?.0)
    }

    /// How many events a filter finds; its search is not looked at.
    ///
    /// # Errors
    /// [`IndexError`].
    pub async fn count_events(&self, filter: EventFilter) -> Result<Count, IndexError> {
        let counted = self.list(move |view| events::count(view, &filter, LOOKED_AT_MAX));
        Ok(counted.await?.0)
    }

    /// How many deliveries of a project are in each state, of events between those of the filter;
    /// the rest of the filter is not looked at.
    ///
    /// # Errors
    /// [`IndexError`].
    pub async fn status_totals(
        &self,
        filter: DeliveryFilter,
    ) -> Result<Vec<(DeliveryStatus, Count)>, IndexError> {
        let counted = self.list(move |view| {
            let each = DeliveryStatus::ALL.into_iter();
            each.map(|status| Ok((status, of_status(view, &filter, status)?)))
                .collect()
        });
        Ok(counted.await?.0)
    }
}

fn of_status(
    view: &View<'_>,
    filter: &DeliveryFilter,
    status: DeliveryStatus,
) -> Result<Count, IndexError> {
    let project = match filter.project {
        Some(project) => number(view, project)?,
        None => None,
    };
    let Some(project) = project else {
        return Ok(Count::default());
    };
    let from = filter.from.map_or(0, |id| id.raw());
    let sql = "SELECT count(*) FROM (SELECT 1 FROM deliveries INDEXED BY deliveries_by_status
               WHERE project = ?1 AND status = ?2 AND event >= ?3 AND event <= ?4 LIMIT ?5)";
    let bounds = (
        project,
        status.number(),
        from,
        view.up_to(filter.to).raw(),
        LOOKED_AT_MAX,
    );
    let mut statement = view.connection.prepare_cached(sql)?;
    let rows: u32 = statement.query_row(bounds, |row| row.get(0))?;
    Ok(Count {
        rows: rows.into(),
        is_least: rows == LOOKED_AT_MAX,
    })
}

fn number(view: &View<'_>, project: ProjectId) -> Result<Option<i64>, IndexError> {
    names::find(view.connection, Kind::Project, project, "")
}
