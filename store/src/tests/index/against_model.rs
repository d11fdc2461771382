//! Lists are what the model says, whatever happened in between.

use outrider_webhook::id::DeliveryKey;

use super::model::*;
use crate::tests::support::*;
use crate::*;

#[tokio::test]
async fn lists_say_what_a_look_through_everything_says() {
    let bed = Bed::new();
    let (mut model, mut dice) = (Model::default(), Dice(0x9e37_79b9));
    for _ in 0..3 {
        let (log, _) = bed.open();
        let index = Index::open(&index_dir(&bed), &log).unwrap();
        for _ in 0..2 {
            busy(&bed, &log, &mut model, &mut dice, 150).await;
            model.check(&index, &mut dice, 15).await;
        }
        assert_eq!(index.stats().lag_ms, 0);
        index.close().await;
        log.close().await.unwrap();
    }
}

#[tokio::test]
async fn an_index_that_is_missing_damaged_or_of_another_log_is_made_again() {
    let bed = Bed::new();
    let (mut model, mut dice) = (Model::default(), Dice(77));
    let (log, _) = bed.open();
    let index = Index::open(&index_dir(&bed), &log).unwrap();
    busy(&bed, &log, &mut model, &mut dice, 200).await;
    model.check(&index, &mut dice, 3).await;
    index.close().await;
    log.close().await.unwrap();

    let foreign = Bed::new();
    let (other, _) = foreign.open();
    put(&other, 10).await;
    let index = Index::open(&index_dir(&foreign), &other).unwrap();
    assert_eq!(index.catch_up(GRACE).await, None);
    index.close().await;
    other.close().await.unwrap();

    let mark = |set: &str| {
        let connection = rusqlite::Connection::open(index_file(&bed)).unwrap();
        let sql = format!("UPDATE mark SET {set}");
        assert_eq!(connection.execute(&sql, ()).unwrap(), 1);
    };
    let damages: [&dyn Fn(); 7] = [
        &|| std::fs::remove_dir_all(index_dir(&bed)).unwrap(),
        &|| std::fs::write(index_file(&bed), b"no database at all").unwrap(),
        &|| {
            let bytes = std::fs::read(index_file(&bed)).unwrap();
            std::fs::write(index_file(&bed), &bytes[..bytes.len() / 2]).unwrap();
        },
        &|| {
            let connection = rusqlite::Connection::open(index_file(&bed)).unwrap();
            connection.pragma_update(None, "user_version", 77).unwrap();
        },
        &|| mark("chain = x'00'"),
        &|| mark("open = 9223372036854775807"), // an event that has no row
        &|| {
            std::fs::remove_dir_all(index_dir(&bed)).unwrap();
            std::fs::create_dir(index_dir(&bed)).unwrap();
            std::fs::copy(index_file(&foreign), index_file(&bed)).unwrap();
        },
    ];
    for (number, damage) in damages.iter().enumerate() {
        damage();
        let (log, _) = bed.open();
        let index = Index::open(&index_dir(&bed), &log).unwrap();
        model.check(&index, &mut dice, 3).await;
        assert_eq!(index.stats().rebuilds, 1, "damage {number}");
        index.close().await;
        log.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_log_that_lost_its_end_and_went_on_gets_another_index() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    put(&log, 10).await;
    log.close().await.unwrap();
    let before = bed.copy();

    let (log, _) = bed.open();
    let index = Index::open(&index_dir(&bed), &log).unwrap();
    put(&log, 20).await;
    assert_eq!(index.catch_up(GRACE).await, None);
    index.close().await;
    log.close().await.unwrap();

    // The same log without that end, and with another one.
    let (log, _) = before.open();
    let id = put(&log, 3).await;
    put(&log, 4).await;
    log.close().await.unwrap();
    let (log, _) = before.open();
    let index = Index::open(&index_dir(&bed), &log).unwrap();
    let filter = everything();
    let request = oldest_first(10);
    index.catch_up(GRACE).await;
    let (page, _) = index.events(filter, request).await.unwrap();
    assert_eq!((page.rows.len(), page.rows[1].id), (3, id));
    assert_eq!(index.stats().rebuilds, 1);
    index.close().await;
    log.close().await.unwrap();
}

#[tokio::test]
async fn keys_that_memory_let_go_of_are_still_known() {
    let mut bed = Bed::new();
    bed.options.idempotency_keys_max = 4;
    bed.options.queue_records = 1;
    let (log, _) = bed.open();
    let index = Index::open(&index_dir(&bed), &log).unwrap();
    let first = put_for(&log, keyed("the first"), 1).await;
    for number in 0..1_100 {
        put_for(&log, keyed(&format!("{number}")), 0).await;
    }
    assert!(
        log.stats().idempotency_keys < 1_100,
        "nothing was let go of"
    );
    let repeat = async |log: &LocalLog, key| {
        log.accept_parts(keyed(key), targets(1), decision())
            .await
            .unwrap()
    };
    assert!(
        matches!(repeat(&log, "the first").await, Accepted::Duplicate { first: id, .. } if id == first)
    );
    assert!(matches!(
        repeat(&log, "of nobody").await,
        Accepted::Stored(_)
    ));
    index.close().await;
    log.close().await.unwrap();

    // Expired keys are free again, here as in memory.
    let (log, _) = bed.open();
    let index = Index::open(&index_dir(&bed), &log).unwrap();
    assert!(matches!(
        repeat(&log, "the first").await,
        Accepted::Duplicate { .. }
    ));
    bed.clock
        .0
        .fetch_add(60_001, std::sync::atomic::Ordering::SeqCst);
    assert!(matches!(
        repeat(&log, "the first").await,
        Accepted::Stored(_)
    ));
    index.close().await;
    log.close().await.unwrap();
}

#[tokio::test]
async fn retention_takes_the_rows_and_never_what_the_index_has_not_seen() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    for _ in 0..30 {
        put_for(&log, facts(100_000), 0).await; // over several segments
    }
    bed.clock
        .0
        .fetch_add(1_000_000, std::sync::atomic::Ordering::SeqCst);
    put_for(&log, facts(1_000_000), 0).await;
    let index = Index::open(&index_dir(&bed), &log).unwrap();
    index.catch_up(GRACE).await;
    let filter = everything();
    let request = oldest_first(100);
    let count = async || {
        index
            .events(filter.clone(), request)
            .await
            .unwrap()
            .0
            .rows
            .len()
    };
    assert_eq!(count().await, 31);
    assert!(log.drop_expired(NOW_MS + 1).unwrap() > 0);
    put_for(&log, facts(10), 0).await;
    // The rows go with the next look at the log.
    tokio::time::timeout(GRACE, async {
        while count().await > 5 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    index.close().await;
    log.close().await.unwrap();

    let bed = Bed::new();
    let (log, _) = bed.open();
    for _ in 0..30 {
        put_for(&log, facts(100_000), 0).await;
    }
    log.keep_from(1); // as an index that has seen nothing
    assert_eq!(log.drop_expired(NOW_MS + 1_000_000).unwrap(), 0);
    log.close().await.unwrap();
}

#[tokio::test]
async fn what_was_accepted_is_listed_at_once() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    let index = Index::open(&index_dir(&bed), &log).unwrap();
    let request = newest_first(1);
    let filter = every_delivery();
    for _ in 0..200 {
        let id = put(&log, 10).await;
        let (page, lag) = index.deliveries(filter.clone(), request).await.unwrap();
        assert_eq!(lag, None);
        assert_eq!(page.rows[0].key.event, id);
    }
    index.close().await;
    log.close().await.unwrap();
}

#[tokio::test]
async fn a_command_and_its_effect_are_one_group_and_the_command_is_known_after() {
    let bed = Bed::new();
    let (log, _) = bed.open();
    let index = Index::open(&index_dir(&bed), &log).unwrap();
    put(&log, 10).await;
    let event = bed.sink.last();
    let key = DeliveryKey {
        event: event.id,
        ordinal: 0,
    };
    let failed = attempt(key, event.position, 3, DeliveryStatus::Failure);
    log.record(Record::Attempt(failed)).await.unwrap();
    let command = Record::Command(CommandRecord {
        id: 77,
        at_ms: NOW_MS,
        verb: "resend".into(),
        cursor: None,
        affected: 1,
        is_done: true,
        body: bytes::Bytes::new(),
    });
    let effect = Record::State(StateRecord {
        key,
        position: event.position,
        at_ms: NOW_MS,
        status: DeliveryStatus::Scheduled,
        next_due_ms: Some(NOW_MS),
        attempts: 3,
        reason: Some("resend".into()),
    });
    log.record_together(&command, &[effect]).await.unwrap();
    assert!(index.has_command(77).await.unwrap());
    assert!(!index.has_command(78).await.unwrap());
    let found = index
        .delivery(event.facts.project, key)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (found.status, found.attempts),
        (DeliveryStatus::Scheduled, 3)
    );
    index.close().await;
    let mut groups = Vec::new();
    let mut tail = log.tail(None, Check::Chain).unwrap();
    while tail.next_group(&mut groups).unwrap() {}
    let group_of = |is: &dyn Fn(&Entry) -> bool| {
        groups
            .iter()
            .find(|one| is(&one.entry))
            .map(|one| one.group)
    };
    assert_eq!(
        group_of(&|entry| matches!(entry, Entry::Command(_))),
        group_of(&|entry| matches!(entry, Entry::State(_)))
    );
    log.close().await.unwrap();
    // What was opened again goes on from the attempts it had.
    let (log, recovered) = bed.open();
    assert_eq!(recovered.pending.iter().next().unwrap().attempts, 3);
    log.close().await.unwrap();
}
