//! Filters decide about deliveries: by body, header, query and path, over both ways in.

use serde_json::{Value, json};

use super::harness::{
    Client, DEADLINE, Endpoint, MASK, Outrider, Receiver, Resources, Setup, github, uid,
};

const SECRET: &str = "shared-with-the-customer";
const GITHUB_SECRET: &str = "shared-with-github";

fn endpoint(receiver: &Receiver, number: u32) -> Endpoint {
    Endpoint::new(number, &receiver.url(&format!("/{number}")), SECRET)
}

async fn broadcast(client: &mut Client, event_type: &str, data: Value, header: &str) {
    let event =
        json!({"event_type": event_type, "data": data, "custom_headers": {"X-Tier": header}});
    let reply = client.publish("/broadcast", &event).await.unwrap();
    assert_eq!(reply.status, 201, "{}", reply.text());
}

/// Where requests went, sorted, once there are `count`.
async fn went(receiver: &Receiver, count: usize) -> Vec<String> {
    let received = receiver.wait_for(count, DEADLINE).await;
    let mut paths: Vec<String> = received
        .into_iter()
        .map(|request| request.path_and_query)
        .collect();
    paths.sort_unstable();
    paths
}

#[tokio::test]
async fn published_events_go_where_type_body_and_header_say() {
    let receiver = Receiver::start().await;
    let amount = json!({"body": {"amount": {"$gte": 100}, "items.$.sku": "b"}});
    let outrider = Setup::new(&Resources::outgoing(&[
        endpoint(&receiver, 1),
        endpoint(&receiver, 2).event_types(&["invoice.*"]),
        endpoint(&receiver, 3).filter(amount),
        endpoint(&receiver, 4).filter(json!({"headers": {"x-tier": {"$in": ["gold"]}}})),
        endpoint(&receiver, 5).filter(json!({"body": {"missing": {"$exist": true}}})),
    ]))
    .start()
    .await;
    let mut client = outrider.client();
    let large = json!({"amount": 250, "items": [{"sku": "a"}, {"sku": "b"}]});
    broadcast(&mut client, "invoice.paid", large, "silver").await;
    assert_eq!(went(&receiver, 3).await, ["/1", "/2", "/3"]);
    broadcast(&mut client, "order.paid", json!({"amount": 99}), "gold").await;
    assert_eq!(went(&receiver, 5).await, ["/1", "/1", "/2", "/3", "/4"]);
    // A directed event asks the filter too: it is accepted, and for nobody.
    let reply = client.publish_to(&uid(5), "x", json!({})).await.unwrap();
    assert_eq!(reply.status, 201);
    let last = client.publish_to(&uid(1), "x", json!({})).await.unwrap();
    let last = last.event_uid();
    let received = receiver.wait_for(6, DEADLINE).await;
    assert_eq!(received.len(), 6);
    assert_eq!(received[5].webhook_id(), last);
}

async fn push(outrider: &Outrider, query: &str, body: &str) {
    let signature = github(GITHUB_SECRET, body.as_bytes());
    let headers = [
        ("content-type", "application/json"),
        ("x-github-event", "push"),
        ("x-hub-signature-256", signature.as_str()),
    ];
    let path = format!("/ingest/{MASK}?{query}");
    let mut client = outrider.client();
    let reply = client.post(&path, &headers, body.to_owned()).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[tokio::test]
async fn webhooks_go_where_query_and_path_say() {
    let receiver = Receiver::start().await;
    let path = format!("/ingest/{MASK}");
    let outrider = Setup::new(&Resources::incoming(
        GITHUB_SECRET,
        &[
            endpoint(&receiver, 1).filter(json!({"query": {"env": "live"}})),
            endpoint(&receiver, 2).filter(json!({"path": {"path": path}})),
            endpoint(&receiver, 3).filter(json!({"body": {"ref": {"$regex": "^refs/tags/"}}})),
        ],
    ))
    .start()
    .await;
    push(&outrider, "env=live", r#"{"ref":"refs/heads/main"}"#).await;
    assert_eq!(went(&receiver, 2).await, ["/1?env=live", "/2?env=live"]);
    push(&outrider, "env=test", r#"{"ref":"refs/tags/v1"}"#).await;
    let all = went(&receiver, 4).await;
    let expected = ["/1?env=live", "/2?env=live", "/2?env=test", "/3?env=test"];
    assert_eq!(all, expected);
}

#[tokio::test]
async fn a_filter_that_is_wrong_keeps_the_gateway_from_starting_and_is_named() {
    let receiver = Receiver::start().await;
    let wrong = json!({"body": {"amount": {"$over": 1}}, "path": {"a": {"$regex": "("}}});
    let resources = Resources::outgoing(&[endpoint(&receiver, 1).filter(wrong)]);
    let ended = Setup::new(&resources).run_to_end().await;
    assert_eq!(ended.code, Some(78), "{}", ended.output);
    for field in ["body.amount.$over", "path.a.$regex"] {
        let named = format!("projects[0].subscriptions[0].filter_config.filter.{field}");
        assert!(ended.output.contains(&named), "{named}: {}", ended.output);
    }
}
