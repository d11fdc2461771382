//! The shared vectors, and what goes on the wire.

mod credential;
mod headers;
mod keys;
mod message;
mod published;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::address::TargetUrl;
use crate::event::HeaderList;
use crate::id::Uid;
use crate::secret::Secret;

fn key(text: &str) -> SigningKey {
    SigningKey::new(Secret::new(text), None).unwrap()
}

fn scheme_of(case: &Value) -> Result<Scheme, SignError> {
    let versions = case["schemes"].as_array().unwrap().iter().map(|scheme| {
        let text = |field: &str| scheme[field].as_str().unwrap();
        Ok(Version {
            hash: text("hash").parse()?,
            encoding: text("encoding").parse()?,
        })
    });
    Scheme::try_from(Settings {
        versions: versions.collect::<Result<_, SignError>>()?,
        input: Input::CompactJson,
        ..Settings::default()
    })
}

fn of_format(format: Format) -> Scheme {
    Scheme::try_from(Settings {
        format,
        ..Settings::default()
    })
    .unwrap()
}

/// The vectors give each scheme its own secrets, which all have in common in our model: each
/// scheme is therefore signed by itself with its secrets, and the labels are put together.
fn convoy_of(case: &Value, mode: Mode) -> Result<String, SignError> {
    let scheme = scheme_of(case)?;
    let payload = Bytes::copy_from_slice(case["payload"].as_str().unwrap().as_bytes());
    let now_s = case["timestamp"].as_i64().unwrap_or(0);
    let specs = case["schemes"].as_array().unwrap();
    let keys_of = |spec: &Value| -> Vec<SigningKey> {
        spec["secrets"]
            .as_array()
            .unwrap()
            .iter()
            .map(|secret| key(secret.as_str().unwrap()))
            .collect()
    };
    let one = |index: usize| {
        let versions = vec![scheme.versions()[index]];
        let scheme = Scheme::try_from(Settings {
            versions,
            input: Input::CompactJson,
            ..Settings::default()
        })?;
        let value = convoy(&scheme, mode, &keys_of(&specs[index]), &payload, now_s)?;
        Ok::<_, SignError>(value.to_str().unwrap().to_owned())
    };
    if specs
        .iter()
        .all(|spec| spec["secrets"] == specs[0]["secrets"])
    {
        let value = convoy(&scheme, mode, &keys_of(&specs[0]), &payload, now_s)?;
        return Ok(value.to_str().unwrap().to_owned());
    }
    if mode == Mode::Simple {
        return one(specs.len() - 1);
    }
    let mut value = format!("t={now_s}");
    for index in 0..specs.len() {
        match one(index) {
            // A scheme without secrets emits nothing and keeps its number.
            Err(SignError::NoSecret) => {}
            other => {
                let own = other?;
                let macs = own.split_once(',').unwrap().1;
                value.push_str(&format!(
                    ",{}",
                    macs.replace("v1=", &format!("v{}=", index + 1))
                ));
            }
        }
    }
    Ok(value)
}

fn standard_of(case: &Value) -> Result<String, SignError> {
    let keys = case["keys"].as_array().unwrap().iter();
    let keys = keys.map(|text| SigningKey::new(Secret::new(text.as_str().unwrap()), None));
    let keys = keys.collect::<Result<Vec<_>, SignError>>()?;
    for (key, text) in keys
        .iter()
        .zip(case["verify_keys"].as_array().into_iter().flatten())
    {
        let text = text.as_str().unwrap();
        assert_eq!(key.public_key().is_some(), text.starts_with("whpk_"));
        assert_eq!(key.public_key().as_deref().unwrap_or(text), text);
    }
    let text = |field: &str| case[field].as_str().unwrap();
    let now_s = case["timestamp"].as_i64().unwrap();
    let value = standard_webhooks(keys.iter(), text("msg_id"), now_s, text("body").as_bytes())?;
    Ok(value.to_str().unwrap().to_owned())
}

#[test]
fn every_shared_vector_is_exact() {
    let file = crate::vectors::load("signing.json");
    let (mut checked, mut wrong) = (0, Vec::new());
    for case in file["vectors"].as_array().unwrap() {
        let got = match case["mode"].as_str().unwrap() {
            "convoy_simple" => convoy_of(case, Mode::Simple),
            "convoy_advanced" => convoy_of(case, Mode::Advanced),
            _ => standard_of(case),
        };
        let expected = match case["expect"].as_str().unwrap() {
            "ok" => Ok(case["header"]
                .as_str()
                .or(case["headers"]["webhook-signature"].as_str())
                .unwrap()
                .to_owned()),
            _ => Err(case["reason"].as_str().unwrap().to_owned()),
        };
        let got = got.map_err(|error| error.code().to_owned());
        if got != expected {
            wrong.push(format!("{}: {got:?}, expected {expected:?}", case["id"]));
        }
        checked += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(checked, 86);
}

fn outgoing<'a>(
    target: &'a Arc<TargetUrl>,
    headers: &'a HeaderList,
    body: &'a Bytes,
) -> Outgoing<'a> {
    Outgoing {
        event_uid: Uid::from_bits(1 << 80),
        delivery_uid: Uid::from_bits((1 << 80) + 1),
        ordinal: 3,
        repeat: false,
        replay: None,
        target,
        query: "",
        event_headers: headers,
        content_type: HeaderValue::from_static("application/json"),
        body,
        json: None,
        authentication: None,
        idempotency: None,
        more: &[],
    }
}

fn target() -> Arc<TargetUrl> {
    Arc::new(TargetUrl::parse("https://hooks.example.com/in?a=1").unwrap())
}

fn named(name: &'static str, value: &'static str) -> (HeaderName, HeaderValue) {
    (
        HeaderName::from_static(name),
        HeaderValue::from_static(value),
    )
}

#[test]
fn an_event_cannot_overwrite_what_is_ours_nor_frame_the_message() {
    let headers: HeaderList = vec![
        named("x-convoy-signature", "forged"),
        named("webhook-id", "forged"),
        named("webhook-signature", "v1,forged"),
        named("webhook-timestamp", "1"),
        named("content-type", "text/forged"),
        named("content-length", "1"),
        named("transfer-encoding", "chunked"),
        named("host", "evil.example.com"),
        named("user-agent", "GitHub-Hookshot/1"),
        named("x-two", "a"),
        named("x-two", "b"),
    ];
    let scheme = of_format(Format::Both);
    let (target, body) = (target(), Bytes::from_static(b"{}"));
    let secret = key("whsec_AyE2dHsU04VDyb+kOk+nURH+yHeB/6Aa");
    let signed = sign(
        &outgoing(&target, &headers, &body),
        &scheme,
        Mode::Advanced,
        &[secret],
        1_700_000_000,
    )
    .unwrap();
    let all = format!("{:?}", signed.headers());
    assert!(!all.contains("forged") && !all.contains("evil"), "{all}");
    assert!(
        !signed.headers().contains_key(header::CONTENT_LENGTH)
            && !signed.headers().contains_key("transfer-encoding")
    );
    assert_eq!(
        signed.headers().get("user-agent").unwrap(),
        "GitHub-Hookshot/1"
    );
    assert_eq!(signed.headers().get_all("x-two").iter().count(), 2);
    assert_eq!(
        signed.headers().get("webhook-timestamp").unwrap(),
        "1700000000"
    );
}

#[test]
fn expired_keys_sign_nothing_and_no_key_is_an_error() {
    let (target, body) = (target(), Bytes::from_static(b"{}"));
    let old = SigningKey::new(Secret::new("old"), Some(1_000)).unwrap();
    let out = outgoing(&target, const { &Vec::new() }, &body);
    let signed = |now_s| {
        sign(
            &out,
            &Scheme::default(),
            Mode::Advanced,
            std::slice::from_ref(&old),
            now_s,
        )
    };
    assert!(signed(999).is_ok());
    assert_eq!(signed(1_000).unwrap_err(), SignError::NoSecret);
}

#[test]
fn a_repeat_gets_its_ordinal_and_queries_are_joined() {
    let (target, body, none) = (target(), Bytes::from_static(b"{}"), Vec::new());
    let out = Outgoing {
        repeat: true,
        replay: None,
        query: "b=2",
        ..outgoing(&target, &none, &body)
    };
    let signed = sign(&out, &Scheme::default(), Mode::Simple, &[key("k")], 1).unwrap();
    let id = signed
        .headers()
        .get("webhook-id")
        .unwrap()
        .to_str()
        .unwrap();
    assert_eq!(id, format!("{}-3", out.event_uid));
    assert_eq!(signed.into_parts().path_and_query.as_str(), "/in?a=1&b=2");
}

#[test]
fn the_idempotency_key_replaces_any_other_value() {
    let (target, body) = (target(), Bytes::from_static(b"{}"));
    let headers = vec![named("x-convoy-idempotency-key", "other")];
    let name = HeaderName::from_static("x-convoy-idempotency-key");
    let out = Outgoing {
        idempotency: Some((&name, "mine")),
        ..outgoing(&target, &headers, &body)
    };
    let signed = sign(&out, &Scheme::default(), Mode::Simple, &[key("k")], 1).unwrap();
    let all: Vec<_> = signed.headers().get_all(&name).iter().collect();
    assert_eq!(all, ["mine"]);
}

proptest! {
    #[test]
    fn a_flipped_bit_changes_the_signature(body in proptest::collection::vec(any::<u8>(), 1..200), at: prop::sample::Index, bit in 0..8) {
        let secret = [key("secret")];
        let mut other = body.clone();
        other[at.index(body.len())] ^= 1_u8 << bit;
        let value = |body: Vec<u8>| convoy(&Scheme::default(), Mode::Advanced, &secret, &Bytes::from(body), 5).unwrap();
        prop_assert_ne!(value(body), value(other));
    }
}

#[test]
fn a_signature_header_that_something_else_would_overwrite_is_refused() {
    for name in [
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
        "x-convoy-event-id",
        "x-convoy-eventdelivery-id",
        "content-type",
        "content-length",
        "host",
        "connection",
        "transfer-encoding",
        "expect",
    ] {
        let refused = Scheme::try_from(Settings {
            header: HeaderName::from_static(name),
            ..Settings::default()
        });
        assert_eq!(refused.unwrap_err().code(), "reserved_header", "{name}");
    }
}

#[test]
fn an_idempotency_key_never_takes_the_place_of_a_header_of_ours() {
    let (target, body, none) = (target(), Bytes::from_static(b"{}"), Vec::new());
    for name in [
        "x-convoy-signature",
        "webhook-id",
        "x-convoy-event-id",
        "content-type",
        "content-length",
        "host",
    ] {
        let name = HeaderName::from_static(name);
        let out = Outgoing {
            idempotency: Some((&name, "forged")),
            ..outgoing(&target, &none, &body)
        };
        let refused = sign(&out, &Scheme::default(), Mode::Simple, &[key("k")], 1);
        assert_eq!(refused.unwrap_err().code(), "reserved_header", "{name}");
    }
}

#[test]
fn headers_of_one_connection_are_not_forwarded() {
    let (target, body) = (target(), Bytes::from_static(b"{}"));
    let headers = vec![
        named("connection", "close, X-Hop"),
        named("x-hop", "1"),
        named("proxy-authorization", "Basic c2VjcmV0"),
        named("proxy-authenticate", "Basic"),
        named("expect", "100-continue"),
        named("http2-settings", "AAMAAABk"),
        named("x-end", "1"),
    ];
    let out = outgoing(&target, &headers, &body);
    let signed = sign(&out, &Scheme::default(), Mode::Simple, &[key("k")], 1).unwrap();
    for (name, _) in &headers {
        let is_there = signed.headers().contains_key(name);
        assert_eq!(is_there, name == "x-end", "{name}");
    }
}

#[test]
fn an_error_ends_a_delivery_under_its_own_code_unless_its_secret_may_be_replaced() {
    let header = CONVOY_HEADER;
    let all = [
        SignError::NoScheme,
        SignError::NoSecret,
        SignError::UnsupportedHash("MD5".to_owned()),
        SignError::UnsupportedEncoding("utf-8".to_owned()),
        SignError::PayloadNotJson,
        SignError::BadMessageId,
        SignError::BadKey,
        SignError::BadPrivateKey,
        SignError::PublicKey,
        SignError::BadKeyId,
        SignError::RepeatedHeader(header.clone()),
        SignError::NoSharedSecret,
        SignError::BadHeader(header.clone()),
        SignError::ReservedHeader(header),
        SignError::BadQuery,
    ];
    for error in all {
        match error.reason() {
            Some(reason) => assert_eq!(reason.code(), error.code()),
            None => assert!(matches!(error, SignError::NoSecret | SignError::BadKey)),
        }
    }
    assert_eq!(SignError::BadKey.code(), "bad_key");
}
