//! What is refused of event types and filters, and what documents keep of them.

use outrider_webhook::id::{EndpointId, ProjectId, SubscriptionId, Uid};
use serde_json::{Value, json};

use crate::resource::{
    FieldError, Project, ProjectSpec, Subscription, SubscriptionSpec, from_document, to_document,
};

fn compile(mut spec: Value) -> Result<Subscription, Vec<FieldError>> {
    let id = |bits| Uid::from_bits(bits);
    let project: ProjectSpec =
        serde_json::from_value(json!({"name": "p", "type": "outgoing"})).unwrap();
    let project = Project::compile(ProjectId::new(id(1)), 1, &project).unwrap();
    spec["name"] = "s".into();
    spec["endpoint_id"] = EndpointId::new(id(2)).to_string().into();
    let spec: SubscriptionSpec = serde_json::from_value(spec).unwrap();
    Subscription::compile(SubscriptionId::new(id(3)), 1, &project, &spec)
}

fn fields(spec: Value) -> Vec<String> {
    let errors = compile(spec).unwrap_err();
    errors.into_iter().map(|error| error.field).collect()
}

#[test]
fn every_problem_is_reported_with_its_path() {
    let spec = json!({
        "filter_config": {
            "event_types": ["a", "", "a*b*c*d*e*f*g*h*i*j"],
            "filter": {"body": {"a": {"$foo": 1}, "b.$": 2}, "headers": {"x": {"$gt": "y"}}},
        },
        "filters": [
            {"event_type": "a", "uid": "x", "query": {"q": {"$in": 1}}},
            {"event_type": "a"},
            {},
        ],
    });
    assert_eq!(
        fields(spec),
        [
            "filter_config.filter.headers.x.$gt",
            "filter_config.filter.body.a.$foo",
            "filter_config.filter.body.b.$",
            "filters[0].uid",
            "filters[0].query.q.$in",
            "filters[2].event_type",
            "filters[1].event_type",
            "filter_config.event_types[1]",
            "filter_config.event_types[2]",
        ]
    );
    let text = json!({"filter_config": {"filter": {"body": "no json"}}});
    assert_eq!(fields(text), ["filter_config.filter.body"]);
}

#[test]
fn lists_are_bounded() {
    let types: Vec<String> = (0..1001).map(|n| format!("t{n}")).collect();
    assert!(compile(json!({"filter_config": {"event_types": types[1..]}})).is_ok());
    assert_eq!(
        fields(json!({"filter_config": {"event_types": types}})),
        ["filter_config.event_types"]
    );
    let rows: Vec<Value> = (0..101)
        .map(|n| json!({"event_type": format!("t{n}")}))
        .collect();
    assert!(compile(json!({"filters": rows[1..]})).is_ok());
    assert_eq!(fields(json!({"filters": rows})), ["filters"]);
}

#[test]
fn without_types_and_rows_all_are_wanted_and_with_rows_only_theirs() {
    let all = compile(json!({})).unwrap();
    assert!(all.wants("anything"));
    let rows = compile(
        json!({"filters": [{"event_type": "a"}, {"event_type": "b", "is_disabled": true}]}),
    )
    .unwrap();
    assert!(rows.wants("a") && !rows.wants("b") && !rows.wants("c"));
}

#[test]
fn nulls_in_conditions_survive_a_document() {
    let written = json!({"filter_config": {"filter": {"body": {"a": null, "b": {"$in": [null]}}}}});
    let spec: SubscriptionSpec = serde_json::from_value(written).unwrap();
    let read: SubscriptionSpec = from_document(&to_document(&spec).unwrap()).unwrap();
    assert_eq!(read, spec);
    let body = read.filter_config.unwrap().filter.unwrap().body.unwrap();
    assert_eq!(body.value(), json!({"a": null, "b": {"$in": [null]}}));
}
