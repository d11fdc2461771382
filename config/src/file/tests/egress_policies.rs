//! Policies that close destinations in a resource file.

use super::*;

#[test]
fn bad_policies_are_named_with_their_line() {
    let text = "\
egress_policies:
  - {name: a, deny: [example.com, '*.example.com']}
  - {name: a, only: [192.0.2.0/24]}
  - {name: a, ports: [443]}
  - {name: B, projects: [shop, shp], deny: []}
  - {name: c, denny: [example.com]}
  - {name: d, ports: [https, 0]}
projects:
  - {name: shop, type: outgoing}
";
    expect(
        text,
        &[
            (
                "line 2: egress_policies[0].deny[1]: ",
                "must be a range of addresses",
            ),
            (
                "line 4: egress_policies[2].name: ",
                "called `a` already exists",
            ),
            ("line 5: egress_policies[3].name: ", "must be 1 to 63 of"),
            (
                "line 5: egress_policies[3].deny: ",
                "is empty: leave it out",
            ),
            (
                "line 5: egress_policies[3].projects[1]: ",
                "no project with the name `shp`, which is no uid either; did you mean `shop`?",
            ),
            ("line 6: egress_policies[4].denny: ", "did you mean `deny`"),
            (
                "line 6: egress_policies[4]: ",
                "`deny`, `only` or `ports` is missing",
            ),
            ("line 7: egress_policies[5].ports[0]: ", "number"),
        ],
    );
    let many: String = (0..101)
        .map(|n| format!("  - {{name: p{n}, ports: [443]}}\n"))
        .collect();
    expect(
        &format!("egress_policies:\n{many}"),
        &[(
            "line 102: egress_policies[100]: ",
            "at most 100 egress policies",
        )],
    );
}

#[test]
fn a_policy_of_a_file_is_for_the_projects_that_it_names() {
    let text = "\
egress_policies:
  - {name: web, ports: [443]}
  - {name: bank, projects: [b, 01JD4N3T8Q2W5X6Y7Z8A9B0C1Z], only: [bank.example], uid: 01JD4N3T8Q2W5X6Y7Z8A9B0C1X}
projects:
  - {name: a, type: outgoing}
  - {name: b, type: outgoing}
";
    assert_eq!(crate::check(text), []);
    let alone = text.split("projects:\n  - {name: a").next().unwrap();
    assert!(!crate::check(alone).is_empty(), "`b` is no project then");
    assert_eq!(
        crate::check("egress_policies: [{name: web, ports: [443]}]"),
        []
    );
    let file = parse(text).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let planned = file.plan(&mut Counting::default()).unwrap();
    let of = |name: &str| planned.iter().find(|one| one.name == name).unwrap();
    for name in ["web", "bank"] {
        let one = of(name);
        assert_eq!((one.kind, one.project.uid()), (Kind::EgressPolicy, one.uid));
    }
    assert_eq!(of("bank").uid.to_string(), "01JD4N3T8Q2W5X6Y7Z8A9B0C1X");
    let bank: serde_json::Value = serde_json::from_slice(&of("bank").spec).unwrap();
    let expected = [
        of("b").uid.to_string(),
        "01JD4N3T8Q2W5X6Y7Z8A9B0C1Z".to_owned(),
    ];
    assert_eq!(bank["projects"], serde_json::json!(expected));
}
