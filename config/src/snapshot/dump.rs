//! What `/config_dump` shows.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{ProjectTable, Snapshot};
use crate::resource::{
    ApiKey, EgressPolicy, EgressPool, Endpoint, EventType, Source, Subscription,
};

pub(super) fn dump(snapshot: &Snapshot) -> Value {
    let version = snapshot.version.map(
        |version| json!({ "journal": version.journal.to_string(), "revision": version.revision }),
    );
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
        "egress_policies": list(snapshot.egress_policies(), EgressPolicy::dump),
        "egress_pools": list(snapshot.egress_pools(), EgressPool::dump),
        "projects": snapshot.projects.values().map(|table| project(table)).collect::<Vec<_>>(),
        "quarantined": held.collect::<Vec<_>>(),
    })
}

fn project(table: &ProjectTable) -> Value {
    let mut value = table.project().dump();
    if let Some(fields) = value.as_object_mut() {
        let event_types = list(table.event_types(), EventType::dump);
        fields.insert("event_types".into(), event_types);
        fields.insert("sources".into(), list(table.sources(), Source::dump));
        fields.insert("endpoints".into(), list(table.endpoints(), Endpoint::dump));
        fields.insert(
            "subscriptions".into(),
            list(table.subscriptions(), Subscription::dump),
        );
        fields.insert("api_keys".into(), list(table.api_keys(), ApiKey::dump));
    }
    value
}

fn list<'r, R: 'r>(
    resources: impl Iterator<Item = &'r Arc<R>>,
    show: impl Fn(&R) -> Value,
) -> Value {
    resources.map(|resource| show(resource)).collect()
}
