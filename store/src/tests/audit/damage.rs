//! Damage: what is a torn tail and what is a violation, and that no bytes make an audit panic.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::forge::Forge;
use super::*;
use crate::audit::Error;
use crate::codec::GROUP_BYTES;

/// A log of `count` events with a delivered delivery each, and where its groups start.
fn log_of(count: usize) -> (Forge, Vec<u64>) {
    let mut forge = Forge::new();
    let mut starts = Vec::new();
    let mut note = |at: Position| starts.push(at.offset - GROUP_BYTES as u64);
    for _ in 0..count {
        let of = forge.event(1);
        note(of.1);
        note(forge.attempt(of, 1, DeliveryStatus::Success));
    }
    forge.report();
    (forge, starts)
}

#[test]
fn every_flipped_bit_of_a_synced_log_is_found_with_its_place() {
    let (forge, starts) = log_of(3);
    let bed = &forge.bed;
    let bytes = std::fs::read(bed.segment(1)).unwrap();
    // All but the last group: nothing says yet that this one was synced.
    let (last, before) = starts.split_last().unwrap();
    for at in 0..*last {
        let byte = bytes[usize::try_from(at).unwrap()];
        patch(bed, 1, at, &[byte ^ 1 << (at % 8)]);
        let report = audited(bed);
        patch(bed, 1, at, &[byte]);
        let first = report.violations.first();
        let first = first.unwrap_or_else(|| panic!("byte {at} is not found"));
        let start = before.iter().rev().find(|start| **start <= at);
        let expected = (1, start.copied().unwrap_or(0));
        assert_eq!((first.position.segment, first.position.offset), expected);
    }
    assert!(audited(bed).is_clean());
}

#[test]
fn a_torn_tail_is_told_and_no_violation() {
    let (forge, starts) = log_of(3);
    let last = *starts.last().unwrap();
    let whole = audited(&forge.bed);
    assert_eq!(whole.torn_tail, None);
    patch(&forge.bed, 1, last + 30, &[0xff]);
    let report = clean(&forge.bed);
    let position = Position {
        segment: 1,
        offset: last,
    };
    assert_eq!(
        (report.torn_tail, report.end),
        (Some(position), Some(position))
    );
    assert_eq!(report.records.attempts, whole.records.attempts - 1);
    assert_eq!(report.deliveries.scheduled, 1);
}

#[test]
fn behind_damage_the_log_is_read_on_and_what_it_may_explain_is_not_judged() {
    let mut forge = Forge::new();
    let before = forge.event(1);
    forge.attempt(before, 1, DeliveryStatus::Retry);
    let lost = forge.event(1);
    let lost_start = lost.1.offset - GROUP_BYTES as u64;
    let damaged_too = forge.attempt(before, 2, DeliveryStatus::Retry);
    forge.attempt(lost, 1, DeliveryStatus::Success);
    forge.attempt(before, 3, DeliveryStatus::Success);
    let at = forge.attempt(before, 5, DeliveryStatus::Success);
    forge.report();
    for offset in [lost_start, damaged_too.offset - GROUP_BYTES as u64] {
        patch(&forge.bed, 1, offset + 45, &[0; 4]);
    }
    let report = audited(&forge.bed);
    // The sixth group speaks of a new attempt behind an end that is not in doubt.
    assert_eq!(codes(&report), [Code::Corrupt, Code::SecondFate]);
    let places: Vec<_> = report
        .violations
        .iter()
        .map(|found| found.position)
        .collect();
    let damaged = Position {
        segment: 1,
        offset: lost_start,
    };
    assert_eq!(places, [damaged, at]);
    assert_eq!(
        (report.records.unjudged, report.deliveries.delivered),
        (1, 1)
    );
}

#[tokio::test]
async fn what_a_salvage_gave_up_is_told_and_no_violation() {
    let mut bed = Bed::new();
    let (log, _) = bed.open();
    for _ in 0..4 {
        put(&log, 50).await;
    }
    let damaged = bed.sink.events.lock().unwrap()[1].position;
    log.close().await.unwrap();
    patch(&bed, 1, damaged.offset + 5, &[0xff, 0xfe]);
    assert_eq!(codes(&audited(&bed)), [Code::Corrupt]);
    bed.options.salvage = true;
    let (log, recovered) = bed.open();
    log.close().await.unwrap();
    let report = clean(&bed);
    assert_eq!(report.records.events, 3);
    let told: Vec<_> = report
        .given_up
        .iter()
        .map(|part| (part.start, part.end))
        .collect();
    let given_up: Vec<_> = recovered
        .salvaged
        .iter()
        .map(|part| (part.start, part.end))
        .collect();
    assert_eq!((told, given_up.len()), (given_up, 1));
}

#[test]
fn missing_segments_and_headers_of_others_are_found() {
    let mut forge = Forge::new();
    for _ in 0..4 {
        let of = forge.event(1);
        forge.attempt(of, 1, DeliveryStatus::Success);
        forge.roll();
    }
    forge.report();
    let bed = &forge.bed;
    let header = std::fs::read(bed.segment(4)).unwrap();
    patch(bed, 3, 0, &header[..64]);
    let start = |segment| Position { segment, offset: 0 };
    let report = audited(bed);
    assert_eq!(codes(&report), [Code::SegmentHeader]);
    assert_eq!(report.violations[0].position, start(3));
    assert_eq!(report.deliveries.delivered, 4);

    std::fs::remove_file(bed.segment(2)).unwrap();
    let report = audited(bed);
    assert_eq!(codes(&report), [Code::SegmentMissing, Code::SegmentHeader]);
    assert_eq!(report.violations[0].position, start(2));
    assert_eq!(report.deliveries.delivered, 3);
    for segment in [1, 3, 4, 5] {
        std::fs::remove_file(bed.segment(segment)).unwrap();
    }
    let mut meta = crate::dir::Meta::read(&bed.options.dir).unwrap().unwrap();
    assert!(audited(bed).is_clean(), "as a first start may leave it");
    meta.epoch = 2;
    meta.write(&bed.options.dir).unwrap();
    assert_eq!(codes(&audited(bed)), [Code::NoSegment]);
}

#[test]
fn a_meta_file_of_another_log_is_told_apart() {
    let (forge, _) = log_of(1);
    let other = Forge::new();
    let from = other.bed.options.dir.join("meta.json");
    std::fs::copy(from, forge.bed.options.dir.join("meta.json")).unwrap();
    let report = audited(&forge.bed);
    assert_eq!(codes(&report), [Code::SegmentHeader]);
    assert!(
        report.violations[0]
            .says
            .contains("meta.json does not belong")
    );
}

#[tokio::test]
async fn zeros_that_nothing_explains_are_found() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    put(&log, 50).await;
    let event = bed.sink.last();
    log.close().await.unwrap();
    erase_payload(&bed, event.position);
    let report = audited(&bed);
    assert_eq!(codes(&report), [Code::PayloadZeroed]);
    assert_eq!(report.violations[0].position, event.position);
    assert_eq!(report.records.payloads_erased, 0);
}

#[test]
fn a_log_that_is_damaged_everywhere_is_not_read_to_the_end() {
    let (forge, starts) = log_of(1_200);
    let path = forge.bed.segment(1);
    let mut bytes = std::fs::read(&path).unwrap();
    for start in starts.iter().skip(1).step_by(2) {
        bytes[usize::try_from(*start).unwrap() + GROUP_BYTES + 50] ^= 1;
    }
    std::fs::write(&path, bytes).unwrap();
    let report = audited(&forge.bed);
    assert_eq!(report.violations.len(), 100);
    assert!(report.violations_more > 900 && report.violations_more < 1_100);
}

/// What an operator's accident does to a file.
#[derive(Debug, Clone)]
enum Accident {
    Flip(usize, u8),
    Overwrite(usize, Vec<u8>),
    Truncate(usize),
    Swap(usize, usize),
}

fn accidents(len: usize) -> impl Strategy<Value = Vec<Accident>> {
    let bytes = proptest::collection::vec(any::<u8>(), 1..300);
    let one = prop_oneof![
        (0..len, 0..8_u8).prop_map(|(at, bit)| Accident::Flip(at, bit)),
        (0..len, bytes).prop_map(|(at, bytes)| Accident::Overwrite(at, bytes)),
        (0..len).prop_map(Accident::Truncate),
        (0..len, 0..len).prop_map(|(from, to)| Accident::Swap(from, to)),
    ];
    proptest::collection::vec(one, 1..4)
}

fn happen(accidents: &[Accident], bytes: &mut Vec<u8>) {
    for accident in accidents {
        match accident {
            Accident::Flip(at, bit) if *at < bytes.len() => bytes[*at] ^= 1 << bit,
            Accident::Overwrite(at, new) if at + new.len() <= bytes.len() => {
                bytes[*at..at + new.len()].copy_from_slice(new);
            }
            Accident::Truncate(len) => bytes.truncate(*len),
            Accident::Swap(from, to) if (*from).max(*to) + 200 <= bytes.len() => {
                bytes.copy_within(*from..from + 200, *to);
            }
            _ => {}
        }
    }
}

#[test]
fn any_accident_is_found_or_leaves_a_beginning_of_what_was_written() {
    let mut forge = Forge::new();
    for round in 0..4 {
        let of = forge.event(1 + round * 200);
        forge.attempt(of, 1, DeliveryStatus::Retry);
        forge.attempt(of, 2, DeliveryStatus::Success);
        forge.state(of, DeliveryStatus::Scheduled, 2);
        if round == 1 {
            forge.roll();
        }
    }
    let whole = forge.report();
    assert!(whole.is_clean());
    let bed = &forge.bed;
    let segments = [1, 2].map(|number| std::fs::read(bed.segment(number)).unwrap());
    let len = segments[0].len().max(segments[1].len());
    let mut runner = TestRunner::new(Config::with_cases(500));
    let strategy = (0..2_usize, accidents(len));
    let result = runner.run(&strategy, |(which, accidents)| {
        let mut bytes = segments[which].clone();
        happen(&accidents, &mut bytes);
        let number = u32::try_from(which + 1).unwrap();
        std::fs::write(bed.segment(number), &bytes).unwrap();
        let found = audit::run(&bed.options.dir);
        std::fs::write(bed.segment(number), &segments[which]).unwrap();
        let report = found.map_err(|error: Error| TestCaseError::fail(error.to_string()))?;
        let is_same = bytes == segments[which];
        prop_assert!(
            !is_same || report == whole,
            "nothing happened: {:?}",
            report
        );
        // In the first segment all is proven by the second; there only its end may be lost.
        prop_assert!(
            is_same || which == 1 || !report.is_clean(),
            "not found: {:?}",
            report
        );
        if report.is_clean() {
            prop_assert!(report.groups <= whole.groups && report.end <= whole.end);
            prop_assert!(report.records.events <= whole.records.events);
            // Whatever was taken for intact is what was written.
            let end = report.end.filter(|end| end.segment == number);
            let end = usize::try_from(end.map_or(0, |end| end.offset)).unwrap();
            prop_assert_eq!(bytes.get(..end), segments[which].get(..end));
        }
        Ok(())
    });
    result.unwrap();
}
