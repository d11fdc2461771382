//! The configuration of a scenario: outgoing projects and their endpoints.

use serde_json::{Value, json};

use crate::payload::Target;

const SECRET: &str = "bench-endpoint-secret";

/// Projects, made from a resource file.
#[derive(Debug, Default)]
pub(super) struct World(pub(super) Vec<Project>);

/// An outgoing project.
#[derive(Debug)]
pub(super) struct Project {
    /// Different for each.
    pub(super) number: usize,
    /// How often and when its deliveries are retried.
    pub(super) strategy: Value,
    pub(super) has_breaker: bool,
    /// How long an attempt may take, seconds.
    pub(super) timeout_s: u64,
    /// URLs of its endpoints, which are all of one owner.
    pub(super) endpoints: Vec<String>,
}

impl World {
    /// The resource file: JSON, which is YAML too.
    pub(super) fn file(&self) -> String {
        let projects: Vec<Value> = self.0.iter().map(Project::resource).collect();
        json!({ "projects": projects }).to_string()
    }
}

impl Project {
    /// With retries that come soon and never end a delivery during a run.
    pub(super) fn new(number: usize, endpoints: Vec<String>) -> Self {
        Self {
            number,
            strategy: json!({"type": "linear", "duration": 5, "retry_count": 1000}),
            has_breaker: true,
            timeout_s: 10,
            endpoints,
        }
    }

    /// Events for one of its endpoints.
    pub(super) fn target(&self, endpoint: usize) -> Target {
        Target::Events {
            project: self.uid(),
            endpoint: self.endpoint_uid(endpoint),
            key: self.key(),
        }
    }

    /// Events for each of them.
    pub(super) fn fanout(&self) -> Target {
        Target::Fanout {
            project: self.uid(),
            owner: self.owner(),
            key: self.key(),
        }
    }

    fn uid(&self) -> String {
        format!("01BENCH0PR0JECT0{:010}", self.number)
    }

    fn endpoint_uid(&self, endpoint: usize) -> String {
        format!("01BENCH0ENDP{:04}{endpoint:010}", self.number)
    }

    fn owner(&self) -> String {
        format!("owner-{}", self.number)
    }

    fn key(&self) -> String {
        format!(
            "bench-key-{:03}-abcdefghijklmnopqrstuvwxyz012345",
            self.number
        )
    }

    fn resource(&self) -> Value {
        let name = |number| format!("endpoint {number}");
        let endpoint = |(number, url)| {
            json!({
                "name": name(number), "uid": self.endpoint_uid(number), "url": url,
                "secret": SECRET, "owner_id": self.owner(), "http_timeout": self.timeout_s,
            })
        };
        let subscription = |number| {
            json!({
                "name": format!("to {}", name(number)), "endpoint_id": name(number),
                "filter_config": {"event_types": ["*"]},
            })
        };
        json!({
            "name": format!("bench {}", self.number), "type": "outgoing", "uid": self.uid(),
            "config": {
                "strategy": self.strategy,
                "circuit_breaker": {"is_enabled": self.has_breaker},
            },
            "endpoints": self.endpoints.iter().enumerate().map(endpoint).collect::<Vec<_>>(),
            "subscriptions": (0..self.endpoints.len()).map(subscription).collect::<Vec<_>>(),
            "api_keys": [{"name": "bench", "key": self.key()}],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_one_that_the_gateway_takes() {
        let urls = |count| {
            (0..count)
                .map(|n| format!("http://127.0.0.1:9/{n}"))
                .collect()
        };
        let mut bare = Project::new(7, urls(1));
        bare.has_breaker = false;
        let world = World(vec![Project::new(0, urls(1_000)), bare]);
        let problems = outrider_config::check(&world.file());
        assert!(problems.is_empty(), "{problems:?}");
    }
}
