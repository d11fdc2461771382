//! The catalogue of event types: what it says of an event counts at intake, in both directions,
//! whether it came from a file or through the API.

use serde_json::{Value, json};

use super::harness::{
    Api, DEADLINE, Endpoint, Outrider, Receiver, Reply, Resources, Setup, check, github,
};

const SECRET: &str = "shared-with-the-customer";

fn amount() -> Value {
    json!({
        "type": "object", "required": ["amount"],
        "properties": {"amount": {"type": "integer", "minimum": 1}, "note": {"type": "string"}},
    })
}

fn catalogue() -> Value {
    json!([
        {"name": "paid", "json_schema": amount()},
        {"name": "old", "json_schema": amount(), "deprecated_at": "2026-01-01T00:00:00Z"},
        {"name": "free", "category": "without a schema"},
    ])
}

async fn shop(config: &Value) -> (Outrider, Api, Receiver, String) {
    let receiver = Receiver::start().await;
    let outrider = Setup::through_api().start().await;
    let mut shop = outrider
        .admin_api()
        .make_project("shop", "outgoing", config)
        .await;
    let endpoint = shop
        .make_endpoint("customer", &receiver.url("/in"), &json!({}))
        .await;
    shop.subscribe(&endpoint, &["*"]).await;
    for event_type in catalogue().as_array().unwrap() {
        let made = shop.post("/event-types", event_type).await.uid();
        if event_type["deprecated_at"].is_string() {
            shop.post(&format!("/event-types/{made}/deprecate"), &json!({}))
                .await
                .data(201);
        }
    }
    (outrider, shop, receiver, endpoint)
}

async fn publish(api: &mut Api, endpoint: &str, event_type: &str, data: Value, key: &str) -> Reply {
    let body = json!({"endpoint_id": endpoint, "event_type": event_type, "data": data, "idempotency_key": key});
    api.post("/events", &body).await
}

fn assert_refused(reply: &Reply, status: u16, code: &str, says: &str) {
    let message = reply.refusal(status);
    assert_eq!(reply.code(), code, "{message}");
    assert!(message.contains(says), "{says:?} is not in {message:?}");
    assert!(!message.contains("hunter2"), "{message}");
}

async fn checks(outrider: &Outrider, result: &str) -> f64 {
    let label = format!("result=\"{result}\"");
    outrider
        .metric("outrider_schema_checks_total", &[&label])
        .await
}

#[tokio::test]
async fn an_event_that_does_not_fit_is_refused_and_a_repeat_is_answered_as_one() {
    let config = json!({"schema_enforcement": "reject", "unknown_event_types": "reject"});
    let (outrider, mut shop, receiver, endpoint) = shop(&config).await;
    let bad = json!({"amount": 0, "note": ["hunter2"]});
    let reply = publish(&mut shop, &endpoint, "paid", bad.clone(), "").await;
    assert_refused(
        &reply,
        400,
        "schema_mismatch",
        "`/amount` breaks `minimum`; `/note` breaks `type`",
    );
    let reply = publish(&mut shop, &endpoint, "paid", json!("hunter2"), "k").await;
    assert_refused(&reply, 400, "schema_mismatch", "`/` breaks `type`");
    let reply = publish(&mut shop, &endpoint, "unheard.of", json!(1), "").await;
    assert_refused(
        &reply,
        400,
        "unknown_event_type",
        "`unheard.of` is not in the catalogue",
    );
    // In a batch each on its own.
    let item = |event_type: &str, data: Value| json!({"endpoint_id": endpoint, "event_type": event_type, "data": data});
    let batch = json!({"events": [item("paid", bad), item("free", json!("anything")), item("nothing", json!(1))]});
    let outcomes = shop.post("/events/batch", &batch).await.data(200);
    assert_eq!(outcomes[0]["code"], "schema_mismatch", "{outcomes}");
    assert_eq!(outcomes[1]["status"], 201, "{outcomes}");
    assert_eq!(outcomes[2]["code"], "unknown_event_type", "{outcomes}");
    // A refused event left no key behind; a deprecated type is as good as any.
    let paid = publish(&mut shop, &endpoint, "paid", json!({"amount": 5}), "k")
        .await
        .event_uid();
    let old = publish(&mut shop, &endpoint, "old", json!({"amount": 5}), "")
        .await
        .event_uid();
    let free = outcomes[1]["uid"].as_str().unwrap().to_owned();
    let received = receiver.wait_for(3, DEADLINE).await;
    let mut ids: Vec<&str> = received.iter().map(|one| one.webhook_id()).collect();
    ids.sort_unstable();
    let mut expected = [&*paid, &*old, &*free];
    expected.sort_unstable();
    assert_eq!(ids, expected);
    assert_eq!(
        [
            checks(&outrider, "valid").await,
            checks(&outrider, "refused").await
        ],
        [2.0, 3.0]
    );

    // The schema is tightened between an event and its repeat.
    let types = shop.get("/event-types").await.data(200);
    let paid_type = types
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["name"] == "paid")
        .unwrap();
    let path = format!("/event-types/{}", paid_type["uid"].as_str().unwrap());
    shop.put(&path, &json!({"json_schema": {"type": "array"}}))
        .await
        .data(201);
    let repeat = publish(&mut shop, &endpoint, "paid", json!({"amount": 5}), "k").await;
    let data = repeat.data(201);
    assert_eq!(
        (&data["uid"], &data["duplicate"]),
        (&json!(paid), &json!(true))
    );
    let new = publish(&mut shop, &endpoint, "paid", json!({"amount": 5}), "k2").await;
    assert_refused(&new, 400, "schema_mismatch", "`/` breaks `type`");
    // And taken away: anything goes.
    shop.put(&path, &json!({"json_schema": {}})).await.data(201);
    publish(&mut shop, &endpoint, "paid", json!("anything"), "k2")
        .await
        .event_uid();
}

#[tokio::test]
async fn an_event_that_does_not_fit_is_marked_and_the_mark_survives_a_restart() {
    let (mut outrider, mut shop, receiver, endpoint) =
        shop(&json!({"schema_enforcement": "flag"})).await;
    let bad = publish(
        &mut shop,
        &endpoint,
        "paid",
        json!({"amount": "hunter2"}),
        "k",
    )
    .await
    .event_uid();
    let good = publish(&mut shop, &endpoint, "paid", json!({"amount": 1}), "")
        .await
        .event_uid();
    receiver.wait_for(2, DEADLINE).await;
    assert_eq!(
        [
            checks(&outrider, "valid").await,
            checks(&outrider, "flagged").await
        ],
        [1.0, 1.0]
    );
    outrider.kill();
    outrider.start_without_resources().await;
    let mut shop = shop.at(outrider.public());
    for rows in [
        shop.rows("/events").await,
        vec![
            shop.get(&format!("/events/{bad}")).await.data(200),
            shop.get(&format!("/events/{good}")).await.data(200),
        ],
    ] {
        let row = |uid: &str| rows.iter().find(|row| row["uid"] == uid).unwrap();
        assert_eq!(row(&bad)["schema_valid"], json!(false));
        assert_eq!(row(&bad)["schema_reason"], "`/amount` breaks `type`");
        assert!(
            row(&good).get("schema_valid").is_none() && row(&good).get("schema_reason").is_none()
        );
    }
    let repeat = publish(
        &mut shop,
        &endpoint,
        "paid",
        json!({"amount": "hunter2"}),
        "k",
    )
    .await
    .data(201);
    assert_eq!(repeat["duplicate"], true);
}

/// An incoming project with a schema for pushes, from a file.
fn intake(receiver: &Receiver, enforcement: &str) -> Resources {
    let endpoint = Endpoint::new(1, &receiver.url("/in"), SECRET);
    Resources::incoming(SECRET, &[endpoint])
        .config("schema_enforcement", enforcement)
        .with(
            "event_types",
            &json!([{"name": "push", "json_schema": amount()}]),
        )
}

async fn push(outrider: &Outrider, body: &'static str) -> Reply {
    let signature = github(SECRET, body.as_bytes());
    outrider
        .client()
        .github("push", &signature, body.into())
        .await
        .unwrap()
}

#[tokio::test]
async fn what_a_provider_sends_is_held_against_the_schema_of_a_file() {
    let receiver = Receiver::start().await;
    let mut outrider = Setup::new(&intake(&receiver, "reject")).start().await;
    let refused = push(&outrider, r#"{"amount":"hunter2"}"#).await;
    assert_refused(&refused, 422, "schema_mismatch", "`/amount` breaks `type`");
    assert_refused(
        &push(&outrider, "hunter2").await,
        422,
        "schema_mismatch",
        "the body has no JSON view",
    );
    // Verification comes first.
    let forged = outrider
        .client()
        .github("push", "sha256=00", r#"{"amount":"x"}"#.into())
        .await
        .unwrap();
    forged.refusal(401);
    let good = push(&outrider, r#"{ "amount": 7 }"#).await.event_uid();
    let received = receiver.wait_for(1, DEADLINE).await;
    assert_eq!(
        (received[0].webhook_id(), &received[0].body[..]),
        (good.as_str(), &br#"{ "amount": 7 }"#[..])
    );
    // The reason is with the source's refused requests.
    let mut admin = outrider.admin_api();
    let project = admin.get("/api/v1/projects").await.data(200)[0]["uid"]
        .as_str()
        .unwrap()
        .to_owned();
    let sources = admin
        .get(&format!("/api/v1/projects/{project}/sources"))
        .await
        .data(200);
    let source = sources["content"][0]["uid"].as_str().unwrap();
    let path = format!("/api/v1/projects/{project}/sources/{source}/rejected");
    let rejected = admin.get(&path).await.data(200);
    let reasons: Vec<&Value> = rejected["content"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["reason"])
        .collect();
    assert!(reasons.contains(&&json!("schema_mismatch")), "{rejected}");
    // The same file, with another word in it.
    outrider.terminate().await;
    outrider.replace_resources(&intake(&receiver, "flag"));
    outrider.start().await;
    let flagged = push(&outrider, r#"{"amount":"x"}"#).await.event_uid();
    receiver.wait_for(2, DEADLINE).await;
    let event = outrider
        .admin_api()
        .get(&format!("/api/v1/projects/{project}/events/{flagged}"))
        .await
        .data(200);
    assert_eq!(
        (&event["schema_valid"], &event["event_type"]),
        (&json!(false), &json!("push"))
    );
}

#[tokio::test]
async fn a_bad_schema_is_refused_where_it_is_written_and_nothing_is_quarantined() {
    let (outrider, mut shop, _receiver, endpoint) =
        shop(&json!({"schema_enforcement": "reject"})).await;
    let nested = (0..70).fold(json!({}), |inner, _| json!({"not": inner}));
    let mut defs = json!({});
    for level in 0..40 {
        let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
        defs[format!("d{level}")] = json!({"allOf": [next, next]});
    }
    defs["d40"] = json!({});
    for (schema, says) in [
        (json!({"type": "nothing"}), "at `/type`"),
        (
            json!({"$ref": format!("http://{}/schema", outrider.public())}),
            "nothing is fetched",
        ),
        (
            json!({"properties": {"a": {"pattern": "(?=x)(a+)+\\1"}}}),
            "no regular expression",
        ),
        (json!({"description": "x".repeat(65_536)}), "at most 65536"),
        (nested, "deeper than 64 levels"),
        (
            json!({"$ref": "#/$defs/d0", "$defs": defs}),
            "at most 1000 are accepted",
        ),
    ] {
        let reply = shop
            .post("/event-types", &json!({"name": "x", "json_schema": schema}))
            .await;
        assert_refused(&reply, 400, "invalid_fields", says);
        assert!(reply.refusal(400).starts_with("`json_schema`: "));
    }
    let reply = shop
        .post(
            "/event-types",
            &json!({"name": "a\u{7}", "json_schema": {}}),
        )
        .await;
    assert_refused(&reply, 400, "invalid_fields", "`name`: ");
    assert_eq!(
        outrider.metric("outrider_config_quarantined", &[]).await,
        0.0
    );
    // A pattern that other engines choke on takes no longer than any.
    let patterns = json!({"name": "text", "json_schema": {"pattern": "^(a+)+$"}});
    shop.post("/event-types", &patterns).await.data(201);
    let data = json!(format!("{}!", "a".repeat(40_000)));
    assert_refused(
        &publish(&mut shop, &endpoint, "text", data, "").await,
        400,
        "schema_mismatch",
        "`pattern`",
    );
}

#[tokio::test]
async fn check_names_what_is_wrong_with_event_types_in_a_file() {
    let resources = Resources::outgoing(&[]).with(
        "event_types",
        &json!([{"name": "a", "json_schema": {"$ref": "file:///etc/passwd"}}, {"name": "a"}]),
    );
    let ended = check(&resources.text()).await;
    assert_eq!(ended.code, Some(78), "{}", ended.output);
    for part in [
        "projects[0].event_types[0].json_schema: ",
        "nothing is fetched",
        "projects[0].event_types[1].name: ",
    ] {
        assert!(ended.output.contains(part), "{}", ended.output);
    }
}

#[tokio::test]
async fn an_imported_webhook_counts_at_intake() {
    let (_outrider, mut shop, _receiver, endpoint) =
        shop(&json!({"schema_enforcement": "reject"})).await;
    let body = json!({"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Order"}}}});
    let spec = json!({
        "openapi": "3.0.3",
        "x-webhooks": {"order.placed": {"post": {"requestBody": body}}},
        "components": {"schemas": {
            "Order": {"type": "object", "required": ["id"], "properties": {"part": {"$ref": "#/components/schemas/Part"}}},
            "Part": {"type": "string", "nullable": true},
        }},
    });
    let imported = shop
        .post("/event-types/import", &json!({"spec": spec.to_string()}))
        .await
        .data(200);
    assert_eq!(imported[0]["name"], "order.placed");
    let bad = publish(
        &mut shop,
        &endpoint,
        "order.placed",
        json!({"id": 1, "part": 7}),
        "",
    )
    .await;
    assert_refused(&bad, 400, "schema_mismatch", "`/part` breaks `anyOf`");
    let good = json!({"id": 1, "part": null});
    publish(&mut shop, &endpoint, "order.placed", good, "")
        .await
        .event_uid();
    let reply = shop
        .post("/event-types/import", &json!({"spec": "{'"}))
        .await;
    assert_refused(&reply, 400, "invalid_fields", "`spec`: is neither valid");
}
