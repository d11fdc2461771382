//! Tables 8.4 and 8.5 of the contract, and what else a filter says.

use serde_json::json;

use super::*;
use crate::vectors;

/// `Err` for what the table calls an error, wherever it is found.
fn answer(filter: &Value, payload: &Value, mode: Mode) -> Result<bool, ()> {
    match ask(&of_body(filter).map_err(|_| ())?, payload, mode) {
        Verdict::Match => Ok(true),
        Verdict::Refused { .. } => Ok(false),
        Verdict::Failed { .. } => Err(()),
    }
}

#[test]
fn the_tables_of_the_contract_in_both_modes() {
    let cases = vectors::load("filters.json");
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), 33);
    for case in cases {
        for mode in [Mode::Convoy, Mode::Strict] {
            let expected = case[mode.as_str()].as_bool().ok_or(());
            let found = answer(&case["filter"], &case["payload"], mode);
            assert_eq!(
                found,
                expected,
                "{} in mode {}",
                case["name"],
                mode.as_str()
            );
        }
    }
}

#[test]
fn absent_fields_in_strict_mode() {
    let payload = json!({"x": 1});
    for (condition, matches) in [
        (json!({"$exist": true}), false),
        (json!({"$eq": null}), false), // null is a value; `$exist` asks for none
        (json!({"$gt": 0}), false),
        (json!({"$lt": 0}), false),
        (json!({"$in": [null]}), false),
        (json!({"$regex": ""}), false),
        (json!({"$nin": [1]}), true),
        (json!({"$neq": null}), true),
        (json!({"$exist": false}), true),
    ] {
        let filter = json!({"a": condition});
        assert_eq!(
            answer(&filter, &payload, Mode::Strict),
            Ok(matches),
            "{filter}"
        );
    }
}

#[test]
fn negations_and_wildcards() {
    let payload = json!({"items": [{"sku": "a"}, {"sku": "b"}]});
    // Strict: no item may be so. Convoy: one that is not is enough.
    let filter = json!({"items.$.sku": {"$neq": "a"}});
    assert_eq!(answer(&filter, &payload, Mode::Strict), Ok(false));
    assert_eq!(answer(&filter, &payload, Mode::Convoy), Ok(true));
    let filter = json!({"items.$.sku": {"$nin": ["c"]}});
    assert_eq!(answer(&filter, &payload, Mode::Strict), Ok(true));
}

#[test]
fn or_and_and_stand_below_paths_too() {
    let payload = json!({"person": {"age": 5, "name": "x"}});
    for (filter, matches) in [
        (
            json!({"person": {"$or": [{"age": 9}, {"name": "y"}]}}),
            false,
        ),
        (
            json!({"person": {"$or": [{"age": 9}, {"name": "x"}]}}),
            true,
        ),
        (
            json!({"person": {"age": {"$or": [{"$lt": 3}, {"$eq": 5}]}}}),
            true,
        ),
        (
            json!({"person": {"$and": [{"age": 5}, {"name": "y"}]}}),
            false,
        ),
        (json!({"$or": [{}]}), true),
        (json!({"person": [{"age": 5}]}), false),
    ] {
        for mode in [Mode::Strict, Mode::Convoy] {
            assert_eq!(answer(&filter, &payload, mode), Ok(matches), "{filter}");
        }
    }
}

#[test]
fn lists_of_objects_are_compared_by_index() {
    let payload = json!({"items": [{"sku": "a", "n": 1}, {"sku": "b"}]});
    let filter = json!({"items": [{"sku": "a"}, {"sku": "b"}]});
    assert_eq!(answer(&filter, &payload, Mode::Strict), Ok(true));
    let filter = json!({"items": [{"sku": "b"}]});
    assert_eq!(answer(&filter, &payload, Mode::Strict), Ok(false));
}

#[test]
fn a_verdict_names_the_condition_that_failed() {
    let (headers, body) = (
        json!({"X-Kind": "a"}),
        json!({"b": 1, "a": {"$gt": 1}, "$or": [{"c": 1}, {"d": 1}]}),
    );
    // Scopes are asked in their own order, conditions in the order of their names.
    let filter = Filter::compile([(Scope::Body, &body), (Scope::Headers, &headers)]).unwrap();
    let labels: Vec<_> = (0..6).filter_map(|index| filter.leaf(index)).collect();
    assert_eq!(
        labels,
        [
            "headers.X-Kind",
            "body.$or[0].c",
            "body.$or[1].d",
            "body.a.$gt",
            "body.b"
        ]
    );
    let given = |kind: &str, body: Value| {
        let views = Views::given([
            (Scope::Headers, json!({"x-kind": kind})),
            (Scope::Body, body),
        ]);
        filter.evaluate(&views, Mode::Strict, &mut Budget::for_event())
    };
    assert_eq!(given("b", json!({})), Verdict::Refused { leaf: 0 });
    assert_eq!(given("a", json!({})), Verdict::Refused { leaf: 1 });
    assert_eq!(given("a", json!({"d": 1})), Verdict::Refused { leaf: 3 });
    assert_eq!(
        given("a", json!({"d": 1, "a": 2})),
        Verdict::Refused { leaf: 4 }
    );
    assert_eq!(given("a", json!({"d": 1, "a": 2, "b": 1})), Verdict::Match);
}

#[test]
fn headers_have_no_case_but_in_convoys_mode() {
    let views = Views::given([(Scope::Headers, json!({"X-GitHub-Event": "push"}))]);
    for (name, convoy) in [
        ("x-github-event", true),
        ("X-Github-Event", true),
        ("X-GITHUB-event", false),
    ] {
        let condition = json!({name: "push"});
        let filter = Filter::compile([(Scope::Headers, &condition)]).unwrap();
        for (mode, matches) in [(Mode::Strict, true), (Mode::Convoy, convoy)] {
            let verdict = filter.evaluate(&views, mode, &mut Budget::for_event());
            assert_eq!(verdict == Verdict::Match, matches, "{name} {mode:?}");
        }
    }
}

#[test]
fn a_body_without_a_view_has_nothing_at_any_path() {
    let views = Views::given([]);
    for (filter, matches) in [
        (json!({"a": 1}), false),
        (json!({"a": {"$exist": false}}), true),
        (json!({}), true),
    ] {
        let filter = of_body(&filter).unwrap();
        let verdict = filter.evaluate(&views, Mode::Strict, &mut Budget::for_event());
        assert_eq!(verdict == Verdict::Match, matches);
    }
}
