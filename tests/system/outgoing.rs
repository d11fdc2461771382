//! Backend services publish: keys, routing, the three signatures.

use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};

use super::harness::{
    API_KEY, DEADLINE, Endpoint, OUTGOING, Outrider, Received, Receiver, Reply, Resources, Setup,
    convoy_advanced, convoy_simple, standard_webhooks, uid,
};

const SECRET: &str = "shared-with-the-customer";
/// 24 bytes after the prefix, the shortest the specification allows.
const STANDARD_SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz";

async fn start(receiver: &Receiver) -> Outrider {
    Setup::new(&Resources::outgoing_to(receiver, SECRET))
        .start()
        .await
}

fn event(endpoint: &str) -> Value {
    json!({"endpoint_id": endpoint, "event_type": "invoice.paid", "data": {"amount": 1250}})
}

/// Sends `event` with this key to the project with this uid.
async fn publish_with(outrider: &Outrider, authorization: Option<&str>, project: &str) -> Reply {
    let mut request = Request::post(format!("/api/v1/projects/{project}/events"))
        .header("content-type", "application/json");
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    let body = Full::new(event(&uid(1)).to_string().into());
    outrider
        .client()
        .send(request.body(body).unwrap())
        .await
        .unwrap()
}

#[tokio::test]
async fn without_the_right_key_nothing_is_accepted() {
    let receiver = Receiver::start().await;
    let other_key = API_KEY.replace("CO.outgoing", "CO.another-");
    let other_project = "01JQ0000000000000000000009";
    let resources = Resources::outgoing_to(&receiver, SECRET).and_project_with_key(
        "other",
        other_project,
        &other_key,
    );
    let outrider = Setup::new(&resources).start().await;
    let wrong = format!("Bearer {}", API_KEY.replace("outgoing", "outgoinh"));
    let refused = [
        None,
        Some(""),
        Some("Bearer"),
        Some("Bearer "),
        Some(API_KEY),
        Some(wrong.as_str()),
        Some("Basic dXNlcjpwYXNz"),
    ];
    for authorization in refused {
        let reply = publish_with(&outrider, authorization, OUTGOING).await;
        let message = reply.refusal(401);
        let (code, says) = match authorization {
            Some(given) if given == wrong => ("unknown_key", "authorization failed"),
            _ => ("authentication_required", "Authentication required"),
        };
        assert_eq!((reply.code(), &*message), (code, says), "{authorization:?}");
    }
    // A good key opens its own project and no other: the rest does not exist for it.
    let (own, other) = (format!("Bearer {API_KEY}"), format!("Bearer {other_key}"));
    for (key, project) in [
        (&other, OUTGOING),
        (&own, other_project),
        (&own, "01JQ0000000000000000000077"),
    ] {
        let reply = publish_with(&outrider, Some(key), project).await;
        assert_eq!(reply.refusal(404), "project not found", "{project}");
        assert_eq!(reply.code(), "unknown_project");
    }
    assert_eq!(receiver.connections(), 0);
    let reply = publish_with(&outrider, Some(&own), OUTGOING).await;
    reply.event_uid();
    assert_eq!(receiver.wait_for(1, DEADLINE).await.len(), 1);
}

#[tokio::test]
async fn an_event_that_says_too_little_is_refused_with_what_is_missing() {
    let receiver = Receiver::start().await;
    let outrider = start(&receiver).await;
    let mut client = outrider.client();
    let cases = [
        (
            "",
            json!({"event_type": "a", "data": {}}),
            400,
            "endpoint ID",
        ),
        (
            "",
            json!({"endpoint_id": uid(1), "data": {}}),
            400,
            "event type",
        ),
        (
            "",
            json!({"endpoint_id": uid(1), "event_type": "a"}),
            400,
            "data",
        ),
        (
            "",
            json!({"endpoint_id": 7, "event_type": "a", "data": {}}),
            400,
            "endpoint_id",
        ),
        ("", event(&uid(99)), 404, "endpoint"),
        ("", event("endpoint-1"), 404, "endpoint"),
        (
            "/fanout",
            json!({"event_type": "a", "data": {}}),
            400,
            "owner id",
        ),
        ("", json!([]), 400, ""),
    ];
    for (call, event, status, says) in cases {
        let reply = client.publish(call, &event).await.unwrap();
        assert_eq!(reply.status, status, "{event}: {}", reply.text());
        assert!(reply.text().contains(says), "{event}: {}", reply.text());
    }
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn a_directed_event_arrives_at_its_endpoint_alone_with_the_advanced_signature() {
    let receiver = Receiver::start().await;
    let endpoints =
        [1, 2].map(|number| Endpoint::new(number, &receiver.url(&format!("/{number}")), SECRET));
    let outrider = Setup::new(&Resources::outgoing(&endpoints)).start().await;
    let mut client = outrider.client();
    let data = r#"{ "amount": 12.50, "big": 123456789012345678901234567890, "note": "a<b & c>d", "b": [ 1, 2 ] }"#;
    let body = format!(
        r#"{{"endpoint_id":"{}","event_type":"invoice.paid","custom_headers":{{"X-Trace":"t-1"}},"idempotency_key":"key-1","data":{data}}}"#,
        uid(2)
    );
    let path = format!("/api/v1/projects/{OUTGOING}/events");
    let headers = [
        ("authorization", format!("Bearer {API_KEY}")),
        ("content-type", "application/json".to_owned()),
    ];
    let headers = headers
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let reply = client.post(&path, &headers, body).await.unwrap();
    assert_eq!(reply.status, 201);
    assert_eq!(reply.json()["message"], "Event queued successfully");
    let received = receiver.wait_for(1, DEADLINE).await.remove(0);
    assert_eq!(received.path_and_query, "/2");
    // Insignificant whitespace goes, everything else stays as it was written.
    let expected =
        r#"{"amount":12.50,"big":123456789012345678901234567890,"note":"a<b & c>d","b":[1,2]}"#;
    assert_eq!(received.body, expected);
    convoy_advanced(&received.headers, &received.body, SECRET).unwrap();
    assert_eq!(received.webhook_id(), reply.event_uid());
    assert_eq!(received.header("x-convoy-event-id"), reply.event_uid());
    assert_eq!(received.header("x-trace"), "t-1");
    assert_eq!(received.header("x-convoy-idempotency-key"), "key-1");
    assert_eq!(received.header("content-type"), "application/json");
    assert!(
        received.header("user-agent").starts_with("Outrider/"),
        "{}",
        received.header("user-agent")
    );
}

#[tokio::test]
async fn an_idempotency_key_is_delivered_once() {
    let receiver = Receiver::start().await;
    let outrider = start(&receiver).await;
    let mut client = outrider.client();
    let mut event = event(&uid(1));
    event["idempotency_key"] = "only-once".into();
    let first = client.publish("", &event).await.unwrap().event_uid();
    for _ in 0..5 {
        let again = client.publish("", &event).await.unwrap();
        assert_eq!(
            (again.status.as_u16(), again.event_uid()),
            (201, first.clone())
        );
    }
    event["idempotency_key"] = "another".into();
    let another = client.publish("", &event).await.unwrap().event_uid();
    let received = receiver.wait_for(2, DEADLINE).await;
    let mut ids: Vec<&str> = received.iter().map(Received::webhook_id).collect();
    ids.sort_unstable();
    assert_eq!(ids, [first.as_str(), another.as_str()]);
}

#[tokio::test]
async fn a_fanout_event_reaches_the_subscribed_endpoints_of_its_owner_only() {
    let receiver = Receiver::start().await;
    let endpoint = |number: u32, owner: &str| {
        Endpoint::new(
            number,
            &receiver.url(&format!("/{number}")),
            &format!("secret-of-{number}"),
        )
        .with("owner_id", owner)
    };
    let outrider = Setup::new(&Resources::outgoing(&[
        endpoint(1, "anna"),
        endpoint(2, "anna").event_types(&["invoice.paid"]),
        endpoint(3, "anna").event_types(&["invoice.void"]),
        endpoint(4, "bert"),
    ]))
    .start()
    .await;
    let mut client = outrider.client();
    let event = json!({"owner_id": "anna", "event_type": "invoice.paid", "data": {"n": 1}});
    let uid = client.publish("/fanout", &event).await.unwrap().event_uid();
    let nobody = json!({"owner_id": "nobody", "event_type": "invoice.paid", "data": {}});
    assert_eq!(
        client.publish("/fanout", &nobody).await.unwrap().status,
        201
    );
    // After these two, so that what went to the wrong place would be here as well.
    let last = json!({"owner_id": "bert", "event_type": "last", "data": {}});
    assert_eq!(client.publish("/fanout", &last).await.unwrap().status, 201);
    let received = receiver.wait_for(3, DEADLINE).await;
    let mut paths: Vec<&str> = received
        .iter()
        .map(|request| request.path_and_query.as_str())
        .collect();
    paths.sort_unstable();
    assert_eq!(paths, ["/1", "/2", "/4"]);
    for request in received
        .iter()
        .filter(|request| request.path_and_query != "/4")
    {
        assert_eq!(request.webhook_id(), uid);
        let secret = format!("secret-of-{}", &request.path_and_query[1..]);
        convoy_advanced(&request.headers, &request.body, &secret).unwrap();
    }
}

#[tokio::test]
async fn a_broadcast_reaches_every_endpoint_that_wants_its_type_once() {
    let receiver = Receiver::start().await;
    let endpoint = |number: u32| {
        Endpoint::new(number, &receiver.url(&format!("/{number}")), SECRET).with("owner_id", "anna")
    };
    let outrider = Setup::new(&Resources::outgoing(&[
        endpoint(1),
        endpoint(2).event_types(&["invoice.paid"]),
        endpoint(3).event_types(&["invoice.void"]),
    ]))
    .start()
    .await;
    let mut client = outrider.client();
    for (event, says) in [
        (json!({"data": {}}), "event type"),
        (json!({"event_type": "invoice.paid"}), "your data"),
    ] {
        let reply = client.publish("/broadcast", &event).await.unwrap();
        assert!(reply.refusal(400).contains(says), "{}", reply.text());
    }
    let event = json!({"event_type": "invoice.paid", "data": {"n": 1}, "idempotency_key": "k",
        "custom_headers": {"x-trace": "t-1"}});
    let reply = client.publish("/broadcast", &event).await.unwrap();
    assert_eq!(reply.status, 201);
    let first = reply.json();
    assert_eq!(first["message"], "Broadcast event created successfully");
    let again = client.publish("/broadcast", &event).await.unwrap().json();
    assert_eq!(again["data"]["duplicate"], true);
    assert_eq!(again["data"]["uid"], first["data"]["uid"]);
    // In a batch nothing but its type says that it is one.
    let batch = json!({"events": [
        {"type": "broadcast", "event_type": "invoice.void", "data": {}},
        {"event_type": "invoice.void", "data": {}},
    ]});
    let results = client.publish("/batch", &batch).await.unwrap().data(200);
    assert_eq!(results[0]["status"], 201);
    assert_eq!(results[1]["status"], 400);
    let received = receiver.wait_for(4, DEADLINE).await;
    let mut got: Vec<(&str, &str)> = received
        .iter()
        .map(|request| (request.path_and_query.as_str(), request.header("x-trace")))
        .collect();
    got.sort_unstable();
    assert_eq!(got, [("/1", ""), ("/1", "t-1"), ("/2", "t-1"), ("/3", "")]);
}

#[tokio::test]
async fn the_message_type_header_selects_the_kind_of_an_event() {
    let receiver = Receiver::start().await;
    let endpoint = Endpoint::new(1, &receiver.url("/1"), SECRET).with("owner_id", "anna");
    let outrider = Setup::new(&Resources::outgoing(&[endpoint])).start().await;
    let mut client = outrider.client();
    let by_owner = json!({"owner_id": "anna", "event_type": "a", "data": {}});
    for (call, word, event, status, says) in [
        ("", "all", &by_owner, 400, "`x-convoy-message-type`"),
        ("", "dynamic", &by_owner, 400, "`x-convoy-message-type`"),
        ("/fanout", "single", &by_owner, 400, "contradicts the path"),
        ("", "single", &by_owner, 400, "endpoint ID"),
        ("", "fanout", &event(&uid(1)), 400, "owner id"),
        ("", "fanout", &by_owner, 201, "fanout event queued"),
        ("/fanout", "Fanout", &by_owner, 201, "fanout event queued"),
        ("", "single", &event(&uid(1)), 201, "Event queued"),
    ] {
        let path = format!("/api/v1/projects/{OUTGOING}/events{call}");
        let key = format!("Bearer {API_KEY}");
        let headers = [
            ("authorization", key.as_str()),
            ("content-type", "application/json"),
            ("x-convoy-message-type", word),
        ];
        let reply = client.post(&path, &headers, event.to_string()).await;
        let reply = reply.unwrap();
        assert_eq!(reply.status, status, "{call} {word}: {}", reply.text());
        assert!(reply.text().contains(says), "{word}: {}", reply.text());
    }
    assert_eq!(receiver.wait_for(3, DEADLINE).await.len(), 3);
}

#[tokio::test]
async fn an_endpoint_without_advanced_signatures_gets_the_simple_one() {
    let receiver = Receiver::start().await;
    let endpoint =
        Endpoint::new(1, &receiver.url("/hook"), SECRET).with("advanced_signatures", false);
    let outrider = Setup::new(&Resources::outgoing(&[endpoint])).start().await;
    outrider
        .client()
        .publish("", &event(&uid(1)))
        .await
        .unwrap()
        .event_uid();
    let received = receiver.wait_for(1, DEADLINE).await.remove(0);
    convoy_simple(&received.headers, &received.body, SECRET).unwrap();
    assert!(convoy_simple(&received.headers, &received.body, "another").is_err());
}

#[tokio::test]
async fn a_project_with_standard_webhooks_signs_so_and_not_as_convoy_does() {
    let receiver = Receiver::start().await;
    let resources = Resources::outgoing_to(&receiver, STANDARD_SECRET)
        .config("signature", json!({"format": "standard_webhooks"}));
    let outrider = Setup::new(&resources).start().await;
    let uid = outrider
        .client()
        .publish("", &event(&uid(1)))
        .await
        .unwrap()
        .event_uid();
    let received = receiver.wait_for(1, DEADLINE).await.remove(0);
    standard_webhooks(&received.headers, &received.body, STANDARD_SECRET).unwrap();
    assert_eq!(received.webhook_id(), uid);
    assert!(!received.headers.contains_key("x-convoy-signature"));
}

#[tokio::test]
async fn a_project_with_both_formats_signs_twice() {
    let receiver = Receiver::start().await;
    let resources = Resources::outgoing_to(&receiver, STANDARD_SECRET)
        .config("signature", json!({"format": "both"}));
    let outrider = Setup::new(&resources).start().await;
    outrider
        .client()
        .publish("", &event(&uid(1)))
        .await
        .unwrap()
        .event_uid();
    let received = receiver.wait_for(1, DEADLINE).await.remove(0);
    standard_webhooks(&received.headers, &received.body, STANDARD_SECRET).unwrap();
    convoy_advanced(&received.headers, &received.body, STANDARD_SECRET).unwrap();
}
