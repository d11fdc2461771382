//! The list of events, and one by its id.

use std::sync::Arc;

use outrider_webhook::id::{EndpointId, EventId, ProjectId, SourceId};
use rusqlite::{Connection, Row};

use super::search::Prepared;
use super::walk::{Found, Walk, Walked, Work, direction, page, walk};
use super::{Count, EventFilter, OwnerFilter};
use crate::codec::IdemKey;
use crate::event::Position;
use crate::index::EventItem;
use crate::index::fold::first_word;
use crate::index::mark::unpacked;
use crate::index::names::{self, Kind};
use crate::index::{Index, IndexError, Need, Page, PageRequest, View, items};

/// A row of `events`.
#[derive(Debug, Clone, Copy)]
pub(in crate::index) struct EventRow {
    pub(in crate::index) id: EventId,
    project: i64,
    pub(super) event_type: i64,
    pub(super) source: Option<i64>,
    owner: Option<i64>,
    pub(super) idem: Option<i64>,
    /// Whether it is another one again, which is in the list already.
    is_replay: bool,
    pub(in crate::index) place: Position,
}

const COLUMNS: &str = "e.id, e.project, e.type, e.source, e.owner, e.idem, e.place, e.replay";

impl Found for EventRow {
    type Key = EventId;

    fn read(row: &Row<'_>) -> Result<Self, rusqlite::Error> {
        Ok(Self {
            id: EventId::from_raw(row.get(0)?).unwrap_or(EventId::ZERO),
            project: row.get(1)?,
            event_type: row.get(2)?,
            source: row.get(3)?,
            owner: row.get(4)?,
            idem: row.get(5)?,
            place: unpacked(row.get(6)?),
            is_replay: row.get::<_, Option<i64>>(7)?.is_some(),
        })
    }

    fn key(&self) -> EventId {
        self.id
    }
}

impl Index {
    /// A page of events, and how far the index was behind if it did not catch up in time,
    /// milliseconds.
    ///
    /// # Errors
    /// [`IndexError`].
    pub async fn events(
        &self,
        filter: EventFilter,
        request: PageRequest<EventId>,
    ) -> Result<(Page<EventItem, EventId>, Option<u64>), IndexError> {
        self.list(move |view| {
            let found = list(view, &filter, &request)?;
            items::events(view, found, request.direction)
        })
        .await
    }

    /// An event or a repeat of one; `None` when there is none in the project.
    ///
    /// # Errors
    /// [`IndexError`].
    pub async fn event(
        &self,
        project: ProjectId,
        id: EventId,
    ) -> Result<Option<EventItem>, IndexError> {
        let look = move |view: &View<'_>| -> Result<Option<EventItem>, IndexError> {
            let Some(number) = names::find(view.connection, Kind::Project, project, "")? else {
                return Ok(None);
            };
            let row = one(view.connection, id)?;
            let row = row.filter(|row| row.project == number && view.open != Some(row.id));
            match row {
                Some(row) => items::event(view, &row),
                None => Ok(None),
            }
        };
        // An event does not change: what is found is right, however far the index is.
        let reads = &self.inner.reads;
        let found = self.read(reads, Need::Nothing, &Arc::new(look)).await?;
        match found {
            Some((Some(item), _)) => Ok(Some(item)),
            _ => self.get(reads, look).await,
        }
    }
}

/// What is known of an event beside itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kin {
    /// Its repeats: they were accepted and not delivered. The first 1,000.
    pub repeats: Vec<EventId>,
    /// Its replays. The first 1,000.
    pub replays: Vec<EventId>,
}

impl Index {
    /// The number of the newest replay of each of these events; 0 where there is none.
    ///
    /// # Errors
    /// [`IndexError`].
    pub async fn replays_of(&self, events: Vec<EventId>) -> Result<Vec<u32>, IndexError> {
        self.get(&self.inner.reads, move |view| {
            let mut statement = view.connection.prepare_cached(
                "SELECT coalesce(max(replay), 0) FROM events INDEXED BY events_by_first
                 WHERE first = ?1",
            )?;
            let number = |event: &EventId| statement.query_row([event.raw()], |row| row.get(0));
            let numbers: Result<Vec<u32>, _> = events.iter().map(number).collect();
            Ok(numbers?)
        })
        .await
    }

    /// The repeats and the replays of an event.
    ///
    /// # Errors
    /// [`IndexError`].
    pub async fn kin(&self, event: EventId) -> Result<Kin, IndexError> {
        self.get(&self.inner.reads, move |view| {
            Ok(Kin {
                repeats: of_first(view.connection, event, false)?,
                replays: of_first(view.connection, event, true)?,
            })
        })
        .await
    }
}

/// The row of an event.
pub(in crate::index) fn one(
    connection: &Connection,
    id: EventId,
) -> Result<Option<EventRow>, IndexError> {
    let sql = format!("SELECT {COLUMNS} FROM events e WHERE e.id = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([id.raw()])?;
    Ok(rows.next()?.map(EventRow::read).transpose()?)
}

pub(super) fn count(view: &View<'_>, filter: &EventFilter, most: u32) -> Result<Count, IndexError> {
    let Some(plan) = Plan::make(view, filter)? else {
        return Ok(Count::default());
    };
    plan.count(view, &mut Work::of(most))
}

/// The replays of an event, or its repeats, oldest first; at most 1,000.
pub(in crate::index) fn of_first(
    connection: &Connection,
    first: EventId,
    is_replay: bool,
) -> Result<Vec<EventId>, IndexError> {
    let sql = "SELECT id FROM events INDEXED BY events_by_first
               WHERE first = ?1 AND (replay IS NOT NULL) = ?2 ORDER BY id LIMIT 1000";
    let mut statement = connection.prepare_cached(sql)?;
    let ids = statement.query_map((first.raw(), is_replay), |row| row.get::<_, i64>(0))?;
    let ids: Vec<i64> = ids.collect::<Result<_, _>>()?;
    Ok(ids.into_iter().filter_map(EventId::from_raw).collect())
}

fn list(
    view: &View<'_>,
    filter: &EventFilter,
    request: &PageRequest<EventId>,
) -> Result<Page<EventRow, EventId>, IndexError> {
    let Some(plan) = Plan::make(view, filter)? else {
        return Ok(Page::default());
    };
    let mut work = Work::new();
    let own = request.is_backwards();
    page(request, |from, is_backwards, limit| {
        // Looking back whether there is something costs no reading of bodies.
        let is_searched = is_backwards == own;
        plan.walk(view, &mut work, from, is_backwards, limit, is_searched)
    })
}

/// The condition whose index is walked.
enum Driver {
    Project(i64),
    /// Column and values.
    Column(&'static str, Vec<i64>),
    Routes(Vec<i64>),
    /// Fanned out to an owner, or routed to his endpoints.
    Owner(Option<i64>, Vec<i64>),
}

/// A filter with its names as numbers.
struct Plan {
    project: i64,
    driver: Driver,
    sources: Option<Vec<i64>>,
    routes: Option<Vec<i64>>,
    owner: Option<(Option<i64>, Vec<i64>)>,
    idem: Option<i64>,
    from: EventId,
    to: EventId,
    search: Option<Prepared>,
}

impl Plan {
    /// `None` when no event can match.
    fn make(view: &View<'_>, filter: &EventFilter) -> Result<Option<Self>, IndexError> {
        let connection = view.connection;
        let Some(of) = filter.project else {
            return Ok(None);
        };
        let Some(project) = names::find(connection, Kind::Project, of, "")? else {
            return Ok(None);
        };
        let sources = match filter.sources.is_empty() {
            true => None,
            false => Some(source_numbers(connection, &filter.sources)?),
        };
        let routes = match filter.endpoints.is_empty() {
            true => None,
            false => Some(routes_to_any(connection, &filter.endpoints)?),
        };
        let owner = match &filter.owner {
            None => None,
            Some(OwnerFilter { owner, endpoints }) => Some((
                names::find(connection, Kind::Owner, of, owner)?,
                routes_to_any(connection, endpoints)?,
            )),
        };
        let idem = filter.idempotency_key.as_deref();
        let idem = idem.map(|key| first_word(IdemKey::new(of, key)));
        let driver = match (idem, &routes, &sources, &owner) {
            (Some(idem), ..) => Driver::Column("idem", vec![idem]),
            (_, Some(routes), ..) => Driver::Routes(routes.clone()),
            (_, _, Some(sources), _) => Driver::Column("source", sources.clone()),
            (_, _, _, Some((owner, routes))) => Driver::Owner(*owner, routes.clone()),
            _ => Driver::Project(project),
        };
        let search = match &filter.search {
            None => None,
            Some(search) => Some(Prepared::new(connection, of, search)?),
        };
        Ok(Some(Self {
            project,
            driver,
            sources,
            routes,
            owner,
            idem,
            from: filter.from.unwrap_or(EventId::ZERO),
            to: view.up_to(filter.to),
            search,
        }))
    }

    fn walk(
        &self,
        view: &View<'_>,
        work: &mut Work,
        from: Option<EventId>,
        is_backwards: bool,
        limit: usize,
        is_searched: bool,
    ) -> Result<Walked<EventRow>, IndexError> {
        let mut walks = self.walks(view.connection, from, is_backwards)?;
        let search = self.search.as_ref().filter(|_| is_searched);
        walk(
            &mut walks,
            is_backwards,
            limit,
            work,
            |row: &EventRow, work| {
                let is_wanted = self.matches(view, row, work)?;
                match search {
                    Some(search) if is_wanted => search.finds(view, row, work),
                    _ => Ok(is_wanted),
                }
            },
        )
    }

    /// How many there are, as far as the work goes. Nothing is kept of them.
    fn count(&self, view: &View<'_>, work: &mut Work) -> Result<Count, IndexError> {
        let mut rows = 0;
        let mut walks = self.walks(view.connection, None, false)?;
        let walked = walk(&mut walks, false, 0, work, |row: &EventRow, work| {
            rows += u64::from(self.matches(view, row, work)?);
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
        cursor: Option<EventId>,
        is_backwards: bool,
    ) -> Result<Vec<Walk<'c>>, IndexError> {
        let (low, high) = match (cursor, is_backwards) {
            (None, _) => (self.from, self.to),
            (Some(cursor), true) => (self.from, self.to.min(cursor)),
            (Some(cursor), false) => (self.from.max(cursor), self.to),
        };
        let walk = |sql: String, value: i64| -> Result<Walk<'c>, IndexError> {
            Ok(Walk {
                statement: connection.prepare_cached(&sql)?,
                parameters: vec![value, low.raw(), high.raw()],
            })
        };
        let column = |name: &str, value| walk(by_column(name, is_backwards), value);
        let route = |value: &i64| walk(by_route(is_backwards), *value);
        match &self.driver {
            Driver::Project(project) => Ok(vec![column("project", *project)?]),
            Driver::Column(name, values) => {
                values.iter().map(|value| column(name, *value)).collect()
            }
            Driver::Routes(routes) => routes.iter().map(route).collect(),
            Driver::Owner(owner, routes) => {
                let fanned = owner.iter().map(|owner| column("owner", *owner));
                fanned.chain(routes.iter().map(route)).collect()
            }
        }
    }

    fn matches(
        &self,
        view: &View<'_>,
        row: &EventRow,
        work: &mut Work,
    ) -> Result<bool, IndexError> {
        let has = |list: &Option<Vec<i64>>, value: Option<i64>| {
            list.as_ref()
                .is_none_or(|list| value.is_some_and(|value| list.contains(&value)))
        };
        if row.project != self.project
            || row.is_replay
            || !has(&self.sources, row.source)
            || self.idem.is_some_and(|idem| row.idem != Some(idem))
        {
            return Ok(false);
        }
        // The driver itself needs no second look.
        if let (Some(routes), false) = (&self.routes, matches!(self.driver, Driver::Routes(_)))
            && !is_routed(view.connection, row.id, routes, work)?
        {
            return Ok(false);
        }
        match (&self.owner, &self.driver) {
            (None, _) | (_, Driver::Owner(..)) => Ok(true),
            (Some((owner, routes)), _) => Ok((owner.is_some() && row.owner == *owner)
                || is_routed(view.connection, row.id, routes, work)?),
        }
    }
}

fn by_column(name: &str, is_backwards: bool) -> String {
    let direction = direction(is_backwards);
    format!(
        "SELECT {COLUMNS} FROM events e INDEXED BY events_by_{name}
         WHERE e.{name} = ?1 AND e.id >= ?2 AND e.id <= ?3 ORDER BY e.id {direction}"
    )
}

fn by_route(is_backwards: bool) -> String {
    let direction = direction(is_backwards);
    format!(
        "SELECT {COLUMNS} FROM deliveries d INDEXED BY deliveries_by_route
         CROSS JOIN events e ON e.id = d.event
         WHERE d.route = ?1 AND d.event >= ?2 AND d.event <= ?3 ORDER BY d.event {direction}"
    )
}

/// Whether an event was routed by one of these.
fn is_routed(
    connection: &Connection,
    event: EventId,
    routes: &[i64],
    work: &mut Work,
) -> Result<bool, IndexError> {
    let sql = "SELECT 1 FROM deliveries INDEXED BY deliveries_by_route
               WHERE route = ?1 AND event = ?2 LIMIT 1";
    let mut statement = connection.prepare_cached(sql)?;
    for route in routes {
        work.spend(1);
        if statement.exists((route, event.raw()))? {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) fn source_numbers(
    connection: &Connection,
    sources: &[SourceId],
) -> Result<Vec<i64>, IndexError> {
    let mut numbers = Vec::with_capacity(sources.len());
    for source in sources {
        let scope = ProjectId::new(source.uid());
        numbers.extend(names::find(connection, Kind::Source, scope, "")?);
    }
    Ok(numbers)
}

/// The numbers of the routes to any of these endpoints.
pub(super) fn routes_to_any(
    connection: &Connection,
    endpoints: &[EndpointId],
) -> Result<Vec<i64>, IndexError> {
    let mut numbers = Vec::with_capacity(endpoints.len());
    for endpoint in endpoints {
        numbers.extend(names::routes_to(connection, *endpoint)?);
    }
    Ok(numbers)
}
