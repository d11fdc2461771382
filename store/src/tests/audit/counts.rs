//! Logs with nothing wrong, and directories that are none.

use super::*;
use crate::audit::{Error, Fates};

#[test]
fn where_there_is_no_log_the_file_looked_for_is_named() {
    let bed = Bed::new();
    let file = bed.dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    for dir in [bed.options.dir.as_path(), bed.dir.path(), file.as_path()] {
        match audit::run(dir) {
            Err(Error::NoLog(looked_for)) => assert_eq!(looked_for, dir.join("meta.json")),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_log_that_is_open_is_in_use_and_a_second_audit_is_not_in_the_way() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    assert!(matches!(audit::run(&bed.options.dir), Err(Error::InUse(_))));
    log.close().await.unwrap();
    let lock = crate::dir::lock_for_reading(&bed.options.dir).unwrap();
    clean(&bed);
    assert!(matches!(bed.try_open(), Err(OpenError::Locked { .. })));
    drop(lock);
}

#[tokio::test]
async fn a_meta_file_that_is_damaged_or_gone_is_no_missing_log() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    log.close().await.unwrap();
    let meta = bed.options.dir.join("meta.json");
    let text = std::fs::read_to_string(&meta).unwrap();
    std::fs::write(&meta, text.replacen('1', "2", 1)).unwrap();
    assert!(matches!(audit::run(&bed.options.dir), Err(Error::Meta(_))));
    std::fs::remove_file(&meta).unwrap();
    assert!(matches!(
        audit::run(&bed.options.dir),
        Err(Error::Meta(MetaError::Missing(_)))
    ));
}

#[tokio::test]
async fn everything_is_counted_and_nothing_is_touched() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    put_for(&log, facts(10), 5).await;
    let first = bed.sink.last();
    let (key, position) = (
        |ordinal| DeliveryKey {
            event: first.id,
            ordinal,
        },
        first.position,
    );
    for (ordinal, number, result) in [
        (0, 1, DeliveryStatus::Success),
        (0, 1, DeliveryStatus::Success), // an end recorded twice
        (1, 1, DeliveryStatus::Retry),
        (1, 2, DeliveryStatus::Failure),
        (2, 1, DeliveryStatus::Retry),
    ] {
        let record = attempt(key(ordinal), position, number, result);
        log.record(Record::Attempt(record)).await.unwrap();
    }
    log.record(state(key(3), position, DeliveryStatus::Discarded, 0))
        .await
        .unwrap();
    put_for(&log, keyed("k"), 700).await; // with TARGETS
    let again = log.accept_parts(keyed("k"), targets(1), decision()).await;
    assert!(matches!(again, Ok(Accepted::Duplicate { .. })));
    let last = put_for(&log, facts(300_000), 0).await;
    log.close().await.unwrap();

    let before = files(&bed);
    let report = clean(&bed);
    assert_eq!(files(&bed), before);
    let expected = Fates {
        total: 705,
        delivered: 1,
        failed: 1,
        discarded: 1,
        scheduled: 701,
        retrying: 1,
    };
    assert_eq!(report.deliveries, expected);
    let records = report.records;
    assert_eq!(
        (records.events, records.duplicates, records.attempts),
        (3, 1, 5)
    );
    assert_eq!((records.late, records.unjudged), (1, 0));
    assert!(report.is_closed && report.torn_tail.is_none());
    let times = [report.first_event, report.last_event].map(|point| point.unwrap().at_ms);
    assert_eq!(times, [first.id.unix_ms(), last.unix_ms()]);
    // Recovery says the same.
    let (log, recovered) = bed.open();
    assert_eq!(
        (recovered.events, recovered.pending.len() as u64),
        (records.events, report.deliveries.pending())
    );
    log.close().await.unwrap();
    clean(&bed);
}

#[tokio::test]
async fn a_copy_without_a_lock_is_audited_and_gets_none() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    put(&log, 10).await;
    let cut = bed.copy();
    log.close().await.unwrap();
    let report = clean(&cut);
    assert_eq!((report.records.events, report.is_closed), (1, false));
    assert!(!cut.options.dir.join("LOCK").exists());
}

#[tokio::test]
async fn restarts_segments_and_power_cuts_leave_a_clean_log() {
    let mut bed = Bed::new();
    for round in 0..8_u64 {
        let (log, _) = bed.open();
        for _ in 0..3 {
            put(&log, 150_000).await;
            let event = bed.sink.last();
            let key = DeliveryKey {
                event: event.id,
                ordinal: 0,
            };
            let done = attempt(key, event.position, 1, DeliveryStatus::Success);
            log.record_synced(Record::Attempt(done)).await.unwrap();
        }
        let cut = bed.copy();
        log.close().await.unwrap();
        if round % 2 == 0 {
            bed = cut;
        }
    }
    let report = clean(&bed);
    assert_eq!(report.records.events, 24);
    assert_eq!(report.deliveries.delivered, 24);
    assert!(report.segments > 2);
}

#[tokio::test]
async fn what_retention_dropped_is_not_held_against_what_is_left() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    put_for(&log, keyed("old"), 1).await;
    let old = bed.sink.last();
    let key = DeliveryKey {
        event: old.id,
        ordinal: 0,
    };
    log.record(state(key, old.position, DeliveryStatus::Discarded, 0))
        .await
        .unwrap();
    for _ in 0..12 {
        put_for(&log, facts(200_000), 0).await;
    }
    assert!(log.drop_expired(NOW_MS + 1).unwrap() > 0);
    // Both speak of what is gone.
    let again = log.accept_parts(keyed("old"), targets(1), decision()).await;
    assert!(matches!(again, Ok(Accepted::Duplicate { .. })));
    let late = attempt(key, old.position, 1, DeliveryStatus::Success);
    log.record(Record::Attempt(late)).await.unwrap();
    log.close().await.unwrap();
    let report = clean(&bed);
    assert!(report.groups_before > 0);
    assert_eq!((report.records.unjudged, report.records.late), (2, 0));
}

#[tokio::test]
async fn an_erased_payload_is_counted_and_no_fault() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    put(&log, 50).await;
    let event = bed.sink.last();
    let erase = EraseRecord {
        event: event.id,
        position: event.position,
        also: vec![],
        at_ms: NOW_MS,
        reason: None,
    };
    log.record_synced(Record::Erase(erase)).await.unwrap();
    log.close().await.unwrap();
    assert_eq!(clean(&bed).records.payloads_erased, 0, "ordered, not done");
    erase_payload(&bed, event.position);
    assert_eq!(clean(&bed).records.payloads_erased, 1);
}

#[test]
fn a_code_reads_the_same_in_json_and_as_text() {
    let all = [
        Code::NoSegment,
        Code::SegmentMissing,
        Code::SegmentHeader,
        Code::Corrupt,
        Code::TooDamaged,
        Code::Chain,
        Code::SyncedThrough,
        Code::EventIds,
        Code::Malformed,
        Code::PayloadZeroed,
        Code::Targets,
        Code::NeverAccepted,
        Code::WrongPosition,
        Code::SecondFate,
        Code::AttemptNumber,
        Code::RepeatedKey,
        Code::DuplicateOfNothing,
        Code::PendingCount,
    ];
    for code in all {
        assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
    }
}
