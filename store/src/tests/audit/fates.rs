//! What records may not say, each said by a log of its own.

use outrider_webhook::id::EventId;

use super::forge::{Event, Forge, drafts};
use super::*;
use crate::codec;

/// One violation, with its code and place.
fn only(report: &Report, code: Code, position: Position) {
    assert_eq!(codes(report), [code], "{:#?}", report.violations);
    assert_eq!(report.violations[0].position, position);
}

/// Where a group starts with this first record.
fn group_of(first: Position) -> Position {
    Position {
        offset: first.offset - codec::GROUP_BYTES as u64,
        ..first
    }
}

fn keyed_event(key: &str) -> Event {
    Event {
        facts: keyed(key),
        targets: 1,
    }
}

#[test]
fn the_forge_makes_clean_logs() {
    let mut forge = Forge::new();
    let of = forge.event(300);
    forge.attempt(of, 1, DeliveryStatus::Failure);
    forge.state(of, DeliveryStatus::Scheduled, 1);
    forge.roll();
    forge.attempt(of, 2, DeliveryStatus::Success);
    let report = forge.report();
    assert!(report.is_clean(), "{:#?}", report.violations);
    assert_eq!(
        (report.deliveries.total, report.deliveries.delivered),
        (300, 1)
    );
}

#[test]
fn a_record_for_what_was_never_accepted_is_found() {
    let mut forge = Forge::new();
    let (key, event) = forge.event(2);
    let strange = DeliveryKey {
        event: EventId::from_raw(key.event.raw() + 1).unwrap(),
        ordinal: 0,
    };
    let at = forge.attempt((strange, event), 1, DeliveryStatus::Success);
    let beyond = DeliveryKey { ordinal: 2, ..key };
    let beyond_at = forge.state((beyond, event), DeliveryStatus::Discarded, 0);
    let report = forge.report();
    assert_eq!(codes(&report), [Code::NeverAccepted; 2]);
    let uids = outrider_webhook::id::UidCodec::new(
        &crate::dir::Meta::read(&forge.bed.options.dir)
            .unwrap()
            .unwrap()
            .uid_key,
    );
    let said = report
        .violations
        .iter()
        .map(|found| (found.position, found.event, found.delivery));
    let expected = [(at, strange), (beyond_at, beyond)]
        .map(|(at, key)| (at, Some(uids.event(key.event)), Some(uids.delivery(key))));
    assert!(said.eq(expected));
}

#[test]
fn an_event_without_its_last_targets_was_not_accepted() {
    let mut forge = Forge::new();
    let id = forge.next_id();
    let (accept, _) = drafts(&Event {
        facts: keyed("k"),
        targets: 300,
    });
    let event = forge.one(&accept, id.raw());
    forge.last_id = id;
    forge.accept(&keyed_event("k")); // the key was not used
    let key = DeliveryKey {
        event: id,
        ordinal: 0,
    };
    let at = forge.attempt((key, event), 1, DeliveryStatus::Success);
    let report = forge.report();
    only(&report, Code::NeverAccepted, at);
    assert_eq!(
        (report.records.events, report.records.events_unfinished),
        (1, 1)
    );
}

#[test]
fn targets_that_do_not_fit_are_found() {
    let event = |targets| Event {
        facts: facts(5),
        targets,
    };
    let (accept, more) = drafts(&event(600));
    // The second part is missing: the third does not follow.
    let mut forge = Forge::new();
    let id = forge.next_id();
    let at = forge.group(&[(&accept, id.raw()), (&more[1], id.raw())])[1];
    only(&forge.report(), Code::Targets, at);
    // The end comes too early.
    let mut forge = Forge::new();
    let (_, of_another) = drafts(&event(257));
    let at = forge.group(&[(&accept, id.raw()), (&of_another[0], id.raw())])[0];
    only(&forge.report(), Code::Targets, at);
    // There is no event.
    let mut forge = Forge::new();
    let at = forge.one(&more[0], id.raw());
    only(&forge.report(), Code::Targets, at);
}

#[test]
fn a_second_fate_is_found_and_the_first_one_counts() {
    use DeliveryStatus::{Discarded, Failure, Retry, Success};
    for (first, second) in [
        ((1, Success), (2, Failure)),
        ((1, Failure), (2, Success)),
        ((1, Success), (2, Retry)),
    ] {
        let mut forge = Forge::new();
        let of = forge.event(1);
        forge.attempt(of, first.0, first.1);
        let at = forge.attempt(of, second.0, second.1);
        let report = forge.report();
        only(&report, Code::SecondFate, at);
        assert_eq!(report.deliveries.delivered, u64::from(first.1 == Success));
    }
    let mut forge = Forge::new();
    let of = forge.event(1);
    forge.attempt(of, 1, Success);
    let at = forge.state(of, Discarded, 1);
    let report = forge.report();
    only(&report, Code::SecondFate, at);
    let fates = report.deliveries;
    assert_eq!((fates.delivered, fates.discarded), (1, 0));
}

#[test]
fn what_a_worker_records_that_lost_its_lease_is_counted_and_no_violation() {
    use DeliveryStatus::{Discarded, Failure, Retry, Success};
    let mut forge = Forge::new();
    let of = forge.event(1);
    forge.attempt(of, 1, Retry);
    forge.attempt(of, 2, Success);
    forge.attempt(of, 1, Retry);
    forge.attempt(of, 2, Failure);
    // One that ended without an attempt may have had one under way.
    let other = forge.event(1);
    forge.state(other, Discarded, 0);
    forge.state(other, Discarded, 0);
    forge.attempt(other, 1, Success);
    let report = forge.report();
    assert!(report.is_clean(), "{:#?}", report.violations);
    assert_eq!(report.records.late, 4);
    let fates = report.deliveries;
    assert_eq!((fates.delivered, fates.discarded, fates.total), (1, 1, 2));
    let at = forge.attempt(other, 2, Success);
    only(&forge.report(), Code::SecondFate, at);
}

#[test]
fn numbers_of_attempts_that_go_back_or_skip_are_found() {
    use DeliveryStatus::{Failure, Retry, Scheduled, Success};
    for (numbers, wrong) in [
        (&[2][..], 0),
        (&[1, 1][..], 1),
        (&[1, 3][..], 1),
        (&[1, 2, 1][..], 2),
    ] {
        let mut forge = Forge::new();
        let of = forge.event(1);
        let places: Vec<_> = numbers
            .iter()
            .map(|number| forge.attempt(of, *number, Retry))
            .collect();
        only(&forge.report(), Code::AttemptNumber, places[wrong]);
    }
    // A STATE that opens it again goes on counting as well.
    let mut forge = Forge::new();
    let of = forge.event(1);
    forge.attempt(of, 1, Failure);
    let at = forge.state(of, Scheduled, 0);
    forge.attempt(of, 1, Success);
    only(&forge.report(), Code::AttemptNumber, at);
    // And so does an attempt that begins.
    let mut forge = Forge::new();
    let (key, position) = forge.event(1);
    let started = StartedRecord {
        key,
        position,
        number: 2,
        at_ms: NOW_MS,
        revision: 42,
    };
    let at = forge.one(&codec::started(&started), key.event.raw());
    only(&forge.report(), Code::AttemptNumber, at);
}

#[test]
fn a_record_that_takes_its_event_for_another_is_found() {
    let mut forge = Forge::new();
    let (_, elsewhere) = forge.event(1);
    let (key, _) = forge.event(1);
    let at = forge.attempt((key, elsewhere), 1, DeliveryStatus::Success);
    only(&forge.report(), Code::WrongPosition, at);
}

#[test]
fn a_key_that_is_accepted_twice_in_its_window_is_found() {
    let mut forge = Forge::new();
    let (first, _) = forge.accept(&keyed_event("k"));
    forge.accept(&keyed_event("other"));
    forge.at_ms += 59_999;
    let (_, at) = forge.accept(&keyed_event("k"));
    let report = forge.report();
    only(&report, Code::RepeatedKey, at);
    let first = report
        .first_event
        .filter(|point| point.at_ms == first.unix_ms());
    assert!(
        report.violations[0]
            .says
            .contains(&first.unwrap().uid.to_string())
    );
    // The same key of another project is another key, and so is one whose window is over.
    let mut forge = Forge::new();
    forge.accept(&keyed_event("k"));
    let mut other = keyed_event("k");
    other.facts.project =
        outrider_webhook::id::ProjectId::new(outrider_webhook::id::Uid::from_bits(77));
    forge.accept(&other);
    forge.at_ms += 60_000;
    forge.accept(&keyed_event("k"));
    assert!(forge.report().is_clean());
}

#[test]
fn a_clock_that_stepped_back_may_have_made_the_writer_forget_a_key() {
    let mut forge = Forge::new();
    let (event, position) = forge.accept(&keyed_event("k"));
    let of = (DeliveryKey { event, ordinal: 0 }, position);
    forge.at_ms += 7_200_000;
    forge.attempt(of, 1, DeliveryStatus::Success);
    forge.at_ms = NOW_MS + 1_000;
    forge.accept(&keyed_event("k"));
    assert!(forge.report().is_clean());
}

#[test]
fn a_repeat_of_nothing_is_found() {
    let mut forge = Forge::new();
    let (first, _) = forge.accept(&keyed_event("k"));
    let facts = keyed("k");
    let id = forge.next_id();
    forge.one(&codec::duplicate(&facts, 42, first), id.raw());
    forge.last_id = id;
    assert!(forge.report().is_clean());
    // A repeat is no event.
    let draft = codec::duplicate(&facts, 42, id);
    let id = forge.next_id();
    let at = forge.one(&draft, id.raw());
    only(&forge.report(), Code::DuplicateOfNothing, at);
}

#[test]
fn ids_that_do_not_count_on_are_found() {
    let mut forge = Forge::new();
    let (key, _) = forge.event(1);
    let (draft, _) = drafts(&keyed_event("k"));
    let at = forge.one(&draft, key.event.raw());
    let report = forge.report();
    only(&report, Code::EventIds, at);
    assert_eq!(report.records.events, 1);
    // A group that claims another last id.
    let mut forge = Forge::new();
    forge.event(1);
    forge.last_id = forge.next_id();
    forge.event(1);
    assert_eq!(codes(&forge.report()), [Code::EventIds]);
}

#[test]
fn a_claim_about_what_comes_later_is_found() {
    let mut forge = Forge::new();
    forge.event(1);
    forge.synced_through = Some(2);
    forge.event(1);
    let synced_through = codes(&forge.report());
    assert_eq!(synced_through, [Code::SyncedThrough]);
    forge.synced_through = Some(1);
    forge.event(1);
    assert_eq!(
        codes(&forge.report()),
        [Code::SyncedThrough; 2],
        "it goes back"
    );
}

#[test]
fn a_broken_chain_and_a_record_that_cannot_be_understood_are_found() {
    let mut forge = Forge::new();
    let of = forge.event(1);
    forge.chain[5] ^= 1;
    let at = forge.attempt(of, 1, DeliveryStatus::Retry);
    forge.attempt(of, 2, DeliveryStatus::Success);
    let report = forge.report();
    only(&report, Code::Chain, group_of(at));
    assert_eq!(report.deliveries.delivered, 1);
    let draft = codec::attempt(&attempt(of.0, of.1, 3, DeliveryStatus::Success));
    let mut forge = Forge::new();
    forge.event(1);
    let at = forge.one(&draft, -1); // no event has such an id
    only(&forge.report(), Code::Malformed, at);
}

#[test]
fn a_count_of_the_writer_that_does_not_fit_is_found() {
    for (pending, is_right) in [(3, true), (2, false)] {
        let mut forge = Forge::new();
        let of = forge.event(3);
        forge.attempt(of, 1, DeliveryStatus::Failure);
        forge.state(of, DeliveryStatus::Scheduled, 1);
        let barrier = BarrierRecord {
            at_ms: NOW_MS,
            pending,
            last_id: of.0.event,
            watermark: of.1,
            is_close: true,
        };
        let at = forge.one(&codec::barrier(&barrier), 0);
        let report = forge.report();
        assert!(report.is_closed);
        match is_right {
            true => assert!(report.is_clean()),
            false => only(&report, Code::PendingCount, at),
        }
    }
}

#[test]
fn at_most_100_violations_are_listed_and_the_rest_is_counted() {
    let mut forge = Forge::new();
    let (key, event) = forge.event(1);
    for ordinal in 1..=130 {
        forge.attempt(
            (DeliveryKey { ordinal, ..key }, event),
            1,
            DeliveryStatus::Success,
        );
    }
    let report = forge.report();
    assert_eq!((report.violations.len(), report.violations_more), (100, 30));
}
