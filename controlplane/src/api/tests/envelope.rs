//! Sections 2.1 to 2.4: who may do what, and what every reply looks like.

use super::*;

#[tokio::test]
async fn section_2_1_who_may_do_what() {
    let mut fixture = Fixture::with_projects().await;
    let list = "/api/v1/projects";
    let key = fixture.names["out-key"].clone();
    fixture
        .names
        .insert("dead-key".into(), key.replace("CO.", "PRT."));
    fixture
        .run(vec![
            get(list, 401)
                .by("")
                .says("Authentication required")
                .code("unauthenticated"),
            get(list, 401)
                .by("")
                .with("authorization", "Basic eDp5")
                .says("Authentication required"),
            get(list, 401)
                .by("")
                .with("authorization", "Bearer  {admin}")
                .says("Authentication required"),
            get(list, 401)
                .by("")
                .with("authorization", "{admin}")
                .says("Authentication required"),
            get(list, 401)
                .by("{admin}x")
                .says("authorization failed")
                .code("authorization_failed"),
            get(list, 401).by("{dead-key}").says("authorization failed"),
            get(list, 401).by("a.b.c").says("authorization failed"),
            get("/api/v1/projects/{out}", 401)
                .by("")
                .says("Authentication required"),
            get("/api/v1/projects/nowhere", 401)
                .by("x")
                .says("authorization failed"),
            get(list, 200)
                .by("")
                .with("authorization", "bEaReR {admin}"),
            // All projects, or the one of the key.
            get(list, 200).shows(json!([{"name": "*"}, {"name": "*"}])),
            get(list, 200).by("{in-key}").shows(json!([{"name": "in"}])),
            get("/api/v1/projects/{in}", 200).by("{in-key}"),
            get("/api/v1/projects/{out}", 404)
                .by("{in-key}")
                .says("project not found")
                .code("not_found"),
            get("/api/v1/projects/{out}/endpoints", 404)
                .by("{in-key}")
                .says("project not found"),
            get("/api/v1/projects/01JD4N3T8Q2W5X6Y7Z8A9B0C1D", 404).says("project not found"),
            get("/api/v1/projects/nonsense/endpoints", 404).says("project not found"),
            row("POST", "/api/v1/projects/{out}/endpoints", json!({}), 404)
                .by("{in-key}")
                .says("project not found"),
            row("POST", list, json!({"name": "x", "type": "incoming"}), 403)
                .by("{in-key}")
                .says("Unauthorized")
                .code("forbidden"),
            row("POST", list, Value::Null, 403)
                .by("{in-key}")
                .says("Unauthorized"),
            row("DELETE", "/api/v1/projects/{in}", Value::Null, 403)
                .by("{in-key}")
                .says("Unauthorized"),
            row("PUT", "/api/v1/projects/{in}", json!({"name": "in"}), 202).by("{in-key}"),
            // Content types.
            get(list, 415)
                .with("content-type", "text/plain")
                .code("unsupported_content_type"),
            row("POST", list, json!({}), 415)
                .with("content-type", "application/x-www-form-urlencoded"),
            get(list, 200).with("content-type", "application/json; charset=utf-8"),
            get(list, 200).with("content-type", "application/json;charset=utf-8"),
            get(list, 200).with("content-type", ""),
            row("DELETE", "/api/v1/projects/{in}", json!({"x": 1}), 200)
                .with("content-type", "application/json"),
        ])
        .await;
    let plain = fixture
        .send(
            get(list, 415)
                .with("content-type", "text/plain")
                .request(&fixture),
        )
        .await;
    assert!(plain.bytes.is_empty());
}

#[tokio::test]
async fn sections_2_2_and_2_3_what_every_reply_looks_like() {
    let mut fixture = Fixture::with_projects().await;
    let endpoints = "/api/v1/projects/{out}/endpoints";
    let endpoint = |more: Value| {
        let mut body = json!({"name": "n", "url": "https://a.example"});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body
    };
    let unknown = |count: usize| -> Value {
        (0..count)
            .map(|n| (format!("x{n}"), json!(1)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let (names, many) = (unknown(64), endpoint(unknown(65)));
    fixture
        .run(vec![
            get("/healthz", 200).by("").says("OK").shows(Value::Null),
            get("/", 404).by("").code("unknown_path"),
            get("/api/v1/unknown", 404).by("").code("unknown_path"),
            get("/api/v1/projects/{out}/unknown", 404).code("unknown_path"),
            row("PATCH", "/api/v1/projects", Value::Null, 405).code("method_not_allowed").answers("allow", Some("GET,HEAD,POST")),
            row("POST", "/healthz", Value::Null, 405).answers("allow", Some("GET,HEAD")),
            row("HEAD", "/api/v1/projects", Value::Null, 200),
            row("HEAD", "/api/v1/projects/{out}", Value::Null, 200),
            // Slashes, as clients put them together.
            get("//api/v1//projects/", 200),
            get("/api/v1/projects/{out}//endpoints///?perPage=3", 200).shows(json!({"pagination": {"per_page": 3}})),
            // Ids of requests.
            get("/healthz", 200).with("x-request-id", "abc").answers("x-request-id", Some("abc")),
            // JSON that is none.
            row("POST", endpoints, Value::Null, 400).says("body must not be empty").code("bad_json"),
            row("POST", endpoints, Value::Null, 400).raw("{\"name\": }").says("body contains badly-formed JSON (at character 10)"),
            row("POST", endpoints, json!([]), 400).says("body contains incorrect JSON type (at character 1)"),
            row("POST", endpoints, json!({"name": 5}), 400).says("body contains incorrect JSON type for field \"name\""),
            row("POST", endpoints, json!({"name": ["x"], "http_timeout": "x"}), 400)
                .says("body contains incorrect JSON type for field \"http_timeout\"; body contains incorrect JSON type for field \"name\""),
            row("PUT", "/api/v1/projects/{out}", json!({"name": "out", "config": {"strategy": {"duration": "x"}}}), 400)
                .says("body contains incorrect JSON type for field \"config.strategy.duration\""),
            // Fields that nobody knows.
            row("POST", endpoints, endpoint(json!({"nmae": 1, "zzz": {}})), 201).answers("x-outrider-ignored-fields", Some("nmae,zzz")),
            row("POST", endpoints, endpoint(json!({"nmae": 1})), 400)
                .with("prefer", "handling=strict").says("unknown fields: nmae").code("unknown_fields"),
            row("POST", endpoints, endpoint(json!({"name": "m"})), 201)
                .with("prefer", "handling=strict").answers("x-outrider-ignored-fields", None),
            row("POST", endpoints, endpoint(names), 400).says("an endpoint with that name already exists"),
            row("POST", endpoints, many, 400)
                .says("body has more than 64 fields that are unknown or of the wrong type").code("bad_json"),
            // All wrong fields at once.
            row("POST", endpoints, json!({"url": "ftp://x", "http_timeout": 121, "secret": "s".repeat(1025)}), 400)
                .says("..`name`: is missing; `url`: ").code("invalid_fields"),
            row("POST", endpoints, json!({"name": "x", "url": "https://a.example", "http_timeout": 121, "slack_webhook_url": "https://s.example/{t}"}), 400)
                .says("`slack_webhook_url`: must be one URL, no template; `http_timeout`: must be from 1 to 120 seconds"),
            // Which revision it is.
            row("DELETE", "/api/v1/projects/{in}", Value::Null, 200)
                .answers("x-outrider-config-revision", Some("5")).answers("x-outrider-config-pending", None),
            // Events belong elsewhere.
            row("POST", "/api/v1/projects/{out}/events", json!({}), 421)
                .says("events are taken at https://hooks.example/api/v1/projects/{out}/events").code("misdirected"),
            row("POST", "/api/v1/projects/{out}/events/fanout/", json!({}), 421)
                .says("events are taken at https://hooks.example/api/v1/projects/{out}/events/fanout"),
            row("POST", "/api/v1/projects/{out}/events/broadcast", json!({}), 421),
            row("POST", "/api/v1/projects/{out}/events/dynamic", json!({}), 421),
            row("POST", "/api/v1/projects/{out}/events/batch", json!({}), 421),
        ])
        .await;
    let head = fixture
        .send(row("HEAD", "/api/v1/projects", Value::Null, 200).request(&fixture))
        .await;
    assert!(head.bytes.is_empty());
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_whether_it_says_so_or_not() {
    let mut fixture = Fixture::with_projects().await;
    let path = "/api/v1/projects/{out}/endpoints";
    let large = json!({"name": "x".repeat(1024 * 1024)});
    fixture
        .run(vec![
            row("POST", path, large, 413)
                .code("body_too_large")
                .says("..at most 1048576 bytes..")
                .answers("connection", Some("close")),
            row("POST", path, json!({}), 413)
                .with("content-length", "1048577")
                .code("body_too_large"),
        ])
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let fixture = Fixture::new();
    let request = Request::post("/api/v1/projects")
        .header("authorization", format!("Bearer {ADMIN}"))
        .body(Body::new(Never))
        .unwrap();
    let got = fixture.send(request).await;
    assert_eq!(
        (got.status.as_u16(), got.header("x-outrider-error")),
        (408, Some("body_timeout"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_project_with_many_calls_keeps_nobody_else_waiting() {
    let fixture = Fixture::with_projects().await;
    let never = || {
        let key = &fixture.names["out-key"];
        let request = Request::post(fixture.filled("/api/v1/projects/{out}/endpoints"))
            .header("authorization", format!("Bearer {key}"))
            .body(Body::new(Never))
            .unwrap();
        tokio::spawn(fixture.router.clone().oneshot(request))
    };
    let calls: Vec<_> = (0..4).map(|_| never()).collect();
    let shortly = std::time::Duration::from_secs(1);
    tokio::time::sleep(shortly).await; // they wait for their bodies now
    let own = |path: &str, key: &'static str| {
        let request = get(path, 200).by(key).request(&fixture);
        tokio::time::timeout(shortly, fixture.send(request))
    };
    assert!(own("/api/v1/projects/{out}", "{out-key}").await.is_err());
    assert!(own("/api/v1/projects", "{out-key}").await.is_err());
    assert!(own("/api/v1/projects/{in}", "{in-key}").await.is_ok());
    assert!(own("/api/v1/projects", "{admin}").await.is_ok());
    calls[0].abort();
    assert!(own("/api/v1/projects/{out}", "{out-key}").await.is_ok());
}

/// A body that never says anything.
struct Never;

impl axum::body::HttpBody for Never {
    type Data = bytes::Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<bytes::Bytes>, std::io::Error>>> {
        std::task::Poll::Pending
    }
}
