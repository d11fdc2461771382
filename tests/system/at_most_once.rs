//! Deliveries that may arrive once at most: whatever may have arrived is not sent again.

use serde_json::{Value, json};

use super::harness::{Api, DEADLINE, Fault, Outrider, Receiver, Setup};

/// A gateway with an endpoint at `url` whose subscription wants each event at most once, and would
/// retry every second.
async fn start(url: &str, more: &Value) -> (Outrider, Api, String) {
    let outrider = Setup::through_api().start().await;
    let strategy = json!({"type": "linear", "duration": 1, "retry_count": 10});
    let config = json!({"strategy": strategy});
    let mut project = outrider
        .admin_api()
        .make_project("shop", "outgoing", &config)
        .await;
    let endpoint = project.make_endpoint("e", url, more).await;
    let subscription =
        json!({"name": "once", "endpoint_id": endpoint, "delivery_mode": "at_most_once"});
    let made = project
        .post("/subscriptions", &subscription)
        .await
        .data(201);
    assert_eq!(made["delivery_mode"], "at_most_once");
    (outrider, project, endpoint)
}

/// The only delivery of a new event, once it has failed.
async fn failed(project: &mut Api, endpoint: &str) -> (Value, Value) {
    let event = project.publish(endpoint, "a", &json!({})).await;
    let delivery = project.delivery(&event, "Failure").await;
    let trials = delivery["metadata"]["num_trials"].clone();
    (delivery["description"].clone(), trials)
}

#[tokio::test]
async fn an_answer_ends_it_whatever_it_is() {
    let receiver = Receiver::with(|request| match request.path_and_query.as_str() {
        "/busy" => Fault::Status(429),
        _ => Fault::Status(500),
    })
    .await;
    for path in ["/busy", "/broken"] {
        let (_outrider, mut project, endpoint) = start(&receiver.url(path), &json!({})).await;
        let ended = failed(&mut project, &endpoint).await;
        assert_eq!(ended, (json!("refused"), json!(1)), "{path}");
    }
    assert_eq!(receiver.received().len(), 2);
}

#[tokio::test]
async fn without_an_answer_nobody_knows() {
    let receiver = Receiver::with(|_| Fault::Stall).await;
    let (_outrider, mut project, endpoint) = start(&receiver.url("/in"), &json!({})).await;
    let ended = failed(&mut project, &endpoint).await;
    assert_eq!(ended, (json!("outcome unknown"), json!(1)));
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test]
async fn where_nobody_listens_nothing_arrives_and_it_is_tried_again() {
    let mut receiver = Receiver::refusing(|_| Fault::None);
    let (_outrider, mut project, endpoint) = start(&receiver.url("/in"), &json!({})).await;
    let event = project.publish(&endpoint, "a", &json!({})).await;
    project.delivery(&event, "Retry").await;
    receiver.open().await;
    project.delivery(&event, "Success").await;
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test]
async fn a_crash_in_between_ends_it_and_a_resend_is_one_more() {
    let receiver = Receiver::with(|request| match request.attempt {
        1 => Fault::Stall,
        _ => Fault::None,
    })
    .await;
    let slow = json!({"http_timeout": 60});
    let (mut outrider, mut project, endpoint) = start(&receiver.url("/in"), &slow).await;
    let event = project.publish(&endpoint, "a", &json!({})).await;
    receiver.wait_for(1, DEADLINE).await;
    outrider.kill();
    outrider.start().await;
    let ended = project.delivery(&event, "Failure").await;
    assert_eq!(ended["description"], "outcome unknown");
    assert_eq!(receiver.received().len(), 1);
    let path = format!("/eventdeliveries/{}/resend", super::harness::uid_of(&ended));
    project.put(&path, &Value::Null).await.data(200);
    project.delivery(&event, "Success").await;
    assert_eq!(receiver.received().len(), 2);
    outrider.terminate().await;
    let audit = super::harness::audit(&outrider.data_dir(), &[]).await;
    assert_eq!(audit.code, Some(0), "{}", audit.output);
}
