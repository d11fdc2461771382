//! Resource files for tests. JSON is YAML, so one is built as a value and written as text.

use serde_json::{Value, json};

use super::listed;
use super::receiver::Receiver;

/// API key of the outgoing project.
pub(crate) const API_KEY: &str =
    "CO.outgoingoutgoing.0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJ";
/// Mask of the GitHub source of the incoming project.
pub(crate) const MASK: &str = "githubsource0001";
/// Uid of the outgoing project.
pub(crate) const OUTGOING: &str = "01JQ0000000000000000000001";
/// Uid of the incoming project.
const INCOMING: &str = "01JQ0000000000000000000002";

/// What a control plane with weaker rules than this data plane's would do: the document of every
/// change goes out with another scheme.
pub(crate) const WEAKER: &str = "
    CREATE TRIGGER weaker AFTER INSERT ON changes WHEN NEW.kind = 'endpoint' BEGIN
        UPDATE changes SET after = CAST(replace(CAST(after AS TEXT), 'http://', 'ftp://') AS BLOB)
        WHERE revision = NEW.revision AND seq = NEW.seq;
    END";

/// A fixed uid, for the resources a test names.
pub(crate) fn uid(number: u32) -> String {
    format!("01JQ00000000000000001{number:05}")
}

/// An endpoint with what tests vary.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    fields: Value,
    event_types: Vec<&'static str>,
    filter: Value,
}

impl Endpoint {
    /// Delivers everything to `url`, gives up on a slow receiver after a second.
    pub(crate) fn new(number: u32, url: &str, secret: &str) -> Self {
        let fields = json!({
            "name": format!("endpoint-{number}"),
            "uid": uid(number),
            "url": url,
            "secret": secret,
            "http_timeout": 1,
        });
        Self {
            fields,
            event_types: vec!["*"],
            filter: Value::Null,
        }
    }

    /// Sets a field of the resource.
    pub(crate) fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.fields[field] = value.into();
        self
    }

    /// Subscribes to these event types only.
    pub(crate) fn event_types(mut self, types: &[&'static str]) -> Self {
        self.event_types = types.to_vec();
        self
    }

    /// Subscribes to events that this filter takes only.
    pub(crate) fn filter(mut self, filter: Value) -> Self {
        self.filter = filter;
        self
    }

    fn subscription(&self, source: Option<&str>) -> Value {
        let mut made = json!({
            "name": format!("to {}", self.fields["name"].as_str().unwrap()),
            "endpoint_id": self.fields["name"],
            "filter_config": {"event_types": self.event_types, "filter": self.filter},
        });
        if let Some(source) = source {
            made["source_id"] = source.into();
        }
        made
    }
}

/// A resource file in the making.
#[derive(Debug, Clone, Default)]
pub(crate) struct Resources {
    projects: Vec<Value>,
    egress_pools: Vec<Value>,
    egress_policies: Vec<Value>,
}

impl Resources {
    /// The outgoing project with one endpoint per receiver named here.
    pub(crate) fn outgoing(endpoints: &[Endpoint]) -> Self {
        let keys = json!([{"name": "producer", "key": API_KEY}]);
        Self::default().and(project(
            "shop", "outgoing", OUTGOING, None, endpoints, &keys,
        ))
    }

    /// The incoming project with a GitHub source.
    pub(crate) fn incoming(secret: &str, endpoints: &[Endpoint]) -> Self {
        let source = json!({
            "name": "github",
            "type": "http",
            "provider": "github",
            "mask_id": MASK,
            "verifier": {"type": "hmac", "hmac": {"secret": secret}},
        });
        Self::default().and(project(
            "intake",
            "incoming",
            INCOMING,
            Some(source),
            endpoints,
            &json!([]),
        ))
    }

    /// The incoming project with these sources, and nobody who gets their events.
    pub(crate) fn sources(sources: Vec<Value>) -> Self {
        let mut made = project("intake", "incoming", INCOMING, None, &[], &json!([]));
        made["sources"] = sources.into();
        Self::default().and(made)
    }

    /// The outgoing project with a single endpoint at the receiver.
    pub(crate) fn outgoing_to(receiver: &Receiver, secret: &str) -> Self {
        Self::outgoing(&[Endpoint::new(1, &receiver.url("/hook"), secret)])
    }

    /// Another outgoing project with nothing but a key.
    pub(crate) fn and_project_with_key(self, name: &str, project_uid: &str, key: &str) -> Self {
        let keys = json!([{"name": "producer", "key": key}]);
        self.and(project(name, "outgoing", project_uid, None, &[], &keys))
    }

    /// Joins two files.
    pub(crate) fn and_all(mut self, other: Self) -> Self {
        self.projects.extend(other.projects);
        self.egress_pools.extend(other.egress_pools);
        self.egress_policies.extend(other.egress_policies);
        self
    }

    /// One more pool of source addresses, all of them active.
    pub(crate) fn and_egress_pool(mut self, name: &str, addresses: &[&str], more: &Value) -> Self {
        let addresses = addresses.iter().map(|address| json!({"address": address}));
        let mut pool = json!({"name": name, "addresses": addresses.collect::<Vec<_>>()});
        for (field, value) in more.as_object().unwrap() {
            pool[field] = value.clone();
        }
        self.egress_pools.push(pool);
        self
    }

    /// One more policy that closes destinations.
    pub(crate) fn and_egress_policy(mut self, policy: Value) -> Self {
        self.egress_policies.push(policy);
        self
    }

    /// Sets a field of the configuration of every project.
    pub(crate) fn config(mut self, field: &str, value: impl Into<Value> + Clone) -> Self {
        for project in &mut self.projects {
            project["config"][field] = value.clone().into();
        }
        self
    }

    /// Sets a field of every project.
    pub(crate) fn with(mut self, field: &str, value: &Value) -> Self {
        for project in &mut self.projects {
            project[field] = value.clone();
        }
        self
    }

    /// Sets a field of every source.
    pub(crate) fn each_source(mut self, field: &str, value: impl Into<Value> + Clone) -> Self {
        for project in &mut self.projects {
            for source in project["sources"].as_array_mut().into_iter().flatten() {
                source[field] = value.clone().into();
            }
        }
        self
    }

    /// Sets a field of every API key.
    pub(crate) fn each_key(mut self, field: &str, value: impl Into<Value> + Clone) -> Self {
        for project in &mut self.projects {
            for key in project["api_keys"].as_array_mut().into_iter().flatten() {
                key[field] = value.clone().into();
            }
        }
        self
    }

    /// The text of the file.
    pub(crate) fn text(&self) -> String {
        listed::leaves_from(&self.egress_pools);
        self.with_pools(&self.egress_pools)
    }

    /// The text with a pool to leave from, unless the test has its own.
    pub(super) fn text_with_a_pool(&self) -> String {
        let own = listed::pools();
        let pools = if self.egress_pools.is_empty() {
            &own
        } else {
            &self.egress_pools
        };
        listed::leaves_from(pools);
        self.with_pools(pools)
    }

    fn with_pools(&self, pools: &[Value]) -> String {
        let (policies, projects) = (&self.egress_policies, &self.projects);
        let file =
            json!({"egress_policies": policies, "egress_pools": pools, "projects": projects});
        serde_json::to_string_pretty(&file).unwrap()
    }

    fn and(mut self, project: Value) -> Self {
        self.projects.push(project);
        self
    }
}

/// Retries once a second, often enough for any receiver that recovers at all.
fn project(
    name: &str,
    kind: &str,
    uid: &str,
    source: Option<Value>,
    endpoints: &[Endpoint],
    keys: &Value,
) -> Value {
    let source_name = source
        .as_ref()
        .map(|source| source["name"].as_str().unwrap().to_owned());
    let subscriptions: Vec<Value> = endpoints
        .iter()
        .map(|endpoint| endpoint.subscription(source_name.as_deref()))
        .collect();
    let endpoints: Vec<&Value> = endpoints.iter().map(|endpoint| &endpoint.fields).collect();
    json!({
        "name": name,
        "type": kind,
        "uid": uid,
        "config": {"strategy": {"type": "linear", "duration": 1, "retry_count": 50}},
        "sources": source.into_iter().collect::<Vec<_>>(),
        "endpoints": endpoints,
        "subscriptions": subscriptions,
        "api_keys": keys,
    })
}
