//! Section 2.7.

use super::*;

#[tokio::test]
async fn section_2_7_old_clients_write_and_read_as_they_did() {
    let mut fixture = Fixture::with_projects().await;
    let all = "/api/v1/projects/{out}/endpoints";
    let one = "/api/v1/projects/{out}/endpoints/{e}";
    let version = "x-convoy-version";
    let old = json!({"title": "e", "target_url": "https://a.example", "http_timeout": "30s", "rate_limit_duration": "1m0s"});
    let shown_old = json!({"title": "e", "target_url": "https://a.example", "http_timeout": "30s", "rate_limit_duration": "1m0s", "advanced_signatures": false});
    fixture
        .run(vec![
            get("/api/v1/projects", 400).with(version, "banana").says("Invalid API version").code("invalid_api_version"),
            get("/api/v1/projects", 400).by("").with(version, "2030-01-01").says("Invalid API version"),
            get("/api/v1/projects", 200).with(version, "2025-11-24"),
            get("/api/v1/projects", 200).with(version, ""),
            row("POST", all, old.clone(), 201).with(version, "2023-12-31").shows(shown_old.clone()).saves("e", "/uid"),
            get(one, 200).with(version, "2023-12-31").shows(shown_old.clone()),
            get(all, 200).with(version, "2023-12-31").shows(json!({"content": [shown_old]})),
            get(one, 200).with(version, "2024-01-01").shows(json!({"title": "e", "target_url": "https://a.example", "http_timeout": 30, "rate_limit_duration": 60})),
            get(one, 200).with(version, "2024-04-01").shows(json!({"name": "e", "url": "https://a.example", "http_timeout": 30})),
            get(one, 200).shows(json!({"name": "e", "url": "https://a.example", "http_timeout": 30, "advanced_signatures": false})),
            row("PUT", one, json!({"title": "e", "target_url": "https://b.example", "http_timeout": "1m30s"}), 202).with(version, "2023-12-31")
                .shows(json!({"target_url": "https://b.example", "http_timeout": "1m30s"})),
            row("PUT", "/api/v1/projects/{out}/endpoints/{e}/pause", Value::Null, 202).with(version, "2023-12-31").shows(json!({"title": "e", "http_timeout": "1m30s"})),
            row("POST", "/api/v1/projects/{out}/endpoints/{e}/activate", Value::Null, 202).with(version, "2024-01-01").shows(json!({"title": "e", "http_timeout": 90})),
            row("PUT", "/api/v1/projects/{out}/endpoints/{e}/expire_secret", json!({}), 200).with(version, "2023-12-31").shows(json!({"title": "e"})),
            row("POST", all, json!({"name": "x", "url": "https://a.example", "http_timeout": "soon"}), 400).with(version, "2023-12-31")
                .says("`http_timeout`: must be a duration like `30s` or `1m30s`"),
            row("POST", all, json!({"name": "x", "url": "https://a.example", "http_timeout": "30s"}), 400)
                .says("body contains incorrect JSON type for field \"http_timeout\""),
            row("POST", all, json!({"name": "x", "url": "https://a.example", "advanced_signatures": true}), 201).with(version, "2023-12-31")
                .shows(json!({"advanced_signatures": true})),
            row("POST", all, json!({"name": "y", "url": "https://a.example"}), 201).with(version, "2024-01-01").shows(json!({"advanced_signatures": true})),
            // Nothing else differs.
            get("/api/v1/projects/{out}", 200).with(version, "2023-12-31").shows(json!({"name": "out"})),
        ])
        .await;
}
