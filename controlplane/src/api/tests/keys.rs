//! Native routes: keys of a project.

use super::*;

#[tokio::test]
async fn keys_are_made_shown_once_and_removed() {
    let mut fixture = Fixture::with_projects().await;
    let all = "/api/v1/projects/{out}/api-keys";
    let one = "/api/v1/projects/{out}/api-keys/{k}";
    fixture
        .run(vec![
            row("POST", all, json!({"name": "k", "expires_at": "2026-01-01T01:00:00Z"}), 201)
                .says("API key created successfully")
                .shows(json!({"uid": "*", "name": "k", "key": "*", "key_type": "project", "expires_at": "2026-01-01T01:00:00Z",
                    "role": {"type": "project_admin", "project": "{out}"}}))
                .saves("k", "/uid").saves("token", "/key"),
            row("POST", all, json!({"name": "k", "expires_at": ""}), 201).shows(json!({"expires_at": null})).saves("third", "/uid"),
            // A key neither makes nor removes keys, whatever it sends; it may see which there are.
            row("POST", all, json!({"name": "k"}), 403).by("{token}").says("Unauthorized").code("forbidden"),
            row("POST", all, Value::Null, 403).by("{token}"),
            row("DELETE", "/api/v1/projects/{out}/api-keys/{third}", Value::Null, 403).by("{token}").code("forbidden"),
            row("POST", "/api/v1/projects/{in}/api-keys", json!({"name": "k"}), 404).by("{token}"),
            get(all, 200).by("{token}"),
            row("POST", all, json!({}), 400).says("..`name`: must be 1 to 255 bytes").code("invalid_fields"),
            row("POST", all, json!({"name": "x", "expires_at": "soon"}), 400).says("`expires_at`: must be a time like 2026-01-31T12:00:00Z"),
            row("POST", all, json!({"name": "x", "expires_at": "2025-12-31T23:59:59Z"}), 400).says("`expires_at`: must be in the future"),
            row("POST", all, json!({"name": "x", "key": "0123456789abcdef0123456789abcdef"}), 201).answers("x-outrider-ignored-fields", Some("key")).saves("fourth", "/uid"),
            get("/api/v1/projects/{out}/api-keys?sort=asc", 200).shows(json!({"content": [{"uid": "*"}, {"uid": "*"}, {"uid": "*"}, {"uid": "*"}]})),
            get("/api/v1/projects/{out}", 200).by("{token}"),
            row("DELETE", "/api/v1/projects/{in}/api-keys/{k}", Value::Null, 404).says("api key not found"),
        ])
        .await;
    let list = fixture.send(get(all, 200).request(&fixture)).await;
    for row in list.json["data"]["content"].as_array().unwrap() {
        assert!(
            row.get("key").is_none() && row.get("key_sha256").is_none(),
            "{row}"
        );
    }
    fixture.advance(3599);
    fixture
        .run(vec![get("/api/v1/projects/{out}", 200).by("{token}")])
        .await;
    fixture.advance(1);
    fixture
        .run(vec![
            get("/api/v1/projects/{out}", 401)
                .by("{token}")
                .says("authorization failed"),
            row("DELETE", one, Value::Null, 200)
                .says("API key deleted successfully")
                .shows(Value::Null),
            row("DELETE", one, Value::Null, 404).says("api key not found"),
            get("/api/v1/projects/{out}", 200).by("{out-key}"),
        ])
        .await;
    // The journal knows of a key what it needs to recognise it, and who made what.
    let history = fixture.control.journal().history(0, 100).unwrap();
    let third = history
        .iter()
        .find(|change| change.uid.to_string() == fixture.names["third"])
        .unwrap();
    assert_eq!(third.actor, "admin key");
    for change in &history {
        let texts = [&change.before, &change.after]
            .map(|text| String::from_utf8_lossy(text.as_deref().unwrap_or_default()).into_owned());
        assert!(!texts.concat().contains(&fixture.names["token"]));
    }
}
