//! What a policy that is taken back leaves: nothing.

use std::fs;

use serde_json::{Value, json};

use super::super::harness::{
    Api, DEADLINE, DataPlane, Endpoint, Fault, Planes, Receiver, Resources, Setup, until,
};
use super::{POLICIES, SECRET, close, open, publish, revision, until_blocked, until_version};

async fn made_waiting(data: &DataPlane, count: usize) {
    let line = format!("outrider_made_endpoints_waiting {count}\n");
    until(&line, DEADLINE, async || {
        let page = data.admin_page("/metrics").await;
        page.contains(&line).then_some(())
    })
    .await;
}

/// Planes with a project, and a dynamic event that was acknowledged while the control plane was
/// away.
async fn acknowledged(receiver: &Receiver) -> (Planes, DataPlane) {
    let (mut planes, data) = Planes::start(None).await;
    let strategy = json!({"strategy": {"type": "linear", "duration": 1, "retry_count": 50}});
    let mut admin = planes.control.admin();
    let project: Api = admin.make_project("shop", "outgoing", &strategy).await;
    planes
        .control
        .until("it has all", "node-0", |one| one["is_current"] == true)
        .await;
    planes.control.process.kill();
    let event: Value = json!({"url": receiver.url("/in"), "event_type": "a", "data": {}});
    let mut at = project.at(data.public());
    at.post("/events/dynamic", &event).await.event_uid();
    made_waiting(&data, 1).await;
    (planes, data)
}

#[tokio::test]
async fn an_endpoint_that_an_event_made_waits_for_the_end_of_the_policy_that_closes_it() {
    for is_started_anew in [false, true] {
        let mut receiver = Receiver::refusing(|_| Fault::None);
        let (mut planes, mut data) = acknowledged(&receiver).await;
        if is_started_anew {
            data.process.kill();
            // The first configuration that it has is the one with the policy.
            fs::remove_dir_all(data.process.data_dir().join("state")).unwrap();
        }
        let file = planes.dir().join("resources.yaml");
        let without = fs::read_to_string(&file).unwrap();
        let mut with: Value = serde_json::from_str(&without).unwrap();
        with["egress_policies"] = json!([{"name": "inside", "deny": ["127.0.0.0/8"]}]);
        fs::write(&file, with.to_string()).unwrap();
        planes.control.start().await;
        if is_started_anew {
            data.start().await;
        }
        // It is offered, and taken.
        made_waiting(&data, 0).await;
        until_blocked(&data, 1.0).await;
        receiver.open().await;
        planes.control.process.kill();
        fs::write(&file, without).unwrap();
        planes.control.start().await;
        receiver.wait_for(1, DEADLINE).await;
    }
}

#[tokio::test]
async fn a_policy_that_was_taken_back_does_not_return_with_a_start_without_the_control_plane() {
    let receiver = Receiver::start().await;
    let strategy = json!({"type": "linear", "duration": 1, "retry_count": 50});
    let endpoint = Endpoint::new(1, &receiver.url("/hook"), SECRET).with("strategy", strategy);
    let (mut planes, mut data) = Planes::start(Some(&Resources::outgoing(&[endpoint]))).await;
    let mut admin = planes.control.admin();
    let policy = json!({"name": "inside", "deny": ["127.0.0.0/8"]});
    let reply = admin.post(POLICIES, &policy).await;
    let path = format!("{POLICIES}/{}", reply.uid());
    until_version(|| data.admin_page("/metrics"), revision(&reply)).await;
    publish(&data, 1).await;
    until_blocked(&data, 1.0).await;
    admin.delete(&path).await.data(200);
    receiver.wait_for(1, DEADLINE).await;
    planes.control.process.kill();
    data.process.kill();
    data.start().await;
    until_version(|| data.admin_page("/metrics"), 0.0).await;
    publish(&data, 2).await;
    receiver.wait_for(2, DEADLINE).await;
}

#[tokio::test]
async fn a_policy_that_outlasts_the_retries_leaves_the_endpoint_on() {
    let receiver = Receiver::start().await;
    let outrider = Setup::through_api().start().await;
    let mut admin = outrider.admin_api();
    let strategy = json!({"type": "linear", "duration": 1, "retry_count": 1});
    let config = json!({"strategy": strategy, "disable_endpoint": true});
    let mut project = admin.make_project("shop", "outgoing", &config).await;
    let url = receiver.url("/");
    let endpoint = project.make_endpoint("e", &url, &json!({})).await;
    let policy = json!({"name": "inside", "deny": ["127.0.0.0/8"]});
    let policy = close(&outrider, &mut admin, policy).await;
    let event = project.publish(&endpoint, "a", &json!(1)).await;
    let ended = project.delivery(&event, "Failure").await;
    open(&outrider, &mut admin, &policy).await;
    let next = project.publish(&endpoint, "a", &json!(2)).await;
    project.delivery(&next, "Success").await;
    // What has ended is there to be sent again.
    let path = format!("/eventdeliveries/{}/resend", ended["uid"].as_str().unwrap());
    project.put(&path, &json!({})).await.data(200);
    project.delivery(&event, "Success").await;
    assert_eq!(receiver.received().len(), 2);
}
