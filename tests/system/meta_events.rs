//! What the owner of a project is told of it: signed, retried, once, and never about itself.

use http::Method;
use serde_json::{Value, json};

use super::harness::{
    Api, DEADLINE, Fault, Outrider, Received, Receiver, Setup, convoy_simple, until,
};

const SECRET: &str = "shared-with-the-owner";

async fn project(outrider: &Outrider, url: &str, wanted: &[&str]) -> Api {
    let config = json!({
        "strategy": {"type": "linear", "duration": 1, "retry_count": 2},
        "signature": {"header": "X-Other"},
        "meta_event": {"is_enabled": true, "type": "http", "event_type": wanted, "url": url, "secret": SECRET},
    });
    outrider
        .admin_api()
        .make_project("shop", "outgoing", &config)
        .await
}

fn told(request: &Received) -> Value {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    convoy_simple(&request.headers, &request.body, SECRET).unwrap();
    let key = request.headers["x-convoy-idempotency-key"]
        .to_str()
        .unwrap();
    assert!(
        key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{key}"
    );
    assert_eq!(request.headers["content-type"], "application/json");
    body
}

async fn meta_event(project: &mut Api, status: &str) -> Value {
    until(&format!("a meta event is {status}"), DEADLINE, async || {
        let mut rows = project.rows("/meta-events").await;
        assert!(rows.len() <= 1, "{rows:?}");
        rows.pop().filter(|row| row["status"] == status)
    })
    .await
}

#[tokio::test]
async fn what_is_no_meta_event_is_refused_by_name() {
    let outrider = Setup::through_api().start().await;
    let mut admin = outrider.admin_api();
    let body =
        |meta: Value| json!({"name": "x", "type": "outgoing", "config": {"meta_event": meta}});
    for (meta, message) in [
        (
            json!({"is_enabled": true, "url": "http://a.example/", "secret": "s"}),
            "`config.meta_event.event_type`: is missing",
        ),
        (
            json!({"is_enabled": true, "event_type": ["endpoint.created"], "secret": "s"}),
            "`config.meta_event.url`: is missing",
        ),
    ] {
        let refused = admin.post("/api/v1/projects", &body(meta)).await;
        assert_eq!(refused.refusal(400), message);
    }
    let off =
        json!({"is_enabled": false, "type": "http", "event_type": [], "url": "", "secret": ""});
    admin.post("/api/v1/projects", &body(off)).await.data(201);
}

#[tokio::test]
async fn a_delivery_that_failed_is_told_once_signed_and_not_among_the_events() {
    let owner = Receiver::start().await;
    let receiver = Receiver::with(|_| Fault::Status(500)).await;
    let mut outrider = Setup::through_api().start().await;
    let mut project = project(&outrider, &owner.url("/meta"), &["eventdelivery.failed"]).await;
    let good = Receiver::start().await;
    let endpoint = project
        .make_endpoint("bad", &receiver.url("/in"), &json!({}))
        .await;
    let fine = project
        .make_endpoint("good", &good.url("/in"), &json!({}))
        .await;
    let event = project
        .publish(&endpoint, "order.made", &json!({"n": 1}))
        .await;
    let delivered = project.publish(&fine, "order.made", &json!({"n": 2})).await;
    project.delivery(&delivered, "Success").await;
    let failed = project.delivery(&event, "Failure").await;
    let received = owner.wait_for(1, DEADLINE).await;
    let body = told(&received[0]);
    assert_eq!(body["event_type"], "eventdelivery.failed");
    let data = &body["data"];
    for (field, value) in [
        ("uid", &failed["uid"]),
        ("event_id", &json!(event)),
        ("endpoint_id", &json!(endpoint)),
        ("project_id", &json!(project.project())),
        ("event_type", &json!("order.made")),
        ("status", &json!("Failure")),
        ("description", &json!("retry_limit_exceeded")),
        ("metadata", &json!({"num_trials": 2})),
        (
            "latest_attempt",
            &json!({"http_status": 500, "error": null}),
        ),
    ] {
        assert_eq!(&data[field], value, "{field}");
    }

    let shown = meta_event(&mut project, "Success").await;
    assert_eq!(shown["event_type"], "eventdelivery.failed");
    assert_eq!(shown["uid"], received[0].webhook_id());
    assert_eq!(shown["project_id"], project.project());
    assert!(
        shown["attempt"]["request_http_header"]["x-convoy-signature"].is_string(),
        "{shown}"
    );
    let path = format!("/meta-events/{}", received[0].webhook_id());
    assert_eq!(project.get(&path).await.data(200), shown);
    project
        .get(&format!("/meta-events/{event}"))
        .await
        .refusal(404);
    let refused = project
        .call(Method::PUT, &format!("{path}/resend"), None)
        .await;
    assert_eq!(refused.refusal(400), "event already sent");
    assert_eq!(project.uids("/events").await.len(), 2);
    assert_eq!(project.uids("/eventdeliveries").await.len(), 2);
    project
        .get(&format!("/events/{}", received[0].webhook_id()))
        .await
        .refusal(404);
    // A restart tells nothing anew.
    outrider.kill();
    outrider.start().await;
    let marker = project.publish(&fine, "a", &json!("marker")).await;
    project.delivery(&marker, "Success").await;
    assert_eq!(owner.received().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_told_is_retried_over_a_restart_and_tells_nothing_of_itself() {
    let owner = Receiver::with(|request| match request.attempt {
        1 => Fault::Later(503, "2"),
        2 => Fault::Status(410),
        _ => Fault::None,
    })
    .await;
    let receiver = Receiver::with(|_| Fault::Status(413)).await;
    let mut outrider = Setup::through_api().start().await;
    let wanted = [
        "eventdelivery.failed",
        "eventdelivery.success",
        "endpoint.disabled",
    ];
    let mut project = project(&outrider, &owner.url("/meta"), &wanted).await;
    let endpoint = project
        .make_endpoint("bad", &receiver.url("/in"), &json!({}))
        .await;
    project.publish(&endpoint, "a", &json!(1)).await;
    owner.wait_for(1, DEADLINE).await;
    outrider.kill();
    outrider.start().await;
    let received = owner.wait_for(2, DEADLINE).await;
    assert_eq!(received[0].webhook_id(), received[1].webhook_id());
    assert_eq!(received[0].body, received[1].body);
    // Its own end, and that its receiver is gone, is told to nobody.
    let shown = meta_event(&mut project, "Failure").await;
    assert_eq!(shown["description"], "gone");
    let path = format!("/meta-events/{}/resend", received[0].webhook_id());
    project.call(Method::PUT, &path, None).await.data(200);
    let received = owner.wait_for(3, DEADLINE).await;
    assert_eq!(told(&received[2])["event_type"], "eventdelivery.failed");
    meta_event(&mut project, "Success").await;
    assert_eq!(owner.received().len(), 3);
}

#[tokio::test]
async fn each_change_of_the_configuration_is_told_once_without_secrets() {
    let owner = Receiver::start().await;
    let receiver = Receiver::with(|_| Fault::Status(410)).await;
    let mut outrider = Setup::through_api().start().await;
    let wanted = [
        "project.updated",
        "endpoint.created",
        "endpoint.updated",
        "endpoint.deleted",
        "endpoint.disabled",
        "endpoint.enabled",
    ];
    let mut project = project(&outrider, &owner.url("/meta"), &wanted).await;
    let more = json!({"secret": "hunter2hunter2", "authentication": {"type": "api_key", "api_key": {"header_name": "X-Key", "header_value": "hunter2"}}});
    let endpoint = project
        .make_endpoint("e", &receiver.url("/in"), &more)
        .await;
    let path = format!("/endpoints/{endpoint}");
    // The receiver's answer switches it off, a person switches it on.
    project.publish(&endpoint, "a", &json!(1)).await;
    until("it is off", DEADLINE, async || {
        let shown = project.get(&path).await.data(200);
        (shown["status"] == "inactive").then_some(())
    })
    .await;
    let on = format!("{path}/activate");
    project.post(&on, &json!({})).await.data(202);
    project.delete(&path).await.data(200);
    let mut admin = outrider.admin_api();
    let renamed = json!({"name": "shop", "logo_url": "https://a.example/logo"});
    let own = format!("/api/v1/projects/{}", project.project());
    admin.put(&own, &renamed).await.data(202);

    let received = owner.wait_for(7, DEADLINE).await;
    let mut kinds = Vec::new();
    for request in &received {
        let body = told(request);
        let text = String::from_utf8_lossy(&request.body);
        assert!(
            !text.contains("hunter2") && !text.contains(SECRET),
            "{text}"
        );
        let kind = body["event_type"].as_str().unwrap().to_owned();
        let data = &body["data"];
        match kind.as_str() {
            "project.updated" => assert_eq!(data["logo_url"], "https://a.example/logo"),
            "endpoint.disabled" => {
                assert_eq!(
                    (&data["status"], &data["disabled_reason"]),
                    (&json!("inactive"), &json!("gone"))
                );
            }
            "endpoint.enabled" => assert_eq!(data["status"], "active"),
            _ => assert_eq!(data["uid"], endpoint),
        }
        kinds.push(kind);
    }
    kinds.sort_unstable();
    let expected = [
        "endpoint.created",
        "endpoint.deleted",
        "endpoint.disabled",
        "endpoint.enabled",
        "endpoint.updated",
        "endpoint.updated",
        "project.updated",
    ];
    assert_eq!(kinds, expected);
    // Nothing of it is told anew after a restart; what comes then is. That an attempt is made once
    // more, whose record a kill kept from the disk, is no meta event more.
    outrider.kill();
    outrider.start().await;
    let url = receiver.url("/in");
    project.make_endpoint("f", &url, &json!({})).await;
    owner
        .wait_until("the endpoint f is told", DEADLINE, |received| {
            received
                .iter()
                .any(|request| told(request)["data"]["name"] == "f")
        })
        .await;
    let rows = project.rows("/meta-events").await;
    assert_eq!(rows.len(), 8, "{rows:?}");
    let received = owner.received();
    let keys: std::collections::HashSet<&str> = received
        .iter()
        .map(|request| request.header("x-convoy-idempotency-key"))
        .collect();
    assert_eq!(keys.len(), 8);
}
