//! Coming back: from the tail where the journal can, from everything where it cannot.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::fake::{ControlPlane, DataPlane, Journal, MemoryTable, endpoint, endpoints, soon};
use crate::{ClientSettings, Server, channel, serve_tcp};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Starts a data plane with a table, waits until it is at the head, and stops it.
async fn visit(control: &ControlPlane, table: &Arc<MemoryTable>, journal: &Journal) -> u64 {
    let settings = ClientSettings::default();
    let mut data = DataPlane::start_with(&control.channel, table.clone(), settings);
    let status = data.reaches(journal.version()).await;
    data.stop().await;
    control
        .dataplanes("the visitor has left", |all| all.is_empty().then_some(()))
        .await;
    assert_eq!(table.resources(), journal.resources());
    status.resources
}

#[tokio::test]
async fn a_client_of_an_unknown_journal_gets_everything_and_loses_what_vanished() {
    let journal = Journal::new(endpoints(3_000));
    let control = ControlPlane::start(&journal);
    let table = Arc::default();
    visit(&control, &table, &journal).await;

    let version = journal.restore(endpoints(2_500));
    assert_eq!(visit(&control, &table, &journal).await, 2_500);
    assert_eq!(table.resources().len(), 2_500);
    let last = table.applied().pop().unwrap();
    assert!(last.is_full && last.version == version);
    control.stop().await;
}

#[tokio::test]
async fn a_journal_restored_under_an_open_stream_is_synced_fully() {
    let journal = Journal::new(endpoints(30));
    let control = ControlPlane::start(&journal);
    let mut data = DataPlane::start(&control.channel);
    data.reaches(journal.version()).await;
    let version = journal.restore(endpoints(20));
    let status = data.reaches(version).await;
    assert_eq!((status.accepted_full, status.connects), (2, 1));
    assert_eq!(data.table.resources(), journal.resources());
    data.stop().await;
    control.stop().await;
}

#[tokio::test]
async fn a_client_ahead_of_the_head_gets_everything() {
    let journal = Journal::new(endpoints(10));
    let control = ControlPlane::start(&journal);
    let table = Arc::default();
    journal.commit(vec![endpoint(11, "{}")], &[]);
    visit(&control, &table, &journal).await;
    control.stop().await;

    // The same journal id, but an older state: a backup restored by hand.
    let older = Journal::new(endpoints(10));
    let control = ControlPlane::start(&older);
    assert_eq!(visit(&control, &table, &older).await, 10);
    assert!(table.applied().pop().unwrap().is_full);
    control.stop().await;
}

#[tokio::test]
async fn a_client_older_than_the_kept_tail_gets_everything() {
    let journal = Journal::new(endpoints(10));
    let control = ControlPlane::start(&journal);
    let table = Arc::default();
    visit(&control, &table, &journal).await;
    journal.commit(vec![endpoint(1, "{}")], &[]);
    journal.commit(vec![endpoint(2, "{}")], &[3]);
    journal.forget_tail();
    assert_eq!(visit(&control, &table, &journal).await, 9);
    control.stop().await;
}

#[tokio::test]
async fn a_client_that_missed_nothing_receives_nothing() {
    let journal = Journal::new(endpoints(5_000));
    let control = ControlPlane::start(&journal);
    let table = Arc::default();
    assert_eq!(visit(&control, &table, &journal).await, 5_000);
    assert_eq!(visit(&control, &table, &journal).await, 0);
    let last = table.applied().pop().unwrap();
    assert!(!last.is_full, "an empty change ends the initial set");
    control.stop().await;
}

#[tokio::test]
async fn a_client_that_missed_revisions_receives_only_them_joined() {
    let journal = Journal::new(endpoints(5_000));
    let control = ControlPlane::start(&journal);
    let table = Arc::default();
    visit(&control, &table, &journal).await;
    for number in 0..300_u128 {
        journal.commit(vec![endpoint(number % 100, number.to_string())], &[]);
    }
    journal.commit(Vec::new(), &[7, 4_000]);
    // 100 distinct endpoints changed, 1 of them went, and another.
    assert_eq!(visit(&control, &table, &journal).await, 101);
    assert_eq!(table.applied().len(), 2);
    control.stop().await;
}

#[tokio::test]
async fn a_long_tail_comes_in_several_transactions_of_whole_revisions() {
    let journal = Journal::new(endpoints(10));
    let control = ControlPlane::start(&journal);
    let table = Arc::default();
    visit(&control, &table, &journal).await;
    for revision in 0..9_u128 {
        let from = 1_000 * (revision + 1);
        let upserts = (from..from + 700).map(|number| endpoint(number, "{}"));
        journal.commit(upserts.collect(), &[]);
    }
    assert_eq!(visit(&control, &table, &journal).await, 6_300);
    let applied = table.applied();
    assert_eq!(applied.len(), 1 + 5, "two revisions fit one transaction");
    assert!(
        applied
            .iter()
            .skip(1)
            .all(|one| !one.is_full && one.upserts % 700 == 0)
    );
    control.stop().await;
}

#[tokio::test]
async fn a_broken_journal_is_retried_and_the_table_stays() {
    let journal = Journal::new(endpoints(10));
    let control = ControlPlane::start(&journal);
    journal.set_broken(true);
    let settings = ClientSettings {
        reconnect_wait_min: Duration::from_millis(10),
        ..ClientSettings::default()
    };
    let mut data = DataPlane::start_with(&control.channel, Arc::default(), settings);
    let status = data.until(|status| status.connects >= 3).await;
    assert!(status.last_error.unwrap().contains("cannot be read"));
    journal.set_broken(false);
    data.reaches(journal.version()).await;
    data.stop().await;
    control.stop().await;
}

#[tokio::test]
async fn a_client_finds_a_restarted_server_and_resumes() {
    let journal = Journal::new(endpoints(2_000));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serve = |listener| {
        let shutdown = CancellationToken::new();
        let server = Server::new(journal.clone());
        let task = tokio::spawn(serve_tcp(server, listener, None, shutdown.clone()));
        (shutdown, task)
    };
    let (shutdown, task) = serve(listener);
    let settings = ClientSettings {
        reconnect_wait_min: Duration::from_millis(20),
        ..ClientSettings::default()
    };
    let channel = channel(&format!("http://{address}"), None).unwrap();
    let mut data = DataPlane::start_with(&channel, Arc::default(), settings);
    data.reaches(journal.version()).await;

    shutdown.cancel();
    soon(task).await.unwrap().unwrap();
    data.until(|status| !status.connected).await;
    let version = journal.commit(vec![endpoint(1, "{}")], &[2]);
    let (shutdown, task) = serve(TcpListener::bind(address).await.unwrap());
    let status = data.reaches(version).await;

    assert_eq!(status.accepted_full, 1);
    assert_eq!(status.resources, 2_002);
    assert_eq!(data.table.resources(), journal.resources());
    data.stop().await;
    shutdown.cancel();
    soon(task).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_not_durable_is_not_acknowledged_and_is_sent_again_until_it_is() {
    let journal = Journal::new(endpoints(3));
    let control = ControlPlane::start(&journal);
    let mut data = DataPlane::start(&control.channel);
    let kept = journal.version();
    data.reaches(kept).await;
    data.table.is_full.store(true, Ordering::Relaxed);
    let version = journal.commit(vec![endpoint(7, "{}")], &[]);
    let status = data.until(|status| status.connects >= 3).await;
    let error = status.last_error.unwrap();
    assert!(error.contains("could not be made durable"), "{error}");
    assert_eq!(
        data.table.resources(),
        journal.resources(),
        "it is in force"
    );
    control
        .told("nothing newer is acknowledged", |all| {
            let acked = all.iter().map(|one| one.acked);
            acked.eq([Some(kept)]).then_some(())
        })
        .await;
    data.table.is_full.store(false, Ordering::Relaxed);
    data.reaches(version).await;
    control
        .dataplane("it is acknowledged", |one| one.acked == Some(version))
        .await;
    data.stop().await;
    control.stop().await;
}
