//! An index that is behind, in the making, or read while the log grows and shrinks.

use outrider_webhook::id::{DeliveryKey, EventId};

use super::model::*;
use crate::tests::support::*;
use crate::*;

/// Accepts `each` events from each of `producers` at once.
async fn pour(log: &LocalLog, producers: usize, each: usize) {
    let pour = |log: LocalLog| async move {
        for _ in 0..each {
            put_for(&log, facts(10), 0).await;
        }
    };
    let tasks: Vec<_> = (0..producers)
        .map(|_| tokio::spawn(pour(log.clone())))
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_grows_while_it_is_followed_is_not_called_corrupt() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    // More than a batch, so that it goes on from one to the next with what it has read ahead.
    pour(&log, 32, 1_000).await;
    let index = Index::open(&index_dir(&bed), &log).unwrap();
    let growing = tokio::spawn({
        let log = log.clone();
        async move { pour(&log, 16, 400).await }
    });
    while !growing.is_finished() {
        let id = put_for(&log, facts(10), 0).await;
        let found = index.event(facts(0).project, id).await.unwrap();
        assert!(found.is_some(), "acknowledged, and not found");
    }
    growing.await.unwrap();
    assert_eq!(index.catch_up(GRACE).await, None);
    assert_eq!((index.stats().failures, index.stats().rebuilds), (0, 1));
    index.close().await;
    log.close().await.unwrap();
}

#[tokio::test]
async fn rows_that_are_deleted_meanwhile_hide_nothing_that_is_new() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    pour(&log, 32, 500).await;
    bed.clock
        .0
        .fetch_add(1_000_000, std::sync::atomic::Ordering::SeqCst);
    put_for(&log, facts(600_000), 0).await;
    put_for(&log, facts(600_000), 0).await;
    let index = Index::open(&index_dir(&bed), &log).unwrap();
    index.catch_up(GRACE).await;
    assert!(log.drop_expired(NOW_MS + 1).unwrap() > 0);
    for _ in 0..300 {
        let id = put_for(&log, facts(10), 0).await;
        assert!(index.event(facts(0).project, id).await.unwrap().is_some());
    }
    assert_eq!(index.stats().failures, 0);
    index.close().await;
    log.close().await.unwrap();
}

#[tokio::test]
async fn an_event_without_its_end_is_not_shown_and_holds_nothing_up() {
    let mut bed = Bed::new();
    bed.options.segment_bytes = 16 * MIB;
    let (log, _) = bed.open();
    let before = put(&log, 10).await;
    put_for(&log, facts(0), 140_000).await; // over two groups
    let mut records = Vec::new();
    let mut tail = log.tail(None, Check::Checksums).unwrap();
    while tail.next_group(&mut records).unwrap() {}
    let of_big = |one: &&Located| matches!(one.entry, Entry::Targets { .. });
    let first = records.iter().find(of_big).unwrap().group;
    let cut = records
        .iter()
        .find(|one| one.group > first)
        .unwrap()
        .position;
    log.close().await.unwrap();

    // As a kill in the middle of it leaves the log.
    let mut bytes = std::fs::read(bed.segment(cut.segment)).unwrap();
    let from = usize::try_from(cut.offset).unwrap() - crate::codec::GROUP_BYTES;
    bytes[from..].fill(0);
    std::fs::write(bed.segment(cut.segment), bytes).unwrap();
    let (log, recovered) = bed.open();
    assert_eq!((recovered.events, recovered.pending.len()), (1, 1));
    for _ in 0..2 {
        let index = Index::open(&index_dir(&bed), &log).unwrap();
        assert_eq!(index.catch_up(GRACE).await, None);
        let (page, lag) = index.events(everything(), oldest_first(10)).await.unwrap();
        assert_eq!((page.rows.len(), page.rows[0].id, lag), (1, before, None));
        let request = newest_first(10);
        let (page, _) = index.deliveries(every_delivery(), request).await.unwrap();
        assert_eq!(page.rows.len(), 1);
        index.close().await;
    }
    log.close().await.unwrap();
}

#[tokio::test]
async fn an_event_over_many_groups_is_whole_in_the_index() {
    let mut bed = Bed::new();
    bed.options.segment_bytes = 16 * MIB;
    let (log, _) = bed.open();
    let id = put_for(&log, facts(0), 140_000).await;
    let index = Index::open(&index_dir(&bed), &log).unwrap();
    index.catch_up(GRACE).await; // 140,000 rows are more than a look-up waits for
    let last = DeliveryKey {
        event: id,
        ordinal: 139_999,
    };
    let found = index
        .delivery(facts(0).project, last)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.target, targets(140_000)[139_999]);
    // A cursor in the middle of it goes on in the middle of it.
    let of_event = DeliveryFilter {
        project: Some(facts(0).project),
        event: Some(id),
        ..DeliveryFilter::default()
    };
    let middle = DeliveryKey {
        event: id,
        ordinal: 60_000,
    };
    let request = PageRequest {
        rows: 2,
        sort: Sort::Descending,
        direction: Direction::Next,
        cursor: Some(middle),
    };
    let (page, _) = index.deliveries(of_event, request).await.unwrap();
    let ordinals: Vec<u32> = page.rows.iter().map(|row| row.key.ordinal).collect();
    assert_eq!((ordinals, page.has_prev), (vec![60_000, 59_999], true));
    index.close().await;
    log.close().await.unwrap();
}

#[tokio::test]
async fn a_rebuild_that_cannot_be_done_now_is_done_later() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    let index = Index::open(&index_dir(&bed), &log).unwrap();
    let id = put(&log, 10).await;
    index.catch_up(GRACE).await;
    // Something stands in the way of the file, and the file itself is of no use.
    let shm = index_dir(&bed).join("index.sqlite-shm");
    std::fs::rename(&shm, index_dir(&bed).join("aside")).unwrap();
    std::fs::create_dir_all(shm.join("x")).unwrap();
    index.report_damage();
    until(|| index.stats().failures > 0).await;
    std::fs::remove_dir_all(&shm).unwrap();
    let again = put(&log, 10).await;
    assert_eq!(index.catch_up(GRACE).await, None);
    for id in [id, again] {
        assert!(index.event(facts(0).project, id).await.unwrap().is_some());
    }
    index.close().await;
    log.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_meanwhile_hides_nothing_and_forgets_no_key() {
    let mut bed = Bed::new();
    bed.options.idempotency_keys_max = 1;
    bed.options.queue_records = 1;
    let (log, _) = bed.open();
    let index = Index::open(&index_dir(&bed), &log).unwrap();
    let first = put_for(&log, keyed("the first"), 1).await;
    for number in 0..1_100 {
        put_for(&log, keyed(&format!("{number}")), 0).await;
    }
    let damaging = tokio::spawn({
        let index = index.clone();
        async move {
            for _ in 0..20 {
                index.report_damage();
                tokio::time::sleep(std::time::Duration::from_millis(15)).await;
            }
        }
    });
    while !damaging.is_finished() {
        let repeat = log
            .accept_parts(keyed("the first"), targets(1), decision())
            .await;
        match repeat {
            Ok(Accepted::Duplicate { first: id, .. }) => assert_eq!(id, first),
            Err(AcceptError::KeyUnknown) => {}
            other => panic!("{other:?}"),
        }
        let id = put_for(&log, facts(10), 0).await;
        assert!(index.event(facts(0).project, id).await.unwrap().is_some());
        assert!(
            index
                .event(facts(0).project, first)
                .await
                .unwrap()
                .is_some()
        );
    }
    damaging.await.unwrap();
    assert!(index.stats().rebuilds > 1);
    index.close().await;
    log.close().await.unwrap();
}

#[tokio::test]
async fn repeats_of_a_key_hide_neither_its_deliveries_nor_the_key() {
    let mut bed = Bed::new();
    bed.options.idempotency_keys_max = 1;
    bed.options.queue_records = 1;
    let (log, _) = bed.open();
    let index = Index::open(&index_dir(&bed), &log).unwrap();
    let first = put_for(&log, keyed("hot"), 1).await;
    for number in 0..1_200 {
        log.accept_parts(keyed("hot"), targets(1), decision())
            .await
            .unwrap();
        put_for(&log, keyed(&format!("{number}")), 0).await;
    }
    let of_key = DeliveryFilter {
        project: Some(facts(0).project),
        idempotency_key: Some("hot".into()),
        ..DeliveryFilter::default()
    };
    let request = newest_first(10);
    let (page, _) = index.deliveries(of_key, request).await.unwrap();
    assert_eq!(page.rows.len(), 1);
    assert_eq!(page.rows[0].key.event, first);
    let repeat = log
        .accept_parts(keyed("hot"), targets(1), decision())
        .await
        .unwrap();
    assert!(matches!(repeat, Accepted::Duplicate { first: id, .. } if id == first));
    index.close().await;
    log.close().await.unwrap();
}

#[tokio::test]
async fn large_bodies_make_pages_shorter_and_hide_nothing_in_either_direction() {
    let mut bed = Bed::new();
    bed.options.segment_bytes = 64 * MIB;
    let (log, _) = bed.open();
    let mut want = Vec::new();
    for _ in 0..9 {
        want.push(put_for(&log, facts(3 * MIB_LEN), 2).await);
    }
    let index = Index::open(&index_dir(&bed), &log).unwrap();
    let mut request = oldest_first(100);
    let (mut found, mut last) = (Vec::new(), None);
    loop {
        let (page, _) = index.events(everything(), request).await.unwrap();
        assert!(page.rows.len() < 4, "a page holds too much");
        found.extend(page.rows.iter().map(|item| item.id));
        last = page.first.or(last);
        let Some(next) = page.next else { break };
        request.cursor = Some(next);
    }
    assert_eq!(found, want);
    // Back from the last page: all others, each once.
    request.direction = Direction::Prev;
    request.cursor = last;
    let mut before = Vec::new();
    loop {
        let (page, _) = index.events(everything(), request).await.unwrap();
        let shown: Vec<EventId> = page.rows.iter().map(|item| item.id).collect();
        // The row of the cursor is shown again where the page is not full.
        let new: Vec<EventId> = shown
            .into_iter()
            .filter(|id| Some(*id) < request.cursor)
            .collect();
        before.splice(0..0, new);
        if !page.has_prev {
            break;
        }
        request.cursor = page.first;
    }
    let until = want.iter().position(|id| Some(*id) == last).unwrap();
    assert_eq!(before, want[..until]);
    // A body counts with each delivery that shows it.
    let request = oldest_first(100);
    let (page, _) = index.deliveries(every_delivery(), request).await.unwrap();
    assert!(page.rows.len() < 4 && page.next.is_some());
    index.close().await;
    log.close().await.unwrap();
}

#[tokio::test]
async fn a_search_skips_what_retention_took() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    for _ in 0..30 {
        put_for(&log, facts(100_000), 0).await;
    }
    bed.clock
        .0
        .fetch_add(1_000_000, std::sync::atomic::Ordering::SeqCst);
    let json = outrider_webhook::event::EventFacts {
        body: r#"{"a":1}"#.into(),
        ..facts(0)
    };
    let id = put_for(&log, json, 0).await;
    let index = Index::open(&index_dir(&bed), &log).unwrap();
    index.catch_up(GRACE).await;
    assert!(log.drop_expired(NOW_MS + 1).unwrap() > 0);
    let filter = EventFilter {
        search: Some(Search {
            contains: vec![serde_json::json!({"a": 1})],
            ..Search::default()
        }),
        ..everything()
    };
    let (page, _) = index.events(filter, oldest_first(10)).await.unwrap();
    let found: Vec<EventId> = page.rows.iter().map(|item| item.id).collect();
    assert_eq!(found, [id]);
    index.close().await;
    log.close().await.unwrap();
}

#[tokio::test]
async fn what_does_not_fit_in_a_group_is_not_recorded_together() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    put(&log, 10).await;
    let event = bed.sink.last();
    let key = DeliveryKey {
        event: event.id,
        ordinal: 0,
    };
    let large = AttemptRecord {
        excerpt: bytes::Bytes::from(vec![b'x'; 40_000]),
        ..attempt(key, event.position, 1, DeliveryStatus::Retry)
    };
    let records = vec![Record::Attempt(large); 120];
    let refused = log.record_together(&records[0], &records).await;
    assert!(matches!(
        refused,
        Err(TogetherError::TooMuch { records: 121, .. })
    ));
    let small = attempt(key, event.position, 1, DeliveryStatus::Retry);
    let many = vec![Record::Attempt(small); 512];
    let refused = log.record_together(&many[0], &many).await;
    assert!(matches!(
        refused,
        Err(TogetherError::TooMuch { records: 513, .. })
    ));
    log.record_together(&many[0], &many[1..]).await.unwrap();
    let mut records = Vec::new();
    let mut tail = log.tail(None, Check::Checksums).unwrap();
    while tail.next_group(&mut records).unwrap() {}
    let of_attempts = |one: &&Located| matches!(one.entry, Entry::Attempt(_));
    let groups: std::collections::BTreeSet<u64> = records
        .iter()
        .filter(of_attempts)
        .map(|one| one.group)
        .collect();
    assert_eq!(groups.len(), 1);
    log.close().await.unwrap();
}

#[tokio::test]
async fn an_index_that_a_power_cut_may_have_torn_is_made_again_and_a_killed_one_is_not() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    let id = put(&log, 10).await;
    let note = index_dir(&bed).join("unsynced");
    let index = Index::open(&index_dir(&bed), &log).unwrap();
    index.catch_up(GRACE).await;
    let noted = std::fs::read(&note).unwrap();
    index.close().await;
    assert!(!note.exists(), "closed in good order");
    log.close().await.unwrap();

    let this_boot = String::from_utf8(noted).unwrap();
    for (boot, rebuilds) in [(this_boot.as_str(), 0), ("another boot", 1), ("", 1)] {
        std::fs::write(&note, boot).unwrap();
        let (log, _) = bed.open();
        let index = Index::open(&index_dir(&bed), &log).unwrap();
        assert_eq!(index.stats().rebuilds, rebuilds, "{boot}");
        assert!(index.event(facts(0).project, id).await.unwrap().is_some());
        index.close().await;
        log.close().await.unwrap();
    }
}
