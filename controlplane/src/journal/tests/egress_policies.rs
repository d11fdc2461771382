//! Policies that close destinations in the journal: they are of no project.

use super::*;

const POLICIES: &str = "
egress_policies:
  - {name: bank, projects: [out], only: [bank.example]}
  - {name: web, ports: [443]}
projects: [{name: out, type: outgoing}]
";

fn policies(journal: &Journal) -> Vec<(String, Uid)> {
    let view = journal.read(|view| view.egress_policies()).unwrap();
    view.iter()
        .map(|one| (one.name.clone(), one.uid()))
        .collect()
}

#[test]
fn a_policy_keeps_its_uid_from_file_to_file_and_goes_when_no_file_has_it() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    assert_eq!(apply(&journal, POLICIES), Some(1));
    let first = policies(&journal);
    assert_eq!(apply(&journal, POLICIES), None);
    let (_, documents) = full(&journal);
    assert!(
        documents
            .iter()
            .take(2)
            .all(|one| one.kind == Kind::EgressPolicy && one.project.uid() == one.uid)
    );
    let changed = POLICIES.replace("443", "8443");
    assert_eq!(apply(&journal, &changed), Some(2));
    assert_eq!(policies(&journal), first);
    assert_eq!(journal.snapshot().closings().revision(), 2);
    drop(journal);
    let journal = open(&dir);
    assert_eq!(
        journal.snapshot().closings().revision(),
        2,
        "after a restart"
    );
    let without = "projects: [{name: out, type: outgoing}]";
    assert_eq!(apply(&journal, without), Some(3));
    assert_eq!(policies(&journal), []);
    assert_eq!(journal.snapshot().closings().revision(), 0);
}

#[test]
fn a_file_does_not_take_over_what_the_api_made() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    apply(&journal, POLICIES);
    let of_api = "UPDATE resources SET origin = 'api' WHERE kind = 'egress_policy'";
    journal.writer().execute(of_api, ()).unwrap();
    let file = file::parse(POLICIES).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let refused = journal.apply_file(&file, NOW, "test").unwrap_err();
    assert_eq!(refused.code(), "foreign_resource");
    let other =
        "egress_policies: [{name: other, ports: [80]}]\nprojects: [{name: out, type: outgoing}]";
    assert_eq!(apply(&journal, other), Some(2));
    assert_eq!(policies(&journal).len(), 3);
}

#[test]
fn a_policy_for_a_project_that_there_is_not_is_refused() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let known = "01JQ0000000000000000000001";
    let unknown = "01JQ0000000000000000000009";
    let text = |uid: &str, projects: &str| {
        format!(
            "egress_policies: [{{name: p, projects: [{uid}], ports: [80]}}]\nprojects: {projects}"
        )
    };
    let refused = |uid: &str, projects: &str| {
        let file = file::parse(&text(uid, projects)).unwrap_or_else(|all| panic!("{all:#?}"));
        let refused = journal.apply_file(&file, NOW, "test").unwrap_err();
        assert_eq!(refused.code(), "unknown_project");
        assert_eq!(
            refused.to_string(),
            format!(
                "egress policy `p`: `projects` names {uid}, and there is no project with that uid, in the file or in the journal"
            )
        );
    };
    let with = format!("[{{name: out, type: outgoing, uid: {known}}}]");
    refused(unknown, &with);
    refused(known, "[]");
    assert_eq!(apply(&journal, &format!("projects: {with}")), Some(1));
    // It goes with this file.
    refused(known, "[]");
    let of_api = "UPDATE resources SET origin = 'api' WHERE kind = 'project'";
    journal.writer().execute(of_api, ()).unwrap();
    assert_eq!(apply(&journal, &text(known, "[]")), Some(2));
    // Whoever deletes it does not stop the next start.
    let gone = "UPDATE resources SET origin = 'file' WHERE kind = 'project'";
    journal.writer().execute(gone, ()).unwrap();
    assert_eq!(apply(&journal, &text(known, "[]")), Some(3));
    assert_eq!(apply(&journal, &text(known, "[]")), None);
}

#[test]
fn policies_of_the_file_and_of_the_api_count_together() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir);
    let text = |name: &str, count: usize| {
        let one = |n: usize| format!("  - {{name: {name}{n}, ports: [80]}}\n");
        let all: String = (0..count).map(one).collect();
        format!("egress_policies:\n{all}projects: []\n")
    };
    assert_eq!(apply(&journal, &text("a", 60)), Some(1));
    let of_api = "UPDATE resources SET origin = 'api' WHERE kind = 'egress_policy'";
    journal.writer().execute(of_api, ()).unwrap();
    let file = file::parse(&text("b", 41)).unwrap_or_else(|all| panic!("{all:#?}"));
    let refused = journal.apply_file(&file, NOW, "test").unwrap_err();
    assert_eq!(refused.code(), "too_many_policies");
    assert_eq!(apply(&journal, &text("b", 40)), Some(2));
    assert_eq!(apply(&journal, &text("b", 40)), None);
}
