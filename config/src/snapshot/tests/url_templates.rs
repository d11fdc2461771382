//! Endpoints with URL templates in force.

use outrider_webhook::address::TargetUrl;

use super::*;

fn templated(id: u128, url: &str) -> Document {
    let spec = json!({"name": format!("e{id}"), "url": url, "secret": "hunter2"});
    document(Kind::Endpoint, id, 1, 1, &spec)
}

fn matched(snapshot: &Snapshot, url: &str) -> Vec<u128> {
    let table = snapshot.project(ProjectId::new(uid(1))).unwrap();
    let url = TargetUrl::parse(url).unwrap();
    let found = table.endpoints_matching(&url);
    found.map(|id| id.uid().bits()).collect()
}

#[test]
fn a_template_is_found_as_long_as_it_is_in_force() {
    let snapshot = start(vec![
        project(1, "outgoing"),
        templated(20, "https://h.example/{a}"),
        templated(21, "https://h.example/{a}/x"),
        templated(22, "https://h.example/plain"),
        project(2, "outgoing"),
    ]);
    assert_eq!(matched(&snapshot, "https://h.example/plain"), [20]);
    assert_eq!(matched(&snapshot, "https://h.example/1/x"), [21]);
    assert_eq!(matched(&snapshot, "http://h.example/1/x"), [0; 0]);
    let other = snapshot.project(ProjectId::new(uid(2))).unwrap();
    assert!(!other.has_url_templates());
    let mut edited = templated(21, "https://h.example/x{a}");
    edited.revision = 2;
    let removed = [(Kind::Endpoint, 20)];
    let (edited, quarantined) = snapshot.apply(&transaction(2, vec![edited], &removed));
    assert_eq!(quarantined, []);
    assert_eq!(matched(&edited, "https://h.example/xy"), [21]);
    assert_eq!(matched(&edited, "https://h.example/1/x"), [0; 0]);
    assert_eq!(
        matched(&snapshot, "https://h.example/1/x"),
        [21],
        "a snapshot never changes"
    );
    let gone = [(Kind::Endpoint, 21)];
    let (gone, _) = edited.apply(&transaction(3, Vec::new(), &gone));
    let table = gone.project(ProjectId::new(uid(1))).unwrap();
    assert!(!table.has_url_templates());
}

#[test]
fn a_host_has_a_bounded_number_of_templates_in_a_project() {
    let mut documents = vec![project(1, "outgoing")];
    documents.extend((0..100).map(|n| templated(100 + n, &format!("https://h.example/{n}/{{a}}"))));
    let snapshot = start(documents);
    let one_more = || templated(7, "https://h.example:443/one-more/{a}");
    let (held, quarantined) = snapshot.apply(&transaction(2, vec![one_more()], &[]));
    let (_, _, reason) = reasons(&quarantined)[0];
    assert_eq!(
        reason,
        "`url`: at most 100 endpoints of a project may have a URL template of the same scheme, host and port"
    );
    // Another site, a plain URL, and an edit of one that is there have room.
    let mut edited = templated(100, "https://h.example/edited/{a}");
    edited.revision = 3;
    let others = vec![
        templated(8, "https://h.example:444/one-more/{a}"),
        templated(9, "https://h.example/one-more/a"),
        edited,
    ];
    let (held, quarantined) = held.apply(&transaction(3, others, &[]));
    assert_eq!(quarantined.len(), 1, "{quarantined:?}"); // the one from before
    assert_eq!(matched(&held, "https://h.example/edited/1"), [100]);
    // There is room for it as soon as another is gone.
    assert_eq!(matched(&held, "https://h.example/one-more/1"), [0; 0]);
    let removed = [(Kind::Endpoint, 101)];
    let (free, quarantined) = held.apply(&transaction(4, Vec::new(), &removed));
    assert_eq!(quarantined, []);
    assert_eq!(matched(&free, "https://h.example/one-more/1"), [7]);
}

#[test]
fn the_dump_shows_a_template_without_its_query() {
    let snapshot = start(vec![
        project(1, "outgoing"),
        templated(20, "https://h.example/{a}?token=hunter2&b={c}"),
    ]);
    let dump = snapshot.dump().to_string();
    assert!(dump.contains("https://h.example/{}?***"), "{dump}");
    assert!(!dump.contains("hunter2"), "{dump}");
}
