//! The engine as its callers see it; vectors, properties and compile errors in files of their own.

mod blocks;
mod compile;
mod handshake;
mod properties;
mod vectors;

use std::collections::BTreeMap;

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderValue, Method};
use sha2::Sha256;

use super::*;
use crate::secret::Secret;

const NOW_S: i64 = 1_760_000_000;

const STRIPE: &str = r#"{
    "signature": {
        "source": { "in": "header", "name": "Stripe-Signature" },
        "format": "pairs", "pair_separator": ",", "key_separator": "=",
        "schemes": [{ "label": "v1", "algorithm": "hmac-sha256", "encoding": "hex", "key": "utf8" }]
    },
    "timestamp": { "source": { "in": "pair", "name": "t" }, "format": "unix", "past": 300, "future": 300 },
    "signed": "{timestamp}.{body}"
}"#;

const STANDARD_WEBHOOKS: &str = r#"{
    "signature": {
        "source": { "in": "header", "name": "webhook-signature" },
        "format": "pairs", "pair_separator": " ", "key_separator": ",",
        "schemes": [{ "label": "v1", "algorithm": "hmac-sha256", "encoding": "hex", "key": "utf8" }]
    },
    "timestamp": { "source": { "in": "header", "name": "webhook-timestamp" }, "format": "unix", "past": 300, "future": 300 },
    "signed": "{header:webhook-id}.{timestamp}.{body}"
}"#;

fn spec(json: &str) -> PresetSpec {
    serde_json::from_str(json).unwrap()
}

fn params(pairs: &[(&str, &str)]) -> BTreeMap<String, ParamSpec> {
    let text =
        |(name, value): &(&str, &str)| ((*name).to_owned(), ParamSpec::Text((*value).to_owned()));
    pairs.iter().map(text).collect()
}

fn compile(spec: &PresetSpec, secrets: &[&str]) -> Verifier {
    let secrets: Vec<Secret> = secrets.iter().map(|text| Secret::new(*text)).collect();
    Verifier::compile(spec, &secrets, &BTreeMap::new(), None).unwrap()
}

pub(super) fn request(headers: &[(&'static str, &str)], body: &[u8]) -> RawEvent {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    RawEvent {
        method: Method::POST,
        path: "/ingest/mask".to_owned(),
        query: String::new(),
        headers: map,
        body: Bytes::copy_from_slice(body),
        received_ms: NOW_S * 1000,
    }
}

fn hmac_sha256(key: &str, text: &[u8]) -> Vec<u8> {
    let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key.as_bytes())
        .unwrap()
        .chain_update(text);
    mac.finalize().into_bytes().to_vec()
}

fn code(verifier: &Verifier, request: &RawEvent) -> &'static str {
    verifier
        .verify(request, NOW_S)
        .map_or_else(|error| error.code(), |_| "ok")
}

#[test]
fn a_signature_given_twice_is_malformed_even_when_both_are_valid() {
    let github = compile(builtin("github").unwrap(), &["k"]);
    let signature = format!("sha256={}", hex::encode(hmac_sha256("k", b"{}")));
    let twice = [
        ("x-hub-signature-256", signature.as_str()),
        ("x-hub-signature-256", signature.as_str()),
    ];
    assert_eq!(
        code(&github, &request(&twice, b"{}")),
        "malformed_signature"
    );
    assert_eq!(code(&github, &request(&twice[..1], b"{}")), "ok");
}

#[test]
fn an_empty_or_blank_header_is_a_missing_one() {
    let github = compile(builtin("github").unwrap(), &["k"]);
    for value in ["", " ", "\t "] {
        assert_eq!(
            code(&github, &request(&[("x-hub-signature-256", value)], b"{}")),
            "missing_signature"
        );
    }
}

#[test]
fn a_label_the_preset_does_not_list_never_counts() {
    let stripe = compile(&spec(STRIPE), &["k"]);
    let valid = hex::encode(hmac_sha256("k", b"1760000000.{}"));
    let with = |header: String| code(&stripe, &request(&[("stripe-signature", &header)], b"{}"));
    assert_eq!(
        with(format!("t=1760000000,v0={valid}")),
        "malformed_signature"
    );
    assert_eq!(
        with(format!("t=1760000000,v0={valid},v1={}", "0".repeat(64))),
        "signature_mismatch"
    );
    assert_eq!(
        with(format!("t=1760000000,V1={valid}")),
        "malformed_signature"
    );
    assert_eq!(
        with(format!("t=1760000000,v1={},v1={valid}", "0".repeat(64))),
        "ok"
    );
}

#[test]
fn a_candidate_that_does_not_decode_hides_no_other() {
    let stripe = compile(&spec(STRIPE), &["k"]);
    let valid = hex::encode(hmac_sha256("k", b"1760000000.{}"));
    let other = "0".repeat(64);
    for (candidates, expected) in [
        ("v1=zz,v1=".to_owned(), "malformed_signature"),
        (format!("v1=zz,v1={other}"), "signature_mismatch"),
        (format!("v1={other},v1=zz"), "signature_mismatch"),
        (format!("v1=zz,v1={valid}"), "ok"),
        (format!("v1={valid},v1=zz"), "ok"),
    ] {
        let header = format!("t=1760000000,{candidates}");
        assert_eq!(
            code(&stripe, &request(&[("stripe-signature", &header)], b"{}")),
            expected,
            "{candidates}"
        );
    }
}

#[test]
fn two_timestamps_are_malformed() {
    let stripe = compile(&spec(STRIPE), &["k"]);
    let valid = hex::encode(hmac_sha256("k", b"1760000000.{}"));
    let header = format!("t=1760000000,v1={valid},t=1760000000");
    assert_eq!(
        code(&stripe, &request(&[("stripe-signature", &header)], b"{}")),
        "malformed_timestamp"
    );

    let standard = compile(&spec(STANDARD_WEBHOOKS), &["k"]);
    let signature = format!("v1,{}", hex::encode(hmac_sha256("k", b"a.1760000000.{}")));
    let mut headers = vec![
        ("webhook-id", "a"),
        ("webhook-signature", signature.as_str()),
        ("webhook-timestamp", "1760000000"),
    ];
    assert_eq!(code(&standard, &request(&headers, b"{}")), "ok");
    headers.push(("webhook-timestamp", "1760000000"));
    assert_eq!(
        code(&standard, &request(&headers, b"{}")),
        "malformed_timestamp"
    );
}

#[test]
fn a_signed_header_given_twice_is_refused() {
    let standard = compile(&spec(STANDARD_WEBHOOKS), &["k"]);
    let signature = format!("v1,{}", hex::encode(hmac_sha256("k", b"a.1760000000.{}")));
    let headers = [
        ("webhook-id", "a"),
        ("webhook-id", "b"),
        ("webhook-signature", signature.as_str()),
        ("webhook-timestamp", "1760000000"),
    ];
    assert_eq!(
        standard
            .verify(&request(&headers, b"{}"), NOW_S)
            .unwrap_err(),
        VerifyError::RepeatedInput("webhook-id".into())
    );
}

#[test]
fn both_ends_of_the_tolerance_are_inclusive() {
    let stripe = compile(&spec(STRIPE), &["k"]);
    for (sent_s, expected) in [
        (NOW_S - 301, "timestamp_too_old"),
        (NOW_S - 300, "ok"),
        (NOW_S + 300, "ok"),
        (NOW_S + 301, "timestamp_in_future"),
        (0, "timestamp_too_old"),
        (999_999_999_999, "timestamp_in_future"),
    ] {
        let valid = hex::encode(hmac_sha256("k", format!("{sent_s}.{{}}").as_bytes()));
        let header = format!("t={sent_s},v1={valid}");
        assert_eq!(
            code(&stripe, &request(&[("stripe-signature", &header)], b"{}")),
            expected,
            "{sent_s}"
        );
    }
}

#[test]
fn clocks_at_the_ends_of_time_do_not_overflow() {
    let stripe = compile(&spec(STRIPE), &["k"]);
    let request = request(&[("stripe-signature", "t=999999999999,v1=00")], b"{}");
    for now_s in [i64::MIN, i64::MAX, 0, -1] {
        assert!(stripe.verify(&request, now_s).is_err());
    }
}

#[test]
fn a_secret_that_is_no_key_refuses_with_its_own_code() {
    let json = STRIPE.replace("utf8", "hex");
    let unusable = compile(&spec(&json), &["not hex"]);
    assert!(!unusable.has_usable_key());
    let header = format!("t=1760000000,v1={}", "0".repeat(64));
    assert_eq!(
        code(&unusable, &request(&[("stripe-signature", &header)], b"{}")),
        "bad_key"
    );

    let one_of_two = compile(&spec(&json), &["not hex", "00ff"]);
    assert!(one_of_two.has_usable_key());
    assert_eq!(
        code(
            &one_of_two,
            &request(&[("stripe-signature", &header)], b"{}")
        ),
        "signature_mismatch"
    );
}

#[test]
fn a_public_key_never_works_as_a_shared_secret() {
    let public = "whpk_Vn29QYVXDEGUjXrX8fQXqJalQTw3dpH2MEnnM/z/VbM=";
    let github = compile(builtin("github").unwrap(), &[public]);
    let signature = format!("sha256={}", hex::encode(hmac_sha256(public, b"{}")));
    assert_eq!(
        code(
            &github,
            &request(&[("x-hub-signature-256", &signature)], b"{}")
        ),
        "bad_key"
    );
}

#[test]
fn convoys_computed_test_values_verify() {
    let github = compile(builtin("github").unwrap(), &["gh-secret"]);
    let signature = "sha256=bb2edcbe2d7c0b180ff67236e69728ef78190e3fd406e9d05e81bf4d4c948b3b";
    let pushed = request(
        &[("x-hub-signature-256", signature)],
        br#"{"action":"opened","number":7}"#,
    );
    assert_eq!(code(&github, &pushed), "ok");

    let shopify = compile(builtin("shopify").unwrap(), &["shop-secret"]);
    let signature = "sWBzhPd/7df84FLG/NU/mSs846a9/6TBxQcqmaJFdFo=";
    let created = request(
        &[("x-shopify-hmac-sha256", signature)],
        br#"{"id":820982911946154508}"#,
    );
    assert_eq!(code(&shopify, &created), "ok");
}

#[test]
fn an_api_key_without_a_header_name_is_the_second_word_of_authorization() {
    let verifier = compile(&PresetSpec::api_key_header(""), &["tok_1"]);
    for (value, expected) in [
        ("tok_1", "malformed_signature"),
        ("Key tok_1 more", "malformed_signature"),
        ("Key  tok_1", "malformed_signature"),
        ("Key tok_2", "signature_mismatch"),
        ("Key tok_1", "ok"),
        ("Whatever tok_1", "ok"),
    ] {
        assert_eq!(
            code(&verifier, &request(&[("authorization", value)], b"")),
            expected,
            "{value}"
        );
    }
    assert_eq!(
        verifier.credential_header(),
        Some(&http::header::AUTHORIZATION)
    );
}

#[test]
fn places_of_static_credentials_are_named_and_those_of_signatures_are_not() {
    let header = compile(&PresetSpec::api_key_header("X-Token"), &["t"]);
    assert_eq!(
        header.credential_header().map(HeaderName::as_str),
        Some("x-token")
    );
    assert_eq!(header.credential_query(), None);

    let query = compile(builtin("api_key_query").unwrap(), &["t"]);
    assert_eq!(
        (query.credential_header(), query.credential_query()),
        (None, Some("token"))
    );

    for verifier in [
        compile(builtin("github").unwrap(), &["t"]),
        Verifier::none(),
    ] {
        assert_eq!(
            (verifier.credential_header(), verifier.credential_query()),
            (None, None)
        );
    }
}

#[test]
fn the_event_type_is_one_printable_value_or_none() {
    let github = compile(builtin("github").unwrap(), &["k"]);
    let long = "x".repeat(256);
    for value in ["", "  ", long.as_str(), "a\tb"] {
        assert_eq!(
            github.event_type(&request(&[("x-github-event", value)], b"")),
            None,
            "{value}"
        );
    }
    let twice = [("x-github-event", "push"), ("x-github-event", "push")];
    assert_eq!(github.event_type(&request(&twice, b"")), None);
    let mut bytes = request(&[], b"");
    bytes.headers.insert(
        "x-github-event",
        HeaderValue::from_bytes(b"pu\xffsh").unwrap(),
    );
    assert_eq!(github.event_type(&bytes), None);
    assert_eq!(
        github.event_type(&request(&twice[..1], b"")).as_deref(),
        Some("push")
    );
    assert_eq!(
        Verifier::none().event_type(&request(&twice[..1], b"")),
        None
    );
}

#[test]
fn no_verification_accepts_everything_and_is_an_explicit_choice() {
    let by_name = Verifier::compile(builtin("none").unwrap(), &[], &BTreeMap::new(), None).unwrap();
    for verifier in [by_name, Verifier::none()] {
        assert_eq!(code(&verifier, &request(&[], b"")), "ok");
        assert_eq!(verifier.reject_status(), 401);
    }
    assert!(
        serde_json::from_str::<PresetSpec>("{}").is_err(),
        "a forgotten signature"
    );
}

#[test]
fn nothing_secret_is_printed() {
    let secret = "hunter2-hunter2";
    for name in ["github", "basic_auth", "api_key_query"] {
        let verifier = compile(builtin(name).unwrap(), &[secret]);
        let error = verifier.verify(&request(&[], b""), NOW_S).unwrap_err();
        assert!(!format!("{verifier:?} {error:?} {error}").contains("hunter2"));
    }
}

#[test]
fn a_plain_digest_takes_its_key_from_the_text_it_digests() {
    use sha2::Digest as _;
    let json = r#"{
        "signature": {
            "source": { "in": "header", "name": "X-Digest" }, "format": "plain",
            "schemes": [{ "algorithm": "sha512", "encoding": "base64", "key": "utf8" }]
        },
        "signed": ["{secret}{method}", "{secret}{method}{query_param:a}{body}"],
        "checks": [{ "type": "query_body_digest", "query": "d", "algorithm": "sha256" }]
    }"#;
    let verifier = compile(&spec(json), &["old", "new"]);
    let digest = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        sha2::Sha512::digest(b"newPOST+ {}"),
    );
    let mut signed = request(&[("x-digest", &digest)], b"{}");
    assert_eq!(code(&verifier, &signed), "signature_mismatch");
    signed.query = "a=%2B+".to_owned();
    assert_eq!(code(&verifier, &signed), "ok");
    signed.query = format!("a=%2B+&d={}", hex::encode_upper(Sha256::digest(b"{}")));
    assert_eq!(code(&verifier, &signed), "ok");
    for wrong in [
        "&d=",
        "&d=00",
        &format!("&d={0}&d={0}", hex::encode(Sha256::digest(b"{}"))),
    ] {
        signed.query = format!("a=%2B+{wrong}");
        assert_eq!(code(&verifier, &signed), "body_digest_mismatch", "{wrong}");
    }
}

#[test]
fn a_signed_url_is_the_configured_one_with_the_raw_query() {
    let json = r#"{
        "signature": {
            "source": { "in": "header", "name": "X-Sig" }, "format": "plain",
            "schemes": [{ "algorithm": "hmac-sha256", "encoding": "hex", "key": "utf8" }]
        },
        "signed": "{url_with_port}{body}"
    }"#;
    for (public_url, query, signed) in [
        ("https://h.example/in/a", "", "https://h.example:443/in/a{}"),
        (
            "https://h.example/in/a",
            "x=%2F&y",
            "https://h.example:443/in/a?x=%2F&y{}",
        ),
        (
            "http://h.example:8080",
            "x=1",
            "http://h.example:8080/ingest/mask?x=1{}",
        ),
    ] {
        let secrets = [Secret::new("k")];
        let verifier =
            Verifier::compile(&spec(json), &secrets, &BTreeMap::new(), Some(public_url)).unwrap();
        let signature = hex::encode(hmac_sha256("k", signed.as_bytes()));
        let mut request = request(&[("x-sig", &signature), ("host", "other.example")], b"{}");
        request.query = query.to_owned();
        assert_eq!(code(&verifier, &request), "ok", "{signed}");
        request.path = "/elsewhere".to_owned();
        let follows_path = !public_url.ends_with("/in/a");
        assert_eq!(
            code(&verifier, &request),
            if follows_path {
                "signature_mismatch"
            } else {
                "ok"
            }
        );
    }
}

#[test]
fn a_get_is_an_event_only_where_the_signature_covers_the_url() {
    let takes_get = |name: &str| {
        let preset = builtin(name).unwrap();
        let secrets = [Secret::new("secret")];
        let verifier = Verifier::compile(
            preset,
            &secrets,
            &BTreeMap::new(),
            Some("https://h.example/in"),
        );
        verifier.unwrap().takes_get()
    };
    for name in ["twilio", "hubspot_v3", "square"] {
        assert!(takes_get(name), "{name}");
    }
    for name in ["github", "slack", "bearer", "hubspot_v1", "twitter"] {
        assert!(!takes_get(name), "{name}");
    }
    assert!(!Verifier::none().takes_get());
}
