//! The planes as processes of their own: either may be away, and neither needs the world again.

use rusqlite::Connection;
use serde_json::{Value, json};

use super::harness::{
    Api, DEADLINE, DataPlane, Endpoint, Planes, Receiver, Resources, WEAKER, convoy_advanced, get,
    uid, until,
};

const SECRET: &str = "shared-with-the-customer";
/// Endpoints nobody publishes to: the world that is not to be sent again.
const OTHERS: u32 = 500;

fn many(receiver: &Receiver) -> Resources {
    let mut endpoints = vec![Endpoint::new(1, &receiver.url("/hook"), SECRET)];
    let others = 2..OTHERS + 2;
    endpoints.extend(others.map(|number| Endpoint::new(number, &receiver.url("/other"), SECRET)));
    Resources::outgoing(&endpoints)
}

async fn publish(data: &DataPlane, number: u32) -> String {
    let reply = data
        .client()
        .publish_to(&uid(1), "a", json!({"n": number}))
        .await;
    reply.unwrap().event_uid()
}

/// Publishes an event and waits for its delivery.
async fn deliver(data: &DataPlane, receiver: &Receiver, number: u32) {
    let event = publish(data, number).await;
    let received = receiver
        .wait_until(&format!("{event} is delivered"), DEADLINE, |received| {
            received.iter().any(|request| request.webhook_id() == event)
        })
        .await;
    let of_event = received
        .iter()
        .find(|request| request.webhook_id() == event);
    let request = of_event.unwrap();
    convoy_advanced(&request.headers, &request.body, SECRET).unwrap();
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

#[tokio::test]
async fn traffic_goes_on_without_the_control_plane_which_resumes_without_resending_the_world() {
    let receiver = Receiver::start().await;
    let (mut planes, mut data) = Planes::start(Some(&many(&receiver))).await;
    deliver(&data, &receiver, 1).await;
    let first = planes
        .control
        .until("the world is sent", "node-0", |one| {
            one["is_current"] == true
        })
        .await;
    assert_eq!(first["full_syncs"], 1, "{first}");
    assert!(
        number(&first["resources_sent"]) > u64::from(2 * OTHERS),
        "{first}"
    );

    planes.control.process.kill();
    deliver(&data, &receiver, 2).await;
    let refused = get(data.public(), "/api/v1/projects").await.unwrap();
    assert_eq!(
        refused.refusal(503),
        "the control plane is unreachable; events are still accepted"
    );
    assert_eq!(refused.code(), "control_plane_unreachable");
    let page = data.admin_page("/stats/prometheus").await;
    assert!(page.contains("outrider_xds_connected 0"), "{page}");

    // Restarted with nobody to ask: it serves what it kept.
    data.process.kill();
    let took = data.start().await;
    eprintln!("ready {took:?} after a start without a control plane");
    deliver(&data, &receiver, 3).await;

    planes.control.start().await;
    let back = planes
        .control
        .until("it is back", "node-0", |one| one["is_current"] == true)
        .await;
    eprintln!(
        "{} bytes for the world, {} to resume",
        first["bytes_sent"], back["bytes_sent"]
    );
    assert_eq!(
        (&back["full_syncs"], &back["resources_sent"]),
        (&json!(0), &json!(0))
    );
    assert!(
        number(&back["bytes_sent"]) * 100 < number(&first["bytes_sent"]),
        "{back}"
    );
    deliver(&data, &receiver, 4).await;
    assert_eq!(data.process.terminate().await, Some(0));
    assert_eq!(planes.control.process.terminate().await, Some(0));
}

#[tokio::test]
async fn what_was_changed_while_a_data_plane_was_away_is_all_that_it_gets() {
    let receiver = Receiver::start().await;
    let (planes, mut data) = Planes::start(None).await;
    let mut admin = planes.control.admin();
    let mut project = admin.make_project("shop", "outgoing", &json!({})).await;
    let url = receiver.url("/hook");
    let old = project.make_endpoint("old", &url, &json!({})).await;
    project.subscribe(&old, &["*"]).await;
    planes
        .control
        .until("it has all", "node-0", |one| one["is_current"] == true)
        .await;
    data.process.kill();
    let gone = planes
        .control
        .until("it is missed", "node-0", |one| one["is_connected"] == false)
        .await;
    assert_eq!(gone["is_current"], false, "{gone}");

    let new = project.make_endpoint("new", &url, &json!({})).await;
    project.delete(&format!("/endpoints/{old}")).await.data(200);
    data.start().await;
    let back = planes
        .control
        .until("it is back", "node-0", |one| one["is_current"] == true)
        .await;
    assert_eq!(back["full_syncs"], 0, "{back}");
    // The new endpoint, and the end of the old one and of its subscription.
    assert!((2..=3).contains(&number(&back["resources_sent"])), "{back}");
    let mut project = Api::of_project(data.public(), project.project(), project.key());
    let event = project.publish(&new, "a", &json!(1)).await;
    let received = receiver.wait_for(1, DEADLINE).await;
    assert_eq!(received[0].webhook_id(), event);
    let body = json!({"endpoint_id": old, "event_type": "a", "data": 1});
    project.post("/events", &body).await.refusal(404);
}

#[tokio::test]
async fn what_the_api_made_is_in_force_when_it_answers_through_the_data_plane() {
    let receiver = Receiver::start().await;
    let (planes, data) = Planes::start(None).await;
    let mut admin = Api::new(data.public(), planes.control.admin().key());
    let mut project = admin.make_project("shop", "outgoing", &json!({})).await;
    for round in 0..20 {
        let url = receiver.url(&format!("/{round}"));
        let endpoint = project
            .make_endpoint(&format!("e{round}"), &url, &json!({}))
            .await;
        project.publish(&endpoint, "a", &json!(round)).await;
    }
    receiver.wait_for(20, DEADLINE).await;
    // What this version cannot read from another process says so.
    let refused = project.get("/events").await;
    assert!(refused.refusal(503).contains("control plane on its own"));
    let refused = project.get("/eventdeliveries").await;
    assert_eq!(refused.code(), "no_index");
}

#[tokio::test]
async fn a_refused_resource_is_shown_with_its_reason_and_the_old_one_survives_a_restart() {
    let receiver = Receiver::start().await;
    let (mut planes, mut data) = Planes::start(None).await;
    let mut admin = planes.control.admin();
    let mut project = admin.make_project("shop", "outgoing", &json!({})).await;
    let url = receiver.url("/old");
    let endpoint = project.make_endpoint("customer", &url, &json!({})).await;
    // Else a slow data plane may see both versions as one revision, and never have the good one.
    planes
        .control
        .until("the endpoint is in force", "node-0", |one| {
            one["is_current"] == true
        })
        .await;
    let journal = planes
        .control
        .process
        .data_dir()
        .join("control/journal.sqlite");
    Connection::open(journal)
        .unwrap()
        .execute_batch(WEAKER)
        .unwrap();
    let change = json!({"name": "customer", "url": receiver.url("/new")});
    project
        .put(&format!("/endpoints/{endpoint}"), &change)
        .await
        .data(202);

    let shown = planes
        .control
        .until("the refusal is shown", "node-0", |one| {
            one["quarantined_total"] == 1
        })
        .await;
    assert_eq!(
        shown["is_current"], true,
        "the rest of the revision is in force: {shown}"
    );
    let expected = json!([{
        "kind": "endpoint",
        "uid": endpoint,
        "reason": "`url`: only http and https are delivered to",
    }]);
    assert_eq!(shown["quarantined"], expected);
    let mut nobody = Api::new(data.public(), project.key());
    nobody.get("/api/v1/dataplanes").await.refusal(403);

    planes.control.process.kill();
    data.process.kill();
    data.start().await;
    let mut project = Api::of_project(data.public(), project.project(), project.key());
    let event = project.publish(&endpoint, "a", &json!(1)).await;
    let received = receiver.wait_for(1, DEADLINE).await;
    assert_eq!(received[0].webhook_id(), event);
    assert_eq!(received[0].path_and_query, "/old");
}

#[tokio::test]
async fn a_second_data_plane_needs_a_number_of_its_own() {
    let receiver = Receiver::start().await;
    let resources = Resources::outgoing_to(&receiver, SECRET);
    let (planes, mut first) = Planes::start(Some(&resources)).await;
    let mut twin = planes.data_plane("twin", 0);
    twin.process.launch();
    until("the twin says why it waits", DEADLINE, async || {
        let said = twin.process.stderr();
        said.contains("node number 0 is in use by another data plane")
            .then_some(())
    })
    .await;
    assert!(!twin.is_ready().await, "it has no configuration");
    twin.process.kill();

    let mut second = planes.data_plane("second", 1);
    second.start().await;
    deliver(&first, &receiver, 1).await;
    deliver(&second, &receiver, 2).await;
    let all = planes.control.dataplanes().await;
    let numbers: Vec<u64> = all.iter().map(|one| number(&one["number"])).collect();
    assert_eq!(numbers, [0, 1], "{all:?}");
    // The same data plane again is no second one, however it ended.
    first.process.kill();
    first.start().await;
    planes
        .control
        .until("the first is back", "node-0", |one| {
            one["is_current"] == true
        })
        .await;
}

#[tokio::test]
async fn what_cannot_be_had_at_the_start_is_named() {
    let mut planes = Planes::new(None);
    planes.control.start().await;
    let mut second = Planes::new(None);
    let taken = planes.control.xds().to_string();
    second.control.process.change_flag("--xds-listen", &taken);
    let ended = second.control.process.run_to_end().await;
    assert_eq!(ended.code, Some(69), "{}", ended.output);
    let says = format!("cannot listen on {taken} for xDS");
    assert!(ended.output.contains(&says), "{}", ended.output);

    let mut third = Planes::new(None);
    let journal = planes.control.process.data_dir();
    let journal = journal.display().to_string();
    third.control.process.change_flag("--data-dir", &journal);
    let ended = third.control.process.run_to_end().await;
    assert_eq!(ended.code, Some(69), "{}", ended.output);
    let says = "is in use by another process";
    assert!(ended.output.contains(says), "{}", ended.output);
}

#[tokio::test]
async fn the_kept_configuration_opens_with_its_own_key_only() {
    let receiver = Receiver::start().await;
    let resources = Resources::outgoing_to(&receiver, SECRET);
    let (mut planes, mut data) = Planes::start(Some(&resources)).await;
    // It serves before the configuration is on disk, and acknowledges after that.
    planes
        .control
        .until("the configuration is kept", "node-0", |one| {
            one["is_current"] == true
        })
        .await;
    data.process.kill();
    planes.control.process.kill();
    let key_file = data.process.data_dir().join("state-key");
    let key = std::fs::read_to_string(&key_file).unwrap();
    data.process.set("OUTRIDER__STATE__KEY", &"0a".repeat(32));
    let ended = data.process.run_to_end().await;
    assert_eq!(ended.code, Some(78), "{}", ended.output);
    assert!(
        ended.output.contains("was sealed with another key"),
        "{}",
        ended.output
    );
    data.process.set("OUTRIDER__STATE__KEY", "short");
    let ended = data.process.run_to_end().await;
    assert_eq!(ended.code, Some(78), "{}", ended.output);
    assert!(
        ended.output.contains("OUTRIDER__STATE__KEY"),
        "{}",
        ended.output
    );
    data.process.set("OUTRIDER__STATE__KEY", key.trim());
    data.start().await;
    deliver(&data, &receiver, 1).await;
}
