//! Providers ask whether somebody is there: answered at once, and nothing becomes an event. What
//! needs a certificate fetches it from its provider alone.

use std::collections::HashMap;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use super::harness::{Api, Client, Https, Outrider, Receiver, Reply, Setup, get};

/// The time of the vectors.
const NOW: &str = "1760000000";
const SNS: &str = "sns.us-east-1.amazonaws.com";
const SNS_CN: &str = "sns.cn-north-1.amazonaws.com.cn";
const PAYPAL: &str = "api.paypal.com";

fn published() -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("tests/vectors/verification.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// A gateway at the time of the vectors that finds the providers' hosts at `https`, and trusts its
/// authority and `roots`.
async fn start(https: &Https, roots: &str) -> (Outrider, Api) {
    let mut setup = Setup::through_api()
        .flag("--unsafe-now", NOW)
        .switch("--unsafe-hold-clock");
    for name in [SNS, SNS_CN, PAYPAL] {
        setup = setup.flag("--unsafe-resolve", &format!("{name}={}", https.address()));
    }
    let file = setup.data_dir().with_file_name("roots.pem");
    https.write_roots(&file, roots);
    let setup = setup.flag("--unsafe-extra-root", &file.display().to_string());
    let outrider = setup.start().await;
    let api = outrider
        .admin_api()
        .make_project("in", "incoming", &json!({}))
        .await;
    (outrider, api)
}

/// The documents of a vector, and those it would get elsewhere: an answer to every confirmation.
fn documents(vectors: &[&Value]) -> HashMap<String, String> {
    let mut documents = HashMap::new();
    for vector in vectors {
        for (url, pem) in vector["certificates"].as_object().into_iter().flatten() {
            documents.insert(url.clone(), pem.as_str().unwrap().to_owned());
        }
        if let Some(url) = vector["response"]["action_http_get"].as_str() {
            documents.insert(url.to_owned(), "<ok/>".to_owned());
        }
    }
    documents
}

async fn ask(client: &mut Client, mask: &str, vector: &Value) -> Reply {
    let query = match vector["query"].as_str().unwrap() {
        "" => String::new(),
        query => format!("?{query}"),
    };
    let mut request = Request::builder()
        .method(vector["method"].as_str().unwrap())
        .uri(format!("/ingest/{mask}{query}"));
    for header in vector["headers"].as_array().unwrap() {
        request = request.header(header[0].as_str().unwrap(), header[1].as_str().unwrap());
    }
    let body = STANDARD.decode(vector["body"].as_str().unwrap()).unwrap();
    client
        .send(request.body(Full::new(body.into())).unwrap())
        .await
        .unwrap()
}

/// A source with the published preset, as a user would write it.
async fn source(api: &mut Api, name: &str, preset: &Value, vector: &Value) -> (String, String) {
    let public_url = format!(
        "{}{}",
        vector["base_url"].as_str().unwrap(),
        vector["path"].as_str().unwrap()
    );
    let source = json!({
        "verifier": null, "preset": preset, "secrets": vector["secrets"], "public_url": public_url,
    });
    api.make_source(name, &source).await
}

async fn newest_reason(api: &mut Api, source: &str) -> String {
    let shown = api
        .get(&format!("/sources/{source}/rejected"))
        .await
        .data(200);
    shown["content"][0]["reason"].as_str().unwrap().to_owned()
}

async fn count_events(api: &mut Api) -> usize {
    let events = api
        .get("/events?startDate=2025-01-01T00:00:00")
        .await
        .data(200);
    events["content"].as_array().unwrap().len()
}

#[tokio::test]
async fn every_published_handshake_is_answered_and_none_becomes_an_event() {
    let file = published();
    let challenges: Vec<&Value> = file["challenges"].as_array().unwrap().iter().collect();
    let https = Https::start(&[SNS, PAYPAL], documents(&challenges)).await;
    // The certificate of the vectors is its own issuer, and the published preset asks for a chain.
    let sns = challenges
        .iter()
        .find(|one| one["provider"] == "aws_sns")
        .unwrap();
    let pem = &sns["certificates"][certificate_url("aws_sns")];
    let (outrider, mut api) = start(&https, pem.as_str().unwrap()).await;
    let mut client = outrider.client();
    for vector in &challenges {
        let id = vector["id"].as_str().unwrap();
        let preset = &file["presets"][vector["preset"].as_str().unwrap()];
        let (uid, mask) = source(&mut api, id, preset, vector).await;
        let reply = ask(&mut client, &mask, vector).await;
        if vector["expect"] == "reject" {
            assert_eq!(reply.status, 401, "{id}");
            assert_eq!(reply.code(), "verification_failed", "{id}");
            assert_eq!(
                newest_reason(&mut api, &uid).await,
                vector["reason"],
                "{id}"
            );
            continue;
        }
        let expected = &vector["response"];
        assert_eq!(
            reply.status.as_u16(),
            expected["status"],
            "{id}: {}",
            reply.text()
        );
        match &expected["body"] {
            Value::String(text) => assert_eq!(reply.text(), *text, "{id}"),
            Value::Null => assert_eq!(reply.text(), "", "{id}"),
            body => assert_eq!(reply.json(), *body, "{id}"),
        }
        if !reply.body.is_empty() {
            assert_eq!(
                reply.headers["content-type"],
                expected["content_type"].as_str().unwrap()
            );
            assert_eq!(reply.headers["x-content-type-options"], "nosniff", "{id}");
        }
        if let Some(url) = expected["action_http_get"].as_str() {
            assert_eq!(https.asked().last().map(String::as_str), Some(url));
        }
    }
    // One certificate for both messages of SNS, and nothing from the address that was refused.
    assert_eq!(https.asked().len(), 2, "{:?}", https.asked());
    assert_eq!(count_events(&mut api).await, 0);
    let answered = [r#"preset="own""#, r#"result="answered""#];
    let answered = outrider
        .metric("outrider_ingest_handshakes_total", &answered)
        .await;
    let refused = challenges
        .iter()
        .filter(|one| one["expect"] == "reject")
        .count();
    let expected = u32::try_from(challenges.len() - refused).unwrap();
    assert_eq!(answered, f64::from(expected));
}

#[tokio::test]
async fn handshakes_of_our_own_presets_are_answered_and_events_still_come_through() {
    let receiver = Receiver::start().await;
    let outrider = Setup::through_api().start().await;
    let mut api = outrider
        .admin_api()
        .make_project("in", "incoming", &json!({}))
        .await;
    let mut client = outrider.client();
    let with = |preset: &str, more: Value| {
        let mut source = json!({"verifier": null, "preset": preset, "secrets": ["k"]});
        source
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        source
    };
    let mut send =
        async |method: Method, mask: &str, headers: &[(&str, &str)], body: &'static str| {
            let mut request = Request::builder()
                .method(method)
                .uri(format!("/ingest/{mask}"));
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            client
                .send(request.body(Full::new(body.into())).unwrap())
                .await
                .unwrap()
        };

    let (_, intercom) = api
        .make_source("intercom", &with("intercom", json!({})))
        .await;
    assert_eq!(send(Method::HEAD, &intercom, &[], "").await.status, 200);
    assert_eq!(send(Method::GET, &intercom, &[], "").await.status, 405);

    let (_, woo) = api
        .make_source("woo", &with("woocommerce", json!({})))
        .await;
    let form = ("content-type", "application/x-www-form-urlencoded");
    assert_eq!(
        send(Method::POST, &woo, &[form], "webhook_id=7")
            .await
            .status,
        200
    );
    assert_eq!(
        send(Method::POST, &woo, &[form], "webhook=7").await.status,
        401
    );

    let (_, xero) = api.make_source("xero", &with("xero", json!({}))).await;
    let intent = r#"{"events":[],"entropy":"S"}"#;
    // HMAC-SHA256 with the key `k`, made with openssl.
    let good = (
        "x-xero-signature",
        "PeZNtr4uZ+iYWXqwcFPQL7hfufaj7lU71jPICd6tOMk=",
    );
    let reply = send(Method::POST, &xero, &[good], intent).await;
    assert_eq!((reply.status.as_u16(), reply.text()), (200, String::new()));
    let bad = (
        "x-xero-signature",
        "AAAAxkCrAxPVxWDZeDXnYhbEwuF0HsfdBczLOFzKqdc=",
    );
    assert_eq!(send(Method::POST, &xero, &[bad], intent).await.status, 401);

    let params = json!({"params": {"allowed_origins": ["events.example"], "allowed_rate": "120"}});
    let (uid, events) = api
        .make_source("events", &with("cloudevents", params))
        .await;
    let origin = |origin| ("webhook-request-origin", origin);
    let granted = send(Method::OPTIONS, &events, &[origin("events.example")], "").await;
    assert_eq!(granted.status, 200);
    assert_eq!(granted.headers["webhook-allowed-origin"], "events.example");
    assert_eq!(granted.headers["webhook-allowed-rate"], "120");
    for headers in [&[origin("evil.example")][..], &[]] {
        let refused = send(Method::OPTIONS, &events, headers, "").await;
        assert_eq!(
            (refused.status.as_u16(), &refused.headers["allow"]),
            (405, &"POST".parse().unwrap())
        );
        assert!(!refused.headers.contains_key("webhook-allowed-origin"));
        assert!(!refused.headers.contains_key("webhook-allowed-rate"));
    }
    assert_eq!(newest_reason(&mut api, &uid).await, "method_not_allowed");
    assert_eq!(count_events(&mut api).await, 0);

    // An event of the same source is stored and delivered as ever.
    let endpoint = api
        .make_endpoint("e", &receiver.url("/e"), &json!({}))
        .await;
    let subscription = json!({"name": "s", "source_id": uid, "endpoint_id": endpoint});
    api.post("/subscriptions", &subscription).await.data(201);
    let headers = [
        ("authorization", "Bearer k"),
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/s"),
        ("ce-type", "made"),
        ("content-type", "application/json"),
    ];
    assert_eq!(
        send(Method::POST, &events, &headers, "{}").await.status,
        200
    );
    receiver.wait_for(1, super::harness::DEADLINE).await;
    let counted = get(outrider.admin(), "/stats/prometheus")
        .await
        .unwrap()
        .text();
    for line in [
        r#"outrider_ingest_handshakes_total{preset="cloudevents",result="answered"} 1"#,
        r#"outrider_ingest_handshakes_total{preset="cloudevents",result="value_not_allowed"} 1"#,
        r#"outrider_ingest_handshakes_total{preset="xero",result="signature_mismatch"} 1"#,
    ] {
        assert!(counted.contains(line), "{line}");
    }
}

/// The vectors of the presets with certificates, judged with a trusted root or without.
async fn with_certificates(preset: &str, params: Value, is_trusted: bool) -> (usize, usize) {
    let file = published();
    let vectors = file["vectors"].as_array().unwrap();
    let ours: Vec<&Value> = vectors
        .iter()
        .filter(|one| one["preset"] == preset)
        .collect();
    let https = Https::start(&[SNS, SNS_CN, PAYPAL], documents(&ours)).await;
    let good = documents(&ours[..1])
        .remove(&certificate_url(preset))
        .unwrap();
    let (outrider, mut api) = start(&https, if is_trusted { &good } else { "" }).await;
    let source = json!({"verifier": null, "preset": preset, "params": params});
    let (uid, mask) = api.make_source(preset, &source).await;
    let mut client = outrider.client();
    let (mut accepted, mut unavailable) = (0, 0);
    for vector in &ours {
        let id = vector["id"].as_str().unwrap();
        if vector["reason"] == "ok" && id.contains("subscription") {
            continue; // a handshake, whose URL nobody serves here
        }
        let reply = ask(&mut client, &mask, vector).await;
        match (reply.status.as_u16(), vector["expect"] == "accept") {
            (200, true) => accepted += 1,
            // It comes again: a provider takes a 401 for final.
            (503, _) => {
                assert!(reply.headers.contains_key("retry-after"), "{id}");
                let reason = newest_reason(&mut api, &uid).await;
                assert_eq!(reason, "certificate_unavailable", "{id}");
                unavailable += 1;
            }
            (401, is_good) => {
                let reason = newest_reason(&mut api, &uid).await;
                assert!(!is_good, "{id}: {reason}");
                assert_eq!(reason, vector["reason"], "{id}");
            }
            (status, _) => panic!("{id}: {status} {}", reply.text()),
        }
    }
    assert_eq!(count_events(&mut api).await, accepted);
    // Each certificate is fetched once, and from its provider alone.
    let mut asked = https.asked();
    let count = asked.len();
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), count, "{asked:?}");
    (accepted, unavailable)
}

fn certificate_url(preset: &str) -> String {
    match preset {
        "paypal" => {
            format!("https://{PAYPAL}/v1/notifications/certs/CERT-360caa42-fca2a594-1d93a270")
        }
        _ => {
            format!("https://{SNS}/SimpleNotificationService-9c6465fa7f48f5cacd23014631ec1136.pem")
        }
    }
}

#[tokio::test]
async fn a_certificate_of_paypal_must_chain_to_a_root() {
    let params = || json!({"webhook_id": "8PT597110X687430LKGECATA"});
    let (accepted, unavailable) = with_certificates("paypal", params(), true).await;
    assert_eq!((accepted, unavailable), (4, 0));
    let (accepted, unavailable) = with_certificates("paypal", params(), false).await;
    assert_eq!(accepted, 0);
    assert!(unavailable >= 4);
}

#[tokio::test]
async fn the_host_vouches_for_a_certificate_of_sns() {
    let params = json!({"topic_arns": ["arn:other", "arn:aws:sns:us-east-1:123456789012:orders"]});
    let (accepted, unavailable) = with_certificates("aws_sns", params, false).await;
    assert_eq!((accepted, unavailable), (3, 0));
}
