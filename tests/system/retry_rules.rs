//! When a delivery is tried again and when it is not: what the endpoint says, and what its
//! receiver asks for.

use serde_json::{Value, json};

use super::harness::{Api, DEADLINE, Fault, Outrider, Receiver, Setup};

/// A gateway with an outgoing project that would retry in an hour.
async fn start(setup: Setup) -> (Outrider, Api) {
    let outrider = setup.start().await;
    let strategy = json!({"type": "linear", "duration": 3600, "retry_count": 10});
    let project = outrider
        .admin_api()
        .make_project("shop", "outgoing", &json!({"strategy": strategy}))
        .await;
    (outrider, project)
}

fn soon(retry_count: u32) -> Value {
    json!({"type": "linear", "duration": 1, "retry_count": retry_count})
}

#[tokio::test]
async fn a_429_holds_the_whole_endpoint_and_uses_up_no_attempt() {
    let receiver = Receiver::with(|request| match (request.attempt, &request.body[..]) {
        (1, br#"{"n":1}"#) => Fault::Later(429, "3"),
        _ => Fault::None,
    })
    .await;
    let other = Receiver::start().await;
    let (outrider, mut project) = start(Setup::through_api()).await;
    let busy = project
        .make_endpoint("busy", &receiver.url("/in"), &json!({"strategy": soon(1)}))
        .await;
    let idle = project
        .make_endpoint("idle", &other.url("/in"), &json!({}))
        .await;
    let first = project.publish(&busy, "a", &json!({"n": 1})).await;
    receiver.wait_for(1, DEADLINE).await;
    let read = ["result=\"read\""];
    outrider
        .wait_for_metric("outrider_endpoint_retry_after_total", &read, 1.0, DEADLINE)
        .await;
    let mut later = Vec::new();
    for n in 2..4 {
        later.push(project.publish(&busy, "a", &json!({"n": n})).await);
    }
    project.publish(&idle, "a", &json!({"n": 9})).await;
    other.wait_for(1, DEADLINE).await;
    let held = outrider
        .metric("outrider_queue_depth", &["state=\"held\""])
        .await;
    assert_eq!((held, receiver.received().len()), (2.0, 1));
    let done = project.delivery(&first, "Success").await;
    assert_eq!(done["metadata"]["num_trials"], 2);
    for event in later {
        let done = project.delivery(&event, "Success").await;
        assert_eq!(done["metadata"]["num_trials"], 1);
    }
}

#[tokio::test]
async fn an_endpoint_that_asked_for_it_is_left_alone_after_a_restart() {
    let receiver = Receiver::with(|_| Fault::Later(503, "3600")).await;
    let (mut outrider, mut project) = start(Setup::through_api()).await;
    let endpoint = project
        .make_endpoint("e", &receiver.url("/in"), &json!({"strategy": soon(2)}))
        .await;
    let told = project.publish(&endpoint, "a", &json!({"n": 1})).await;
    project.delivery(&told, "Retry").await;
    outrider.kill();
    outrider.start().await;
    project.publish(&endpoint, "a", &json!({"n": 2})).await;
    let held = ["state=\"held\""];
    outrider
        .wait_for_metric("outrider_queue_depth", &held, 1.0, DEADLINE)
        .await;
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test]
async fn attempts_that_do_not_count_are_still_known_after_a_restart() {
    let receiver = Receiver::with(|request| match request.attempt {
        1 => Fault::Later(429, "1"),
        2 => Fault::Status(500),
        _ => Fault::None,
    })
    .await;
    let (mut outrider, mut project) = start(Setup::through_api()).await;
    let endpoint = project
        .make_endpoint("e", &receiver.url("/in"), &json!({"strategy": soon(2)}))
        .await;
    let event = project.publish(&endpoint, "a", &json!({})).await;
    project.delivery(&event, "Retry").await;
    outrider.kill();
    outrider.start().await;
    let done = project.delivery(&event, "Success").await;
    assert_eq!(done["metadata"]["num_trials"], 3);
}

#[tokio::test]
async fn an_endpoint_says_which_statuses_are_a_success_and_which_are_final() {
    let receiver = Receiver::with(|request| match request.body.first() {
        Some(b'1') => Fault::Status(302),
        Some(b'2') => Fault::Status(404),
        _ => Fault::Status(204),
    })
    .await;
    let (_outrider, mut project) = start(Setup::through_api()).await;
    let strategy = json!({"type": "list", "intervals": [1, 1], "success_statuses": ["302"], "permanent_statuses": ["400-499"]});
    let endpoint = project
        .make_endpoint("e", &receiver.url("/in"), &json!({"strategy": strategy}))
        .await;
    let found = project.publish(&endpoint, "a", &json!(1)).await;
    project.delivery(&found, "Success").await;
    let gone = project.publish(&endpoint, "a", &json!(2)).await;
    let ended = project.delivery(&gone, "Failure").await;
    assert_eq!(ended["description"], "permanent status");
    assert_eq!(ended["metadata"]["num_trials"], 1);
    let tried = project.publish(&endpoint, "a", &json!(3)).await;
    let ended = project.delivery(&tried, "Failure").await;
    assert_eq!(ended["description"], "Retry limit exceeded");
    assert_eq!(ended["metadata"]["num_trials"], 3);
    assert_eq!(ended["metadata"]["strategy"], "list");
    let shown = project.get(&format!("/endpoints/{endpoint}")).await;
    let shown = &shown.data(200)["strategy"];
    assert_eq!(shown["retry_count"], 3);
    assert_eq!(shown["intervals"], json!([1, 1]));
    assert_eq!(shown["success_statuses"], json!(["302"]));
}

#[tokio::test]
async fn no_attempt_comes_after_the_age_an_endpoint_allows() {
    let receiver = Receiver::with(|_| Fault::Status(500)).await;
    let (_outrider, mut project) = start(Setup::through_api()).await;
    let strategy = json!({"type": "linear", "duration": 1, "retry_count": 100, "max_age_s": 2});
    let endpoint = project
        .make_endpoint("e", &receiver.url("/in"), &json!({"strategy": strategy}))
        .await;
    let event = project.publish(&endpoint, "a", &json!({})).await;
    let ended = project.delivery(&event, "Failure").await;
    assert_eq!(ended["description"], "age limit exceeded");
    let trials = ended["metadata"]["num_trials"].as_u64().unwrap();
    assert!((1..=2).contains(&trials), "{trials}");
}

#[tokio::test]
async fn an_endpoint_gets_no_more_than_its_rate_until_the_rate_is_another() {
    let receiver = Receiver::start().await;
    let (outrider, mut project) = start(Setup::through_api()).await;
    let rate = json!({"rate_limit": 2, "rate_limit_duration": 3600});
    let endpoint = project
        .make_endpoint("e", &receiver.url("/in"), &rate)
        .await;
    let mut events = Vec::new();
    for n in 0..5 {
        events.push(project.publish(&endpoint, "a", &json!({"n": n})).await);
    }
    let held = ["state=\"held\""];
    outrider
        .wait_for_metric("outrider_queue_depth", &held, 3.0, DEADLINE)
        .await;
    let received = receiver.received();
    let bodies: Vec<_> = received.iter().map(|one| &one.body[..]).collect();
    assert_eq!(bodies, [&br#"{"n":0}"#[..], br#"{"n":1}"#]);
    let faster = json!({"name": "e", "url": receiver.url("/in"), "rate_limit": 1000, "rate_limit_duration": 1});
    let path = format!("/endpoints/{endpoint}");
    assert_eq!(
        project.put(&path, &faster).await.data(202)["rate_limit"],
        1000
    );
    for event in events {
        let done = project.delivery(&event, "Success").await;
        assert_eq!(done["metadata"]["num_trials"], 1);
    }
}

#[tokio::test]
async fn what_is_no_strategy_is_refused_by_name() {
    let (_outrider, mut project) = start(Setup::through_api()).await;
    for (strategy, refusal) in [
        (
            json!({"type": "list", "intervals": [5, 0]}),
            "`strategy.intervals[1]`: must be from 1 to 604800 seconds",
        ),
        (
            json!({"success_statuses": ["2x"]}),
            "`strategy.success_statuses`: `2x` is no status from 100 to 599: like 404, 4xx, or 400-403",
        ),
        (
            json!({"max_age_s": 2_592_001}),
            "`strategy.max_age_s`: must be from 1 to 2592000 seconds",
        ),
    ] {
        let body = json!({"name": "e", "url": "http://example.com/", "strategy": strategy});
        let refused = project.post("/endpoints", &body).await;
        assert_eq!(refused.refusal(400), refusal);
    }
}
