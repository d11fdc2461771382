//! The projects of the run, made through the API as a person would.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use serde_json::{Value, json};

use super::mix::{self, BACKENDS, ENDPOINTS, OUTGOING, PLAIN_SOURCE, SOURCES};
use crate::http1::Connection;
use crate::sink::FAILING_PATH;

/// Secret of the GitHub source.
pub(super) const GITHUB_SECRET: &str = "bench-github-secret";

/// Everything that was made. Outgoing projects first, then the incoming one.
#[derive(Debug)]
pub(super) struct World {
    pub(super) admin_key: String,
    pub(super) projects: Vec<Project>,
}

/// A project, by the ids the gateway gave.
#[derive(Debug)]
pub(super) struct Project {
    pub(super) uid: String,
    /// Its first API key.
    pub(super) key: String,
    pub(super) endpoints: Vec<String>,
    pub(super) subscriptions: Vec<String>,
    pub(super) sources: Vec<Source>,
}

#[derive(Debug)]
pub(super) struct Source {
    pub(super) uid: String,
    pub(super) mask: String,
}

/// Name of an owner; other projects have owners of the same names.
pub(super) fn owner_name(owner: usize) -> String {
    format!("owner-{owner}")
}

impl World {
    /// Makes all of it through the listener at `address`.
    pub(super) async fn make(
        address: SocketAddr,
        admin_key: String,
        sink: SocketAddr,
    ) -> anyhow::Result<Self> {
        let mut maker = Maker {
            connection: Connection::open(address).await?,
            address,
            authorization: format!("Bearer {admin_key}"),
            sink,
        };
        let mut projects = Vec::new();
        for number in 0..OUTGOING {
            projects.push(maker.outgoing(number).await?);
        }
        projects.push(maker.incoming().await?);
        Ok(Self {
            admin_key,
            projects,
        })
    }
}

struct Maker {
    connection: Connection,
    address: SocketAddr,
    authorization: String,
    sink: SocketAddr,
}

impl Maker {
    async fn outgoing(&mut self, number: usize) -> anyhow::Result<Project> {
        let mut project = self
            .project(&format!("outgoing {number}"), "outgoing")
            .await?;
        for endpoint in 0..ENDPOINTS {
            let path = match mix::fails(number, endpoint) {
                true => FAILING_PATH,
                false => "/hook",
            };
            let body = json!({
                "name": format!("endpoint {endpoint}"),
                "url": format!("http://{}{path}/{number}/{endpoint}", self.sink),
                "owner_id": owner_name(mix::owner_of(endpoint)),
            });
            let uid = self.uid(&project.path("endpoints"), &body).await?;
            let types = mix::wanted_types(endpoint).unwrap_or_else(|| vec!["*"]);
            let body = json!({
                "name": format!("to endpoint {endpoint}"),
                "endpoint_id": uid,
                "filter_config": {"event_types": types},
            });
            project.endpoints.push(uid);
            let uid = self.uid(&project.path("subscriptions"), &body).await?;
            project.subscriptions.push(uid);
        }
        Ok(project)
    }

    async fn incoming(&mut self) -> anyhow::Result<Project> {
        let mut project = self.project("incoming", "incoming").await?;
        for number in 0..SOURCES {
            let body = match number {
                PLAIN_SOURCE => {
                    json!({"name": "plain", "type": "http", "verifier": {"type": "noop"}})
                }
                _ => json!({
                    "name": "code", "type": "http", "provider": "github",
                    "verifier": {"type": "hmac", "hmac": {"secret": GITHUB_SECRET}},
                }),
            };
            let made = self.post(&project.path("sources"), &body).await?;
            project.sources.push(Source {
                uid: text(&made, "/uid")?,
                mask: text(&made, "/mask_id")?,
            });
        }
        for number in 0..BACKENDS {
            let body = json!({
                "name": format!("backend {number}"),
                "url": format!("http://{}/hook/in/{number}", self.sink),
            });
            project
                .endpoints
                .push(self.uid(&project.path("endpoints"), &body).await?);
        }
        for (at, source) in project.sources.iter().enumerate() {
            for (number, endpoint) in project.endpoints.iter().enumerate() {
                let body = json!({
                    "name": format!("source {at} to backend {number}"),
                    "source_id": source.uid,
                    "endpoint_id": endpoint,
                });
                let uid = self.uid(&project.path("subscriptions"), &body).await?;
                project.subscriptions.push(uid);
            }
        }
        Ok(project)
    }

    async fn project(&mut self, name: &str, kind: &str) -> anyhow::Result<Project> {
        // One attempt each, so that what fails has failed for good.
        let strategy = json!({"type": "linear", "duration": 1, "retry_count": 1});
        let body = json!({"name": name, "type": kind, "config": {"strategy": strategy}});
        let made = self.post("/api/v1/projects?orgID=bench", &body).await?;
        Ok(Project {
            uid: text(&made, "/project/uid")?,
            key: text(&made, "/api_key/key")?,
            endpoints: Vec::new(),
            subscriptions: Vec::new(),
            sources: Vec::new(),
        })
    }

    async fn uid(&mut self, path: &str, body: &Value) -> anyhow::Result<String> {
        text(&self.post(path, body).await?, "/uid")
    }

    /// Posts, and gives the `data` of a 201.
    async fn post(&mut self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = Request::post(path)
            .header(header::HOST, self.address.to_string())
            .header(header::AUTHORIZATION, &self.authorization)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.to_string())))?;
        let answer = self.connection.send(request).await?;
        if answer.status() != http::StatusCode::CREATED {
            let said = String::from_utf8_lossy(answer.body());
            bail!("POST {path}: {}: {said}", answer.status());
        }
        let mut answer: Value = serde_json::from_slice(answer.body())?;
        Ok(answer.get_mut("data").map(Value::take).unwrap_or_default())
    }
}

impl Project {
    /// Path of something in it.
    pub(super) fn path(&self, rest: &str) -> String {
        format!("/api/v1/projects/{}/{rest}", self.uid)
    }
}

fn text(value: &Value, pointer: &str) -> anyhow::Result<String> {
    let found = value.pointer(pointer).and_then(Value::as_str);
    let found = found.with_context(|| format!("the reply has no `{pointer}`"))?;
    Ok(found.to_owned())
}
