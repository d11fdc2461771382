//! The API over a real journal, one table per section of the contract.

mod egress_policies;
mod egress_pools;
mod endpoint_authentication;
mod endpoints;
mod envelope;
mod event_types;
mod filters;
mod keys;
mod offers;
mod pages;
mod projects;
mod serving;
mod signing;
mod sources;
mod subscriptions;
mod versions;

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::body::Body;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use http_body_util::BodyExt;
use outrider_webhook::address::{InternalRule, InternalTarget};
use outrider_webhook::secret::Secret;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

/// 2026-01-01T00:00:00Z.
const NOW: i64 = 1_767_225_600_000;
const PUBLIC_URL: &str = "https://hooks.example";
const ADMIN: &str =
    "CO.aaaaaaaaaaaaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

/// A clock that stands still until it is moved.
struct Hands(AtomicI64);

impl Clock for Hands {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

struct Fixture {
    router: Router,
    control: ControlPlane,
    clock: Arc<Hands>,
    /// What rows of a table remembered: ids, tokens.
    names: HashMap<String, String>,
    _dir: TempDir,
}

struct Got {
    status: StatusCode,
    headers: HeaderMap,
    bytes: bytes::Bytes,
    json: Value,
}

impl Got {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

impl Fixture {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let control = ControlPlane::open(dir.path(), NOW).unwrap();
        let clock = Arc::new(Hands(AtomicI64::new(NOW)));
        let mut egress = Policy::default();
        egress.internal(InternalRule {
            projects: vec!["out".to_owned()],
            target: InternalTarget::Cidr("10.0.0.0/8".parse().unwrap()),
        });
        let api = Api::new(Settings {
            control: control.clone(),
            server: Server::new(control.revision_log()),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            admin_key: AdminKey::of(&Secret::new(ADMIN)),
            public_url: format!("{PUBLIC_URL}/"),
            egress,
            index: None,
        });
        let names = [("admin".to_owned(), ADMIN.to_owned())];
        Self {
            router: router(api),
            control,
            clock,
            names: names.into(),
            _dir: dir,
        }
    }

    /// Two projects, `out` and `in`, each with its key `out-key` and `in-key`.
    async fn with_projects() -> Self {
        let mut fixture = Self::new();
        let project = |name: &str, kind: &str| json!({"name": name, "type": kind});
        fixture
            .run(vec![
                row("POST", "/api/v1/projects", project("out", "outgoing"), 201)
                    .saves("out", "/project/uid")
                    .saves("out-key", "/api_key/key"),
                row("POST", "/api/v1/projects", project("in", "incoming"), 201)
                    .saves("in", "/project/uid")
                    .saves("in-key", "/api_key/key"),
            ])
            .await;
        fixture
    }

    fn advance(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds * 1000, Ordering::Relaxed);
    }

    async fn load(&self, text: &str) {
        let file = outrider_config::file::parse(text).unwrap_or_else(|p| panic!("{p:#?}"));
        self.control.load_resources(file, NOW).await.unwrap();
    }

    /// The text with `{name}` replaced by what was remembered under it.
    fn filled(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, value) in &self.names {
            text = text.replace(&format!("{{{name}}}"), value);
        }
        text
    }

    async fn send(&self, request: Request<Body>) -> Got {
        let response: Response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Got {
            status: parts.status,
            headers: parts.headers,
            json: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            bytes,
        }
    }

    async fn run(&mut self, table: Vec<Row>) {
        for row in table {
            let got = self.send(row.request(self)).await;
            row.check(self, &got);
            for (name, pointer) in &row.saves {
                let value = got.json["data"].pointer(pointer);
                let value = value
                    .and_then(Value::as_str)
                    .unwrap_or_else(|| panic!("{row}: {pointer}"));
                self.names.insert((*name).to_owned(), value.to_owned());
            }
        }
    }
}

/// One row of a table: what is sent, and what has to come back.
struct Row {
    method: &'static str,
    path: String,
    token: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Option<String>,
    status: u16,
    message: Option<&'static str>,
    code: Option<&'static str>,
    data: Option<Value>,
    expected_headers: Vec<(&'static str, Option<&'static str>)>,
    saves: Vec<(&'static str, &'static str)>,
}

/// By the admin; `null` is no body.
fn row(method: &'static str, path: &str, body: Value, status: u16) -> Row {
    Row {
        method,
        path: path.to_owned(),
        token: "{admin}",
        headers: Vec::new(),
        body: (!body.is_null()).then(|| body.to_string()),
        status,
        message: None,
        code: None,
        data: None,
        expected_headers: Vec::new(),
        saves: Vec::new(),
    }
}

fn get(path: &str, status: u16) -> Row {
    row("GET", path, Value::Null, status)
}

impl Row {
    fn by(mut self, token: &'static str) -> Self {
        self.token = token;
        self
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn raw(mut self, body: &str) -> Self {
        self.body = Some(body.to_owned());
        self
    }

    /// The message, whole or (with `..` before or after) part of it.
    fn says(mut self, message: &'static str) -> Self {
        self.message = Some(message);
        self
    }

    fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// What `data` has to hold, among other things. `"*"` is any text.
    fn shows(mut self, data: Value) -> Self {
        self.data = Some(data);
        self
    }

    fn answers(mut self, header: &'static str, value: Option<&'static str>) -> Self {
        self.expected_headers.push((header, value));
        self
    }

    fn saves(mut self, name: &'static str, pointer: &'static str) -> Self {
        self.saves.push((name, pointer));
        self
    }

    fn request(&self, fixture: &Fixture) -> Request<Body> {
        let mut request = Request::builder()
            .method(Method::from_bytes(self.method.as_bytes()).unwrap())
            .uri(fixture.filled(&self.path));
        if !self.token.is_empty() {
            let token = fixture.filled(self.token);
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in &self.headers {
            request = request.header(*name, fixture.filled(value));
        }
        let body = self.body.as_deref().map(|body| fixture.filled(body));
        request.body(Body::from(body.unwrap_or_default())).unwrap()
    }

    fn check(&self, fixture: &Fixture, got: &Got) {
        let text = String::from_utf8_lossy(&got.bytes);
        assert_eq!(got.status.as_u16(), self.status, "{self}: {text}");
        let is_success = self.status < 400;
        assert_eq!(got.header("x-convoy-version"), Some("2025-11-24"), "{self}");
        assert!(
            got.header("x-request-id").is_some_and(|id| !id.is_empty()),
            "{self}"
        );
        assert_eq!(
            got.header("x-outrider-error").is_some(),
            !is_success,
            "{self}"
        );
        if self.status != 415 && self.method != "HEAD" {
            assert_eq!(
                got.header("content-type"),
                Some("application/json"),
                "{self}"
            );
            assert_eq!(got.json["status"], json!(is_success), "{self}: {text}");
            assert_eq!(got.json.get("data").is_some(), is_success, "{self}: {text}");
        }
        if let Some(expected) = self.message {
            let message = got.json["message"].as_str().unwrap_or_default();
            let expected = fixture.filled(expected);
            let is_right = match (expected.strip_prefix(".."), expected.strip_suffix("..")) {
                (Some(end), _) => message.contains(end.trim_end_matches("..")),
                (None, Some(start)) => message.starts_with(start),
                (None, None) => message == expected,
            };
            assert!(is_right, "{self}: `{message}` is not `{expected}`");
        }
        if let Some(code) = self.code {
            assert_eq!(got.header("x-outrider-error"), Some(code), "{self}: {text}");
        }
        for (name, value) in &self.expected_headers {
            assert_eq!(got.header(name), *value, "{self}: {name}");
        }
        if let Some(expected) = &self.data {
            let expected: Value =
                serde_json::from_str(&fixture.filled(&expected.to_string())).unwrap();
            holds(&format!("{self}: data"), &got.json["data"], &expected);
        }
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {:?}", self.method, self.path, self.body)
    }
}

/// Objects may hold more than is expected, all else is equal.
fn holds(place: &str, found: &Value, expected: &Value) {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            for (key, expected) in expected {
                let place = format!("{place}.{key}");
                let found = found
                    .get(key)
                    .unwrap_or_else(|| panic!("{place} is missing"));
                holds(&place, found, expected);
            }
        }
        (Value::Array(found), Value::Array(expected)) if found.len() == expected.len() => {
            for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
                holds(&format!("{place}[{index}]"), found, expected);
            }
        }
        (Value::String(found), Value::String(any)) if any == "*" => {
            assert!(!found.is_empty(), "{place} is empty");
        }
        _ => assert_eq!(found, expected, "{place}"),
    }
}
