//! Trying a client of a token endpoint out: it is asked as for a delivery, from where deliveries
//! go, and nothing secret comes back.

use serde_json::{Value, json};

use super::harness::{
    Api, DEADLINE, Endpoint, Fault, OUTGOING, Planes, Receiver, Resources, Setup, TokenEndpoint,
};

const PATH: &str = "/endpoints/oauth2/test";
const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.e30.hunter3";

fn client(url: &str) -> Value {
    json!({"oauth2": {
        "url": url, "client_id": "me", "authentication_type": "shared_secret",
        "client_secret": "hunter2", "scope": "hooks",
    }})
}

fn with(url: &str, field: &str, value: Value) -> Value {
    let mut client = client(url);
    client["oauth2"][field] = value;
    client
}

#[tokio::test]
async fn what_no_endpoint_could_have_is_refused_by_name_and_asks_nobody() {
    let endpoint = TokenEndpoint::start(|_| (200, json!({"access_token": TOKEN}))).await;
    let outrider = Setup::through_api().start().await;
    let mut admin = outrider.admin_api();
    let mut project = admin.make_project("shop", "outgoing", &json!({})).await;
    let url = endpoint.url();
    for (body, says) in [
        (json!({}), "`oauth2`: is missing"),
        (json!({"oauth2": null}), "`oauth2`: is missing"),
        (
            json!({"oauth2": {}}),
            "`oauth2.url`: is missing; `oauth2.client_id`: is missing; `oauth2.authentication_type`: is missing",
        ),
        (
            json!({"oauth2": 5}),
            "body contains incorrect JSON type for field \"oauth2\"",
        ),
        (client("ftp://a.example/"), "`oauth2.url`: "),
        (
            client("http://169.254.169.254/latest/meta-data/"),
            "`oauth2.url`: 169.254.169.254 is an internal",
        ),
        (client("http://10.0.0.1/token"), "`oauth2.url`: 10.0.0.1"),
        (
            with(&url, "client_secret", json!("[REDACTED]")),
            "`oauth2.client_secret`: is what replies show",
        ),
        (
            with(&url, "authentication_type", json!("magic")),
            "`oauth2.authentication_type`: must be `shared_secret`",
        ),
        (
            with(&url, "scope", json!("x".repeat(2049))),
            "`oauth2.scope`: must be from 0 to 2048 bytes",
        ),
    ] {
        let reply = project.post(PATH, &body).await;
        let said = reply.refusal(400);
        assert!(said.starts_with(says), "{said}");
        assert!(!reply.text().contains("hunter2"), "{said}");
    }
    let https = json!({"name": "strict", "config": {"ssl": {"enforce_secure_endpoints": true}}});
    let path = format!("/api/v1/projects/{}", project.project());
    admin.put(&path, &https).await.data(202);
    let refused = project.post(PATH, &client(&url)).await;
    assert_eq!(
        refused.refusal(400),
        "`oauth2.url`: must be https: the project enforces secure endpoints"
    );
    // Nor does it help to be somebody else.
    let mut other = project.with_key("nobody's");
    assert_eq!(other.post(PATH, &client(&url)).await.status, 401);
    assert_eq!(endpoint.asked().len(), 0);
}

#[tokio::test]
async fn a_name_that_leads_inside_is_asked_nothing() {
    let endpoint = TokenEndpoint::start(|_| (200, json!({"access_token": TOKEN}))).await;
    let inside = endpoint.url().replace("http://", "").replace("/token", "");
    let receiver = Receiver::start().await;
    let target = Endpoint::new(1, &receiver.url("/"), "secret");
    let outrider = Setup::guarded(&Resources::outgoing(&[target]))
        .flag("--unsafe-resolve", &format!("login.example.com={inside}"))
        .start()
        .await;
    let mut project = Api::of_project(outrider.api(), OUTGOING, &outrider.admin_key());
    let body = client("http://login.example.com/token");
    let said = project.post(PATH, &body).await.data(200);
    assert_eq!(said["success"], false, "{said}");
    let error = said["error"].as_str().unwrap();
    assert!(error.contains("egress_denied"), "{error}");
    assert_eq!(said.get("access_token"), None);
    assert_eq!(endpoint.asked().len(), 0);
}

#[tokio::test]
async fn a_token_is_fetched_anew_each_time_and_only_its_begin_is_shown() {
    let endpoint = TokenEndpoint::start(|_| {
        let answer = json!({"access_token": TOKEN, "token_type": "bearer", "expires_in": 3600});
        (200, answer)
    })
    .await;
    let outrider = Setup::through_api().start().await;
    let mut admin = outrider.admin_api();
    let mut project = admin.make_project("shop", "outgoing", &json!({})).await;
    for number in 1..=2 {
        let reply = project.post(PATH, &client(&endpoint.url())).await;
        let said = reply.data(200);
        for (field, value) in [
            ("success", json!(true)),
            ("access_token", json!("eyJh***")),
            ("token_type", json!("Bearer")),
        ] {
            assert_eq!(said[field], value, "{said}");
        }
        let ends = said["expires_at"].as_str().unwrap();
        assert!(ends.ends_with('Z') && ends > "2026", "{ends}");
        for secret in ["hunter2", "hunter3"] {
            assert!(!reply.text().contains(secret), "{said}");
            assert!(!outrider.stderr().contains(secret));
        }
        let asked = endpoint.asked();
        assert_eq!(asked.len(), number);
        let form = &asked[number - 1].form;
        assert_eq!(
            [
                &*form["client_id"],
                &*form["client_secret"],
                &*form["scope"]
            ],
            ["me", "hunter2", "hooks"]
        );
    }
    // A field that nobody knows is named, and a strict client hears of it.
    let odd = with(&endpoint.url(), "colour", json!("blue"));
    let reply = project.post(PATH, &odd).await;
    assert_eq!(reply.data(200)["success"], true);
    assert_eq!(reply.headers["x-outrider-ignored-fields"], "oauth2.colour");
}

#[tokio::test]
async fn why_there_is_no_token_is_said_without_what_was_answered() {
    let endpoint = TokenEndpoint::start(|number| match number {
        1 => (
            401,
            json!({"error": "invalid_client", "error_description": "hunter4 is wrong"}),
        ),
        2 => (403, json!({"error": "hunter4"})),
        3 => (200, json!({"token": "hunter4"})),
        _ => (302, json!({"access_token": "hunter4"})),
    })
    .await;
    let outrider = Setup::through_api().start().await;
    let mut admin = outrider.admin_api();
    let mut project = admin.make_project("shop", "outgoing", &json!({})).await;
    for error in [
        "token endpoint: answered 401 invalid_client",
        "token endpoint: answered 403",
        "token endpoint: the answer has no token where one was expected",
        "token endpoint: answered 302",
    ] {
        let reply = project.post(PATH, &client(&endpoint.url())).await;
        let said = reply.data(200);
        assert_eq!(
            said,
            json!({"success": false, "error": error, "message": "no token could be fetched"})
        );
    }
}

#[tokio::test]
async fn who_tries_what_does_not_answer_keeps_nobody_else_waiting() {
    let silent = Receiver::with(|_| Fault::Stall).await;
    let endpoint = TokenEndpoint::start(|_| (200, json!({"access_token": TOKEN}))).await;
    let outrider = Setup::through_api().start().await;
    let mut admin = outrider.admin_api();
    let mut project = admin.make_project("shop", "outgoing", &json!({})).await;
    let mut other = admin.make_project("other", "outgoing", &json!({})).await;
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let (mut again, body) = (project.again(), client(&silent.url("/token")));
        waiting.spawn(async move { again.post(PATH, &body).await });
    }
    tokio::select! {
        _ = silent.wait_for(2, DEADLINE) => {}
        said = waiting.join_next() => panic!("nobody was asked: {}", said.unwrap().unwrap().text()),
    }
    let refused = project.post(PATH, &client(&endpoint.url())).await;
    assert_eq!(
        refused.refusal(503),
        "too many token endpoints are being tried out, try again"
    );
    assert_eq!(refused.code(), "commands_busy");
    let said = other.post(PATH, &client(&endpoint.url())).await.data(200);
    assert_eq!(said["success"], true);
    // Those end by themselves, and leave room.
    for said in waiting.join_all().await {
        let said = said.data(200);
        assert_eq!(said["success"], false, "{said}");
    }
    let said = project.post(PATH, &client(&endpoint.url())).await.data(200);
    assert_eq!(said["success"], true);
}

#[tokio::test]
async fn without_a_data_plane_nobody_asks() {
    let endpoint = TokenEndpoint::start(|_| (200, json!({"access_token": TOKEN}))).await;
    let mut planes = Planes::new(None);
    planes.control.start().await;
    let made = json!({"name": "shop", "type": "outgoing", "config": {}});
    let mut admin = planes.control.admin();
    let made = admin.post("/api/v1/projects", &made).await.data(201);
    let path = format!(
        "/api/v1/projects/{}{PATH}",
        made["project"]["uid"].as_str().unwrap()
    );
    let refused = admin.post(&path, &client(&endpoint.url())).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(refused.code(), "dataplane_not_connected");
    assert_eq!(endpoint.asked().len(), 0);
}
