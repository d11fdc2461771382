//! Which data planes are there: one per number, told of after it left.

use std::sync::Arc;

use outrider_webhook::id::{NodeId, Uid};

use super::fake::{ControlPlane, DataPlane, Journal, endpoint, endpoints};
use crate::{Claim, ClientSettings, Link, Node};

fn node(number: u16, instance: u128) -> Node {
    Node {
        id: format!("node-{number}"),
        cluster: "default".into(),
        claim: Some(Claim {
            number: NodeId::new(number).unwrap(),
            instance: Uid::from_bits(instance),
        }),
    }
}

fn start(control: &ControlPlane, node: Node) -> DataPlane {
    DataPlane::start_as(
        &control.channel,
        node,
        Arc::default(),
        ClientSettings::default(),
    )
}

#[tokio::test(start_paused = true)]
async fn a_second_data_plane_with_the_same_number_is_refused_until_the_first_has_left() {
    let journal = Journal::new(endpoints(3));
    let control = ControlPlane::start(&journal);
    let mut first = start(&control, node(900, 1));
    first.reaches(journal.version()).await;
    let mut second = start(&control, node(900, 2));
    let status = second.until(|status| status.last_error.is_some()).await;
    let error = status.last_error.unwrap();
    assert!(
        error.contains("number 900") && error.contains("store.node"),
        "{error}"
    );
    assert_eq!(status.version, None);
    let version = journal.commit(vec![endpoint(1, "{}")], &[]);
    first.reaches(version).await;

    first.stop().await;
    second.reaches(version).await;
    second.stop().await;
    control.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_newer_stream_of_the_same_data_plane_ends_the_older() {
    let journal = Journal::new(endpoints(3));
    let control = ControlPlane::start(&journal);
    let mut first = start(&control, node(901, 1));
    first.reaches(journal.version()).await;
    let mut second = start(&control, node(901, 1));
    second.reaches(journal.version()).await;
    let status = first.until(|status| status.last_error.is_some()).await;
    assert!(status.last_error.unwrap().contains("newer stream"));
    first.stop().await;
    second.stop().await;
    control.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_is_counted_in_bytes_and_who_left_is_told_until_it_is_back() {
    let journal = Journal::new(endpoints(1_000));
    let control = ControlPlane::start(&journal);
    let mut data = start(&control, node(902, 1));
    let table = Arc::clone(&data.table);
    data.reaches(journal.version()).await;
    let all = control.server.dataplanes();
    assert!(all[0].bytes_sent > 50_000, "{all:?}");
    assert_eq!((all[0].full_syncs, all[0].resources_sent), (1, 1_000));

    data.stop().await;
    let gone = |all: &[crate::DataplaneStatus]| match all {
        [one] if matches!(one.link, Link::Gone(_)) => Some(one.clone()),
        _ => None,
    };
    let left = control.told("it has left", gone).await;
    assert_eq!(
        (left.node.id.as_str(), left.acked),
        ("node-902", Some(journal.version()))
    );

    let version = journal.commit(vec![endpoint(1, "{}")], &[]);
    let settings = ClientSettings::default();
    let mut data = DataPlane::start_as(&control.channel, node(902, 1), table, settings);
    data.reaches(version).await;
    let all = control.server.dataplanes();
    assert_eq!(all.len(), 1, "{all:?}");
    assert!(all[0].bytes_sent < 500 && all[0].full_syncs == 0, "{all:?}");
    data.stop().await;
    control.stop().await;
}
