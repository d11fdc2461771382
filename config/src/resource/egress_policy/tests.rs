use super::super::egress_policy_spec::ENTRIES_MAX;
use super::*;
use crate::resource::{from_document, from_json, to_document};
use outrider_webhook::address::{Host, TargetUrl};
use outrider_webhook::id::Uid;

const PROJECT: &str = "01JD4N3T8Q2W5X6Y7Z8A9B0C1D";

fn compiled(json: Value) -> Result<EgressPolicy, Vec<String>> {
    let spec: EgressPolicySpec = from_json(json).spec.unwrap();
    let policy = EgressPolicy::compile(EgressPolicyId::new(Uid::from_bits(2)), 7, &spec);
    policy.map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

/// A good policy with one field of another value.
fn with(field: &str, value: Value) -> Result<EgressPolicy, Vec<String>> {
    let mut json = json!({"name": "strict", "deny": ["example.com"]});
    json[field] = value;
    compiled(json)
}

#[test]
fn every_field_that_cannot_be_used_is_named_with_what_to_change() {
    let many = |one: Value| Value::from(vec![one; ENTRIES_MAX + 1]);
    for (field, value, expected) in [
        ("name", json!(""), "`name`: is missing"),
        ("name", json!("Strict"), "`name`: must be 1 to 63 of"),
        ("name", json!("a b"), "`name`: must be 1 to 63 of"),
        ("name", json!("x".repeat(64)), "`name`: must be 1 to 63 of"),
        ("deny", json!([]), "`deny`: is empty: leave it out"),
        ("only", json!([]), "`only`: is empty: leave it out"),
        ("ports", json!([]), "`ports`: is empty: leave it out"),
        ("projects", json!([]), "`projects`: is empty: leave it out"),
        (
            "deny",
            many(json!("a.example")),
            "`deny`: must be from 1 to 1000 entries",
        ),
        (
            "only",
            many(json!("a.example")),
            "`only`: must be from 1 to 1000 entries",
        ),
        (
            "ports",
            many(json!(443)),
            "`ports`: must be from 1 to 1000 ports",
        ),
        (
            "projects",
            many(json!(PROJECT)),
            "`projects`: must be from 1 to 1000 projects",
        ),
        (
            "deny",
            json!(["a.example", "10.0.0.0/33"]),
            "`deny[1]`: must be a range of addresses",
        ),
        (
            "deny",
            json!(["*.example.com"]),
            "`deny[0]`: must be a range of addresses",
        ),
        (
            "only",
            json!(["https://a.example/"]),
            "`only[0]`: must be a range of addresses",
        ),
        (
            "ports",
            json!([443, 0]),
            "`ports[1]`: must be from 1 to 65535 as a port",
        ),
        (
            "ports",
            json!([65_536]),
            "`ports[0]`: must be from 1 to 65535 as a port",
        ),
        (
            "projects",
            json!(["shop"]),
            "`projects[0]`: must be the uid of a project",
        ),
    ] {
        let errors = with(field, value.clone()).unwrap_err();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].starts_with(expected), "{value}: {errors:?}");
    }
    let errors = compiled(json!({})).unwrap_err();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(
        errors[1].contains("`deny`, `only` or `ports` is missing"),
        "{errors:?}"
    );
}

#[test]
fn what_is_written_is_what_is_dumped_in_its_one_spelling() {
    let json = json!({
        "name": "strict", "projects": [PROJECT, PROJECT],
        "deny": [".Example.COM", "192.0.2.7/24"], "only": ["2001:db8::1"], "ports": [443, 80],
    });
    let policy = compiled(json.clone()).unwrap();
    let dumped = json!({
        "uid": Uid::from_bits(2).to_string(), "revision": 7, "name": "strict", "projects": [PROJECT],
        "deny": ["example.com", "192.0.2.0/24"], "only": ["2001:db8::1/128"], "ports": [443, 80],
    });
    assert_eq!(policy.dump(), dumped);
    let spec: EgressPolicySpec = from_json(json).spec.unwrap();
    let again: EgressPolicySpec = from_document(&to_document(&spec).unwrap()).unwrap();
    assert_eq!(again, spec);
}

fn verdict(closings: &Closings, project: ProjectId) -> &'static str {
    let target = TargetUrl::parse("https://example.com/").unwrap();
    let checked = closings.check_place(project, target.host(), target.port());
    checked.map_or_else(|denied| denied.code(), |()| "ok")
}

#[test]
fn what_projects_tell_of_themselves_is_closed_with_them() {
    let policy = with("projects", json!([PROJECT])).unwrap();
    let mut closings = Closings::default();
    policy.close(&mut closings);
    let home: ProjectId = PROJECT.parse().unwrap();
    assert_eq!(closings.revision(), 7);
    assert_eq!(verdict(&closings, home), "policy_denied");
    assert_eq!(
        verdict(&closings, MetaEvents::project_of(home)),
        "policy_denied"
    );
    assert_eq!(verdict(&closings, ProjectId::new(Uid::from_bits(1))), "ok");
}

#[test]
fn what_cannot_be_read_closes_its_projects_or_else_all() {
    let (home, other): (ProjectId, _) =
        (PROJECT.parse().unwrap(), ProjectId::new(Uid::from_bits(1)));
    let new =
        |projects: Value| json!({"name": "new", "projects": projects, "later": 1}).to_string();
    for (document, of_home, of_other) in [
        (new(json!([PROJECT])), "policy_unreadable", "ok"),
        (new(Value::Null), "policy_unreadable", "policy_unreadable"),
        (new(json!(["*"])), "policy_unreadable", "policy_unreadable"),
        (
            new(json!({"not": []})),
            "policy_unreadable",
            "policy_unreadable",
        ),
        (
            "no JSON".to_owned(),
            "policy_unreadable",
            "policy_unreadable",
        ),
    ] {
        let mut closings = Closings::default();
        EgressPolicy::close_unread(document.as_bytes(), 3, &mut closings);
        let got = (verdict(&closings, home), verdict(&closings, other));
        assert_eq!(got, (of_home, of_other), "{document}");
    }
    let mut closings = Closings::default();
    EgressPolicy::close_unread(new(Value::Null).as_bytes(), 3, &mut closings);
    let host = Host::Name("a.example".into());
    let denied = closings.check_place(other, &host, 443).unwrap_err();
    assert!(denied.to_string().contains("`new`"), "{denied}");
}
