//! An endpoint is tried from each address that it may be called from.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::egress_sources::{change_pool, ip, make_pool, make_project};
use super::harness::{
    Api, DEADLINE, Fault, LEAVES_FROM, Received, Receiver, Setup, TokenEndpoint, convoy_advanced,
    until,
};

const SECRET: &str = "shared-with-the-customer";

async fn ping(project: &mut Api, endpoint: &str) -> Value {
    let path = format!("/endpoints/{endpoint}/ping");
    project.post(&path, &json!({})).await.data(200)
}

/// What came of each, by the address.
fn by_address(said: &Value) -> BTreeMap<&str, &Value> {
    let pings = said["pings"].as_array().unwrap().iter();
    pings
        .map(|ping| (ping["source_ip"].as_str().unwrap(), ping))
        .collect()
}

#[tokio::test]
async fn each_address_in_use_or_announced_sends_one_signed_request() {
    // A firewall that has not heard of the address that is to come.
    let firewall = |request: &Received| match request.peer.ip() == ip("127.0.0.3") {
        true => Fault::Status(403),
        false => Fault::None,
    };
    let receiver = Receiver::with(firewall).await;
    let outrider = Setup::through_api().start().await;
    let mut admin = outrider.admin_api();
    let pool = make_pool(&mut admin, "eu", &[ip("127.0.0.2")], json!({})).await;
    let addresses = json!([
        {"address": "127.0.0.2"},
        {"address": "127.0.0.3", "state": "warming"},
        {"address": "127.0.0.4", "state": "draining"},
        {"address": "127.0.0.5", "state": "down"},
        {"address": "203.0.113.77"},
    ]);
    change_pool(&mut admin, &pool, "eu", addresses).await;
    let mut project = make_project(&mut admin, "shop", Some("eu")).await;
    let secret = json!({"secret": SECRET});
    let endpoint = project
        .make_endpoint("e", &receiver.url("/hook"), &secret)
        .await;
    let said = ping(&mut project, &endpoint).await;
    let pings = by_address(&said);
    let states: Vec<_> = pings
        .iter()
        .map(|(address, ping)| (*address, ping["state"].as_str().unwrap()))
        .collect();
    let expected = [
        ("127.0.0.2", "active"),
        ("127.0.0.3", "warming"),
        ("127.0.0.4", "draining"),
        ("203.0.113.77", "active"),
    ];
    assert_eq!(states, expected, "{said}");
    assert_eq!(said["left_out"], 0);
    for (address, status, class) in [
        ("127.0.0.2", json!(200), Value::Null),
        ("127.0.0.3", json!(403), json!("http_4xx")),
        ("127.0.0.4", json!(200), Value::Null),
        ("203.0.113.77", Value::Null, json!("no_healthy_source")),
    ] {
        let ping = pings[address];
        assert_eq!(ping["status"], status, "{ping}");
        assert_eq!(ping["error_class"], class, "{ping}");
        assert_eq!(ping["success"], class.is_null(), "{ping}");
    }
    let at = receiver.address().to_string();
    assert_eq!(pings["127.0.0.2"]["destination_address"], at);
    let received = receiver.received();
    assert_eq!(received.len(), 3);
    let mut ids = Vec::new();
    for request in received {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(body["type"], "outrider.ping");
        assert_eq!(body["source_ip"], request.peer.ip().to_string());
        assert_eq!(request.path_and_query, "/hook");
        convoy_advanced(&request.headers, &request.body, SECRET).unwrap();
        ids.push(request.webhook_id().to_owned());
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 3, "one that takes each id once takes each");
    // A firewall lets what is open go on: each is tried on a connection of its own.
    assert_eq!(receiver.connections(), 3);
    ping(&mut project, &endpoint).await;
    assert_eq!(receiver.connections(), 6);
    // It is no event, and nothing that the endpoint is judged by.
    assert!(project.rows("/events").await.is_empty());
}

#[tokio::test]
async fn without_a_choice_it_is_the_address_that_deliveries_have() {
    let mut receiver = Receiver::refusing(|_| Fault::None);
    let outrider = Setup::through_api_alone().start().await;
    let mut admin = outrider.admin_api();
    let mut project = admin.make_project("shop", "outgoing", &json!({})).await;
    let endpoint = project
        .make_endpoint("e", &receiver.url("/"), &json!({}))
        .await;
    let refused = ping(&mut project, &endpoint).await["pings"][0].take();
    assert_eq!(refused["error_class"], "connect_refused", "{refused}");
    receiver.open().await;
    let said = ping(&mut project, &endpoint).await;
    let taken = by_address(&said);
    assert_eq!(taken.len(), 1);
    assert_eq!(taken["127.0.0.1"]["status"], 200, "{said}");
    assert_eq!(taken["127.0.0.1"]["state"], Value::Null);
}

#[tokio::test]
async fn it_is_sent_with_what_the_endpoint_knows_us_by_or_not_at_all() {
    let tokens = TokenEndpoint::start(|number| match number {
        1 => (
            200,
            json!({"access_token": "let-me-in", "token_type": "Bearer", "expires_in": 60}),
        ),
        _ => (401, json!({"error": "invalid_client"})),
    })
    .await;
    let receiver = Receiver::start().await;
    let outrider = Setup::through_api().start().await;
    let mut admin = outrider.admin_api();
    let mut project = admin.make_project("shop", "outgoing", &json!({})).await;
    let client = json!({
        "url": tokens.url(), "client_id": "me", "authentication_type": "shared_secret",
        "client_secret": "hunter2",
    });
    let known = json!({"authentication": {"type": "oauth2", "oauth2": client}});
    let endpoint = project.make_endpoint("e", &receiver.url("/"), &known).await;
    let said = ping(&mut project, &endpoint).await;
    assert_eq!(by_address(&said)[LEAVES_FROM]["status"], 200, "{said}");
    let received = receiver.wait_for(1, DEADLINE).await;
    assert_eq!(received[0].header("authorization"), "Bearer let-me-in");
    let said = ping(&mut project, &endpoint).await;
    let unsent = by_address(&said);
    let unsent = unsent[LEAVES_FROM];
    assert_eq!(unsent["error_class"], "auth_unavailable", "{said}");
    assert!(unsent["detail"].as_str().unwrap().contains("401"), "{said}");
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test]
async fn what_is_wrong_on_our_side_is_told_by_its_class_alone() {
    let receiver = Receiver::start().await;
    let outrider = Setup::through_api().start().await;
    let mut admin = outrider.admin_api();
    let mut project = admin.make_project("shop", "outgoing", &json!({})).await;
    let url = receiver.url("/");
    let endpoint = project.make_endpoint("e", &url, &json!({})).await;
    let policy = json!({"name": "closed", "deny": ["127.0.0.1/32"]});
    let made = admin.post("/api/v1/egress-policies", &policy).await;
    made.data(201);
    let said = until("the policy is in force", DEADLINE, async || {
        let said = ping(&mut project, &endpoint).await;
        (!said["pings"][0]["denied"].is_null()).then_some(said)
    })
    .await;
    let denied = by_address(&said)[LEAVES_FROM];
    let expected = json!({"reason": "policy_denied", "policy": "closed"});
    assert_eq!(denied["denied"], expected, "{said}");
    assert_eq!(denied["error_class"], "egress_denied");
    assert_eq!(denied["detail"], Value::Null);
}

#[tokio::test]
async fn what_cannot_be_pinged_is_said() {
    let outrider = Setup::through_api().start().await;
    let mut admin = outrider.admin_api();
    let mut project = admin.make_project("shop", "outgoing", &json!({})).await;
    let nobody = project.project().to_owned();
    let path = format!("/endpoints/{nobody}/ping");
    project.post(&path, &json!({})).await.refusal(404);
    let template = "https://customer.example/{account}/hook";
    let endpoint = project.make_endpoint("t", template, &json!({})).await;
    let path = format!("/endpoints/{endpoint}/ping");
    // The endpoint reaches the data plane a moment after its reply, at most.
    let refused = until("the endpoint is known", DEADLINE, async || {
        let reply = project.post(&path, &json!({})).await;
        (reply.code() != "config_behind").then_some(reply)
    })
    .await;
    assert_eq!(refused.code(), "no_request", "{}", refused.text());
    assert!(refused.text().contains("template"), "{}", refused.text());
}
