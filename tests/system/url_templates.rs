//! Endpoints with URL templates: dynamic events name the URL, within what the template allows.

mod moved;

use http::Method;
use serde_json::{Value, json};

use super::harness::{
    Api, DEADLINE, Fault, Outrider, Receiver, Setup, convoy_advanced, uid_of, until,
};

const SECRET: &str = "its-own-secret";
const UNRESOLVED: &str = "unresolved url template";

async fn start(config: &Value) -> (Outrider, Api) {
    let outrider = Setup::through_api().start().await;
    let project = outrider
        .admin_api()
        .make_project("shop", "outgoing", config)
        .await;
    (outrider, project)
}

/// A new endpoint with this URL, template or not; its uid.
async fn endpoint(project: &mut Api, name: &str, url: &str) -> String {
    let more = json!({"secret": SECRET, "owner_id": "customer"});
    project.make_endpoint(name, url, &more).await
}

fn event(url: &str) -> Value {
    json!({"url": url, "event_type": "invoice.paid", "data": {"n": 1}})
}

/// Publishes an event for the endpoint that this URL is one of; its uid.
async fn publish(project: &mut Api, url: &str) -> String {
    let reply = project.post("/events/dynamic", &event(url)).await;
    reply.event_uid()
}

#[tokio::test]
async fn a_url_that_is_none_of_a_template_is_refused_and_nothing_is_made() {
    let receiver = Receiver::start().await;
    let (_outrider, mut project) = start(&json!({})).await;
    let at = |tail: &str| receiver.url(tail);
    endpoint(&mut project, "t", &at("/t/{account}/in?v={version}")).await;
    let unmatched = "matches no URL template of the project's endpoints, and its setting `allow_unmatched_dynamic_urls` is off";
    let braces = "an event names the URL itself";
    let cases = [
        (at("/t/7/in"), "unmatched_url", unmatched),
        (at("/t/7/in?v="), "unmatched_url", unmatched),
        (at("/t/7/8/in?v=1"), "unmatched_url", unmatched),
        (at("/T/7/in?v=1"), "unmatched_url", unmatched),
        (at("/t/../in?v=1"), "unmatched_url", unmatched),
        (at("/t/%2e%2E/in?v=1"), "unmatched_url", unmatched),
        (at("/t/7%2F8/in?v=1"), "unmatched_url", unmatched),
        (at("/t/7%252f8/in?v=1"), "unmatched_url", unmatched),
        (at("/t/7%3F8/in?v=1"), "unmatched_url", unmatched),
        (at("/t/..%20/in?v=1"), "unmatched_url", unmatched),
        (at("/t/7/in?v=1&V=2&v="), "unmatched_url", unmatched),
        (at("/t/7/in?v=1;v=2"), "unmatched_url", unmatched),
        (
            "http://other.example/t/7/in?v=1".to_owned(),
            "unmatched_url",
            unmatched,
        ),
        (
            at("/t/7/in?v=1").replace("http:", "https:"),
            "unmatched_url",
            unmatched,
        ),
        (at("/t/{account}/in?v={version}"), "invalid_event", braces),
        (at("/t/7/in?v=}"), "invalid_event", braces),
        (
            at("/t/7/in?v=1").replace("http:", "ftp:"),
            "invalid_event",
            "`url`",
        ),
    ];
    let mut batch = Vec::new();
    for (url, code, says) in &cases {
        let reply = project.post("/events/dynamic", &event(url)).await;
        assert_eq!(reply.code(), *code, "{url}");
        let refusal = reply.refusal(400);
        assert!(refusal.contains(says), "{url}: {refusal}");
        batch.push(event(url));
    }
    batch.push(event(&at("/t/7/in?v=1")));
    let body = json!({"events": batch});
    let results = project.post("/events/batch", &body).await.data(200);
    let (taken, refused) = results.as_array().unwrap().split_last().unwrap();
    for ((url, code, says), result) in cases.iter().zip(refused) {
        assert_eq!(
            (&result["status"], &result["code"]),
            (&json!(400), &json!(code)),
            "{url}"
        );
        assert!(
            result["message"].as_str().unwrap().contains(says),
            "{result}"
        );
    }
    assert_eq!(taken["status"], 201, "{taken}");
    let received = receiver.wait_for(1, DEADLINE).await;
    assert_eq!(received[0].path_and_query, "/t/7/in?v=1");
    assert_eq!(project.rows("/endpoints").await.len(), 1);
}

#[tokio::test]
async fn an_event_goes_to_the_url_it_names_signed_as_the_endpoint_signs() {
    let receiver = Receiver::start().await;
    let (_outrider, mut project) = start(&json!({})).await;
    let template = receiver.url("/t/{account}/in?v={version}");
    let templated = endpoint(&mut project, "t", &template).await;
    project.subscribe(&templated, &["something.else"]).await;
    let before = project.rows("/endpoints").await;
    let url = receiver.url("/t/a%20b/in?x=y&v=2");
    let mut named = event(&url);
    for (field, value) in [
        ("secret", json!("another")),
        ("event_types", json!(["nothing"])),
        ("idempotency_key", json!("once")),
    ] {
        named[field] = value;
    }
    let uid = project.post("/events/dynamic", &named).await.event_uid();
    let again = project.post("/events/dynamic", &named).await.json();
    assert_eq!(again["data"], json!({"uid": uid, "duplicate": true}));
    let request = receiver.wait_for(1, DEADLINE).await.remove(0);
    assert_eq!(request.path_and_query, "/t/a%20b/in?x=y&v=2");
    convoy_advanced(&request.headers, &request.body, SECRET).unwrap();
    assert_eq!(request.webhook_id(), uid);
    let delivery = project.delivery(&uid, "Success").await;
    assert_eq!(delivery["endpoint_id"], templated);
    assert_eq!(delivery["target_url"], url);
    let path = format!("/eventdeliveries/{}/deliveryattempts", uid_of(&delivery));
    let attempts = project.get(&path).await.data(200);
    assert_eq!(attempts[0]["url"], url);
    assert_eq!(
        project.rows("/endpoints").await,
        before,
        "an event changes nothing"
    );
    assert_eq!(before[0]["url"], template);
}

#[tokio::test]
async fn the_endpoint_with_the_very_url_is_meant_and_of_several_templates_none() {
    let receiver = Receiver::start().await;
    let (_outrider, mut project) = start(&json!({"allow_unmatched_dynamic_urls": true})).await;
    let plain = endpoint(&mut project, "plain", &receiver.url("/t/7")).await;
    let one = endpoint(&mut project, "one", &receiver.url("/t/{a}")).await;
    let other = endpoint(&mut project, "other", &receiver.url("/{a}/{b}")).await;
    let event_uid = publish(&mut project, &receiver.url("/t/7")).await;
    let delivery = project.delivery(&event_uid, "Success").await;
    assert_eq!(delivery["endpoint_id"], plain);
    let both = event(&receiver.url("/t/8"));
    let reply = project.post("/events/dynamic", &both).await;
    assert_eq!(reply.code(), "ambiguous_url");
    let refusal = reply.refusal(400);
    assert!(refusal.contains("several endpoints"), "{refusal}");
    assert!(
        refusal.contains(&one) && refusal.contains(&other),
        "{refusal}"
    );
    let event_uid = publish(&mut project, &receiver.url("/u/8")).await;
    let delivery = project.delivery(&event_uid, "Success").await;
    assert_eq!(delivery["endpoint_id"], other);
    let received = receiver.wait_for(2, DEADLINE).await;
    let paths: Vec<&str> = received
        .iter()
        .map(|one| one.path_and_query.as_str())
        .collect();
    assert_eq!(paths, ["/t/7", "/u/8"]);
}

#[tokio::test]
async fn a_project_that_allows_it_makes_endpoints_of_urls_that_match_nothing() {
    let receiver = Receiver::start().await;
    let (outrider, mut project) = start(&json!({"allow_unmatched_dynamic_urls": true})).await;
    let templated = endpoint(&mut project, "t", &receiver.url("/t/{a}")).await;
    // Coded braces are nothing but characters of the endpoint that is made.
    let url = receiver.url("/%7Belsewhere%7D");
    let mut named = event(&url);
    named["secret"] = "another".into();
    let uid = project.post("/events/dynamic", &named).await.event_uid();
    let delivery = project.delivery(&uid, "Success").await;
    assert_ne!(delivery["endpoint_id"], templated);
    let request = receiver.wait_for(1, DEADLINE).await.remove(0);
    assert_eq!(request.path_and_query, "/%7Belsewhere%7D");
    convoy_advanced(&request.headers, &request.body, "another").unwrap();
    let uid = publish(&mut project, &receiver.url("/t/1")).await;
    let delivery = project.delivery(&uid, "Success").await;
    assert_eq!(delivery["endpoint_id"], templated);
    // Once the setting is off again, what was made keeps its URL and others are refused.
    let project_path = format!("/api/v1/projects/{}", project.project());
    let off = json!({"name": "shop", "config": {"allow_unmatched_dynamic_urls": false}});
    let mut admin = outrider.admin_api();
    admin.put(&project_path, &off).await.data(202);
    until("it is configuration", DEADLINE, async || {
        let rows = project.rows("/endpoints").await;
        rows.into_iter().find(|row| row["url"] == url)
    })
    .await;
    publish(&mut project, &url).await;
    let other = event(&receiver.url("/other"));
    let refused = project.post("/events/dynamic", &other).await;
    assert_eq!(refused.code(), "unmatched_url");
}

#[tokio::test]
async fn events_that_name_no_url_are_discarded_at_a_template_and_say_so() {
    let receiver = Receiver::start().await;
    let (outrider, mut project) = start(&json!({})).await;
    let templated = endpoint(&mut project, "t", &receiver.url("/t/{a}")).await;
    let plain = endpoint(&mut project, "plain", &receiver.url("/plain")).await;
    for of in [&templated, &plain] {
        project.subscribe(of, &["*"]).await;
    }
    let directed = json!({"endpoint_id": templated, "event_type": "a", "data": 1});
    let fanout = json!({"owner_id": "customer", "event_type": "a", "data": 1});
    let broadcast = json!({"event_type": "a", "data": 1});
    for (path, body, plains) in [
        ("/events", directed, 0),
        ("/events/fanout", fanout, 1),
        ("/events/broadcast", broadcast, 1),
    ] {
        let uid = project.post(path, &body).await.event_uid();
        let of = |endpoint: &str| format!("/eventdeliveries?eventId={uid}&endpointId={endpoint}");
        let discarded = ended(&mut project, &of(&templated)).await;
        assert_eq!(discarded["status"], "Discarded", "{path}: {discarded}");
        assert_eq!(discarded["description"], UNRESOLVED);
        assert_eq!(discarded["metadata"]["num_trials"], 0);
        let resend = format!("/eventdeliveries/{}/resend", uid_of(&discarded));
        let refused = project.call(Method::PUT, &resend, None).await;
        assert_eq!(refused.code(), "unresolved_url_template");
        assert!(refused.refusal(400).contains("names no URL"));
        if plains == 1 {
            let delivered = ended(&mut project, &of(&plain)).await;
            assert_eq!(delivered["status"], "Success", "{path}: {delivered}");
        }
    }
    let received = receiver.wait_for(2, DEADLINE).await;
    assert!(received.iter().all(|one| one.path_and_query == "/plain"));
    // So is what comes in through a source.
    let mut admin = outrider.admin_api();
    let mut incoming = admin.make_project("in", "incoming", &json!({})).await;
    let templated = endpoint(&mut incoming, "t", &receiver.url("/t/{a}")).await;
    let (source, mask) = incoming.make_source("s", &json!({})).await;
    incoming.subscribe_to(&templated, &source).await;
    let path = format!("/ingest/{mask}");
    let mut sender = Api::new(outrider.public(), "");
    let uid = sender.post(&path, &json!({"a": 1})).await.event_uid();
    let discarded = incoming.delivery(&uid, "Discarded").await;
    assert_eq!(discarded["description"], UNRESOLVED);
}

/// The one delivery of a list, once it has ended.
async fn ended(project: &mut Api, path: &str) -> Value {
    until(&format!("{path} has ended"), DEADLINE, async || {
        let mut rows = project.rows(path).await;
        assert!(rows.len() <= 1, "{rows:?}");
        rows.pop().filter(|row| {
            let status = row["status"].as_str().unwrap();
            ["Success", "Failure", "Discarded"].contains(&status)
        })
    })
    .await
}

#[tokio::test]
async fn the_url_of_an_event_outlives_a_kill_and_is_where_a_resend_goes() {
    let mut receiver = Receiver::refusing(|_| Fault::None);
    let strategy = json!({"strategy": {"type": "linear", "duration": 1, "retry_count": 50}});
    let (mut outrider, mut project) = start(&strategy).await;
    endpoint(&mut project, "t", &receiver.url("/t/{account}/in")).await;
    let mut acknowledged = Vec::new();
    for n in 0..8 {
        let url = receiver.url(&format!("/t/{n}/in?n={n}"));
        acknowledged.push((n, publish(&mut project, &url).await));
    }
    outrider.kill();
    receiver.open().await;
    outrider.start().await;
    let received = receiver.wait_for(8, DEADLINE).await;
    for (n, uid) in &acknowledged {
        let request = received.iter().find(|request| request.webhook_id() == uid);
        let request = request.unwrap_or_else(|| panic!("event {n} is not delivered"));
        assert_eq!(request.path_and_query, format!("/t/{n}/in?n={n}"));
        convoy_advanced(&request.headers, &request.body, SECRET).unwrap();
    }
}

#[tokio::test]
async fn a_resend_goes_where_the_event_went() {
    let receiver = Receiver::failing_first(1, Fault::Status(500)).await;
    let once = json!({"strategy": {"type": "linear", "duration": 3600, "retry_count": 1}});
    let (mut outrider, mut project) = start(&once).await;
    endpoint(&mut project, "t", &receiver.url("/t/{account}")).await;
    let uid = publish(&mut project, &receiver.url("/t/7")).await;
    let failed = project.delivery(&uid, "Failure").await;
    outrider.kill();
    outrider.start().await;
    let resend = format!("/eventdeliveries/{}/resend", uid_of(&failed));
    project.call(Method::PUT, &resend, None).await.data(200);
    project.delivery(&uid, "Success").await;
    let received = receiver.wait_for(2, DEADLINE).await;
    assert!(received.iter().all(|one| one.path_and_query == "/t/7"));
}

#[tokio::test]
async fn a_template_takes_events_as_soon_as_it_is_made_and_none_as_soon_as_it_is_edited() {
    let receiver = Receiver::start().await;
    let (_outrider, mut project) = start(&json!({})).await;
    for round in 0..50 {
        let at = |part: &str| receiver.url(&format!("/{round}/{part}"));
        let templated = endpoint(&mut project, &format!("e{round}"), &at("{a}")).await;
        publish(&mut project, &at("1")).await;
        let edited = json!({"name": format!("e{round}"), "url": at("{a}/{b}")});
        let path = format!("/endpoints/{templated}");
        project.put(&path, &edited).await.data(202);
        let refused = project.post("/events/dynamic", &event(&at("1"))).await;
        assert_eq!(refused.code(), "unmatched_url", "round {round}");
    }
}
