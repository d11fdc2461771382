//! What the resources of a file must be to each other, and each of them to the rules.

use std::collections::HashMap;
use std::hash::Hash;

use outrider_webhook::id::{
    ApiKeyId, EndpointId, EventTypeId, ProjectId, SourceId, SubscriptionId, Uid,
};

use super::homes::Homes;
use super::parse::{Installation, Place, Read, ReadProject};
use super::{policies, pools};
use crate::document::Kind;
use crate::input::closest;
use crate::problem::Problem;
use crate::resource::{ApiKey, Endpoint, EventType, Project, ProjectSpec, Source, Subscription};

/// Stands for ids that the journal will give; checks do not look at it.
const SOME_UID: Uid = Uid::from_bits(0);
/// Stands for a mask that the journal will make up.
const SOME_MASK: &str = "made-up";

/// Says that the checks ran: their result is in the problems.
pub(super) struct Checked;

pub(super) fn check(
    installation: &Installation,
    projects: &[ReadProject],
    problems: &mut Vec<Problem>,
) -> Checked {
    let Installation {
        egress_policies,
        egress_pools,
    } = installation;
    let homes = Homes::of(projects);
    policies::check(egress_policies, &homes, problems);
    pools::check(egress_pools, (&homes, projects), problems);
    let (mut uids, mut names) = (Unique::new("the uid"), Unique::new("the name"));
    let (mut masks, mut keys) = (Unique::new("the mask"), Unique::new("the key"));
    for policy in egress_policies {
        uids.claim("uid", policy.uid, &policy.place, problems);
    }
    for pool in egress_pools {
        uids.claim("uid", pool.uid, &pool.place, problems);
    }
    for read in projects {
        names.claim(
            "name",
            read.project.spec.name.as_deref(),
            &read.project.place,
            problems,
        );
        uids.claim("uid", read.project.uid, &read.project.place, problems);
        for event_type in &read.event_types {
            uids.claim("uid", event_type.uid, &event_type.place, problems);
        }
        for source in &read.sources {
            uids.claim("uid", source.uid, &source.place, problems);
            masks.claim(
                "mask_id",
                source.spec.mask_id.as_deref(),
                &source.place,
                problems,
            );
        }
        for endpoint in &read.endpoints {
            uids.claim("uid", endpoint.uid, &endpoint.place, problems);
        }
        for subscription in &read.subscriptions {
            uids.claim("uid", subscription.uid, &subscription.place, problems);
        }
        for key in &read.api_keys {
            uids.claim("uid", key.uid, &key.place, problems);
            let digest = key
                .spec
                .key_sha256
                .as_ref()
                .map(|hex| hex.to_ascii_lowercase());
            keys.claim(
                if key.place.has("key") {
                    "key"
                } else {
                    "key_sha256"
                },
                digest,
                &key.place,
                problems,
            );
        }
        check_project(read, problems);
    }
    Checked
}

fn check_project(read: &ReadProject, problems: &mut Vec<Problem>) {
    unique_names(&read.event_types, |spec| spec.name.as_deref(), problems);
    unique_names(&read.sources, |spec| spec.name.as_deref(), problems);
    unique_names(&read.endpoints, |spec| spec.name.as_deref(), problems);
    unique_names(&read.subscriptions, |spec| spec.name.as_deref(), problems);
    unique_names(&read.api_keys, |spec| spec.name.as_deref(), problems);
    let Some(project) = compile_project(read, problems) else {
        return;
    };
    for Read { spec, place, .. } in &read.event_types {
        let checked = EventType::compile(EventTypeId::new(SOME_UID), 0, &project, spec);
        place.report(checked.err().unwrap_or_default(), problems);
    }
    for source in &read.sources {
        let mut spec = source.spec.clone();
        spec.mask_id.get_or_insert_with(|| SOME_MASK.to_owned());
        let checked = Source::compile(SourceId::new(SOME_UID), 0, &project, &spec);
        source
            .place
            .report(checked.err().unwrap_or_default(), problems);
    }
    for endpoint in &read.endpoints {
        let checked = Endpoint::compile(EndpointId::new(SOME_UID), 0, &project, &endpoint.spec);
        endpoint
            .place
            .report(checked.err().unwrap_or_default(), problems);
    }
    check_subscriptions(read, &project, problems);
    for key in &read.api_keys {
        let checked = ApiKey::compile(ApiKeyId::new(SOME_UID), 0, &project, &key.spec);
        key.place
            .report(checked.err().unwrap_or_default(), problems);
    }
}

/// The project, or one of the same type in its place when it cannot be used, so that the
/// problems of what is in it are still found.
fn compile_project(read: &ReadProject, problems: &mut Vec<Problem>) -> Option<Project> {
    let id = ProjectId::new(SOME_UID);
    let errors = match Project::compile(id, 0, &read.project.spec) {
        Ok(project) => return Some(project),
        Err(errors) => errors,
    };
    read.project.place.report(errors, problems);
    let kind = match read.project.spec.kind.as_deref() {
        Some(kind @ ("incoming" | "outgoing")) => kind,
        _ if read.sources.is_empty() => "outgoing",
        _ => "incoming",
    };
    let spec = ProjectSpec {
        name: Some("-".into()),
        kind: Some(kind.into()),
        ..ProjectSpec::default()
    };
    Project::compile(id, 0, &spec).ok()
}

fn check_subscriptions(read: &ReadProject, project: &Project, problems: &mut Vec<Problem>) {
    let endpoints = Names::of(&read.endpoints, |spec| spec.name.as_deref());
    let sources = Names::of(&read.sources, |spec| spec.name.as_deref());
    let mut of_endpoint: HashMap<&str, Option<u32>> = HashMap::new();
    for Read { spec, place, .. } in &read.subscriptions {
        if let Some(text) = spec.endpoint_id.as_deref() {
            endpoints.check(text, Kind::Endpoint, "endpoint_id", place, problems);
            let first = of_endpoint.insert(endpoints.canonical(text), place.line("endpoint_id"));
            if let (Some(first), false) = (first, project.has_many_subscriptions()) {
                let message = format!(
                    "a subscription for this endpoint already exists{}; an outgoing project has several only \
                     with `config.multiple_endpoint_subscriptions: true`",
                    on_line(first)
                );
                problems.push(place.problem("endpoint_id", message));
            }
        }
        if let Some(text) = spec.source_id.as_deref() {
            sources.check(text, Kind::Source, "source_id", place, problems);
        }
        // The references were checked here; for the rest they are some ids.
        let some = |text: &Option<String>| text.as_ref().map(|_| SOME_UID.to_string());
        let mut spec = spec.clone();
        (spec.endpoint_id, spec.source_id) = (some(&spec.endpoint_id), some(&spec.source_id));
        let checked = Subscription::compile(SubscriptionId::new(SOME_UID), 0, project, &spec);
        place.report(checked.err().unwrap_or_default(), problems);
    }
}

/// What a reference may name.
struct Names<'r> {
    /// Names and uids, each with the name of the resource if it has one.
    known: HashMap<String, &'r str>,
}

impl<'r> Names<'r> {
    fn of<S>(resources: &'r [Read<S>], name: impl Fn(&'r S) -> Option<&'r str>) -> Self {
        let mut known = HashMap::new();
        for resource in resources {
            let name = name(&resource.spec).unwrap_or_default();
            known.insert(name.to_owned(), name);
            if let Some(uid) = resource.uid {
                known.insert(uid.to_string(), name);
            }
        }
        Self { known }
    }

    /// The same text for the same resource, however it is named.
    fn canonical<'t>(&'t self, text: &'t str) -> &'t str {
        self.known.get(text).copied().unwrap_or(text)
    }

    fn check(
        &self,
        text: &str,
        kind: Kind,
        field: &str,
        place: &Place,
        problems: &mut Vec<Problem>,
    ) {
        if text.is_empty() || self.known.contains_key(text) {
            return;
        }
        let hint = match closest(text, self.known.values().copied()) {
            Some(meant) => format!("; did you mean `{meant}`?"),
            None => String::new(),
        };
        let message =
            format!("this project has no {kind} with the name or uid `{text}` in this file{hint}");
        problems.push(place.problem(field, message));
    }
}

fn unique_names<'r, S>(
    resources: &'r [Read<S>],
    name: impl Fn(&'r S) -> Option<&'r str>,
    problems: &mut Vec<Problem>,
) {
    let mut names = Unique::new("the name");
    for resource in resources {
        names.claim("name", name(&resource.spec), &resource.place, problems);
    }
}

/// Values that only one resource may have, and the line of the first that has them.
struct Unique<K> {
    what: &'static str,
    lines: HashMap<K, Option<u32>>,
}

impl<K: Eq + Hash> Unique<K> {
    fn new(what: &'static str) -> Self {
        Self {
            what,
            lines: HashMap::new(),
        }
    }

    fn claim(&mut self, field: &str, value: Option<K>, place: &Place, problems: &mut Vec<Problem>) {
        let Some(value) = value else { return };
        match self.lines.get(&value) {
            Some(first) => {
                let message = format!("{} is already used{}", self.what, on_line(*first));
                problems.push(place.problem(field, message));
            }
            None => {
                self.lines.insert(value, place.line(field));
            }
        }
    }
}

fn on_line(line: Option<u32>) -> String {
    line.map(|line| format!(" on line {line}"))
        .unwrap_or_default()
}
