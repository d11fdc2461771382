//! The published vectors: verdict and reason code are binding.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use super::*;
use crate::verify::preset::BUILTIN;

#[derive(Deserialize)]
struct File {
    presets: BTreeMap<String, Value>,
    vectors: Vec<Vector>,
    challenges: Vec<Vector>,
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
    secrets: Vec<Secret>,
    #[serde(default)]
    params: BTreeMap<String, ParamSpec>,
    #[serde(default)]
    certificates: BTreeMap<String, String>,
    now: i64,
    expect: String,
    reason: String,
    /// Of handshakes.
    response: Option<Response>,
}

#[derive(Deserialize)]
struct Response {
    status: u16,
    #[serde(default)]
    content_type: String,
    #[serde(default)]
    body: Value,
    action_http_get: Option<String>,
}

fn load() -> File {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let candidates: [PathBuf; 2] =
        ["../shared/vectors", "tests/vectors"].map(|dir| root.join(dir).join("verification.json"));
    let text = candidates
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok());
    serde_json::from_str(&text.unwrap_or_else(|| panic!("none of {candidates:?} can be read")))
        .unwrap()
}

fn event(vector: &Vector) -> RawEvent {
    let mut headers = HeaderMap::new();
    for (name, value) in &vector.headers {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    RawEvent {
        method: vector.method.parse().unwrap(),
        path: vector.path.clone(),
        query: vector.query.clone(),
        headers,
        body: STANDARD.decode(&vector.body).unwrap().into(),
        received_ms: vector.now * 1000,
    }
}

/// The certificate that a fetch of the URL the verifier asks for would give.
fn certificate(vector: &Vector, need: &CertificateNeed<'_>) -> Option<Certificate> {
    let pem = vector.certificates.get(&need.url.to_string())?;
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
    let certificate = Certificate::from_der(&pem.contents).unwrap();
    certificate.is_for(need.names).then_some(certificate)
}

fn check(verifier: &Verifier, vector: &Vector, reading: &Reading<'_>) -> Result<(), VerifyError> {
    let need = verifier.certificate_need(reading, vector.now)?;
    let certificate = need.and_then(|need| certificate(vector, &need));
    verifier.check(reading, vector.now, certificate.as_ref())?;
    Ok(())
}

fn verifier(file: &File, vector: &Vector, public_url: &str) -> Verifier {
    let preset = serde_json::from_value(file.presets[&vector.preset].clone()).unwrap();
    Verifier::compile(&preset, &vector.secrets, &vector.params, Some(public_url))
        .unwrap_or_else(|error| panic!("{}: {error}", vector.id))
}

#[test]
fn every_vector_gives_the_binding_verdict_and_code() {
    let file = load();
    let mut wrong = Vec::new();
    for vector in &file.vectors {
        // Both ways to say the public URL: with its path, and as an origin.
        for public_url in [
            format!("{}{}", vector.base_url, vector.path),
            vector.base_url.clone(),
        ] {
            let verifier = verifier(&file, vector, &public_url);
            let event = event(vector);
            let outcome = check(&verifier, vector, &verifier.read(&event))
                .map_or_else(|error| error.code(), |()| "ok");
            let is_accepted = vector.expect == "accept";
            if outcome != vector.reason || is_accepted != (outcome == "ok") {
                wrong.push(format!(
                    "{}: {outcome} instead of {} {}",
                    vector.id, vector.expect, vector.reason
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert_eq!(file.vectors.len(), 488);
}

/// What a handshake is answered, or the code of its refusal.
fn answer(verifier: &Verifier, vector: &Vector) -> Result<HandshakeAnswer, VerifyError> {
    let event = event(vector);
    let reading = verifier.read(&event);
    let handshake = verifier
        .handshake(&reading)
        .unwrap_or_else(|| panic!("{} is no handshake", vector.id));
    if handshake.is_signed() {
        check(verifier, vector, &reading)?;
    }
    handshake.answer(&reading)
}

#[test]
fn every_handshake_of_the_vectors_is_answered_or_refused_as_published() {
    let file = load();
    for vector in &file.challenges {
        let verifier = verifier(
            &file,
            vector,
            &format!("{}{}", vector.base_url, vector.path),
        );
        let answer = match answer(&verifier, vector) {
            Ok(answer) => answer,
            Err(error) => {
                assert_eq!(
                    (vector.expect.as_str(), vector.reason.as_str()),
                    ("reject", error.code()),
                    "{}",
                    vector.id
                );
                continue;
            }
        };
        let expected = vector.response.as_ref().unwrap();
        assert_eq!(vector.expect, "respond", "{}", vector.id);
        assert_eq!(answer.status.as_u16(), expected.status, "{}", vector.id);
        let call = answer.call.map(|url| url.to_string());
        assert_eq!(call, expected.action_http_get, "{}", vector.id);
        let content_type = answer.content_type.as_ref();
        let content_type = content_type.map_or("", |value| value.to_str().unwrap());
        assert_eq!(content_type, expected.content_type, "{}", vector.id);
        match &expected.body {
            Value::String(text) => assert_eq!(answer.body, text.as_bytes(), "{}", vector.id),
            Value::Null => assert!(answer.body.is_empty(), "{}", vector.id),
            json => {
                let body: Value = serde_json::from_slice(&answer.body).unwrap();
                assert_eq!(body, *json, "{}", vector.id);
            }
        }
    }
    assert_eq!(file.challenges.len(), 17);
}

/// Presets with handshakes that the published model has no words for.
const OWN_HANDSHAKES: [&str; 3] = ["intercom", "woocommerce", "xero"];
/// Presets of ours alone.
const OWN: [&str; 4] = ["api_key", "cloudevents", "hmac", "none"];

/// The files say the same as the published presets, once defaults stand in for parameters.
#[test]
fn builtin_presets_equal_the_published_ones() {
    let file = load();
    for (name, text) in BUILTIN {
        let Some(published) = file.presets.get(*name) else {
            assert!(OWN.contains(name), "{name} is not published");
            continue;
        };
        let ours: PresetSpec = serde_json::from_str(text).unwrap();
        let mut resolved = (*text).to_owned();
        for (param, value) in &ours.params {
            if let Some(ParamSpec::Text(value)) = value {
                resolved = resolved.replace(&format!("{{param:{param}}}"), value);
            }
        }
        // Regions only: the published rule also takes `sns.s3-us-west-2.amazonaws.com`, a bucket
        // that anybody may have.
        resolved = resolved.replace("[a-z]{2}(-[a-z]+)+-[0-9]+", "[a-z0-9-]{3,}");
        let mut ours: PresetSpec = serde_json::from_str(&resolved).unwrap();
        let mut published: PresetSpec = serde_json::from_value(published.clone()).unwrap();
        // Not in the published model, or only examples there.
        ours.name.clear();
        ours.description.clear();
        ours.params.clear();
        ours.event_type = None;
        ours.idempotency.clear();
        for scheme in ours
            .signature
            .iter_mut()
            .flat_map(|signature| &mut signature.schemes)
        {
            scheme.certificate = None;
        }
        published.params.clear();
        if OWN_HANDSHAKES.contains(name) {
            assert!(published.challenges.is_empty(), "{name}");
            ours.challenges.clear();
        }
        assert_eq!(ours, published, "{name}");
    }
    for name in file.presets.keys() {
        assert!(builtin(name).is_some(), "{name} has no file");
    }
}
