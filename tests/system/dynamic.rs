//! Dynamic events: the endpoint is named by its URL, and found or made.

mod lost;
mod split;
mod verified;

use outrider_webhook::address::TargetUrl;
use outrider_webhook::dynamic::{UrlKey, endpoint_id};
use serde_json::{Value, json};

use super::harness::{
    Api, DEADLINE, Fault, Outrider, Receiver, Setup, convoy_advanced, standard_webhooks, until,
};

const WAITING: &str = "outrider_made_endpoints_waiting";

async fn start(config: &Value) -> (Outrider, Api) {
    let outrider = Setup::through_api().start().await;
    let project = outrider
        .admin_api()
        .make_project("shop", "outgoing", config)
        .await;
    (outrider, project)
}

/// Retries often, so that a receiver that recovers is reached soon.
fn retrying() -> Value {
    json!({"strategy": {"type": "linear", "duration": 1, "retry_count": 50}})
}

fn event(url: &str) -> Value {
    json!({"url": url, "event_type": "invoice.paid", "data": {"n": 1}})
}

/// The endpoints of the project with this URL, once there are so many.
async fn endpoints_at(project: &mut Api, url: &str, count: usize) -> Vec<Value> {
    until(
        &format!("{count} endpoints at {url}"),
        DEADLINE,
        async || {
            let mut rows = project.rows("/endpoints").await;
            rows.retain(|row| row["url"] == url);
            (rows.len() == count).then_some(rows)
        },
    )
    .await
}

/// Waits until nothing waits to be configuration.
async fn settled(outrider: &Outrider) {
    until("all made endpoints are settled", DEADLINE, async || {
        (outrider.metric(WAITING, &[]).await < 0.5).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_event_whose_endpoint_cannot_be_is_refused_with_the_field() {
    let receiver = Receiver::start().await;
    let (_outrider, mut project) = start(&json!({})).await;
    let url = receiver.url("/in");
    let cases = [
        (json!({"url": ""}), "please provide an endpoint url"),
        (json!({"url": null}), "please provide an endpoint url"),
        (json!({"url": 7}), "\"url\""),
        (json!({"url": "nowhere"}), "`url`"),
        (json!({"url": "ftp://example.com/"}), "`url`"),
        (json!({"url": "https://user:pass@example.com/"}), "`url`"),
        (json!({"url": "http://10.0.0.1/"}), "`url`"),
        (json!({"url": "http://169.254.169.254/latest"}), "`url`"),
        (
            json!({"url": format!("{url}?{}", "x".repeat(2048))}),
            "2048",
        ),
        (json!({"secret": 7}), "\"secret\""),
        (json!({"secret": "s".repeat(1025)}), "1024"),
        (json!({"event_types": "a"}), "\"event_types\""),
        (json!({"event_types": [7]}), "\"event_types\""),
        (json!({"event_types": [" a"]}), "`event_types"),
        (json!({"event_types": vec!["a"; 101]}), "100"),
        (json!({"event_type": ""}), "event type"),
        (
            json!({"custom_headers": {"host": "a"}}),
            "`custom_headers.host`",
        ),
    ];
    let mut batch = Vec::new();
    for (fields, says) in &cases {
        let mut bad = event(&url);
        for (field, value) in fields.as_object().unwrap() {
            bad[field] = value.clone();
        }
        let refusal = project.post("/events/dynamic", &bad).await.refusal(400);
        assert!(refusal.contains(says), "{fields}: {refusal}");
        bad["type"] = "dynamic".into();
        batch.push(bad);
    }
    let body = json!({"events": batch});
    let results = project.post("/events/batch", &body).await.data(200);
    for ((fields, says), result) in cases.iter().zip(results.as_array().unwrap()) {
        assert_eq!(result["status"], 400, "{fields}: {result}");
        assert!(
            result["message"].as_str().unwrap().contains(says),
            "{result}"
        );
    }
    let no_data = json!({"url": url, "event_type": "a"});
    let refusal = project.post("/events/dynamic", &no_data).await.refusal(400);
    assert!(refusal.contains("your data"), "{refusal}");
    assert!(project.rows("/endpoints").await.is_empty());
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn the_rules_of_the_project_hold_for_its_made_endpoints() {
    let receiver = Receiver::start().await;
    let outrider = Setup::through_api().start().await;
    let mut admin = outrider.admin_api();
    let to_receiver = event(&receiver.url("/in"));
    let secure = json!({"ssl": {"enforce_secure_endpoints": true}});
    let mut secure = admin.make_project("secure", "outgoing", &secure).await;
    let refused = secure.post("/events/dynamic", &to_receiver);
    let refusal = refused.await.refusal(400);
    assert!(refusal.contains("`url`: must be https"), "{refusal}");
    let incoming = admin.make_project("incoming", "incoming", &json!({})).await;
    let mut incoming = incoming;
    let refused = incoming.post("/events/dynamic", &to_receiver);
    let refusal = refused.await.refusal(400);
    assert!(refusal.contains("outgoing"), "{refusal}");
    // Secrets that Standard Webhooks cannot sign with; a made-up one it can.
    let standard = json!({"signature": {"format": "standard_webhooks"}});
    let mut standard = admin.make_project("standard", "outgoing", &standard).await;
    let mut weak = event(&receiver.url("/in"));
    weak["secret"] = "whsec_short".into();
    let refusal = standard.post("/events/dynamic", &weak).await.refusal(400);
    assert!(refusal.contains("`secret`"), "{refusal}");
    assert_eq!(receiver.connections(), 0);
    let made = standard.post("/events/dynamic", &to_receiver);
    made.await.event_uid();
    let endpoint = endpoints_at(&mut standard, &receiver.url("/in"), 1).await;
    let secret = endpoint[0]["secrets"][0]["value"]
        .as_str()
        .unwrap()
        .to_owned();
    let received = receiver.wait_for(1, DEADLINE).await.remove(0);
    standard_webhooks(&received.headers, &received.body, &secret).unwrap();
}

#[tokio::test]
async fn an_endpoint_is_made_once_of_what_its_first_event_says() {
    let receiver = Receiver::start().await;
    let (outrider, mut project) = start(&json!({})).await;
    let url = receiver.url("/in?token=a%20b");
    let mut first = event(&url);
    for (field, value) in [
        ("secret", json!("first-secret")),
        ("event_types", json!(["invoice.paid", "invoice.void"])),
        ("idempotency_key", json!("once")),
        ("custom_headers", json!({"x-trace": "t-1"})),
    ] {
        first[field] = value;
    }
    let reply = project.post("/events/dynamic", &first).await;
    assert_eq!(
        reply.json()["message"],
        "Dynamic event created successfully"
    );
    assert_eq!(reply.status, 201);
    let again = project.post("/events/dynamic", &first).await.json();
    assert_eq!(
        again["data"],
        json!({"uid": reply.event_uid(), "duplicate": true})
    );
    let endpoint = endpoints_at(&mut project, &url, 1).await.remove(0);
    let uid = endpoint["uid"].as_str().unwrap().to_owned();
    assert_eq!(endpoint["name"], format!("endpoint-{uid}"));
    assert_eq!(endpoint["advanced_signatures"], true);
    assert_eq!(endpoint["secrets"][0]["value"], "first-secret");
    let subscription = project
        .rows(&format!("/subscriptions?endpointId={uid}"))
        .await;
    assert_eq!(subscription.len(), 1);
    let types = &subscription[0]["filter_config"]["event_types"];
    assert_eq!(types, &json!(["invoice.paid", "invoice.void"]));
    settled(&outrider).await;
    // What it is made of stays; and the event goes there whatever the subscription wants.
    let other = json!({"url": url, "secret": "other-secret", "event_types": ["x"], "event_type": "else", "data": 2});
    let second = project.post("/events/dynamic", &other).await.event_uid();
    let received = receiver.wait_for(2, DEADLINE).await;
    for request in &received {
        assert_eq!(request.path_and_query, "/in?token=a%20b");
        convoy_advanced(&request.headers, &request.body, "first-secret").unwrap();
    }
    assert_eq!(received[0].webhook_id(), reply.event_uid());
    assert_eq!(received[0].header("x-trace"), "t-1");
    assert_eq!(received[0].header("x-convoy-idempotency-key"), "once");
    assert_eq!(received[1].webhook_id(), second);
    assert_eq!(
        endpoints_at(&mut project, &url, 1).await[0]["secrets"],
        endpoint["secrets"]
    );
    let delivery = project.delivery(&second, "Success").await;
    assert_eq!(delivery["endpoint_id"], uid);
    assert_eq!(delivery["subscription_id"], subscription[0]["uid"]);
}

#[tokio::test]
async fn a_secret_that_is_not_given_is_made_up_and_can_be_read() {
    let receiver = Receiver::start().await;
    let (_outrider, mut project) = start(&json!({})).await;
    let url = receiver.url("/in");
    project
        .post("/events/dynamic", &event(&url))
        .await
        .event_uid();
    let endpoint = endpoints_at(&mut project, &url, 1).await.remove(0);
    let secret = endpoint["secrets"][0]["value"].as_str().unwrap();
    assert_eq!(secret.len(), 25);
    let received = receiver.wait_for(1, DEADLINE).await.remove(0);
    convoy_advanced(&received.headers, &received.body, secret).unwrap();
    let types = project.rows("/subscriptions").await[0]["filter_config"]["event_types"].clone();
    assert_eq!(types, json!(["*"]));
}

#[tokio::test]
async fn an_endpoint_with_that_url_is_used_as_it_is() {
    let receiver = Receiver::start().await;
    let (_outrider, mut project) = start(&json!({})).await;
    let url = receiver.url("/in");
    let secret = json!({"secret": "its-own-secret"});
    let endpoint = project.make_endpoint("customer", &url, &secret).await;
    project.subscribe(&endpoint, &["something.else"]).await;
    let bare = project
        .make_endpoint("bare", &receiver.url("/bare"), &secret)
        .await;
    let mut named = event(&format!("{url}#fragment"));
    named["secret"] = "another".into();
    project.post("/events/dynamic", &named).await.event_uid();
    let to_bare = event(&receiver.url("/bare"));
    let to_bare = project.post("/events/dynamic", &to_bare);
    let to_bare = to_bare.await.event_uid();
    let received = receiver.wait_for(2, DEADLINE).await;
    for request in &received {
        convoy_advanced(&request.headers, &request.body, "its-own-secret").unwrap();
    }
    assert_eq!(project.rows("/endpoints").await.len(), 2);
    assert_eq!(
        project.delivery(&to_bare, "Success").await["endpoint_id"],
        bare
    );
}

#[tokio::test]
async fn many_events_at_once_make_one_endpoint() {
    let receiver = Receiver::start().await;
    let (outrider, mut project) = start(&json!({})).await;
    let (one, two) = (receiver.url("/1"), receiver.url("/2"));
    let mut clients: Vec<Api> = (0..16).map(|_| project.again()).collect();
    let publishing = clients.iter_mut().enumerate().map(|(n, client)| {
        let url = [&one, &two][n % 2];
        let body = json!({"events": [event(url), event(url), event(url)]});
        async move { client.post("/events/batch", &body).await.data(200) }
    });
    for results in futures_util::future::join_all(publishing).await {
        for result in results.as_array().unwrap() {
            assert_eq!(result["status"], 201, "{result}");
        }
    }
    receiver.wait_for(48, DEADLINE).await;
    settled(&outrider).await;
    for url in [one, two] {
        assert_eq!(endpoints_at(&mut project, &url, 1).await.len(), 1);
    }
}

#[tokio::test]
async fn an_endpoint_that_was_given_another_url_is_left_alone() {
    let receiver = Receiver::start().await;
    let (outrider, mut project) = start(&json!({})).await;
    let (old, new) = (receiver.url("/old"), receiver.url("/new"));
    project
        .post("/events/dynamic", &event(&old))
        .await
        .event_uid();
    let made = endpoints_at(&mut project, &old, 1).await.remove(0);
    settled(&outrider).await;
    let path = format!("/endpoints/{}", made["uid"].as_str().unwrap());
    let moved = json!({"name": "moved", "url": new});
    project.put(&path, &moved).await.data(202);
    project
        .post("/events/dynamic", &event(&old))
        .await
        .event_uid();
    let second = endpoints_at(&mut project, &old, 1).await.remove(0);
    assert_ne!(second["uid"], made["uid"]);
    assert_eq!(project.get(&path).await.data(200)["url"], new);
    let received = receiver.wait_for(2, DEADLINE).await;
    assert!(
        received
            .iter()
            .all(|request| request.path_and_query == "/old")
    );
}

/// The id of the endpoint that an event makes of this URL first.
fn made_id(project: &Api, url: &str) -> String {
    let url = UrlKey::of(&TargetUrl::parse(url).unwrap());
    endpoint_id(project.project().parse().unwrap(), url, 0).to_string()
}

#[tokio::test]
async fn deliveries_to_an_endpoint_that_is_refused_end_and_say_so() {
    let receiver = Receiver::with(|_| Fault::Status(500)).await;
    let (outrider, mut project) = start(&retrying()).await;
    let url = receiver.url("/in");
    // Its name is somebody else's: names are unique in a project.
    let name = format!("endpoint-{}", made_id(&project, &url));
    let taken = project
        .make_endpoint(&name, &receiver.url("/other"), &json!({}))
        .await;
    let event = project
        .post("/events/dynamic", &event(&url))
        .await
        .event_uid();
    let ended = project.delivery(&event, "Failure").await;
    assert_eq!(ended["description"], "endpoint refused", "{ended}");
    settled(&outrider).await;
    let all = project.uids("/endpoints").await;
    assert_eq!(all, std::slice::from_ref(&taken));
    // Once there is room for it, the next event makes it.
    let renamed = json!({"name": "other", "url": receiver.url("/other")});
    project
        .put(&format!("/endpoints/{taken}"), &renamed)
        .await
        .data(202);
    let again = json!({"url": url, "event_type": "a", "data": 2});
    project.post("/events/dynamic", &again).await.event_uid();
    endpoints_at(&mut project, &url, 1).await;
}
