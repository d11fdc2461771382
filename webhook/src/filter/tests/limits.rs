//! What is too much, when a filter is configured and when it is asked.

use serde_json::json;

use super::super::limit::*;
use super::*;

fn problems(filter: &Value) -> Vec<(String, Problem)> {
    let errors = of_body(filter).unwrap_err();
    errors
        .into_iter()
        .map(|error| (error.path, error.problem))
        .collect()
}

fn one(filter: &Value, path: &str, problem: Problem) {
    assert_eq!(problems(filter), [(path.to_owned(), problem)]);
}

#[test]
fn what_cannot_be_compiled_is_named_with_its_path() {
    one(&json!([]), "body", Problem::NoObject);
    one(&json!("x"), "body", Problem::NoObject);
    one(
        &json!({"a": {"$foo": 1}}),
        "body.a.$foo",
        Problem::UnknownOperator,
    );
    one(&json!({"$": {"a": 1}}), "body.$", Problem::UnknownOperator);
    one(&json!({"$gt": 1}), "body.$gt", Problem::NoPath);
    one(&json!({"a.$gt": 1}), "body.a.$gt", Problem::OperatorInPath);
    one(&json!({"a.$": 1}), "body.a.$", Problem::TrailingWildcard);
    one(
        &json!({"a.$": {"$gt": 1}}),
        "body.a.$.$gt",
        Problem::TrailingWildcard,
    );
    one(&json!({"a": {"$gt": "x"}}), "body.a.$gt", Problem::NoNumber);
    one(&json!({"a": {"$in": "x"}}), "body.a.$in", Problem::NoList);
    one(
        &json!({"a": {"$regex": 1}}),
        "body.a.$regex",
        Problem::NoText,
    );
    one(
        &json!({"a": {"$exist": 1}}),
        "body.a.$exist",
        Problem::NoBool,
    );
    one(
        &json!({"a": {"$eq": {"b": 1}}}),
        "body.a.$eq",
        Problem::NoScalar,
    );
    one(&json!({"a": [1, {}]}), "body.a", Problem::MixedList);
    one(&json!({"a": [{}, 1]}), "body.a", Problem::MixedList);
    one(&json!({"a": [[1]]}), "body.a", Problem::MixedList);
    for bad in [json!([]), json!({}), json!(null)] {
        one(&json!({"$or": bad}), "body.$or", Problem::NoFilters);
        one(
            &json!({"b": {"$and": bad}}),
            "body.b.$and",
            Problem::NoFilters,
        );
    }
    one(
        &json!({"$or": [{"a": 1}, 5]}),
        "body.$or[1]",
        Problem::NoObject,
    );
    let found = problems(&json!({"a": {"$foo": 1, "$gt": true}, "$and": [{"b": {"$x": 1}}]}));
    let paths: Vec<_> = found.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["body.$and[0].b.$x", "body.a.$foo", "body.a.$gt"]);
}

#[test]
fn every_limit_has_a_name_and_what_just_keeps_to_it_is_taken() {
    let leaves = |count: usize| -> Value {
        let map: serde_json::Map<_, _> =
            (0..count).map(|n| (format!("f{n:04}"), json!(1))).collect();
        map.into()
    };
    assert!(of_body(&leaves(LEAVES_MAX)).is_ok());
    one(&leaves(LEAVES_MAX + 1), "body.f0256", Problem::Leaves);
    let deep = |depth: usize| (0..depth).fold(json!(1), |inner, _| json!({"a": inner}));
    assert!(of_body(&deep(DEPTH_MAX + 1)).is_ok());
    assert_eq!(problems(&deep(DEPTH_MAX + 2))[0].1, Problem::Depth);
    let nested =
        |depth: usize| (0..depth).fold(json!({"a": 1}), |inner, _| json!({"$or": [inner]}));
    assert!(of_body(&nested(DEPTH_MAX / 2)).is_ok());
    assert_eq!(problems(&nested(DEPTH_MAX))[0].1, Problem::Depth);
    let regexes = |count: usize| -> Value {
        let map: serde_json::Map<_, _> = (0..count)
            .map(|n| (format!("f{n:02}"), json!({"$regex": "x"})))
            .collect();
        map.into()
    };
    assert!(of_body(&regexes(REGEXES_MAX)).is_ok());
    one(
        &regexes(REGEXES_MAX + 1),
        "body.f16.$regex",
        Problem::Regexes,
    );
    let long = |count: usize| json!({"a": {"$in": vec![0; count]}});
    assert!(of_body(&long(LIST_MAX)).is_ok());
    one(&long(LIST_MAX + 1), "body.a.$in", Problem::ListTooLong);
    let many = |count: usize| json!({"$or": vec![json!({}); count]});
    assert!(of_body(&many(LIST_MAX)).is_ok());
    one(&many(LIST_MAX + 1), "body.$or", Problem::ListTooLong);
    let text = |bytes: usize| json!({"a": "x".repeat(bytes - 8)});
    assert!(of_body(&text(SCOPE_BYTES_MAX)).is_ok());
    one(&text(SCOPE_BYTES_MAX + 1), "body", Problem::ScopeTooLong);
}

#[test]
fn more_problems_than_anyone_reads_are_not_told() {
    let map: serde_json::Map<_, _> = (0..500)
        .map(|n| (format!("f{n}"), json!({"$x": 1})))
        .collect();
    assert_eq!(problems(&map.into()).len(), 64);
}

#[test]
fn limits_hold_over_all_scopes_together() {
    let map: serde_json::Map<_, _> = (0..200).map(|n| (format!("f{n}"), json!(1))).collect();
    let scope = Value::from(map);
    let both = Filter::compile([(Scope::Body, &scope), (Scope::Query, &scope)]);
    assert_eq!(both.unwrap_err()[0].problem, Problem::Leaves);
}

#[test]
fn a_filter_that_takes_too_many_steps_cannot_say_and_leaves_the_others_theirs() {
    let list: Vec<Value> = (0..80)
        .map(|_| json!({"i": vec![json!({"j": vec![json!({"x": 1}); 80]}); 80]}))
        .collect();
    let payload = json!({"o": list});
    let views = Views::given([(Scope::Body, payload)]);
    let greedy = of_body(&json!({"o.$.i.$.j.$.x": 2})).unwrap();
    let modest = of_body(&json!({"o.0.i.0.j.0.x": 1})).unwrap();
    let mut budget = Budget::for_event();
    let failed = Verdict::Failed {
        leaf: 0,
        fault: Fault::TooMuchWork,
    };
    for mode in [Mode::Strict, Mode::Convoy] {
        assert_eq!(greedy.evaluate(&views, mode, &mut budget), failed);
        assert_eq!(modest.evaluate(&views, mode, &mut budget), Verdict::Match);
    }
    for _ in 0..STEPS_PER_EVENT / STEPS_PER_FILTER {
        assert_eq!(greedy.evaluate(&views, Mode::Strict, &mut budget), failed);
    }
    assert_eq!(modest.evaluate(&views, Mode::Strict, &mut budget), failed);
}
