//! What reads choose from: ids of events and deliveries all over the load.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use serde_json::Value;

use super::ask::text;
use super::chance::Dice;
use super::mix::{self, Event, INCOMING};
use super::reader::Reader;
use super::tally::Tally;
use super::traffic::Traffic;
use super::world::{Project, World};
use crate::payload::SEQUENCE_HEADER;

/// One row in so many of the incoming project is kept: its sources do not say ids.
const INCOMING_KEPT_EVERY: usize = 100;

/// A known event.
#[derive(Debug, Clone)]
pub(super) struct KnownEvent {
    pub(super) uid: String,
    /// Number in the load.
    pub(super) number: u64,
    pub(super) event: Event,
    /// When it was accepted, to the second, as queries want it.
    pub(super) at: String,
}

/// A known delivery.
#[derive(Debug, Clone)]
pub(super) struct KnownDelivery {
    pub(super) uid: String,
    pub(super) event: KnownEvent,
    pub(super) endpoint: usize,
}

/// Everything that is known.
pub(super) struct Ground {
    pub(super) world: World,
    pub(super) tally: Box<Tally>,
    /// The number that the first event has in headers and keys.
    pub(super) first: u64,
    /// By project, oldest first.
    pub(super) events: Vec<Vec<KnownEvent>>,
    pub(super) deliveries: Vec<Vec<KnownDelivery>>,
}

impl Ground {
    /// Reads what is known of the events of a load.
    pub(super) async fn survey(
        world: World,
        tally: Box<Tally>,
        traffic: &Traffic,
        first: u64,
        api: SocketAddr,
    ) -> anyhow::Result<Self> {
        let mut reader = Reader::open(api, &world.admin_key).await?;
        let mut events = vec![Vec::new(); world.projects.len()];
        let mut deliveries = vec![Vec::new(); world.projects.len()];
        for (number, uid) in traffic.kept() {
            let project = mix::event(number).project;
            let path = world.projects[project].path(&format!("events/{uid}"));
            let known = KnownEvent::of(&reader.data(&path).await?, first)?;
            if known.number != number {
                bail!("event {uid} is number {} instead of {number}", known.number);
            }
            events[project].push(known);
        }
        events[INCOMING] = incoming(&mut reader, &world.projects[INCOMING], first).await?;
        for (project, known) in events.iter_mut().enumerate() {
            known.sort_unstable_by(|one, next| one.uid.cmp(&next.uid));
            for event in known {
                let found = deliveries_of(&mut reader, &world.projects[project], event).await?;
                deliveries[project].extend(found);
            }
            deliveries[project].sort_unstable_by(|one: &KnownDelivery, next: &KnownDelivery| {
                one.uid.cmp(&next.uid)
            });
        }
        if events.iter().any(Vec::is_empty) || deliveries.iter().any(Vec::is_empty) {
            bail!("the load is too small: a project has no known events or deliveries");
        }
        Ok(Self {
            world,
            tally,
            first,
            events,
            deliveries,
        })
    }

    /// Any known event of a project.
    pub(super) fn event(&self, project: usize, dice: &mut Dice) -> &KnownEvent {
        let known = &self.events[project];
        &known[dice.below(known.len())]
    }

    /// Any known delivery of a project.
    pub(super) fn delivery(&self, project: usize, dice: &mut Dice) -> &KnownDelivery {
        let known = &self.deliveries[project];
        &known[dice.below(known.len())]
    }

    /// The ids in the middle of a project's list: the oldest and newest fifth left out.
    pub(super) fn deep_event(&self, project: usize, dice: &mut Dice) -> String {
        middle(&self.events[project], dice).uid.clone()
    }

    pub(super) fn deep_delivery(&self, project: usize, dice: &mut Dice) -> String {
        middle(&self.deliveries[project], dice).uid.clone()
    }
}

fn middle<'k, T>(known: &'k [T], dice: &mut Dice) -> &'k T {
    let fifth = known.len() / 5;
    &known[fifth + dice.below(known.len() - 2 * fifth)]
}

impl KnownEvent {
    /// From an event as the API shows it.
    fn of(row: &Value, first: u64) -> anyhow::Result<Self> {
        let number = text(row, &format!("/headers/{SEQUENCE_HEADER}/0")).parse::<u64>();
        let number = number.ok().and_then(|number| number.checked_sub(first));
        let number = number.context("an event does not have its number")?;
        let at = text(row, "/acknowledged_at").get(..19);
        Ok(Self {
            uid: text(row, "/uid").to_owned(),
            number,
            event: mix::event(number),
            at: at.context("an event has no time")?.to_owned(),
        })
    }
}

/// Walks through the whole incoming project.
async fn incoming(
    reader: &mut Reader,
    project: &Project,
    first: u64,
) -> anyhow::Result<Vec<KnownEvent>> {
    let (mut known, mut seen, mut cursor) = (Vec::new(), 0_usize, String::new());
    loop {
        let path = project.path(&format!(
            "events?perPage=500&sort=ASC&next_page_cursor={cursor}"
        ));
        let page = reader.data(&path).await?;
        for row in page
            .get("content")
            .and_then(Value::as_array)
            .context("no content")?
        {
            if seen.is_multiple_of(INCOMING_KEPT_EVERY) {
                known.push(KnownEvent::of(row, first)?);
            }
            seen += 1;
        }
        if page.pointer("/pagination/has_next_page") != Some(&Value::Bool(true)) {
            return Ok(known);
        }
        cursor = text(&page, "/pagination/next_page_cursor").to_owned();
    }
}

/// The deliveries of an event, which must be those it was routed to.
async fn deliveries_of(
    reader: &mut Reader,
    project: &Project,
    event: &KnownEvent,
) -> anyhow::Result<Vec<KnownDelivery>> {
    let path = project.path(&format!("eventdeliveries?eventId={}", event.uid));
    let page = reader.data(&path).await?;
    let rows = page
        .get("content")
        .and_then(Value::as_array)
        .context("no content")?;
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let to = text(row, "/endpoint_id");
        let endpoint = project.endpoints.iter().position(|endpoint| endpoint == to);
        found.push(KnownDelivery {
            uid: text(row, "/uid").to_owned(),
            event: event.clone(),
            endpoint: endpoint.context("a delivery to an endpoint of nobody")?,
        });
    }
    let mut endpoints: Vec<usize> = found.iter().map(|one| one.endpoint).collect();
    endpoints.sort_unstable();
    let expected = event.event.endpoints();
    if endpoints != expected {
        bail!(
            "event {} went to {endpoints:?} instead of {expected:?}",
            event.uid
        );
    }
    Ok(found)
}
