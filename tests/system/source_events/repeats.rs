//! Repeats at sources: told by the values that the source names, decided once, and visible.

use serde_json::json;

use super::super::harness::{DEADLINE, github, uid_of};
use super::{World, ingest};

#[tokio::test]
async fn a_request_without_one_of_the_values_is_refused_and_verified_before_that() {
    let mut world = World::start(&json!({})).await;
    let keys = [
        "request.header.X-Id",
        "req.QueryParam.id",
        "request.body.data.id",
    ];
    let verifier =
        json!({"type": "api_key", "api_key": {"header_name": "X-Key", "header_value": "k"}});
    let (mask, source) = world
        .source(
            "keyed",
            &json!({"verifier": verifier, "idempotency_keys": keys}),
        )
        .await;
    let mut client = world.outrider.client();
    let with_query = format!("{mask}?id=2");
    let (key, id) = (("x-key", "k"), ("x-id", "1"));
    let body = r#"{"data": {"id": 3}}"#;
    for (target, headers, body, missing) in [
        (&*with_query, &[key][..], body, "request.header.x-id"),
        (
            &with_query,
            &[key, ("x-id", "")],
            body,
            "request.header.x-id",
        ),
        (
            &with_query,
            &[key, id, ("x-id", "2")],
            body,
            "request.header.x-id",
        ),
        (&mask, &[key, id], body, "request.query.id"),
        (
            &with_query,
            &[key, id],
            r#"{"data": {"id": null}}"#,
            "request.body.data.id",
        ),
        (&with_query, &[key, id], "no json", "request.body.data.id"),
        (&with_query, &[key, id], "", "request.body.data.id"),
    ] {
        let reply = ingest(&mut client, target, headers, body).await;
        assert_eq!(
            reply.refusal(400),
            format!("no idempotency key at {missing}")
        );
        assert_eq!(reply.code(), "missing_idempotency_key");
    }
    // Who is not let in learns nothing about keys.
    let reply = ingest(&mut client, &mask, &[], "").await;
    assert_eq!(
        (reply.status.as_u16(), reply.code()),
        (401, "verification_failed")
    );
    let shown = world
        .api
        .get(&format!("/sources/{source}/rejected"))
        .await
        .data(200);
    assert_eq!(shown["content"][0]["reason"], "missing_signature");
    assert_eq!(shown["content"][1]["reason"], "missing_idempotency_key");
    assert!(world.api.rows("/events").await.is_empty());
}

#[tokio::test]
async fn of_64_copies_at_once_one_is_an_event_and_63_are_seen_as_repeats() {
    let mut world = World::start(&json!({})).await;
    let (mask, _) = world
        .source("keyed", &json!({"idempotency_keys": ["request.body.id"]}))
        .await;
    let copies = (0..64).map(|_| {
        let (mut client, mask) = (world.outrider.client(), mask.clone());
        tokio::spawn(async move { ingest(&mut client, &mask, &[], r#"{"id": "evt_42"}"#).await })
    });
    let mut uids = Vec::new();
    let mut repeats = 0;
    for copy in copies.collect::<Vec<_>>() {
        let reply = copy.await.unwrap();
        let data = reply.data(200);
        uids.push(uid_of(&data));
        if data["duplicate"] == true {
            assert_eq!(
                reply.json()["message"],
                "Duplicate event received, but will not be sent"
            );
            repeats += 1;
        }
    }
    assert_eq!(repeats, 63);
    uids.dedup();
    assert_eq!(uids.len(), 1, "everybody is told the first event");
    // Behind the copies in every queue there is: were one of them delivered, it would be here.
    let other = ingest(
        &mut world.outrider.client(),
        &mask,
        &[],
        r#"{"id": "evt_43"}"#,
    )
    .await;
    world.receiver.wait_for(2, DEADLINE).await;
    let mut received = world.receiver.received();
    received.retain(|request| request.webhook_id() != other.event_uid());
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].webhook_id(), uids[0]);

    let rows = world.api.rows("/events?perPage=100").await;
    assert_eq!(rows.len(), 65);
    let is_repeat = |row: &&serde_json::Value| row["is_duplicate_event"] == true;
    assert_eq!(rows.iter().filter(is_repeat).count(), 63);
    let key = rows.iter().find(is_repeat).unwrap()["idempotency_key"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(key.len(), 64, "{key}");
    assert_eq!(received[0].header("x-convoy-idempotency-key"), key);
    let by_key = world
        .api
        .rows(&format!("/events?idempotencyKey={key}&perPage=100"))
        .await;
    assert_eq!(by_key.len(), 64);
}

#[tokio::test]
async fn values_that_only_look_the_same_together_and_other_sources_are_other_events() {
    let mut world = World::start(&json!({})).await;
    let keys = json!({"idempotency_keys": ["request.query.a", "request.body.b"]});
    let (one, _) = world.source("one", &keys).await;
    let (two, _) = world.source("two", &keys).await;
    let mut client = world.outrider.client();
    for (target, body) in [
        (format!("{one}?a=1"), r#"{"b": "23"}"#),
        (format!("{one}?a=12"), r#"{"b": "3"}"#),
        (format!("{one}?a=12"), r#"{"b": 3}"#),
        (format!("{two}?a=1"), r#"{"b": "23"}"#),
    ] {
        let data = ingest(&mut client, &target, &[], body).await.data(200);
        assert_eq!(data.get("duplicate"), None, "{target} {body}");
        let again = ingest(&mut client, &target, &[], body).await.data(200);
        assert_eq!(again["duplicate"], true, "{target} {body}");
        assert_eq!(again["uid"], data["uid"]);
    }
}

#[tokio::test]
async fn the_providers_own_delivery_id_is_the_key_where_the_source_wants_that() {
    let mut world = World::start(&json!({})).await;
    let preset = json!({"verifier": null, "preset": "github", "secrets": ["k"]});
    let with = |more: serde_json::Value| {
        let mut preset = preset.clone();
        preset
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        preset
    };
    let (by_provider, _) = world
        .source("by provider", &with(json!({"deduplicate": "provider"})))
        .await;
    let (plain, _) = world.source("plain", &preset).await;
    let signature = github("k", b"{}");
    let signed = [
        ("x-hub-signature-256", &*signature),
        ("x-github-event", "push"),
    ];
    let with_id = [&signed[..], &[("x-github-delivery", "d-1")]].concat();
    let mut client = world.outrider.client();
    let reply = ingest(&mut client, &by_provider, &signed, "{}").await;
    assert_eq!(
        reply.refusal(400),
        "no idempotency key at the place where this provider has its delivery id"
    );
    let first = ingest(&mut client, &by_provider, &with_id, "{}")
        .await
        .event_uid();
    let again = ingest(&mut client, &by_provider, &with_id, "{}")
        .await
        .data(200);
    assert_eq!(
        (&again["uid"], &again["duplicate"]),
        (&json!(first), &json!(true))
    );
    // Who does not ask for it gets each of them.
    for _ in 0..2 {
        let data = ingest(&mut client, &plain, &with_id, "{}").await.data(200);
        assert_eq!(data.get("duplicate"), None);
    }
    let both = with(json!({
        "name": "both", "type": "http", "deduplicate": "provider", "idempotency_keys": ["req.body.id"],
    }));
    let refused = world.api.post("/sources", &both).await.refusal(400);
    assert_eq!(
        refused,
        "`deduplicate`: cannot be given together with `idempotency_keys`"
    );
}

#[tokio::test]
async fn a_key_is_remembered_over_a_restart_and_until_its_window_is_over() {
    let mut world = World::start(&json!({"idempotency_window_s": 1000})).await;
    let keys = json!({"idempotency_keys": ["request.header.X-Id"]});
    let (of_project, _) = world.source("as its project", &keys).await;
    let keys = json!({"idempotency_keys": ["request.header.X-Id"], "idempotency_window_s": 5000});
    let (own, _) = world.source("own", &keys).await;
    let mut client = world.outrider.client();
    let mut first = Vec::new();
    for mask in [&of_project, &own] {
        first.push(
            ingest(&mut client, mask, &[("x-id", "1")], "a")
                .await
                .event_uid(),
        );
    }
    // From each start on: how many seconds later it is, and whether each still knows.
    for (offset_s, known) in [
        (0, [true, true]),
        (2_000, [false, true]),
        (8_000, [false, false]),
    ] {
        world.outrider.kill();
        world.outrider.set_clock(offset_s);
        world.outrider.start().await;
        let mut client = world.outrider.client();
        for ((mask, first), is_known) in [&of_project, &own].into_iter().zip(&first).zip(known) {
            let data = ingest(&mut client, mask, &[("x-id", "1")], "a")
                .await
                .data(200);
            assert_eq!(data["uid"] == **first, is_known, "{offset_s} s later");
            assert_eq!(data["duplicate"] == true, is_known, "{offset_s} s later");
        }
    }
}
