//! A disk that fails or is full.

use std::sync::atomic::Ordering;

use outrider_webhook::id::DeliveryKey;

use super::support::*;
use crate::*;

fn done(event: &StoredEvent) -> Record {
    let key = DeliveryKey {
        event: event.id,
        ordinal: 0,
    };
    Record::Attempt(attempt(key, event.position, 1, DeliveryStatus::Success))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failed_write_or_sync_nothing_is_acknowledged() {
    for is_sync in [false, true] {
        let bed = Bed::new();
        let (log, _) = bed.open();
        put(&log, 10).await;
        let event = bed.sink.last();
        let faults = &bed.options.faults;
        let fault = if is_sync {
            &faults.fail_sync
        } else {
            &faults.fail_write
        };
        fault.store(true, Ordering::SeqCst);
        let syncs = faults.syncs_tried.load(Ordering::SeqCst);
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let log = log.clone();
                tokio::spawn(
                    async move { log.accept_parts(facts(10), targets(1), decision()).await },
                )
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.unwrap(), Err(AcceptError::Unavailable));
        }
        let mut fatal = log.fatal();
        let error = fatal
            .wait_for(Option::is_some)
            .await
            .unwrap()
            .clone()
            .unwrap();
        assert!(error.to_string().contains("injected"), "{error}");
        // The disk works again, but nothing can be proven any more.
        fault.store(false, Ordering::SeqCst);
        assert_eq!(
            log.accept_parts(facts(1), vec![], decision()).await,
            Err(AcceptError::Unavailable)
        );
        assert_eq!(log.record(done(&event)).await, Err(LogClosed));
        assert_eq!(log.record_synced(done(&event)).await, Err(LogClosed));
        assert_eq!(bed.sink.ids(), [event.id], "only what is durable is driven");
        assert!(
            faults.syncs_tried.load(Ordering::SeqCst) <= syncs + 1,
            "a sync is never tried again"
        );
        log.read(event.position).await.unwrap();
        assert_eq!(log.close().await, Err(CloseError::Closed));

        let (log, recovered) = bed.open();
        assert!(
            recovered
                .pending
                .iter()
                .any(|pending| pending.key.event == event.id)
        );
        put(&log, 10).await;
        log.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_panics_ends_the_log_loudly() {
    struct Broken;
    impl AcceptedSink for Broken {
        fn accepted(&mut self, _: &mut Vec<std::sync::Arc<StoredEvent>>) {
            panic!("a bug in the sink");
        }
    }
    let bed = Bed::new();
    let (log, _) =
        LocalLog::open(bed.options.clone(), bed.clock.clone(), Box::new(Broken)).unwrap();
    assert_eq!(
        log.accept_parts(facts(1), targets(1), decision()).await,
        Err(AcceptError::Unavailable)
    );
    let mut fatal = log.fatal();
    assert!(matches!(
        **fatal
            .wait_for(Option::is_some)
            .await
            .unwrap()
            .as_ref()
            .unwrap(),
        FatalError::Panicked
    ));
    assert_eq!(log.close().await, Err(CloseError::Closed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_events_and_still_records_outcomes() {
    let mut bed = Bed::new();
    bed.options.free_bytes_min = Some(10 * MIB);
    let (log, _) = bed.open();
    until(|| bed.segment(2).exists()).await; // the spare
    put(&log, 10).await;
    let event = bed.sink.last();
    let free = &bed.options.faults.free_bytes;
    free.store(9 * MIB, Ordering::SeqCst);
    until(|| log.stats().is_disk_full == 1).await;
    let refused = log
        .accept_parts(facts(1), targets(1), decision())
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), refused.retry_after_s()),
        ("disk_full", Some(30))
    );
    log.record_synced(done(&event)).await.unwrap();

    // Outcomes fill the current segment and the spare; then they wait.
    let large = || {
        let mut record = attempt(
            DeliveryKey {
                event: event.id,
                ordinal: 0,
            },
            event.position,
            1,
            DeliveryStatus::Success,
        );
        record.excerpt = vec![1; AttemptRecord::EXCERPT_BYTES_MAX].into();
        Record::Attempt(record)
    };
    let mut recorded = 0;
    while tokio::time::timeout(
        std::time::Duration::from_millis(300),
        log.record_synced(large()),
    )
    .await
    .is_ok()
    {
        recorded += 1;
        assert!(recorded < 100, "more was recorded than there is room for");
    }
    assert!(recorded > 20, "the spare was not used: {recorded}");
    free.store(0, Ordering::SeqCst);
    log.record_synced(done(&event)).await.unwrap();
    until(|| log.stats().is_disk_full == 0).await;
    put(&log, 10).await;
    log.close().await.unwrap();
    let (log, recovered) = bed.open();
    assert_eq!(recovered.pending.len(), 1);
    log.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_on_a_full_disk_can_be_closed() {
    let mut bed = Bed::new();
    bed.options.free_bytes_min = Some(10 * MIB);
    bed.options
        .faults
        .free_bytes
        .store(9 * MIB, Ordering::SeqCst);
    let (log, _) = bed.open();
    let key = DeliveryKey {
        event: outrider_webhook::id::EventId::ZERO,
        ordinal: 0,
    };
    let mut record = attempt(
        key,
        Position {
            segment: 1,
            offset: 64,
        },
        1,
        DeliveryStatus::Success,
    );
    record.excerpt = vec![1; AttemptRecord::EXCERPT_BYTES_MAX].into();
    for _ in 0..40 {
        log.record(Record::Attempt(record.clone())).await.unwrap();
    }
    assert_eq!(log.close().await, Err(CloseError::DiskFull));
    let (log, _) = bed.open();
    log.close().await.unwrap();
}

#[tokio::test]
async fn a_log_that_is_dropped_is_closed_in_the_background() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    let id = put(&log, 10).await;
    drop(log);
    let mut opened = None;
    until(|| {
        opened = bed.try_open().ok();
        opened.is_some()
    })
    .await;
    let (log, recovered) = opened.unwrap();
    assert_eq!(recovered.last_id, id);
    log.close().await.unwrap();
}
