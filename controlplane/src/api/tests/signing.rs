//! How deliveries are signed: the settings of a project, and keys of which the half is public.

use super::*;

const PROJECT: &str = "/api/v1/projects/{out}";
const ENDPOINTS: &str = "/api/v1/projects/{out}/endpoints";
const ONE: &str = "/api/v1/projects/{out}/endpoints/{e}";
const EXPIRE: &str = "/api/v1/projects/{out}/endpoints/{e}/expire_secret";
/// The key pair of the seed 40..5f.
const PRIVATE: &str =
    "whsk_QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8lQ7kv8QlVEUdq3INp223ckzZloRl43aFATuEGbKlVnQ==";
const PUBLIC: &str = "whpk_JUO5L/EJVRFHatyDadtt3JM2ZaEZeN2hQE7hBmypVZ0=";

fn settings(signature: Value) -> Value {
    json!({"name": "out", "config": {"signature": signature}})
}

fn endpoint(secret: &str) -> Value {
    json!({"name": "e", "url": "https://a.example", "secret": secret})
}

fn stored(fixture: &Fixture) -> String {
    let history = fixture.control.journal().history(0, 1000).unwrap();
    let texts = history.iter().filter_map(|change| change.after.clone());
    texts.map(|text| String::from_utf8(text).unwrap()).collect()
}

#[tokio::test]
async fn a_private_key_is_checked_and_only_its_public_half_is_shown() {
    let mut fixture = Fixture::with_projects().await;
    let of_a_seed = "whsk_QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8=";
    fixture
        .run(vec![
            row("POST", ENDPOINTS, endpoint(PRIVATE), 400)
                .says("`secret`: a signature of this project needs a shared secret.."),
            row("PUT", PROJECT, settings(json!({"format": "standard_webhooks"})), 202),
            row("POST", ENDPOINTS, endpoint("whsk_c2VjcmV0"), 400).says("`secrets[0].value`: a private key is `whsk_` and.."),
            row("POST", ENDPOINTS, endpoint(PUBLIC), 400).says("`secrets[0].value`: a public key (`whpk_`) cannot sign.."),
            row("POST", ENDPOINTS, endpoint(of_a_seed), 201)
                .shows(json!({"secrets": [{"value": PUBLIC, "public_key": PUBLIC, "secret_type": "ed25519"}]}))
                .saves("e", "/uid"),
            row("PUT", EXPIRE, json!({"secret": PRIVATE, "expiration": 1}), 200).shows(json!({"secrets": [
                {"value": PUBLIC, "expires_at": "2026-01-01T01:00:00Z"}, {"value": PUBLIC, "expires_at": null},
            ]})),
            // What is shown may come back; a public key that is none of it may not.
            row("PUT", ONE, endpoint(PUBLIC), 202).shows(json!({"secrets": [{"value": PUBLIC}, {"value": PUBLIC, "expires_at": null}]})),
            row("PUT", ONE, endpoint("whpk_AAAA"), 400).says("`secrets[0].value`: a public key (`whpk_`) cannot sign.."),
            get(ENDPOINTS, 200).shows(json!({"content": [{"secrets": [{"public_key": PUBLIC}, {"public_key": PUBLIC}]}]})),
            // A project that comes to need shared secrets cannot have endpoints without one.
            row("PUT", PROJECT, settings(json!({"format": "both"})), 400).code("refused").says("..needs a shared secret.."),
        ])
        .await;
    for path in [ENDPOINTS, ONE] {
        let got = fixture.send(get(path, 200).request(&fixture)).await;
        let text = String::from_utf8_lossy(&got.bytes).into_owned();
        assert!(text.contains("whpk_") && !text.contains("whsk_"), "{text}");
    }
    assert!(
        stored(&fixture).contains(PRIVATE),
        "it is kept, to sign with"
    );
}

#[tokio::test]
async fn secrets_are_made_up_of_the_type_that_is_asked_for() {
    let mut fixture = Fixture::with_projects().await;
    let by_type = |kind: &str| json!({"secret_type": kind, "expiration": 1});
    fixture
        .run(vec![
            row("PUT", PROJECT, settings(json!({"secret_type": "rsa"})), 400)
                .says("`config.signature.secret_type`: must be `shared` or `ed25519`"),
            row(
                "PUT",
                PROJECT,
                settings(json!({"secret_type": "ed25519"})),
                400,
            )
            .says("`config.signature`: a signature of this project needs.."),
            row(
                "PUT",
                PROJECT,
                settings(json!({"format": "standard_webhooks", "secret_type": "ed25519"})),
                202,
            )
            .shows(json!({"config": {"signature": {"secret_type": "ed25519"}}})),
            row(
                "POST",
                ENDPOINTS,
                json!({"name": "e", "url": "https://a.example"}),
                201,
            )
            .shows(json!({"secrets": [{"secret_type": "ed25519", "expires_at": null}]}))
            .saves("e", "/uid")
            .saves("first", "/secrets/0/public_key"),
            row("PUT", EXPIRE, by_type("rsa"), 400)
                .says("`secret_type`: must be `shared` or `ed25519`"),
            row(
                "PUT",
                EXPIRE,
                json!({"secret_type": "shared", "secret": "x"}),
                400,
            )
            .says("`secret_type`: cannot be given together with `secret`"),
            row("PUT", EXPIRE, by_type("shared"), 200)
                .shows(
                    json!({"secrets": [{"value": "{first}"}, {"value": "*", "expires_at": null}]}),
                )
                .saves("second", "/secrets/1/value"),
            row("PUT", EXPIRE, by_type(""), 200).saves("third", "/secrets/2/public_key"),
        ])
        .await;
    assert!(fixture.names["second"].starts_with("whsec_"));
    for name in ["first", "third"] {
        let key = &fixture.names[name];
        assert!(key.starts_with("whpk_") && key.len() == 5 + 44, "{key}");
    }
    assert_ne!(fixture.names["first"], fixture.names["third"]);
}

#[tokio::test]
async fn where_a_shared_secret_is_needed_a_private_key_stands_beside_it_and_ends_none() {
    let mut fixture = Fixture::with_projects().await;
    let shared = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz";
    let private = json!({"secret_type": "ed25519", "expiration": 2});
    fixture
        .run(vec![
            row("PUT", PROJECT, settings(json!({"format": "both"})), 202),
            row("POST", ENDPOINTS, endpoint(shared), 201).saves("e", "/uid"),
            row("PUT", EXPIRE, private.clone(), 200).shows(json!({"secrets": [
                {"value": shared, "expires_at": null}, {"secret_type": "ed25519", "expires_at": null},
            ]})),
            row("PUT", EXPIRE, private, 200).shows(json!({"secrets": [
                {"value": shared, "expires_at": null}, {"expires_at": "2026-01-01T02:00:00Z"}, {"expires_at": null},
            ]})),
            row("PUT", EXPIRE, json!({"expiration": 3}), 200).shows(json!({"secrets": [
                {"value": shared, "expires_at": "2026-01-01T03:00:00Z"}, {"expires_at": "2026-01-01T02:00:00Z"},
                {"secret_type": "ed25519", "expires_at": null}, {"value": "*", "expires_at": null},
            ]})),
        ])
        .await;
}

#[tokio::test]
async fn headers_of_other_systems_are_checked_shown_and_kept() {
    let mut fixture = Fixture::with_projects().await;
    let headers = |headers: Value| settings(json!({"format": "custom", "headers": headers}));
    let refused = |given: Value, says: &'static str| {
        row("PUT", PROJECT, headers(given), 400)
            .code("invalid_fields")
            .says(says)
    };
    let hub = json!({"name": "X-Hub-Signature-256", "value": "sha256={signature}"});
    let stripe = json!({
        "name": "X-Shop-Signature", "value": "t={timestamp},{signatures}", "entry": "v1={signature}", "separator": ",",
        "signed": "{timestamp}.{body}", "hash": "SHA512", "encoding": "base64", "key": "utf8",
    });
    let nine: Vec<Value> = (0..9)
        .map(|n| json!({"name": format!("x-{n}"), "value": "{signature}"}))
        .collect();
    fixture
        .run(vec![
            row("PUT", PROJECT, settings(json!({"format": "none"})), 400)
                .says("`config.signature.format`: must be `convoy`, `standard_webhooks`, `both` or `custom`"),
            refused(json!([]), "`config.signature`: no signature is set"),
            refused(json!([{"name": "x-t", "value": "{timestamp}"}]), "`config.signature`: no signature is set"),
            refused(json!([{}]), "`config.signature.headers[0].name`: is missing; `config.signature.headers[0].value`: is missing"),
            refused(json!([{"name": "a b", "value": "{signature}"}]), "`config.signature.headers[0].name`: must be the name of an HTTP header.."),
            refused(json!([{"name": "Host", "value": "{signature}"}]), "`config.signature.headers[0].name`: must be a header that does not frame.."),
            refused(json!([{"name": "webhook-id", "value": "{signature}"}]), "`config.signature`: header `webhook-id` has a meaning of its own.."),
            refused(json!([hub, hub]), "`config.signature`: header `x-hub-signature-256` is written twice"),
            refused(json!([{"name": "x-a", "value": "{sig}"}]), "`config.signature.headers[0].value`: `{sig}` cannot stand here.."),
            refused(json!([{"name": "x-a", "value": "{signature}", "signed": "{id}"}]), "`config.signature.headers[0].signed`: must have `{body}` exactly once"),
            refused(json!([{"name": "x-a", "value": "{signature}", "entry": "x"}]), "`config.signature.headers[0].entry`: has no effect.."),
            refused(json!([{"name": "x-a", "value": "{signature}", "hash": "MD5", "encoding": "HEX", "key": "raw"}]),
                "`config.signature.headers[0].hash`: must be `SHA1`, `SHA256` or `SHA512`; `config.signature.headers[0].encoding`: must be `hex` or `base64`; `config.signature.headers[0].key`: must be `utf8` or `whsec`"),
            refused(json!(nine), "`config.signature.headers`: must be from 0 to 8 headers"),
            row("PUT", PROJECT, settings(json!({"headers": [{"name": "x-convoy-signature", "value": "{signature}"}]})), 400)
                .says("..`x-convoy-signature` is written twice"),
            row("PUT", PROJECT, json!({"name": "out", "config": {"request_id_header": "x-hub-signature-256", "signature": {"headers": [hub]}}}), 400)
                .says("`config.request_id_header`: header `x-hub-signature-256` has a meaning of its own.."),
            row("PUT", PROJECT, headers(json!([stripe])), 202).shows(json!({"config": {"signature": {"format": "custom", "headers": [stripe]}}})),
            // What is not given stays.
            row("PUT", PROJECT, settings(json!({"format": "both"})), 202).shows(json!({"config": {"signature": {"format": "both", "headers": [stripe]}}})),
            row("PUT", PROJECT, settings(json!({"headers": [hub]})), 202).shows(json!({"config": {"signature": {"headers": [hub]}}})),
            row("PUT", PROJECT, settings(json!({"headers": []})), 202),
        ])
        .await;
}

#[tokio::test]
async fn message_signatures_are_checked_shown_kept_and_switched_off() {
    let mut fixture = Fixture::with_projects().await;
    let message = |given: Value| settings(json!({"message_signature": given}));
    let refused = |given: Value, says: &'static str| {
        row("PUT", PROJECT, message(given), 400)
            .code("invalid_fields")
            .says(says)
    };
    let given =
        json!({"components": ["@method", "content-digest"], "expires_in_s": 60, "tag": "shop"});
    fixture
        .run(vec![
            refused(json!({"components": ["@method"]}), "`config.signature.message_signature.components`: must have `content-digest`.."),
            refused(json!({"components": ["x-mine", "content-digest"]}), "`config.signature.message_signature.components`: `x-mine` is no component.."),
            refused(json!({"components": ["content-digest", "content-digest"]}), "..`content-digest` is listed twice"),
            refused(json!({"expires_in_s": 86401}), "`config.signature.message_signature.expires_in_s`: must be from 1 to 86400 seconds"),
            refused(json!({"tag": "a\"b"}), "`config.signature.message_signature.tag`: must be from 1 to 64.."),
            row("PUT", PROJECT, settings(json!({"header": "Signature", "message_signature": {}})), 400)
                .says("`config.signature`: header `signature` has a meaning of its own.."),
            // Its keys are those of Standard Webhooks, and an endpoint that has none is in the way.
            row("POST", ENDPOINTS, endpoint("any text"), 201).saves("e", "/uid"),
            row("PUT", PROJECT, message(json!({})), 400).code("refused").says("..a shared Standard Webhooks secret is.."),
            row("DELETE", ONE, Value::Null, 200),
            row("PUT", PROJECT, message(given.clone()), 202).shows(json!({"config": {"signature": {"message_signature": given}}})),
            row("PUT", PROJECT, message(json!({"tag": "other"})), 202)
                .shows(json!({"config": {"signature": {"message_signature": {"components": ["@method", "content-digest"], "expires_in_s": 60, "tag": "other"}}}})),
            row("POST", ENDPOINTS, endpoint("any text"), 400).says("`secret`: a shared Standard Webhooks secret is.."),
            row("POST", ENDPOINTS, json!({"name": "e", "url": "https://a.example"}), 201),
            row("PUT", PROJECT, message(json!({"is_enabled": false})), 202)
                .shows(json!({"config": {"signature": {"message_signature": {"is_enabled": false, "tag": "other"}}}})),
            row("POST", ENDPOINTS, json!({"name": "f", "url": "https://a.example", "secret": "any text"}), 201),
        ])
        .await;
}

#[tokio::test]
async fn a_rotation_ends_at_a_time_and_says_where_the_old_secret_signs_no_more() {
    let mut fixture = Fixture::with_projects().await;
    let warned = || {
        Some(
            "a signature of this endpoint is made with the newest secret only: give it to the receiver now",
        )
    };
    let at = |text: &str| json!({"expires_at": text});
    let mut simple = endpoint("first");
    simple["advanced_signatures"] = false.into();
    let past = "`expires_at`: must be a time to come within ten years..";
    fixture
        .run(vec![
            row("POST", ENDPOINTS, endpoint("first"), 201).saves("e", "/uid"),
            row("PUT", EXPIRE, json!({}), 200).shows(json!({"secrets": [{"expires_at": "2026-01-02T00:00:00Z"}, {"expires_at": null}]})),
            row("PUT", EXPIRE, json!({"secret": "first", "expiration": 0}), 200).shows(json!({"secrets": [{"value": "first", "expires_at": null}]})),
            row("PUT", EXPIRE, at("soon"), 400).says(past),
            row("PUT", EXPIRE, at("2025-12-31T23:59:59Z"), 400).says(past),
            row("PUT", EXPIRE, at("2036-01-02T00:00:00Z"), 400).says(past),
            row("PUT", EXPIRE, json!({"expires_at": "2026-01-02T00:00:00Z", "expiration": 1}), 400)
                .says("`expires_at`: cannot be given together with `expiration`"),
            row("PUT", EXPIRE, at("2026-01-01T01:30:00+01:00"), 200)
                .shows(json!({"secrets": [{"value": "first", "expires_at": "2026-01-01T00:30:00Z"}, {"expires_at": null}]}))
                .answers("x-outrider-warning", None),
            row("DELETE", ONE, Value::Null, 200),
            row("POST", ENDPOINTS, simple, 201).saves("e", "/uid"),
            row("PUT", EXPIRE, json!({"expiration": 1}), 200).answers("x-outrider-warning", warned()),
            row("PUT", EXPIRE, json!({"expiration": 0}), 200).answers("x-outrider-warning", None),
            row("PUT", PROJECT, settings(json!({"format": "custom", "headers": [{"name": "x-a", "value": "{signature}"}]})), 202),
            row("PUT", EXPIRE, json!({"expiration": 1}), 200).answers("x-outrider-warning", warned()),
        ])
        .await;
}
