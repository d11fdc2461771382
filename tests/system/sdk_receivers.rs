//! Receivers that verify with the real libraries: what arrives is accepted, with either secret
//! of a rotation, and nothing else is. The scripts that run them stand in `tests/sdk`.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::harness::{DEADLINE, Received, Receiver, Setup};
use super::sdk;

const OLD: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz";
const NEW: &str = "whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldY";
const OTHER: &str = "whsec_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB";

/// Both families, and headers of systems whose libraries are at hand.
fn signature() -> Value {
    json!({
        "format": "both",
        "versions": [{"hash": "SHA256", "encoding": "hex"}, {"hash": "SHA512", "encoding": "base64"}],
        "headers": [
            {"name": "Stripe-Signature", "value": "t={timestamp},{signatures}", "entry": "v1={signature}", "signed": "{timestamp}.{body}"},
            {"name": "X-Hub-Signature-256", "value": "sha256={signature}"},
            {"name": "X-Square-HmacSha256-Signature", "value": "{signature}", "signed": "{url}{body}", "encoding": "base64"},
            {"name": "X-Slack-Request-Timestamp", "value": "{timestamp}"},
            {"name": "X-Slack-Signature", "value": "v0={signature}", "signed": "v0:{timestamp}:{body}"},
        ],
    })
}

/// The headers of Svix, which are too many for one project with those of the others.
fn svix_signature() -> Value {
    json!({"format": "custom", "headers": [
        {"name": "svix-id", "value": "{id}"},
        {"name": "svix-timestamp", "value": "{timestamp}"},
        {"name": "svix-signature", "value": "{signatures}", "entry": "v1,{signature}", "separator": " ",
            "signed": "{id}.{timestamp}.{body}", "encoding": "base64", "key": "whsec"},
    ]})
}

/// A delivery of an endpoint whose secret was replaced an hour ago at most.
async fn delivered(signature: Value, is_advanced: bool) -> (Received, String) {
    let receiver = Receiver::start().await;
    let outrider = Setup::through_api().start().await;
    let config = json!({"signature": signature});
    let mut project = outrider
        .admin_api()
        .make_project("shop", "outgoing", &config)
        .await;
    let url = receiver.url("/hook?customer=1");
    let fields = json!({"secret": OLD, "advanced_signatures": is_advanced});
    let endpoint = project.make_endpoint("customer", &url, &fields).await;
    project.subscribe(&endpoint, &["*"]).await;
    let path = format!("/endpoints/{endpoint}/expire_secret");
    let rotation = json!({"secret": NEW, "expiration": 1});
    project.put(&path, &rotation).await.data(200);
    let data = json!({"type": "invoice.paid", "amount": 1250, "name": "Zoë"});
    project.publish(&endpoint, "invoice.paid", &data).await;
    (receiver.wait_for(1, DEADLINE).await.remove(0), url)
}

/// Has the libraries of these cases judge a delivery.
async fn assert_verify(script: &str, (got, url): &(Received, String), cases: &[Value]) {
    let headers: BTreeMap<&str, &str> = got
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    let body = STANDARD.encode(&got.body);
    let said = sdk::run(
        script,
        &json!({"url": url, "headers": headers, "body": body, "cases": cases}),
    )
    .await;
    let said: Vec<Value> = serde_json::from_str(&said).unwrap();
    assert_eq!(said.len(), cases.len());
    for (said, case) in said.iter().zip(cases) {
        let library = &case["library"];
        let expected =
            json!({"library": library, "arrived": true, "altered": false, "other": false});
        assert_eq!(*said, expected, "{case} of {headers:?}");
    }
}

fn case(library: &str, secret: &str) -> Value {
    json!({"library": library, "secret": secret, "other": OTHER})
}

/// What a library is told beside the secret.
fn with(mut case: Value, more: Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        case[name] = value.clone();
    }
    case
}

#[tokio::test]
async fn the_receivers_own_libraries_verify_what_arrives() {
    let got = delivered(signature(), true).await;
    let mut cases = Vec::new();
    for library in ["standardwebhooks", "svix", "stripe"] {
        cases.extend([OLD, NEW].map(|secret| case(library, secret)));
    }
    cases.extend(["octokit", "square"].map(|library| case(library, NEW)));
    assert_verify("receive.mjs", &got, &cases).await;
    let first = json!({"hash": "sha256", "encoding": "hex"});
    let second = json!({"hash": "sha512", "encoding": "base64"});
    let mut cases = vec![case("slack", NEW)];
    for secret in [OLD, NEW] {
        cases
            .extend([&first, &second].map(|version| with(case("convoy", secret), version.clone())));
    }
    assert_verify("receive.py", &got, &cases).await;
    // Of a simple signature the newest secret and the last version.
    let got = delivered(signature(), false).await;
    assert_verify("receive.py", &got, &[with(case("convoy", NEW), second)]).await;
}

#[tokio::test]
async fn the_library_of_svix_verifies_headers_under_its_own_names() {
    let got = delivered(svix_signature(), true).await;
    let only = json!({"only": "svix-"});
    let cases = [OLD, NEW].map(|secret| with(case("svix", secret), only.clone()));
    assert_verify("receive.mjs", &got, &cases).await;
}
