//! One address for all: the public listener takes events and passes the API on.

use http::Method;
use serde_json::{Value, json};

use super::harness::{Api, DEADLINE, Outrider, Receiver, Reply, Setup, get};

/// Largest body that the API takes, bytes.
const API_BODY_BYTES_MAX: usize = 1024 * 1024;

async fn start() -> (Outrider, Api) {
    let outrider = Setup::through_api().start().await;
    let mut admin = outrider.admin_api();
    let project = admin.make_project("shop", "outgoing", &json!({})).await;
    (outrider, project)
}

fn header<'a>(reply: &'a Reply, name: &str) -> &'a str {
    let mut values = reply.headers.get_all(name).iter();
    let value = values.next().map_or("", |value| value.to_str().unwrap());
    assert!(
        values.next().is_none(),
        "two of {name}: {:?}",
        reply.headers
    );
    value
}

#[tokio::test]
async fn who_does_not_say_who_he_is_is_401_on_both_ports() {
    let (outrider, project) = start().await;
    let whole = format!("/api/v1/projects/{}", project.project());
    let paths = [
        "/api/v1/projects".to_owned(),
        whole.clone(),
        format!("{whole}/endpoints"),
        format!("{whole}/events"),
        format!("{whole}/eventdeliveries"),
        format!("{whole}/eventdeliveries/01ARZ3NDEKTSV4RRFFQ69G5FAV"),
    ];
    let nearly = format!("{}x", project.key());
    for address in [outrider.public(), outrider.api()] {
        for path in &paths {
            let refusal = Api::new(address, "").get(path).await.refusal(401);
            assert_eq!(refusal, "Authentication required", "{path}");
            for key in [&*nearly, "CO.x.y", "x"] {
                let refusal = Api::new(address, key).get(path).await.refusal(401);
                assert_eq!(refusal, "authorization failed", "{path} with {key}");
            }
        }
    }
    let mut nobody = Api::new(outrider.public(), "");
    let event = json!({"owner_id": "a", "event_type": "a", "data": 1});
    let path = format!("{whole}/events/fanout");
    nobody.post(&path, &event).await.refusal(401);
}

#[tokio::test]
async fn what_is_nowhere_is_a_json_404_on_both_ports() {
    let (outrider, mut project) = start().await;
    for address in [outrider.public(), outrider.api()] {
        let mut root = Api::new(address, project.key());
        for path in [
            "/",
            "/api",
            "/api/v2/projects",
            "/api/v1",
            "/api/v1/nothing",
            "/nothing/at/all",
        ] {
            let reply = root.get(path).await;
            reply.refusal(404);
            assert_eq!(header(&reply, "content-type"), "application/json", "{path}");
        }
        let mut project = project.at(address);
        for path in ["/nothing", "/endpoints/x/y/z", "/eventdeliveries/x/nothing"] {
            project.get(path).await.refusal(404);
        }
        project
            .call(Method::PATCH, "/endpoints", None)
            .await
            .refusal(405);
    }
    let other = "/api/v1/projects/01ARZ3NDEKTSV4RRFFQ69G5FAV";
    let mut root = Api::new(outrider.public(), project.key());
    assert_eq!(root.get(other).await.refusal(404), "project not found");
    project.get("/endpoints").await.data(200);
}

#[tokio::test]
async fn an_event_sent_to_the_port_of_the_api_is_421_and_names_the_right_one() {
    let receiver = Receiver::start().await;
    let (outrider, mut project) = start().await;
    let endpoint = project
        .make_endpoint("customer", &receiver.url("/in"), &json!({}))
        .await;
    let event = json!({"endpoint_id": endpoint, "event_type": "a", "data": 1});
    let mut misled = project.at(outrider.api());
    for path in [
        "/events",
        "/events/fanout",
        "/events/broadcast",
        "/events/dynamic",
        "/events/batch",
    ] {
        let refusal = misled.post(path, &event).await.refusal(421);
        let right = format!(
            "http://{}/api/v1/projects/{}{path}",
            outrider.public(),
            project.project()
        );
        assert!(refusal.contains(&right), "{right} is not in: {refusal}");
    }
    let uid = project.post("/events", &event).await.event_uid();
    let received = receiver.wait_for(1, DEADLINE).await;
    assert_eq!(received[0].webhook_id(), uid);
    let events = project.list("/events").await;
    assert_eq!(events["content"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_this_version_does_not_do_yet_is_501_and_says_so() {
    let (_outrider, mut project) = start().await;
    for (method, path) in [
        (Method::POST, "/subscriptions/test_function"),
        (Method::POST, "/sources/test_function"),
        (Method::GET, "/endpoints/period-failure-rates"),
        (Method::POST, "/portal-links"),
        (Method::PUT, "/portal-links/x/revoke"),
        (Method::POST, "/onboard"),
    ] {
        let body = (method != Method::GET).then(|| json!({"event_type": "a", "data": 1}));
        let reply = project.call(method, path, body.as_ref()).await;
        let refusal = reply.refusal(501);
        assert!(refusal.contains("this version"), "{path}: {refusal}");
    }
}

#[tokio::test]
async fn both_ports_give_the_same_replies() {
    let (outrider, mut project) = start().await;
    let endpoint = project
        .make_endpoint("customer", "http://127.255.0.1:8080/in", &json!({}))
        .await;
    let mut direct = project.at(outrider.api());
    for path in [
        "",
        "/endpoints",
        &format!("/endpoints/{endpoint}"),
        "/endpoints/01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "/subscriptions?perPage=5",
        "//events/",
        "/eventdeliveries?status=Nonsense",
        "/nothing",
    ] {
        let (one, other) = (project.get(path).await, direct.get(path).await);
        assert_eq!(
            (one.status, one.text()),
            (other.status, other.text()),
            "{path}"
        );
        for name in ["content-type", "x-convoy-version", "x-outrider-error"] {
            assert_eq!(header(&one, name), header(&other, name), "{name} of {path}");
        }
        assert_eq!(header(&one, "x-convoy-version"), "2025-11-24");
    }
}

#[tokio::test]
async fn every_reply_has_the_request_id_that_was_sent_or_a_fresh_one() {
    let (outrider, project) = start().await;
    let whole = format!("/api/v1/projects/{}", project.project());
    let mut fresh = std::collections::BTreeSet::new();
    for address in [outrider.public(), outrider.api()] {
        let mut client = Api::new(address, project.key());
        for path in [&*whole, "/nothing", "/api/v1/nothing", "/healthz"] {
            let sent = [("x-request-id", "of-the-client.1")];
            let reply = client.call_with(Method::GET, path, &sent, None).await;
            assert_eq!(header(&reply, "x-request-id"), "of-the-client.1", "{path}");
            let longest = "x".repeat(129);
            for odd in ["a b", &*longest] {
                let sent = [("x-request-id", odd)];
                let reply = client.call_with(Method::GET, path, &sent, None).await;
                let id = header(&reply, "x-request-id").to_owned();
                assert!(!id.is_empty() && id != odd, "{path}: {id:?}");
                assert!(fresh.insert(id), "not fresh");
            }
            let id = header(&client.get(path).await, "x-request-id").to_owned();
            assert!(!id.is_empty() && fresh.insert(id), "not fresh");
        }
    }
    let mut publisher = project.again();
    let body = || {
        Some(
            json!({"owner_id": "a", "event_type": "a", "data": 1})
                .to_string()
                .into(),
        )
    };
    let sent = [("x-request-id", "of-the-client.2")];
    let path = "/events/fanout";
    let reply = publisher.call_with(Method::POST, path, &sent, body()).await;
    reply.event_uid();
    assert_eq!(header(&reply, "x-request-id"), "of-the-client.2");
    let reply = publisher.call_with(Method::POST, path, &[], body()).await;
    assert!(fresh.insert(header(&reply, "x-request-id").to_owned()));
}

#[tokio::test]
async fn a_body_that_is_too_large_is_413_on_both_ports_and_one_that_just_fits_is_read() {
    let (outrider, project) = start().await;
    let sized = |bytes: usize| {
        let frame = json!({"name": "", "url": "https://customer.example"}).to_string();
        let name = "n".repeat(bytes - frame.len());
        json!({"name": name, "url": "https://customer.example"}).to_string()
    };
    for address in [outrider.public(), outrider.api()] {
        let mut client = project.at(address);
        let fits = Some(sized(API_BODY_BYTES_MAX).into());
        let reply = client
            .call_with(Method::POST, "/endpoints", &[], fits)
            .await;
        // Read as a whole: it is the name that is too long.
        assert!(reply.refusal(400).contains("name"), "{}", reply.text());
        let large = Some(sized(API_BODY_BYTES_MAX + 1).into());
        let reply = client
            .call_with(Method::POST, "/endpoints", &[], large)
            .await;
        reply.refusal(413);
        client.get("/endpoints").await.data(200);
    }
    let mut publisher = project.again();
    let event = json!({"owner_id": "a", "event_type": "a", "data": "d".repeat(60 * 1024)});
    publisher.post("/events/fanout", &event).await.refusal(413);
}

#[tokio::test]
async fn json_that_is_none_is_400_on_both_ports_and_changes_nothing() {
    let (outrider, project) = start().await;
    for address in [outrider.public(), outrider.api()] {
        let mut client = project.at(address);
        for (body, says) in [
            ("", "must not be empty"),
            ("{", "badly-formed JSON (at character 1)"),
            (
                r#"{"name": "a", "url": }"#,
                "badly-formed JSON (at character 22)",
            ),
            (
                r#"{"name": "a"} trailing"#,
                "badly-formed JSON (at character 15)",
            ),
            ("[]", "incorrect JSON type (at character 1)"),
            ("null", "incorrect JSON type (at character 1)"),
            ("\u{0}", "badly-formed JSON (at character 1)"),
            (
                r#"{"name": 7, "url": "https://customer.example"}"#,
                "incorrect JSON type for field \"name\"",
            ),
        ] {
            let sent = Some(body.into());
            let reply = client
                .call_with(Method::POST, "/endpoints", &[], sent)
                .await;
            let message = reply.refusal(400);
            assert_eq!(reply.code(), "bad_json", "{body:?}");
            assert!(message.contains(says), "{body:?}: {message}");
        }
        assert_eq!(client.rows("/endpoints").await, [json!(null); 0]);
    }
}

#[tokio::test]
async fn the_health_of_either_port_is_asked_without_a_key() {
    let (outrider, _) = start().await;
    for address in [outrider.public(), outrider.api()] {
        let reply = get(address, "/healthz").await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
        let healthy: Value = reply.json();
        assert_eq!(healthy["status"], true);
    }
}
