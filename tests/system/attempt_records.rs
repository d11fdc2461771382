//! What the record of an attempt says of what happened.

use serde_json::{Value, json};

use super::harness::{Api, DEADLINE, Fault, LEAVES_FROM, Receiver, Setup, until};

/// The one attempt of an event, once it is recorded.
async fn first_attempt(project: &mut Api, event: &str) -> Value {
    let path = format!("/eventdeliveries?eventId={event}");
    until("the attempt is recorded", DEADLINE, async || {
        let delivery = project.rows(&path).await.pop()?;
        let uid = delivery["uid"].as_str().unwrap();
        let path = format!("/eventdeliveries/{uid}/deliveryattempts");
        let attempts = project.get(&path).await.data(200);
        attempts.as_array().unwrap().first().cloned()
    })
    .await
}

#[tokio::test]
async fn every_way_to_fail_has_its_flags_and_its_class() {
    let receiver = Receiver::with(|request| match &request.path_and_query[..] {
        "/busy" => Fault::Later(429, "3600"),
        "/later" => Fault::Later(503, "3600"),
        "/broken" => Fault::Status(500),
        "/gone" => Fault::Status(410),
        "/moved" => Fault::Redirect("http://127.0.0.1:1/".to_owned()),
        "/reset" => Fault::Reset,
        "/stall" => Fault::Stall,
        "/long" => Fault::Oversize(100_000),
        _ => Fault::None,
    })
    .await;
    let closed = Receiver::refusing(|_| Fault::None);
    let outrider = Setup::through_api().start().await;
    let strategy = json!({"type": "linear", "duration": 3600, "retry_count": 1});
    let config = json!({"strategy": strategy});
    let mut admin = outrider.admin_api();
    let mut project = admin.make_project("shop", "outgoing", &config).await;
    for (url, flags, class) in [
        (receiver.url("/"), "-", Value::Null),
        (receiver.url("/long"), "-", Value::Null),
        (receiver.url("/busy"), "RA", json!("http_429")),
        (receiver.url("/later"), "URX,RA", json!("http_5xx")),
        (receiver.url("/broken"), "URX", json!("http_5xx")),
        (receiver.url("/moved"), "URX", json!("http_3xx")),
        (receiver.url("/gone"), "GO", json!("http_4xx")),
        (receiver.url("/reset"), "UC,URX", json!("connect_reset")),
        (receiver.url("/stall"), "UT,URX", json!("response_timeout")),
        (closed.url("/"), "UF,URX", json!("connect_refused")),
    ] {
        let endpoint = project.make_endpoint(&url, &url, &json!({})).await;
        let event = project.publish(&endpoint, "a", &json!({"n": 1})).await;
        let attempt = first_attempt(&mut project, &event).await;
        assert_eq!(attempt["response_flags"], flags, "{url}: {attempt}");
        assert_eq!(attempt["error_class"], class, "{url}: {attempt}");
        assert_eq!(attempt["attempt"], 1);
        assert_eq!(attempt["counts"], !url.ends_with("/busy"));
        assert_eq!(attempt["is_cut"], url.ends_with("/long"));
        assert!(attempt["config_revision"].as_u64().unwrap() > 0);
        let timings = &attempt["timings_us"];
        let total = timings["total"].as_u64().unwrap();
        let parts = ["dns", "connect", "tls", "first_byte"].map(|part| timings[part].as_u64());
        let parts: u64 = parts.into_iter().map(Option::unwrap).sum();
        assert!((1..=total).contains(&parts), "{url}: {timings}");
        if url.starts_with(&receiver.url("/")) {
            assert_eq!(
                attempt["destination_address"],
                receiver.address().to_string()
            );
            let source = attempt["source_address"].as_str().unwrap();
            assert!(source.starts_with(&format!("{LEAVES_FROM}:")), "{source}");
        }
    }
}
