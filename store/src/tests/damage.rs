//! Damage: what is a torn tail, what is corruption, and that nothing goes unseen.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::support::*;
use crate::codec::GROUP_BYTES;
use crate::dir::{self, Meta};
use crate::recover::{Recovery, recover};
use crate::scan::{Scanner, Step};
use crate::*;

/// Recovery without opening, so that it can be tried thousands of times.
fn try_recover(bed: &Bed) -> Result<Recovery, ScanError> {
    let dir = &bed.options.dir;
    let meta = Meta::read(dir).unwrap().unwrap();
    recover(
        dir,
        &meta,
        &dir::segments(dir).unwrap(),
        &bed.options,
        NOW_MS,
    )
}

fn patch(path: &Path, offset: u64, bytes: &[u8]) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(bytes, offset).unwrap();
}

/// Start and end of each group of the first segment.
fn groups(bed: &Bed) -> Vec<(u64, u64)> {
    let meta = Meta::read(&bed.options.dir).unwrap().unwrap();
    let from = Position {
        segment: 1,
        offset: 64,
    };
    let mut scanner = Scanner::new(&bed.options.dir, meta.salt, from, &[], false).unwrap();
    let mut found = Vec::new();
    while let Step::Group(group) = scanner.next().unwrap() {
        if group.start.segment == 1 {
            found.push((group.start.offset, group.end().offset));
        }
    }
    found
}

/// A log of `count` small events, one in each group, as a power cut would leave it.
async fn log_of(count: usize, sync: Sync) -> Bed {
    let mut bed = Bed::new();
    bed.options.sync = sync;
    let (log, _) = bed.open();
    for number in 0..count {
        put(&log, 20 + number).await;
    }
    let cut = bed.copy();
    log.close().await.unwrap();
    // A short stretch of preallocated space tells as much as a long one.
    let (_, end) = *groups(&cut).last().unwrap();
    OpenOptions::new()
        .write(true)
        .open(cut.segment(1))
        .unwrap()
        .set_len(end + 4096)
        .unwrap();
    let _ = std::fs::remove_file(cut.segment(2)); // the spare, if there was time to make it
    cut
}

#[tokio::test]
async fn every_flipped_bit_of_a_synced_group_is_found() {
    let bed = log_of(3, Sync::Always).await;
    let bytes = std::fs::read(bed.segment(1)).unwrap();
    let groups = groups(&bed);
    assert_eq!(groups.len(), 3);
    // The header, and all groups but the last: nothing says yet that the last one was synced.
    for at in (0..64).chain(groups[0].0..groups[1].1) {
        for bit in 0..8 {
            let byte = bytes[usize::try_from(at).unwrap()];
            patch(&bed.segment(1), at, &[byte ^ (1 << bit)]);
            let found = try_recover(&bed);
            assert!(
                matches!(found, Err(ScanError::Corrupt { .. })),
                "byte {at} bit {bit}: {found:?}"
            );
            patch(&bed.segment(1), at, &[byte]);
        }
    }
    assert_eq!(try_recover(&bed).unwrap().state.events, 3);
}

#[tokio::test]
async fn the_last_group_torn_at_any_byte_is_cut_off() {
    let bed = log_of(3, Sync::Always).await;
    let bytes = std::fs::read(bed.segment(1)).unwrap();
    let (start, end) = groups(&bed)[2];
    let tail = &bytes[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()];
    for kept in 0..tail.len() {
        // Sectors that never reached the disk are zeros: behind the tear, or before it.
        let mut torn = tail.to_vec();
        torn[kept..].fill(0);
        let is_same = torn == tail;
        patch(&bed.segment(1), start, &torn);
        let found = try_recover(&bed).unwrap();
        assert!(
            is_same || (found.state.events, found.resume.end.offset) == (2, start),
            "{kept} bytes kept"
        );
        assert_eq!(
            found.is_torn,
            torn.iter().any(|byte| *byte != 0) && !is_same,
            "{kept} bytes kept"
        );
        let mut torn = tail.to_vec();
        torn[..=kept].fill(0);
        let is_same = torn == tail; // a checksum may begin with zeros
        patch(&bed.segment(1), start, &torn);
        let found = try_recover(&bed).unwrap();
        assert!(
            is_same || (found.state.events, found.resume.end.offset) == (2, start),
            "{kept} bytes lost"
        );
        // And what a flipped bit leaves.
        let mut torn = tail.to_vec();
        torn[kept] ^= 0x10;
        patch(&bed.segment(1), start, &torn);
        assert_eq!(
            try_recover(&bed).unwrap().state.events,
            2,
            "byte {kept} flipped"
        );
        patch(&bed.segment(1), start, tail);
    }
    // A file that was never extended.
    for len in [start, start + 1, end - 1] {
        patch(&bed.segment(1), start, tail);
        OpenOptions::new()
            .write(true)
            .open(bed.segment(1))
            .unwrap()
            .set_len(len)
            .unwrap();
        assert_eq!(try_recover(&bed).unwrap().state.events, 2);
    }
}

#[tokio::test]
async fn after_a_torn_tail_the_log_goes_on_in_clean_space() {
    let bed = log_of(3, Sync::Always).await;
    let (start, end) = groups(&bed)[2];
    patch(&bed.segment(1), end - 5, &[0xff]);
    let (log, recovered) = bed.open();
    assert_eq!(
        recovered.torn_tail,
        Some(TornTail {
            position: Position {
                segment: 1,
                offset: start
            }
        })
    );
    assert_eq!(recovered.events, 2);
    let id = put(&log, 5).await;
    assert!(id > recovered.last_id);
    log.close().await.unwrap();
    let (log, recovered) = bed.open();
    assert_eq!((recovered.events, recovered.torn_tail), (3, None));
    log.close().await.unwrap();
}

#[tokio::test]
async fn a_damaged_group_is_corruption_only_if_a_later_one_says_it_was_synced() {
    // Always: each group says that the ones before it were synced. Off: none ever does.
    for (sync, is_corrupt) in [(Sync::Always, true), (Sync::Off, false)] {
        let bed = log_of(4, sync).await;
        let (start, end) = groups(&bed)[1];
        for at in [start, start + 20, start + GROUP_BYTES as u64 + 3, end - 1] {
            let bytes = std::fs::read(bed.segment(1)).unwrap();
            let byte = bytes[usize::try_from(at).unwrap()];
            patch(&bed.segment(1), at, &[byte ^ 1]);
            match (try_recover(&bed), is_corrupt) {
                (Err(ScanError::Corrupt { position, .. }), true) => {
                    assert_eq!(position.offset, start)
                }
                (Ok(found), false) => {
                    assert_eq!(
                        (found.state.events, found.resume.end.offset, found.is_torn),
                        (1, start, true)
                    );
                }
                (found, _) => panic!("{sync:?}, byte {at}: {found:?}"),
            }
            patch(&bed.segment(1), at, &[byte]);
        }
    }
}

#[tokio::test]
async fn a_lost_last_group_of_a_full_segment_is_corruption() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    for _ in 0..8 {
        put(&log, 200_000).await;
    }
    log.close().await.unwrap();
    let (start, end) = *groups(&bed).last().unwrap();
    patch(
        &bed.segment(1),
        start,
        &vec![0; usize::try_from(end - start).unwrap()],
    );
    let opened = bed.try_open();
    let expected = Position {
        segment: 1,
        offset: start,
    };
    assert!(
        matches!(&opened, Err(OpenError::Scan(ScanError::Corrupt { position, .. })) if *position == expected),
        "{opened:?}"
    );
}

#[tokio::test]
async fn a_missing_segment_is_refused() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    for _ in 0..12 {
        put(&log, 200_000).await;
    }
    log.close().await.unwrap();
    std::fs::remove_file(bed.segment(2)).unwrap();
    assert!(matches!(
        bed.try_open(),
        Err(OpenError::Scan(ScanError::Gap(2)))
    ));
}

#[tokio::test]
async fn salvage_keeps_everything_but_the_damaged_group_and_remembers_it() {
    let mut bed = log_of(5, Sync::Always).await;
    let (start, end) = groups(&bed)[1];
    patch(&bed.segment(1), start + 200, &[0xff, 0xfe]);
    assert!(matches!(
        bed.try_open(),
        Err(OpenError::Scan(ScanError::Corrupt { .. }))
    ));
    bed.options.salvage = true;
    let (log, recovered) = bed.open();
    let at = |offset| Position { segment: 1, offset };
    assert_eq!(
        recovered.salvaged,
        [Damage {
            start: at(start),
            end: at(end)
        }]
    );
    assert_eq!(recovered.events, 4);
    put(&log, 3).await;
    log.close().await.unwrap();
    bed.options.salvage = false;
    let (log, recovered) = bed.open();
    assert_eq!((recovered.events, recovered.salvaged.len()), (5, 0));
    log.close().await.unwrap();
}

#[tokio::test]
async fn a_damaged_payload_is_never_handed_out() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    put(&log, 50).await;
    let event = bed.sink.last();
    assert_eq!(
        log.read(event.position).await.unwrap().facts.body,
        event.facts.body
    );
    let (_, end) = groups(&bed)[0];
    patch(&bed.segment(1), end - 10, b"y");
    let damaged = log.read(event.position).await.unwrap_err();
    assert!(matches!(damaged, ReadError::Corrupt { .. }) && damaged.is_permanent());
    // An erased one is not damaged, it is gone.
    let (start, _) = groups_of_one(&bed, end);
    patch(
        &bed.segment(1),
        start,
        &vec![0; usize::try_from(end - start).unwrap()],
    );
    assert!(matches!(
        log.read(event.position).await,
        Err(ReadError::Gone(_))
    ));
    // What is no event is refused, wherever the position came from.
    for offset in [0, 64, event.position.offset + 1, end, MIB - 1, MIB + 5] {
        let read = log.read(Position { segment: 1, offset }).await;
        assert!(
            matches!(read, Err(ReadError::Corrupt { .. })),
            "{offset}: {read:?}"
        );
    }
    assert!(matches!(
        log.read(Position {
            segment: 9,
            offset: 64
        })
        .await,
        Err(ReadError::Gone(_))
    ));
    log.close().await.unwrap();
}

/// Where the payload of the only event of a group starts.
fn groups_of_one(bed: &Bed, end: u64) -> (u64, u64) {
    let bytes = std::fs::read(bed.segment(1)).unwrap();
    let record = &bytes[64 + GROUP_BYTES..];
    let head_len = u32::from_le_bytes(record[8..12].try_into().unwrap());
    (64 + GROUP_BYTES as u64 + u64::from(head_len), end)
}

#[tokio::test]
async fn zeros_in_a_payload_need_an_erase_to_explain_them() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    put(&log, 50).await;
    let event = bed.sink.last();
    put(&log, 50).await;
    let unexplained = bed.copy();
    let erase = EraseRecord {
        event: event.id,
        position: event.position,
        also: vec![],
        at_ms: NOW_MS,
        reason: None,
    };
    log.record_synced(Record::Erase(erase)).await.unwrap();
    log.close().await.unwrap();

    let (_, end) = groups(&bed)[0];
    let (start, _) = groups_of_one(&bed, end);
    let zeros = vec![0; usize::try_from(end - start).unwrap()];
    for bed in [&bed, &unexplained] {
        patch(&bed.segment(1), start, &zeros);
    }
    assert!(
        matches!(try_recover(&unexplained), Err(ScanError::Corrupt { position, .. }) if position == event.position)
    );
    assert_eq!(try_recover(&bed).unwrap().state.events, 2);
    let mut tail = Tail::open(&bed.options.dir, None, Check::Chain).unwrap();
    let mut records = Vec::new();
    while tail.next_group(&mut records).unwrap() {}
    assert_eq!(records[0].payload, PayloadState::Erased);
    assert!(
        records[1..]
            .iter()
            .all(|record| record.payload == PayloadState::Intact)
    );
}

#[tokio::test]
async fn an_event_without_its_last_targets_was_never_accepted() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    put(&log, 5).await;
    put_for(&log, keyed("k"), 200_000).await; // several groups
    let cut = bed.copy();
    log.close().await.unwrap();
    let numbers = dir::segments(&cut.options.dir).unwrap();
    let has_records = |number: &&u32| {
        let bytes = std::fs::read(cut.segment(**number)).unwrap();
        bytes[64..64 + GROUP_BYTES].iter().any(|byte| *byte != 0)
    };
    let with_records = numbers.iter().rev().find(has_records);
    // The group with the end is torn.
    patch(&cut.segment(*with_records.unwrap()), 64 + 20, &[0xff; 8]);
    let (log, recovered) = cut.open();
    assert_eq!((recovered.events, recovered.pending.len()), (1, 1));
    // Its key is free, its id is not used again, and what follows is not taken for its targets.
    put_for(&log, keyed("k"), 300).await;
    log.close().await.unwrap();
    let (log, recovered) = cut.open();
    assert_eq!((recovered.events, recovered.pending.len()), (2, 301));
    log.close().await.unwrap();
}

#[tokio::test]
async fn an_unsynced_group_torn_behind_an_intact_one_costs_only_itself() {
    let bed = log_of(4, Sync::Off).await;
    let (start, _) = groups(&bed)[3];
    patch(&bed.segment(1), start + 100, &[0xff; 3]);
    let (log, recovered) = bed.open();
    assert_eq!(recovered.events, 3);
    let position = Position {
        segment: 1,
        offset: start,
    };
    assert_eq!(recovered.torn_tail, Some(TornTail { position }));
    log.close().await.unwrap();
}

#[tokio::test]
async fn a_first_segment_that_never_got_its_header_is_made_again() {
    for len in [0, 10, MIB] {
        let bed = Bed::new();
        let (log, _) = bed.open();
        log.close().await.unwrap();
        let _ = std::fs::remove_file(bed.segment(2));
        std::fs::write(bed.segment(1), vec![0; usize::try_from(len).unwrap()]).unwrap();
        for events in 0..2 {
            let (log, recovered) = bed.open();
            assert_eq!(recovered.events, events);
            put(&log, 10).await;
            log.close().await.unwrap();
        }
    }
}

#[test]
fn any_damage_is_refused_or_leaves_a_beginning_of_what_was_written() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for sync in [Sync::Always, Sync::Off] {
        let bed = runtime.block_on(log_of(6, sync));
        let bytes = std::fs::read(bed.segment(1)).unwrap();
        let written = try_recover(&bed).unwrap().state.take_open().driven;
        let written: Vec<_> = written.iter().collect();
        let damage = proptest::collection::vec(
            (
                64..bytes.len(),
                proptest::collection::vec(any::<u8>(), 1..64),
            ),
            1..4,
        );
        let mut runner = TestRunner::new(Config::with_cases(200));
        let result = runner.run(&damage, |damage| {
            for (at, new) in &damage {
                patch(&bed.segment(1), *at as u64, new);
            }
            let found = try_recover(&bed);
            let mut salvaging = bed.options.clone();
            salvaging.salvage = true;
            let meta = Meta::read(&bed.options.dir).unwrap().unwrap();
            let salvaged = recover(&bed.options.dir, &meta, &[1], &salvaging, NOW_MS);
            std::fs::write(bed.segment(1), &bytes).unwrap();
            if let Ok(mut found) = found {
                let open: Vec<_> = found.state.take_open().driven.iter().collect();
                prop_assert!(written.starts_with(&open), "{open:?}");
            }
            let open = salvaged
                .map_err(|error| TestCaseError::fail(error.to_string()))?
                .state
                .take_open()
                .driven;
            let open: Vec<_> = open.iter().collect();
            prop_assert!(
                open.iter().all(|pending| written.contains(pending)),
                "{open:?}"
            );
            Ok(())
        });
        result.unwrap();
    }
}
