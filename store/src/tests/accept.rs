//! Taking events: refusals first, then repeats, fan-out and bounds.

use std::collections::HashSet;

use outrider_webhook::id::EventId;

use super::support::*;
use crate::*;

#[tokio::test]
async fn a_second_process_cannot_open_the_log() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    assert!(matches!(bed.try_open(), Err(OpenError::Locked { .. })));
    let clone = log.clone();
    log.close().await.unwrap();
    let (again, _) = bed.open();
    assert!(matches!(
        clone.accept_parts(facts(1), vec![], decision()).await,
        Err(AcceptError::Unavailable)
    ));
    again.close().await.unwrap();
}

#[test]
fn a_segment_too_small_is_refused() {
    let mut bed = Bed::new();
    bed.options.segment_bytes = MIB - 1;
    assert!(matches!(
        bed.try_open(),
        Err(OpenError::SegmentBytes { .. })
    ));
}

#[tokio::test]
async fn a_log_of_another_node_is_refused() {
    let mut bed = Bed::new();
    let (log, _) = bed.open();
    log.close().await.unwrap();
    bed.options.node = outrider_webhook::id::NodeId::new(7).unwrap();
    assert!(matches!(
        bed.try_open(),
        Err(OpenError::Meta(MetaError::Node {
            found: 0,
            wanted: 7
        }))
    ));
}

#[tokio::test]
async fn a_log_whose_meta_file_is_gone_is_refused() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    log.close().await.unwrap();
    std::fs::remove_file(bed.options.dir.join("meta.json")).unwrap();
    assert!(matches!(
        bed.try_open(),
        Err(OpenError::Meta(MetaError::Missing(_)))
    ));
}

/// Opens a copy whose meta file was changed, and says that nothing was touched by the refusal.
async fn assert_refused_untouched(change: impl Fn(&std::path::Path)) {
    let bed = Bed::new();
    let (log, _) = bed.open();
    let id = put(&log, 100).await;
    log.close().await.unwrap();
    let meta = bed.options.dir.join("meta.json");
    let (good, before) = (
        std::fs::read(&meta).unwrap(),
        std::fs::read(bed.segment(1)).unwrap(),
    );
    change(&meta);
    assert!(bed.try_open().is_err());
    assert!(
        before == std::fs::read(bed.segment(1)).unwrap(),
        "the segment was touched"
    );
    std::fs::write(&meta, good).unwrap();
    let (log, recovered) = bed.open();
    assert_eq!((recovered.events, recovered.last_id), (1, id));
    log.close().await.unwrap();
}

#[tokio::test]
async fn a_flipped_bit_in_the_meta_file_is_refused_before_anything_is_touched() {
    for (from, to) in [
        ("\"salt\": ", "\"salt\": 1"),
        ("\"epoch\": 1", "\"epoch\": 3"),
    ] {
        assert_refused_untouched(|meta| {
            let text = std::fs::read_to_string(meta).unwrap();
            assert!(text.contains(from), "{text}");
            std::fs::write(meta, text.replacen(from, to, 1)).unwrap();
        })
        .await;
    }
}

#[tokio::test]
async fn the_meta_file_of_another_log_is_refused_before_anything_is_touched() {
    let other = Bed::new();
    let (log, _) = other.open();
    log.close().await.unwrap();
    assert_refused_untouched(|meta| {
        std::fs::copy(other.options.dir.join("meta.json"), meta).unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_event_larger_than_a_segment_is_refused() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    let too_large = log
        .accept_parts(facts(MIB_LEN), targets(1), decision())
        .await;
    assert!(
        matches!(&too_large, Err(AcceptError::TooLarge { max, .. }) if *max < MIB_LEN),
        "{too_large:?}"
    );
    assert_eq!(too_large.unwrap_err().code(), "event_too_large");
    put(&log, MIB_LEN - 2_000).await;
    log.close().await.unwrap();
}

#[tokio::test]
async fn files_are_for_the_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let bed = Bed::new();
    let (log, _) = bed.open();
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&bed.options.dir), 0o700);
    for name in ["LOCK", "meta.json", "00000001.log"] {
        assert_eq!(mode(&bed.options.dir.join(name)), 0o600, "{name}");
    }
    log.close().await.unwrap();
}

#[tokio::test]
async fn a_full_queue_refuses_events_and_holds_up_records() {
    for (records, bytes) in [(4, 64 << 20), (1000, 4_000)] {
        let mut bed = Bed::new();
        (bed.options.queue_records, bed.options.queue_bytes) = (records, bytes);
        let (log, _) = bed.open();
        bed.sink.hold();
        let mut waiting = Vec::new();
        let overloaded = loop {
            let log = log.clone();
            let mut accept =
                Box::pin(async move { log.accept_parts(facts(700), targets(1), decision()).await });
            match futures_poll(&mut accept).await {
                Some(refused) => break refused,
                None => waiting.push(tokio::spawn(accept)),
            }
            assert!(waiting.len() < 100, "nothing was refused");
        };
        assert_eq!(overloaded, Err(AcceptError::Overloaded));
        assert_eq!(overloaded.unwrap_err().retry_after_s(), Some(1));
        assert_eq!(log.stats().overloaded, 1);

        let key = outrider_webhook::id::DeliveryKey {
            event: EventId::ZERO,
            ordinal: 0,
        };
        let position = Position {
            segment: 1,
            offset: 64,
        };
        let record = || {
            let mut attempt = attempt(key, position, 1, DeliveryStatus::Success);
            attempt.excerpt = vec![0; 600].into();
            Record::Attempt(attempt)
        };
        let held = log.clone();
        let mut recorded = Box::pin(async move { held.record(record()).await });
        assert!(
            futures_poll(&mut recorded).await.is_none(),
            "a record must wait for room"
        );

        bed.sink.let_go();
        recorded.await.unwrap();
        for accept in waiting {
            accept.await.unwrap().unwrap();
        }
        until(|| log.stats().queue_records == 0 && log.stats().queue_bytes == 0).await;
        log.close().await.unwrap();
    }
}

/// Polls a future once.
async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(
        |context| match std::pin::Pin::new(&mut *future).poll(context) {
            std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
            std::task::Poll::Pending => std::task::Poll::Ready(None),
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_64_copies_of_one_key_one_is_stored_and_63_are_repeats() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let log = log.clone();
            tokio::spawn(async move {
                log.accept_parts(keyed("k"), targets(1), decision())
                    .await
                    .unwrap()
            })
        })
        .collect();
    let (mut stored, mut repeats) = (Vec::new(), Vec::new());
    for task in tasks {
        match task.await.unwrap() {
            Accepted::Stored(id) => stored.push(id),
            Accepted::Duplicate { id, first } => repeats.push((id, first)),
        }
    }
    assert_eq!((stored.len(), repeats.len()), (1, 63));
    assert!(
        repeats
            .iter()
            .all(|(id, first)| *first == stored[0] && *id > stored[0])
    );
    let ids: HashSet<_> = repeats.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids.len(), 63);
    assert_eq!(bed.sink.ids(), stored);
    assert_eq!((log.stats().accepted, log.stats().duplicates), (1, 63));

    // Known again after a restart; forgotten after its time.
    log.close().await.unwrap();
    let (log, recovered) = bed.open();
    assert_eq!(recovered.events, 1);
    let again = log
        .accept_parts(keyed("k"), targets(1), decision())
        .await
        .unwrap();
    assert!(matches!(again, Accepted::Duplicate { first, .. } if first == stored[0]));
    let mut other = keyed("k");
    other.project = outrider_webhook::id::ProjectId::new(outrider_webhook::id::Uid::from_bits(9));
    put_for(&log, other, 1).await;
    bed.clock
        .0
        .fetch_add(120_000, std::sync::atomic::Ordering::SeqCst);
    put_for(&log, keyed("k"), 1).await;
    log.close().await.unwrap();
}

#[tokio::test]
async fn an_event_that_may_only_be_a_repeat_is_refused_when_it_is_new() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    let only_repeat = |facts| log.push_event(facts, targets(1), decision(), true);
    assert_eq!(only_repeat(keyed("k")).await, Err(AcceptError::NoRepeat));
    let first = put_for(&log, keyed("k"), 1).await;
    let again = only_repeat(keyed("k")).await.unwrap();
    assert!(matches!(again, Accepted::Duplicate { first: found, .. } if found == first));
    assert_eq!(only_repeat(facts(1)).await, Err(AcceptError::NoRepeat));
    assert_eq!(bed.sink.ids(), [first]);
    log.close().await.unwrap();
    let (_, recovered) = bed.open();
    assert_eq!(recovered.events, 1);
}

#[tokio::test]
async fn every_fan_out_is_whole_in_memory_in_the_log_and_after_recovery() {
    for count in [0, 1, 256, 257, 5000] {
        let bed = Bed::new();
        let (log, _) = bed.open();
        let id = put_for(&log, facts(100), count).await;
        let event = bed.sink.last();
        assert_eq!((event.id, &event.targets[..]), (id, &targets(count)[..]));
        let read = log.read(event.position).await.unwrap();
        assert_eq!(read.targets, event.targets);
        assert_eq!(format!("{:?}", read.facts), format!("{:?}", facts(100)));
        assert_eq!(log.stats().open_deliveries, count as u64);
        log.close().await.unwrap();
        let (log, recovered) = bed.open();
        assert_eq!(recovered.pending.len(), count);
        for (ordinal, (pending, target)) in recovered.pending.iter().zip(targets(count)).enumerate()
        {
            assert_eq!(
                (pending.key.event, pending.key.ordinal as usize),
                (id, ordinal)
            );
            assert_eq!(
                (&pending.target, pending.position, pending.revision),
                (&target, event.position, 42)
            );
        }
        log.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_fan_out_over_several_segments_is_whole() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    let id = put_for(&log, facts(10), 60_000).await;
    let event = bed.sink.last();
    assert!(log.stats().segments > 1);
    assert_eq!(
        log.read(event.position).await.unwrap().targets.len(),
        60_000
    );
    let cut = bed.copy();
    log.close().await.unwrap();
    let (log, recovered) = cut.open();
    assert_eq!(recovered.pending.len(), 60_000);
    assert!(
        recovered
            .pending
            .iter()
            .all(|pending| pending.key.event == id)
    );
    log.close().await.unwrap();
}

#[tokio::test]
async fn too_many_targets_are_refused() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    let max = outrider_webhook::id::ORDINAL_MAX as usize + 1;
    let target = targets(1).remove(0);
    let refused = log
        .accept_parts(facts(1), vec![target; max + 1], decision())
        .await;
    assert_eq!(
        refused,
        Err(AcceptError::TooManyTargets {
            targets: max + 1,
            max
        })
    );
    log.close().await.unwrap();
}

#[tokio::test]
async fn a_clock_that_steps_back_still_gives_rising_ids() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    let first = put(&log, 1).await;
    bed.clock
        .0
        .store(NOW_MS - 3_600_000, std::sync::atomic::Ordering::SeqCst);
    let second = put(&log, 1).await;
    assert!(second > first);
    log.close().await.unwrap();
    let (log, recovered) = bed.open();
    assert_eq!(recovered.last_id, second);
    assert!(put(&log, 1).await > second);
    log.close().await.unwrap();
}

#[tokio::test]
async fn an_accept_whose_caller_has_gone_is_still_stored() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    let cloned = log.clone();
    let mut accept =
        Box::pin(async move { cloned.accept_parts(facts(5), targets(1), decision()).await });
    assert!(futures_poll(&mut accept).await.is_none());
    drop(accept);
    until(|| bed.sink.ids().len() == 1).await;
    log.close().await.unwrap();
    let (log, recovered) = bed.open();
    assert_eq!(recovered.pending.len(), 1);
    log.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_sync_settings_keep_everything_over_a_clean_close() {
    for sync in [
        Sync::Always,
        Sync::Interval(std::time::Duration::from_millis(2)),
        Sync::Off,
    ] {
        let mut bed = Bed::new();
        bed.options.sync = sync;
        let (log, _) = bed.open();
        for _ in 0..20 {
            put(&log, 100_000).await; // over several segments
        }
        if sync != Sync::Off {
            // Synced by time alone, without further records.
            until(|| log.stats().syncs > 0).await;
        }
        let synced = Record::State(StateRecord {
            key: outrider_webhook::id::DeliveryKey {
                event: bed.sink.last().id,
                ordinal: 0,
            },
            position: bed.sink.last().position,
            at_ms: NOW_MS,
            status: DeliveryStatus::Discarded,
            next_due_ms: None,
            attempts: 0,
            reason: None,
        });
        log.record_synced(synced).await.unwrap();
        log.close().await.unwrap();
        let (log, recovered) = bed.open();
        assert_eq!(
            (recovered.events, recovered.pending.len()),
            (20, 19),
            "{sync:?}"
        );
        assert!(recovered.torn_tail.is_none());
        log.close().await.unwrap();
    }
}
