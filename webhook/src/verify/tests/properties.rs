//! Properties: what no request may achieve.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::collection::vec;
use proptest::prelude::*;
use sha1::Sha1;
use sha2::{Sha384, Sha512};

use super::*;

/// A signature in Convoy's words, made without the code under test.
pub(super) fn sign(hash: &str, encoding: &str, key: &str, text: &[u8]) -> String {
    encode(encoding, &mac(hash, key, text))
}

fn mac(hash: &str, key: &str, text: &[u8]) -> Vec<u8> {
    fn run<M: Mac + KeyInit>(key: &str, text: &[u8]) -> Vec<u8> {
        let mac = <M as KeyInit>::new_from_slice(key.as_bytes())
            .unwrap()
            .chain_update(text);
        mac.finalize().into_bytes().to_vec()
    }
    match hash {
        "SHA1" => run::<Hmac<Sha1>>(key, text),
        "SHA256" => run::<Hmac<Sha256>>(key, text),
        "SHA384" => run::<Hmac<Sha384>>(key, text),
        _ => run::<Hmac<Sha512>>(key, text),
    }
}

fn encode(encoding: &str, bytes: &[u8]) -> String {
    if encoding == "hex" {
        hex::encode(bytes)
    } else {
        STANDARD.encode(bytes)
    }
}

fn flip(bytes: &mut [u8], bit: prop::sample::Index) {
    let bit = bit.index(bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
}

fn hash() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["SHA1", "SHA256", "SHA384", "SHA512"])
}

fn encoding() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["hex", "base64"])
}

/// A secret that chance does not find.
const LONG: &str = "2f8a61d0c7b94e35";

/// One verifier per shape of preset, so that arbitrary requests reach every branch.
fn verifiers() -> Vec<Verifier> {
    let digest = r#"{
        "event_type": { "in": "query", "name": "a" },
        "signature": {
            "source": { "in": "header_prefix", "name": "X-Sig-" }, "format": "plain",
            "schemes": [{ "algorithm": "sha1", "encoding": "hex", "key": "sha1_utf8" }]
        },
        "timestamp": { "source": { "in": "query", "name": "a" }, "format": "rfc3339", "past": null, "future": null },
        "signed": "{secret}{method}{url}{query_param:a}{header:b}{body}",
        "checks": [
            { "type": "header_equals", "header": "b", "value": "1" },
            { "type": "query_body_digest", "query": "d", "algorithm": "sha512" }
        ]
    }"#;
    let url = Some("https://h.example");
    let secrets = [Secret::new(LONG)];
    let mut verifiers = vec![
        Verifier::compile(&spec(digest), &secrets, &BTreeMap::new(), url).unwrap(),
        compile(&spec(STRIPE), &[LONG]),
        compile(&spec(STANDARD_WEBHOOKS), &[LONG]),
        compile(&PresetSpec::api_key_header(""), &[LONG]),
    ];
    for name in [
        "github",
        "shopify",
        "basic_auth",
        "bearer",
        "api_key",
        "api_key_query",
    ] {
        verifiers.push(compile(builtin(name).unwrap(), &[LONG]));
    }
    verifiers
}

const NAMES: [&str; 12] = [
    "x-sig-1",
    "x-sig-",
    "b",
    "stripe-signature",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "authorization",
    "x-hub-signature-256",
    "x-shopify-hmac-sha256",
    "x-api-key",
    "x-github-event",
];

/// Bytes that a header may hold, half of the time in the shape of a signature.
fn header_value() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(b'\t'), 32_u8..=126, 128_u8..=255];
    let shaped = "(sha256=|t=[0-9]{0,14},|v1[,=]|Basic |Bearer )?[0-9a-fA-F+/=, v.:TZ-]{0,90}";
    prop_oneof![vec(byte, 0..120), shaped.prop_map(String::into_bytes)]
}

proptest! {
    #[test]
    fn what_was_signed_with_any_active_secret_is_accepted(
        hash in hash(), encoding in encoding(), key in "[ -z]{1,80}", body in vec(any::<u8>(), 0..300)
    ) {
        let verifier = compile(&PresetSpec::generic_hmac("X-Sig", hash, encoding), &["other", &key, "another"]);
        let request = request(&[("x-sig", &sign(hash, encoding, &key, &body))], &body);
        prop_assert_eq!(code(&verifier, &request), "ok");
    }

    #[test]
    fn a_flipped_bit_in_the_body_never_verifies(
        hash in hash(), encoding in encoding(), body in vec(any::<u8>(), 1..300), bit: prop::sample::Index
    ) {
        let verifier = compile(&PresetSpec::generic_hmac("X-Sig", hash, encoding), &["k"]);
        let signature = sign(hash, encoding, "k", &body);
        let mut forged = body.clone();
        flip(&mut forged, bit);
        prop_assert_eq!(code(&verifier, &request(&[("x-sig", &signature)], &forged)), "signature_mismatch");
    }

    #[test]
    fn a_flipped_bit_in_the_signature_never_verifies(
        hash in hash(), encoding in encoding(), body in vec(any::<u8>(), 0..300), bit: prop::sample::Index
    ) {
        // The bit is flipped before encoding: in hex text, one bit is only the case of a letter.
        let verifier = compile(&PresetSpec::generic_hmac("X-Sig", hash, encoding), &["k"]);
        let mut signature = mac(hash, "k", &body);
        flip(&mut signature, bit);
        let forged = encode(encoding, &signature);
        prop_assert_eq!(code(&verifier, &request(&[("x-sig", &forged)], &body)), "signature_mismatch");
    }

    #[test]
    fn a_shortened_signature_never_verifies(hash in hash(), encoding in encoding(), len: prop::sample::Index) {
        let verifier = compile(&PresetSpec::generic_hmac("X-Sig", hash, encoding), &["k"]);
        let signature = mac(hash, "k", b"{}");
        let cut = encode(encoding, &signature[..len.index(signature.len())]);
        prop_assert_ne!(code(&verifier, &request(&[("x-sig", &cut)], b"{}")), "ok");
    }

    #[test]
    fn a_flipped_bit_in_the_timestamp_never_verifies(sent_s in 0_i64..999_999_999_999, bit: prop::sample::Index) {
        // Without tolerances, so that only the signature protects the time.
        let json = STANDARD_WEBHOOKS.replace("300", "null");
        let verifier = compile(&spec(&json), &["k"]);
        let mut sent = sent_s.to_string().into_bytes();
        let signature = format!("v1,{}", hex::encode(hmac_sha256("k", &[b"a.", &sent[..], b".{}"].concat())));
        let mut event = request(&[("webhook-id", "a"), ("webhook-signature", &signature)], b"{}");
        event.headers.insert("webhook-timestamp", HeaderValue::from_bytes(&sent).unwrap());
        prop_assert_eq!(code(&verifier, &event), "ok");
        flip(&mut sent, bit);
        if let Ok(value) = HeaderValue::from_bytes(&sent) {
            event.headers.insert("webhook-timestamp", value);
            prop_assert_ne!(code(&verifier, &event), "ok");
        }
    }

    #[test]
    fn arbitrary_requests_are_refused_without_panic(
        headers in vec((prop::sample::select(NAMES.to_vec()), header_value()), 0..14),
        query in "([adtoken%+&=0-9TZ:-]|\\PC){0,60}",
        body in vec(any::<u8>(), 0..50),
        now_s: i64,
    ) {
        let mut event = request(&[], &body);
        for (name, value) in headers {
            event.headers.append(name, HeaderValue::from_bytes(&value).unwrap());
        }
        event.query = query;
        for verifier in verifiers() {
            let _ = verifier.event_type(&event);
            prop_assert!(verifier.verify(&event, now_s).is_err());
        }
    }

    #[test]
    fn arbitrary_presets_are_refused_without_panic(signed in "(\\{(body|timestamp|header:[a-z]{0,2}|param:p|[a-z:]{0,6})\\}|[{}a-z:.]){0,12}") {
        let mut preset = spec(STRIPE);
        preset.signed = Some(SignedSpec::One(signed));
        let _ = Verifier::compile(&preset, &[Secret::new("k")], &params(&[("p", "{body}")]), None);
    }
}
