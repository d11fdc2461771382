//! How deliveries are signed, as receivers see them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::harness::{
    DEADLINE, Endpoint, Received, Receiver, Resources, Setup, convoy_advanced, github,
    message_signatures, standard_webhooks, standard_webhooks_v1a, uid,
};

/// The key pair of the seed 40..5f.
const PRIVATE: &str =
    "whsk_QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8lQ7kv8QlVEUdq3INp223ckzZloRl43aFATuEGbKlVnQ==";
const PUBLIC: &str = "whpk_JUO5L/EJVRFHatyDadtt3JM2ZaEZeN2hQE7hBmypVZ0=";
/// 24 bytes after the prefix, the shortest the specification allows.
const SHARED: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz";

/// What a receiver gets from an endpoint with these secrets, oldest first.
async fn delivered(signature: &Value, secrets: &[&str]) -> (Received, String) {
    let receiver = Receiver::start().await;
    let secrets: Vec<Value> = secrets
        .iter()
        .map(|value| json!({"value": value}))
        .collect();
    let endpoint = Endpoint::new(1, &receiver.url("/hook"), "")
        .with("secret", Value::Null)
        .with("secrets", secrets);
    let resources = Resources::outgoing(&[endpoint]).config("signature", signature.clone());
    let outrider = Setup::new(&resources).start().await;
    let data = json!({"amount": 1250, "name": "Zoë"});
    let reply = outrider
        .client()
        .publish_to(&uid(1), "invoice.paid", data)
        .await;
    reply.unwrap().event_uid();
    let received = receiver.wait_for(1, DEADLINE).await.remove(0);
    (received, outrider.admin_page("/config_dump").await)
}

#[tokio::test]
async fn a_private_key_signs_and_the_dump_shows_its_public_half() {
    let (got, dump) = delivered(&json!({"format": "standard_webhooks"}), &[PRIVATE]).await;
    standard_webhooks_v1a(&got.headers, &got.body, PUBLIC).unwrap();
    assert!(standard_webhooks_v1a(&got.headers, b"{}", PUBLIC).is_err());
    assert!(dump.contains(PUBLIC) && !dump.contains("whsk_"), "{dump}");
    let half = &PRIVATE[5..40];
    assert!(!dump.contains(half), "{dump}");
}

#[tokio::test]
async fn a_private_key_beside_a_shared_secret_leaves_receivers_the_choice() {
    let (got, dump) = delivered(&json!({"format": "both"}), &[SHARED, PRIVATE]).await;
    let (headers, body) = (&got.headers, &got.body);
    standard_webhooks_v1a(headers, body, PUBLIC).unwrap();
    standard_webhooks(headers, body, SHARED).unwrap();
    convoy_advanced(headers, body, SHARED).unwrap();
    assert!(
        got.header("webhook-signature").starts_with("v1a,"),
        "newest first"
    );
    assert_eq!(got.header("x-convoy-signature").matches("v1=").count(), 1);
    assert!(dump.contains(PUBLIC) && !dump.contains(SHARED), "{dump}");
}

#[tokio::test]
async fn headers_of_another_system_go_out_beside_both_families_over_the_bytes_that_are_sent() {
    let secrets = ["whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldY", SHARED];
    let signature = json!({"format": "both", "headers": [
        {"name": "X-Hub-Signature-256", "value": "sha256={signature}"},
        {"name": "X-Shop-Time", "value": "{timestamp}"},
        {"name": "X-Shop-Signature", "value": "t={timestamp},{signatures}", "entry": "v1={signature}", "signed": "{timestamp}.{body}"},
    ]});
    let (got, _) = delivered(&signature, &secrets).await;
    let (headers, body) = (&got.headers, &got.body);
    assert_eq!(got.header("x-hub-signature-256"), github(SHARED, body));
    let time = got.header("x-shop-time");
    assert_eq!(time, got.header("webhook-timestamp"));
    let signed = [time.as_bytes(), b".", body].concat();
    let [old, new] = secrets.map(|secret| github(secret, &signed).replace("sha256=", "v1="));
    assert_eq!(
        got.header("x-shop-signature"),
        format!("t={time},{new},{old}")
    );
    for secret in secrets {
        standard_webhooks(headers, body, secret).unwrap();
        convoy_advanced(headers, body, secret).unwrap();
    }
    // Alone they are all that is sent.
    let alone =
        json!({"format": "custom", "headers": [{"name": "X-Sign", "value": "{signature}"}]});
    let (got, _) = delivered(&alone, &["any text"]).await;
    assert_eq!(
        format!("sha256={}", got.header("x-sign")),
        github("any text", &got.body)
    );
    for name in ["x-convoy-signature", "webhook-signature"] {
        assert!(!got.headers.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn message_signatures_cover_what_arrives_and_name_the_keys_that_the_api_shows() {
    let receiver = Receiver::start().await;
    let outrider = Setup::through_api().start().await;
    let message = json!({"tag": "shop"});
    let config =
        json!({"signature": {"format": "standard_webhooks", "message_signature": message}});
    let mut project = outrider
        .admin_api()
        .make_project("shop", "outgoing", &config)
        .await;
    let url = receiver.url("/hook?a=1&b=%20");
    let secret = json!({"secret": SHARED});
    let endpoint = project.make_endpoint("customer", &url, &secret).await;
    project.subscribe(&endpoint, &["*"]).await;
    let path = format!("/endpoints/{endpoint}/expire_secret");
    let rotated = project
        .put(&path, &json!({"secret_type": "ed25519", "expiration": 1}))
        .await;
    let secrets = rotated.data(200)["secrets"].clone();
    project
        .publish(&endpoint, "invoice.paid", &json!({"amount": 1250}))
        .await;
    let got = receiver.wait_for(1, DEADLINE).await.remove(0);
    let found = message_signatures(&got.headers, &got.body, &url).unwrap();
    let key = |text: &str| {
        STANDARD
            .decode(&text[text.find('_').unwrap() + 1..])
            .unwrap()
    };
    let public = key(secrets[1]["public_key"].as_str().unwrap());
    let [new, old] = &found[..] else {
        panic!("one signature of each key")
    };
    assert_eq!(
        (&*new.algorithm, &*old.algorithm),
        ("ed25519", "hmac-sha256")
    );
    assert!(new.is_by(&public) && !new.is_by(&key(PUBLIC)));
    assert!(old.is_by(&key(SHARED)) && !old.is_by(b"another"));
    assert_eq!(new.key_id, secrets[1]["uid"]);
    assert_eq!(old.key_id, secrets[0]["uid"]);
    let covered = [
        "@method",
        "@target-uri",
        "content-digest",
        "content-type",
        "webhook-id",
    ];
    assert_eq!(new.covered, covered);
    assert!(message_signatures(&got.headers, b"{}", &url).is_err());
    let elsewhere =
        message_signatures(&got.headers, &got.body, "https://elsewhere.example/").unwrap();
    assert!(
        elsewhere
            .iter()
            .all(|signature| !signature.is_by(&public) && !signature.is_by(&key(SHARED)))
    );
}

/// The secrets out of these whose MAC stands in an advanced signature, in order.
fn signers<'a>(got: &Received, secrets: &[&'a str]) -> Vec<&'a str> {
    let header = got.header("x-convoy-signature");
    let mut parts = header.split(',');
    let time = parts.next().unwrap().strip_prefix("t=").unwrap();
    let signed = [time.as_bytes(), b",", &got.body[..]].concat();
    let mac = |secret: &str| github(secret, &signed).replace("sha256=", "v1=");
    parts
        .map(|part| *secrets.iter().find(|secret| mac(secret) == part).unwrap())
        .collect()
}

#[tokio::test]
async fn a_rotated_secret_signs_until_its_second_by_the_clock_of_the_data_plane() {
    const NOW: u64 = 1_760_000_000;
    let receiver = Receiver::start().await;
    let mut outrider = Setup::through_api().not_started();
    outrider.hold_clock_at(NOW);
    outrider.start().await;
    let config = json!({"signature": {"format": "both"}});
    let mut project = outrider
        .admin_api()
        .make_project("shop", "outgoing", &config)
        .await;
    let new = "whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldY";
    let endpoint = project
        .make_endpoint("customer", &receiver.url("/"), &json!({"secret": SHARED}))
        .await;
    project.subscribe(&endpoint, &["*"]).await;
    let path = format!("/endpoints/{endpoint}/expire_secret");
    let rotated = project
        .put(&path, &json!({"secret": new, "expiration": 1}))
        .await;
    // 2025-10-09T08:53:20Z and an hour.
    assert_eq!(
        rotated.data(200)["secrets"][0]["expires_at"],
        "2025-10-09T09:53:20Z"
    );
    for (now, expected) in [
        (NOW, &[SHARED, new][..]),
        (NOW + 3599, &[SHARED, new]),
        (NOW + 3600, &[new]),
    ] {
        if now > NOW {
            outrider.kill();
            outrider.hold_clock_at(now);
            outrider.start().await;
        }
        let event = project.publish(&endpoint, "invoice.paid", &json!({})).await;
        // Not just the next one: what a kill found unrecorded is made again.
        let is_it = |got: &Received| got.webhook_id() == event;
        let received = receiver
            .wait_until("the event", DEADLINE, |received| received.iter().any(is_it))
            .await;
        let got = received.into_iter().find(is_it).unwrap();
        assert_eq!(signers(&got, &[SHARED, new]), expected, "at {now}");
        let entries = got.header("webhook-signature").split(' ');
        assert_eq!(entries.count(), expected.len(), "at {now}");
    }
}
