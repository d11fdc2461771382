//! Reads of events.

use serde_json::Value;

use super::super::ask::{Ask, Rows, What, text};
use super::super::chance::Dice;
use super::super::ground::Ground;
use super::super::mix::{self, INCOMING, OWNERS, PLAIN_SOURCE, SOURCES, TYPES, To};
use super::super::reader::encoded;
use super::super::traffic::key_of;
use super::super::world::owner_name;
use super::{any_outgoing, any_project, asked, dates, looked_up, repeated, some_endpoints};
use crate::payload::SEQUENCE_HEADER;

pub(super) fn one(ground: &Ground, dice: &mut Dice) -> Ask {
    let project = any_project(dice);
    let known = ground.event(project, dice);
    let rest = format!("events/{}", known.uid);
    let number = (known.number + ground.first).to_string();
    let id = known.number;
    let ask = looked_up(ground, What::One, project, &rest, Rows::Exactly(1))
        .whose("/uid", &known.uid)
        .rule("the number in a header", move |row| {
            text(row, &format!("/headers/{SEQUENCE_HEADER}/0")) == number
        })
        .rule("the number in the data", move |row| {
            row.pointer("/data/order/id").and_then(Value::as_u64) == Some(id)
        });
    match known.event.to {
        To::Source(PLAIN_SOURCE) => ask,
        _ => ask.whose("/event_type", TYPES[known.event.kind].0),
    }
}

pub(super) fn all(ground: &Ground, dice: &mut Dice) -> Ask {
    let project = any_project(dice);
    let rows = Rows::AtLeast(ground.tally.events_of[project]);
    asked(ground, What::Events, project, "", rows)
}

pub(super) fn of_source(ground: &Ground, dice: &mut Dice) -> Ask {
    let source = dice.below(SOURCES);
    let uid = &ground.world.projects[INCOMING].sources[source].uid;
    let rows = Rows::AtLeast(ground.tally.events_from[source]);
    let query = format!("sourceId={uid}");
    asked(ground, What::Events, INCOMING, &query, rows).whose("/source_id", uid)
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
    // An event that went to several of them counts once.
    let most = numbers
        .iter()
        .map(|one| ground.tally.to(project, *one))
        .max();
    let rows = Rows::AtLeast(most.unwrap_or(0));
    asked(ground, What::Events, project, &query, rows)
        .rule("an endpoint asked for", move |row| is_to_any(row, &uids))
}

fn is_to_any(row: &Value, uids: &[String]) -> bool {
    let to = row.get("endpoints").and_then(Value::as_array);
    let mut to = to.into_iter().flatten().filter_map(Value::as_str);
    to.any(|endpoint| uids.iter().any(|uid| uid == endpoint))
}

pub(super) fn with_key(ground: &Ground, dice: &mut Dice) -> Ask {
    let number = super::with_key(ground, dice);
    let project = mix::event(number).project;
    let repeat = mix::repeated_by(number).filter(|repeat| *repeat < ground.tally.load);
    let rows = Rows::Exactly(1 + u64::from(repeat.is_some()));
    let key = key_of(number + ground.first);
    let query = format!("idempotencyKey={key}");
    let mut ask =
        asked(ground, What::Events, project, &query, rows).whose("/idempotency_key", &key);
    ask.is_deep = false;
    ask
}

pub(super) fn with_no_key(ground: &Ground, dice: &mut Dice) -> Ask {
    let query = format!("idempotencyKey=none-{}", dice.below(1_000_000));
    let mut ask = asked(
        ground,
        What::Events,
        any_outgoing(dice),
        &query,
        Rows::Exactly(0),
    );
    ask.is_deep = false;
    ask
}

pub(super) fn of_owner(ground: &Ground, dice: &mut Dice) -> Ask {
    let (project, owner) = (any_outgoing(dice), dice.below(OWNERS));
    let rows = Rows::AtLeast(ground.tally.events_owned[project][owner]);
    let query = format!("ownerId={}", owner_name(owner));
    let of = &ground.world.projects[project].endpoints;
    let uids: Vec<String> = mix::owned(owner).map(|one| of[one].clone()).collect();
    asked(ground, What::Events, project, &query, rows).rule(
        "an endpoint of the owner",
        move |row| {
            row.get("is_duplicate_event") == Some(&Value::Bool(true)) || is_to_any(row, &uids)
        },
    )
}

pub(super) fn between(ground: &Ground, dice: &mut Dice) -> Ask {
    let project = any_project(dice);
    let (from, to) = dates(ground, project, dice);
    let query = format!("startDate={from}&endDate={to}");
    let mut ask = asked(ground, What::Events, project, &query, Rows::AtLeast(1)).rule(
        "between the dates",
        move |row| {
            let at = text(row, "/acknowledged_at").get(..19).unwrap_or_default();
            (from.as_str()..=to.as_str()).contains(&at)
        },
    );
    ask.is_deep = false;
    ask
}

pub(super) fn named_commonly(ground: &Ground, dice: &mut Dice) -> Ask {
    named(ground, dice.below(6), dice)
}

pub(super) fn named_rarely(ground: &Ground, dice: &mut Dice) -> Ask {
    named(ground, TYPES.len() - 4 + dice.below(4), dice)
}

fn named(ground: &Ground, kind: usize, dice: &mut Dice) -> Ask {
    let project = any_outgoing(dice);
    let name = TYPES[kind].0;
    let rows = Rows::AtLeast(ground.tally.events_typed[project][kind]);
    let query = format!("query={name}");
    asked(ground, What::Events, project, &query, rows).whose("/event_type", name)
}

pub(super) fn holding_region(ground: &Ground, dice: &mut Dice) -> Ask {
    let region = dice.below(usize::try_from(mix::REGIONS).unwrap_or(1));
    holding(
        ground,
        "/data/order/region",
        &format!("region-{region}"),
        "region",
        dice,
    )
}

pub(super) fn holding_customer(ground: &Ground, dice: &mut Dice) -> Ask {
    let customer = dice.below(usize::try_from(mix::CUSTOMERS).unwrap_or(1));
    holding(
        ground,
        "/data/order/customer",
        &format!("customer-{customer}"),
        "customer",
        dice,
    )
}

fn holding(
    ground: &Ground,
    pointer: &'static str,
    value: &str,
    field: &str,
    dice: &mut Dice,
) -> Ask {
    let project = any_project(dice);
    let wanted = serde_json::json!({"order": {field: value, "paid": true}}).to_string();
    let query = format!("query={}", encoded(&wanted));
    // There are some, though perhaps not on the page that was looked at.
    asked(ground, What::Events, project, &query, Rows::AtLeast(1)).whose(pointer, value)
}
