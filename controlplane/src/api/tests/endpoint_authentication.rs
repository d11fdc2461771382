//! Section 3.2, `authentication`: what replies hide, and what a change keeps.

use super::*;

const ALL: &str = "/api/v1/projects/{out}/endpoints";
const ONE: &str = "/api/v1/projects/{out}/endpoints/{e}";

fn body(more: Value) -> Value {
    let mut body = json!({"name": "e", "url": "https://a.example/hook"});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

fn basic(password: &str) -> Value {
    let basic = json!({"username": "u", "password": password});
    body(
        json!({"authentication": {"type": "basic_auth", "basic_auth": basic, "api_key": null, "oauth2": null}}),
    )
}

fn key(value: &str) -> Value {
    let key = json!({"header_name": "X-Key", "header_value": value});
    body(json!({"authentication": {"type": "api_key", "api_key": key}}))
}

#[tokio::test]
async fn a_password_is_hidden_and_kept_when_it_comes_back_hidden() {
    let mut fixture = Fixture::with_projects().await;
    let hidden = json!({"authentication": {"type": "basic_auth", "basic_auth": {"username": "u", "password": "[REDACTED]"}}});
    let shown_key = json!({"authentication": {"type": "api_key", "api_key": {"header_name": "X-Key", "header_value": "v"}}});
    fixture
        .run(vec![
            // There is nothing yet that it could stand for.
            row("POST", ALL, basic("[REDACTED]"), 400)
                .says("`authentication.basic_auth.password`: is what replies show.."),
            row(
                "POST",
                ALL,
                body(json!({"authentication": {"type": "basic_auth"}})),
                400,
            )
            .says("`authentication.basic_auth`: is missing"),
            row(
                "POST",
                ALL,
                body(json!({"authentication": {"type": "magic"}})),
                400,
            )
            .says("`authentication.type`: must be.."),
            row("POST", ALL, basic("hunter2"), 201)
                .saves("e", "/uid")
                .shows(hidden.clone()),
            get(ONE, 200).shows(hidden.clone()),
            row("PUT", ONE, basic("[REDACTED]"), 202).shows(hidden.clone()),
            // Not given: it stays.
            row("PUT", ONE, body(json!({})), 202).shows(hidden.clone()),
        ])
        .await;
    assert_eq!(in_force(&fixture), Some("authorization".to_owned()));
    fixture
        .run(vec![
            // The old type has no secret that the new one could keep.
            row("PUT", ONE, key("[REDACTED]"), 400)
                .says("`authentication.api_key.header_value`: is what replies show.."),
            row("PUT", ONE, key("v"), 202).shows(shown_key.clone()),
            row("PUT", ONE, key("[REDACTED]"), 202).shows(shown_key),
            row(
                "PUT",
                ONE,
                body(json!({"authentication": {"type": ""}})),
                202,
            )
            .shows(json!({"authentication": null})),
        ])
        .await;
    assert_eq!(in_force(&fixture), None);
}

#[tokio::test]
async fn a_header_is_the_projects_or_the_credentials() {
    let mut fixture = Fixture::with_projects().await;
    let project = "/api/v1/projects/{out}";
    let config = |header: &str| json!({"name": "out", "config": {"signature": {"header": header, "versions": [{"hash": "SHA256", "encoding": "hex"}]}}});
    fixture
        .run(vec![
            row("PUT", project, config("Authorization"), 202),
            row("POST", ALL, basic("p"), 400)
                .says("`authentication`: header `authorization` has a meaning of its own and cannot carry this"),
            row("POST", ALL, key("v"), 201),
            row("PUT", project, config("X-Key"), 400),
            row("PUT", project, json!({"name": "out", "config": {"request_id_header": "X-Key"}}), 400),
            row("PUT", project, config("X-Other"), 202),
        ])
        .await;
}

#[tokio::test]
async fn of_a_client_of_a_token_endpoint_nothing_secret_is_shown_and_all_is_kept() {
    let mut fixture = Fixture::with_projects().await;
    let client = |more: Value| {
        let mut client = json!({"url": "https://login.example/token", "client_id": "me",
            "authentication_type": "shared_secret", "client_secret": "hunter2"});
        client
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body(json!({"authentication": {"type": "oauth2", "oauth2": client}}))
    };
    // The key of RFC 8037, appendix A.1.
    let key = |d: &str, kid: &str| json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "d": d, "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    let assertion = |key: Value| {
        client(
            json!({"authentication_type": "client_assertion", "client_secret": null, "signing_key": key}),
        )
    };
    let d = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
    let shown = |client: Value| json!({"authentication": {"type": "oauth2", "oauth2": client}});
    fixture
        .run(vec![
            row("POST", ALL, client(json!({"client_secret": "[REDACTED]"})), 400)
                .says("`authentication.oauth2.client_secret`: is what replies show.."),
            row("POST", ALL, client(json!({"url": "http://169.254.169.254/"})), 400)
                .says("`authentication.oauth2.url`: 169.254.169.254 is an internal.."),
            row("POST", ALL, client(json!({"scope": "read"})), 201).saves("e", "/uid")
                .shows(shown(json!({"url": "https://login.example/token", "client_id": "me", "scope": "read", "client_secret": "[REDACTED]"}))),
            row("PUT", ONE, client(json!({"client_secret": "[REDACTED]", "scope": "write"})), 202)
                .shows(shown(json!({"scope": "write", "client_secret": "[REDACTED]"}))),
            row("PUT", ONE, client(json!({"client_secret": "[REDACTED]", "url": "http://127.0.0.1/"})), 400)
                .says("`authentication.oauth2.url`: .."),
            row("PUT", ONE, assertion(key("[REDACTED]", "1")), 400).says("`authentication.oauth2.signing_key`: has what replies show.."),
            row("PUT", ONE, assertion(key("AAAA", "1")), 400).says("`authentication.oauth2.signing_key`: has a `d` that is not.."),
            row("PUT", ONE, assertion(key(d, "1")), 202).shows(shown(json!({"signing_key": {"kid": "1", "d": "[REDACTED]"}}))),
            row("PUT", ONE, assertion(key("[REDACTED]", "2")), 202).shows(shown(json!({"signing_key": {"kid": "2", "d": "[REDACTED]"}}))),
            get(ONE, 200).shows(shown(json!({"signing_key": {"kid": "2", "d": "[REDACTED]"}}))),
        ])
        .await;
    assert_eq!(in_force(&fixture), Some("authorization".to_owned()));
}

/// The header that the configuration in force sets for the endpoint.
fn in_force(fixture: &Fixture) -> Option<String> {
    let snapshot = fixture.control.journal().snapshot();
    let (project, endpoint) = (&fixture.names["out"], &fixture.names["e"]);
    let table = snapshot.project(project.parse().unwrap()).unwrap();
    let endpoint = table.endpoint(endpoint.parse().unwrap()).unwrap();
    let header = endpoint.authentication()?.header();
    Some(header.to_string())
}
