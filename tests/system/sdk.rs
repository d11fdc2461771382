//! Requests made by the providers' own libraries: accepted as they are, refused when altered.
//! The scripts that make them stand in `tests/sdk`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PublicKeyData};
use serde::Deserialize;
use serde_json::{Value, json};

use super::harness::{Client, Outrider, Resources, Setup, reason_of_the_last, uid, until};

const BODY: &str = r#"{"id":"evt_1","type":"invoice.paid","data":{"amount":1250,"name":"Grüße"}}"#;
/// Also long enough for Standard Webhooks, whose secrets are base64 behind a prefix.
const SECRET: &str = "whsec_c2hhcmVkLXdpdGgtdGhlLXByb3ZpZGVyLTAxMjM=";
/// Convoy's Python clients, which `make clients` brings, with the libraries that they stand on.
const CONVOY: [&str; 2] = [
    "tests/.cache/convoy-python-1.0.0a1",
    "tests/.cache/convoy-python-0.2.0",
];
/// What a library needs at most to start and sign.
const DEADLINE: Duration = Duration::from_secs(120);

/// A library: the script that has it sign, and the preset it is for.
struct Library {
    script: &'static str,
    preset: &'static str,
    secret: String,
    /// The key that signs, where the secret is a public one.
    private: Option<String>,
}

impl Library {
    fn new(script: &'static str, preset: &'static str) -> Self {
        Self {
            script,
            preset,
            secret: SECRET.to_owned(),
            private: None,
        }
    }

    fn with_key_pair(script: &'static str, preset: &'static str) -> Self {
        let pair = KeyPair::generate().unwrap();
        Self {
            secret: STANDARD.encode(pair.subject_public_key_info()),
            private: Some(pair.serialize_pem()),
            ..Self::new(script, preset)
        }
    }

    fn mask(&self) -> &'static str {
        self.preset
    }

    fn public_url(&self) -> String {
        format!("https://hooks.example.com/in/{}", self.mask())
    }

    fn source(&self, uid: &str) -> Value {
        json!({
            "name": self.preset,
            "uid": uid,
            "type": "http",
            "mask_id": self.mask(),
            "preset": self.preset,
            "secrets": [self.secret],
            "public_url": self.public_url(),
        })
    }

    /// Runs the script and reads the requests it made.
    async fn requests(&self) -> Vec<Request> {
        let given = json!({
            "secret": self.secret,
            "url": self.public_url(),
            "body": BODY,
            "private": self.private,
            "library": self.preset,
        });
        let line = run(self.script, &given).await;
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{}: {error}", self.script))
    }
}

/// Runs a script on what it is given to its end; the last line that it wrote.
pub(super) async fn run(script: &str, given: &Value) -> String {
    let dir = tempfile::tempdir().unwrap();
    let (output, errors) = (dir.path().join("output"), dir.path().join("errors"));
    let file = File::open(top().join("tests/sdk").join(script)).unwrap();
    let mut child = interpreter(script)
        .arg(given.to_string())
        .current_dir(cache())
        .stdin(file)
        .stdout(File::create(&output).unwrap())
        .stderr(File::create(&errors).unwrap())
        .spawn()
        .unwrap();
    let status = until(&format!("{script} ends"), DEADLINE, async || {
        child.try_wait().unwrap()
    })
    .await;
    let said = fs::read_to_string(&output).unwrap();
    let errors = fs::read_to_string(&errors).unwrap();
    assert!(status.success(), "{script}: {said}{errors}");
    let line = said.trim_end().lines().next_back();
    line.unwrap_or_default().to_owned()
}

/// A request of a library.
#[derive(Debug, Clone, Deserialize)]
struct Request {
    name: String,
    headers: BTreeMap<String, String>,
    body: String,
    query: Option<String>,
    /// The reason for which it has to be refused.
    refused: Option<String>,
}

impl Request {
    fn bytes(&self) -> Vec<u8> {
        STANDARD.decode(&self.body).unwrap()
    }

    async fn send(&self, client: &mut Client, mask: &str) -> u16 {
        let query = self.query.as_ref().map(|query| format!("?{query}"));
        let path = format!("/ingest/{mask}{}", query.unwrap_or_default());
        let headers: Vec<(&str, &str)> = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let reply = client.post(&path, &headers, self.bytes()).await.unwrap();
        reply.status.as_u16()
    }

    /// The same with one bit of the body changed, at each of a few places.
    fn altered(&self) -> impl Iterator<Item = Self> {
        let body = self.bytes();
        [0, body.len() / 2, body.len() - 1]
            .map(|at| {
                let mut body = body.clone();
                body[at] ^= 1;
                let name = format!("{}, byte {at} changed", self.name);
                Self {
                    name,
                    body: STANDARD.encode(body),
                    ..self.clone()
                }
            })
            .into_iter()
    }

    /// The same without its signature.
    fn unsigned(&self) -> Self {
        let is_signature = |name: &str| name.contains("signature") || name.contains("hmac");
        let mut headers = self.headers.clone();
        headers.retain(|name, _| !is_signature(name));
        assert!(
            headers.len() < self.headers.len(),
            "{}: no signature",
            self.name
        );
        Self {
            name: format!("{}, unsigned", self.name),
            headers,
            ..self.clone()
        }
    }
}

fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Where the libraries lie.
fn cache() -> PathBuf {
    let path = top().join("tests/.cache/sdk");
    assert!(
        path.exists(),
        "{} is missing: run `make sdks`",
        path.display()
    );
    path
}

/// Runs a script that comes on standard input.
fn interpreter(script: &str) -> Command {
    let is_python = Path::new(script).extension().is_some_and(|end| end == "py");
    if is_python {
        let path = fs::read_to_string(top().join("tests/.cache/convoy-clients-python")).unwrap();
        let mut command = Command::new(path.trim_end());
        let convoy = CONVOY.map(|dir| top().join(dir));
        let found = [cache().join("python")].into_iter().chain(convoy);
        let found = std::env::join_paths(found).unwrap();
        command.arg("-").env("PYTHONPATH", found);
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        return command;
    }
    let path = fs::read_to_string(cache().join("node")).unwrap();
    let mut command = Command::new(path.trim_end());
    command.args(["--input-type=module", "-"]);
    command
}

async fn assert_judged(outrider: &Outrider, library: &Library, source: &str) {
    let mut client = outrider.client();
    for request in library.requests().await {
        let what = format!("{}: {}", library.preset, request.name);
        let status = request.send(&mut client, library.mask()).await;
        if let Some(reason) = &request.refused {
            assert_eq!(status, 401, "{what}");
            assert_eq!(
                &reason_of_the_last(outrider, source).await,
                reason,
                "{what}"
            );
            continue;
        }
        assert_eq!(status, 200, "{what}");
        for altered in request.altered() {
            let status = altered.send(&mut client, library.mask()).await;
            assert_eq!(status, 401, "{}: {}", library.preset, altered.name);
        }
        let unsigned = request.unsigned();
        let status = unsigned.send(&mut client, library.mask()).await;
        assert_eq!(status, 401, "{}: {}", library.preset, unsigned.name);
        let reason = reason_of_the_last(outrider, source).await;
        assert_eq!(reason, "missing_signature", "{}", unsigned.name);
    }
}

#[tokio::test]
async fn requests_of_the_providers_own_libraries_are_accepted_and_altered_ones_refused() {
    let libraries = [
        Library::new("octokit.mjs", "github"),
        Library::new("shopify.mjs", "shopify"),
        Library::new("slack.py", "slack"),
        Library::new("square.mjs", "square"),
        Library::new("standardwebhooks.mjs", "standardwebhooks"),
        Library::new("stripe.mjs", "stripe"),
        Library::new("standardwebhooks.mjs", "svix"),
        Library::new("twilio.mjs", "twilio"),
        Library::with_key_pair("sendgrid.mjs", "sendgrid"),
    ];
    let uids: Vec<String> = (1..).map(uid).take(libraries.len()).collect();
    let sources = libraries.iter().zip(&uids);
    let sources = sources.map(|(library, uid)| library.source(uid)).collect();
    let outrider = Setup::new(&Resources::sources(sources)).start().await;
    for (library, uid) in libraries.iter().zip(&uids) {
        assert_judged(&outrider, library, uid).await;
    }
}
