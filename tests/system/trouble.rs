//! Endpoints in trouble: who is told of them, and how often.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::harness::{
    Api, DEADLINE, Fault, Mailbox, Outrider, Received, Receiver, check, convoy_simple,
};

const SECRET: &str = "shared-with-the-owner";

/// A project whose owner hears of these, and in which each event is tried once.
async fn project(outrider: &Outrider, owner: &Receiver, wanted: &[&str], more: &Value) -> Api {
    let mut config = json!({
        "strategy": {"type": "linear", "duration": 1, "retry_count": 1},
        "meta_event": {"is_enabled": true, "type": "http", "event_type": wanted, "url": owner.url("/meta"), "secret": SECRET},
    });
    for (field, value) in more.as_object().unwrap() {
        config[field] = value.clone();
    }
    let mut admin = outrider.admin_api();
    admin.make_project("shop", "outgoing", &config).await
}

/// A receiver that fails while it is told to.
async fn moody() -> (Receiver, Arc<AtomicBool>) {
    let is_failing = Arc::new(AtomicBool::new(true));
    let says = Arc::clone(&is_failing);
    let receiver = Receiver::with(move |_| match says.load(Ordering::Relaxed) {
        true => Fault::Status(500),
        false => Fault::None,
    });
    (receiver.await, is_failing)
}

/// What the owner was told, which is signed.
fn told(request: &Received) -> (String, Value) {
    convoy_simple(&request.headers, &request.body, SECRET).unwrap();
    let mut body: Value = serde_json::from_slice(&request.body).unwrap();
    let kind = body["event_type"].as_str().unwrap().to_owned();
    (kind, body["data"].take())
}

fn text_of(request: &Received) -> String {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    body["text"].as_str().unwrap().to_owned()
}

/// Events for one endpoint, one after the other, each to its end.
async fn deliver(project: &mut Api, endpoint: &str, status: &str, count: u32) {
    for number in 0..count {
        let event = project.publish(endpoint, "a", &json!(number)).await;
        project.delivery(&event, status).await;
    }
}

async fn wait_for_change(outrider: &Outrider, name: &str, to: &str, count: f64) {
    let label = format!("to=\"{to}\"");
    let labels = [label.as_str()];
    outrider
        .wait_for_metric(name, &labels, count, DEADLINE)
        .await;
}

#[tokio::test]
async fn all_hear_once_that_a_breaker_opened_and_that_it_closed() {
    let mailbox = Mailbox::start().await;
    let (owner, hooks) = (Receiver::start().await, Receiver::start().await);
    let (receiver, is_failing) = moody().await;
    let outrider = mailbox.setup("none").start().await;
    let breaker = json!({"circuit_breaker": {"error_timeout": 1, "minimum_request_count": 3}});
    let wanted = ["breaker.opened", "breaker.closed"];
    let mut project = project(&outrider, &owner, &wanted, &breaker).await;
    let more = json!({
        "support_email": "ops@customer.example", "slack_webhook_url": hooks.url("/slack"),
        "strategy": {"type": "linear", "duration": 1, "retry_count": 1000},
    });
    let endpoint = project
        .make_endpoint("till", &receiver.url("/in"), &more)
        .await;
    for number in 0..3 {
        project.publish(&endpoint, "a", &json!(number)).await;
    }
    // It opens again each time that its probes fail, of which people have heard by then.
    let changes = "outrider_breaker_changes_total";
    wait_for_change(&outrider, changes, "open", 2.0).await;
    is_failing.store(false, Ordering::Relaxed);
    wait_for_change(&outrider, changes, "closed", 1.0).await;
    let received = owner
        .wait_until("the owner hears of both", DEADLINE, |received| {
            let is_told = |kind: &&str| received.iter().any(|one| told(one).0 == **kind);
            wanted.iter().all(is_told)
        })
        .await;
    let mut names = std::collections::HashSet::new();
    for request in &received {
        let (kind, data) = told(request);
        assert!(wanted.contains(&kind.as_str()), "{kind}");
        let of = [&data["project_id"], &data["endpoint_id"], &data["reason"]];
        let expected = [project.project(), endpoint.as_str(), "failure_rate"];
        assert_eq!(of, expected.map(Value::from).each_ref());
        names.insert(request.header("x-convoy-idempotency-key").to_owned());
    }
    assert_eq!(names.len(), received.len(), "each is told once");

    let mails = mailbox.wait_for(2).await;
    let hooked = hooks.wait_for(2, DEADLINE).await;
    let texts: Vec<String> = hooked.iter().map(text_of).collect();
    for (what, reason) in [
        (
            "shop: endpoint till keeps failing and is left alone for a while",
            "reason: failure_rate",
        ),
        (
            "shop: endpoint till is served again",
            "reason: failure_rate",
        ),
    ] {
        let begin = format!("{what}\n{reason}\n");
        let count = texts.iter().filter(|text| text.starts_with(&begin)).count();
        assert_eq!(count, 1, "{what}: {texts:?}");
        let count = mails.iter().filter(|mail| mail.contains(what)).count();
        assert_eq!(count, 1, "{what}: {mails:?}");
    }
    assert_eq!((texts.len(), mails.len()), (2, 2));
}

#[tokio::test]
async fn what_cannot_be_a_failure_rate_is_refused_by_name() {
    let mailbox = Mailbox::start().await;
    let owner = Receiver::start().await;
    let outrider = mailbox.setup("none").start().await;
    let mut project = project(&outrider, &owner, &["failure_rate.exceeded"], &json!({})).await;
    let path = format!("/api/v1/projects/{}", project.project());
    let mut admin = outrider.admin_api();
    let percent = "failure_rate_alert.failure_threshold`: must be from 1 to 100 percent";
    let count = "failure_rate_alert.minimum_request_count`: must be from 1 to 1000000 attempts";
    for (alert, says) in [
        (json!({"failure_threshold": 101}), percent),
        (
            json!({"failure_threshold": 5, "minimum_request_count": 1_000_001}),
            count,
        ),
        (
            json!({"minimum_request_count": 5}),
            "failure_rate_alert.failure_threshold`: is missing",
        ),
    ] {
        let endpoint =
            json!({"name": "e", "url": "http://a.example/", "failure_rate_alert": alert});
        let refused = project.post("/endpoints", &endpoint).await;
        assert_eq!(refused.refusal(400), format!("`{says}"));
        let config = json!({"name": "shop", "config": {"failure_rate_alert": alert}});
        let refused = admin.put(&path, &config).await;
        assert_eq!(refused.refusal(400), format!("`config.{says}"));
    }
    let file = "projects: [{name: a, type: outgoing, endpoints: \
        [{name: e, url: 'https://a.example/', secret: s, failure_rate_alert: {failure_threshold: 101}}]}]";
    let bad = check(file).await;
    assert_eq!(bad.code, Some(78), "{}", bad.output);
    for part in [
        "failure_rate_alert.failure_threshold",
        "from 1 to 100 percent",
    ] {
        assert!(bad.output.contains(part), "{}", bad.output);
    }
}

#[tokio::test]
async fn all_hear_once_that_an_endpoint_fails_too_often_where_they_want_to() {
    let mailbox = Mailbox::start().await;
    let (owner, hooks) = (Receiver::start().await, Receiver::start().await);
    let (receiver, is_failing) = moody().await;
    let outrider = mailbox.setup("none").start().await;
    // Below what opens a breaker.
    let alert =
        json!({"failure_rate_alert": {"failure_threshold": 30, "minimum_request_count": 10}});
    let wanted = [
        "failure_rate.exceeded",
        "failure_rate.recovered",
        "breaker.opened",
    ];
    let mut project = project(&outrider, &owner, &wanted, &alert).await;
    let shown = project.get("").await.data(200);
    assert_eq!(
        shown["config"]["failure_rate_alert"],
        alert["failure_rate_alert"]
    );
    let mut more =
        json!({"support_email": "ops@customer.example", "slack_webhook_url": hooks.url("/slack")});
    let url = receiver.url("/in?token=hunter2");
    let endpoint = project.make_endpoint("till", &url, &more).await;
    more["failure_rate_alert"] = json!({"failure_threshold": 0});
    let quiet = project.make_endpoint("quiet", &url, &more).await;
    let shown = project.get(&format!("/endpoints/{quiet}")).await.data(200);
    assert_eq!(shown["failure_rate_alert"]["failure_threshold"], 0);

    for endpoint in [&quiet, &endpoint] {
        is_failing.store(false, Ordering::Relaxed);
        deliver(&mut project, endpoint, "Success", 7).await;
        is_failing.store(true, Ordering::Relaxed);
        deliver(&mut project, endpoint, "Failure", 5).await;
    }
    let received = owner.wait_for(1, DEADLINE).await;
    let (kind, data) = told(&received[0]);
    assert_eq!(kind, "failure_rate.exceeded");
    for (field, value) in [
        ("project_id", json!(project.project())),
        ("endpoint_id", json!(endpoint)),
        ("reason", json!("failure_rate")),
        ("attempts", json!(10)),
        ("failures", json!(3)),
    ] {
        assert_eq!(data[field], value, "{field}");
    }
    let hooked = hooks.wait_for(1, DEADLINE).await;
    let text = text_of(&hooked[0]);
    assert!(
        text.starts_with(
            "shop: endpoint till fails too often\nreason: failure_rate, 3 of 10 attempts failed\n"
        ),
        "{text}"
    );
    assert!(!text.contains("hunter2"), "{text}");
    for (endpoint, lasts) in [(&endpoint, true), (&quiet, false)] {
        let path = format!("/endpoints/{endpoint}/lane");
        let lane = &project.get(&path).await.data(200)["content"][0];
        let since = &lane["failure_rate_exceeded_since"];
        assert_eq!(
            (since.is_string(), since.is_null()),
            (lasts, !lasts),
            "{lane}"
        );
    }
    let mails = mailbox.wait_for(1).await;
    assert!(mails[0].contains("fails too often"), "{}", mails[0]);
    // The others were well, or nobody wants to hear of them; a change that is told after all of it
    // shows that there is nothing before it.
    let changes = "outrider_failure_rate_changes_total";
    wait_for_change(&outrider, changes, "exceeded", 1.0).await;
    more["failure_rate_alert"] = json!({"failure_threshold": 1, "minimum_request_count": 1});
    let touchy = project.make_endpoint("touchy", &url, &more).await;
    deliver(&mut project, &touchy, "Failure", 1).await;
    let received = owner.wait_for(2, DEADLINE).await;
    assert_eq!(told(&received[1]).1["endpoint_id"], touchy);
    assert_eq!(hooks.wait_for(2, DEADLINE).await.len(), 2);
    assert_eq!(mailbox.wait_for(2).await.len(), 2);
    let changed = outrider.metric(changes, &["to=\"exceeded\""]).await;
    assert_eq!(changed, 2.0);
}
