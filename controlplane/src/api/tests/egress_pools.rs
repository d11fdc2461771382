//! Pools of source addresses: native routes, and who names a pool.

use super::*;

const ALL: &str = "/api/v1/egress-pools";
const EU: &str = "/api/v1/egress-pools/{eu}";
const ACME: &str = "/api/v1/egress-pools/{acme}";
const OUT: &str = "/api/v1/projects/{out}";
const ENDPOINTS: &str = "/api/v1/projects/{out}/endpoints";
const ENDPOINT: &str = "/api/v1/projects/{out}/endpoints/{e}";

fn pool(name: &str, address: &str) -> Value {
    json!({"name": name, "addresses": [{"address": address}]})
}

fn dedicated(name: &str, address: &str, projects: &[&str]) -> Value {
    json!({"name": name, "mode": "dedicated", "projects": projects, "addresses": [{"address": address}]})
}

fn endpoint(pool: &str) -> Value {
    json!({"name": "e", "url": "https://a.example/", "egress_pool": pool})
}

/// With the pools `eu`, and `acme` of the project `out`.
async fn with_pools() -> Fixture {
    let mut fixture = Fixture::with_projects().await;
    fixture
        .run(vec![
            row("POST", ALL, pool("eu", "192.0.2.1"), 201).saves("eu", "/uid"),
            row("POST", ALL, dedicated("acme", "192.0.2.2", &["{out}"]), 201).saves("acme", "/uid"),
        ])
        .await;
    fixture
}

#[tokio::test]
async fn only_the_instance_admin_sees_and_changes_pools() {
    let mut fixture = with_pools().await;
    let mut rows = Vec::new();
    for (method, path) in [
        ("GET", ALL),
        ("POST", ALL),
        ("GET", EU),
        ("PUT", EU),
        ("DELETE", EU),
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
    rows.push(get(EU, 200));
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
                    .says("egress pool not found")
                    .code("not_found"),
            );
        }
    }
    rows.push(row("PATCH", EU, json!({}), 405).code("method_not_allowed"));
    // And a pool is no project.
    rows.push(get("/api/v1/projects/{eu}", 404).says("project not found"));
    fixture.run(rows).await;
}

#[tokio::test]
async fn a_bad_pool_is_refused_with_its_field() {
    let mut fixture = with_pools().await;
    let with = |field: &str, value: Value| {
        let mut json = pool("us", "192.0.2.9");
        json[field] = value;
        json
    };
    let bad = |json: Value, message: &'static str| {
        row("POST", ALL, json, 400)
            .code("invalid_fields")
            .says(message)
    };
    fixture
        .run(vec![
            bad(json!({}), "`name`: is missing; `addresses`: is missing"),
            bad(
                with("addresses", json!([{"address": "192.0.2.2"}])),
                "`addresses[0].address`: 192.0.2.2 is in the egress pool `acme` already",
            ),
            bad(with("fallback", json!("ap")), "`fallback`: there is no egress pool `ap`"),
            bad(with("fallback", json!("us")), "`fallback`: a pool cannot be its own fallback"),
            bad(
                with("fallback", json!("acme")),
                "`fallback`: the egress pool `acme` is dedicated and not for everybody..",
            ),
            bad(
                dedicated("us", "192.0.2.9", &["{out}", "01JD4N3T8Q2W5X6Y7Z8A9B0C1D"]),
                "`projects[1]`: there is no project 01JD4N3T8Q2W5X6Y7Z8A9B0C1D",
            ),
            row("POST", ALL, pool("eu", "192.0.2.9"), 400)
                .code("already_exists")
                .says("an egress pool with the name `eu` already exists"),
            row("POST", ALL, json!({"name": 1, "addresses": {}}), 400)
                .code("bad_json")
                .says("..for field \"addresses\"; body contains incorrect JSON type for field \"name\".."),
            row("POST", ALL, with("adresses", json!([])), 201)
                .answers("x-outrider-ignored-fields", Some("adresses"))
                .saves("us", "/uid"),
            row("PUT", "/api/v1/egress-pools/{us}", json!({"name": "eu"}), 400)
                .code("already_exists"),
            row("PUT", "/api/v1/egress-pools/{us}", json!({"addresses": []}), 400)
                .says("`addresses`: is missing"),
            row("PUT", "/api/v1/egress-pools/{us}", json!({"projects": ["{out}"]}), 400)
                .says("`projects`: a shared pool is for all projects.."),
        ])
        .await;
    assert_eq!(fixture.control.journal().snapshot().counts().quarantined, 0);
}

#[tokio::test]
async fn what_is_given_of_a_pool_changes() {
    let mut fixture = with_pools().await;
    let address = |address: &str, state: &str, from: Option<&str>, until: Option<&str>| json!({"address": address, "state": state, "effective_at": from, "retired_at": until});
    let at = Some("2026-01-08T00:00:00Z");
    fixture
        .run(vec![
            get(EU, 200).says("Egress pool fetched successfully").shows(json!({
                "uid": "{eu}", "name": "eu", "mode": "shared", "selection": "least_connections",
                "addresses": [address("192.0.2.1", "active", None, None)], "fallback": null,
                "max_connections": null, "region": "", "projects": [],
                "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z", "deleted_at": null,
            })),
            get(ALL, 200)
                .says("Egress pools fetched successfully")
                .shows(json!([{"name": "acme", "mode": "dedicated", "projects": ["{out}"]}, {"name": "eu"}])),
            row("PUT", ACME, json!({"fallback": "eu", "max_connections": 9, "region": "eu-1", "selection": "sticky"}), 202)
                .says("Egress pool updated successfully")
                .answers("x-outrider-config-revision", Some("5"))
                .shows(json!({"uid": "{acme}", "fallback": "eu", "max_connections": 9, "region": "eu-1", "selection": "sticky"})),
            row("PUT", ACME, json!({"addresses": [{"address": "192.0.2.2", "state": "retired", "retired_at": at}, {"address": "2001:db8::1", "state": "warming", "effective_at": at}]}), 202)
                .shows(json!({"name": "acme", "fallback": "eu", "addresses": [
                    address("192.0.2.2", "retired", None, at), address("2001:db8::1", "warming", at, None),
                ]})),
            row("PUT", ACME, json!({"fallback": "", "max_connections": 0, "region": ""}), 202)
                .shows(json!({"fallback": null, "max_connections": null, "region": "", "mode": "dedicated"})),
            row("PUT", ACME, json!({"mode": "shared"}), 202).shows(json!({"mode": "shared", "projects": []})),
            row("DELETE", ACME, Value::Null, 200).says("Egress pool deleted successfully"),
            get(ACME, 404),
            get(ALL, 200).shows(json!([{"name": "eu"}])),
            // A name and an address are free then.
            row("POST", ALL, pool("acme", "2001:db8::1"), 201),
        ])
        .await;
}

#[tokio::test]
async fn projects_and_endpoints_name_pools_that_are_for_them() {
    let mut fixture = with_pools().await;
    let none =
        |name: &str| format!("`egress_pool`: there is no egress pool `{name}` for this project");
    let refused: [String; 2] = [none("acme"), none("us")];
    let [acme, us]: [&'static str; 2] = refused.map(|text| &*text.leak());
    fixture
        .run(vec![
            row(
                "POST",
                "/api/v1/projects",
                json!({"name": "n", "type": "outgoing", "egress_pool": "acme"}),
                400,
            )
            .code("invalid_fields")
            .says(acme),
            row(
                "POST",
                "/api/v1/projects",
                json!({"name": "n", "type": "outgoing", "egress_pool": "eu"}),
                201,
            )
            .shows(json!({"project": {"egress_pool": "eu"}})),
            row(
                "PUT",
                "/api/v1/projects/{in}",
                json!({"name": "in", "egress_pool": "acme"}),
                400,
            )
            .by("{in-key}")
            .says(acme),
            row("PUT", OUT, json!({"name": "out", "egress_pool": "us"}), 400)
                .by("{out-key}")
                .says(us),
            row("PUT", OUT, json!({"name": "out", "egress_pool": "A"}), 400)
                .says("`egress_pool`: must be 1 to 63 of.."),
            row(
                "PUT",
                OUT,
                json!({"name": "out", "egress_pool": "acme"}),
                202,
            )
            .by("{out-key}")
            .shows(json!({"egress_pool": "acme"})),
            row("PUT", OUT, json!({"name": "out"}), 202).shows(json!({"egress_pool": "acme"})),
            row("POST", ENDPOINTS, endpoint("us"), 400)
                .by("{out-key}")
                .says(us),
            row(
                "POST",
                "/api/v1/projects/{in}/endpoints",
                endpoint("acme"),
                400,
            )
            .says(acme),
            row("POST", ENDPOINTS, endpoint("eu"), 201)
                .by("{out-key}")
                .shows(json!({"egress_pool": "eu"}))
                .saves("e", "/uid"),
            row("PUT", ENDPOINT, endpoint("us"), 400).says(us),
            row(
                "PUT",
                ENDPOINT,
                json!({"name": "e", "url": "https://a.example/"}),
                202,
            )
            .shows(json!({"egress_pool": "eu"})),
        ])
        .await;
    fixture
        .run(vec![
            row("PUT", ENDPOINT, endpoint(""), 202),
            row("PUT", OUT, json!({"name": "out", "egress_pool": ""}), 202),
        ])
        .await;
    for path in [ENDPOINT, OUT] {
        let got = fixture.send(get(path, 200).request(&fixture)).await;
        assert!(
            got.json["data"].get("egress_pool").is_none(),
            "Convoy's clients do not know it"
        );
    }
}

#[tokio::test]
async fn a_pool_stays_while_somebody_names_it() {
    let mut fixture = with_pools().await;
    fixture
        .run(vec![
            row("PUT", OUT, json!({"name": "out", "egress_pool": "acme"}), 202),
            row("POST", ENDPOINTS, endpoint("eu"), 201).saves("e", "/uid"),
            row("POST", ALL, json!({"name": "us", "addresses": [{"address": "192.0.2.3"}], "fallback": "eu"}), 201)
                .saves("us", "/uid"),
            row("DELETE", EU, Value::Null, 409).code("in_use").says(
                "the egress pool `eu` is in use by endpoint `e` of project `out`, egress pool `us`: let them name another one first",
            ),
            row("DELETE", ACME, Value::Null, 409).code("in_use").says("..is in use by project `out`: let.."),
            row("PUT", EU, json!({"name": "europe"}), 409).code("in_use"),
            row("PUT", EU, json!({"mode": "dedicated", "projects": ["{in}"]}), 409).code("in_use"),
            row("PUT", ACME, json!({"projects": ["{in}"]}), 409).code("in_use"),
            // What takes it from nobody is fine.
            row("PUT", ACME, json!({"projects": ["{in}", "{out}"]}), 202),
            row("PUT", EU, json!({"region": "eu-1"}), 202),
            row("PUT", "/api/v1/egress-pools/{us}", json!({"fallback": ""}), 202),
            row("PUT", ENDPOINT, endpoint(""), 202),
            row("PUT", EU, json!({"name": "europe"}), 202),
            row("DELETE", EU, Value::Null, 200),
            // A project goes, and its pool has no user left; that it lists the project is no harm.
            row("DELETE", OUT, Value::Null, 200),
            row("PUT", ACME, json!({"region": "x"}), 202),
            row("DELETE", ACME, Value::Null, 200),
        ])
        .await;
}

#[tokio::test]
async fn many_users_are_not_all_named_and_a_pool_that_has_gone_stops_nothing_else() {
    let mut fixture = Fixture::new();
    let text = "
egress_pools: [{name: eu, addresses: [{address: 192.0.2.1}]}]
projects: [{name: a, type: outgoing, egress_pool: eu}]
";
    fixture.load(text).await;
    let mut rows = Vec::new();
    for n in 0..6 {
        let json = json!({"name": format!("p{n}"), "type": "outgoing", "egress_pool": "eu"});
        rows.push(row("POST", "/api/v1/projects", json, 201).saves("p", "/project/uid"));
    }
    rows.push(get(ALL, 200).saves("eu", "/0/uid"));
    rows.push(row("DELETE", EU, Value::Null, 409).code("managed_by_file"));
    rows.push(row("PUT", EU, json!({"region": "x"}), 409).code("managed_by_file"));
    let fallback = json!({"name": "us", "addresses": [{"address": "192.0.2.2"}], "fallback": "eu"});
    rows.push(row("POST", ALL, fallback, 201).saves("us", "/uid"));
    fixture.run(rows).await;
    let writing = fixture.control.journal().snapshot();
    let eu = writing.egress_pool("eu").unwrap();
    assert_eq!(writing.who_misses((eu.id(), "eu"), None).count(), 8);
    // The file takes it away: who named it can still be changed, and not to another missing one.
    fixture.load("egress_pools: []\nprojects: []").await;
    fixture
        .run(vec![
            row(
                "PUT",
                "/api/v1/projects/{p}",
                json!({"name": "p5", "logo_url": "https://a.example/"}),
                202,
            )
            .shows(json!({"egress_pool": "eu"})),
            row(
                "PUT",
                "/api/v1/projects/{p}",
                json!({"name": "p5", "egress_pool": "us2"}),
                400,
            ),
            // It comes back by another hand.
            row("POST", ALL, pool("eu", "192.0.2.1"), 201).saves("eu", "/uid"),
            row("DELETE", EU, Value::Null, 409)
                .says("..` and others: let them name another one first.."),
        ])
        .await;
}
