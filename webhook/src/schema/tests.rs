use proptest::prelude::*;
use serde_json::json;

use super::*;

fn error(schema: &Value) -> SchemaError {
    Schema::compile(schema).expect_err(&schema.to_string())
}

fn mismatch(schema: &Value, value: &Value) -> String {
    let schema = Schema::compile(schema).unwrap();
    schema.check(value).unwrap_err().to_string()
}

/// `$defs` of which each applies the next one twice to the same value.
fn doubling(levels: usize, keyword: &str) -> Value {
    let mut defs = serde_json::Map::new();
    for level in 0..levels {
        let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
        defs.insert(format!("d{level}"), json!({keyword: [next, next]}));
    }
    defs.insert(format!("d{levels}"), json!({"type": "string"}));
    json!({"$ref": "#/$defs/d0", "$defs": defs})
}

#[test]
fn what_is_no_schema_is_refused_with_its_place() {
    for (schema, expected) in [
        (json!(true), SchemaError::Shape),
        (json!([]), SchemaError::Shape),
        (
            json!({"$schema": "https://example.com/mine"}),
            SchemaError::Dialect,
        ),
        (json!({"$schema": 7}), SchemaError::Dialect),
        (
            json!({"properties": {"a": {"type": "strnig"}}}),
            SchemaError::Invalid {
                at: "/properties/a/type".into(),
                keyword: "anyOf".into(),
            },
        ),
        (
            json!({"minLength": -1}),
            SchemaError::Invalid {
                at: "/minLength".into(),
                keyword: "minimum".into(),
            },
        ),
        (
            json!({"properties": {"a": {"$id": "https://example.com/a"}}}),
            SchemaError::Identifier {
                at: "/properties/a".into(),
            },
        ),
    ] {
        assert_eq!(error(&schema), expected, "{schema}");
    }
}

#[test]
fn references_out_of_the_schema_are_refused_and_not_fetched() {
    for to in [
        "http://127.0.0.1:9/schema.json",
        "https://example.com/a#/b",
        "file:///etc/passwd",
        "other.json",
        "http://json-schema.org/draft-07/schema#",
    ] {
        let schema = json!({"properties": {"a": {"$ref": to}}});
        let expected = SchemaError::Outside {
            at: "/properties/a/$ref".into(),
            to: to.into(),
        };
        assert_eq!(error(&schema), expected);
    }
    for to in [
        "#/$defs/b",
        "#b",
        "#/required",
        "#/default/x",
        "#/%ff",
        "#/properties/a/$ref",
    ] {
        let schema =
            json!({"default": {"x": {}}, "required": [], "properties": {"a": {"$ref": to}}});
        assert!(
            matches!(error(&schema), SchemaError::Dangling { .. }),
            "{to}"
        );
    }
}

#[test]
fn a_schema_without_end_or_of_too_many_branches_is_refused_before_it_is_compiled() {
    assert!(matches!(
        error(&json!({"$ref": "#"})),
        SchemaError::Endless { .. }
    ));
    let two = json!({"anyOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"not": {"$ref": "#"}}}});
    assert!(matches!(error(&two), SchemaError::Endless { .. }));
    for keyword in ["allOf", "anyOf", "oneOf"] {
        assert!(matches!(
            error(&doubling(60, keyword)),
            SchemaError::Costly { .. }
        ));
        Schema::compile(&doubling(5, keyword)).unwrap();
    }
    // Doubles at each level of the event instead.
    let twice = json!({"anyOf": [{"items": {"$ref": "#"}}, {"additionalProperties": {"$ref": "#"}, "items": {"$ref": "#"}}]});
    assert!(matches!(error(&twice), SchemaError::Costly { .. }));
    let patterns = json!({"patternProperties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}});
    assert!(matches!(error(&patterns), SchemaError::Costly { .. }));
    let unevaluated = (0..12).fold(
        json!({"type": "string"}),
        |inner, _| json!({"allOf": [inner], "unevaluatedProperties": false}),
    );
    assert!(matches!(error(&unevaluated), SchemaError::Costly { .. }));
}

#[test]
fn nesting_and_size_of_a_schema_are_bounded() {
    let deep = |levels: usize| (1..levels).fold(json!({}), |inner, _| json!({"not": inner}));
    assert_eq!(error(&deep(DEPTH_MAX + 1)), SchemaError::Depth);
    Schema::compile(&deep(DEPTH_MAX)).unwrap();
}

#[test]
fn a_schema_whose_references_fan_out_over_members_compiles_in_proportion_to_its_size() {
    // Written out it would have 2^40 schemas; no value is looked at twice by it.
    let mut defs = serde_json::Map::new();
    for level in 0..40 {
        let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
        defs.insert(
            format!("d{level}"),
            json!({"properties": {"a": next, "b": next}}),
        );
    }
    defs.insert("d40".into(), json!({"type": "string"}));
    let schema = Schema::compile(&json!({"$ref": "#/$defs/d0", "$defs": defs})).unwrap();
    schema.check(&json!({"a": {"b": {}}})).unwrap();
}

#[test]
fn a_regular_expression_takes_linear_time_or_is_refused() {
    let schema = |pattern: &str| json!({"properties": {"a": {"pattern": pattern}}});
    for pattern in ["(?=a)b", "(a)\\1", "(a{1000}){1000}", "("] {
        let expected = SchemaError::Pattern {
            at: "/properties/a/pattern".into(),
        };
        assert_eq!(error(&schema(pattern)), expected, "{pattern}");
    }
    let many = |count: usize| {
        let properties = (0..count).map(|n| (n.to_string(), json!({"pattern": "^[a-z]+$"})));
        json!({"properties": properties.collect::<serde_json::Map<String, Value>>()})
    };
    let expected = SchemaError::Patterns {
        count: PATTERNS_MAX + 1,
    };
    assert_eq!(error(&many(PATTERNS_MAX + 1)), expected);
    Schema::compile(&many(PATTERNS_MAX)).unwrap();
    // Exponential in engines that go back; a hang here is the failure.
    let text = format!("{}!", "a".repeat(50_000));
    for pattern in ["^(a+)+$", "^(a|a)*$", "^([a-zA-Z]+)*$", "(.*a){12}$"] {
        let said = mismatch(&schema(pattern), &json!({"a": text}));
        assert_eq!(said, "`/a` breaks `pattern`");
    }
}

#[test]
fn a_mismatch_names_places_and_rules_and_no_values() {
    let schema = json!({
        "type": "object", "required": ["id", "amount"],
        "properties": {
            "amount": {"type": "integer", "minimum": 1},
            "currency": {"enum": ["EUR", "USD"]},
            "lines": {"items": {"type": "object", "additionalProperties": false}},
        },
    });
    let value =
        json!({"amount": 0, "currency": "hunter2", "lines": [{}, {"x": "hunter3"}, "hunter4"]});
    let said = mismatch(&schema, &value);
    for part in [
        "`/` breaks `required id`",
        "`/amount` breaks `minimum`",
        "`/currency` breaks `enum`",
        "`/lines/1` breaks `additionalProperties`",
        "`/lines/2` breaks `type`",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!said.contains("hunter"), "{said}");
    let many = json!({"amount": 1, "id": 1, "lines": vec![json!(1); 50]});
    let said = mismatch(&schema, &many);
    assert_eq!(said.matches("breaks").count(), PROBLEMS_MAX);
    assert!(said.ends_with("and 45 more"), "{said}");
    let huge = json!({"lines": vec![json!(1); 60_000]});
    assert_eq!(mismatch(&schema, &huge), "too large to say where");
}

#[test]
fn every_draft_is_read_by_its_own_rules() {
    let value = json!(5);
    for (draft, schema) in [
        (
            "http://json-schema.org/draft-04/schema#",
            json!({"maximum": 5, "exclusiveMaximum": true}),
        ),
        (
            "http://json-schema.org/draft-06/schema#",
            json!({"exclusiveMaximum": 5}),
        ),
        (
            "http://json-schema.org/draft-07/schema#",
            json!({"if": true, "then": false}),
        ),
        (
            "https://json-schema.org/draft/2019-09/schema",
            json!({"$ref": "#/$defs/no", "$defs": {"no": false}}),
        ),
        (
            "https://json-schema.org/draft/2020-12/schema",
            json!({"$ref": "#no", "$defs": {"x": {"$anchor": "no", "not": {}}}}),
        ),
    ] {
        let mut schema = schema;
        schema["$schema"] = json!(draft);
        let compiled = Schema::compile(&schema);
        assert!(compiled.unwrap().check(&value).is_err(), "{draft}");
    }
    let email = |draft: &str| json!({"$schema": draft, "format": "email"});
    assert!(
        Schema::compile(&email("http://json-schema.org/draft-07/schema#"))
            .unwrap()
            .check(&json!("x"))
            .is_err()
    );
    Schema::compile(&email("https://json-schema.org/draft/2020-12/schema"))
        .unwrap()
        .check(&json!("x"))
        .unwrap();
}

#[test]
fn a_recursive_schema_follows_an_event_down() {
    let tree = json!({"$ref": "#/definitions/node", "definitions": {"node": {
        "type": "object", "required": ["name"],
        "properties": {"left": {"$ref": "#/definitions/node"}, "right": {"$ref": "#/definitions/node"}},
    }}});
    let schema = Schema::compile(&tree).unwrap();
    schema
        .check(&json!({"name": 1, "left": {"name": 2, "right": {"name": 3}}}))
        .unwrap();
    let error = schema
        .check(&json!({"name": 1, "left": {"name": 2, "right": {}}}))
        .unwrap_err();
    assert_eq!(error.to_string(), "`/left/right` breaks `required name`");
}

fn schemas() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!({"type": "string"})),
        Just(json!({"minimum": 3})),
        Just(json!({"$ref": "#/$defs/a"})),
        Just(json!({"$ref": "#"})),
        Just(json!({"$ref": "#/$defs/nothing"})),
        Just(json!(true)),
        Just(json!(7)),
        "[(a)*+?\\\\]{0,6}".prop_map(|pattern| json!({"pattern": pattern})),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let list = prop::collection::vec(inner.clone(), 0..3);
        prop_oneof![
            ("allOf|anyOf|oneOf|prefixItems|items", list)
                .prop_map(|(key, list)| json!({key: list})),
            (
                "not|if|items|contains|additionalProperties|unevaluatedProperties|propertyNames",
                inner.clone()
            )
                .prop_map(|(key, inner)| json!({key: inner})),
            (
                "properties|patternProperties|dependentSchemas",
                "[ab]",
                inner
            )
                .prop_map(|(key, name, inner)| json!({key: {name: inner}})),
        ]
    })
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<i32>().prop_map(Value::from),
        "[ab]{0,4}".prop_map(Value::from)
    ];
    leaf.prop_recursive(5, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[ab]", inner, 0..3).prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_is_written_is_refused_or_judges_any_value(schema in schemas(), a in schemas(), value in values()) {
        let mut schema = schema;
        if let Value::Object(map) = &mut schema {
            map.insert("$defs".into(), json!({"a": a}));
        }
        let mismatch = Schema::compile(&schema).ok().and_then(|schema| schema.check(&value).err());
        prop_assert!(mismatch.is_none_or(|mismatch| !mismatch.to_string().is_empty()));
    }
}
