//! Section 3.4, and trying filters out as in 3.3.

use super::*;

const SUBSCRIPTIONS: &str = "/api/v1/projects/{out}/subscriptions";
const ALL: &str = "/api/v1/projects/{out}/subscriptions/{b}/filters";
const ONE: &str = "/api/v1/projects/{out}/subscriptions/{b}/filters/{f}";

/// A subscription `b` for `paid` and `*` with a filter of its body, and the types of a catalogue.
async fn fixture() -> Fixture {
    let mut fixture = Fixture::with_projects().await;
    let endpoint = json!({"name": "e", "url": "https://a.example", "secret": "hunter2"});
    let subscription = json!({"name": "b", "endpoint_id": "{e}", "filter_config": {
        "event_types": ["paid", "*"], "filter": {"body": {"n": {"m": 1}}, "headers": {}},
    }});
    let named = |name: &str| json!({"name": name});
    fixture
        .run(vec![
            row("POST", "/api/v1/projects/{out}/endpoints", endpoint, 201).saves("e", "/uid"),
            row("POST", SUBSCRIPTIONS, subscription, 201)
                .shows(json!({"filter_config": {
                    "event_types": ["paid", "*"],
                    "filter": {"is_flattened": false, "body": {"n": {"m": 1}}, "headers": {}, "query": {}, "path": {}},
                }}))
                .saves("b", "/uid"),
            row("POST", "/api/v1/projects/{out}/event-types", named("sent"), 201),
            row("POST", "/api/v1/projects/{out}/event-types", named("lost"), 201),
        ])
        .await;
    fixture
}

#[tokio::test]
async fn section_3_4_filters() {
    let mut fixture = fixture().await;
    let bulk = |path: &str| format!("{ALL}/{path}");
    let none = "/api/v1/projects/{out}/subscriptions/{out}/filters";
    fixture
        .run(vec![
            // What is only listed has a filter too, with an id that stays.
            get(ALL, 200).says("Filters fetched successfully").shows(json!([
                {
                    "uid": "*", "subscription_id": "{b}", "event_type": "paid", "enabled_at": "2026-01-01T00:00:00Z",
                    "headers": {}, "body": {"n.m": 1}, "query": {}, "path": {},
                    "raw_headers": {}, "raw_body": {"n": {"m": 1}}, "raw_query": {}, "raw_path": {},
                },
                {"event_type": "*", "raw_body": {"n": {"m": 1}}},
            ])).saves("p", "/0/uid"),
            get(&bulk("{p}"), 200).says("Filter fetched successfully").shows(json!({"uid": "{p}", "event_type": "paid"})),
            get(none, 404).says("subscription not found"),
            get(&bulk("{out}"), 404).says("filter not found"),
            get(&bulk("nonsense"), 404).says("filter not found"),
            // What cannot be created.
            row("POST", ALL, json!({}), 400).says("`event_type`: is missing"),
            row("POST", ALL, json!([]), 400),
            row("POST", ALL, json!({"event_type": "unheard"}), 404).says("event type does not exist"),
            row("POST", ALL, json!({"event_type": "paid"}), 400).says("filter with this event type already exists").code("already_exists"),
            row("POST", ALL, json!({"event_type": "sent", "body": {"a": {"$foo": 1}}}), 400).code("invalid_fields").says("..`body.a.$foo`: is no operator"),
            row("POST", ALL, json!({"event_type": "sent", "body": 5}), 400).says("body contains incorrect JSON type for field \"body\""),
            row("POST", ALL, json!({"event_type": "a*b*c*d*e*f*g*h*i*"}), 400).says("..`event_type`: a pattern has at most 8 stars"),
            row("POST", none, json!({"event_type": "sent"}), 404).says("subscription not found"),
            // What can.
            row("POST", ALL, json!({"event_type": "sent", "headers": {"x-a": "1"}, "body": {"a": null}, "raw_body": {}}), 201)
                .says("Filter created successfully")
                .answers("x-outrider-ignored-fields", Some("raw_body"))
                .shows(json!({"uid": "*", "event_type": "sent", "enabled_at": "2026-01-01T00:00:00Z", "headers": {"x-a": "1"}, "body": {"a": null}, "raw_body": {"a": null}}))
                .saves("f", "/uid"),
            get(&format!("{SUBSCRIPTIONS}/{{b}}"), 200)
                .shows(json!({"filter_config": {"event_types": ["paid", "*", "sent"]}, "filters": [{"uid": "{f}", "event_type": "sent", "body": {"a": null}}]})),
            row("POST", ALL, json!({"event_type": "order.*", "enabled_at": null}), 201).shows(json!({"event_type": "order.*", "enabled_at": null})).saves("g", "/uid"),
            // Changes: what is not given stays, and a filter that was only listed is stored.
            row("PUT", ONE, json!({"body": {"a": 2}}), 200).says("Filter updated successfully")
                .shows(json!({"uid": "{f}", "event_type": "sent", "headers": {"x-a": "1"}, "body": {"a": 2}})),
            row("PUT", ONE, json!({"event_type": "paid"}), 400).says("filter with this event type already exists"),
            row("PUT", ONE, json!({"event_type": "lost", "enabled_at": null}), 200).shows(json!({"uid": "{f}", "event_type": "lost", "enabled_at": null, "body": {"a": 2}})),
            row("PUT", ONE, json!({"query": {"q": {"$in": 1}}}), 400).says("..`query.q.$in`: must be a list"),
            row("PUT", &bulk("{p}"), json!({"body": {"a": 1}, "event_type": ""}), 200).shows(json!({"uid": "{p}", "event_type": "paid", "body": {"a": 1}})),
            row("PUT", &bulk("{out}"), json!({}), 404).says("filter not found"),
            // Several at once, all or none.
            row("POST", &bulk("bulk"), json!([]), 400).says("at least one filter must be given"),
            row("POST", &bulk("bulk"), json!([{"event_type": "sent"}, {"event_type": "x*", "body": {"a": {"$gt": "x"}}}]), 400).says("..`[1].body.a.$gt`: must be a number"),
            row("POST", &bulk("bulk"), json!([{"event_type": "sent"}, {"event_type": "sent"}]), 400).code("already_exists"),
            row("POST", &bulk("bulk"), json!([{"event_type": "sent"}, {"event_type": "x*", "enabled_at": "2026-02-01T00:00:00Z"}]), 201)
                .says("Filters created successfully")
                .shows(json!([{"event_type": "sent"}, {"event_type": "x*", "enabled_at": "2026-02-01T00:00:00Z"}]))
                .saves("s", "/0/uid"),
            row("PUT", &bulk("bulk_update"), json!([{"uid": "{s}", "event_type": "sent", "body": {"z": 1}}, {"uid": "{p}", "enabled_at": null}]), 200)
                .says("Filters updated successfully")
                .shows(json!([{"uid": "{s}", "body": {"z": 1}}, {"uid": "{p}", "enabled_at": null, "body": {"a": 1}}])),
            row("POST", &bulk("bulk_update"), json!([{"uid": "{s}", "body": {"z": 2}}]), 200).shows(json!([{"uid": "{s}", "body": {"z": 2}}])),
            row("POST", &bulk("bulk_update"), json!([{"body": {"z": 2}}]), 404).says("filter not found"),
            // The subscription's own update: types that are gone take their filters along.
            row("PUT", &format!("{SUBSCRIPTIONS}/{{b}}"), json!({"name": "c"}), 202).shows(json!({"filters": [{}, {}, {}, {}, {}]})),
            row("PUT", &format!("{SUBSCRIPTIONS}/{{b}}"), json!({"filter_config": {"event_types": ["sent", "new"]}}), 202)
                .shows(json!({"filter_config": {"event_types": ["sent", "new"], "filter": {"body": {"n": {"m": 1}}}}, "filters": [{"event_type": "sent"}]})),
            get(ONE, 404).says("filter not found"),
            row("DELETE", &bulk("{s}"), Value::Null, 200).says("Filter deleted successfully").shows(Value::Null),
            row("DELETE", &bulk("{s}"), Value::Null, 404).says("filter not found"),
            get(ALL, 200).shows(json!([{"event_type": "new"}])).saves("last", "/0/uid"),
            row("DELETE", &bulk("{last}"), Value::Null, 400).code("wrong_state"),
            row("PUT", &format!("{SUBSCRIPTIONS}/{{b}}"), json!({"filter_config": {"event_types": []}}), 202).shows(json!({"filter_config": {"event_types": ["*"]}})),
        ])
        .await;
}

#[tokio::test]
async fn the_filter_of_an_event_type_is_tried_out_with_what_decides_deliveries() {
    let mut fixture = fixture().await;
    let test =
        |event_type: &str, body: Value| row("POST", &format!("{ALL}/test/{event_type}"), body, 200);
    let is = |is_match: bool| json!({"is_match": is_match});
    fixture
        .run(vec![
            test("paid", json!({"payload": {"n": {"m": 1}}})).says("Filter tested successfully").shows(is(true)),
            test("paid", json!({"payload": {"n": 1}})).shows(is(false)),
            test("other", json!({"payload": {"n": {"m": 1}}})).shows(is(true)),
            test("paid", json!({"request": {"body": {"n": {"m": 1}}}, "payload": {}})).shows(is(true)),
            test("paid", json!({})).shows(is(false)),
            row("POST", ALL, json!({"event_type": "sent", "headers": {"X-Kind": "a"}, "path": {"path": "/in"}, "query": {"q": "2"}}), 201).saves("f", "/uid"),
            test("sent", json!({"request": {"headers": {"x-kind": ["a"]}, "path": "/in", "query": {"q": ["1", "2"]}}})).shows(is(true)),
            test("sent", json!({"request": {"header": {"X-KIND": "a"}, "path": {"path": "/in"}, "query": {"q": "2"}}})).shows(is(true)),
            test("sent", json!({"request": {"header": {"X-KIND": "b"}, "path": {"path": "/in"}, "query": {"q": "2"}}})).shows(is(false)),
            row("PUT", ONE, json!({"enabled_at": null}), 200),
            // Without its own filter the type is one of all the others.
            test("sent", json!({"payload": {"n": {"m": 1}}})).shows(is(true)),
            row("POST", &format!("{ALL}/test/paid"), json!({"payloda": 1}), 200).answers("x-outrider-ignored-fields", Some("payloda")),
            row("POST", "/api/v1/projects/{out}/subscriptions/{out}/filters/test/paid", json!({}), 404).says("subscription not found"),
        ])
        .await;
}

#[tokio::test]
async fn the_tables_of_the_contract_through_test_filter_in_both_modes() {
    let mut fixture = fixture().await;
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/filters.json");
    let cases: Value = serde_json::from_str(&std::fs::read_to_string(root).unwrap()).unwrap();
    for mode in ["convoy", "strict"] {
        let config = json!({"name": "out", "config": {"filter_mode": mode}});
        let mut table = vec![
            row("PUT", "/api/v1/projects/{out}", config, 202)
                .shows(json!({"config": {"filter_mode": mode}})),
        ];
        for case in cases.as_array().unwrap() {
            let trial =
                json!({"request": {"body": case["payload"]}, "schema": {"body": case["filter"]}});
            let path = format!("{SUBSCRIPTIONS}/test_filter");
            table.push(match case[mode].as_bool() {
                Some(matches) => row("POST", &path, trial, 200).shows(matches.into()),
                None => row("POST", &path, trial, 400),
            });
        }
        fixture.run(table).await;
    }
}

#[tokio::test]
async fn test_filter_asks_each_scope_and_says_what_is_wrong() {
    let mut fixture = fixture().await;
    let path = format!("{SUBSCRIPTIONS}/test_filter");
    let test = |request: Value, schema: Value, status| {
        row(
            "POST",
            &path,
            json!({"request": request, "schema": schema}),
            status,
        )
    };
    let scopes = |n: i32| json!({"header": {"x-a": n}, "body": {"a": n}, "query": {"a": n}, "path": {"a": n}});
    fixture
        .run(vec![
            row("POST", &path, json!({}), 200).says("Filter tested successfully").shows(json!(true)),
            test(json!({}), json!({"body": null}), 200).shows(json!(true)),
            test(json!({"body": null}), json!({"body": {}}), 200).shows(json!(false)),
            test(json!({"body": {"a": 1}}), json!({"body": {}}), 200).shows(json!(true)),
            test(scopes(1), scopes(1), 200).shows(json!(true)),
            test(scopes(1), json!({"header": {"X-A": 2}}), 200).shows(json!(false)),
            test(scopes(1), json!({"path": {"a": 2}, "body": {"a": 1}}), 200).shows(json!(false)),
            test(json!({"body": {"a": 1}}), json!({"body": {"a": 1}, "query": {"a": 1}}), 200).shows(json!(false)),
            test(json!({}), json!({"body": {"a": {"$x": 1}}, "query": [1]}), 400).code("invalid_fields")
                .says("..`schema.query`: must be an object of conditions; `schema.body.a.$x`: is no operator"),
            row("POST", &path, json!({"request": 1}), 400).says("body contains incorrect JSON type for field \"request\""),
            row("PUT", "/api/v1/projects/{out}", json!({"name": "out", "config": {"filter_mode": "convoy"}}), 202),
            test(json!({"body": {"a": "x"}}), json!({"body": {"a": {"$gt": 1}}}), 400).code("not_a_number").says("`$gt` and `$gte` need a number"),
            row("PUT", "/api/v1/projects/{out}", json!({"name": "out", "config": {"filter_mode": "loose"}}), 400)
                .says("`config.filter_mode`: must be `strict` or `convoy`"),
        ])
        .await;
}
