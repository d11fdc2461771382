use super::*;
use proptest::prelude::*;

fn found(pointers: &[&str], body: &str) -> Option<Vec<String>> {
    let mut table = Pointers::default();
    let slots: Vec<Slot> = pointers
        .iter()
        .map(|pointer| table.slot("f", pointer).unwrap())
        .collect();
    let values = table.find(body)?;
    let shown = slots.into_iter().map(|slot| match values.get(slot) {
        Value::Missing => "-".to_owned(),
        Value::Once(raw) => raw.get().to_owned(),
        Value::Repeated => "twice".to_owned(),
    });
    Some(shown.collect())
}

#[test]
fn pointers_that_are_none_too_deep_or_too_many_are_refused() {
    let mut table = Pointers::default();
    assert!(table.slot("f", "a").is_err());
    assert!(table.slot("f", &"/a".repeat(17)).is_err());
    for number in 0..64 {
        table.slot("f", &format!("/{number}")).unwrap();
    }
    assert!(table.slot("f", "/a").is_err());
    assert_eq!(table.slot("f", "/7").unwrap(), Slot(7));
}

#[test]
fn what_is_not_json_has_no_values() {
    for body in ["", "{", "a=b", r#"{"a":1}x"#, r#"{"a":}"#, "\u{feff}{}"] {
        assert_eq!(found(&["/a"], body), None, "{body}");
    }
    // Nested further than any stack.
    let deep = "[".repeat(1_000_000);
    assert_eq!(found(&["/a"], &deep), None);
    let deep = format!(
        r#"{{"b":{}{},"a":1}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert_eq!(found(&["/a"], &deep).unwrap(), ["1"]);
}

#[test]
fn a_key_given_twice_on_the_way_is_no_value() {
    for body in [
        r#"{"a":{"b":1,"b":2}}"#,
        r#"{"a":{"b":1},"a":{}}"#,
        r#"{"a":{"b":1},"\u0061":{"b":1}}"#,
        r#"{"a":7,"a":{"b":1}}"#,
    ] {
        assert_eq!(found(&["/a/b"], body).unwrap(), ["twice"], "{body}");
    }
    assert_eq!(
        found(&["/a/b"], r#"{"a":{"b":1},"c":1,"c":2}"#).unwrap(),
        ["1"]
    );
}

#[test]
fn one_pass_finds_parents_children_and_elements() {
    let body = r#"{"a":{"b":[10,{"c":1.50e1}],"~/":null},"0":"x"}"#;
    assert_eq!(
        found(
            &[
                "/a/b/1/c", "/a/b", "/a/~0~1", "/0", "/a/b/2", "/a/b/01", "/z"
            ],
            body
        )
        .unwrap(),
        [
            "1.50e1",
            r#"[10,{"c":1.50e1}]"#,
            "null",
            r#""x""#,
            "-",
            "-",
            "-"
        ]
    );
    assert_eq!(found(&[""], " [1] ").unwrap(), ["[1]"]);
}

#[test]
fn scalars_are_as_sent_and_lists_are_bounded() {
    let text = |json: &str| {
        let raw: Box<RawValue> = serde_json::from_str(json).unwrap();
        scalar(&raw).map(|text| String::from_utf8(text.into_owned()).unwrap())
    };
    for (json, expected) in [
        ("1.10", Some("1.10")),
        ("-0", Some("-0")),
        ("true", Some("true")),
        (r#""a b""#, Some("a b")),
        (r#""\u00e9\n\"""#, Some("é\n\"")),
        (r#""\ud800""#, None),
        ("{}", None),
        ("[]", None),
    ] {
        assert_eq!(text(json).as_deref(), expected, "{json}");
    }
    let raw: Box<RawValue> = serde_json::from_str("[1,[2],3]").unwrap();
    assert_eq!(elements(&raw, 3).unwrap().len(), 3);
    assert!(elements(&raw, 2).is_none());
    let raw: Box<RawValue> = serde_json::from_str("{}").unwrap();
    assert!(elements(&raw, 2).is_none());
}

proptest! {
    #[test]
    fn the_one_pass_agrees_with_a_tree(
        text in r#"[\[\]{}",:a01 ]{0,24}|\{"a":(\{"a":[01],"b":\[[01],"a"\]\}|\["a",[01]\]|[01])(,"b":("a"|[01]))?\}"#,
    ) {
        let pointers = ["/a", "/a/a", "/a/b/1", "/a/0", "/b", "/0"];
        let ours = found(&pointers, &text);
        let tree = serde_json::from_str::<serde_json::Value>(&text).ok();
        prop_assert_eq!(ours.is_some(), tree.is_some());
        for (pointer, ours) in pointers.iter().zip(ours.into_iter().flatten()) {
            let theirs = tree.as_ref().and_then(|tree| tree.pointer(pointer));
            let ours = match ours.as_str() {
                "twice" => continue,
                "-" => None,
                json => serde_json::from_str::<serde_json::Value>(json).ok(),
            };
            prop_assert_eq!(ours.as_ref(), theirs);
        }
    }
}
