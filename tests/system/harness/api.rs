//! The REST API as its clients use it: JSON in, the whole reply out.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use super::http_client::{Client, Reply};
use super::listed;
use super::wait::{DEADLINE, until};

/// Says how far behind a list is; absent when it is not.
const LAG: &str = "x-outrider-index-lag-ms";

/// A client with a key, on one of the gateway's ports. Its paths begin below `root`.
pub(crate) struct Api {
    client: Client,
    address: SocketAddr,
    key: String,
    root: String,
}

impl Api {
    /// A client whose paths are whole.
    pub(crate) fn new(address: SocketAddr, key: &str) -> Self {
        Self {
            client: Client::new(address),
            address,
            key: key.to_owned(),
            root: String::new(),
        }
    }

    /// A client of one project, with a key of it: paths begin at the project.
    pub(crate) fn of_project(address: SocketAddr, project: &str, key: &str) -> Self {
        Self {
            root: format!("/api/v1/projects/{project}"),
            ..Self::new(address, key)
        }
    }

    /// The same caller on a connection of its own, perhaps to another port.
    pub(crate) fn at(&self, address: SocketAddr) -> Self {
        Self {
            root: self.root.clone(),
            ..Self::new(address, &self.key)
        }
    }

    /// The same caller on another connection.
    pub(crate) fn again(&self) -> Self {
        self.at(self.address)
    }

    /// A client of another project, at the same address.
    pub(crate) fn of_project_here(&self, project: &str, key: &str) -> Self {
        Self::of_project(self.address, project, key)
    }

    /// The same place with another key.
    pub(crate) fn with_key(&self, key: &str) -> Self {
        Self {
            root: self.root.clone(),
            ..Self::new(self.address, key)
        }
    }

    /// Its key.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// The project it is a client of.
    pub(crate) fn project(&self) -> &str {
        self.root.rsplit('/').next().unwrap()
    }

    /// One request with these headers and its reply, whatever that is.
    pub(crate) async fn call_with(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Bytes>,
    ) -> Reply {
        let uri = format!("{}{path}", self.root);
        let what = format!("{method} {uri}");
        let mut request = Request::builder().method(method).uri(uri);
        if !self.key.is_empty() {
            request = request.header("authorization", format!("Bearer {}", self.key));
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.unwrap_or_default())).unwrap();
        match self.client.send(request).await {
            Ok(reply) => reply,
            Err(error) => panic!("{what}: {error}"),
        }
    }

    /// One request and its reply, whatever that is.
    pub(crate) async fn call(&mut self, method: Method, path: &str, body: Option<&Value>) -> Reply {
        let text = body.map(|json| json.to_string().into());
        let reply = self.call_with(method, path, &[], text).await;
        if path.starts_with("/api/v1/egress-pools") && reply.status.is_success() {
            body.into_iter().for_each(listed::leaves_from_also);
        }
        reply
    }

    pub(crate) async fn get(&mut self, path: &str) -> Reply {
        self.call(Method::GET, path, None).await
    }

    pub(crate) async fn post(&mut self, path: &str, body: &Value) -> Reply {
        self.call(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn put(&mut self, path: &str, body: &Value) -> Reply {
        self.call(Method::PUT, path, Some(body)).await
    }

    pub(crate) async fn delete(&mut self, path: &str) -> Reply {
        self.call(Method::DELETE, path, None).await
    }

    /// A new project of this type, by the instance admin; the client of its first key.
    pub(crate) async fn make_project(&mut self, name: &str, kind: &str, config: &Value) -> Self {
        let body = json!({"name": name, "type": kind, "config": config});
        let made = self.post("/api/v1/projects", &body).await.data(201);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (uid, key) = (text(&made["project"]["uid"]), text(&made["api_key"]["key"]));
        Self::of_project(self.address, &uid, &key)
    }

    /// A new endpoint at this URL that gives up after a second, with more fields; its uid.
    pub(crate) async fn make_endpoint(&mut self, name: &str, url: &str, more: &Value) -> String {
        let mut body = json!({"name": name, "url": url, "http_timeout": 1});
        for (field, value) in more.as_object().unwrap() {
            body[field] = value.clone();
        }
        self.post("/endpoints", &body).await.uid()
    }

    /// A new subscription of an endpoint in an outgoing project; its uid.
    pub(crate) async fn subscribe(&mut self, endpoint: &str, event_types: &[&str]) -> String {
        let body = json!({
            "name": format!("to {endpoint}"),
            "endpoint_id": endpoint,
            "filter_config": {"event_types": event_types},
        });
        self.post("/subscriptions", &body).await.uid()
    }

    /// A new subscription of an endpoint to all of a source; its uid.
    pub(crate) async fn subscribe_to(&mut self, endpoint: &str, source: &str) -> String {
        let name = format!("{source} to {endpoint}");
        let body = json!({"name": name, "endpoint_id": endpoint, "source_id": source});
        self.post("/subscriptions", &body).await.uid()
    }

    /// A new source that takes everything; its uid and mask.
    pub(crate) async fn make_source(&mut self, name: &str, more: &Value) -> (String, String) {
        let mut body = json!({"name": name, "type": "http", "verifier": {"type": "noop"}});
        for (field, value) in more.as_object().unwrap() {
            body[field] = value.clone();
        }
        let reply = self.post("/sources", &body).await;
        let mask = reply.data(201)["mask_id"].as_str().unwrap().to_owned();
        (reply.uid(), mask)
    }

    /// Publishes an event for one endpoint; its uid.
    pub(crate) async fn publish(
        &mut self,
        endpoint: &str,
        event_type: &str,
        data: &Value,
    ) -> String {
        let body = json!({"endpoint_id": endpoint, "event_type": event_type, "data": data});
        self.post("/events", &body).await.event_uid()
    }

    /// A list that is up to date; waits until it is.
    pub(crate) async fn list(&mut self, path: &str) -> Value {
        until(&format!("{path} is up to date"), DEADLINE, async || {
            let reply = self.get(path).await;
            let list = reply.data(200);
            (!reply.headers.contains_key(LAG)).then_some(list)
        })
        .await
    }

    /// The rows of a list that is up to date.
    pub(crate) async fn rows(&mut self, path: &str) -> Vec<Value> {
        let list = self.list(path).await;
        list["content"].as_array().unwrap().clone()
    }

    /// The uids of a list that is up to date.
    pub(crate) async fn uids(&mut self, path: &str) -> Vec<String> {
        self.rows(path).await.iter().map(uid_of).collect()
    }

    /// Waits until the one delivery of an event has this status; gives it.
    pub(crate) async fn delivery(&mut self, event: &str, status: &str) -> Value {
        let path = format!("/eventdeliveries?eventId={event}");
        until(&format!("{event} is {status}"), DEADLINE, async || {
            let mut rows = self.rows(&path).await;
            assert!(rows.len() <= 1, "{rows:?}");
            rows.pop().filter(|row| row["status"] == status)
        })
        .await
    }
}

/// The uid of a row.
pub(crate) fn uid_of(row: &Value) -> String {
    row["uid"].as_str().unwrap().to_owned()
}

impl Reply {
    /// The payload of a success with this status.
    pub(crate) fn data(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        let mut json = self.json();
        assert_eq!(json["status"], true, "{json}");
        assert_ne!(json["message"], "", "{json}");
        assert!(json.get("data").is_some(), "no data: {json}");
        json["data"].take()
    }

    /// The uid of a resource that was made.
    pub(crate) fn uid(&self) -> String {
        uid_of(&self.data(201))
    }

    /// The message of a refusal with this status.
    pub(crate) fn refusal(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        let json = self.json();
        assert_eq!(json["status"], false, "{json}");
        assert!(json.get("data").is_none(), "a refusal with data: {json}");
        assert_ne!(self.code(), "", "a refusal without a code: {json}");
        let message = json["message"].as_str().unwrap();
        assert_ne!(message, "", "a refusal without a message");
        message.to_owned()
    }
}
