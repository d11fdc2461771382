//! What is said of an event, its deliveries and their attempts.

use http::Method;
use serde_json::{Value, json};

use super::super::harness::{DEADLINE, Fault, Receiver, uid_of, until};
use super::{outgoing, publish, sorted};

#[tokio::test]
async fn numbers_and_texts_of_data_stand_as_they_were_sent() {
    let receiver = Receiver::start().await;
    let (_outrider, mut project) = outgoing().await;
    let endpoint = project
        .make_endpoint("customer", &receiver.url("/in"), &json!({}))
        .await;
    let data = r#"{"big":123456789012345678901234567890,"one":1.0,"exp":1E400,"neg":-0,"z":1,"a":2,"z":3,"esc":"\u00e9\/"}"#;
    let body = format!(r#"{{"endpoint_id":"{endpoint}","event_type":"a","data": {data} }}"#);
    let sent = Some(body.into());
    let reply = project.call_with(Method::POST, "/events", &[], sent).await;
    let event = reply.event_uid();
    assert_eq!(receiver.wait_for(1, DEADLINE).await[0].body, data);
    // Read with care: there are numbers in it that are none to most readers.
    #[derive(serde::Deserialize)]
    struct Shown<T> {
        data: T,
    }
    #[derive(serde::Deserialize)]
    struct List {
        content: Vec<Row>,
    }
    #[derive(serde::Deserialize)]
    struct Row {
        uid: String,
    }
    #[derive(serde::Deserialize)]
    struct Event {
        raw: String,
    }
    let list = until("the delivery is listed", DEADLINE, async || {
        let text = project.get("/eventdeliveries").await.text();
        let list: Shown<List> = serde_json::from_str(&text).unwrap();
        list.data.content.into_iter().next()
    });
    let delivery = list.await.uid;
    for path in [
        "/events".to_owned(),
        format!("/events/{event}"),
        "/eventdeliveries".to_owned(),
        format!("/eventdeliveries/{delivery}"),
    ] {
        let text = project.get(&path).await.text();
        assert!(
            text.contains(&format!(r#""data":{data}"#)),
            "{path}: {text}"
        );
    }
    let text = project.get(&format!("/events/{event}")).await.text();
    let event: Shown<Event> = serde_json::from_str(&text).unwrap();
    assert_eq!(event.data.raw, data);
}

#[tokio::test]
async fn a_repeated_key_is_201_with_the_first_uid_and_is_listed_as_a_duplicate() {
    let receiver = Receiver::start().await;
    let (_outrider, mut project) = outgoing().await;
    let owner = json!({"owner_id": "ann"});
    let endpoint = project
        .make_endpoint("customer", &receiver.url("/in"), &owner)
        .await;
    project.subscribe(&endpoint, &["*"]).await;
    let event = |n: u32, key: &str| json!({"endpoint_id": endpoint, "event_type": "a", "data": n, "idempotency_key": key});
    let reply = project.post("/events", &event(1, "k")).await;
    let first = reply.event_uid();
    assert_ne!(reply.json()["data"]["duplicate"], true, "{}", reply.text());
    // Whatever else it says: the key decides.
    for n in [1, 2] {
        let reply = project.post("/events", &event(n, "k")).await;
        assert_eq!(
            (reply.status.as_u16(), reply.event_uid()),
            (201, first.clone())
        );
        assert_eq!(reply.json()["data"]["duplicate"], true, "{}", reply.text());
    }
    let fanned = json!({"owner_id": "ann", "event_type": "a", "data": 3, "idempotency_key": "k"});
    let reply = project.post("/events/fanout", &fanned).await;
    assert_eq!(
        (reply.status.as_u16(), reply.event_uid()),
        (201, first.clone())
    );
    assert_eq!(
        reply.json()["message"],
        "Duplicate event received, but will not be sent"
    );
    let other = project.post("/events", &event(4, "K")).await;
    assert_eq!(
        other.json()["data"]["duplicate"],
        json!(null),
        "{}",
        other.text()
    );

    let rows = project.rows("/events?idempotencyKey=k").await;
    let flags: Vec<&Value> = rows.iter().map(|row| &row["is_duplicate_event"]).collect();
    assert_eq!(flags, [true, true, true, false], "newest first");
    assert_eq!(uid_of(&rows[3]), first);
    for row in &rows {
        assert_eq!(row["idempotency_key"], "k");
        assert_eq!(row["status"], "Success");
        let shown = project
            .get(&format!("/events/{}", uid_of(row)))
            .await
            .data(200);
        assert_eq!(&shown, row);
    }
    let mut uids: Vec<String> = rows.iter().map(uid_of).collect();
    uids.dedup();
    assert_eq!(uids.len(), 4, "each has a uid of its own");
    for duplicate in &uids[..3] {
        let query = format!("/eventdeliveries?eventId={duplicate}");
        assert_eq!(project.rows(&query).await, [json!(null); 0]);
    }
    assert_eq!(
        project
            .rows("/eventdeliveries?idempotencyKey=k")
            .await
            .len(),
        1
    );
    let received = receiver.wait_for(2, DEADLINE).await;
    assert_eq!(received.len(), 2);
    let key = received
        .iter()
        .map(|request| request.header("x-convoy-idempotency-key"));
    assert_eq!(sorted(key.map(str::to_owned).collect()), ["K", "k"]);
}

/// What an event brings that nobody may read back.
const PLANTED: &str = "Bearer planted-credential-7c1f";

/// An event with a credential and another header to deliver.
fn with_credential(endpoint: &str) -> Value {
    json!({
        "endpoint_id": endpoint, "event_type": "a", "data": {"n": 1},
        "custom_headers": {"Authorization": PLANTED, "X-Tenant": "tenant-7"},
    })
}

#[tokio::test]
async fn the_attempts_of_a_retried_delivery_are_shown_in_order_with_what_was_said() {
    let receiver = Receiver::failing_first(1, Fault::Status(503)).await;
    let (_outrider, mut project) = outgoing().await;
    let endpoint = project
        .make_endpoint("customer", &receiver.url("/in"), &json!({}))
        .await;
    let event = publish(&mut project, with_credential(&endpoint)).await;
    let delivery = project.delivery(&event, "Success").await;
    let uid = uid_of(&delivery);
    assert_eq!(delivery["metadata"]["num_trials"], 2);
    assert!(
        delivery["latency_seconds"].as_f64().unwrap() >= 1.0,
        "{delivery}"
    );
    let received = receiver.received();
    assert_eq!(received.len(), 2);

    let path = format!("/eventdeliveries/{uid}/deliveryattempts");
    let reply = project.get(&path).await;
    let attempts = reply.data(200);
    let attempts = attempts.as_array().unwrap();
    let said = |attempt: &Value| {
        let text = |name: &str| attempt[name].as_str().unwrap().to_owned();
        (
            attempt["status"].as_bool().unwrap(),
            text("http_status"),
            text("response_data"),
        )
    };
    let said: Vec<_> = attempts.iter().map(said).collect();
    assert_eq!(
        said,
        [
            (false, "503 Service Unavailable".to_owned(), "no".to_owned()),
            (true, "200 OK".to_owned(), "ok".to_owned()),
        ]
    );
    for (attempt, request) in attempts.iter().zip(&received) {
        for (name, expected) in [
            ("url", json!(receiver.url("/in"))),
            ("method", json!("POST")),
            ("msg_id", json!(uid)),
            ("endpoint_id", json!(endpoint)),
            ("project_id", json!(project.project())),
            ("ip_address", json!("127.0.0.1")),
            ("api_version", json!("2025-11-24")),
        ] {
            assert_eq!(attempt[name], expected, "{name}");
        }
        let headers = &attempt["request_http_header"];
        for name in [
            "x-convoy-signature",
            "webhook-id",
            "x-tenant",
            "content-type",
        ] {
            assert_eq!(headers[name], request.header(name), "{name}");
        }
        assert_eq!(request.header("authorization"), PLANTED);
        assert_eq!(headers["authorization"], "***");
        assert_eq!(
            attempt["response_http_header"]["content-length"], "2",
            "{attempt}"
        );
        let one = format!("{path}/{}", uid_of(attempt));
        assert_eq!(&project.get(&one).await.data(200), attempt);
    }
    let time = |attempt: &Value, name: &str| attempt[name].as_str().unwrap().to_owned();
    assert!(time(&attempts[0], "responded_at") < time(&attempts[1], "requested_at"));
    assert_ne!(uid_of(&attempts[0]), uid_of(&attempts[1]));
}

#[tokio::test]
async fn a_credential_among_the_headers_of_an_event_is_delivered_and_shown_nowhere() {
    let receiver = Receiver::start().await;
    let (_outrider, mut project) = outgoing().await;
    let endpoint = project
        .make_endpoint("customer", &receiver.url("/in"), &json!({}))
        .await;
    let event = publish(&mut project, with_credential(&endpoint)).await;
    let delivery = uid_of(&project.delivery(&event, "Success").await);
    assert_eq!(receiver.received()[0].header("authorization"), PLANTED);
    for path in [
        format!("/eventdeliveries/{delivery}/deliveryattempts"),
        "/eventdeliveries".to_owned(),
        format!("/eventdeliveries/{delivery}"),
        "/events".to_owned(),
        format!("/events/{event}"),
    ] {
        let text = project.get(&path).await.text();
        assert!(!text.contains(PLANTED), "{path} shows it: {text}");
        assert!(
            text.contains("***") && text.contains("tenant-7"),
            "{path}: {text}"
        );
    }
}

#[tokio::test]
async fn an_attempt_without_an_answer_says_why_and_has_none() {
    let receiver = Receiver::refusing(|_| Fault::None);
    let (_outrider, mut project) = outgoing().await;
    let endpoint = project
        .make_endpoint("customer", &receiver.url("/in"), &json!({}))
        .await;
    let event = project.publish(&endpoint, "a", &json!(1)).await;
    let delivery = project.delivery(&event, "Failure").await;
    let path = format!("/eventdeliveries/{}/deliveryattempts", uid_of(&delivery));
    let attempts = project.get(&path).await.data(200);
    assert_eq!(attempts.as_array().unwrap().len(), 2);
    for attempt in attempts.as_array().unwrap() {
        assert_eq!(attempt["status"], false);
        assert_eq!(attempt["error"], "connect refused", "{attempt}");
        assert_eq!(attempt["http_status"], "");
        assert_eq!(attempt["responded_at"], json!(null));
        assert_eq!(attempt["response_data"], "");
        assert_eq!(attempt["response_http_header"], json!({}));
    }
}

#[tokio::test]
async fn a_response_is_kept_up_to_its_limit() {
    let receiver = Receiver::with(|_| Fault::Oversize(2 * 1024 * 1024)).await;
    let (_outrider, mut project) = outgoing().await;
    let endpoint = project
        .make_endpoint("customer", &receiver.url("/in"), &json!({}))
        .await;
    let event = project.publish(&endpoint, "a", &json!(1)).await;
    let delivery = project.delivery(&event, "Success").await;
    let path = format!("/eventdeliveries/{}/deliveryattempts", uid_of(&delivery));
    let attempts = project.get(&path).await.data(200);
    assert_eq!(attempts[0]["response_data"], "x".repeat(4096));
}
