//! Providers call us: verified, stored, delivered byte for byte.

use std::collections::BTreeMap;

use super::harness::{
    Client, DEADLINE, Endpoint, MASK, Outrider, Payload, Receiver, Reply, Resources, Setup,
    convoy_advanced, github, payloads,
};

const GITHUB_SECRET: &str = "shared-with-github";
const ENDPOINT_SECRET: &str = "shared-with-the-backend";

async fn start(receiver: &Receiver) -> Outrider {
    let everything = Endpoint::new(1, &receiver.url("/all"), ENDPOINT_SECRET);
    Setup::new(&Resources::incoming(GITHUB_SECRET, &[everything]))
        .start()
        .await
}

async fn send(client: &mut Client, payload: &Payload) -> Reply {
    let signature = github(GITHUB_SECRET, &payload.body);
    client
        .github(&payload.kind, &signature, payload.body.clone())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_github_payload_with_one_byte_changed_is_401_and_never_delivered() {
    let receiver = Receiver::start().await;
    let outrider = start(&receiver).await;
    let mut client = outrider.client();
    let payloads = payloads();
    for (index, payload) in payloads.iter().enumerate() {
        let signature = github(GITHUB_SECRET, &payload.body);
        let mut body = payload.body.to_vec();
        let at = index * 7919 % body.len(); // a different place in every body
        body[at] ^= 1;
        let reply = client
            .github(&payload.kind, &signature, body.into())
            .await
            .unwrap();
        assert_eq!(reply.status, 401, "{}: {}", payload.kind, reply.text());
        assert_eq!(reply.code(), "verification_failed");
        assert!(
            !reply.text().contains("signature"),
            "says which check failed: {}",
            reply.text()
        );
    }
    // Behind the refused ones in every queue there is: once it is here, they would be too.
    let good = send(&mut client, &payloads[0]).await.event_uid();
    let received = receiver.wait_for(1, DEADLINE).await;
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].webhook_id(), good);
    let refused = outrider.metric("outrider_verify_failures_total", &[]).await;
    assert_eq!(refused, f64::from(u32::try_from(payloads.len()).unwrap()));
}

#[tokio::test]
async fn a_webhook_without_or_with_a_foreign_signature_is_401() {
    let receiver = Receiver::start().await;
    let outrider = start(&receiver).await;
    let mut client = outrider.client();
    let good = payloads().swap_remove(0);
    let body = good.body.clone();
    let foreign = github("another secret", &body);
    let sha1_only = foreign.replace("sha256=", "sha1=");
    for signature in [
        "",
        "sha256=",
        "sha256=zz",
        foreign.as_str(),
        sha1_only.as_str(),
    ] {
        let reply = client
            .github("push", signature, body.clone())
            .await
            .unwrap();
        assert_unverified(&reply, signature);
    }
    let unsigned = client
        .post(
            &format!("/ingest/{MASK}"),
            &[("x-github-event", "push")],
            body,
        )
        .await
        .unwrap();
    assert_unverified(&unsigned, "no header at all");
    assert_eq!(receiver.connections(), 0);
    // The sender learns nothing, the operator everything.
    for (reason, count) in [
        ("missing_signature", 2.0),
        ("malformed_signature", 3.0),
        ("signature_mismatch", 1.0),
    ] {
        let label = format!("reason=\"{reason}\"");
        let counted = "outrider_verify_failures_total";
        assert_eq!(outrider.metric(counted, &[&label]).await, count, "{reason}");
    }
    let uid = send(&mut client, &good).await.event_uid();
    assert_eq!(receiver.wait_for(1, DEADLINE).await[0].webhook_id(), uid);
}

/// Refused in words that say nothing about which check failed, and how.
fn assert_unverified(reply: &Reply, what: &str) {
    let message = reply.refusal(401);
    assert_eq!(reply.code(), "verification_failed", "{what}");
    for telling in ["signature", "header", "x-hub", "missing", "sha256"] {
        assert!(!message.contains(telling), "{what}: {message}");
    }
}

#[tokio::test]
async fn an_unknown_mask_is_404() {
    let receiver = Receiver::start().await;
    let outrider = start(&receiver).await;
    let payload = &payloads()[0];
    let signature = github(GITHUB_SECRET, &payload.body);
    for (mask, code) in [
        ("nobodyknowsthis1", "unknown_source"),
        ("", "no_route"),
        ("..", "unknown_source"),
        ("nobody/more", "no_route"),
    ] {
        let headers = [
            ("x-hub-signature-256", signature.as_str()),
            ("x-github-event", "push"),
        ];
        let reply = outrider
            .client()
            .post(&format!("/ingest/{mask}"), &headers, payload.body.clone())
            .await
            .unwrap();
        reply.refusal(404);
        assert_eq!(reply.code(), code, "{mask:?}");
    }
    let mut client = outrider.client();
    let uid = send(&mut client, payload).await.event_uid();
    assert_eq!(receiver.wait_for(1, DEADLINE).await[0].webhook_id(), uid);
}

#[tokio::test]
async fn real_github_payloads_arrive_byte_identical_signed_and_with_githubs_own_headers() {
    let receiver = Receiver::start().await;
    let outrider = start(&receiver).await;
    let mut client = outrider.client();
    let mut sent = BTreeMap::new();
    for payload in payloads() {
        let reply = send(&mut client, &payload).await;
        assert_eq!(reply.status, 200, "{}: {}", payload.kind, reply.text());
        assert_eq!(reply.json()["message"], "Event received");
        sent.insert(reply.event_uid(), payload);
    }
    let received = receiver.wait_for(sent.len(), DEADLINE).await;
    assert_eq!(received.len(), sent.len());
    for request in received {
        let payload = sent
            .remove(request.webhook_id())
            .expect("delivered once, under the uid of the reply");
        assert_eq!(request.body, payload.body, "{}", payload.kind);
        convoy_advanced(&request.headers, &request.body, ENDPOINT_SECRET).unwrap();
        assert_eq!(
            request.header("x-hub-signature-256"),
            github(GITHUB_SECRET, &request.body)
        );
        assert_eq!(request.header("x-github-event"), payload.kind);
        assert_eq!(
            request.header("x-github-delivery"),
            "72d3162e-cc78-11e3-81ab-4c9367dc0958"
        );
        assert_eq!(request.header("content-type"), "application/json");
        assert_eq!(request.header("x-convoy-event-id"), request.webhook_id());
        assert_ne!(request.header("x-convoy-eventdelivery-id"), "");
    }
    assert!(sent.is_empty(), "not delivered: {:?}", sent.keys());
}

#[tokio::test]
async fn the_event_type_is_githubs_event_header() {
    let receiver = Receiver::start().await;
    let pushes = Endpoint::new(1, &receiver.url("/pushes"), ENDPOINT_SECRET).event_types(&["push"]);
    let everything = Endpoint::new(2, &receiver.url("/all"), ENDPOINT_SECRET);
    let resources = Resources::incoming(GITHUB_SECRET, &[pushes, everything]);
    let outrider = Setup::new(&resources).start().await;
    let mut client = outrider.client();
    let payloads = payloads();
    for kind in ["issues", "push", "star", "ping"] {
        let payload = payloads
            .iter()
            .find(|payload| payload.kind == kind)
            .unwrap();
        assert_eq!(send(&mut client, payload).await.status, 200);
    }
    let received = receiver.wait_for(5, DEADLINE).await;
    let pushes: Vec<&str> = received
        .iter()
        .filter(|request| request.path_and_query == "/pushes")
        .map(|request| request.header("x-github-event"))
        .collect();
    assert_eq!(pushes, ["push"]);
    assert_eq!(received.len(), 5);
}

#[tokio::test]
async fn the_query_string_of_a_webhook_is_appended_and_its_credentials_are_not_forwarded() {
    let receiver = Receiver::start().await;
    let outrider = start(&receiver).await;
    let body = br#"{ "zen": "Keep it logically awesome." }"#.as_slice();
    let signature = github(GITHUB_SECRET, body);
    let headers = [
        ("x-hub-signature-256", signature.as_str()),
        ("x-github-event", "ping"),
        ("authorization", "Basic cHJpdmF0ZQ=="),
        ("cookie", "session=private"),
        ("webhook-id", "of-the-sender"),
        ("x-convoy-event-id", "of-the-sender"),
    ];
    let reply = outrider
        .client()
        .post(&format!("/ingest/{MASK}?a=1&b=%20x"), &headers, body)
        .await
        .unwrap();
    let uid = reply.event_uid();
    let received = receiver.wait_for(1, DEADLINE).await.remove(0);
    assert_eq!(received.path_and_query, "/all?a=1&b=%20x");
    assert_eq!(received.body, body);
    assert_eq!(
        (received.webhook_id(), received.header("x-convoy-event-id")),
        (uid.as_str(), uid.as_str())
    );
    for private in ["authorization", "cookie"] {
        assert!(
            !received.headers.contains_key(private),
            "{private} was forwarded"
        );
    }
}
