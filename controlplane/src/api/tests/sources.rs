//! Section 3.5.

use super::*;

const ALL: &str = "/api/v1/projects/{in}/sources";
const ONE: &str = "/api/v1/projects/{in}/sources/{s}";

#[tokio::test]
async fn section_3_5_sources() {
    let mut fixture = Fixture::with_projects().await;
    let noop = |more: Value| {
        let mut body = json!({"name": "s", "type": "http", "verifier": {"type": "noop"}});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body
    };
    let unsupported = |field: &str, value: Value| {
        row("POST", ALL, noop(json!({field: value})), 400)
            .code("invalid_fields")
            .says("..is not supported by this version")
    };
    let hmac = json!({"type": "hmac", "hmac": {"header": "X-Sig", "hash": "SHA256", "secret": "k", "encoding": "hex"}});
    fixture
        .run(vec![
            get(ALL, 200).says("Sources fetched successfully").shows(json!({"content": []})),
            row("POST", ALL, noop(json!({
                "provider": "", "pub_sub": null, "idempotency_keys": [], "event_type_location": "", "body_function": "",
                "header_function": null, "custom_response": {"body": "", "content_type": ""}, "forward_headers": ["X-A"],
            })), 201)
                .says("Source created successfully")
                .shows(json!({
                    "uid": "*", "project_id": "{in}", "mask_id": "*", "name": "s", "url": "*", "type": "http", "provider": "",
                    "is_disabled": false, "verifier": {"type": "noop"}, "custom_response": {"body": "", "content_type": ""},
                    "provider_config": null, "forward_headers": ["X-A"], "pub_sub": null, "idempotency_keys": [],
                    "event_type_location": "", "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z", "deleted_at": null,
                }))
                .answers("x-outrider-ignored-fields", None)
                .answers("x-outrider-config-revision", Some("3"))
                .saves("s", "/uid").saves("mask", "/mask_id").saves("url", "/url"),
            get(ONE, 200).says("Source fetched successfully").shows(json!({"uid": "{s}", "url": "https://hooks.example/ingest/{mask}"})),
            get("/api/v1/projects/{in}/sources/{in}", 404).says("source not found").code("not_found"),
            get("/api/v1/projects/{out}/sources/{s}", 404).says("source not found"),
            // Names may be shared. Nobody chooses a mask, neither one in use nor one that was.
            row("POST", ALL, noop(json!({"mask_id": "{mask}"})), 201)
                .answers("x-outrider-ignored-fields", Some("mask_id")).saves("other", "/uid").saves("other-mask", "/mask_id"),
            row("POST", ALL, noop(json!({"mask_id": "own-mask"})), 400).with("prefer", "handling=strict").code("unknown_fields"),
            row("DELETE", "/api/v1/projects/{in}/sources/{other}", Value::Null, 200),
            row("PUT", ONE, noop(json!({"mask_id": "{other-mask}"})), 202)
                .shows(json!({"mask_id": "{mask}"})).answers("x-outrider-ignored-fields", Some("mask_id")),
            // A provider needs its secret only.
            row("POST", ALL, json!({"name": "hub", "type": "http", "provider": "github", "verifier": {"type": "hmac", "hmac": {"secret": "k"}}}), 201)
                .shows(json!({"provider": "github", "verifier": {"type": "hmac", "hmac": {"secret": "k", "header": "", "hash": "", "encoding": ""}, "basic_auth": null, "api_key": null}}))
                .saves("hub", "/uid"),
            row("POST", ALL, json!({"name": "native", "type": "http", "preset": "github", "secrets": ["k1", "k2"]}), 201)
                .shows(json!({"preset": "github", "secrets": ["k1", "k2"], "verifier": null})),
            // A preset of its own is shown as it was given, without what is the default.
            row("POST", ALL, json!({"name": "own", "type": "http", "secrets": ["k"], "params": {"h": "X-Sig", "l": ["a"]}, "preset": {
                "params": {"h": null, "l": []}, "event_type": {"in": "json", "pointer": "/type"},
                "signature": {"source": {"in": "header", "name": "{param:h}"}, "format": "plain", "schemes": [{"algorithm": "hmac-sha256", "encoding": "hex", "key": "utf8"}]},
                "signed": "{body}", "checks": [{"type": "json_in", "pointer": "/a", "param": "l"}]}}), 201)
                .shows(json!({"preset": {"signature": {"source": {"in": "header", "name": "{param:h}"}}, "signed": "{body}"}, "secrets": ["k"], "params": {"h": "X-Sig", "l": ["a"]}})),
            row("POST", ALL, json!({"name": "own", "type": "http", "secrets": ["k"], "preset": {"signature": null, "sgned": "{body}"}}), 400)
                .says("..preset"),
            row("POST", ALL, json!({"name": "hub2", "type": "http", "provider": "github", "verifier": {"type": "hmac",
                "hmac": {"header": "X-Hub-Signature-256", "hash": "SHA256", "encoding": "hex", "secret": "k"}}}), 201).saves("hub2", "/uid"),
            row("POST", ALL, json!({"name": "x", "type": "http", "provider": "github", "verifier": {"type": "hmac", "hmac": {"header": "X-Other", "encoding": "base64", "secret": "k"}}}), 400)
                .says("`verifier.hmac.header`: cannot be given together with `provider`; `verifier.hmac.encoding`: cannot be given together with `provider`"),
            row("DELETE", "/api/v1/projects/{in}/sources/{hub2}", Value::Null, 200),
            // What cannot be created.
            row("POST", ALL, json!({}), 400).says("..`name`: is missing").code("invalid_fields"),
            row("POST", ALL, json!({"name": "x", "verifier": {"type": "noop"}}), 400).says("`type`: is missing"),
            row("POST", ALL, json!({"name": "x", "type": "http"}), 400).says("`verifier`: is missing.."),
            row("POST", ALL, json!({"name": "x", "type": "http", "provider": "nobody"}), 400).says("`provider`: must be `github`, `shopify` or `twitter`"),
            row("POST", ALL, json!({"name": "x", "type": "nothing", "verifier": {"type": "magic"}}), 400)
                .says("`type`: must be `http`; `verifier.type`: must be `noop`, `hmac`, `basic_auth` or `api_key`"),
            row("POST", ALL, json!({"name": "x", "type": "pub_sub", "pub_sub": {"type": "amqp", "amqp": {}}}), 400).says("..is not supported by this version.."),
            row("POST", ALL, noop(json!({"forward_headers": ["X-A", "a b"]})), 400).says("`forward_headers[1]`: must be the name of an HTTP header.."),
            row("POST", ALL, noop(json!({"forward_headers": vec!["X-A"; 65]})), 400).says("`forward_headers`: must be from 0 to 64 headers"),
            row("POST", ALL, noop(json!({"idempotency_keys": ["request.body.id", "id"]})), 400)
                .says("`idempotency_keys[1]`: must be like `request.header.X-Event-Type`..").code("invalid_fields"),
            row("POST", ALL, noop(json!({"idempotency_window_s": 2_592_001})), 400)
                .says("`idempotency_window_s`: must be from 1 to 2592000 seconds"),
            row("POST", ALL, noop(json!({"event_type_location": "request.cookie.type"})), 400)
                .says("`event_type_location`: must be like `request.header.X-Event-Type`.."),
            row("POST", ALL, noop(json!({
                "idempotency_keys": ["req.Header.X-Id", "request.body.data.id"], "idempotency_window_s": 60,
                "event_type_location": "request.body.type",
            })), 201)
                .shows(json!({
                    "idempotency_keys": ["req.Header.X-Id", "request.body.data.id"], "idempotency_window_s": 60,
                    "event_type_location": "request.body.type",
                }))
                .saves("keyed", "/uid"),
            row("DELETE", "/api/v1/projects/{in}/sources/{keyed}", Value::Null, 200),
            unsupported("body_function", json!("function transform() {}")),
            unsupported("header_function", json!("function transform() {}")),
            row("POST", "/api/v1/projects/{out}/sources", noop(json!({})), 400).says("a source in an outgoing project is not supported by this version"),
            // Changes.
            row("PUT", ONE, json!({"name": "t"}), 400).says("`type`: is missing"),
            row("PUT", ONE, json!({"type": "http"}), 400).says("`name`: is missing"),
            row("PUT", ONE, json!({"name": "t", "type": "http", "is_disabled": true}), 202)
                .says("Source updated successfully")
                .shows(json!({"name": "t", "mask_id": "{mask}", "is_disabled": true, "verifier": {"type": "noop"}, "forward_headers": ["X-A"]})),
            row("PUT", ONE, json!({"name": "t", "type": "http", "verifier": hmac, "forward_headers": []}), 202)
                .shows(json!({"is_disabled": true, "verifier": hmac, "forward_headers": []})),
            row("PUT", "/api/v1/projects/{in}/sources/{hub}", json!({"name": "hub", "type": "http", "verifier": {"type": "hmac", "hmac": {"secret": "new"}}}), 202)
                .shows(json!({"provider": "github", "verifier": {"hmac": {"secret": "new"}}})),
            row("PUT", "/api/v1/projects/{in}/sources/{in}", json!({"name": "t", "type": "http"}), 404).says("source not found"),
            // Lists.
            get("/api/v1/projects/{in}/sources?provider=github", 200).shows(json!({"content": [{"uid": "{hub}"}]})),
            get("/api/v1/projects/{in}/sources?q=NAT", 200).shows(json!({"content": [{"name": "native"}]})),
            get("/api/v1/projects/{in}/sources?type=pub_sub", 200).shows(json!({"content": []})),
            get("/api/v1/projects/{in}/sources?type=http&sort=asc&perPage=1", 200).shows(json!({"content": [{"uid": "*"}], "pagination": {"has_next_page": true}})),
            row("POST", "/api/v1/projects/{in}/sources/test_function", json!({}), 501).code("not_supported"),
            // And gone, with its subscriptions.
            row("POST", "/api/v1/projects/{in}/endpoints", json!({"name": "e", "url": "https://a.example"}), 201).saves("e", "/uid"),
            row("POST", "/api/v1/projects/{in}/subscriptions", json!({"name": "b", "endpoint_id": "{e}", "source_id": "{s}"}), 201).saves("b", "/uid"),
            row("DELETE", ONE, Value::Null, 200).says("Source deleted successfully").shows(Value::Null),
            row("DELETE", ONE, Value::Null, 404).says("source not found"),
            get("/api/v1/projects/{in}/subscriptions/{b}", 404).says("subscription not found"),
        ])
        .await;
    assert_ne!(fixture.names["mask"], fixture.names["other-mask"]);
    let mask = &fixture.names["mask"];
    assert!(mask.len() == 16 && mask.bytes().all(|byte| byte.is_ascii_alphanumeric()));
}

#[tokio::test]
async fn every_verifier_is_shown_as_it_was_given_and_can_be_sent_back() {
    let mut fixture = Fixture::with_projects().await;
    for (index, verifier) in [
        json!({"type": "noop", "hmac": null, "basic_auth": null, "api_key": null}),
        json!({"type": "hmac", "hmac": {"header": "X-S", "hash": "SHA512", "secret": "k", "encoding": "base64"}, "basic_auth": null, "api_key": null}),
        json!({"type": "basic_auth", "hmac": null, "basic_auth": {"username": "u", "password": "p"}, "api_key": null}),
        json!({"type": "api_key", "hmac": null, "basic_auth": null, "api_key": {"header_name": "X-K", "header_value": "v"}}),
    ]
    .into_iter()
    .enumerate()
    {
        let body = json!({"name": format!("s{index}"), "type": "http", "verifier": verifier});
        fixture.run(vec![row("POST", ALL, body, 201).shows(json!({"verifier": verifier})).saves("s", "/uid")]).await;
        let shown = fixture.send(get(ONE, 200).request(&fixture)).await.json["data"].clone();
        fixture.run(vec![row("PUT", ONE, shown.clone(), 202)]).await;
        let again = fixture.send(get(ONE, 200).request(&fixture)).await.json["data"].clone();
        assert_eq!(again, shown);
    }
}
