//! From text to specifications: everything that can be said of one resource alone.

use outrider_webhook::id::Uid;
use serde::de::DeserializeOwned;

use super::check::{Checked, check};
use super::{File, Item, ProjectItem};
use crate::input::{Node, Value, read};
use crate::problem::Problem;
use crate::resource::{ApiKeySpec, EgressPolicySpec, EgressPoolSpec, FieldError, SubscriptionSpec};

/// Fields of a project in a file that are not in its specification.
const PROJECT_FIELDS: &[&str] = &[
    "uid",
    "event_types",
    "sources",
    "endpoints",
    "subscriptions",
    "api_keys",
];

/// A specification as it was read, and where.
pub(super) struct Read<S> {
    pub(super) uid: Option<Uid>,
    pub(super) spec: S,
    pub(super) place: Place,
}

/// Where a resource stands, and which of its fields did not even have the right type.
pub(super) struct Place {
    path: String,
    node: Node,
    /// `uid` is not in the node any more.
    uid_line: Option<u32>,
    misfits: Vec<String>,
}

/// What is of no project, as it was read.
pub(super) struct Installation {
    pub(super) egress_policies: Vec<Read<EgressPolicySpec>>,
    pub(super) egress_pools: Vec<Read<EgressPoolSpec>>,
}

/// A project as it was read.
pub(super) struct ReadProject {
    pub(super) project: Read<crate::resource::ProjectSpec>,
    pub(super) event_types: Vec<Read<crate::resource::EventTypeSpec>>,
    pub(super) sources: Vec<Read<crate::resource::SourceSpec>>,
    pub(super) endpoints: Vec<Read<crate::resource::EndpointSpec>>,
    pub(super) subscriptions: Vec<Read<SubscriptionSpec>>,
    pub(super) api_keys: Vec<Read<ApiKeySpec>>,
}

impl Place {
    /// A problem of one field, or of the resource as a whole when the field is empty.
    pub(super) fn problem(&self, field: &str, message: impl Into<String>) -> Problem {
        Problem {
            path: join(&self.path, field),
            line: self.line(field),
            message: message.into(),
        }
    }

    pub(super) fn line(&self, field: &str) -> Option<u32> {
        match field {
            "uid" => self.uid_line.or(self.node.line),
            field => self.node.line_of(field),
        }
    }

    /// Whether the field was written.
    pub(super) fn has(&self, field: &str) -> bool {
        self.node.get(field).is_some()
    }

    /// Whether something in a field, or all of it, did not even have the right type.
    pub(super) fn misfits_in(&self, field: &str) -> bool {
        self.misfits.iter().any(|path| path.starts_with(field))
    }

    /// The problems of a specification, without those that follow from another type error.
    pub(super) fn report(&self, errors: Vec<FieldError>, problems: &mut Vec<Problem>) {
        for error in errors {
            let is_known = self
                .misfits
                .iter()
                .any(|path| error.field.starts_with(path.as_str()));
            if !is_known {
                problems.push(self.problem(&error.field, error.reason.to_string()));
            }
        }
    }
}

impl<S> Read<S> {
    fn item(self) -> Item<S> {
        Item {
            uid: self.uid,
            spec: self.spec,
        }
    }
}

pub(super) fn parse(text: &str) -> Result<File, Vec<Problem>> {
    let mut root = Node::from_yaml(text).map_err(|problem| vec![problem])?;
    let mut problems = Vec::new();
    let mut projects = Vec::new();
    let (policies, pools) = (root.take("egress_policies"), root.take("egress_pools"));
    let list = root.take("projects");
    let is_empty = list.is_none() && pools.is_none() && policies.is_none();
    if is_empty && matches!(root.value, Value::Map(_) | Value::Null) {
        problems.push(Problem {
            path: "projects".into(),
            line: root.line,
            message: "is missing".into(),
        });
    }
    unknown_top_level(&root, &mut problems);
    let policies = items(policies, "egress_policies", &mut problems);
    let pools = items(pools, "egress_pools", &mut problems);
    let installation = Installation {
        egress_policies: resources(policies, &mut problems),
        egress_pools: resources(pools, &mut problems),
    };
    for (path, node) in items(list, "projects", &mut problems) {
        projects.extend(project(path, node, &mut problems));
    }
    let Checked = check(&installation, &projects, &mut problems);
    if problems.is_empty() {
        let Installation {
            egress_policies,
            egress_pools,
        } = installation;
        return Ok(File {
            egress_policies: egress_policies.into_iter().map(Read::item).collect(),
            egress_pools: egress_pools.into_iter().map(Read::item).collect(),
            projects: projects.into_iter().map(ReadProject::item).collect(),
        });
    }
    problems.sort_by_key(|problem| problem.line);
    Err(problems)
}

impl ReadProject {
    fn item(self) -> ProjectItem {
        ProjectItem {
            uid: self.project.uid,
            spec: self.project.spec,
            event_types: self.event_types.into_iter().map(Read::item).collect(),
            sources: self.sources.into_iter().map(Read::item).collect(),
            endpoints: self.endpoints.into_iter().map(Read::item).collect(),
            subscriptions: self.subscriptions.into_iter().map(Read::item).collect(),
            api_keys: self.api_keys.into_iter().map(Read::item).collect(),
        }
    }
}

fn unknown_top_level(root: &Node, problems: &mut Vec<Problem>) {
    match &root.value {
        Value::Map(entries) => problems.extend(entries.iter().map(|entry| Problem {
            path: entry.key.clone(),
            line: entry.node.line,
            message: "unknown field; a resource file has `egress_policies`, `egress_pools` and `projects` only".into(),
        })),
        Value::Null => {}
        _ => problems.push(Problem {
            path: String::new(),
            line: root.line,
            message: "a resource file is a map with the fields `egress_policies`, `egress_pools` and `projects`"
                .into(),
        }),
    }
}

fn project(path: String, mut node: Node, problems: &mut Vec<Problem>) -> Option<ReadProject> {
    let lists = [
        node.take("event_types"),
        node.take("sources"),
        node.take("endpoints"),
        node.take("subscriptions"),
        node.take("api_keys"),
    ];
    let [event_types, sources, endpoints, subscriptions, api_keys] = lists;
    let list =
        |list, name: &str, problems: &mut Vec<Problem>| items(list, &join(&path, name), problems);
    let event_types = list(event_types, "event_types", problems);
    let sources = list(sources, "sources", problems);
    let endpoints = list(endpoints, "endpoints", problems);
    let subscriptions = list(subscriptions, "subscriptions", problems);
    let api_keys = list(api_keys, "api_keys", problems);
    let project = resource(path, node, PROJECT_FIELDS, problems);
    let event_types = resources(event_types, problems);
    let sources = resources(sources, problems);
    let endpoints = resources(endpoints, problems);
    let subscriptions = resources(subscriptions, problems);
    let mut api_keys: Vec<Read<ApiKeySpec>> = resources(api_keys, problems);
    for key in &mut api_keys {
        if let Err(error) = key.spec.seal() {
            key.place.misfits.push("key".into()); // covers `key_sha256` too, which is then missing
            problems.push(key.place.problem(&error.field, error.reason.to_string()));
        }
    }
    Some(ReadProject {
        project: project?,
        event_types,
        sources,
        endpoints,
        subscriptions,
        api_keys,
    })
}

/// The items of a list, each with its path.
fn items(list: Option<Node>, path: &str, problems: &mut Vec<Problem>) -> Vec<(String, Node)> {
    match list {
        None
        | Some(Node {
            value: Value::Null, ..
        }) => Vec::new(),
        Some(Node {
            value: Value::List(nodes),
            ..
        }) => nodes
            .into_iter()
            .enumerate()
            .map(|(index, node)| (format!("{path}[{index}]"), node))
            .collect(),
        Some(node) => {
            problems.push(Problem {
                path: path.to_owned(),
                line: node.line,
                message: "a list is expected".into(),
            });
            Vec::new()
        }
    }
}

fn resources<S: DeserializeOwned>(
    items: Vec<(String, Node)>,
    problems: &mut Vec<Problem>,
) -> Vec<Read<S>> {
    items
        .into_iter()
        .filter_map(|(path, node)| resource(path, node, &["uid"], problems))
        .collect()
}

fn resource<S: DeserializeOwned>(
    path: String,
    mut node: Node,
    fields: &[&'static str],
    problems: &mut Vec<Problem>,
) -> Option<Read<S>> {
    let written = node.take("uid");
    let uid_line = written.as_ref().and_then(|node| node.line);
    let uid = uid(&path, written, problems);
    let mut findings = Vec::new();
    let spec = read(&mut node, fields, &mut findings);
    let mut misfits = Vec::with_capacity(findings.len());
    for finding in findings {
        let line = finding.line.or(node.line);
        problems.push(Problem {
            path: join(&path, &finding.path),
            line,
            message: finding.fault.to_string(),
        });
        misfits.push(finding.path);
    }
    Some(Read {
        uid,
        spec: spec?,
        place: Place {
            path,
            node,
            uid_line,
            misfits,
        },
    })
}

fn uid(path: &str, node: Option<Node>, problems: &mut Vec<Problem>) -> Option<Uid> {
    let mut node = node?;
    let line = node.line;
    let text: Option<String> = read(&mut node, &[], &mut Vec::new());
    let uid = text.and_then(|text| text.parse().ok());
    if uid.is_none() {
        let message = "must be a uid: 26 characters of Crockford base32 in upper case".into();
        problems.push(Problem {
            path: join(path, "uid"),
            line,
            message,
        });
    }
    uid
}

fn join(path: &str, field: &str) -> String {
    match (path, field) {
        (path, "") => path.to_owned(),
        ("", field) => field.to_owned(),
        (path, field) => format!("{path}.{field}"),
    }
}
