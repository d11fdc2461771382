//! Section 3.1.

use super::*;

#[tokio::test]
async fn section_3_1_projects() {
    let mut fixture = Fixture::new();
    let all = "/api/v1/projects";
    let one = "/api/v1/projects/{p}";
    let default_config = json!({
        "max_payload_read_size": 51200,
        "replay_attacks_prevention_enabled": false,
        "add_event_id_trace_headers": false,
        "disable_endpoint": false,
        "multiple_endpoint_subscriptions": false,
        "search_policy": "",
        "ssl": {"enforce_secure_endpoints": false},
        "ratelimit": {"count": 1000, "duration": 60},
        "strategy": {"type": "linear", "duration": 100, "retry_count": 10},
        "signature": {
            "header": "X-Convoy-Signature",
            "versions": [{"uid": "*", "hash": "SHA256", "encoding": "hex", "created_at": "2026-01-01T00:00:00Z"}],
        },
        "request_id_header": "X-Convoy-Idempotency-Key",
        "meta_event": {"is_enabled": false, "type": "http", "event_type": []},
        "verify_dynamic_events": false,
        "allow_unmatched_dynamic_urls": false,
    });
    fixture
        .run(vec![
            get(all, 200).shows(json!([])).says("Projects fetched successfully"),
            row("POST", "/api/v1/projects?orgID=anything", json!({"name": "p", "type": "outgoing"}), 201)
                .says("Project created successfully")
                .shows(json!({
                    "api_key": {
                        "uid": "*", "name": "default key", "key": "*", "key_type": "project", "expires_at": null,
                        "role": {"type": "project_admin"}, "created_at": "2026-01-01T00:00:00Z",
                    },
                    "project": {
                        "uid": "*", "name": "p", "type": "outgoing", "logo_url": "", "organisation_id": "*",
                        "config": default_config, "retained_events": 0,
                        "statistics": {"endpoints_exist": false, "sources_exist": false, "subscriptions_exist": false},
                        "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z", "deleted_at": null,
                    },
                }))
                .answers("x-outrider-config-revision", Some("1"))
                .saves("p", "/project/uid")
                .saves("key", "/api_key/key"),
            // The key works at once, for its project.
            get(one, 200).by("{key}").says("Project fetched successfully").shows(json!({"uid": "{p}", "name": "p"})),
            get("/api/v1/projects?orgID=x", 200).shows(json!([{"uid": "{p}"}])),
            // What cannot be created.
            row("POST", all, json!({"name": "p", "type": "incoming"}), 400)
                .says("a project with the name `p` already exists").code("already_exists"),
            row("POST", all, json!({}), 400).says("`name`: is missing; `type`: is missing").code("invalid_fields"),
            row("POST", all, json!({"name": "", "type": "sideways"}), 400).says("..`type`: must be `incoming` or `outgoing`"),
            row("POST", all, json!({"name": "x", "type": "outgoing", "config": {"sync_dynamic_event_ack": true, "search_policy": "24h"}}), 400)
                .says("..`config.search_policy`: is not supported by this version"),
            row("POST", all, json!({"name": "x", "type": "outgoing", "logo_url": "javascript:alert(1)"}), 400).says("`logo_url`: must be an http or https URL"),
            row("POST", all, json!({"name": "x", "type": "outgoing", "logo_url": format!("https://l/{}", "x".repeat(2048))}), 400)
                .says("`logo_url`: must be from 0 to 2048 bytes"),
            row("POST", all, json!({"name": "x", "type": "outgoing", "config": {"sync_dynamic_event_ack": true}}), 400)
                .with("prefer", "handling=strict"),
            row("POST", all, json!({"name": "x", "type": "outgoing", "config": {"strategy": {"type": "linear", "duration": 604801, "retry_count": 1001}}}), 400)
                .says("`config.strategy.duration`: must be from 1 to 604800 seconds; `config.strategy.retry_count`: must be from 1 to 1000 attempts"),
            // Changes: only what is given.
            row("PUT", one, json!({"config": {"strategy": {"retry_count": 3}}}), 400).says("`name`: is missing"),
            row("PUT", one, json!({"name": "p", "config": {"strategy": {"retry_count": 3}, "SSL": {"enforce_secure_endpoints": true}}}), 202)
                .says("Project updated successfully")
                .shows(json!({"config": {
                    "strategy": {"type": "linear", "duration": 100, "retry_count": 3},
                    "ssl": {"enforce_secure_endpoints": true},
                }})),
            row("PUT", one, json!({"name": "q", "logo_url": "https://l", "config": {"strategy": {"type": "exponential"}, "ssl": null}}), 202)
                .by("{key}")
                .shows(json!({"name": "q", "logo_url": "https://l", "config": {
                    "strategy": {"type": "exponential", "duration": 100, "retry_count": 3},
                    "ssl": {"enforce_secure_endpoints": true},
                }})),
            row("PUT", one, json!({"name": "q", "config": {"ratelimit": {"count": 500}}}), 202).shows(json!({"config": {"ratelimit": {"count": 500, "duration": 60}}})),
            // What changes nothing is no revision.
            row("PUT", one, json!({"name": "q"}), 202).answers("x-outrider-config-revision", Some("4")),
            row("PUT", one, json!({"name": "q", "config": {"allow_unmatched_dynamic_urls": true}}), 202)
                .shows(json!({"config": {"allow_unmatched_dynamic_urls": true}})),
            row("PUT", one, json!({"name": "q", "config": {"verify_dynamic_events": true}}), 202)
                .shows(json!({"config": {"verify_dynamic_events": true, "allow_unmatched_dynamic_urls": true}})),
            row("PUT", one, json!({"name": "q", "config": {"verify_dynamic_events": false, "allow_unmatched_dynamic_urls": false}}), 202)
                .shows(json!({"config": {"allow_unmatched_dynamic_urls": false}})),
            row("PUT", one, json!({"name": "q", "type": "incoming"}), 400).code("refused").says("..type never changes"),
            row("POST", all, json!({"name": "p", "type": "incoming"}), 201).saves("second", "/project/uid"),
            row("PUT", one, json!({"name": "p"}), 400).says("a project with the name `p` already exists"),
            row("PUT", one, Value::Null, 400).says("body must not be empty"),
            // An https project takes no http endpoint, and one with such an endpoint cannot become one.
            row("POST", "/api/v1/projects/{p}/endpoints", json!({"name": "e", "url": "http://a.example"}), 400).says("`url`: must be https.."),
            row("POST", "/api/v1/projects/{second}/endpoints", json!({"name": "e", "url": "http://a.example"}), 201),
            row("PUT", "/api/v1/projects/{second}", json!({"name": "p", "config": {"ssl": {"enforce_secure_endpoints": true}}}), 400)
                .code("refused").says("..must be https"),
            get("/api/v1/projects/{second}", 200).shows(json!({"statistics": {"endpoints_exist": true}})),
            // And it goes with all in it.
            row("DELETE", "/api/v1/projects/{second}", Value::Null, 200).says("Project deleted successfully").shows(Value::Null),
            get("/api/v1/projects/{second}", 404).says("project not found"),
            row("DELETE", "/api/v1/projects/{second}", Value::Null, 404).says("project not found"),
            row("DELETE", one, Value::Null, 200),
            get(one, 401).by("{key}").says("authorization failed"),
            get(all, 200).shows(json!([])),
        ])
        .await;
    assert_eq!(fixture.control.journal().snapshot().counts().endpoints, 0);
}

#[tokio::test]
async fn the_reply_can_be_sent_back() {
    let mut fixture = Fixture::with_projects().await;
    let path = "/api/v1/projects/{out}";
    let shown = fixture.send(get(path, 200).request(&fixture)).await.json["data"].clone();
    fixture.run(vec![row("PUT", path, shown, 202)]).await;
    let again = fixture.send(get(path, 200).request(&fixture)).await.json["data"].clone();
    assert_eq!(
        again["config"]["strategy"],
        json!({"type": "linear", "duration": 100, "retry_count": 10})
    );
}

#[tokio::test]
async fn what_a_resource_file_made_is_shown_and_not_changed() {
    let mut fixture = Fixture::new();
    fixture
        .load(
            "
projects:
  - name: filed
    type: incoming
    sources: [{name: s, verifier: {type: noop}}]
    endpoints: [{name: e, url: 'https://a.example', secret: hunter2, advanced_signatures: false}]
    subscriptions: [{name: b, source_id: s, endpoint_id: e}]
    api_keys: [{name: k, key: 0123456789abcdef0123456789abcdef}]
",
        )
        .await;
    let managed = |method, path: &str, body| {
        row(method, path, body, 409)
            .code("managed_by_file")
            .says("..is managed by the resource file: change it there")
    };
    let p = "/api/v1/projects/{p}";
    fixture
        .names
        .insert("filed".into(), "0123456789abcdef0123456789abcdef".into());
    fixture
        .run(vec![
            get("/api/v1/projects", 200).saves("p", "/0/uid"),
            get("/api/v1/projects/{p}/endpoints", 200).by("{filed}").saves("e", "/content/0/uid").shows(json!({"content": [{
                "name": "e", "advanced_signatures": true, "secrets": [{"uid": "*", "value": "hunter2", "created_at": "2026-01-01T00:00:00Z"}],
            }]})),
            get("/api/v1/projects/{p}/sources", 200).saves("s", "/content/0/uid"),
            get("/api/v1/projects/{p}/subscriptions", 200).saves("b", "/content/0/uid"),
            get("/api/v1/projects/{p}/api-keys", 200).saves("k", "/content/0/uid"),
            managed("PUT", p, json!({"name": "x"})),
            managed("DELETE", p, Value::Null),
            managed("PUT", "/api/v1/projects/{p}/endpoints/{e}", json!({"name": "x", "url": "https://x.example"})),
            managed("PUT", "/api/v1/projects/{p}/endpoints/{e}/pause", Value::Null),
            managed("POST", "/api/v1/projects/{p}/endpoints/{e}/activate", Value::Null),
            managed("PUT", "/api/v1/projects/{p}/endpoints/{e}/expire_secret", json!({"expiration": 1})),
            managed("DELETE", "/api/v1/projects/{p}/endpoints/{e}", Value::Null),
            managed("PUT", "/api/v1/projects/{p}/sources/{s}", json!({"name": "x", "type": "http"})),
            managed("DELETE", "/api/v1/projects/{p}/sources/{s}", Value::Null),
            managed("PUT", "/api/v1/projects/{p}/subscriptions/{b}", json!({"name": "x"})),
            managed("DELETE", "/api/v1/projects/{p}/subscriptions/{b}", Value::Null),
            managed("DELETE", "/api/v1/projects/{p}/api-keys/{k}", Value::Null),
            // What the API puts beside it is the API's.
            row("POST", "/api/v1/projects/{p}/subscriptions", json!({"name": "b", "source_id": "{s}", "endpoint_id": "{e}"}), 201).saves("own", "/uid"),
            row("PUT", "/api/v1/projects/{p}/subscriptions/{own}", json!({"name": "c"}), 202),
            row("POST", "/api/v1/projects/{p}/endpoints", json!({"name": "e", "url": "https://a.example"}), 400)
                .says("an endpoint with that name already exists"),
        ])
        .await;
    let history = fixture.control.journal().history(1, 10).unwrap();
    let actors: Vec<&str> = history.iter().map(|change| change.actor.as_str()).collect();
    assert_eq!(actors, ["admin key", "admin key"]);
}
