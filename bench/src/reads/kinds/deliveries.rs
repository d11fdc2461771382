//! Reads of deliveries and their attempts.

use serde_json::{Value, json};

use super::super::ask::{Ask, Rows, What, text};
use super::super::chance::Dice;
use super::super::ground::Ground;
use super::super::mix::{self, ENDPOINTS, INCOMING, OUTGOING, TYPES};
use super::super::traffic::key_of;
use super::{any_outgoing, any_project, asked, dates, looked_up, repeated, some_endpoints};

const STATUS: &str = "/status";
/// States that no delivery is in once everything has been tried.
const NO_STATES: [&str; 4] = ["Scheduled", "Processing", "Retry", "Discarded"];

const fn status_of(project: usize, endpoint: usize) -> &'static str {
    match mix::fails(project, endpoint) {
        true => "Failure",
        false => "Success",
    }
}

pub(super) fn one(ground: &Ground, dice: &mut Dice) -> Ask {
    let project = any_project(dice);
    let known = ground.delivery(project, dice);
    let rest = format!("eventdeliveries/{}", known.uid);
    let of = &ground.world.projects[project];
    looked_up(ground, What::One, project, &rest, Rows::Exactly(1))
        .whose("/uid", &known.uid)
        .whose("/event_id", &known.event.uid)
        .whose("/endpoint_id", &of.endpoints[known.endpoint])
        .whose(STATUS, status_of(project, known.endpoint))
        .rule("one attempt", |row| {
            row.pointer("/metadata/num_trials") == Some(&json!(1))
        })
}

pub(super) fn attempts(ground: &Ground, dice: &mut Dice) -> Ask {
    let project = any_project(dice);
    let known = ground.delivery(project, dice);
    let rest = format!("eventdeliveries/{}/deliveryattempts", known.uid);
    let is_success = Value::Bool(!mix::fails(project, known.endpoint));
    looked_up(ground, What::Attempts, project, &rest, Rows::Exactly(1))
        .whose("/msg_id", &known.uid)
        .rule("its success", move |row| {
            row.get("status") == Some(&is_success)
        })
}

pub(super) fn all(ground: &Ground, dice: &mut Dice) -> Ask {
    let project = any_project(dice);
    let rows = Rows::AtLeast(ground.tally.deliveries_of(project));
    asked(ground, What::Deliveries, project, "", rows)
}

pub(super) fn to_one(ground: &Ground, dice: &mut Dice) -> Ask {
    to(ground, 1, dice)
}

pub(super) fn to_five(ground: &Ground, dice: &mut Dice) -> Ask {
    to(ground, 5, dice)
}

fn to(ground: &Ground, count: usize, dice: &mut Dice) -> Ask {
    let (project, chosen) = some_endpoints(ground, count, dice);
    let (numbers, uids): (Vec<usize>, Vec<String>) = chosen.into_iter().unzip();
    let query = repeated("endpointId", uids.iter());
    let sum = numbers
        .iter()
        .map(|one| ground.tally.to(project, *one))
        .sum();
    asked(
        ground,
        What::Deliveries,
        project,
        &query,
        Rows::AtLeast(sum),
    )
    .rule("an endpoint asked for", move |row| {
        uids.iter().any(|uid| uid == text(row, "/endpoint_id"))
    })
}

pub(super) fn of_event(ground: &Ground, dice: &mut Dice) -> Ask {
    let project = any_project(dice);
    let known = ground.event(project, dice);
    let count = u64::try_from(known.event.endpoints().len()).unwrap_or(0);
    let query = format!("eventId={}", known.uid);
    let mut ask = asked(
        ground,
        What::Deliveries,
        project,
        &query,
        Rows::Exactly(count),
    )
    .whose("/event_id", &known.uid);
    ask.is_deep = false;
    ask
}

pub(super) fn of_subscription(ground: &Ground, dice: &mut Dice) -> Ask {
    let project = any_project(dice);
    let subscriptions = &ground.world.projects[project].subscriptions;
    let chosen = dice.below(subscriptions.len());
    let rows = match project {
        // Those of the first source come first, one per backend.
        INCOMING => ground.tally.events_from[chosen / mix::BACKENDS],
        _ => ground.tally.to(project, chosen),
    };
    let uid = &subscriptions[chosen];
    let query = format!("subscriptionId={uid}");
    asked(
        ground,
        What::Deliveries,
        project,
        &query,
        Rows::AtLeast(rows),
    )
    .whose("/subscription_id", uid)
}

pub(super) fn with_key(ground: &Ground, dice: &mut Dice) -> Ask {
    let number = super::with_key(ground, dice);
    let event = mix::event(number);
    let count = u64::try_from(event.endpoints().len()).unwrap_or(0);
    let key = key_of(number + ground.first);
    let query = format!("idempotencyKey={key}");
    let rows = Rows::Exactly(count);
    let mut ask = asked(ground, What::Deliveries, event.project, &query, rows)
        .whose("/idempotency_key", &key);
    ask.is_deep = false;
    ask
}

pub(super) fn typed_commonly(ground: &Ground, dice: &mut Dice) -> Ask {
    typed(ground, dice.below(6), dice)
}

pub(super) fn typed_rarely(ground: &Ground, dice: &mut Dice) -> Ask {
    typed(ground, rare(dice), dice)
}

fn rare(dice: &mut Dice) -> usize {
    TYPES.len() - 4 + dice.below(4)
}

fn typed(ground: &Ground, kind: usize, dice: &mut Dice) -> Ask {
    let project = any_outgoing(dice);
    let name = TYPES[kind].0;
    let rows = Rows::AtLeast(ground.tally.typed(project, kind));
    asked(
        ground,
        What::Deliveries,
        project,
        &format!("eventType={name}"),
        rows,
    )
    .whose("/event_type", name)
}

pub(super) fn succeeded(ground: &Ground, dice: &mut Dice) -> Ask {
    let project = any_project(dice);
    let rows = ground.tally.deliveries_of(project) - ground.tally.failures_of(project);
    asked(
        ground,
        What::Deliveries,
        project,
        "status=Success",
        Rows::AtLeast(rows),
    )
    .whose(STATUS, "Success")
}

pub(super) fn failed(ground: &Ground, dice: &mut Dice) -> Ask {
    let project = any_outgoing(dice);
    let rows = Rows::AtLeast(ground.tally.failures_of(project));
    asked(ground, What::Deliveries, project, "status=Failure", rows).whose(STATUS, "Failure")
}

pub(super) fn in_no_such_state(ground: &Ground, dice: &mut Dice) -> Ask {
    let state = NO_STATES[dice.below(NO_STATES.len())];
    let query = format!("status={state}");
    asked(
        ground,
        What::Deliveries,
        any_project(dice),
        &query,
        Rows::Exactly(0),
    )
}

pub(super) fn in_two_states(ground: &Ground, dice: &mut Dice) -> Ask {
    let project = any_outgoing(dice);
    let all = ground.tally.deliveries_of(project);
    let (more, rows) = match dice.below(2) {
        0 => ("Success", all),
        _ => ("Retry", ground.tally.failures_of(project)),
    };
    let query = format!("status=Failure&status={more}");
    asked(
        ground,
        What::Deliveries,
        project,
        &query,
        Rows::AtLeast(rows),
    )
    .rule("one of the states", move |row| {
        ["Failure", more].contains(&text(row, STATUS))
    })
}

/// An endpoint for which everything fails, or another one.
fn endpoint(is_failing: bool, dice: &mut Dice) -> (usize, usize) {
    loop {
        let (project, endpoint) = (dice.below(OUTGOING), dice.below(ENDPOINTS));
        if mix::fails(project, endpoint) == is_failing {
            return (project, endpoint);
        }
    }
}

/// Failures at an endpoint that fails, or successes at another.
pub(super) fn failed_to_one(ground: &Ground, dice: &mut Dice) -> Ask {
    let is_failing = dice.below(2) == 0;
    let (project, endpoint) = endpoint(is_failing, dice);
    let (status, rows) = (
        status_of(project, endpoint),
        ground.tally.to(project, endpoint),
    );
    let uid = &ground.world.projects[project].endpoints[endpoint];
    let query = format!("status={status}&endpointId={uid}");
    asked(
        ground,
        What::Deliveries,
        project,
        &query,
        Rows::AtLeast(rows),
    )
    .whose(STATUS, status)
    .whose("/endpoint_id", uid)
}

pub(super) fn failed_at_another(ground: &Ground, dice: &mut Dice) -> Ask {
    let (project, endpoint) = endpoint(false, dice);
    let uid = &ground.world.projects[project].endpoints[endpoint];
    let query = format!("status=Failure&endpointId={uid}");
    asked(ground, What::Deliveries, project, &query, Rows::Exactly(0))
}

pub(super) fn typed_to_one(ground: &Ground, dice: &mut Dice) -> Ask {
    let (project, endpoint) = (any_outgoing(dice), dice.below(ENDPOINTS));
    typed_to(ground, project, endpoint, dice.below(TYPES.len()))
}

/// An endpoint that wants every second type, and one it does not want.
pub(super) fn typed_and_unwanted(ground: &Ground, dice: &mut Dice) -> Ask {
    let picky: Vec<usize> = (0..ENDPOINTS)
        .filter(|one| mix::wanted_types(*one).is_some())
        .collect();
    let endpoint = picky[dice.below(picky.len())];
    typed_to(
        ground,
        any_outgoing(dice),
        endpoint,
        1 + 2 * dice.below(TYPES.len() / 2),
    )
}

fn typed_to(ground: &Ground, project: usize, endpoint: usize, kind: usize) -> Ask {
    let (uid, name) = (
        &ground.world.projects[project].endpoints[endpoint],
        TYPES[kind].0,
    );
    let rows = match ground.tally.delivered[project][endpoint][kind] {
        0 => Rows::Exactly(0),
        some => Rows::AtLeast(some),
    };
    let query = format!("eventType={name}&endpointId={uid}");
    asked(ground, What::Deliveries, project, &query, rows)
        .whose("/event_type", name)
        .whose("/endpoint_id", uid)
}

pub(super) fn failed_rarely(ground: &Ground, dice: &mut Dice) -> Ask {
    let (project, endpoint) = endpoint(true, dice);
    let kind = rare(dice);
    let rows = Rows::AtLeast(ground.tally.delivered[project][endpoint][kind]);
    three(ground, project, endpoint, kind, rows)
}

pub(super) fn failed_nowhere(ground: &Ground, dice: &mut Dice) -> Ask {
    let (project, endpoint) = endpoint(false, dice);
    let kind = dice.below(TYPES.len());
    three(ground, project, endpoint, kind, Rows::Exactly(0))
}

fn three(ground: &Ground, project: usize, endpoint: usize, kind: usize, rows: Rows) -> Ask {
    let (uid, name) = (
        &ground.world.projects[project].endpoints[endpoint],
        TYPES[kind].0,
    );
    let query = format!("status=Failure&eventType={name}&endpointId={uid}");
    asked(ground, What::Deliveries, project, &query, rows)
        .whose(STATUS, "Failure")
        .whose("/event_type", name)
        .whose("/endpoint_id", uid)
}

pub(super) fn between(ground: &Ground, dice: &mut Dice) -> Ask {
    let project = any_project(dice);
    let (from, to) = dates(ground, project, dice);
    let query = format!("startDate={from}&endDate={to}");
    let mut ask = asked(ground, What::Deliveries, project, &query, Rows::AtLeast(1)).rule(
        "between the dates",
        move |row| {
            let at = text(row, "/acknowledged_at").get(..19).unwrap_or_default();
            (from.as_str()..=to.as_str()).contains(&at)
        },
    );
    ask.is_deep = false;
    ask
}
