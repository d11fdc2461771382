//! CloudEvents at a source, in their three modes.

use serde_json::{Value, json};

use super::super::harness::{DEADLINE, uid_of};
use super::{World, ingest};

const STRUCTURED: (&str, &str) = ("content-type", "application/cloudevents+json");
const BATCH: (&str, &str) = ("content-type", "application/cloudevents-batch+json");

fn event(id: &str) -> Value {
    json!({"specversion": "1.0", "id": id, "source": "/shop", "type": "order.paid", "data": {"n": id}})
}

async fn source(world: &mut World) -> String {
    let more = json!({"verifier": null, "preset": "cloudevents", "secrets": ["the-token"]});
    world.source("events", &more).await.0
}

#[tokio::test]
async fn what_is_no_cloudevent_is_refused_after_it_was_verified() {
    let mut world = World::start(&json!({})).await;
    let mask = source(&mut world).await;
    let mut client = world.outrider.client();
    let bearer = ("authorization", "Bearer the-token");
    let text = |value: Value| value.to_string();
    let (mut no_id, mut twice) = (event("1"), event("1"));
    no_id.as_object_mut().unwrap().remove("id");
    twice["source"] = "a b".into();
    for (headers, body, status, code, says) in [
        (
            &[STRUCTURED][..],
            text(event("1")),
            401,
            "verification_failed",
            "Request verification failed",
        ),
        (
            &[bearer],
            text(event("1")),
            415,
            "not_a_cloudevent",
            "this source takes CloudEvents only: neither `ce-*` headers nor an `application/cloudevents` type",
        ),
        (
            &[bearer, ("content-type", "application/cloudevents+avro")],
            text(event("1")),
            415,
            "unsupported_media_type",
            "the event format `application/cloudevents+avro` is not understood: use application/cloudevents+json",
        ),
        (
            &[bearer, STRUCTURED],
            text(no_id.clone()),
            400,
            "invalid_cloudevent",
            "CloudEvents attribute `id` is missing",
        ),
        (
            &[
                bearer,
                ("ce-id", "1"),
                ("ce-type", "t"),
                ("ce-specversion", "1.0"),
            ],
            String::new(),
            400,
            "invalid_cloudevent",
            "CloudEvents attribute `source` is missing",
        ),
        (
            &[bearer, BATCH],
            "[]".to_owned(),
            400,
            "malformed_cloudevent",
            "the CloudEvents batch is empty",
        ),
        (
            &[bearer, BATCH],
            text(json!([event("1"), twice])),
            400,
            "invalid_cloudevent",
            "event 1 of the batch: CloudEvents attribute `source` must be a URI reference",
        ),
    ] {
        let reply = ingest(&mut client, &mask, headers, body.clone()).await;
        assert_eq!(reply.refusal(status), says, "{body}");
        assert_eq!(reply.code(), code, "{body}");
    }
    assert!(world.api.rows("/events").await.is_empty());
    for (more, says) in [
        (
            json!({"event_format": "avro"}),
            "`event_format`: must be `raw` or `cloudevents`",
        ),
        (
            json!({"deduplicate": "x"}),
            "`deduplicate`: must be `provider`; `deduplicate`: needs a preset that knows where the provider's id of a delivery is",
        ),
    ] {
        let mut body = json!({"name": "s", "type": "http", "verifier": {"type": "noop"}});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        assert_eq!(world.api.post("/sources", &body).await.refusal(400), says);
    }
}

#[tokio::test]
async fn an_event_is_the_same_in_every_mode_and_goes_out_as_it_came() {
    let mut world = World::start(&json!({})).await;
    let mask = source(&mut world).await;
    let mut client = world.outrider.client();
    let bearer = ("authorization", "Bearer the-token");
    let structured = "{ \"specversion\": \"1.0\", \"id\": \"1\", \"source\": \"/shop\", \"type\": \"order.paid\" }";
    let first = ingest(&mut client, &mask, &[bearer, STRUCTURED], structured)
        .await
        .event_uid();
    let binary = [
        bearer,
        ("content-type", "text/csv"),
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/shop"),
        ("ce-type", "order.paid"),
        ("ce-note", "%C3%A4"),
    ];
    // The same source and id, in another mode.
    let again = ingest(&mut client, &mask, &binary, "a,b").await.data(200);
    assert_eq!(
        (&again["uid"], &again["duplicate"]),
        (&json!(first), &json!(true))
    );
    let mut other = binary;
    other[3] = ("ce-id", "2");
    let second = ingest(&mut client, &mask, &other, "a,b").await.event_uid();
    // A batch with one that is known.
    let batch = json!([event("2"), event("3"), event("4")]).to_string();
    let reply = ingest(&mut client, &mask, &[bearer, BATCH], batch).await;
    let data = reply.data(200);
    assert_eq!(
        (&data["duplicates"], &data["uids"][0]),
        (&json!(1), &json!(second))
    );

    let received = world.receiver.wait_for(4, DEADLINE).await;
    let of = |uid: &str| {
        let found = received.iter().find(|request| request.webhook_id() == uid);
        found.unwrap_or_else(|| panic!("{uid} was not delivered"))
    };
    assert_eq!(of(&first).body, structured);
    assert_eq!(of(&first).header("content-type"), STRUCTURED.1);
    let binary = of(&second);
    assert_eq!(
        (&*binary.body, binary.header("content-type")),
        (&b"a,b"[..], "text/csv")
    );
    assert_eq!(
        (binary.header("ce-id"), binary.header("ce-note")),
        ("2", "%C3%A4")
    );
    let third = of(data["uids"][1].as_str().unwrap());
    assert_eq!(
        serde_json::from_slice::<Value>(&third.body).unwrap(),
        event("3")
    );
    assert_eq!(third.header("content-type"), STRUCTURED.1);
    for request in &received {
        assert_eq!(request.header("authorization"), "");
    }
    let rows = world.api.rows("/events?perPage=100").await;
    assert_eq!(rows.len(), 6);
    assert!(
        rows.iter().all(|row| row["event_type"] == "order.paid"),
        "{rows:?}"
    );
}

#[tokio::test]
async fn any_source_may_take_cloudevents_and_what_it_says_itself_comes_first() {
    let mut world = World::start(&json!({})).await;
    let more = json!({
        "event_format": "cloudevents",
        "event_type_location": "request.body.data.kind",
        "idempotency_keys": ["request.body.data.key"],
    });
    let (mask, _) = world.source("own", &more).await;
    let mut client = world.outrider.client();
    let mut one = event("1");
    one["data"] = json!({"kind": "own.kind", "key": 7});
    let mut two = event("2");
    two["data"] = one["data"].clone();
    let body = json!([one, two]).to_string();
    let data = ingest(&mut client, &mask, &[BATCH], body).await.data(200);
    assert_eq!(data["duplicates"], 1, "one key: {data}");
    let rows = world.api.rows("/events").await;
    assert!(
        rows.iter().all(|row| row["event_type"] == "own.kind"),
        "{rows:?}"
    );
    let uids: Vec<_> = rows.iter().map(uid_of).collect();
    assert!(uids.contains(&data["uids"][0].as_str().unwrap().to_owned()));
}
