//! Published events whose bodies are compressed: as if they were not, within the same bounds.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::harness::{
    API_KEY, Client, DEADLINE, OUTGOING, Outrider, Receiver, Reply, Resources, Setup, uid,
};

/// Bytes of an event in the project.
const EVENT_BYTES_MAX: usize = 100_000;

async fn start(receiver: &Receiver) -> Outrider {
    let resources =
        Resources::outgoing_to(receiver, "secret").config("max_payload_read_size", EVENT_BYTES_MAX);
    Setup::new(&resources).start().await
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

async fn send(client: &mut Client, call: &str, coding: &str, body: Vec<u8>) -> Reply {
    let path = format!("/api/v1/projects/{OUTGOING}/events{call}");
    let authorization = format!("Bearer {API_KEY}");
    let headers = [
        ("authorization", authorization.as_str()),
        ("content-type", "application/json"),
        ("content-encoding", coding),
    ];
    client.post(&path, &headers, body).await.unwrap()
}

fn event(data: &Value) -> Value {
    json!({"endpoint_id": uid(1), "event_type": "a", "data": data})
}

#[tokio::test]
async fn a_coded_body_that_cannot_be_read_is_refused_with_the_reason() {
    let receiver = Receiver::start().await;
    let outrider = start(&receiver).await;
    let mut client = outrider.client();
    let good = gzip(&event(&json!(1)).to_string());
    let bomb = gzip(&event(&"x".repeat(EVENT_BYTES_MAX).into()).to_string());
    let large_bomb = gzip(&"x".repeat(64 << 20));
    let cut = good[..good.len() - 4].to_vec();
    for (coding, body, status, code, says) in [
        ("compress", good.clone(), 415, "unsupported_coding", "gzip"),
        (
            "gzip, gzip, gzip",
            good.clone(),
            415,
            "unsupported_coding",
            "at most 2",
        ),
        (
            "gzip",
            b"{}".to_vec(),
            400,
            "malformed_coding",
            "`Content-Encoding`",
        ),
        ("gzip", cut, 400, "malformed_coding", "`Content-Encoding`"),
        (
            "br",
            good.clone(),
            400,
            "malformed_coding",
            "`Content-Encoding`",
        ),
        ("gzip", bomb, 413, "decoded_body_too_large", "bytes"),
        ("gzip", large_bomb, 413, "decoded_body_too_large", "bytes"),
        ("gzip", gzip("{"), 400, "invalid_event", "badly-formed"),
        (
            "gzip",
            Vec::new(),
            400,
            "invalid_event",
            "must not be empty",
        ),
    ] {
        let reply = send(&mut client, "", coding, body).await;
        let refusal = reply.refusal(status);
        assert_eq!(reply.code(), code, "{coding}: {refusal}");
        assert!(refusal.contains(says), "{coding}: {refusal}");
    }
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn a_coded_event_is_delivered_as_what_it_says() {
    let receiver = Receiver::start().await;
    let outrider = start(&receiver).await;
    let mut client = outrider.client();
    let one = event(&json!({"n": 1})).to_string();
    send(&mut client, "", "gzip", gzip(&one)).await.event_uid();
    send(&mut client, "", "gzip, gzip", {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&gzip(&one)).unwrap();
        encoder.finish().unwrap()
    })
    .await
    .event_uid();
    let batch = json!({"events": vec![event(&json!({"n": 1})); 500]}).to_string();
    let results = send(&mut client, "/batch", "gzip", gzip(&batch))
        .await
        .data(200);
    assert_eq!(results.as_array().unwrap().len(), 500);
    let received = receiver.wait_for(502, DEADLINE).await;
    for request in &received {
        assert_eq!(request.body, r#"{"n":1}"#);
        assert_eq!(request.header("content-encoding"), "");
        assert_eq!(request.header("content-type"), "application/json");
    }
}
