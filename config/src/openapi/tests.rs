use outrider_webhook::schema::{BYTES_MAX, Schema};
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn types(document: &Value) -> Result<Vec<EventTypeSpec>, OpenApiError> {
    event_types(&document.to_string())
}

fn schema_of(spec: &EventTypeSpec) -> Value {
    spec.json_schema.as_ref().unwrap().value().unwrap()
}

fn posting(schema: &Value) -> Value {
    json!({"post": {"requestBody": {"content": {"application/json": {"schema": schema}}}}})
}

fn with_webhook(version: &str, schema: &Value) -> Value {
    json!({"openapi": version, "webhooks": {"hook": posting(schema)}})
}

#[test]
fn what_cannot_be_used_is_refused_in_words_that_say_why() {
    assert!(matches!(event_types("{"), Err(OpenApiError::Text(_))));
    assert!(matches!(event_types("a: b: c"), Err(OpenApiError::Text(_))));
    let bomb = "openapi: 3.1.0\nx: &a [1]\ny: [*a, *a]\n";
    assert!(matches!(event_types(bomb), Err(OpenApiError::Text(_))));
    for document in [
        json!(7),
        json!({}),
        json!({"swagger": "2.0"}),
        json!({"openapi": "4.0.0"}),
        json!({"openapi": 3.1}),
    ] {
        assert_eq!(types(&document), Err(OpenApiError::Version), "{document}");
    }
    for document in [
        json!({"openapi": "3.1.0"}),
        json!({"openapi": "3.0.3", "webhooks": [], "paths": {"/a": {"get": {}}}}),
    ] {
        assert_eq!(types(&document), Err(OpenApiError::Empty), "{document}");
    }
    let many: serde_json::Map<String, Value> = (0..=TYPES_MAX)
        .map(|n| (n.to_string(), json!({})))
        .collect();
    assert_eq!(
        types(&json!({"openapi": "3.1.0", "webhooks": many})),
        Err(OpenApiError::TooMany)
    );
}

#[test]
fn references_out_of_the_document_and_to_nothing_are_refused() {
    for to in [
        "https://example.com/a.json",
        "other.yaml#/a",
        "#/components/schemas/no",
        "#anchor",
        "#/openapi",
    ] {
        let error = types(&with_webhook(
            "3.1.0",
            &json!({"properties": {"a": {"$ref": to}}}),
        ))
        .unwrap_err();
        let expected = OpenApiError::Reference {
            name: "hook".into(),
            to: to.into(),
        };
        assert_eq!(error, expected);
    }
    let circle = json!({"openapi": "3.1.0", "webhooks": {"hook": {"$ref": "#/webhooks/hook"}}});
    assert!(matches!(
        types(&circle),
        Err(OpenApiError::Reference { .. })
    ));
}

#[test]
fn a_schema_brings_all_it_refers_to_and_is_bounded() {
    let mut document = with_webhook("3.1.0", &json!({"$ref": "#/components/schemas/Tree"}));
    document["components"] = json!({"schemas": {
        "Tree": {"type": "object", "properties": {
            "left": {"$ref": "#/components/schemas/Tree"},
            "example": {"type": "string"},
            "other": {"$ref": "#/x-more/Tree"},
        }, "example": {"huge": 1}, "x-own": 2},
        "Unused": {},
    }});
    document["x-more"] = json!({"Tree": {"enum": [{"$ref": "data"}]}});
    let found = types(&document).unwrap();
    let expected = json!({"$ref": "#/$defs/Tree", "$defs": {
        "Tree": {"type": "object", "properties": {
            "left": {"$ref": "#/$defs/Tree"},
            "example": {"type": "string"},
            "other": {"$ref": "#/$defs/Tree.1"},
        }},
        "Tree.1": {"enum": [{"$ref": "data"}]},
    }});
    assert_eq!(schema_of(&found[0]), expected);
    let large = with_webhook("3.1.0", &json!({"description": "x".repeat(70_000)}));
    assert_eq!(types(&large), Err(OpenApiError::Large("hook".into())));
}

#[test]
fn webhooks_extensions_and_callbacks_become_types() {
    let document = "
openapi: 3.0.3
x-webhooks:
  order.placed:
    post:
      tags: [orders, other]
      summary: An order was placed
      requestBody: {$ref: '#/components/requestBodies/Order'}
  no.body: {post: {description: Nothing in it}}
paths:
  /subscribe:
    post:
      callbacks:
        onData:
          '{$request.query.url}/data':
            post:
              requestBody:
                content:
                  text/plain: {schema: {type: string}}
                  application/vnd.x+json:
                    schema: {type: object, nullable: true, properties: {n: {type: integer, minimum: 1, exclusiveMinimum: true}}}
components:
  requestBodies:
    Order:
      content:
        application/json; charset=utf-8: {schema: {type: object, required: [id]}}
";
    let found = event_types(document).unwrap();
    let names: Vec<&str> = found.iter().filter_map(|one| one.name.as_deref()).collect();
    assert_eq!(names, ["no.body", "onData", "order.placed"]);
    assert_eq!(
        (&found[0].json_schema, found[0].description.as_deref()),
        (&None, Some("Nothing in it"))
    );
    let expected = json!({"anyOf": [
        {"type": "null"},
        {"type": "object", "properties": {"n": {"type": "integer", "exclusiveMinimum": 1}}},
    ]});
    assert_eq!(schema_of(&found[1]), expected);
    assert_eq!(
        schema_of(&found[2]),
        json!({"type": "object", "required": ["id"]})
    );
    assert_eq!(
        (
            found[2].category.as_deref(),
            found[2].description.as_deref()
        ),
        (Some("orders"), Some("An order was placed"))
    );
}

#[test]
fn one_name_for_two_payloads_is_refused_and_the_same_twice_is_one() {
    let callback =
        |schema: Value| json!({"post": {"callbacks": {"onEvent": {"{url}": posting(&schema)}}}});
    let document = |b: Value| {
        json!({"openapi": "3.1.0", "paths": {
            "/a": callback(json!({"type": "object"})),
            "/b": callback(b),
        }})
    };
    assert_eq!(
        types(&document(json!({"type": "object"}))).unwrap().len(),
        1
    );
    assert_eq!(
        types(&document(json!(true))),
        Err(OpenApiError::Ambiguous("onEvent".into()))
    );
}

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        Just(json!(true)),
        "#/(webhooks|components)/[ab](/post)?".prop_map(|to| json!({"$ref": to})),
        "[a-z#/~%]{0,6}".prop_map(Value::from),
    ];
    let key = "webhooks|components|post|requestBody|content|application/json|schema|properties|items|\
               allOf|callbacks|paths|nullable|\\$ref|[ab]";
    leaf.prop_recursive(7, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::btree_map(key, inner.clone(), 0..4).prop_map(|map| json!(map)),
            prop::collection::vec(inner, 0..3).prop_map(Value::from),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_a_document_holds_it_is_refused_or_gives_types_that_can_be_judged(
        webhooks in anything(), components in anything(), is_3_0: bool,
    ) {
        let version = if is_3_0 { "3.0.0" } else { "3.1.0" };
        let document = json!({"openapi": version, "webhooks": {"a": posting(&webhooks), "b": webhooks}, "components": components});
        for spec in types(&document).unwrap_or_default() {
            let schema = spec.json_schema.and_then(|schema| schema.value());
            // Refused or not, the size is bounded, and neither step panics.
            if let Some(schema) = schema {
                prop_assert!(schema.to_string().len() < 2 * BYTES_MAX);
                let _ = Schema::compile(&schema);
            }
        }
    }
}
