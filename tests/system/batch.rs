//! Many events in one request: each has a fate of its own.

use serde_json::{Value, json};

use super::harness::{
    API_KEY, Client, DEADLINE, Endpoint, OUTGOING, Outrider, RawClient, Received, Receiver, Reply,
    Resources, Setup, uid,
};

/// Bytes of an event in the project.
const EVENT_BYTES_MAX: usize = 4096;
/// Bytes of a batch, whatever the project says.
const BATCH_BYTES_MAX: usize = 16 << 20;

async fn start(receiver: &Receiver) -> Outrider {
    let endpoint = |number: u32, owner: &str| {
        Endpoint::new(number, &receiver.url(&format!("/{number}")), "secret")
            .with("owner_id", owner)
    };
    let endpoints = [
        endpoint(1, "anna"),
        endpoint(2, "anna"),
        endpoint(3, "bert"),
    ];
    let resources =
        Resources::outgoing(&endpoints).config("max_payload_read_size", EVENT_BYTES_MAX);
    Setup::new(&resources).start().await
}

async fn send(client: &mut Client, body: impl Into<String>) -> Reply {
    let path = format!("/api/v1/projects/{OUTGOING}/events/batch");
    let authorization = format!("Bearer {API_KEY}");
    let headers = [
        ("authorization", authorization.as_str()),
        ("content-type", "application/json"),
    ];
    client.post(&path, &headers, body.into()).await.unwrap()
}

/// The results of a batch, which was taken as such.
async fn results(client: &mut Client, events: &Value) -> Vec<Value> {
    let reply = client.publish("/batch", &json!({"events": events})).await;
    let results = reply.unwrap().data(200);
    let results = results.as_array().unwrap().clone();
    for (index, result) in results.iter().enumerate() {
        assert_eq!(result["index"], index, "{result}");
    }
    results
}

fn event(endpoint: u32, n: usize) -> Value {
    json!({"endpoint_id": uid(endpoint), "event_type": "a", "data": {"n": n}})
}

#[tokio::test]
async fn what_is_no_batch_is_refused_as_a_whole() {
    let receiver = Receiver::start().await;
    let outrider = start(&receiver).await;
    let mut client = outrider.client();
    let many = json!({"events": vec![event(1, 0); 1001]}).to_string();
    for (body, status, says) in [
        (String::new(), 400, "badly-formed"),
        ("{".to_owned(), 400, "badly-formed"),
        (r#"{"events":[1,]}"#.to_owned(), 400, "badly-formed"),
        ("[]".to_owned(), 400, "`events`"),
        ("7".to_owned(), 400, "`events`"),
        (r#"{"events":{}}"#.to_owned(), 400, "`events`"),
        (r#"{"events":"a"}"#.to_owned(), 400, "`events`"),
        (r#"{"events":null}"#.to_owned(), 400, "1 to 1000 `events`"),
        (r#"{"events":[]}"#.to_owned(), 400, "1 to 1000 `events`"),
        ("{}".to_owned(), 400, "1 to 1000 `events`"),
        (many, 413, "more than 1000"),
    ] {
        let reply = send(&mut client, body.as_str()).await;
        let refusal = reply.refusal(status);
        assert!(refusal.contains(says), "{refusal}");
    }
    // The head is enough to know.
    let mut raw = RawClient::connect(outrider.public()).await;
    let length = BATCH_BYTES_MAX + 1;
    let head = format!(
        "POST /api/v1/projects/{OUTGOING}/events/batch HTTP/1.1\r\nHost: gateway.test\r\n\
         Authorization: Bearer {API_KEY}\r\nContent-Length: {length}\r\n\r\n"
    );
    raw.write(head).await;
    assert!(raw.read_reply().await.refusal(413).contains("16777216"));
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn an_event_that_is_wrong_fails_alone_and_says_why() {
    let receiver = Receiver::start().await;
    let outrider = start(&receiver).await;
    let mut client = outrider.client();
    let large =
        json!({"endpoint_id": uid(1), "event_type": "a", "data": "x".repeat(EVENT_BYTES_MAX)});
    let cases = [
        (json!(7), 400, "invalid_event", "JSON object"),
        (
            json!({"endpoint_id": 7}),
            400,
            "invalid_event",
            "\"endpoint_id\"",
        ),
        (json!({"type": 7}), 400, "invalid_event", "\"type\""),
        (
            json!({"type": "many"}),
            400,
            "invalid_event",
            "`type` must be",
        ),
        (
            json!({"event_type": "a", "data": 1}),
            400,
            "invalid_event",
            "set its `type`",
        ),
        (
            json!({"endpoint_id": uid(1), "owner_id": "anna", "event_type": "a", "data": 1}),
            400,
            "invalid_event",
            "more than one of",
        ),
        (
            json!({"type": "fanout", "endpoint_id": uid(1), "event_type": "a", "data": 1}),
            400,
            "invalid_event",
            "owner id",
        ),
        (
            json!({"endpoint_id": uid(1), "event_type": "a"}),
            400,
            "invalid_event",
            "your data",
        ),
        (
            json!({"endpoint_id": uid(1), "data": 1}),
            400,
            "invalid_event",
            "event type",
        ),
        (event(99, 0), 404, "unknown_endpoint", "endpoint not found"),
        (large, 413, "body_too_large", "4096"),
        (
            json!({"endpoint_id": uid(1), "event_type": "a", "data": 1, "idempotency_key": "\n"}),
            400,
            "invalid_event",
            "`idempotency_key`",
        ),
        (
            json!({"endpoint_id": uid(1), "event_type": "a", "data": 1, "custom_headers": {"host": "a"}}),
            400,
            "invalid_event",
            "`custom_headers.host`",
        ),
    ];
    let mut events: Vec<Value> = cases.iter().map(|(event, ..)| event.clone()).collect();
    events.push(event(1, 1));
    let results = results(&mut client, &events.into()).await;
    assert_eq!(results.len(), cases.len() + 1);
    for ((event, status, code, says), result) in cases.iter().zip(&results) {
        assert_eq!(result["status"], *status, "{event}: {result}");
        assert_eq!(result["code"], *code, "{event}: {result}");
        let message = result["message"].as_str().unwrap();
        assert!(message.contains(says), "{event}: {message}");
        assert!(result.get("uid").is_none(), "{result}");
    }
    let good = results.last().unwrap();
    assert_eq!((&good["status"], good.get("code")), (&json!(201), None));
    let received = receiver.wait_for(1, DEADLINE).await;
    assert_eq!(received[0].webhook_id(), good["uid"].as_str().unwrap());
}

#[tokio::test]
async fn events_of_several_kinds_go_where_each_says() {
    let receiver = Receiver::start().await;
    let outrider = start(&receiver).await;
    let mut client = outrider.client();
    let events = json!([
        event(3, 0),
        {"owner_id": "anna", "event_type": "a", "data": {"n": 1}},
        {"type": "single", "app_id": uid(2), "owner_id": "bert", "event_type": "a", "data": { "n" : 2 }},
        {"type": "fanout", "endpoint_id": uid(1), "owner_id": "bert", "event_type": "a", "data": {"n": 3}},
    ]);
    let results = results(&mut client, &events).await;
    let mut expected: Vec<(String, String)> =
        [(0, "/3"), (1, "/1"), (1, "/2"), (2, "/2"), (3, "/3")]
            .map(|(index, path)| {
                let uid: &Value = &results[index]["uid"];
                (uid.as_str().unwrap().to_owned(), path.to_owned())
            })
            .into();
    let received = receiver.wait_for(expected.len(), DEADLINE).await;
    let got = |request: &Received| {
        let path = request.path_and_query.clone();
        (request.webhook_id().to_owned(), path)
    };
    let mut got: Vec<_> = received.iter().map(got).collect();
    got.sort();
    expected.sort();
    assert_eq!(got, expected);
    let second = received
        .iter()
        .find(|request| request.path_and_query == "/2" && request.body == r#"{"n":2}"#);
    assert!(second.is_some(), "white space goes as in a single event");
}

#[tokio::test]
async fn a_key_counts_once_within_a_batch_and_after_it() {
    let receiver = Receiver::start().await;
    let outrider = start(&receiver).await;
    let mut client = outrider.client();
    let mut first = event(1, 0);
    first["idempotency_key"] = "once".into();
    let events = json!([first, first, event(1, 1), first]);
    let results = results(&mut client, &events).await;
    let uids: Vec<&Value> = results.iter().map(|result| &result["uid"]).collect();
    let duplicates: Vec<bool> = results
        .iter()
        .map(|result| result["duplicate"] == json!(true))
        .collect();
    assert_eq!(duplicates, [false, true, false, true]);
    assert!(uids[0] == uids[1] && uids[0] == uids[3] && uids[0] != uids[2]);
    let again = client.publish("", &first).await.unwrap();
    assert_eq!(
        again.json()["data"],
        json!({"uid": uids[0], "duplicate": true})
    );
    assert_eq!(receiver.wait_for(2, DEADLINE).await.len(), 2);
}

#[tokio::test]
async fn a_thousand_events_are_taken_and_all_are_delivered() {
    let receiver = Receiver::start().await;
    let outrider = start(&receiver).await;
    let mut client = outrider.client();
    let padding = "x".repeat(1000);
    let event = |n: usize| json!({"endpoint_id": uid(1), "event_type": "a", "data": {"n": n, "padding": padding}});
    let events: Value = (0..1000).map(event).collect();
    let results = results(&mut client, &events).await;
    assert!(results.iter().all(|result| result["status"] == 201));
    let received = receiver.wait_for(1000, DEADLINE).await;
    let mut sent: Vec<String> = results
        .iter()
        .map(|result| result["uid"].as_str().unwrap().to_owned())
        .collect();
    let mut got: Vec<String> = received
        .iter()
        .map(|request| request.webhook_id().to_owned())
        .collect();
    sent.sort();
    got.sort();
    got.dedup();
    assert_eq!(got, sent);
}
