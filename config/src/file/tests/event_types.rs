//! Event types in a resource file.

use super::*;

#[test]
fn bad_event_types_are_named_with_their_line() {
    let text = "\
projects:
  - name: a
    type: outgoing
    config: {schema_enforcement: maybe, unknown_event_types: no}
    event_types:
      - {name: x, json_schema: {$ref: 'http://example.com/x'}}
      - {name: x}
      - name: y
        json_schema: {properties: {a: {pattern: '(?=a)'}}}
      - {category: none, json_scheme: {}}
";
    expect(
        text,
        &[
            (
                "line 4: projects[0].config.schema_enforcement: ",
                "`off`, `flag` or `reject`",
            ),
            (
                "line 4: projects[0].config.unknown_event_types: ",
                "`accept` or `reject`",
            ),
            (
                "line 6: projects[0].event_types[0].json_schema: ",
                "nothing is fetched",
            ),
            (
                "line 7: projects[0].event_types[1].name: ",
                "already used on line 6",
            ),
            (
                "line 9: projects[0].event_types[2].json_schema: ",
                "no regular expression",
            ),
            (
                "line 10: projects[0].event_types[3].json_scheme: ",
                "did you mean `json_schema`",
            ),
            ("line 10: projects[0].event_types[3].name: ", "missing"),
        ],
    );
}

#[test]
fn a_schema_in_yaml_keeps_its_types() {
    let text = "\
projects:
  - name: a
    type: outgoing
    config: {schema_enforcement: flag, unknown_event_types: reject}
    event_types:
      - name: invoice.paid
        category: billing
        json_schema:
          required: [amount]
          properties:
            amount: {minimum: 1, maximum: 2.5}
            code: {const: '12'}
            gone: {enum: [null, true]}
";
    let file = parse(text).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let planned = file.plan(&mut Counting::default()).unwrap();
    let found = planned
        .iter()
        .find(|one| one.kind == Kind::EventType)
        .unwrap();
    let spec: crate::resource::EventTypeSpec = crate::resource::from_document(&found.spec).unwrap();
    let expected = serde_json::json!({
        "required": ["amount"],
        "properties": {
            "amount": {"minimum": 1, "maximum": 2.5},
            "code": {"const": "12"},
            "gone": {"enum": [null, true]},
        },
    });
    assert_eq!(spec.json_schema.unwrap().value(), Some(expected));
    assert_eq!(
        (found.name.as_str(), spec.category.as_deref()),
        ("invoice.paid", Some("billing"))
    );
}
