//! Lists of a project's resources, filtered and in pages.

use outrider_config::Kind;
use outrider_webhook::id::ProjectId;
use rusqlite::OptionalExtension;
use rusqlite::types::Value;

use super::super::columns::fold;
use super::super::resource::STORED;
use super::super::{JournalError, Stored};
use super::View;
use crate::api::page::{Look, Order, Scan};

/// Which resources of a project a list holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// What they are.
    pub kind: Kind,
    /// Whose they are.
    pub project: ProjectId,
    /// Part of the name, of either case.
    pub name_part: Option<String>,
    /// Owner of an endpoint.
    pub owner: Option<String>,
    /// Type of a source.
    pub source_type: Option<String>,
    /// Provider of a source.
    pub provider: Option<String>,
    /// Endpoints of a subscription; any when empty.
    pub endpoints: Vec<String>,
}

impl Selection {
    /// All resources of a kind.
    #[must_use]
    pub fn all(kind: Kind, project: ProjectId) -> Self {
        Self {
            kind,
            project,
            name_part: None,
            owner: None,
            source_type: None,
            provider: None,
            endpoints: Vec::new(),
        }
    }

    /// The index that leads to the rows in the order of their ids, or to the fewest rows.
    fn index(&self) -> &'static str {
        match (&self.owner, &self.endpoints[..]) {
            (Some(_), _) => "resources_by_owner",
            (None, []) => "resources_by_page",
            (None, _) => "resources_by_endpoint",
        }
    }
}

/// A statement under construction.
struct Query {
    conditions: String,
    values: Vec<Value>,
}

impl Query {
    fn of(selection: &Selection) -> Self {
        let mut query = Self {
            conditions: "1".to_owned(),
            values: Vec::new(),
        };
        query.and("project = ?", selection.project.to_string());
        query.and("kind = ?", selection.kind.as_str().to_owned());
        let part = selection.name_part.as_deref().map(fold);
        for (condition, value) in [
            ("owner = ?", selection.owner.clone()),
            ("source_type = ?", selection.source_type.clone()),
            ("provider = ?", selection.provider.clone()),
            ("instr(folded, ?) > 0", part),
        ] {
            if let Some(value) = value {
                query.and(condition, value);
            }
        }
        if !selection.endpoints.is_empty() {
            let places = vec!["?"; selection.endpoints.len()].join(", ");
            query.conditions += &format!(" AND endpoint IN ({places})");
            let ids = selection.endpoints.iter();
            query.values.extend(ids.map(|id| Value::Text(id.clone())));
        }
        query
    }

    fn and(&mut self, condition: &str, value: String) {
        self.conditions += &format!(" AND {condition}");
        self.values.push(Value::Text(value));
    }
}

const fn word(order: Order) -> &'static str {
    match order {
        Order::Ascending => "ASC",
        Order::Descending => "DESC",
    }
}

impl View<'_> {
    /// The rows of a scan.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn list(
        &self,
        selection: &Selection,
        scan: &Scan<'_>,
    ) -> Result<Vec<Stored>, JournalError> {
        let mut query = Query::of(selection);
        match (scan.from, scan.order) {
            (Some(from), Order::Ascending) => query.and("uid >= ?", from.to_owned()),
            (Some(from), Order::Descending) => query.and("uid <= ?", from.to_owned()),
            (None, _) => {}
        }
        let sql = format!(
            "SELECT {STORED} FROM resources INDEXED BY {} WHERE {} ORDER BY uid {} LIMIT {}",
            selection.index(),
            query.conditions,
            word(scan.order),
            scan.limit
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query(rusqlite::params_from_iter(query.values))?;
        let mut stored = Vec::new();
        while let Some(row) = rows.next()? {
            stored.push(Stored::of(row)?);
        }
        Ok(stored)
    }

    /// The id of the nearest row beyond another one.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn nearest(
        &self,
        selection: &Selection,
        look: &Look,
    ) -> Result<Option<String>, JournalError> {
        let mut query = Query::of(selection);
        match look.order {
            Order::Ascending => query.and("uid > ?", look.beyond.clone()),
            Order::Descending => query.and("uid < ?", look.beyond.clone()),
        }
        let sql = format!(
            "SELECT uid FROM resources INDEXED BY {} WHERE {} ORDER BY uid {} LIMIT 1",
            selection.index(),
            query.conditions,
            word(look.order)
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let values = rusqlite::params_from_iter(query.values);
        Ok(statement.query_row(values, |row| row.get(0)).optional()?)
    }
}
