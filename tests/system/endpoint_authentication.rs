//! How receivers know who calls: credentials and forms as they arrive, and as records keep them.

use serde_json::{Value, json};

use super::harness::{Api, DEADLINE, Outrider, Receiver, Setup, standard_webhooks};

const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz";

/// A gateway with an outgoing project that signs both ways.
async fn start() -> (Outrider, Api) {
    let outrider = Setup::through_api().start().await;
    let config = json!({"signature": {"format": "both"}});
    let mut admin = outrider.admin_api();
    let project = admin.make_project("shop", "outgoing", &config).await;
    (outrider, project)
}

/// The newest attempt of the one delivery of an event.
pub(super) async fn attempt_of(project: &mut Api, event: &str, status: &str) -> Value {
    let delivery = project.delivery(event, status).await;
    let uid = delivery["uid"].as_str().unwrap();
    let path = format!("/eventdeliveries/{uid}/deliveryattempts");
    let attempts = project.get(&path).await.data(200);
    attempts.as_array().unwrap().last().unwrap().clone()
}

#[tokio::test]
async fn credentials_arrive_instead_of_the_events_own_and_are_nowhere_to_be_read() {
    let receiver = Receiver::start().await;
    let (outrider, mut project) = start().await;
    let basic = json!({"type": "basic_auth", "basic_auth": {"username": "Aladdin", "password": "open sesame"}});
    let key =
        json!({"type": "api_key", "api_key": {"header_name": "X-Key", "header_value": "hunter2"}});
    for (n, authentication, header, sent) in [
        (
            1,
            basic,
            "authorization",
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
        ),
        (2, key, "x-key", "hunter2"),
    ] {
        let more = json!({"authentication": authentication, "secret": SECRET});
        let url = receiver.url("/hook");
        let endpoint = project.make_endpoint(header, &url, &more).await;
        let body = json!({"endpoint_id": endpoint, "event_type": "a", "data": {"n": n},
            "custom_headers": {header: "of the event", "x-other": "kept"}});
        let event = project.post("/events", &body).await.event_uid();
        let got = receiver.wait_for(n, DEADLINE).await.remove(n - 1);
        let all: Vec<_> = got.headers.get_all(header).iter().collect();
        assert_eq!(all, [sent]);
        assert_eq!(got.header("x-other"), "kept");
        let attempt = attempt_of(&mut project, &event, "Success").await;
        assert_eq!(attempt["request_http_header"][header], "***");
        let signature = &attempt["request_http_header"]["webhook-signature"];
        assert_eq!(signature, got.header("webhook-signature"));
    }
    let dump = outrider.admin_page("/config_dump").await;
    assert!(
        !dump.contains("hunter2") && !dump.contains("sesame"),
        "{dump}"
    );
}

#[tokio::test]
async fn a_form_arrives_and_is_what_is_signed() {
    let receiver = Receiver::start().await;
    let (_outrider, mut project) = start().await;
    let more = json!({"content_type": "application/x-www-form-urlencoded", "secret": SECRET, "advanced_signatures": false});
    let endpoint = project
        .make_endpoint("form", &receiver.url("/"), &more)
        .await;
    let not = project.publish(&endpoint, "a", &json!([1])).await;
    let ended = project.delivery(&not, "Failure").await;
    assert_eq!(ended["description"], "data not a form");
    let data = json!({"name": "Zoë & co", "amount": 12.5, "items": [{"n": 1}], "note": null});
    project.publish(&endpoint, "a", &data).await;
    let got = receiver.wait_for(1, DEADLINE).await.remove(0);
    assert_eq!(
        got.header("content-type"),
        "application/x-www-form-urlencoded"
    );
    let form = "amount=12.5&items=%5B%7B%22n%22%3A1%7D%5D&name=Zo%C3%AB+%26+co&note=";
    assert_eq!(got.body, form);
    standard_webhooks(&got.headers, &got.body, SECRET).unwrap();
    // Convoy's is over the JSON, of which the form was made.
    let mac = got.header("x-convoy-signature");
    let json = project.rows("/events").await.remove(0)["raw"]
        .as_str()
        .unwrap()
        .to_owned();
    let expected = super::harness::github(SECRET, json.as_bytes());
    assert_eq!(format!("sha256={mac}"), expected);
}
