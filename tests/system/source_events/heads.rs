//! What of a request's head is stored and forwarded, and what senders are answered (RULINGS 22).

use serde_json::{Value, json};

use super::super::harness::DEADLINE;
use super::{World, ingest};

const SECRET: &str = "hunter2-hunter2";

#[tokio::test]
async fn credentials_and_what_is_of_one_hop_go_no_further_and_all_else_does() {
    let mut world = World::start(&json!({})).await;
    let mut client = world.outrider.client();
    let basic = format!("Basic {}", "dTpodW50ZXIyLWh1bnRlcjI="); // u:hunter2-hunter2
    let bearer = format!("Bearer {SECRET}");
    let own =
        json!({"type": "api_key", "api_key": {"header_name": "X-Own-Key", "header_value": SECRET}});
    let query = format!("?a=1&k%65y={SECRET}&b=%20");
    for (name, more, credential, target, query) in [
        (
            "basic",
            json!({"verifier": {"type": "basic_auth", "basic_auth": {"username": "u", "password": SECRET}}}),
            ("authorization", &*basic),
            "?a=1",
            "a=1",
        ),
        (
            "bearer",
            json!({"verifier": null, "preset": "bearer", "secrets": [SECRET]}),
            ("authorization", &bearer),
            "",
            "",
        ),
        (
            "key",
            json!({"verifier": own}),
            ("x-own-key", SECRET),
            "?b",
            "b",
        ),
        (
            "query",
            json!({"verifier": null, "preset": "api_key_query", "params": {"query": "key"}, "secrets": [SECRET]}),
            ("x-none", "x"),
            &query,
            "a=1&b=%20",
        ),
        (
            "gitlab",
            json!({"verifier": null, "preset": "gitlab", "secrets": [SECRET]}),
            ("x-gitlab-token", SECRET),
            "",
            "",
        ),
    ] {
        let mut more = more;
        more["deny_headers"] = json!(["X-Denied"]);
        let (mask, _) = world.source(name, &more).await;
        let headers = [
            credential,
            ("cookie", "session=hunter2-hunter2"),
            ("proxy-authorization", "Basic hunter2-hunter2"),
            ("connection", "keep-alive, x-of-hop"),
            ("x-of-hop", "h"),
            ("te", "trailers"),
            ("keep-alive", "timeout=5"),
            ("x-denied", "d"),
            ("x-convoy-source-id", "forged"),
            ("x-hub-signature-256", "sha256=00"),
            ("x-two", "a"),
            ("x-two", "b"),
        ];
        let reply = ingest(&mut client, &format!("{mask}{target}"), &headers, "{}").await;
        assert_eq!(reply.status, 200, "{name}: {}", reply.text());
        let uid = reply.event_uid();
        let received = world
            .receiver
            .wait_until(&format!("{name} is delivered"), DEADLINE, |received| {
                received.iter().any(|request| request.webhook_id() == uid)
            })
            .await;
        let got = received
            .iter()
            .find(|request| request.webhook_id() == uid)
            .unwrap();
        let shown = format!("{:?} {}", got.headers, got.path_and_query);
        assert!(!shown.contains(SECRET), "{name}: {shown}");
        for gone in [
            "cookie",
            "proxy-authorization",
            "authorization",
            "x-of-hop",
            "te",
            "keep-alive",
            "x-denied",
        ] {
            assert_eq!(got.header(gone), "", "{name}: {gone}");
        }
        assert_eq!(got.header("x-hub-signature-256"), "sha256=00");
        assert_eq!(got.headers.get_all("x-two").iter().count(), 2);
        let path = format!("/all{}{query}", if query.is_empty() { "" } else { "?" });
        assert_eq!(got.path_and_query, path, "{name}");

        let row = world.api.get(&format!("/events/{uid}")).await.data(200);
        let stored = row["headers"].to_string();
        assert!(!row.to_string().contains(SECRET), "{name}: {row}");
        for gone in ["x-denied", "x-of-hop", "forged"] {
            assert!(
                !stored.to_ascii_lowercase().contains(gone),
                "{name}: {stored}"
            );
        }
        assert!(stored.contains(&mask), "{name}: {stored}");
    }
}

#[tokio::test]
async fn senders_get_the_sources_own_answer_for_events_and_repeats_and_ours_for_refusals() {
    let mut world = World::start(&json!({})).await;
    let more = json!({
        "custom_response": {"body": "<ok/>", "content_type": "text/xml"},
        "idempotency_keys": ["request.header.X-Id"],
    });
    let (mask, source) = world.source("own", &more).await;
    let mut client = world.outrider.client();
    for _ in 0..2 {
        let reply = ingest(&mut client, &mask, &[("x-id", "1")], "a").await;
        assert_eq!((reply.status.as_u16(), &*reply.text()), (200, "<ok/>"));
        assert_eq!(reply.headers["content-type"], "text/xml");
    }
    let reply = ingest(&mut client, &mask, &[], "a").await;
    assert_eq!(
        reply.refusal(400),
        "no idempotency key at request.header.x-id"
    );
    let rows = world.api.rows("/events").await;
    assert_eq!(
        rows.iter()
            .filter(|row| row["is_duplicate_event"] == true)
            .count(),
        1
    );

    // A body without a content type is text; the body alone may be empty.
    let update =
        |response: Value| json!({"name": "own", "type": "http", "custom_response": response});
    let path = format!("/sources/{source}");
    world
        .api
        .put(&path, &update(json!({"body": "thanks"})))
        .await
        .data(202);
    let reply = ingest(&mut client, &mask, &[("x-id", "2")], "a").await;
    assert_eq!(reply.headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(reply.text(), "thanks");
    let too_long = update(json!({"body": "x".repeat(51_201)}));
    let refused = world.api.put(&path, &too_long).await.refusal(400);
    assert_eq!(
        refused,
        "`custom_response.body`: must be from 0 to 51200 bytes"
    );
}
