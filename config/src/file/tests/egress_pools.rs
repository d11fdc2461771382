//! Pools of source addresses in a resource file.

use super::*;
use crate::snapshot::PoolChoice;

#[test]
fn bad_pools_and_names_of_pools_are_named_with_their_line() {
    let text = "\
egress_pools:
  - {name: eu, addresses: [{address: 192.0.2.1}], fallback: us}
  - {name: us-1, addresses: [{address: 192.0.2.1}]}
  - {name: us-1, addresses: [{address: 192.0.2.2}, {address: nowhere}]}
  - {name: eu, addresses: [{address: 192.0.2.9}]}
  - {name: acme, mode: dedicated, projects: [a, aa], addresses: [{address: 192.0.2.3}]}
  - {name: both, addresses: [{address: 192.0.2.4}], fallback: acme}
  - {name: none, mode: dedicated, adresses: []}
projects:
  - {name: a, type: outgoing, egress_pool: eu1}
  - name: b
    type: outgoing
    egress_pool: acme
    endpoints:
      - {name: e, url: 'https://a.example/', secret: s, egress_pool: E U}
      - {name: f, url: 'https://a.example/', secret: s, egress_pool: none}
";
    expect(
        text,
        &[
            ("line 2: egress_pools[0].fallback: ", "no egress pool `us`"),
            (
                "line 3: egress_pools[1].addresses[0].address: ",
                "192.0.2.1 is in the egress pool `eu` already",
            ),
            (
                "line 4: egress_pools[2].addresses[1].address: ",
                "one IPv4 or IPv6 address",
            ),
            (
                "line 5: egress_pools[3].name: ",
                "called `eu` already exists",
            ),
            (
                "line 6: egress_pools[4].projects[1]: ",
                "no project with the name `aa`, which is no uid either; did you mean `a`?",
            ),
            (
                "line 7: egress_pools[5].fallback: ",
                "`acme` is dedicated and not for everybody",
            ),
            (
                "line 8: egress_pools[6].adresses: ",
                "did you mean `addresses`",
            ),
            ("line 8: egress_pools[6].addresses: ", "missing"),
            ("line 8: egress_pools[6].projects: ", "missing"),
            (
                "line 10: projects[0].egress_pool: ",
                "this file has no egress pool `eu1`; did you mean `eu`?",
            ),
            (
                "line 13: projects[1].egress_pool: ",
                "`acme` is dedicated and does not list this project",
            ),
            (
                "line 15: projects[1].endpoints[0].egress_pool: ",
                "must be 1 to 63 of",
            ),
        ],
    );
    expect(
        "egress_pools: [{name: a, updated_at: 2026-01-01T00:00:00Z, addresses: [{address: 192.0.2.1}]}]\n",
        &[("line 1: egress_pools[0].updated_at: ", "noted by itself")],
    );
    expect(
        "egress_pools: {}\n",
        &[("line 1: egress_pools: ", "a list is expected")],
    );
}

#[test]
fn a_file_of_pools_alone_is_a_resource_file() {
    let text = "egress_pool: [{name: eu, addresses: [{address: 192.0.2.1}]}]\n";
    let problems = crate::check(text);
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(
        texts
            .iter()
            .any(|text| text.contains("has `egress_policies`, `egress_pools` and `projects` only"))
    );
    let text = text.replace("egress_pool:", "egress_pools:");
    assert_eq!(crate::check(&text), []);
}

#[test]
fn a_pool_of_a_file_is_for_the_projects_that_it_names() {
    let text = "\
egress_pools:
  - name: acme
    mode: dedicated
    projects: [b, 01JD4N3T8Q2W5X6Y7Z8A9B0C1Z]
    addresses:
      - {address: '2001:db8::1', state: warming, effective_at: 2026-12-24T00:00:00Z}
      - {address: 192.0.2.1}
  - {name: default, addresses: [{address: 192.0.2.7}]}
projects:
  - {name: a, type: outgoing}
  - {name: b, type: outgoing, egress_pool: acme}
";
    let file = parse(text).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let planned = file.plan(&mut Counting::default()).unwrap();
    let upserts = planned.iter().map(|one| Document {
        kind: one.kind,
        uid: one.uid,
        project: one.project,
        revision: 1,
        spec: one.spec.clone(),
    });
    let transaction = Transaction {
        version: Version {
            journal: Uid::from_bits(1),
            revision: 1,
        },
        is_full: true,
        upserts: upserts.collect(),
        removals: Vec::new(),
    };
    let (snapshot, held) = Snapshot::empty().apply(&transaction);
    assert_eq!(held, []);
    let pool_of = |name: &str| {
        let is_it = |one: &&Planned| one.kind == Kind::Project && one.name == name;
        let project = planned.iter().find(is_it).unwrap().project;
        match snapshot.pool_of(snapshot.project(project).unwrap(), None) {
            PoolChoice::Named(pool) => pool.name().to_string(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!([pool_of("a"), pool_of("b")], ["default", "acme"]);
    let acme = snapshot.egress_pool("acme").unwrap();
    assert!(acme.serves("01JD4N3T8Q2W5X6Y7Z8A9B0C1Z".parse().unwrap()));
    assert_eq!(acme.projects().len(), 2);
}
