//! Section 3.3.

use super::*;

const ALL: &str = "/api/v1/projects/{out}/subscriptions";
const ONE: &str = "/api/v1/projects/{out}/subscriptions/{b}";
const IN: &str = "/api/v1/projects/{in}/subscriptions";

#[tokio::test]
async fn section_3_3_subscriptions() {
    let mut fixture = Fixture::with_projects().await;
    let endpoint =
        |name: &str| json!({"name": name, "url": "https://a.example", "secret": "hunter2"});
    let wants = |more: Value| {
        let mut body = json!({"name": "b", "endpoint_id": "{e}"});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body
    };
    let unsupported = |field: &str, value: Value| {
        row("POST", ALL, wants(json!({field: value})), 400)
            .code("invalid_fields")
            .says("..is not supported by this version")
    };
    fixture
        .run(vec![
            row("POST", "/api/v1/projects/{out}/endpoints", endpoint("e"), 201).saves("e", "/uid"),
            row("POST", "/api/v1/projects/{out}/endpoints", endpoint("f"), 201).saves("f", "/uid"),
            row("POST", "/api/v1/projects/{in}/endpoints", endpoint("g"), 201).saves("g", "/uid"),
            row("POST", "/api/v1/projects/{in}/sources", json!({"name": "s", "type": "http", "verifier": {"type": "api_key", "api_key": {"header_name": "X", "header_value": "hunter3"}}}), 201).saves("s", "/uid"),
            get(ALL, 200).says("Subscriptions fetched successfully").shows(json!({"content": []})),
            row("POST", ALL, wants(json!({
                "source_id": "", "function": "", "alert_config": {"count": 10, "threshold": "1h"}, "rate_limit_config": {"count": 0, "duration": 0}, "app_id": null,
                "retry_config": {"type": "linear", "duration": "3s", "retry_count": 2}, "delivery_mode": "at_least_once",
                "filter_config": {"event_types": [], "filter": {"headers": {}, "body": {}, "query": {}, "path": {}}},
            })), 201)
                .says("Subscription created successfully")
                .answers("x-outrider-ignored-fields", Some("retry_config,app_id"))
                .answers("x-outrider-config-revision", Some("7"))
                .shows(json!({
                    "uid": "*", "name": "b", "type": "api", "project_id": "{out}", "function": null, "device_metadata": null, "source_metadata": null,
                    "endpoint_metadata": {"uid": "{e}", "name": "e", "status": "active", "secrets": []},
                    "alert_config": {"count": 10, "threshold": "1h"}, "retry_config": null, "rate_limit_config": null, "delivery_mode": "at_least_once",
                    "filter_config": {"event_types": ["*"], "filter": {"is_flattened": false, "headers": {}, "body": {}, "query": {}, "path": {}}},
                    "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z", "deleted_at": null,
                }))
                .saves("b", "/uid"),
            row("POST", ALL, wants(json!({"endpoint_id": "{f}", "retry_config": {"type": "linear"}})), 400)
                .with("prefer", "handling=strict").says("unknown fields: retry_config"),
            get(ONE, 200).says("Subscription fetched successfully").shows(json!({"uid": "{b}"})),
            get("/api/v1/projects/{out}/subscriptions/nonsense", 404).says("subscription not found").code("not_found"),
            get("/api/v1/projects/{in}/subscriptions/{b}", 404).says("subscription not found"),
            // What cannot be created.
            row("POST", ALL, wants(json!({})), 400).says("a subscription for this endpoint already exists").code("already_exists"),
            row("POST", ALL, json!({}), 400).says("`name`: is missing; `endpoint_id`: is missing"),
            row("POST", ALL, wants(json!({"endpoint_id": "{g}"})), 404).says("endpoint `{g}` not found").code("not_found"),
            row("POST", ALL, wants(json!({"endpoint_id": "nope"})), 404).says("endpoint `nope` not found"),
            row("POST", IN, wants(json!({"source_id": "{e}"})), 404).says("endpoint `{e}` not found; source `{e}` not found"),
            row("POST", IN, wants(json!({"endpoint_id": "{g}"})), 400).says("`source_id`: is missing"),
            row("POST", ALL, wants(json!({"endpoint_id": "{f}", "delivery_mode": "twice"})), 400).says("`delivery_mode`: must be `at_least_once` or `at_most_once`"),
            unsupported("function", json!("function transform() {}")),
            unsupported("rate_limit_config", json!({"count": 1, "duration": 1})),
            row("POST", ALL, wants(json!({"endpoint_id": "{f}", "filter_config": {"event_types": ["a"], "filter": {"body": {"a": {"$foo": 1}}}}})), 400)
                .code("invalid_fields").says("..`filter_config.filter.body.a.$foo`: is no operator"),
            // Incoming projects.
            row("POST", IN, wants(json!({"endpoint_id": "{g}", "source_id": "{s}"})), 201)
                .shows(json!({"source_metadata": {"uid": "{s}", "name": "s", "type": "http", "provider": "", "verifier": null}, "endpoint_metadata": {"uid": "{g}"}})),
            row("POST", IN, wants(json!({"name": "Other", "endpoint_id": "{g}", "source_id": "{s}", "filter_config": {"event_types": ["push"]}})), 201)
                .shows(json!({"filter_config": {"event_types": ["push"]}})),
            // Changes.
            row("PUT", ONE, json!({"filter_config": {"event_types": ["a", "b"]}, "retry_config": {"type": "linear"}}), 202)
                .says("Subscription updated successfully")
                .answers("x-outrider-ignored-fields", Some("retry_config"))
                .shows(json!({"name": "b", "endpoint_metadata": {"uid": "{e}"}, "filter_config": {"event_types": ["a", "b"]}})),
            row("PUT", ONE, json!({"name": "c", "endpoint_id": "{f}", "retry_config": null}), 202)
                .answers("x-outrider-ignored-fields", None)
                .shows(json!({"name": "c", "endpoint_metadata": {"uid": "{f}"}, "filter_config": {"event_types": ["a", "b"]}})),
            row("PUT", ONE, json!({"filter_config": {"event_types": []}}), 202).shows(json!({"filter_config": {"event_types": ["*"]}})),
            row("POST", ALL, wants(json!({})), 201),
            row("PUT", ONE, json!({"endpoint_id": "{e}"}), 400).says("a subscription for this endpoint already exists"),
            row("PUT", ONE, json!({"endpoint_id": "{g}"}), 404).says("endpoint `{g}` not found"),
            row("PUT", ONE, json!({"function": "x"}), 400).says("`function`: is not supported by this version"),
            row("PUT", "/api/v1/projects/{out}/subscriptions/{out}", json!({}), 404).says("subscription not found"),
            // Several per endpoint, where the project says so.
            row("PUT", "/api/v1/projects/{out}", json!({"name": "out", "config": {"multiple_endpoint_subscriptions": true}}), 202),
            row("PUT", ONE, json!({"endpoint_id": "{e}"}), 202),
            // Lists.
            get("/api/v1/projects/{in}/subscriptions?name=OTH", 200).shows(json!({"content": [{"name": "Other"}]})),
            get("/api/v1/projects/{out}/subscriptions?endpointId={f}", 200).shows(json!({"content": []})),
            get("/api/v1/projects/{out}/subscriptions?endpointId={f}&endpointId={e}", 200).shows(json!({"content": [{"endpoint_metadata": {"uid": "{e}"}}, {"endpoint_metadata": {"uid": "{e}"}}]})),
            get("/api/v1/projects/{out}/subscriptions?endpointId=nonsense", 200).shows(json!({"content": []})),
            get("/api/v1/projects/{out}/subscriptions?endpointId={g}", 200).shows(json!({"content": []})),
            // What does nothing, or not yet.
            row("PUT", "/api/v1/projects/{out}/subscriptions/{b}/toggle_status", Value::Null, 202).shows(json!({})),
            row("PUT", "/api/v1/projects/{out}/subscriptions/{out}/toggle_status", Value::Null, 404).says("subscription not found"),
            row("POST", "/api/v1/projects/{out}/subscriptions/test_function", json!({}), 501).code("not_supported"),
            row("DELETE", ONE, Value::Null, 200).says("Subscription deleted successfully").shows(Value::Null),
            row("DELETE", ONE, Value::Null, 404).says("subscription not found"),
            get(ONE, 404).says("subscription not found"),
        ])
        .await;
    let shown = fixture.send(get(IN, 200).request(&fixture)).await;
    let text = String::from_utf8_lossy(&shown.bytes);
    assert!(!text.contains("hunter"), "{text}");
}
