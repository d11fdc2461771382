//! The kinds of reads that are measured, and what each may cost.

mod deliveries;
mod events;

use super::ask::{Ask, Rows, What};
use super::chance::Dice;
use super::ground::Ground;
use super::mix::{INCOMING, OUTGOING};

/// What a page of a list may take, p99, milliseconds.
const LIST_MS: f64 = 20.0;
/// What one thing by its id may take, p99, milliseconds.
const GET_MS: f64 = 2.0;

/// A kind of read.
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) budget_ms: f64,
    pub(super) make: fn(&Ground, &mut Dice) -> Ask,
}

const fn list(name: &'static str, make: fn(&Ground, &mut Dice) -> Ask) -> Kind {
    Kind {
        name,
        budget_ms: LIST_MS,
        make,
    }
}

const fn get(name: &'static str, make: fn(&Ground, &mut Dice) -> Ask) -> Kind {
    Kind {
        name,
        budget_ms: GET_MS,
        make,
    }
}

const EVENT: Kind = get("event by id", events::one);
const DELIVERY: Kind = get("delivery by id", deliveries::one);
const EVENTS: Kind = list("events: all", events::all);
const DELIVERIES: Kind = list("deliveries: all", deliveries::all);

/// Everything.
pub(super) const ALL: &[Kind] = &[
    EVENT,
    DELIVERY,
    get("attempts of a delivery", deliveries::attempts),
    EVENTS,
    list("events: sourceId", events::of_source),
    list("events: endpointId", events::to_one),
    list("events: 5 endpointId", events::to_five),
    list("events: idempotencyKey", events::with_key),
    list("events: idempotencyKey, absent", events::with_no_key),
    list("events: ownerId", events::of_owner),
    list("events: dates", events::between),
    list("events: query, common type", events::named_commonly),
    list("events: query, rare type", events::named_rarely),
    list("events: query, JSON in 1 of 10", events::holding_region),
    list("events: query, JSON in 1 of 1000", events::holding_customer),
    DELIVERIES,
    list("deliveries: endpointId", deliveries::to_one),
    list("deliveries: 5 endpointId", deliveries::to_five),
    list("deliveries: eventId", deliveries::of_event),
    list("deliveries: subscriptionId", deliveries::of_subscription),
    list("deliveries: idempotencyKey", deliveries::with_key),
    list("deliveries: eventType, common", deliveries::typed_commonly),
    list("deliveries: eventType, rare", deliveries::typed_rarely),
    list("deliveries: status Success", deliveries::succeeded),
    list("deliveries: status Failure", deliveries::failed),
    list("deliveries: a status of none", deliveries::in_no_such_state),
    list("deliveries: 2 status", deliveries::in_two_states),
    list("deliveries: status + endpointId", deliveries::failed_to_one),
    list(
        "deliveries: status + endpointId, no such row",
        deliveries::failed_at_another,
    ),
    list(
        "deliveries: eventType + endpointId",
        deliveries::typed_to_one,
    ),
    list(
        "deliveries: eventType + endpointId, no such row",
        deliveries::typed_and_unwanted,
    ),
    list(
        "deliveries: status + rare type + endpointId",
        deliveries::failed_rarely,
    ),
    list(
        "deliveries: status + type + endpointId, no such row",
        deliveries::failed_nowhere,
    ),
    list("deliveries: dates", deliveries::between),
];

/// What is read while events come in.
pub(super) const UNDER_LOAD: &[Kind] = &[EVENT, DELIVERY, EVENTS, DELIVERIES];

fn any_project(dice: &mut Dice) -> usize {
    dice.below(INCOMING + 1)
}

fn any_outgoing(dice: &mut Dice) -> usize {
    dice.below(OUTGOING)
}

/// Different endpoints of one project: the project, their numbers and uids.
fn some_endpoints(ground: &Ground, count: usize, dice: &mut Dice) -> (usize, Vec<(usize, String)>) {
    let project = any_outgoing(dice);
    let endpoints = &ground.world.projects[project].endpoints;
    let chosen = different(count, endpoints.len(), dice).into_iter();
    let with_uid = chosen.map(|one| (one, endpoints[one].clone()));
    (project, with_uid.collect())
}

/// A list of a project, with all rows of the project.
fn asked(ground: &Ground, what: What, project: usize, query: &str, rows: Rows) -> Ask {
    let of = &ground.world.projects[project];
    let name = match what {
        What::Deliveries => "eventdeliveries",
        _ => "events",
    };
    let ask = Ask {
        what,
        project,
        path: of.path(&format!("{name}?{query}")),
        rows,
        rules: Vec::new(),
        is_deep: true,
    };
    ask.whose("/project_id", &of.uid)
}

/// A look-up without pages.
fn looked_up(ground: &Ground, what: What, project: usize, rest: &str, rows: Rows) -> Ask {
    Ask {
        what,
        project,
        path: ground.world.projects[project].path(rest),
        rows,
        rules: Vec::new(),
        is_deep: false,
    }
}

/// So many different numbers below `end`.
fn different(count: usize, end: usize, dice: &mut Dice) -> Vec<usize> {
    let start = dice.below(end);
    (0..count).map(|step| (start + step * 7) % end).collect()
}

/// The parameter, once for each value.
fn repeated<'v>(name: &str, values: impl Iterator<Item = &'v String>) -> String {
    let pairs: Vec<String> = values.map(|value| format!("{name}={value}")).collect();
    pairs.join("&")
}

/// Two times of a project, some events apart, and whatever was accepted in these seconds.
fn dates(ground: &Ground, project: usize, dice: &mut Dice) -> (String, String) {
    let known = &ground.deliveries[project];
    let from = dice.below(known.len());
    let to = (from + dice.below(known.len() / 10 + 1)).min(known.len() - 1);
    let at = |place: usize| known[place].event.at.clone();
    (at(from), at(to))
}

/// A number of the load whose event has a key of its own.
fn with_key(ground: &Ground, dice: &mut Dice) -> u64 {
    let load = usize::try_from(ground.tally.load).unwrap_or(usize::MAX);
    loop {
        let number = u64::try_from(dice.below(load)).unwrap_or(0);
        if super::mix::event(number).key == Some(number) {
            return number;
        }
    }
}
