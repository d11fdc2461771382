//! Names as numbers: what rows refer to is kept once.

use std::collections::HashMap;

use outrider_webhook::id::{EndpointId, ProjectId, SourceId, SubscriptionId, Uid};
use outrider_webhook::undelivered::Reason;
use rusqlite::{Connection, OptionalExtension};

use super::IndexError;

/// Whose the names are that are everybody's.
const NO_PROJECT: ProjectId = ProjectId::new(Uid::from_bits(0));
/// Names remembered; beyond it all are forgotten and asked for again.
const REMEMBERED_MAX: usize = 200_000;

/// Kinds in the table; the numbers never change.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Project = 1,
    Source = 2,
    EventType = 3,
    Owner = 4,
    Reason = 5,
}

/// Gives names their numbers, new ones too. For the writing connection.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: HashMap<Box<[u8]>, i64>,
    routes: HashMap<(EndpointId, Option<SubscriptionId>), i64>,
    scratch: Vec<u8>,
}

impl Names {
    pub(super) fn project(
        &mut self,
        connection: &Connection,
        project: ProjectId,
    ) -> Result<i64, IndexError> {
        self.number(connection, Kind::Project, project, "")
    }

    pub(super) fn source(
        &mut self,
        connection: &Connection,
        source: SourceId,
    ) -> Result<i64, IndexError> {
        self.number(connection, Kind::Source, ProjectId::new(source.uid()), "")
    }

    pub(super) fn event_type(
        &mut self,
        connection: &Connection,
        project: ProjectId,
        name: &str,
    ) -> Result<i64, IndexError> {
        self.number(connection, Kind::EventType, project, name)
    }

    pub(super) fn owner(
        &mut self,
        connection: &Connection,
        project: ProjectId,
        owner: &str,
    ) -> Result<i64, IndexError> {
        self.number(connection, Kind::Owner, project, owner)
    }

    /// Of all projects: there are few.
    pub(super) fn reason(
        &mut self,
        connection: &Connection,
        code: &str,
    ) -> Result<i64, IndexError> {
        self.number(connection, Kind::Reason, NO_PROJECT, code)
    }

    pub(super) fn route(
        &mut self,
        connection: &Connection,
        endpoint: EndpointId,
        subscription: Option<SubscriptionId>,
    ) -> Result<i64, IndexError> {
        if let Some(number) = self.routes.get(&(endpoint, subscription)) {
            return Ok(*number);
        }
        let (to, by) = (endpoint_key(endpoint), subscription_key(subscription));
        connection
            .prepare_cached(
                "INSERT OR IGNORE INTO routes (endpoint, subscription) VALUES (?1, ?2)",
            )?
            .execute((&to[..], &by[..]))?;
        let number = connection
            .prepare_cached("SELECT id FROM routes WHERE endpoint = ?1 AND subscription = ?2")?
            .query_row((&to[..], &by[..]), |row| row.get(0))?;
        if self.routes.len() >= REMEMBERED_MAX {
            self.routes.clear();
        }
        self.routes.insert((endpoint, subscription), number);
        Ok(number)
    }

    fn number(
        &mut self,
        connection: &Connection,
        kind: Kind,
        scope: ProjectId,
        text: &str,
    ) -> Result<i64, IndexError> {
        self.scratch.clear();
        self.scratch.push(kind as u8);
        self.scratch.extend(scope.uid().bits().to_be_bytes());
        self.scratch.extend(text.as_bytes());
        if let Some(number) = self.known.get(self.scratch.as_slice()) {
            return Ok(*number);
        }
        let key = self.scratch.get(1..).unwrap_or_default();
        connection
            .prepare_cached("INSERT OR IGNORE INTO names (kind, key) VALUES (?1, ?2)")?
            .execute((kind as u8, key))?;
        let number = connection
            .prepare_cached("SELECT id FROM names WHERE kind = ?1 AND key = ?2")?
            .query_row((kind as u8, key), |row| row.get(0))?;
        if self.known.len() >= REMEMBERED_MAX {
            self.known.clear();
        }
        self.known.insert(self.scratch.as_slice().into(), number);
        Ok(number)
    }
}

/// The number of a name, for readers; `None` when no row can have it.
pub(super) fn find(
    connection: &Connection,
    kind: Kind,
    scope: ProjectId,
    text: &str,
) -> Result<Option<i64>, IndexError> {
    let key = key(scope, text);
    let number = connection
        .prepare_cached("SELECT id FROM names WHERE kind = ?1 AND key = ?2")?
        .query_row((kind as u8, &key[..]), |row| row.get(0))
        .optional()?;
    Ok(number)
}

/// The numbers of reasons, of those that any delivery ended for.
pub(super) fn reasons(connection: &Connection, reasons: &[Reason]) -> Result<Vec<i64>, IndexError> {
    let mut numbers = Vec::with_capacity(reasons.len());
    for reason in reasons {
        numbers.extend(find(connection, Kind::Reason, NO_PROJECT, reason.code())?);
    }
    Ok(numbers)
}

/// The numbers of all event types of a project whose name contains `text`, at most `limit`.
pub(super) fn types_containing(
    connection: &Connection,
    project: ProjectId,
    text: &str,
    limit: usize,
) -> Result<Vec<i64>, IndexError> {
    let (from, to) = (key(project, ""), key(project, "\u{10ffff}"));
    let mut statement = connection.prepare_cached(
        "SELECT id FROM names WHERE kind = ?1 AND key > ?2 AND key <= ?3
         AND instr(CAST(substr(key, 17) AS TEXT), ?4) > 0 LIMIT ?5",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement.query_map(
        (Kind::EventType as u8, &from[..], &to[..], text, limit),
        |row| row.get(0),
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The numbers of the routes to an endpoint.
pub(super) fn routes_to(
    connection: &Connection,
    endpoint: EndpointId,
) -> Result<Vec<i64>, IndexError> {
    let mut statement = connection.prepare_cached("SELECT id FROM routes WHERE endpoint = ?1")?;
    let rows = statement.query_map([&endpoint_key(endpoint)[..]], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The numbers of the routes of a subscription: more than one when its endpoint was changed.
pub(super) fn routes_of(
    connection: &Connection,
    subscription: SubscriptionId,
) -> Result<Vec<i64>, IndexError> {
    let mut statement =
        connection.prepare_cached("SELECT id FROM routes WHERE subscription = ?1")?;
    let key = subscription_key(Some(subscription));
    let rows = statement.query_map([&key[..]], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn key(scope: ProjectId, text: &str) -> Vec<u8> {
    let mut key = scope.uid().bits().to_be_bytes().to_vec();
    key.extend(text.as_bytes());
    key
}

fn endpoint_key(endpoint: EndpointId) -> [u8; 16] {
    endpoint.uid().bits().to_be_bytes()
}

fn subscription_key(subscription: Option<SubscriptionId>) -> Vec<u8> {
    subscription.map_or_else(Vec::new, |id| id.uid().bits().to_be_bytes().to_vec())
}
