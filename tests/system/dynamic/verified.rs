//! Projects that verify: the answer comes after the endpoint is configuration.

use serde_json::json;

use super::super::harness::{DEADLINE, Receiver, convoy_advanced};
use super::{event, made_id, start};

#[tokio::test]
async fn the_endpoint_is_there_when_the_answer_is() {
    let receiver = Receiver::start().await;
    let (_outrider, mut project) = start(&json!({"verify_dynamic_events": true})).await;
    let config = project.get("").await.data(200)["config"].clone();
    assert_eq!(config["verify_dynamic_events"], true);
    for n in 0..5 {
        let url = receiver.url(&format!("/{n}"));
        project
            .post("/events/dynamic", &event(&url))
            .await
            .event_uid();
        let id = made_id(&project, &url);
        let endpoint = project.get(&format!("/endpoints/{id}")).await.data(200);
        assert_eq!(endpoint["url"], url);
    }
    let batch: Vec<_> = (5..10)
        .map(|n| event(&receiver.url(&format!("/{n}"))))
        .collect();
    let results = project
        .post("/events/batch", &json!({"events": batch}))
        .await;
    for result in results.data(200).as_array().unwrap() {
        assert_eq!(result["status"], 201, "{result}");
    }
    assert_eq!(project.rows("/endpoints").await.len(), 10);
    for request in receiver.wait_for(10, DEADLINE).await {
        let id = made_id(&project, &receiver.url(&request.path_and_query));
        let endpoint = project.get(&format!("/endpoints/{id}")).await.data(200);
        let secret = endpoint["secrets"][0]["value"].as_str().unwrap();
        convoy_advanced(&request.headers, &request.body, secret).unwrap();
    }
}

#[tokio::test]
async fn an_endpoint_that_is_refused_refuses_its_event() {
    let receiver = Receiver::start().await;
    let (_outrider, mut project) = start(&json!({"verify_dynamic_events": true})).await;
    let url = receiver.url("/in");
    let name = format!("endpoint-{}", made_id(&project, &url));
    let other = receiver.url("/other");
    project.make_endpoint(&name, &other, &json!({})).await;
    let reply = project.post("/events/dynamic", &event(&url)).await;
    let refusal = reply.refusal(400);
    assert_eq!(reply.code(), "endpoint_refused");
    assert!(refusal.contains("the endpoint cannot be made"), "{refusal}");
    let batch = json!({"events": [event(&url), event(&other)]});
    let results = project.post("/events/batch", &batch).await.data(200);
    assert_eq!(results[0]["code"], "endpoint_refused", "{results}");
    assert_eq!(results[1]["status"], 201, "{results}");
    let received = receiver.wait_for(1, DEADLINE).await;
    assert_eq!(received[0].path_and_query, "/other");
    assert_eq!(
        project.rows("/events").await.len(),
        1,
        "what is refused is not stored"
    );
}
