//! Which index answers a filter at the least cost, and the walk along it.

mod named;

use outrider_webhook::id::{DeliveryKey, EventId};
use rusqlite::{Connection, Row};

use self::named::{events_of, reasons_of, routes_of, statuses};
use super::key_of;
use crate::index::names::{self, Kind};
use crate::index::query::walk::{Found, Walk, Walked, Work, direction, walk};
use crate::index::query::{Count, DeliveryFilter, events};
use crate::index::{IndexError, View};
use crate::record::DeliveryStatus;

/// Rows counted of each condition, to find out which is the narrowest.
const COUNTED_MAX: i64 = 1_000;

/// What lists are filtered by: in every index that is walked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) key: DeliveryKey,
    project: i64,
    event_type: i64,
    route: i64,
    status: i64,
    reason: Option<i64>,
}

const WALKED: &str = "d.event, d.ordinal, d.project, d.type, d.route, d.status, d.reason";

impl Found for Candidate {
    type Key = DeliveryKey;

    fn read(row: &Row<'_>) -> Result<Self, rusqlite::Error> {
        Ok(Self {
            key: key_of(row)?,
            project: row.get(2)?,
            event_type: row.get(3)?,
            route: row.get(4)?,
            status: row.get(5)?,
            reason: row.get(6)?,
        })
    }

    fn key(&self) -> DeliveryKey {
        self.key
    }
}

/// The condition whose index is walked.
enum Driver {
    Events(Vec<i64>),
    Routes(Vec<i64>),
    Statuses(Vec<i64>),
    Reasons(Vec<i64>),
    EventType(i64),
}

/// A filter with its names as numbers.
pub(super) struct Plan {
    project: i64,
    driver: Driver,
    events: Option<Vec<i64>>,
    routes: Option<Vec<i64>>,
    statuses: Vec<i64>,
    reasons: Option<Vec<i64>>,
    event_type: Option<i64>,
    from: EventId,
    to: EventId,
}

impl Plan {
    /// `None` when no delivery can match.
    pub(super) fn make(
        view: &View<'_>,
        filter: &DeliveryFilter,
    ) -> Result<Option<Self>, IndexError> {
        let connection = view.connection;
        let Some(of) = filter.project else {
            return Ok(None);
        };
        let Some(project) = names::find(connection, Kind::Project, of, "")? else {
            return Ok(None);
        };
        let event_type = match &filter.event_type {
            None => None,
            Some(name) => match names::find(connection, Kind::EventType, of, name)? {
                None => return Ok(None),
                known => known,
            },
        };
        let mut plan = Self {
            project,
            driver: Driver::Events(Vec::new()),
            events: events_of(connection, of, filter)?,
            routes: routes_of(connection, filter)?,
            statuses: statuses(filter),
            reasons: reasons_of(connection, filter)?,
            event_type,
            from: filter.from.unwrap_or(EventId::ZERO),
            to: view.up_to(filter.to),
        };
        plan.driver = plan.narrowest(connection)?;
        Ok(Some(plan))
    }

    /// Events are few. Of the others the one with the fewest rows, as far as they are counted.
    fn narrowest(&self, connection: &Connection) -> Result<Driver, IndexError> {
        if let Some(events) = &self.events {
            return Ok(Driver::Events(events.clone()));
        }
        let mut candidates = Vec::new();
        if let Some(routes) = &self.routes {
            let sql = "SELECT count(*) FROM (SELECT 1 FROM deliveries WHERE route = ?1 LIMIT ?2)";
            candidates.push((
                count(connection, sql, routes)?,
                Driver::Routes(routes.clone()),
            ));
        }
        if let Some(name) = self.event_type {
            let sql = "SELECT count(*) FROM (SELECT 1 FROM events WHERE type = ?1 LIMIT ?2)";
            candidates.push((count(connection, sql, &[name])?, Driver::EventType(name)));
        }
        if let Some(reasons) = &self.reasons {
            let sql = "SELECT count(*) FROM
                (SELECT 1 FROM deliveries WHERE project = ?3 AND reason = ?1 LIMIT ?2)";
            let rows = count_in(connection, sql, reasons, self.project)?;
            candidates.push((rows, Driver::Reasons(reasons.clone())));
        }
        if candidates.is_empty() || self.statuses.len() < DeliveryStatus::ALL.len() {
            let sql = "SELECT count(*) FROM
                (SELECT 1 FROM deliveries WHERE project = ?3 AND status = ?1 LIMIT ?2)";
            let rows = count_in(connection, sql, &self.statuses, self.project)?;
            candidates.push((rows, Driver::Statuses(self.statuses.clone())));
        }
        let narrowest = candidates.into_iter().min_by_key(|(rows, _)| *rows);
        Ok(narrowest.map_or(Driver::Events(Vec::new()), |(_, driver)| driver))
    }

    pub(super) fn walk(
        &self,
        view: &View<'_>,
        work: &mut Work,
        from: Option<DeliveryKey>,
        is_backwards: bool,
        limit: usize,
    ) -> Result<Walked<Candidate>, IndexError> {
        let mut walks = self.walks(view.connection, from, is_backwards)?;
        walk(&mut walks, is_backwards, limit, work, |one, _| {
            Ok(self.matches(one))
        })
    }

    /// How many there are, as far as the work goes. Nothing is kept of them.
    pub(super) fn count(&self, view: &View<'_>, work: &mut Work) -> Result<Count, IndexError> {
        let mut rows = 0;
        let mut walks = self.walks(view.connection, None, false)?;
        let walked = walk(&mut walks, false, 0, work, |one: &Candidate, _| {
            rows += u64::from(self.matches(one));
            Ok(false)
        })?;
        Ok(Count {
            rows,
            is_least: walked.next.is_some(),
        })
    }

    fn walks<'c>(
        &self,
        connection: &'c Connection,
        cursor: Option<DeliveryKey>,
        is_backwards: bool,
    ) -> Result<Vec<Walk<'c>>, IndexError> {
        let range = self.range(cursor, is_backwards);
        let walk = |sql: &str, parameters: Vec<i64>| -> Result<Walk<'c>, IndexError> {
            Ok(Walk {
                statement: connection.prepare_cached(sql)?,
                parameters,
            })
        };
        let within = |event: &i64| {
            let (low, high) = range.ordinals(*event);
            walk(&by_event(is_backwards), vec![*event, low, high])
        };
        let each = |sql: String, values: &[i64]| -> Result<Vec<Walk<'c>>, IndexError> {
            let one = |value: &i64| walk(&sql, range.parameters(*value));
            values.iter().map(one).collect()
        };
        match &self.driver {
            Driver::Events(events) => events.iter().map(within).collect(),
            Driver::Routes(routes) => {
                let index = "INDEXED BY deliveries_by_route";
                each(by(index, "route = ?1", is_backwards), routes)
            }
            Driver::Statuses(statuses) => {
                let index = "INDEXED BY deliveries_by_status";
                let condition = format!("project = {} AND status = ?1", self.project);
                each(by(index, &condition, is_backwards), statuses)
            }
            Driver::Reasons(reasons) => {
                let index = "INDEXED BY deliveries_by_reason";
                let condition = format!("project = {} AND reason = ?1", self.project);
                each(by(index, &condition, is_backwards), reasons)
            }
            Driver::EventType(name) => {
                // The event that the cursor is in the middle of is walked by itself.
                let own = cursor.map(|cursor| cursor.event.raw());
                let mut walks = match own {
                    Some(event) if self.is_of_type(connection, event, *name)? => {
                        vec![within(&event)?]
                    }
                    _ => Vec::new(),
                };
                let (low, high) = range.events_beside(own);
                walks.push(walk(&by_type(is_backwards), vec![*name, low, high])?);
                Ok(walks)
            }
        }
    }

    /// The keys that a walk may meet.
    fn range(&self, cursor: Option<DeliveryKey>, is_backwards: bool) -> Range {
        let low = DeliveryKey {
            event: self.from,
            ordinal: 0,
        };
        let high = DeliveryKey {
            event: self.to,
            ordinal: u32::MAX,
        };
        match (cursor, is_backwards) {
            (None, _) => Range { low, high },
            (Some(cursor), true) => Range {
                low,
                high: high.min(cursor),
            },
            (Some(cursor), false) => Range {
                low: low.max(cursor),
                high,
            },
        }
    }

    fn is_of_type(
        &self,
        connection: &Connection,
        event: i64,
        name: i64,
    ) -> Result<bool, IndexError> {
        let id = EventId::from_raw(event).unwrap_or(EventId::ZERO);
        Ok(events::one(connection, id)?.is_some_and(|event| event.event_type == name))
    }

    fn matches(&self, one: &Candidate) -> bool {
        let is_routed = |routes: &Vec<i64>| routes.contains(&one.route);
        let is_for = |reasons: &Vec<i64>| one.reason.is_some_and(|own| reasons.contains(&own));
        one.project == self.project
            && (self.from..=self.to).contains(&one.key.event)
            && self.statuses.contains(&one.status)
            && self
                .event_type
                .is_none_or(|wanted| wanted == one.event_type)
            && self.routes.as_ref().is_none_or(is_routed)
            && self.reasons.as_ref().is_none_or(is_for)
    }
}

/// Keys from one to another, both included.
struct Range {
    low: DeliveryKey,
    high: DeliveryKey,
}

impl Range {
    /// A value and the bounds, as the statements have them.
    fn parameters(&self, value: i64) -> Vec<i64> {
        let Self { low, high } = self;
        vec![
            value,
            low.event.raw(),
            low.ordinal.into(),
            high.event.raw(),
            high.ordinal.into(),
        ]
    }

    /// The ordinals of one event; none when the event is outside.
    fn ordinals(&self, event: i64) -> (i64, i64) {
        let Self { low, high } = self;
        let (first, last) = (low.event.raw(), high.event.raw());
        if event < first || event > last {
            return (1, 0);
        }
        let from = if event == first { low.ordinal } else { 0 };
        let to = if event == last {
            high.ordinal
        } else {
            u32::MAX
        };
        (from.into(), to.into())
    }

    /// The events, without the one at the end where the cursor is.
    fn events_beside(&self, own: Option<i64>) -> (i64, i64) {
        let (low, high) = (self.low.event.raw(), self.high.event.raw());
        match own {
            Some(own) if own == high => (low, high.saturating_sub(1)),
            Some(own) if own == low => (low.saturating_add(1), high),
            _ => (low, high),
        }
    }
}

/// Row values make one range of event and ordinal, so that a cursor in the middle of an event
/// with a million deliveries costs no more than any other.
fn by(index: &str, condition: &str, is_backwards: bool) -> String {
    let direction = direction(is_backwards);
    format!(
        "SELECT {WALKED} FROM deliveries d {index} WHERE {condition}
         AND (event, ordinal) >= (?2, ?3) AND (event, ordinal) <= (?4, ?5)
         ORDER BY event {direction}, ordinal {direction}"
    )
}

fn by_event(is_backwards: bool) -> String {
    let direction = direction(is_backwards);
    format!(
        "SELECT {WALKED} FROM deliveries d WHERE event = ?1
         AND ordinal >= ?2 AND ordinal <= ?3 ORDER BY ordinal {direction}"
    )
}

fn by_type(is_backwards: bool) -> String {
    let direction = direction(is_backwards);
    format!(
        "SELECT {WALKED} FROM events e INDEXED BY events_by_type
         CROSS JOIN deliveries d ON d.event = e.id
         WHERE e.type = ?1 AND e.id >= ?2 AND e.id <= ?3
         ORDER BY e.id {direction}, d.ordinal {direction}"
    )
}

fn count(connection: &Connection, sql: &str, values: &[i64]) -> Result<i64, IndexError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut sum = 0;
    for value in values {
        sum += statement.query_row((value, COUNTED_MAX), |row| row.get::<_, i64>(0))?;
    }
    Ok(sum)
}

fn count_in(
    connection: &Connection,
    sql: &str,
    values: &[i64],
    project: i64,
) -> Result<i64, IndexError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut sum = 0;
    for value in values {
        sum += statement.query_row((value, COUNTED_MAX, project), |row| row.get::<_, i64>(0))?;
    }
    Ok(sum)
}
