//! What `/config_dump` shows.

use serde_json::{Value, json};

use super::{ProjectTable, Snapshot};

pub(super) fn dump(snapshot: &Snapshot) -> Value {
    let version = snapshot.version.map(
        |version| json!({ "journal": version.journal.to_string(), "revision": version.revision }),
    );
    let mut tables: Vec<_> = snapshot.projects.values().collect();
    tables.sort_by_key(|table| table.project().id());
    let held = snapshot.held.iter().map(|((project, kind, uid), held)| {
        json!({
            "kind": kind.as_str(),
            "uid": uid.to_string(),
            "project": project.to_string(),
            "revision": held.pending.revision(),
            "reason": held.reason,
        })
    });
    json!({
        "version": version,
        "projects": tables.into_iter().map(|table| project(table)).collect::<Vec<_>>(),
        "quarantined": held.collect::<Vec<_>>(),
    })
}

fn project(table: &ProjectTable) -> Value {
    let mut value = table.project().dump();
    if let Some(fields) = value.as_object_mut() {
        fields.insert(
            "sources".into(),
            list(table.sources(), |source| (source.id(), source.dump())),
        );
        fields.insert(
            "endpoints".into(),
            list(table.endpoints(), |endpoint| {
                (endpoint.id(), endpoint.dump())
            }),
        );
        let subscriptions = list(table.subscriptions(), |subscription| {
            (subscription.id(), subscription.dump())
        });
        fields.insert("subscriptions".into(), subscriptions);
        fields.insert(
            "api_keys".into(),
            list(table.api_keys(), |key| (key.id(), key.dump())),
        );
    }
    value
}

/// In the order of the ids.
fn list<R, I: Ord>(resources: impl Iterator<Item = R>, show: impl Fn(R) -> (I, Value)) -> Value {
    let mut shown: Vec<_> = resources.map(show).collect();
    shown.sort_by(|(a, _), (b, _)| a.cmp(b));
    shown.into_iter().map(|(_, value)| value).collect()
}
