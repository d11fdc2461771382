//! What a source refused, and why, is there for whoever asks: the sender is told nothing.

use std::time::Duration;

use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use super::harness::{Api, Client, DEADLINE, DataPlane, Planes, Setup, get, until};

/// Never to be seen anywhere.
const SECRET: &str = "hunter2-hunter2";

async fn ingest(
    client: &mut Client,
    method: Method,
    target: &str,
    headers: &[(&str, &str)],
    body: &'static str,
) -> u16 {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body.into())).unwrap();
    client.send(request).await.unwrap().status.as_u16()
}

async fn rejected(api: &mut Api, source: &str) -> Value {
    api.get(&format!("/sources/{source}/rejected"))
        .await
        .data(200)
}

fn reasons(shown: &Value) -> Vec<&str> {
    let content = shown["content"].as_array().unwrap();
    content
        .iter()
        .map(|one| one["reason"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn every_refusal_of_a_source_is_shown_with_its_reason_and_without_credentials() {
    let outrider = Setup::through_api().start().await;
    let mut api = outrider
        .admin_api()
        .make_project("in", "incoming", &json!({"max_payload_read_size": 100}))
        .await;
    let verifier =
        json!({"type": "api_key", "api_key": {"header_name": "X-Own", "header_value": SECRET}});
    let source = json!({
        "verifier": verifier, "deny_headers": ["X-Private"],
        "event_type_location": "request.header.X-Type",
    });
    let (source, mask) = api.make_source("keyed", &source).await;
    assert_eq!(rejected(&mut api, &source).await["content"], json!([]));

    let target = format!("/ingest/{mask}?access_token={SECRET}&a=1");
    let mut client = outrider.client();
    let ok = [("x-own", SECRET), ("x-type", "push")];
    assert_eq!(
        ingest(&mut client, Method::POST, &target, &ok, "good").await,
        200
    );
    let bad = [
        ("x-own", "hunter2-hunter2-"),
        ("authorization", "Bearer hunter2-hunter2"),
        ("cookie", "session=hunter2-hunter2"),
        ("x-private", SECRET),
        ("x-hub-signature-256", "sha256=00"),
        ("x-request-id", "the-request"),
    ];
    let too_long = "x".repeat(101).leak();
    assert_eq!(
        ingest(&mut client, Method::POST, &target, &bad, "a body").await,
        401
    );
    assert_eq!(
        ingest(&mut client, Method::POST, &target, &ok[..1], "no type").await,
        400
    );
    assert_eq!(
        ingest(&mut client, Method::PUT, &target, &ok, "").await,
        405
    );
    assert_eq!(
        ingest(&mut client, Method::POST, &target, &ok, too_long).await,
        413
    );

    let shown = rejected(&mut api, &source).await;
    assert_eq!(
        reasons(&shown),
        [
            "body_too_large",
            "method_not_allowed",
            "missing_event_type",
            "signature_mismatch"
        ]
    );
    let dataplanes = json!([{"number": 0, "is_answered": true, "left_out": 0}]);
    assert_eq!(shown["dataplanes"], dataplanes);
    assert!(!shown.to_string().contains(SECRET), "{shown}");
    let one = &shown["content"][3];
    let expected = [
        ("status", json!(401)),
        ("request_id", json!("the-request")),
        ("client_address", json!("127.0.0.1")),
        ("method", json!("POST")),
        ("path", json!(format!("/ingest/{mask}"))),
        ("query", json!("access_token=***&a=1")),
        ("body_bytes", json!(6)),
        ("body_excerpt", json!("a body")),
        ("dataplane", json!(0)),
    ];
    for (field, value) in expected {
        assert_eq!(one[field], value, "{field}: {one}");
    }
    assert_eq!(one["headers"]["x-hub-signature-256"], json!(["sha256=00"]));
    for masked in ["x-own", "x-private", "authorization", "cookie"] {
        assert_eq!(one["headers"][masked], json!(["***"]), "{one}");
    }

    // The operator sees the same.
    let page = outrider
        .admin_page(&format!("/rejected?source={source}"))
        .await;
    let page: Value = serde_json::from_str(&page).unwrap();
    assert_eq!(page["rejected"].as_array().unwrap().len(), 4);
    assert!(!page.to_string().contains(SECRET));
}

#[tokio::test]
async fn only_those_of_a_source_of_ones_own_project_are_shown() {
    let outrider = Setup::through_api().start().await;
    let mut admin = outrider.admin_api();
    let mut own = admin.make_project("own", "incoming", &json!({})).await;
    let mut other = admin.make_project("other", "incoming", &json!({})).await;
    let (source, _) = other.make_source("theirs", &json!({})).await;
    for path in [
        format!("/sources/{source}/rejected"),
        "/sources/x/rejected".to_owned(),
    ] {
        assert_eq!(own.get(&path).await.refusal(404), "source not found");
    }
    assert_eq!(rejected(&mut other, &source).await["content"], json!([]));
    let page = get(outrider.admin(), "/rejected?source=x").await.unwrap();
    assert_eq!(page.status, 400);
    assert_eq!(page.text(), "`source` must be the uid of a source\n");
}

#[tokio::test]
async fn what_two_data_planes_refused_is_put_together_and_who_is_gone_says_nothing() {
    let mut planes = Planes::new(None);
    planes.control.start().await;
    let mut first = planes.data_plane("node-1", 1);
    let mut second = planes.data_plane("node-2", 2);
    let mut api = planes.control.admin();
    let mut api = api.make_project("in", "incoming", &json!({})).await;
    let (source, mask) = api
        .make_source("closed", &json!({"is_disabled": true}))
        .await;
    first.start().await;
    second.start().await;
    let target = format!("/ingest/{mask}");
    let refuse = async |data: &DataPlane, body| {
        ingest(&mut data.client(), Method::POST, &target, &[], body).await
    };
    assert_eq!(refuse(&first, "one").await, 404);
    // What is refused in the same millisecond has no order between data planes.
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert_eq!(refuse(&second, "two").await, 404);
    let shown = rejected(&mut api, &source).await;
    let content = shown["content"].as_array().unwrap();
    let nodes: Vec<_> = content
        .iter()
        .map(|one| one["dataplane"].as_u64().unwrap())
        .collect();
    assert_eq!(nodes, [2, 1], "newest first: {shown}");
    assert_eq!(reasons(&shown), ["source_disabled"; 2]);

    assert_eq!(second.process.terminate().await, Some(0));
    // The control plane hears of it a moment later.
    let is_alone = |shown: &Value| shown["dataplanes"].as_array().unwrap().len() == 1;
    let shown = until(
        "the data plane that is gone is left out",
        DEADLINE,
        async || {
            let shown = rejected(&mut api, &source).await;
            is_alone(&shown).then_some(shown)
        },
    );
    assert_eq!(reasons(&shown.await).len(), 1);
}
