//! CloudEvents on the event API: in all three modes, and out again as they came.

use bytes::Bytes;
use serde_json::{Value, json};

use super::harness::{
    API_KEY, Client, DEADLINE, Endpoint, OUTGOING, Outrider, Received, Receiver, Reply, Resources,
    Setup, convoy_advanced, uid,
};

const SECRET: &str = "shared-with-the-customer";
const STRUCTURED: (&str, &str) = ("content-type", "application/cloudevents+json");
const BATCH: (&str, &str) = ("content-type", "application/cloudevents-batch+json");
/// The attributes of an event in binary mode.
const ATTRIBUTES: [(&str, &str); 6] = [
    ("ce-specversion", "1.0"),
    ("ce-id", "A-1"),
    ("ce-source", "/shop"),
    ("ce-type", "order.paid"),
    ("ce-subject", "caf%C3%A9"),
    ("ce-myext", "7"),
];

async fn start(receiver: &Receiver) -> Outrider {
    let endpoint = |number: u32, owner: &str| {
        Endpoint::new(number, &receiver.url(&format!("/{number}")), SECRET).with("owner_id", owner)
    };
    let endpoints = [
        endpoint(1, "anna & co").event_types(&["order.paid"]),
        endpoint(2, "anna & co").event_types(&["order.void"]),
        endpoint(3, "bert"),
    ];
    Setup::new(&Resources::outgoing(&endpoints)).start().await
}

/// Posts to the rest of a path after `events`.
async fn post(
    client: &mut Client,
    call: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Reply {
    let path = format!("/api/v1/projects/{OUTGOING}/events{call}");
    let authorization = format!("Bearer {API_KEY}");
    let mut all = vec![("authorization", authorization.as_str())];
    all.extend_from_slice(headers);
    client.post(&path, &all, body).await.unwrap()
}

fn to_1() -> String {
    format!("?endpoint_id={}", uid(1))
}

fn event(id: &str) -> Value {
    json!({"specversion": "1.0", "id": id, "source": "/shop", "type": "order.paid", "data": {"n": 1}})
}

fn refused(reply: &Reply, status: u16, code: &str, says: &str) {
    let refusal = reply.refusal(status);
    assert_eq!(reply.code(), code, "{refusal}");
    assert!(refusal.contains(says), "{refusal}");
}

#[tokio::test]
async fn an_attribute_that_is_missing_or_wrong_is_named() {
    let receiver = Receiver::start().await;
    let outrider = start(&receiver).await;
    let mut client = outrider.client();
    for name in ["specversion", "id", "source", "type"] {
        let mut without = event("A-1");
        without.as_object_mut().unwrap().remove(name);
        let reply = post(&mut client, &to_1(), &[STRUCTURED], without.to_string()).await;
        refused(
            &reply,
            400,
            "invalid_cloudevent",
            &format!("`{name}` is missing"),
        );
        let header = format!("ce-{name}");
        let without: Vec<_> = ATTRIBUTES
            .into_iter()
            .filter(|(header_name, _)| *header_name != header)
            .collect();
        let reply = post(&mut client, &to_1(), &without, "{}").await;
        refused(
            &reply,
            400,
            "invalid_cloudevent",
            &format!("`{name}` is missing"),
        );
    }
    let mut wrong = event("A-1");
    wrong["time"] = "noon".into();
    let reply = post(&mut client, &to_1(), &[STRUCTURED], wrong.to_string()).await;
    refused(&reply, 400, "invalid_cloudevent", "`time`");
    let mut wrong = event("A-1");
    wrong["type"] = "x".repeat(256).into();
    let reply = post(&mut client, &to_1(), &[STRUCTURED], wrong.to_string()).await;
    refused(&reply, 400, "invalid_event", "255 bytes");
    for body in ["", "[]", "{", "{}x"] {
        let reply = post(&mut client, &to_1(), &[STRUCTURED], body).await;
        refused(&reply, 400, "malformed_cloudevent", "JSON object");
    }
    for body in ["", "{}", "[", "[]"] {
        let reply = post(&mut client, &to_1(), &[BATCH], body).await;
        refused(&reply, 400, "malformed_cloudevent", "batch");
    }
    let json = [
        ATTRIBUTES.as_slice(),
        &[("content-type", "application/json")],
    ]
    .concat();
    let reply = post(&mut client, &to_1(), &json, "{").await;
    refused(&reply, 400, "invalid_event", "Content-Type");
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn whom_it_is_for_has_to_stand_in_path_and_query() {
    let receiver = Receiver::start().await;
    let outrider = start(&receiver).await;
    let mut client = outrider.client();
    let to_99 = format!("?endpoint_id={}", uid(99));
    let twice = format!("{}&endpoint_id={}", to_1(), uid(2));
    let both = format!("{}&owner_id=bert", to_1());
    let fanout = format!("/fanout{}&owner_id=bert", to_1());
    for (call, status, code, says) in [
        ("", 400, "invalid_event", "`endpoint_id` or `owner_id`"),
        ("?endpoint_id=", 400, "invalid_event", "endpoint ID"),
        (&to_99, 404, "unknown_endpoint", "not found"),
        (&twice, 400, "invalid_event", "`endpoint_id` stands twice"),
        (&both, 400, "invalid_event", "not both"),
        ("/fanout", 400, "invalid_event", "owner id"),
        (&fanout, 400, "invalid_event", "fanout"),
        (
            "/dynamic",
            415,
            "unsupported_media_type",
            "application/json",
        ),
        ("/batch", 415, "unsupported_media_type", "/events"),
    ] {
        let reply = post(&mut client, call, &[STRUCTURED], event("A-1").to_string()).await;
        refused(&reply, status, code, says);
    }
    for format in [
        "application/cloudevents+avro",
        "application/cloudevents-batch+xml",
    ] {
        let reply = post(&mut client, &to_1(), &[("content-type", format)], "x").await;
        refused(&reply, 415, "unsupported_media_type", format);
    }
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn a_binary_event_is_delivered_with_its_attributes_and_its_own_content_type() {
    let receiver = Receiver::start().await;
    let outrider = start(&receiver).await;
    let mut client = outrider.client();
    let bytes = Bytes::from_static(b"\x00\xffnot \r\n json");
    let headers = [
        ATTRIBUTES.as_slice(),
        &[("content-type", "image/x-thing"), ("x-other", "a")],
    ]
    .concat();
    let reply = post(&mut client, &to_1(), &headers, bytes.clone()).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    let received = receiver.wait_for(1, DEADLINE).await.remove(0);
    assert_eq!(received.body, bytes);
    assert_eq!(received.header("content-type"), "image/x-thing");
    for (name, value) in ATTRIBUTES {
        assert_eq!(received.header(name), value, "{name}");
    }
    assert!(!received.headers.contains_key("x-other"));
    assert_eq!(
        received.header("x-convoy-idempotency-key"),
        "ce:5:/shop:A-1"
    );
    assert_eq!(received.webhook_id(), reply.event_uid());
    convoy_advanced(&received.headers, &received.body, SECRET).unwrap();
    // The same source and id again are the same event, in whatever mode.
    let again = post(
        &mut client,
        &to_1(),
        &[STRUCTURED],
        event("A-1").to_string(),
    )
    .await;
    assert_eq!(
        again.json()["data"],
        json!({"uid": reply.event_uid(), "duplicate": true})
    );
    let json = [
        ATTRIBUTES.as_slice(),
        &[("content-type", "application/json; charset=utf-8")],
    ]
    .concat();
    let json: Vec<_> = json
        .into_iter()
        .map(|(name, value)| (name, if name == "ce-id" { "A-2" } else { value }))
        .collect();
    post(&mut client, &to_1(), &json, r#"{ "n": 1.0 }"#)
        .await
        .event_uid();
    let received = receiver.wait_for(2, DEADLINE).await.remove(1);
    assert_eq!(received.body, r#"{"n":1.0}"#);
    assert_eq!(
        received.header("content-type"),
        "application/json; charset=utf-8"
    );
}

#[tokio::test]
async fn a_structured_event_is_delivered_as_its_envelope() {
    let receiver = Receiver::start().await;
    let outrider = start(&receiver).await;
    let mut client = outrider.client();
    let text = r#"{ "specversion": "1.0", "id": "é", "source": "/shop", "type": "order.paid",
        "ext": 7, "data": { "n": 1.0, "n": 2 } }"#;
    let headers = [(
        "content-type",
        "application/cloudevents+json; charset=utf-8",
    )];
    // An owner's endpoints choose by the type, as with any event.
    let call = "/fanout?owner_id=anna+%26%20co";
    let reply = post(&mut client, call, &headers, text).await;
    assert_eq!(
        reply.json()["message"],
        "Endpoint fanout event queued successfully"
    );
    let received = receiver.wait_for(1, DEADLINE).await.remove(0);
    assert_eq!(received.path_and_query, "/1");
    let expected = r#"{"specversion":"1.0","id":"é","source":"/shop","type":"order.paid","ext":7,"data":{"n":1.0,"n":2}}"#;
    assert_eq!(received.body, expected);
    assert_eq!(
        received.header("content-type"),
        "application/cloudevents+json"
    );
    assert!(
        received
            .header("x-convoy-idempotency-key")
            .starts_with("ce:sha256:")
    );
    convoy_advanced(&received.headers, &received.body, SECRET).unwrap();
}

#[tokio::test]
async fn a_batch_of_events_has_a_result_for_each() {
    let receiver = Receiver::start().await;
    let outrider = start(&receiver).await;
    let mut client = outrider.client();
    let mut wrong = event("A-2");
    wrong["source"] = "".into();
    let events = json!([event("A-1"), wrong, event("A-1"), event("A-3")]);
    let reply = post(&mut client, "?owner_id=bert", &[BATCH], events.to_string()).await;
    let results = reply.data(200);
    let status = |index: usize| results[index]["status"].as_u64().unwrap();
    assert_eq!([0, 1, 2, 3].map(status), [201, 400, 201, 201]);
    assert_eq!(results[1]["code"], "invalid_cloudevent");
    assert!(results[1]["message"].as_str().unwrap().contains("`source`"));
    assert_eq!(results[2]["uid"], results[0]["uid"]);
    assert_eq!(results[2]["duplicate"], true);
    let received = receiver.wait_for(2, DEADLINE).await;
    let mut ids: Vec<&str> = received.iter().map(Received::webhook_id).collect();
    ids.sort_unstable();
    let mut expected = [0, 3].map(|index| results[index]["uid"].as_str().unwrap());
    expected.sort_unstable();
    assert_eq!(ids, expected);
    assert!(
        received
            .iter()
            .all(|request| request.path_and_query == "/3")
    );
}
