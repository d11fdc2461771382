//! Policies that close destinations: native routes, and what is refused when it is saved.

use super::*;

const ALL: &str = "/api/v1/egress-policies";
const WEB: &str = "/api/v1/egress-policies/{web}";
const ENDPOINTS: &str = "/api/v1/projects/{out}/endpoints";

/// With the policy `web`: of all projects, port 443 alone.
async fn with_policy() -> Fixture {
    let mut fixture = Fixture::with_projects().await;
    let web = json!({"name": "web", "ports": [443]});
    fixture
        .run(vec![row("POST", ALL, web, 201).saves("web", "/uid")])
        .await;
    fixture
}

#[tokio::test]
async fn only_the_instance_admin_sees_and_changes_policies() {
    let mut fixture = with_policy().await;
    let mut rows = Vec::new();
    for (method, path) in [
        ("GET", ALL),
        ("POST", ALL),
        ("GET", WEB),
        ("PUT", WEB),
        ("DELETE", WEB),
    ] {
        let body = if method == "GET" {
            Value::Null
        } else {
            json!({})
        };
        rows.push(
            row(method, path, body.clone(), 403)
                .by("{out-key}")
                .code("forbidden"),
        );
        rows.push(
            row(method, path, body, 401)
                .by("x.y")
                .code("authorization_failed"),
        );
    }
    for id in ["x", "{out}", "01JD4N3T8Q2W5X6Y7Z8A9B0C1D", "%ff"] {
        let path = format!("{ALL}/{id}");
        for method in ["GET", "PUT", "DELETE"] {
            let body = if method == "PUT" {
                json!({})
            } else {
                Value::Null
            };
            rows.push(
                row(method, &path, body, 404)
                    .says("egress policy not found")
                    .code("not_found"),
            );
        }
    }
    rows.push(row("PATCH", WEB, json!({}), 405).code("method_not_allowed"));
    rows.push(get("/api/v1/egress-pools/{web}", 404).says("egress pool not found"));
    rows.push(get(WEB, 200));
    fixture.run(rows).await;
}

#[tokio::test]
async fn a_bad_policy_is_refused_with_its_field() {
    let mut fixture = with_policy().await;
    let bad = |json: Value, message: &'static str| {
        row("POST", ALL, json, 400)
            .code("invalid_fields")
            .says(message)
    };
    let with = |field: &str, value: Value| {
        let mut json = json!({"name": "x", "deny": ["example.com"]});
        json[field] = value;
        json
    };
    fixture
        .run(vec![
            bad(json!({}), "`name`: is missing; a policy closes something.."),
            bad(with("deny", json!([])), "`deny`: is empty.."),
            bad(
                with("deny", json!(["a.example", "*.a"])),
                "`deny[1]`: must be a range..",
            ),
            bad(
                with("ports", json!([0])),
                "`ports[0]`: must be from 1 to 65535..",
            ),
            bad(
                with("ports", json!(vec![443; 1001])),
                "`ports`: must be from 1 to 1000 ports",
            ),
            bad(
                with("projects", json!(["{out}", "01JD4N3T8Q2W5X6Y7Z8A9B0C1D"])),
                "`projects[1]`: there is no project 01JD4N3T8Q2W5X6Y7Z8A9B0C1D",
            ),
            row("POST", ALL, json!({"name": "web", "ports": [80]}), 400)
                .code("already_exists")
                .says("an egress policy with the name `web` already exists"),
            row("POST", ALL, json!({"name": 1, "deny": "example.com"}), 400).code("bad_json"),
            row("POST", ALL, with("denny", json!(["b.example"])), 201)
                .answers("x-outrider-ignored-fields", Some("denny"))
                .saves("x", "/uid"),
            row(
                "PUT",
                "/api/v1/egress-policies/{x}",
                json!({"name": "web"}),
                400,
            )
            .code("already_exists"),
            row(
                "PUT",
                "/api/v1/egress-policies/{x}",
                json!({"deny": []}),
                400,
            )
            .says("a policy closes something.."),
        ])
        .await;
    let mut rows = Vec::new();
    for n in 2..100 {
        rows.push(row("POST", ALL, with("name", json!(format!("x{n}"))), 201));
    }
    rows.push(bad(
        with("name", json!("last")),
        "`name`: an installation has at most 100 egress policies",
    ));
    fixture.run(rows).await;
    assert_eq!(fixture.control.journal().snapshot().counts().quarantined, 0);
}

#[tokio::test]
async fn what_is_given_of_a_policy_changes() {
    let mut fixture = with_policy().await;
    fixture
        .run(vec![
            get(WEB, 200).says("Egress policy fetched successfully").shows(json!({
                "uid": "{web}", "name": "web", "projects": null, "deny": null, "only": null, "ports": [443],
                "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z", "deleted_at": null,
            })),
            row("PUT", WEB, json!({"deny": [".example.com"], "projects": ["{out}"]}), 202)
                .says("Egress policy updated successfully")
                .shows(json!({"name": "web", "projects": ["{out}"], "deny": [".example.com"], "ports": [443]})),
            row("PUT", WEB, json!({"ports": [], "only": ["192.0.2.0/24", "a.example"]}), 202)
                .shows(json!({"ports": null, "only": ["192.0.2.0/24", "a.example"], "deny": [".example.com"]})),
            // What is empty could be meant as nothing or as all, and would open what is closed.
            row("PUT", WEB, json!({"only": [], "name": "net"}), 400)
                .says("`only`: is empty, which could be meant as nothing or as all: to let all be called again, make another policy without `only`, if one is needed, and delete this one"),
            row("PUT", WEB, json!({"projects": []}), 400)
                .says("`projects`: is empty, which could be meant as no project or as all: make another policy without `projects` for one of all, or delete this one"),
            row("PUT", WEB, json!({"deny": [], "name": "net"}), 202)
                .shows(json!({"name": "net", "projects": ["{out}"], "only": ["192.0.2.0/24", "a.example"], "deny": null})),
            get(ALL, 200).says("Egress policies fetched successfully").shows(json!([{"uid": "{web}", "name": "net"}])),
            row("DELETE", WEB, Value::Null, 200).says("Egress policy deleted successfully"),
            get(WEB, 404),
            row("POST", ALL, json!({"name": "net", "ports": [80]}), 201),
        ])
        .await;
}

#[tokio::test]
async fn what_a_policy_closes_is_refused_when_it_is_saved() {
    let mut fixture = with_policy().await;
    let endpoint = |url: &str| json!({"name": url, "url": url});
    let oauth2 = json!({"type": "oauth2", "oauth2": {
        "url": "https://auth.closed.example/token", "client_id": "c", "grant_type": "client_credentials",
        "authentication_type": "shared_secret", "client_secret": "s",
    }});
    let with_token = json!({"name": "t", "url": "https://a.example/", "authentication": oauth2});
    let ours =
        json!({"name": "ours", "projects": ["{out}"], "deny": ["closed.example", "1.1.1.0/24"]});
    fixture
        .run(vec![
            row("POST", ENDPOINTS, endpoint("https://closed.example/before"), 201).saves("old", "/uid"),
            row("POST", ALL, ours, 201).saves("ours", "/uid"),
            row("POST", ENDPOINTS, endpoint("http://a.example/"), 400)
                .by("{out-key}")
                .code("invalid_fields")
                .says("`url`: port 80 is closed by the egress policy `web`"),
            row("POST", ENDPOINTS, endpoint("https://x.closed.example/"), 400)
                .says("`url`: x.closed.example is closed by the egress policy `ours`"),
            row("POST", ENDPOINTS, endpoint("https://1.1.1.9/"), 400)
                .says("`url`: 1.1.1.9 is closed by the egress policy `ours`"),
            row("POST", ENDPOINTS, with_token, 400)
                .says("`authentication.oauth2.url`: auth.closed.example is closed by the egress policy `ours`"),
            row("POST", ENDPOINTS, endpoint("https://a.example/"), 201).saves("e", "/uid"),
            row("PUT", "/api/v1/projects/{out}/endpoints/{e}", endpoint("https://closed.example/"), 400)
                .says("`url`: closed.example is closed.."),
            // One that was there before can still be changed, and the policy is of one project.
            row("PUT", "/api/v1/projects/{out}/endpoints/{old}/pause", json!({}), 202),
            row("POST", "/api/v1/projects/{in}/endpoints", endpoint("https://closed.example/"), 201),
            row("DELETE", "/api/v1/egress-policies/{ours}", Value::Null, 200),
            row("POST", ENDPOINTS, endpoint("https://x.closed.example/"), 201),
        ])
        .await;
}
