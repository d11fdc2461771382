//! Receivers that keep failing are left alone, and come back by themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::harness::{Api, DEADLINE, Fault, Outrider, Receiver, Setup};

/// A receiver that fails until it is told that it is well.
async fn unwell() -> (Receiver, Arc<AtomicBool>) {
    let is_well = Arc::new(AtomicBool::new(false));
    let says = Arc::clone(&is_well);
    let receiver = Receiver::with(move |_| match says.load(Ordering::Relaxed) {
        true => Fault::None,
        false => Fault::Status(500),
    });
    (receiver.await, is_well)
}

async fn start(receiver: &Receiver, breaker: &Value, more: &Value) -> (Outrider, Api, String) {
    let outrider = Setup::through_api().start().await;
    let strategy = json!({"type": "linear", "duration": 1, "retry_count": 1000});
    let mut config = json!({"strategy": strategy, "circuit_breaker": breaker});
    for (field, value) in more.as_object().unwrap() {
        config[field] = value.clone();
    }
    let mut admin = outrider.admin_api();
    let mut project = admin.make_project("shop", "outgoing", &config).await;
    let endpoint = project
        .make_endpoint("e", &receiver.url("/in"), &json!({}))
        .await;
    (outrider, project, endpoint)
}

async fn publish_some(project: &mut Api, endpoint: &str, count: u32) {
    for n in 0..count {
        project.publish(endpoint, "a", &json!({"n": n})).await;
    }
}

async fn wait_for_change(outrider: &Outrider, to: &str) {
    let label = format!("to=\"{to}\"");
    let labels = [label.as_str()];
    let name = "outrider_breaker_changes_total";
    outrider.wait_for_metric(name, &labels, 1.0, DEADLINE).await;
}

#[tokio::test]
async fn an_endpoint_that_keeps_failing_is_left_alone_and_comes_back() {
    let (receiver, is_well) = unwell().await;
    let breaker = json!({"error_timeout": 3600, "minimum_request_count": 5});
    let (mut outrider, mut project, endpoint) = start(&receiver, &breaker, &json!({})).await;
    publish_some(&mut project, &endpoint, 20).await;
    wait_for_change(&outrider, "open").await;
    let held = ["state=\"held\""];
    let depth = "outrider_queue_depth";
    outrider.wait_for_metric(depth, &held, 20.0, DEADLINE).await;
    let path = format!("/endpoints/{endpoint}/lane");
    let lane = &project.get(&path).await.data(200)["content"][0];
    let shown = [
        &lane["breaker"]["state"],
        &lane["holds"][0]["reason"],
        &lane["waiting"],
    ];
    assert_eq!(
        shown,
        [&json!("open"), &json!("breaker"), &json!(20)],
        "{lane}"
    );
    let unknown = project
        .get("/endpoints/01ARZ3NDEKTSV4RRFFQ69G5FAV/lane")
        .await;
    assert_eq!(unknown.status, 404);
    let calls = receiver.received().len();
    assert!(calls < 100, "{calls} calls before it was left alone");
    // Also after a start, and only this one.
    outrider.kill();
    outrider.start().await;
    let other = Receiver::start().await;
    let well = project
        .make_endpoint("well", &other.url("/in"), &json!({}))
        .await;
    publish_some(&mut project, &well, 20).await;
    other.wait_for(20, DEADLINE).await;
    outrider.wait_for_metric(depth, &held, 20.0, DEADLINE).await;
    assert_eq!(receiver.received().len(), calls);
    let shown = project.get("").await.data(200);
    assert_eq!(
        shown["config"]["circuit_breaker"]["minimum_request_count"],
        5
    );
    assert_eq!(shown["config"]["circuit_breaker"]["failure_threshold"], 70);

    // What was decided holds for its time; an endpoint of its own shows the shorter one.
    let soon = json!({"name": "shop", "config": {"circuit_breaker": {"error_timeout": 1}}});
    project.put("", &soon).await.data(202);
    let again = project
        .make_endpoint("again", &receiver.url("/again"), &json!({}))
        .await;
    publish_some(&mut project, &again, 20).await;
    wait_for_change(&outrider, "open").await;
    is_well.store(true, Ordering::Relaxed);
    wait_for_change(&outrider, "closed").await;
    receiver
        .wait_until("all of them arrived", DEADLINE, |received| {
            let arrived = received.iter().filter(|one| one.is_success());
            arrived.filter(|one| one.path_and_query == "/again").count() >= 20
        })
        .await;
}

#[tokio::test]
async fn one_that_never_comes_back_is_switched_off_where_that_is_wanted() {
    let (receiver, _) = unwell().await;
    let breaker =
        json!({"error_timeout": 1, "minimum_request_count": 2, "consecutive_failure_threshold": 2});
    let more = json!({"disable_endpoint": true});
    let (_outrider, mut project, endpoint) = start(&receiver, &breaker, &more).await;
    publish_some(&mut project, &endpoint, 4).await;
    let path = format!("/endpoints/{endpoint}");
    super::harness::until("the endpoint is off", DEADLINE, async || {
        let shown = project.get(&path).await.data(200);
        (shown["status"] == "inactive").then_some(())
    })
    .await;
}

#[tokio::test]
async fn how_often_it_opened_in_a_row_is_known_after_a_start() {
    let (receiver, _) = unwell().await;
    let breaker = json!({"error_timeout": 1, "minimum_request_count": 2});
    let (mut outrider, mut project, endpoint) = start(&receiver, &breaker, &json!({})).await;
    publish_some(&mut project, &endpoint, 4).await;
    let path = format!("/endpoints/{endpoint}/lane");
    async fn shown(project: &mut Api, path: &str) -> Value {
        let lanes = project.get(path).await.data(200);
        lanes["content"][0]["breaker"].clone()
    }
    let until = |breaker: &Value| {
        let until = OffsetDateTime::parse(breaker["until"].as_str()?, &Rfc3339);
        Some(until.unwrap().unix_timestamp())
    };
    let soon_s = super::harness::until("it opened twice", DEADLINE, async || {
        let breaker = shown(&mut project, &path).await;
        until(&breaker).filter(|_| breaker["trips"].as_u64() >= Some(2))
    })
    .await;
    // The next time it is open for so long that it does not change any more.
    let long = json!({"name": "shop", "config": {"circuit_breaker": {"error_timeout": 3600}}});
    project.put("", &long).await.data(202);
    let before = super::harness::until("it is open for long", DEADLINE, async || {
        let breaker = shown(&mut project, &path).await;
        let is_long = until(&breaker)? - soon_s > 1_800;
        is_long.then_some(breaker)
    })
    .await;
    assert!(before["trips"].as_u64() >= Some(3), "{before}");
    outrider.terminate().await;
    outrider.start().await;
    assert_eq!(shown(&mut project, &path).await, before);
}

#[tokio::test]
async fn an_endpoint_has_as_many_attempts_in_flight_as_it_takes() {
    let receiver = Receiver::with(|_| Fault::Stall).await;
    let (outrider, mut project, endpoint) = start(&receiver, &json!({}), &json!({})).await;
    let slow =
        json!({"name": "e", "url": receiver.url("/in"), "concurrency": 2, "http_timeout": 60});
    let path = format!("/endpoints/{endpoint}");
    let changed = project.put(&path, &slow).await.data(202);
    assert_eq!(changed["concurrency"], 2);
    publish_some(&mut project, &endpoint, 30).await;
    receiver.wait_for(2, DEADLINE).await;
    let ready = ["state=\"ready\""];
    let depth = "outrider_queue_depth";
    outrider
        .wait_for_metric(depth, &ready, 28.0, DEADLINE)
        .await;
    assert_eq!(receiver.received().len(), 2);
    let bad = json!({"name": "e", "url": receiver.url("/in"), "concurrency": 257});
    let refused = project.put(&path, &bad).await.refusal(400);
    assert!(
        refused.contains("`concurrency`: must be from 1 to 256 attempts"),
        "{refused}"
    );
}
