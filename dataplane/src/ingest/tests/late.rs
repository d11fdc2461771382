//! What is used before its revision is here (RULINGS 14).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use http::Request;
use http_body_util::Full;
use outrider_config::snapshot::{Document, Kind, Version};
use outrider_webhook::id::Uid;
use outrider_webhook::verify::ApiKeyDigest;
use serde_json::{Value, json};

use super::support::{Gateway, Reply, apply, document, free_address};
use crate::table::{HeadSource, RoutingTable};

const TOKEN: &str = "CO.aaaaaaaaaaaaaaaa.bbbb";

/// A control plane that is one revision ahead, which arrives as soon as anybody asks.
struct Ahead {
    table: RoutingTable,
    next: Mutex<Vec<Document>>,
    asked: AtomicU64,
}

#[async_trait]
impl HeadSource for Ahead {
    async fn head(&self, _limit: Duration) -> Option<Version> {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        let next = std::mem::take(&mut *self.next.lock().unwrap());
        Some(apply(&self.table, asked + 2, next))
    }
}

fn project(kind: &str) -> Document {
    document(Kind::Project, 1, &json!({"name": "p", "type": kind}))
}

fn api_key() -> Document {
    let digest = ApiKeyDigest::of(TOKEN).to_hex();
    document(Kind::ApiKey, 2, &json!({"name": "k", "key_sha256": digest}))
}

fn endpoint() -> Document {
    let spec =
        json!({"name": "e", "url": "http://example.com/", "secret": "hunter2", "owner_id": "o"});
    document(Kind::Endpoint, 3, &spec)
}

fn subscription() -> Document {
    let spec = json!({"name": "s", "endpoint_id": Uid::from_bits(3).to_string(), "filter_config": {"event_types": ["*"]}});
    document(Kind::Subscription, 4, &spec)
}

fn source() -> Document {
    let spec = json!({"name": "s", "mask_id": "mask", "verifier": {"type": "basic_auth", "basic_auth": {"username": "u", "password": "p"}}});
    document(Kind::Source, 5, &spec)
}

async fn start(now: Vec<Document>, next: Vec<Document>) -> (Gateway, Arc<Ahead>) {
    let gateway = Gateway::start(free_address()).await;
    apply(&gateway.table, 1, now);
    let ahead = Arc::new(Ahead {
        table: gateway.table.clone(),
        next: Mutex::new(next),
        asked: AtomicU64::new(0),
    });
    assert!(gateway.table.set_head_source(Arc::<Ahead>::clone(&ahead)));
    (gateway, ahead)
}

async fn publish(gateway: &Gateway, call: &str, event: &Value) -> Reply {
    let project = Uid::from_bits(1);
    let request = Request::post(format!("/api/v1/projects/{project}/{call}"))
        .header("authorization", format!("Bearer {TOKEN}"))
        .body(Full::new(event.to_string().into()));
    gateway.ask(request.unwrap()).await
}

fn to_endpoint() -> Value {
    json!({"endpoint_id": Uid::from_bits(3).to_string(), "event_type": "a", "data": 1})
}

#[tokio::test]
async fn a_mask_is_known_as_soon_as_the_control_plane_has_it() {
    let (gateway, ahead) = start(vec![project("incoming")], vec![source()]).await;
    let call = |mask: &str| {
        Request::post(format!("/ingest/{mask}"))
            .header("authorization", "Basic dTpw")
            .body(Full::new("{}".into()))
            .unwrap()
    };
    assert_eq!(gateway.ask(call("mask")).await.status, 200);
    assert_eq!(gateway.ask(call("mask")).await.status, 200);
    assert_eq!(ahead.asked.load(Ordering::Relaxed), 1);
    assert_eq!(gateway.ask(call("other")).await.code(), "unknown_source");
}

#[tokio::test]
async fn a_key_is_known_as_soon_as_the_control_plane_has_it() {
    let now = vec![project("outgoing"), endpoint()];
    let (gateway, ahead) = start(now, vec![api_key()]).await;
    assert_eq!(
        publish(&gateway, "events", &to_endpoint()).await.status,
        201
    );
    assert_eq!(ahead.asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_endpoint_is_known_as_soon_as_the_control_plane_has_it() {
    let now = vec![project("outgoing"), api_key()];
    let (gateway, ahead) = start(now, vec![endpoint()]).await;
    assert_eq!(
        publish(&gateway, "events", &to_endpoint()).await.status,
        201
    );
    assert_eq!(ahead.asked.load(Ordering::Relaxed), 1);
    let other = json!({"endpoint_id": Uid::from_bits(7).to_string(), "event_type": "a", "data": 1});
    let reply = publish(&gateway, "events", &other).await;
    assert_eq!(
        (reply.status.as_u16(), reply.code()),
        (404, "unknown_endpoint")
    );
    let none = json!({"endpoint_id": "x", "event_type": "a", "data": 1});
    let reply = publish(&gateway, "events", &none).await;
    assert_eq!(reply.code(), "unknown_endpoint");
    assert_eq!(
        ahead.asked.load(Ordering::Relaxed),
        2,
        "what is no id is not asked for"
    );
}

#[tokio::test]
async fn a_fan_out_goes_to_endpoints_that_came_with_it_and_to_nobody_if_none_did() {
    let now = vec![project("outgoing"), api_key()];
    let (gateway, ahead) = start(now, vec![endpoint(), subscription()]).await;
    let routed = |result: &str| {
        gateway
            .metrics
            .events_routed
            .with_label_values(&[result])
            .get()
    };
    let event = |owner: &str| json!({"owner_id": owner, "event_type": "a", "data": 1});
    let reply = publish(&gateway, "events/fanout", &event("o")).await;
    assert_eq!((reply.status.as_u16(), routed("matched")), (201, 1));
    let reply = publish(&gateway, "events/fanout", &event("nobody")).await;
    assert_eq!((reply.status.as_u16(), routed("unmatched")), (201, 1));
    assert_eq!(ahead.asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_url_template_is_known_as_soon_as_the_control_plane_has_it() {
    let template = |id: u128, url: &str| {
        let spec = json!({"name": format!("e{id}"), "url": url, "secret": "hunter2"});
        document(Kind::Endpoint, id, &spec)
    };
    let now = || {
        let other = template(3, "http://example.com/other/{a}");
        vec![project("outgoing"), api_key(), other]
    };
    let next = || vec![template(6, "http://example.com/in/{a}")];
    let event = |url: &str| json!({"url": url, "event_type": "a", "data": 1});
    let (gateway, ahead) = start(now(), next()).await;
    let known = event("http://example.com/other/1");
    let reply = publish(&gateway, "events/dynamic", &known).await;
    assert_eq!(reply.status, 201);
    assert_eq!(ahead.asked.load(Ordering::Relaxed), 0);
    let named = event("http://example.com/in/1");
    let reply = publish(&gateway, "events/dynamic", &named).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
    assert_eq!(ahead.asked.load(Ordering::Relaxed), 1);
    let nowhere = event("http://example.com/nowhere/1");
    let reply = publish(&gateway, "events/dynamic", &nowhere).await;
    assert_eq!(
        (reply.status.as_u16(), reply.code()),
        (400, "unmatched_url")
    );
    // And in a batch, whose other events are not taken twice.
    let (gateway, _ahead) = start(now(), next()).await;
    let batch = json!({"events": [known, nowhere, named]});
    let reply = publish(&gateway, "events/batch", &batch).await.json();
    let statuses: Vec<&Value> = (0..3).map(|n| &reply["data"][n]["status"]).collect();
    assert_eq!(statuses, [201, 400, 201], "{reply}");
    assert_eq!(gateway.counted("batch_item", "accepted"), 2);
}

/// Without templates any URL makes an endpoint, so the first one must not come too late.
#[tokio::test]
async fn no_endpoint_is_made_before_the_control_plane_was_asked_for_one() {
    let template = |id: u128, url: &str| {
        let spec = json!({"name": format!("e{id}"), "url": url, "secret": "hunter2"});
        document(Kind::Endpoint, id, &spec)
    };
    let now = || vec![project("outgoing"), api_key()];
    let event = |url: &str| json!({"url": url, "event_type": "a", "data": 1});
    let named = event("http://example.com/in/1");
    for (next, status, code) in [
        (vec!["http://example.com/in/{a}"], 201, ""),
        (vec!["http://example.com/other/{a}"], 400, "unmatched_url"),
        (
            vec!["http://example.com/{b}/1", "http://example.com/in/{a}"],
            400,
            "ambiguous_url",
        ),
    ] {
        let templates = || {
            let all = next.iter().zip(6..);
            all.map(|(url, id)| template(id, url)).collect()
        };
        let (gateway, ahead) = start(now(), templates()).await;
        let reply = publish(&gateway, "events/dynamic", &named).await;
        assert_eq!(reply.status, status, "{next:?}: {}", reply.text());
        assert_eq!(ahead.asked.load(Ordering::Relaxed), 1);
        if status == 400 {
            assert_eq!(reply.code(), code);
        }
        let (gateway, _ahead) = start(now(), templates()).await;
        let batch = json!({"events": [named]});
        let reply = publish(&gateway, "events/batch", &batch).await.json();
        assert_eq!(reply["data"][0]["status"], status, "{reply}");
    }
    // What is made is known, and nobody is asked for it again.
    let (gateway, ahead) = start(now(), Vec::new()).await;
    for _ in 0..3 {
        let reply = publish(&gateway, "events/dynamic", &named).await;
        assert_eq!(reply.status, 201, "{}", reply.text());
    }
    assert_eq!(ahead.asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_key_that_went_away_meanwhile_does_not_count_any_more() {
    let (gateway, _) = start(
        vec![project("outgoing"), api_key()],
        vec![
            endpoint(),
            document(
                Kind::ApiKey,
                2,
                &json!({"name": "k", "key_sha256": ApiKeyDigest::of("CO.other").to_hex()}),
            ),
        ],
    )
    .await;
    let reply = publish(&gateway, "events", &to_endpoint()).await;
    assert_eq!((reply.status.as_u16(), reply.code()), (401, "unknown_key"));
}
