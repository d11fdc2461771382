//! Endpoints that are made while the control plane is elsewhere, or away.

use serde_json::{Value, json};

use super::super::harness::{
    Api, DEADLINE, DataPlane, Fault, Planes, Receiver, convoy_advanced, until,
};
use super::{WAITING, endpoints_at, event, retrying};

async fn waiting(data: &DataPlane, count: usize) {
    let line = format!("{WAITING} {count}");
    until(&line, DEADLINE, async || {
        let page = data.admin_page("/stats/prometheus").await;
        page.lines().any(|found| found == line).then_some(())
    })
    .await;
}

async fn start(config: &Value) -> (Planes, DataPlane, Api) {
    let (planes, data) = Planes::start(None).await;
    let mut admin = planes.control.admin();
    let project = admin.make_project("shop", "outgoing", config).await;
    planes
        .control
        .until("it has all", "node-0", |one| one["is_current"] == true)
        .await;
    (planes, data, project)
}

#[tokio::test]
async fn events_make_endpoints_without_the_control_plane_which_takes_them_when_it_is_back() {
    let receiver = Receiver::start().await;
    let (mut planes, mut data, mut project) = start(&retrying()).await;
    planes.control.process.kill();
    let mut publish = project.at(data.public());
    let url = receiver.url("/in");
    let mut made = event(&url);
    made["secret"] = "a-secret".into();
    for _ in 0..3 {
        publish.post("/events/dynamic", &made).await.event_uid();
    }
    for request in receiver.wait_for(3, DEADLINE).await {
        convoy_advanced(&request.headers, &request.body, "a-secret").unwrap();
    }
    waiting(&data, 1).await;
    // A restart with nobody to ask: everything delivered, and the endpoint still owed.
    data.process.kill();
    data.start().await;
    waiting(&data, 1).await;
    publish.post("/events/dynamic", &made).await.event_uid();
    let received = receiver.wait_for(4, DEADLINE).await;
    convoy_advanced(&received[3].headers, &received[3].body, "a-secret").unwrap();
    planes.control.start().await;
    let endpoint = endpoints_at(&mut project, &url, 1).await.remove(0);
    assert_eq!(endpoint["secrets"][0]["value"], "a-secret");
    waiting(&data, 0).await;
}

#[tokio::test]
async fn two_data_planes_make_the_same_endpoint() {
    let receiver = Receiver::start().await;
    let (mut planes, first, mut project) = start(&retrying()).await;
    let mut second = planes.data_plane("second", 1);
    second.start().await;
    planes.control.process.kill();
    let url = receiver.url("/in");
    for (data, secret) in [(&first, "one"), (&second, "two")] {
        let mut made = event(&url);
        made["secret"] = secret.into();
        let mut publish = project.at(data.public());
        publish.post("/events/dynamic", &made).await.event_uid();
    }
    receiver.wait_for(2, DEADLINE).await;
    planes.control.start().await;
    waiting(&first, 0).await;
    waiting(&second, 0).await;
    let endpoint = endpoints_at(&mut project, &url, 1).await.remove(0);
    let secrets = endpoint["secrets"].as_array().unwrap();
    assert_eq!(secrets.len(), 1, "the first one that came: {endpoint}");
    // From now on both sign with the one that the control plane took.
    let secret = secrets[0]["value"].as_str().unwrap();
    for (n, data) in [&first, &second].into_iter().enumerate() {
        let mut publish = project.at(data.public());
        publish
            .post("/events/dynamic", &event(&url))
            .await
            .event_uid();
        let received = receiver.wait_for(3 + n, DEADLINE).await;
        convoy_advanced(&received[2 + n].headers, &received[2 + n].body, secret).unwrap();
    }
}

#[tokio::test]
async fn what_the_control_plane_refuses_ends_with_a_reason() {
    let receiver = Receiver::with(|_| Fault::Status(500)).await;
    let mut planes = Planes::new(None);
    // It allows less than the data plane does.
    planes.control.process.drop_flag("--unsafe-egress-allow");
    planes.control.start().await;
    let mut data = planes.data_plane("data", 0);
    data.process.set("RUST_LOG", "debug"); // which has the reasons of deliveries
    data.start().await;
    let mut admin = planes.control.admin();
    let mut project = admin.make_project("shop", "outgoing", &retrying()).await;
    let mut publish = project.at(data.public());
    let url = receiver.url("/in");
    publish
        .post("/events/dynamic", &event(&url))
        .await
        .event_uid();
    until("the delivery ends", DEADLINE, async || {
        let page = data.admin_page("/stats/prometheus").await;
        let ended = "outrider_deliveries_finished_total{result=\"failed\"} 1";
        page.lines().any(|line| line == ended).then_some(())
    })
    .await;
    waiting(&data, 0).await;
    assert!(data.process.stderr().contains("\"endpoint_refused\""));
    assert!(project.rows("/endpoints").await.is_empty());
    // Nor is it offered again after a restart.
    data.process.kill();
    data.start().await;
    waiting(&data, 0).await;
    let config = json!({"name": "shop", "config": {"verify_dynamic_events": true}});
    project.put("", &config).await.data(202);
    let reply = publish.post("/events/dynamic", &event(&url)).await;
    assert!(
        reply.refusal(400).contains("cannot be made"),
        "{}",
        reply.text()
    );
}
