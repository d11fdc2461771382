//! Section 3.2.

use super::*;

const ALL: &str = "/api/v1/projects/{out}/endpoints";
const ONE: &str = "/api/v1/projects/{out}/endpoints/{e}";

#[tokio::test]
async fn section_3_2_endpoints() {
    let mut fixture = Fixture::with_projects().await;
    let body = |more: Value| {
        let mut body = json!({"name": "e", "url": "https://a.example/hook"});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body
    };
    fixture
        .run(vec![
            get(ALL, 200).shows(json!({"content": [], "pagination": {
                "per_page": 20, "has_next_page": false, "has_prev_page": false, "prev_page_cursor": "", "next_page_cursor": "",
            }})),
            // Everything that old and new clients send although it asks for nothing.
            row("POST", ALL, body(json!({
                "description": "d", "owner_id": "o", "support_email": "a@b", "secret": "", "is_disabled": false,
                "slack_webhook_url": "", "teams_webhook_url": null, "http_timeout": 0, "rate_limit": 0, "rate_limit_duration": 60,
                "content_type": "application/json", "authentication": null, "mtls_client_cert": {"client_cert": "", "client_key": ""},
                "app_id": "", "advanced_signatures": null,
            })), 201)
                .says("Endpoint created successfully")
                .shows(json!({
                    "uid": "*", "project_id": "{out}", "name": "e", "url": "https://a.example/hook", "description": "d",
                    "owner_id": "o", "support_email": "a@b", "slack_webhook_url": "", "status": "active", "http_timeout": 10,
                    "advanced_signatures": true, "content_type": "application/json", "authentication": null,
                    "rate_limit": 0, "rate_limit_duration": 60,
                    "secrets": [{"uid": "*", "value": "*", "expires_at": null, "created_at": "2026-01-01T00:00:00Z",
                        "updated_at": "2026-01-01T00:00:00Z", "deleted_at": null}],
                    "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z", "deleted_at": null,
                }))
                .answers("x-outrider-ignored-fields", Some("app_id"))
                .answers("x-outrider-config-revision", Some("3"))
                .saves("e", "/uid"),
            get(ONE, 200).says("Endpoint fetched successfully").shows(json!({"uid": "{e}", "secrets": [{"value": "*"}]})),
            get("/api/v1/projects/{out}/endpoints/nonsense", 404).says("Resource not found"),
            get("/api/v1/projects/{out}/endpoints/{out}", 404).says("Resource not found").code("not_found"),
            get("/api/v1/projects/{in}/endpoints/{e}", 404).says("Resource not found"),
            // What cannot be created.
            row("POST", ALL, body(json!({})), 400).says("an endpoint with that name already exists").code("already_exists"),
            row("POST", ALL, json!({"name": "x"}), 400).says("`url`: is missing"),
            row("POST", ALL, json!({"name": "x", "url": "nope"}), 400).says("..`url`: "),
            row("POST", ALL, json!({"name": "x", "url": "https://{h}/"}), 400)
                .says("`url`: a token like `{name}` may stand in the path and the query, not in scheme, host, port or fragment"),
            row("POST", ALL, json!({"name": "x", "url": "https://h.example/{a-b}"}), 400)
                .says("`url`: the `{` at position 19 begins no token: its name has to be a letter or `_`, then letters, digits and `_`"),
            row("POST", ALL, json!({"name": "x", "url": "http://169.254.169.254/{a}"}), 400).says("`url`: 169.254.169.254 is an internal.."),
            row("POST", ALL, json!({"name": "t", "url": "https://h.example/%7B/{a}?b={c}"}), 201)
                .shows(json!({"url": "https://h.example/%7B/{a}?b={c}"})),
            row("POST", ALL, json!({"name": "r", "url": "https://h.example/", "rate_limit": 5}), 400).says("`rate_limit_duration`: is missing"),
            row("POST", ALL, json!({"name": "r", "url": "https://h.example/", "rate_limit": 1_000_000_001_u64, "rate_limit_duration": 86_401}), 400)
                .says("`rate_limit`: must be from 1 to 1000000000 deliveries; `rate_limit_duration`: must be from 1 to 86400 seconds"),
            row("POST", ALL, json!({"name": "r", "url": "https://h.example/", "rate_limit": 5, "rate_limit_duration": 60}), 201)
                .shows(json!({"rate_limit": 5, "rate_limit_duration": 60})),
            row("POST", ALL, json!({"name": "e", "url": "https://a.example/hook", "slack_webhook_url": "ftp://s"}), 400).says("..`slack_webhook_url`: "),
            row("POST", ALL, body(json!({"content_type": "text/plain"})), 400).says("`content_type`: must be `application/json` or `application/x-www-form-urlencoded`"),
            row("POST", ALL, body(json!({"name": "x", "description": "d".repeat(4097), "support_email": format!("ops@{}", "e".repeat(317))})), 400)
                .says("`description`: must be from 0 to 4096 bytes; `support_email`: must be from 0 to 320 bytes"),
            // What has its own routes is not taken from a body.
            row("POST", ALL, body(json!({"name": "own", "secret": "a", "secrets": [{"value": "b"}], "status": "paused", "zzz": 1})), 201)
                .shows(json!({"secrets": [{"value": "a"}], "status": "active"}))
                .answers("x-outrider-ignored-fields", Some("secrets,status,zzz")),
            row("POST", ALL, body(json!({"name": "strict", "status": "active"})), 400)
                .with("prefer", "handling=strict").says("unknown fields: status").code("unknown_fields"),
            // An incoming project signs the advanced way always.
            row("POST", "/api/v1/projects/{in}/endpoints", body(json!({"advanced_signatures": false, "secret": "given", "is_disabled": true})), 201)
                .shows(json!({"advanced_signatures": true, "secrets": [{"value": "given"}], "status": "inactive"})),
            row("POST", ALL, body(json!({"name": "simple", "advanced_signatures": false})), 201).shows(json!({"advanced_signatures": false})),
            // Changes.
            row("PUT", ONE, json!({"name": "e"}), 400).says("`url`: is missing"),
            row("PUT", ONE, json!({"url": "https://b.example"}), 400).says("`name`: is missing"),
            row("PUT", ONE, json!({"name": "e", "url": "https://b.example", "http_timeout": 30}), 202)
                .says("Endpoint updated successfully")
                .shows(json!({"url": "https://b.example", "http_timeout": 30, "owner_id": "o", "description": "d", "support_email": "a@b", "advanced_signatures": true})),
            row("PUT", ONE, json!({"name": "f", "url": "https://b.example", "owner_id": "", "description": "", "advanced_signatures": false}), 202)
                .shows(json!({"name": "f", "http_timeout": 30, "owner_id": "o", "description": "", "advanced_signatures": false})),
            row("PUT", ONE, json!({"name": "f", "url": "https://b.example"}), 202).shows(json!({"advanced_signatures": false})),
            row("PUT", ONE, json!({"name": "simple", "url": "https://b.example"}), 400).says("an endpoint with that name already exists"),
            row("PUT", ONE, json!({"name": "f", "url": "https://b.example", "rate_limit": 1, "rate_limit_duration": 86_401}), 400)
                .says("`rate_limit_duration`: must be from 1 to 86400 seconds"),
            row("PUT", "/api/v1/projects/{out}/endpoints/{out}", json!({"name": "f", "url": "https://b.example"}), 404),
            // States.
            row("PUT", "/api/v1/projects/{out}/endpoints/{e}/pause", Value::Null, 202).says("endpoint status updated successfully").shows(json!({"status": "paused"})),
            row("PUT", ONE, json!({"name": "f", "url": "https://b.example", "is_disabled": false}), 202).shows(json!({"status": "paused"})),
            row("PUT", "/api/v1/projects/{out}/endpoints/{e}/pause", Value::Null, 202).shows(json!({"status": "active"})),
            row("POST", "/api/v1/projects/{out}/endpoints/{e}/activate", Value::Null, 400).says("the endpoint is already active").code("wrong_state"),
            row("PUT", ONE, json!({"name": "f", "url": "https://b.example", "is_disabled": true}), 202).shows(json!({"status": "inactive"})),
            row("PUT", "/api/v1/projects/{out}/endpoints/{e}/pause", Value::Null, 400).code("wrong_state").says("the endpoint is inactive.."),
            row("POST", "/api/v1/projects/{out}/endpoints/{e}/activate", Value::Null, 202).says("endpoint status successfully activated").shows(json!({"status": "active"})),
            row("PUT", "/api/v1/projects/{out}/endpoints/{e}/pause", json!({}), 202).shows(json!({"status": "paused"})),
            row("POST", "/api/v1/projects/{out}/endpoints/{e}/activate", json!({}), 202).shows(json!({"status": "active"})),
            row("PUT", "/api/v1/projects/{out}/endpoints/{out}/pause", Value::Null, 404).says("Resource not found"),
            row("POST", "/api/v1/projects/{out}/endpoints/{out}/activate", Value::Null, 404).says("Resource not found"),
            row("PUT", "/api/v1/projects/{out}/endpoints/{out}/expire_secret", json!({}), 404).says("Resource not found"),
            row("POST", "/api/v1/projects/{out}/endpoints/{out}/ping", json!({}), 404).says("Resource not found"),
            row("POST", "/api/v1/projects/{out}/endpoints/{e}/ping", json!({}), 503).code("dataplane_not_connected"),
            // What this version does not do.
            get("/api/v1/projects/{out}/endpoints/period-failure-rates", 501).says("not supported by this version").code("not_supported"),
            row("POST", "/api/v1/projects/{out}/endpoints/oauth2/test", json!({"oauth2": {"url": "ftp://h"}}), 400)
                .says("..`oauth2.url`: ").code("invalid_fields"),
            row("POST", "/api/v1/projects/{out}/endpoints/oauth2/test", json!({"oauth2": {
                "url": "https://h.example/t", "client_id": "me", "authentication_type": "shared_secret", "client_secret": "s",
            }}), 503).code("dataplane_not_connected"),
            get("/api/v1/projects/{out}/endpoints/period-failure-rates", 401).by(""),
            row("POST", ONE, json!({}), 405).answers("allow", Some("GET,HEAD,PUT,DELETE")),
            // And gone, with its subscriptions.
            row("POST", "/api/v1/projects/{out}/subscriptions", json!({"name": "b", "endpoint_id": "{e}"}), 201).saves("b", "/uid"),
            row("DELETE", ONE, Value::Null, 200).says("Endpoint deleted successfully").shows(Value::Null),
            row("DELETE", ONE, Value::Null, 404).says("Resource not found"),
            get(ONE, 404).says("Resource not found"),
            get("/api/v1/projects/{out}/subscriptions/{b}", 404).says("subscription not found"),
        ])
        .await;
}

#[tokio::test]
async fn secrets_are_rotated_and_old_ones_end() {
    let mut fixture = Fixture::with_projects().await;
    let expire = "/api/v1/projects/{out}/endpoints/{e}/expire_secret";
    fixture
        .run(vec![
            row("POST", ALL, json!({"name": "e", "url": "https://a.example", "secret": "first"}), 201).saves("e", "/uid").saves("first", "/secrets/0/uid"),
            row("PUT", expire, json!({"secret": "second", "expiration": 2}), 200)
                .says("endpoint secret expired successfully")
                .shows(json!({"secrets": [
                    {"uid": "{first}", "value": "first", "expires_at": "2026-01-01T02:00:00Z", "created_at": "2026-01-01T00:00:00Z"},
                    {"uid": "*", "value": "second", "expires_at": null},
                ]})),
            row("PUT", expire, json!({"expiration": "x"}), 400).says("body contains incorrect JSON type for field \"expiration\""),
            row("PUT", expire, json!({"expiration": -1}), 400).code("bad_json"),
            row("PUT", expire, json!({"expiration": 1_000_000}), 400).says("`expiration`: must be from 0 to 87600 hours"),
            row("PUT", expire, Value::Null, 400).says("body must not be empty"),
            // The end of the first one stays; the new one is made up.
            row("PUT", expire, json!({"secret": null, "expiration": 24}), 200).shows(json!({"secrets": [
                {"value": "first", "expires_at": "2026-01-01T02:00:00Z"},
                {"value": "second", "expires_at": "2026-01-02T00:00:00Z"},
                {"value": "*", "expires_at": null},
            ]})),
        ])
        .await;
    fixture.advance(3 * 3600);
    let stored = |fixture: &Fixture| {
        let history = fixture.control.journal().history(0, 100).unwrap();
        String::from_utf8(history.last().unwrap().after.clone().unwrap()).unwrap()
    };
    fixture
        .run(vec![get(ONE, 200).shows(
            json!({"secrets": [{"value": "second"}, {"value": "*"}]}),
        )])
        .await;
    assert!(
        stored(&fixture).contains("first"),
        "nothing was written yet"
    );
    fixture
        .run(vec![row(
            "PUT",
            "/api/v1/projects/{out}/endpoints/{e}/pause",
            Value::Null,
            202,
        )])
        .await;
    assert!(!stored(&fixture).contains("first"));
    fixture
        .run(vec![
            row(
                "PUT",
                expire,
                json!({"secret": "last", "expiration": 0}),
                200,
            )
            .shows(json!({"secrets": [{"value": "last", "expires_at": null}]})),
            row(
                "PUT",
                ONE,
                json!({"name": "e", "url": "https://a.example", "secret": "last"}),
                202,
            )
            .shows(json!({"secrets": [{"value": "last"}]})),
            row(
                "PUT",
                ONE,
                json!({"name": "e", "url": "https://a.example", "secret": "other"}),
                202,
            )
            .shows(json!({"secrets": [{"value": "other", "uid": "*"}]})),
        ])
        .await;
    for _ in 0..15 {
        fixture
            .run(vec![row("PUT", expire, json!({"expiration": 9}), 200)])
            .await;
    }
    fixture
        .run(vec![
            row("PUT", expire, json!({"expiration": 9}), 400)
                .says("`secrets`: must be from 1 to 16 secrets"),
        ])
        .await;
}

#[tokio::test]
async fn a_made_up_secret_is_25_letters_and_digits() {
    let mut fixture = Fixture::with_projects().await;
    let create = row(
        "POST",
        ALL,
        json!({"name": "e", "url": "https://a.example"}),
        201,
    );
    fixture
        .run(vec![create.saves("secret", "/secrets/0/value")])
        .await;
    let secret = &fixture.names["secret"];
    assert!(secret.len() == 25 && secret.bytes().all(|byte| byte.is_ascii_alphanumeric()));
}

#[tokio::test]
async fn a_made_up_secret_has_the_form_that_the_project_signs_with() {
    let mut fixture = Fixture::with_projects().await;
    fixture
        .run(vec![
            row(
                "PUT",
                "/api/v1/projects/{out}",
                json!({"name": "out", "config": {"signature": {"format": "standard_webhooks"}}}),
                202,
            ),
            row(
                "POST",
                ALL,
                json!({"name": "e", "url": "https://a.example"}),
                201,
            )
            .saves("e", "/uid")
            .saves("first", "/secrets/0/value"),
            row(
                "PUT",
                "/api/v1/projects/{out}/endpoints/{e}/expire_secret",
                json!({"expiration": 0}),
                200,
            )
            .saves("second", "/secrets/0/value"),
            row(
                "PUT",
                "/api/v1/projects/{out}/endpoints/{e}/expire_secret",
                json!({"secret": "x"}),
                400,
            )
            .says("..secret"),
            row(
                "POST",
                ALL,
                json!({"name": "f", "url": "https://a.example", "secret": "x"}),
                400,
            )
            .code("invalid_fields"),
        ])
        .await;
    for name in ["first", "second"] {
        assert!(fixture.names[name].starts_with("whsec_"));
    }
}

#[tokio::test]
async fn the_reply_can_be_sent_back() {
    let mut fixture = Fixture::with_projects().await;
    fixture
        .run(vec![
            row(
                "POST",
                ALL,
                json!({"name": "e", "url": "https://a.example", "owner_id": "o"}),
                201,
            )
            .saves("e", "/uid"),
        ])
        .await;
    let shown = fixture.send(get(ONE, 200).request(&fixture)).await.json["data"].clone();
    fixture.run(vec![row("PUT", ONE, shown.clone(), 202)]).await;
    let again = fixture.send(get(ONE, 200).request(&fixture)).await.json["data"].clone();
    assert_eq!(again, shown);
}

#[tokio::test]
async fn a_stale_reply_sent_back_undoes_nothing() {
    let mut fixture = Fixture::with_projects().await;
    let body = json!({"name": "e", "url": "https://a.example", "secret": "leaked"});
    fixture
        .run(vec![row("POST", ALL, body, 201).saves("e", "/uid")])
        .await;
    let stale = fixture.send(get(ONE, 200).request(&fixture)).await.json["data"].clone();
    let expire = "/api/v1/projects/{out}/endpoints/{e}/expire_secret";
    let pause = "/api/v1/projects/{out}/endpoints/{e}/pause";
    let now = json!({"secrets": [{"value": "new", "expires_at": null}], "status": "paused"});
    fixture
        .run(vec![
            row(
                "PUT",
                expire,
                json!({"secret": "new", "expiration": 0}),
                200,
            ),
            row("PUT", pause, Value::Null, 202),
            row("PUT", ONE, stale.clone(), 400)
                .with("prefer", "handling=strict")
                .code("unknown_fields")
                .says("..secrets, status.."),
            row("PUT", ONE, stale, 202).shows(now.clone()),
            get(ONE, 200).shows(now),
        ])
        .await;
}

#[tokio::test]
async fn where_no_delivery_gets_to_is_refused_when_it_is_saved() {
    let mut fixture = Fixture::with_projects().await;
    let endpoint = |name: &str, url: &str| json!({"name": name, "url": url});
    let refused = |url: &str, says: &'static str| {
        row("POST", ALL, endpoint("x", url), 400)
            .code("invalid_fields")
            .says(says)
    };
    let private = "http://10.1.2.3/";
    fixture
        .run(vec![
            refused("http://127.0.0.1/", "`url`: 127.0.0.1 is an internal or reserved address (setting `egress.internal` with `address`.."),
            refused("http://[::ffff:127.0.0.1]/", "`url`: 127.0.0.1 is an internal or reserved address.."),
            refused("http://192.168.0.1/", "`url`: 192.168.0.1 is an internal or reserved address (setting `egress.internal` with `cidr`.."),
            refused("http://169.254.169.254/latest", "`url`: 169.254.169.254 is an internal or reserved address, and no setting opens it"),
            refused("http://localhost:8080/", "`url`: `localhost` is a name of internal networks (setting `egress.internal` with `name_suffix`)"),
            refused("https://db.internal/", "`url`: `db.internal` is a name of internal networks.."),
            refused("https://a.example:22/", "`url`: port 22 is not delivered to (setting `egress.ports`)"),
            // By the rules of the project: `out` may go there.
            row("POST", "/api/v1/projects/{in}/endpoints", endpoint("e", private), 400).says("..`egress.internal`"),
            row("POST", ALL, endpoint("e", private), 201).saves("e", "/uid"),
            row("PUT", ONE, endpoint("e", "http://172.16.0.1/"), 400).says("`url`: 172.16.0.1 is.."),
            // The rule ends with the name; what is saved is not judged again.
            row("PUT", "/api/v1/projects/{out}", json!({"name": "renamed"}), 202),
            row("PUT", ONE, endpoint("f", private), 202),
            row("PUT", "/api/v1/projects/{out}/endpoints/{e}/pause", Value::Null, 202),
            row("PUT", ONE, endpoint("f", "http://10.1.2.4/"), 400).says("`url`: 10.1.2.4 is.."),
        ])
        .await;
}
