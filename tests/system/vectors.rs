//! The published vectors of source verification, as HTTP requests to the running gateway: verdict,
//! reason code are binding. Their handshakes are in `handshakes`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::{Value, json};

use super::harness::{
    Client, Https, Outrider, Reply, Resources, Setup, check, reason_of_the_last, uid,
};

/// Where certificates are fetched from.
const HOSTS: [&str; 4] = [
    "api.paypal.com",
    "api.sandbox.paypal.com",
    "sns.us-east-1.amazonaws.com",
    "sns.cn-north-1.amazonaws.com.cn",
];

#[derive(Deserialize)]
struct File {
    presets: BTreeMap<String, Value>,
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    id: String,
    preset: String,
    method: String,
    base_url: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: String,
    secrets: Vec<String>,
    #[serde(default)]
    params: BTreeMap<String, String>,
    #[serde(default)]
    certificates: BTreeMap<String, String>,
    now: i64,
    expect: String,
    reason: String,
}

impl Vector {
    /// A source of its own, so that what is kept of refused requests is of this one alone.
    fn source(&self, presets: &BTreeMap<String, Value>, number: u32) -> Value {
        json!({
            "name": self.id,
            "uid": uid(number),
            "type": "http",
            "mask_id": mask(number),
            "preset": presets[&self.preset],
            "secrets": self.secrets,
            "params": self.params,
            "public_url": format!("{}{}", self.base_url, self.path),
        })
    }

    fn body(&self) -> Bytes {
        STANDARD.decode(&self.body).unwrap().into()
    }

    async fn send(&self, client: &mut Client, number: u32) -> Reply {
        let query = match self.query.is_empty() {
            true => String::new(),
            false => format!("?{}", self.query),
        };
        let mut request = Request::builder()
            .method(self.method.parse::<Method>().unwrap())
            .uri(format!("/ingest/{}{query}", mask(number)));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(self.body())).unwrap();
        client.send(request).await.unwrap()
    }
}

fn mask(number: u32) -> String {
    format!("vector{number:04}")
}

fn load() -> File {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places = ["../shared/vectors", "tests/vectors"];
    let text = places
        .iter()
        .find_map(|dir| fs::read_to_string(top.join(dir).join("verification.json")).ok());
    serde_json::from_str(&text.unwrap_or_else(|| panic!("none of {places:?} can be read"))).unwrap()
}

/// The certificates of the vectors, where they are said to be.
async fn https(vectors: &[(u32, &Vector)]) -> (Https, BTreeSet<String>) {
    let certificates = vectors.iter().flat_map(|(_, vector)| &vector.certificates);
    let mut documents: HashMap<_, _> = certificates
        .map(|(url, pem)| (url.clone(), pem.clone()))
        .collect();
    let pems = documents.values().cloned().collect();
    // What a handshake among them has to be confirmed at.
    let bodies = vectors.iter().map(|(_, vector)| vector.body());
    let asked = bodies.filter_map(|body| serde_json::from_slice::<Value>(&body).ok());
    let asked = asked.filter_map(|body| Some(body["SubscribeURL"].as_str()?.to_owned()));
    documents.extend(asked.map(|url| (url, "<confirmed/>".to_owned())));
    (Https::start(&HOSTS, documents).await, pems)
}

/// A gateway at the time of the vectors, with a source for each and what it may fetch.
async fn start(
    file: &File,
    vectors: &[(u32, &Vector)],
    (https, pems): &(Https, BTreeSet<String>),
    roots: &Path,
) -> Outrider {
    // Those of the vectors are signed by nobody but themselves.
    https.write_roots(roots, &pems.iter().cloned().collect::<String>());
    let sources = vectors
        .iter()
        .map(|(number, vector)| vector.source(&file.presets, *number))
        .collect();
    let mut setup = Setup::new(&Resources::sources(sources))
        .flag("--unsafe-now", &vectors[0].1.now.to_string())
        .switch("--unsafe-hold-clock")
        .flag("--unsafe-extra-root", &roots.display().to_string());
    for host in HOSTS {
        setup = setup.flag("--unsafe-resolve", &format!("{host}={}", https.address()));
    }
    setup.start().await
}

/// Numbered, and by the time they are for: a gateway has one clock.
fn by_time(vectors: &[Vector]) -> BTreeMap<i64, Vec<(u32, &Vector)>> {
    let mut by_time = BTreeMap::<_, Vec<_>>::new();
    let vectors = vectors.iter().filter(|it| !is_refused_at_the_start(it));
    for (number, vector) in (1..).zip(vectors) {
        by_time
            .entry(vector.now)
            .or_default()
            .push((number, vector));
    }
    by_time
}

/// Whether the vector's keys are refused already when the source is configured.
fn is_refused_at_the_start(vector: &Vector) -> bool {
    vector.id == "adyen_platform/bad-key-not-hex"
}

#[tokio::test]
async fn a_source_whose_keys_are_none_is_refused_at_the_start() {
    let file = load();
    let vectors = file.vectors.iter();
    let refused: Vec<&Vector> = vectors.filter(|it| is_refused_at_the_start(it)).collect();
    assert_eq!(refused.len(), 1);
    for vector in refused {
        assert_eq!(vector.reason, "bad_key");
        let source = vector.source(&file.presets, 1);
        let ended = check(&Resources::sources(vec![source]).text()).await;
        assert_eq!(ended.code, Some(78), "{}", ended.output);
        let told = "projects[0].sources[0].preset: none of the secrets has the form";
        assert!(ended.output.contains(told), "{}", ended.output);
    }
}

#[tokio::test]
async fn every_vector_gives_the_binding_verdict_and_reason_over_http() {
    let file = load();
    let dir = tempfile::tempdir().unwrap();
    let roots = dir.path().join("roots.pem");
    let mut wrong = Vec::new();
    let mut judged = 0;
    for vectors in by_time(&file.vectors).values() {
        let https = https(vectors).await;
        let outrider = start(&file, vectors, &https, &roots).await;
        let mut client = outrider.client();
        for (number, vector) in vectors {
            let reply = vector.send(&mut client, *number).await;
            let (status, reason) = match vector.expect.as_str() {
                "accept" => (200, "ok".to_owned()),
                _ => (401, reason_of_the_last(&outrider, &uid(*number)).await),
            };
            if reply.status != status || reason != vector.reason {
                let (id, expected) = (&vector.id, &vector.reason);
                wrong.push(format!("{id}: {} {reason} for {expected}", reply.status));
            }
            judged += 1;
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert_eq!(judged + 1, file.vectors.len());
    assert!(judged >= 487, "only {judged} vectors");
}
