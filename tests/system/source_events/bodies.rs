//! Bodies of every kind: looked into, and passed on as they came.

use std::fmt::Write as _;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::harness::{DEADLINE, Received};
use super::{World, ingest};

/// `{"type":"invoice.paid","n":"aaaa.."}` in each coding.
fn coded(coding: &str, text: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    match coding {
        "gzip" => {
            let mut coder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            coder.write_all(text).unwrap();
            coder.finish().unwrap()
        }
        "deflate" => {
            let mut coder =
                flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
            coder.write_all(text).unwrap();
            coder.finish().unwrap()
        }
        _ => zstd::bulk::compress(text, 3).unwrap(),
    }
}

fn of_uid<'r>(received: &'r [Received], uid: &str) -> &'r Received {
    let found = received.iter().find(|request| request.webhook_id() == uid);
    found.unwrap_or_else(|| panic!("{uid} was not delivered"))
}

#[tokio::test]
async fn a_coded_body_that_cannot_be_read_or_is_a_bomb_is_refused() {
    let mut world = World::start(&json!({"max_payload_read_size": 1_000_000})).await;
    let (mask, source) = world.source("any", &json!({})).await;
    let mut client = world.outrider.client();
    let bomb = coded("gzip", &vec![b'0'; 20 << 20]);
    let long: Vec<u8> = (0..400_000_u32)
        .flat_map(|n| n.wrapping_mul(0x9e37_79b9).to_le_bytes()[..3].to_vec())
        .collect();
    let long = coded(
        "zstd",
        &long.iter().map(|byte| byte & 0x0f).collect::<Vec<_>>(),
    );
    assert!(long.len() < 1_000_000);
    for (coding, body, status, code) in [
        ("snappy", b"x".to_vec(), 415, "unsupported_coding"),
        ("gzip, gzip, gzip", b"x".to_vec(), 415, "unsupported_coding"),
        ("gzip", b"not gzip".to_vec(), 400, "malformed_coding"),
        (
            "gzip",
            coded("gzip", b"cut")[..12].to_vec(),
            400,
            "malformed_coding",
        ),
        ("gzip", bomb, 413, "decoded_body_too_large"),
        ("zstd", long, 413, "decoded_body_too_large"),
    ] {
        let reply = ingest(&mut client, &mask, &[("content-encoding", coding)], body).await;
        reply.refusal(status);
        assert_eq!(reply.code(), code, "{coding}");
    }
    assert!(world.api.rows("/events").await.is_empty());
    let shown = world
        .api
        .get(&format!("/sources/{source}/rejected"))
        .await
        .data(200);
    assert_eq!(shown["content"][0]["reason"], "decoded_body_too_large");
}

#[tokio::test]
async fn an_event_type_is_found_in_every_kind_of_body_which_is_delivered_as_it_came() {
    let mut world = World::start(&json!({})).await;
    let location = |text: &str| json!({"event_type_location": text});
    let (json_, _) = world.source("json", &location("request.body.type")).await;
    let (xml, _) = world
        .source("xml", &location("request.body.event.@type"))
        .await;
    let (hmac, _) = world
        .source(
            "hmac",
            &json!({
                "event_type_location": "request.query.type",
                "verifier": {"type": "basic_auth", "basic_auth": {"username": "u", "password": "p"}},
            }),
        )
        .await;
    let mut client = world.outrider.client();
    let text = br#"{ "type" : "invoice.paid" }"#;
    let parts = "--b\r\nContent-Disposition: form-data; name=type\r\n\r\ninvoice.paid\r\n--b--\r\n";
    let mut sent = Vec::new();
    for (target, content_type, coding, body) in [
        (json_.clone(), "application/json", None, text.to_vec()),
        (json_.clone(), "text/plain", None, text.to_vec()),
        (
            json_.clone(),
            "application/json",
            Some("gzip"),
            coded("gzip", text),
        ),
        (
            json_.clone(),
            "application/json",
            Some("deflate"),
            coded("deflate", text),
        ),
        (
            json_.clone(),
            "application/json",
            Some("zstd"),
            coded("zstd", text),
        ),
        (
            json_.clone(),
            "application/json",
            Some("gzip, zstd"),
            coded("zstd", &coded("gzip", text)),
        ),
        (
            json_.clone(),
            "application/x-www-form-urlencoded",
            None,
            b"a=1&type=invoice.paid".to_vec(),
        ),
        (
            format!("{json_}?type=invoice.paid"),
            "application/x-www-form-urlencoded",
            None,
            b"a=1".to_vec(),
        ),
        (
            json_.clone(),
            "multipart/form-data; boundary=b",
            None,
            parts.into(),
        ),
        (
            xml.clone(),
            "text/xml",
            None,
            b"<event type='invoice.paid'>\r\n <a/>\r\n</event>".to_vec(),
        ),
        (
            format!("{hmac}?type=invoice%2Epaid"),
            "application/octet-stream",
            None,
            vec![0, 159, 146, 150],
        ),
    ] {
        let mut headers = vec![
            ("content-type", content_type),
            ("authorization", "Basic dTpw"),
        ];
        headers.extend(coding.map(|coding| ("content-encoding", coding)));
        let reply = ingest(&mut client, &target, &headers, body.clone()).await;
        sent.push((reply.event_uid(), content_type, coding, body));
    }
    let received = world.receiver.wait_for(sent.len(), DEADLINE).await;
    for (uid, content_type, coding, body) in &sent {
        let got = of_uid(&received, uid);
        assert_eq!(got.body, *body, "{content_type} {coding:?}");
        assert_eq!(got.header("content-type"), *content_type);
        assert_eq!(got.header("content-encoding"), coding.unwrap_or_default());
    }
    for row in world.api.rows("/events?perPage=100").await {
        assert_eq!(row["event_type"], "invoice.paid", "{row}");
    }
}

#[tokio::test]
async fn a_body_without_an_event_type_at_its_place_is_refused() {
    let mut world = World::start(&json!({})).await;
    let (mask, _) = world
        .source(
            "typed",
            &json!({"event_type_location": "request.body.event.type"}),
        )
        .await;
    let mut client = world.outrider.client();
    for body in [
        "",
        "{}",
        "text",
        r#"{"event": {"type": ""}}"#,
        r#"{"event": {"type": {}}}"#,
    ] {
        let reply = ingest(&mut client, &mask, &[], body).await;
        assert_eq!(
            reply.refusal(400),
            "no event type at request.body.event.type"
        );
        assert_eq!(reply.code(), "missing_event_type");
    }
    let reply = ingest(&mut client, &mask, &[], r#"{"event": {"type": "a\nb"}}"#).await;
    reply.refusal(400);
    assert_eq!(reply.code(), "bad_event_type");
}

/// A body of so many bytes in chunks, as a client without a length sends it.
async fn chunked(world: &World, mask: &str, bytes: usize) -> String {
    let mut stream = TcpStream::connect(world.outrider.public()).await.unwrap();
    let mut request = format!(
        "POST /ingest/{mask} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let mut left = bytes;
    while left > 0 {
        let size = left.min(400);
        write!(request, "{size:x}\r\n{}\r\n", "x".repeat(size)).unwrap();
        left -= size;
    }
    request.push_str("0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    reply
}

/// The answer to the head of a request that has so many bytes to come.
async fn announced(world: &World, mask: &str, bytes: usize) -> String {
    let mut stream = TcpStream::connect(world.outrider.public()).await.unwrap();
    let head =
        format!("POST /ingest/{mask} HTTP/1.1\r\nhost: a\r\ncontent-length: {bytes}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    reply
}

#[tokio::test]
async fn a_declared_and_a_chunked_body_have_the_same_limit() {
    let mut world = World::start(&json!({"max_payload_read_size": 1_000})).await;
    let (mask, _) = world.source("any", &json!({})).await;
    let mut client = world.outrider.client();
    for (bytes, status) in [(1_000, 200), (1_001, 413)] {
        let reply = ingest(&mut client, &mask, &[], "x".repeat(bytes)).await;
        assert_eq!(reply.status, status, "{}", reply.text());
        let reply = chunked(&world, &mask, bytes).await;
        assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{reply}");
        if status == 413 {
            assert!(
                reply.contains("x-outrider-error: body_too_large"),
                "{reply}"
            );
            assert!(reply.contains("at most 1000 bytes"), "{reply}");
        }
    }
    assert_eq!(world.api.rows("/events").await.len(), 2);
}

#[tokio::test]
async fn github_may_send_25_mib_others_50_kib_and_nobody_more_than_32_mib() {
    let mut world = World::start(&json!({})).await;
    let github = json!({"verifier": null, "preset": "github", "secrets": ["k"]});
    let (github, _) = world.source("github", &github).await;
    let (other, _) = world.source("other", &json!({})).await;
    let mut client = world.outrider.client();
    // The first is read to its end, and then found to be unsigned.
    for (mask, bytes, status) in [(&github, 25 << 20, 401), (&other, 50 << 10, 200)] {
        let reply = ingest(&mut client, mask, &[], vec![b'x'; bytes]).await;
        assert_eq!(reply.status, status, "{bytes}: {}", reply.text());
        let reply = announced(&world, mask, bytes + 1).await;
        assert!(reply.starts_with("HTTP/1.1 413 "), "{reply}");
    }
    let too_much = json!({"name": "in", "config": {"max_payload_read_size": (32 << 20) + 1}});
    let refused = world.api.put("", &too_much).await.refusal(400);
    assert_eq!(
        refused,
        "`config.max_payload_read_size`: must be from 1 to 33554432 bytes"
    );
}
