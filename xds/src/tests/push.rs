//! The sunny path: initial sets of all sizes, changes, removals, quarantine, shutdown.

use super::fake::{
    Applied, ControlPlane, DataPlane, Journal, connected, endpoint, endpoints, soon,
};
use crate::node::QUARANTINED_MAX;
use crate::{ServeError, Server, serve_tcp};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn initial_sets_of_every_size_are_one_transaction() {
    for count in [0, 1, 5_000, 20_000] {
        let journal = Journal::new(endpoints(count));
        let control = ControlPlane::start(&journal);
        let mut data = DataPlane::start(&control.channel);
        let status = data.reaches(journal.version()).await;

        assert_eq!(data.table.resources(), journal.resources());
        let expected = Applied {
            version: journal.version(),
            is_full: true,
            upserts: usize::try_from(count).unwrap(),
            removals: 0,
        };
        assert_eq!(data.table.applied(), [expected]);
        assert_eq!((status.accepted, status.accepted_full), (1, 1));
        let seen = control
            .dataplane("the sync is acknowledged", |one| {
                one.acked == status.version
            })
            .await;
        assert_eq!(u128::from(seen.resources_sent), count);
        assert_eq!((seen.full_syncs, seen.node.id.as_str()), (1, "dp-1"));
        data.stop().await;
        control.stop().await;
    }
}

#[tokio::test]
async fn a_change_is_one_small_transaction() {
    let journal = Journal::new(endpoints(5_000));
    let control = ControlPlane::start(&journal);
    let mut data = DataPlane::start(&control.channel);
    data.reaches(journal.version()).await;

    let version = journal.commit(vec![endpoint(7, "{\"n\":\"new\"}")], &[]);
    let status = data.reaches(version).await;
    assert_eq!(status.resources, 5_001);
    assert_eq!(data.table.resources(), journal.resources());
    let seen = control
        .dataplane("the change is acknowledged", |one| {
            one.acked == Some(version)
        })
        .await;
    assert_eq!((seen.resources_sent, seen.full_syncs), (5_001, 1));
    data.stop().await;
    control.stop().await;
}

#[tokio::test]
async fn a_removal_removes() {
    let journal = Journal::new(endpoints(10));
    let control = ControlPlane::start(&journal);
    let mut data = DataPlane::start(&control.channel);
    data.reaches(journal.version()).await;

    let version = journal.commit(Vec::new(), &[3, 4]);
    data.reaches(version).await;
    assert_eq!(data.table.resources().len(), 8);
    assert_eq!(data.table.resources(), journal.resources());
    data.stop().await;
    control.stop().await;
}

#[tokio::test]
async fn a_revision_of_several_responses_is_applied_once() {
    let journal = Journal::new(endpoints(10));
    let control = ControlPlane::start(&journal);
    let mut data = DataPlane::start(&control.channel);
    data.reaches(journal.version()).await;

    let large = (0..30).map(|number| endpoint(100 + number, vec![b' '; 300 << 10]));
    let small = (0..7_000).map(|number| endpoint(1_000 + number, "{}"));
    let removals: Vec<u128> = (0..10).collect();
    let version = journal.commit(large.chain(small).collect(), &removals);
    data.reaches(version).await;

    let applied = data.table.applied();
    assert_eq!(applied.len(), 2);
    assert_eq!((applied[1].upserts, applied[1].removals), (7_030, 10));
    assert_eq!(data.table.resources(), journal.resources());
    data.stop().await;
    control.stop().await;
}

#[tokio::test]
async fn many_revisions_in_a_row_all_arrive() {
    let journal = Journal::new(Vec::new());
    let control = ControlPlane::start(&journal);
    let mut data = DataPlane::start(&control.channel);
    data.reaches(journal.version()).await;
    for number in 0..500 {
        journal.commit(vec![endpoint(number % 50, number.to_string())], &[]);
        if number % 100 == 0 {
            data.reaches(journal.version()).await;
        }
    }
    data.reaches(journal.version()).await;
    assert_eq!(data.table.resources(), journal.resources());
    data.stop().await;
    control.stop().await;
}

#[tokio::test]
async fn quarantined_resources_are_reported_until_they_are_repaired() {
    let journal = Journal::new(endpoints(10));
    let control = ControlPlane::start(&journal);
    let mut data = DataPlane::start(&control.channel);
    data.reaches(journal.version()).await;

    let version = journal.commit(vec![endpoint(3, "bad"), endpoint(4, "good")], &[]);
    let status = data.reaches(version).await;
    assert_eq!(status.quarantined.len(), 1);
    let seen = control
        .dataplane("the quarantine is reported", |one| {
            one.quarantined_total == 1
        })
        .await;
    assert_eq!(seen.acked, Some(version));
    assert_eq!(seen.quarantined[0].uid, endpoint(3, "").uid);
    assert_eq!(seen.quarantined[0].reason, "the specification is bad");
    assert!(seen.last_nack.is_none());
    // The rest of the revision is in force, and the old version of the bad one.
    let resources = data.table.resources();
    assert_eq!(
        resources[&(endpoint(4, "").kind, endpoint(4, "").uid)],
        "good"
    );
    assert_eq!(
        resources[&(endpoint(3, "").kind, endpoint(3, "").uid)],
        "{\"n\":3}"
    );

    let version = journal.commit(vec![endpoint(3, "fine")], &[]);
    data.reaches(version).await;
    control
        .dataplane("the quarantine is over", |one| one.quarantined_total == 0)
        .await;
    data.stop().await;
    control.stop().await;
}

#[tokio::test]
async fn a_large_quarantine_is_reported_in_bounds() {
    let journal = Journal::new((0..3_000).map(|number| endpoint(number, "bad")).collect());
    let control = ControlPlane::start(&journal);
    let data = DataPlane::start(&control.channel);
    let seen = control
        .dataplane("the quarantine is reported", |one| {
            one.quarantined_total == 3_000
        })
        .await;
    assert_eq!(seen.quarantined.len(), QUARANTINED_MAX);
    data.stop().await;
    control.stop().await;
}

#[tokio::test]
async fn several_data_planes_are_listed_one_by_one() {
    let journal = Journal::new(endpoints(100));
    let control = ControlPlane::start(&journal);
    let mut first = DataPlane::start(&control.channel);
    let mut second = DataPlane::start(&control.channel);
    first.reaches(journal.version()).await;
    second.reaches(journal.version()).await;
    control
        .dataplanes("both are listed", |all| (all.len() == 2).then_some(()))
        .await;
    first.stop().await;
    control
        .dataplanes("one has left", |all| (all.len() == 1).then_some(()))
        .await;
    second.stop().await;
    control.stop().await;
}

#[tokio::test]
async fn shutdown_of_the_server_ends_its_task_with_clients_connected() {
    let journal = Journal::new(endpoints(5_000));
    let control = ControlPlane::start(&journal);
    let mut data = DataPlane::start(&control.channel);
    data.reaches(journal.version()).await;
    let server = control.server.clone();
    control.stop().await;
    assert!(connected(&server).is_empty());
    // The table stays, and the client goes on trying.
    let status = data.until(|status| !status.connected).await;
    assert!(status.last_error.is_some());
    assert_eq!(data.table.resources(), journal.resources());
    data.stop().await;
}

#[tokio::test]
async fn shutdown_of_the_client_ends_its_task_without_a_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let channel = crate::channel(&format!("http://{address}"), None).unwrap();
    let mut data = DataPlane::start(&channel);
    let status = data.until(|status| status.last_error.is_some()).await;
    assert!(!status.connected);
    data.stop().await;
}

#[tokio::test]
async fn shutdown_in_the_middle_of_a_sync_ends_both() {
    let journal = Journal::new(endpoints(20_000));
    let control = ControlPlane::start(&journal);
    let mut data = DataPlane::start(&control.channel);
    data.until(|status| status.connected).await;
    data.stop().await;
    control.stop().await;
}

#[tokio::test]
async fn without_tls_only_loopback_is_served() {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let server = Server::new(Journal::new(Vec::new()));
    let result = serve_tcp(server, listener, None, CancellationToken::new()).await;
    assert!(matches!(result, Err(ServeError::NotLoopback(_))));
}

#[tokio::test]
async fn a_change_arrives_while_the_stream_was_idle_for_a_while() {
    let journal = Journal::new(endpoints(10));
    let settings = crate::ClientSettings {
        response_timeout: Duration::from_millis(100),
        ..crate::ClientSettings::default()
    };
    let control = ControlPlane::start(&journal);
    let mut data = DataPlane::start_with(&control.channel, std::sync::Arc::default(), settings);
    data.reaches(journal.version()).await;
    // Silence beyond the response timeout is fine on a stream at rest.
    let mut watched = data.status.clone();
    let silence = watched.wait_for(|status| !status.connected);
    let broke = tokio::time::timeout(Duration::from_millis(400), silence).await;
    assert!(broke.is_err(), "the stream stays");
    let version = journal.commit(vec![endpoint(3, "{}")], &[]);
    let status = soon(data.reaches(version)).await;
    assert_eq!(status.connects, 1);
    data.stop().await;
    control.stop().await;
}
