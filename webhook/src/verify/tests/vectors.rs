//! The published vectors: verdict and reason code are binding.

use std::collections::BTreeSet;
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
    params: BTreeMap<String, String>,
    now: i64,
    expect: String,
    reason: String,
}

/// Presets that need a building block this version does not have. A name leaves this list
/// when its block arrives; none may join it.
const LATER: [&str; 13] = [
    "adyen",
    "aws_sns",
    "braintree",
    "discord",
    "discord_events",
    "hubspot_v3",
    "linear",
    "mailgun",
    "mailgun_form",
    "paypal",
    "sendgrid",
    "twilio",
    "twilio_sharedkey",
];

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

/// The preset without its handshakes, which have vectors of their own, and without the second,
/// asymmetric scheme of Standard Webhooks.
fn narrowed(preset: &Value) -> PresetSpec {
    let mut preset: PresetSpec = serde_json::from_value(preset.clone()).unwrap();
    preset.challenges.clear();
    if let Some(signature) = &mut preset.signature {
        let label = |scheme: &SchemeSpec| scheme.label.clone();
        if signature
            .schemes
            .iter()
            .filter_map(label)
            .any(|label| label == "v1")
        {
            signature
                .schemes
                .retain(|scheme| scheme.label.as_deref() != Some("v1a"));
        }
    }
    preset
}

/// Whether the vector is about the scheme that was left out.
fn is_asymmetric(vector: &Vector) -> bool {
    vector
        .headers
        .iter()
        .any(|(name, value)| name.ends_with("-signature") && value.contains("v1a,"))
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

#[test]
fn every_vector_of_a_supported_preset_gives_the_binding_verdict_and_code() {
    let file = load();
    let (mut ran, mut asymmetric, mut later) = (BTreeMap::<&str, usize>::new(), 0, 0);
    let mut wrong = Vec::new();
    for vector in &file.vectors {
        if LATER.contains(&vector.preset.as_str()) {
            later += 1;
            continue;
        }
        if is_asymmetric(vector) {
            asymmetric += 1;
            continue;
        }
        let preset = narrowed(&file.presets[&vector.preset]);
        // Both ways to say the public URL: with its path, and as an origin.
        for public_url in [
            format!("{}{}", vector.base_url, vector.path),
            vector.base_url.clone(),
        ] {
            let verifier =
                Verifier::compile(&preset, &vector.secrets, &vector.params, Some(&public_url))
                    .unwrap_or_else(|error| panic!("{}: {error}", vector.id));
            let outcome = verifier
                .verify(&event(vector), vector.now)
                .map_or_else(|error| error.code(), |_| "ok");
            let is_accepted = vector.expect == "accept";
            if outcome != vector.reason || is_accepted != (outcome == "ok") {
                wrong.push(format!(
                    "{}: {outcome} instead of {} {}",
                    vector.id, vector.expect, vector.reason
                ));
            }
        }
        *ran.entry(&vector.preset).or_default() += 1;
    }
    let total: usize = ran.values().sum();
    println!(
        "{total} of {} vectors ran over {} presets; not yet: {later} of later presets, {asymmetric} of asymmetric schemes",
        file.vectors.len(),
        ran.len()
    );
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert_eq!(total + later + asymmetric, file.vectors.len());
    for name in [
        "github",
        "github_sha1_legacy",
        "shopify",
        "twitter",
        "basic_auth",
        "api_key_query",
        "bearer",
        "stripe",
        "slack",
        "standardwebhooks",
    ] {
        assert!(ran.contains_key(name), "no vector of {name} ran");
    }
}

#[test]
fn exactly_the_listed_presets_are_refused_and_by_the_name_of_a_field() {
    let file = load();
    let refused: BTreeSet<&str> = file
        .presets
        .iter()
        .filter_map(|(name, preset)| {
            let secrets = [Secret::new("k")];
            let error = Verifier::compile(
                &narrowed(preset),
                &secrets,
                &BTreeMap::new(),
                Some("https://h.example/in"),
            )
            .err()?;
            assert!(
                matches!(error, CompileError::Unsupported { .. }),
                "{name}: {error}"
            );
            Some(name.as_str())
        })
        .collect();
    assert_eq!(refused, BTreeSet::from(LATER));
}

/// The files say the same as the published presets, once defaults stand in for parameters.
/// Handshakes are left out of ours until they can be answered.
#[test]
fn builtin_presets_equal_the_published_ones() {
    let file = load();
    let mut compared = BTreeSet::new();
    for (name, text) in BUILTIN {
        let Some(published) = file.presets.get(name) else {
            continue;
        };
        let ours: PresetSpec = serde_json::from_str(text).unwrap();
        let mut resolved = text.to_owned();
        for (param, value) in &ours.params {
            if let ParamSpec::Text(value) = value {
                resolved = resolved.replace(&format!("{{param:{param}}}"), value);
            }
        }
        let mut ours: PresetSpec = serde_json::from_str(&resolved).unwrap();
        ours.name.clear();
        ours.description.clear();
        ours.params.clear();
        ours.event_type = None; // not in the published model
        let mut published: PresetSpec = serde_json::from_value(published.clone()).unwrap();
        published.challenges.clear();
        assert_eq!(ours, published, "{name}");
        compared.insert(name);
    }
    let expected = [
        "api_key_query",
        "basic_auth",
        "bearer",
        "github",
        "github_sha1_legacy",
        "shopify",
        "twitter",
    ];
    assert_eq!(compared, BTreeSet::from(expected));
}
