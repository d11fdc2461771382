//! Receivers in trouble: retried, bounded, never followed elsewhere.

use serde_json::json;

use super::harness::{
    DEADLINE, Endpoint, Fault, Outrider, Received, Receiver, Resources, Setup, convoy_advanced, uid,
};

const SECRET: &str = "shared-with-the-customer";

async fn start(receiver: &Receiver) -> Outrider {
    Setup::new(&Resources::outgoing_to(receiver, SECRET))
        .start()
        .await
}

/// Publishes one event; gives what the receiver saw up to its first success.
async fn deliver(outrider: &Outrider, receiver: &Receiver) -> Vec<Received> {
    let data = json!({"order": 7});
    let uid = outrider
        .client()
        .publish_to(&uid(1), "order.made", data)
        .await
        .unwrap()
        .event_uid();
    let has_succeeded = |received: &[Received]| received.iter().any(Received::is_success);
    let received = receiver
        .wait_until("a delivery", DEADLINE, has_succeeded)
        .await;
    for request in &received {
        assert_eq!(
            request.webhook_id(),
            uid,
            "a repeat has the id of the first"
        );
        assert_eq!(request.body, r#"{"order":7}"#);
        convoy_advanced(&request.headers, &request.body, SECRET).unwrap();
    }
    received
}

/// The first attempt meets this fault, the second one is a success and the last.
async fn assert_retried_after(fault: Fault) {
    let receiver = Receiver::failing_first(1, fault).await;
    let outrider = start(&receiver).await;
    assert_eq!(deliver(&outrider, &receiver).await.len(), 2);
    let succeeded = ["result=\"success\""];
    outrider
        .wait_for_metric(
            "outrider_deliveries_finished_total",
            &succeeded,
            1.0,
            DEADLINE,
        )
        .await;
    assert_eq!(receiver.received().len(), 2);
}

#[tokio::test]
async fn an_event_is_delivered_again_after_a_500() {
    assert_retried_after(Fault::Status(500)).await;
}

#[tokio::test]
async fn an_event_is_delivered_again_after_a_404() {
    assert_retried_after(Fault::Status(404)).await;
}

#[tokio::test]
async fn an_event_is_delivered_again_after_a_reset() {
    assert_retried_after(Fault::Reset).await;
}

#[tokio::test]
async fn an_event_is_delivered_again_after_a_timeout() {
    assert_retried_after(Fault::Stall).await;
}

#[tokio::test]
async fn an_event_is_delivered_again_after_a_body_that_never_ends() {
    assert_retried_after(Fault::Trickle).await;
}

#[tokio::test]
async fn an_event_waits_for_a_receiver_that_refuses_connections() {
    let mut receiver = Receiver::refusing(|_| Fault::None);
    let outrider = start(&receiver).await;
    let uid = outrider
        .client()
        .publish_to(&uid(1), "order.made", json!({}))
        .await
        .unwrap()
        .event_uid();
    outrider
        .wait_for_metric(
            "outrider_delivery_attempts_total",
            &["connect_refused"],
            1.0,
            DEADLINE,
        )
        .await;
    receiver.open().await;
    assert_eq!(receiver.wait_for(1, DEADLINE).await[0].webhook_id(), uid);
}

#[tokio::test]
async fn a_redirect_is_a_failed_attempt_and_is_not_followed() {
    let elsewhere = Receiver::start().await;
    let receiver = Receiver::failing_first(2, Fault::Redirect(elsewhere.url("/stolen"))).await;
    let outrider = start(&receiver).await;
    assert_eq!(deliver(&outrider, &receiver).await.len(), 3);
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn a_huge_response_is_cut_and_still_a_success() {
    let receiver = Receiver::with(|_| Fault::Oversize(8 * 1024 * 1024)).await;
    let outrider = start(&receiver).await;
    assert_eq!(deliver(&outrider, &receiver).await.len(), 1);
    let succeeded = ["result=\"success\""];
    outrider
        .wait_for_metric(
            "outrider_deliveries_finished_total",
            &succeeded,
            1.0,
            DEADLINE,
        )
        .await;
}

#[tokio::test]
async fn a_receiver_that_never_recovers_ends_as_a_dead_letter_after_the_attempts_of_the_policy() {
    let receiver = Receiver::with(|_| Fault::Status(500)).await;
    let strategy = json!({"type": "linear", "duration": 1, "retry_count": 3});
    let outrider =
        Setup::new(&Resources::outgoing_to(&receiver, SECRET).config("strategy", strategy))
            .start()
            .await;
    outrider
        .client()
        .publish_to(&uid(1), "order.made", json!({}))
        .await
        .unwrap()
        .event_uid();
    let failed = ["result=\"retry_limit_exceeded\""];
    outrider
        .wait_for_metric("outrider_deliveries_finished_total", &failed, 1.0, DEADLINE)
        .await;
    assert_eq!(receiver.received().len(), 3);
}

#[tokio::test]
async fn a_receiver_that_stalls_does_not_delay_the_others() {
    let slow = Receiver::with(|_| Fault::Stall).await;
    let quick = Receiver::start().await;
    let endpoints = [
        Endpoint::new(1, &slow.url("/slow"), SECRET).with("http_timeout", 30),
        Endpoint::new(2, &quick.url("/quick"), SECRET),
    ];
    let outrider = Setup::new(&Resources::outgoing(&endpoints)).start().await;
    let mut client = outrider.client();
    for n in 0..40 {
        assert_eq!(
            client
                .publish_to(&uid(1), "a", json!({"n": n}))
                .await
                .unwrap()
                .status,
            201
        );
    }
    slow.wait_for(1, DEADLINE).await;
    for n in 0..20 {
        assert_eq!(
            client
                .publish_to(&uid(2), "a", json!({"n": n}))
                .await
                .unwrap()
                .status,
            201
        );
    }
    // Long before the first of the slow ones times out.
    quick.wait_for(20, std::time::Duration::from_secs(15)).await;
    assert!(
        slow.received().len() <= 16,
        "more attempts in flight than a lane may have"
    );
}
