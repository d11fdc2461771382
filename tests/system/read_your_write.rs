//! Who was told that something is so may count on it with the very next request.

use std::time::Duration;

use http::Method;
use serde_json::json;

use super::harness::{Api, DEADLINE, Outrider, Receiver, Setup, convoy_advanced};

const ROUNDS: usize = 1_000;

async fn start() -> (Outrider, Api) {
    let outrider = Setup::through_api().start().await;
    let mut admin = outrider.admin_api();
    let config = json!({"strategy": {"type": "linear", "duration": 1, "retry_count": 5}});
    let project = admin.make_project("shop", "outgoing", &config).await;
    (outrider, project)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_endpoint_takes_an_event_and_its_delivery_is_listed_a_thousand_times_in_a_row() {
    let receiver = Receiver::start().await;
    let (_outrider, mut project) = start().await;
    let url = receiver.url("/in");
    for round in 0..ROUNDS {
        let name = format!("endpoint-{round}");
        let endpoint = project.make_endpoint(&name, &url, &json!({})).await;
        let event = project
            .publish(&endpoint, "order.made", &json!({"round": round}))
            .await;
        let path = format!("/eventdeliveries?endpointId={endpoint}");
        let list = project.get(&path).await.data(200);
        let rows = list["content"].as_array().unwrap();
        assert_eq!(rows.len(), 1, "round {round}: {list}");
        assert_eq!(rows[0]["event_id"], event, "round {round}");
        assert_eq!(rows[0]["endpoint_id"], endpoint, "round {round}");
    }
    receiver.wait_for(ROUNDS, DEADLINE).await;
}

#[tokio::test]
async fn the_key_of_a_new_project_opens_it_at_once() {
    let receiver = Receiver::start().await;
    let (outrider, _) = start().await;
    let mut admin = outrider.admin_api();
    for round in 0..50 {
        let name = format!("project-{round}");
        let mut project = admin.make_project(&name, "outgoing", &json!({})).await;
        assert_eq!(project.get("").await.data(200)["name"], name);
        // To an endpoint that is not there: the key was good, so it is this that is refused.
        let nobody = json!({"endpoint_id": project.project(), "event_type": "a", "data": 1});
        let refusal = project.post("/events", &nobody).await.refusal(404);
        assert_eq!(refusal, "endpoint not found", "round {round}");
        let owner = json!({"owner_id": "nobody", "event_type": "a", "data": 1});
        project.post("/events/fanout", &owner).await.event_uid();
    }
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn a_new_source_takes_a_webhook_at_once() {
    let receiver = Receiver::start().await;
    let (outrider, _) = start().await;
    let mut admin = outrider.admin_api();
    let mut project = admin.make_project("intake", "incoming", &json!({})).await;
    let endpoint = project
        .make_endpoint("backend", &receiver.url("/in"), &json!({}))
        .await;
    let mut provider = outrider.client();
    for round in 0..100 {
        let (source, mask) = project
            .make_source(&format!("source-{round}"), &json!({}))
            .await;
        let path = format!("/ingest/{mask}");
        let event = provider.post(&path, &[], "{}").await.unwrap().event_uid();
        let row = project.get(&format!("/events/{event}")).await.data(200);
        assert_eq!(row["source_id"], source);
        assert_eq!(row["failure_reason"], "no subscription matched this event");
    }
    let (source, mask) = project.make_source("last", &json!({})).await;
    let config = json!({"multiple_endpoint_subscriptions": true});
    let body = json!({"name": "intake", "config": config});
    project.with_key(admin.key()).put("", &body).await.data(202);
    project.subscribe_to(&endpoint, &source).await;
    let path = format!("/ingest/{mask}");
    let event = provider.post(&path, &[], "{}").await.unwrap().event_uid();
    assert_eq!(receiver.wait_for(1, DEADLINE).await[0].webhook_id(), event);

    project
        .delete(&format!("/sources/{source}"))
        .await
        .data(200);
    let late = provider.post(&path, &[], "{}").await.unwrap();
    late.refusal(404);
}

#[tokio::test]
async fn an_event_to_a_deleted_endpoint_is_refused_at_once() {
    let receiver = Receiver::start().await;
    let (_outrider, mut project) = start().await;
    for round in 0..100 {
        let name = format!("endpoint-{round}");
        let endpoint = project
            .make_endpoint(&name, &receiver.url("/in"), &json!({}))
            .await;
        let deleted = project.delete(&format!("/endpoints/{endpoint}")).await;
        assert_eq!(deleted.data(200), json!(null));
        let event = json!({"endpoint_id": endpoint, "event_type": "a", "data": {}});
        let refusal = project.post("/events", &event).await.refusal(404);
        assert_eq!(refusal, "endpoint not found", "round {round}");
    }
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn the_next_delivery_after_a_rotation_is_signed_with_both_secrets() {
    let receiver = Receiver::start().await;
    let (_outrider, mut project) = start().await;
    let secret = json!({"secret": "the-first-secret"});
    let endpoint = project
        .make_endpoint("customer", &receiver.url("/in"), &secret)
        .await;
    let mut secrets = vec!["the-first-secret".to_owned()];
    for round in 1..=5 {
        project.publish(&endpoint, "a", &json!(round)).await;
        let received = receiver.wait_for(round, DEADLINE).await;
        let request = &received[round - 1];
        for secret in &secrets {
            convoy_advanced(&request.headers, &request.body, secret).unwrap();
        }
        let count = request.header("x-convoy-signature").matches("v1=").count();
        assert_eq!(count, secrets.len(), "round {round}");
        // The next one: the old ones stay good for an hour.
        let next = format!("secret-of-round-{round}");
        let body = json!({"secret": next, "expiration": 1});
        let path = format!("/endpoints/{endpoint}/expire_secret");
        project.put(&path, &body).await.data(200);
        secrets.push(next);
    }
}

#[tokio::test]
async fn events_for_a_paused_endpoint_are_held_and_delivered_when_it_goes_on() {
    let receiver = Receiver::start().await;
    let (outrider, mut project) = start().await;
    let url = receiver.url("/paused");
    let endpoint = project.make_endpoint("paused", &url, &json!({})).await;
    let other = project
        .make_endpoint("other", &receiver.url("/other"), &json!({}))
        .await;
    let pause = format!("/endpoints/{endpoint}/pause");
    let mut events = Vec::new();
    for round in 1..=10 {
        let paused = project.put(&pause, &json!({})).await.data(202);
        assert_eq!(paused["status"], "paused");
        let event = project.publish(&endpoint, "a", &json!({"n": round})).await;
        outrider
            .wait_for_metric("outrider_queue_depth", &["state=\"held\""], 1.0, DEADLINE)
            .await;
        // Behind the held one in time: were that one let through, it would have come first.
        project.publish(&other, "a", &json!({"n": round})).await;
        let received = receiver.wait_for(2 * round - 1, DEADLINE).await;
        assert_eq!(received.last().unwrap().path_and_query, "/other");
        let held = project.delivery(&event, "Scheduled").await;
        assert_eq!(held["metadata"]["num_trials"], 0);

        let reply = match round % 2 {
            0 => project.put(&pause, &json!({})).await,
            _ => {
                let path = format!("/endpoints/{endpoint}/activate");
                project.call(Method::POST, &path, None).await
            }
        };
        assert_eq!(reply.data(202)["status"], "active");
        // Far sooner than a held lane would be looked at by chance.
        let soon = Duration::from_secs(20);
        let received = receiver.wait_for(2 * round, soon).await;
        let last = received.last().unwrap();
        assert_eq!(
            (last.path_and_query.as_str(), last.webhook_id()),
            ("/paused", &*event)
        );
        events.push(event);
    }
    for event in events {
        let delivery = project.delivery(&event, "Success").await;
        assert_eq!(delivery["metadata"]["num_trials"], 1);
    }
}
