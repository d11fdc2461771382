//! Section 3.7.

use super::*;

const ALL: &str = "/api/v1/projects/{out}/event-types";
const ONE: &str = "/api/v1/projects/{out}/event-types/{t}";
const STAR: &str = "/api/v1/projects/{out}/event-types/{star}";

fn amount() -> Value {
    json!({"type": "object", "properties": {"amount": {"type": "integer"}, "gone": {"const": null}}})
}

#[tokio::test]
async fn section_3_7_event_types() {
    let mut fixture = Fixture::with_projects().await;
    let star = json!({"name": "*", "category": "", "description": "", "json_schema": null, "deprecated_at": null});
    let made = json!({
        "uid": "*", "name": "invoice.paid", "category": "billing", "description": "d",
        "json_schema": amount(), "deprecated_at": null,
    });
    fixture
        .run(vec![
            get(ALL, 200).says("Event types fetched successfully").shows(json!([star])).saves("star", "/0/uid"),
            row("POST", ALL, json!({"name": "invoice.paid", "category": "billing", "description": "d", "json_schema": amount(), "kind": 1}), 201)
                .by("{out-key}")
                .says("Event type created successfully")
                .answers("x-outrider-ignored-fields", Some("kind"))
                .shows(made.clone())
                .saves("t", "/uid"),
            get(ALL, 200).shows(json!([star, made])),
            get(ALL, 404).by("{in-key}").says("project not found"),
            row("POST", ALL, json!({"name": "invoice.paid"}), 400).code("already_exists"),
            row("POST", "/api/v1/projects/{in}/event-types", json!({"name": "invoice.paid"}), 201),
            // What is given changes; the name never.
            row("PUT", ONE, json!({"name": "other", "description": ""}), 201)
                .says("Event type updated successfully")
                .answers("x-outrider-ignored-fields", Some("name"))
                .shows(json!({"uid": "{t}", "name": "invoice.paid", "category": "billing", "description": "", "json_schema": amount()})),
            row("PUT", ONE, json!({"json_schema": {}}), 201).shows(json!({"json_schema": null, "category": "billing"})),
            row("POST", &format!("{ONE}/deprecate"), Value::Null, 201)
                .says("Event type deprecated successfully")
                .shows(json!({"deprecated_at": "2026-01-01T00:00:00Z"})),
            // The one that every project has can be changed like the others.
            row("PUT", STAR, json!({"description": "all of them"}), 201).shows(json!({"uid": "{star}", "name": "*", "description": "all of them"})),
            get(ALL, 200).shows(json!([{"name": "*", "uid": "{star}"}, {"name": "invoice.paid"}])),
            row("POST", ALL, json!({"name": "*"}), 400).code("already_exists"),
            row("DELETE", STAR, Value::Null, 200).says("Event type deleted successfully"),
            row("POST", ALL, json!({"name": "*"}), 201).shows(json!({"uid": "{star}"})),
            row("DELETE", ONE, Value::Null, 200),
            row("PUT", ONE, json!({"description": ""}), 404).says("event type not found").code("not_found"),
            row("POST", &format!("{ONE}/deprecate"), Value::Null, 404),
            row("PUT", "/api/v1/projects/{in}/event-types/{star}", json!({}), 404),
        ])
        .await;
}

#[tokio::test]
async fn a_bad_event_type_is_refused_with_its_field_and_nothing_is_held() {
    let mut fixture = Fixture::with_projects().await;
    let schema = |schema: Value| json!({"name": "x", "json_schema": schema});
    let refused = |body: Value, says: &'static str| {
        row("POST", ALL, body, 400)
            .code("invalid_fields")
            .says(says)
    };
    fixture
        .run(vec![
            refused(json!({}), "`name`: is missing"),
            refused(json!({"name": ""}), "`name`: is missing"),
            refused(json!({"name": "a\nb"}), "`name`: ..").says("..control characters.."),
            refused(
                json!({"name": "x", "category": "c".repeat(256)}),
                "`category`: ..",
            )
            .says("..255 bytes.."),
            row("POST", ALL, schema(json!([1])), 400)
                .says("body contains incorrect JSON type for field \"json_schema\""),
            refused(
                schema(json!("[]")),
                "`json_schema`: a JSON Schema is a JSON object",
            ),
            refused(
                schema(json!({"type": "nothing"})),
                "`json_schema`: at `/type`: breaks the rule `anyOf` of JSON Schema",
            ),
            refused(
                schema(json!({"$ref": "http://169.254.169.254/x"})),
                "`json_schema`: at `/$ref`: `http://169.254.169.254/x` leads out of the schema..",
            ),
            refused(
                schema(json!({"$ref": "#/$defs/a"})),
                "`json_schema`: at `/$ref`: `#/$defs/a` refers to no schema",
            ),
            refused(
                schema(json!({"pattern": "(a)\\1"})),
                "`json_schema`: at `/pattern`: no regular expression..",
            ),
            refused(
                schema(json!({"description": "d".repeat(70_000)})),
                "`json_schema`: has 70018 bytes, at most 65536 are accepted",
            ),
            row("POST", ALL, schema(json!({"type": "object"})), 201).saves("t", "/uid"),
            row(
                "PUT",
                ONE,
                json!({"json_schema": {"allOf": [{"$ref": "#"}]}}),
                400,
            )
            .says("..refers back to itself.."),
            get(ALL, 200).shows(json!([{"name": "*"}, {"json_schema": {"type": "object"}}])),
        ])
        .await;
    assert_eq!(fixture.control.journal().snapshot().counts().quarantined, 0);
}

#[tokio::test]
async fn a_project_has_so_many_types_and_no_more() {
    let mut fixture = Fixture::new();
    let types: Vec<String> = (0..1000)
        .map(|n| format!("      - {{name: t{n}}}"))
        .collect();
    let file = format!(
        "projects:\n  - name: f\n    type: outgoing\n    event_types:\n{}\n",
        types.join("\n")
    );
    fixture.load(&file).await;
    let f = fixture
        .control
        .journal()
        .read(|view| view.projects())
        .unwrap()
        .pop();
    fixture
        .names
        .insert("f".into(), f.unwrap().uid().to_string());
    fixture
        .run(vec![
            row(
                "POST",
                "/api/v1/projects/{f}/event-types",
                json!({"name": "one more"}),
                400,
            )
            .says("`name`: a project has at most 1000 event types"),
        ])
        .await;
}

#[tokio::test]
async fn a_type_of_a_file_is_changed_there_and_takes_the_place_of_one_of_the_api() {
    let mut fixture = Fixture::new();
    let file = |types: &str| {
        format!("projects:\n  - {{name: f, type: outgoing, event_types: [{types}]}}\n")
    };
    fixture.load(&file("{name: a}")).await;
    let f = fixture
        .control
        .journal()
        .read(|view| view.projects())
        .unwrap()
        .pop();
    fixture
        .names
        .insert("f".into(), f.unwrap().uid().to_string());
    let all = "/api/v1/projects/{f}/event-types";
    fixture
        .run(vec![
            row("POST", all, json!({"name": "a"}), 400).code("already_exists"),
            row("POST", all, json!({"name": "b", "description": "api"}), 201),
            get(all, 200)
                .shows(json!([{"name": "*"}, {"name": "a"}, {"name": "b"}]))
                .saves("a", "/1/uid"),
            row(
                "PUT",
                "/api/v1/projects/{f}/event-types/{a}",
                json!({}),
                409,
            )
            .code("managed_by_file"),
        ])
        .await;
    fixture
        .load(&file("{name: a}, {name: b, description: file}"))
        .await;
    fixture
        .run(vec![get(all, 200).shows(
            json!([{"name": "*"}, {"name": "a"}, {"name": "b", "description": "file"}]),
        )])
        .await;
}

#[tokio::test]
async fn webhooks_of_an_openapi_document_become_types() {
    let mut fixture = Fixture::with_projects().await;
    let import = |spec: &str, status| {
        row(
            "POST",
            "/api/v1/projects/{out}/event-types/import",
            json!({"spec": spec}),
            status,
        )
    };
    let spec = "
openapi: 3.1.0
webhooks:
  a: {post: {summary: An a, requestBody: {content: {application/json: {schema: {$ref: '#/components/schemas/A'}}}}}}
  b: {post: {}}
components: {schemas: {A: {type: object, properties: {more: {$ref: '#/components/schemas/A'}}}}}
";
    let a = json!({"name": "a", "description": "An a", "json_schema": {
        "$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {"more": {"$ref": "#/$defs/A"}}}},
    }});
    let bad = json!({"openapi": "3.1.0", "webhooks": {
        "c": {}, "d": {"post": {"requestBody": {"content": {"application/json": {"schema": {"type": "nothing"}}}}}},
    }});
    fixture
        .run(vec![
            import("", 400).says("`spec`: is missing").code("invalid_fields"),
            import("{", 400).says("`spec`: is neither valid JSON nor valid YAML.."),
            import("openapi: 3.1.0", 400).says("`spec`: has no `webhooks`.."),
            import(&spec.replace("'#/components/schemas/A'", "'http://example.com/A'"), 400)
                .says("`spec`: `a`: the reference `http://example.com/A` leads to nothing in the document"),
            import(&bad.to_string(), 400).says("`spec`: `d`: `json_schema`: at `/type`: breaks the rule `anyOf` of JSON Schema"),
            get(ALL, 200).shows(json!([{"name": "*"}])),
            row("POST", ALL, json!({"name": "b", "description": "before", "json_schema": {"type": "string"}}), 201).saves("t", "/uid"),
            row("POST", &format!("{ONE}/deprecate"), Value::Null, 201),
            import(spec, 200)
                .says("Event types imported successfully")
                .answers("x-outrider-config-revision", Some("5"))
                .shows(json!([a, {"uid": "{t}", "name": "b", "description": "before", "json_schema": {"type": "string"}, "deprecated_at": "*"}])),
            import(spec, 200).answers("x-outrider-config-revision", Some("5")),
            get(ALL, 200).shows(json!([{"name": "*"}, a, {"name": "b"}])),
        ])
        .await;
}
