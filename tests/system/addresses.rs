//! Deliveries go nowhere they must not reach: refused in sight of the operator, nothing is sent.

use serde_json::json;

use super::harness::{DEADLINE, Endpoint, Receiver, Resources, Setup, free_port, uid};

const SECRET: &str = "shared-with-the-customer";

#[tokio::test]
async fn a_literal_address_inside_is_a_dead_letter_and_nothing_is_sent() {
    let receiver = Receiver::start().await;
    let targets = [
        receiver.url("/loopback"),
        format!(
            "http://[::ffff:127.0.0.1]:{}/mapped",
            receiver.address().port()
        ),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://10.0.0.1/private".to_owned(),
        "http://[::1]/loopback".to_owned(),
        "http://0.0.0.0/unspecified".to_owned(),
    ];
    let endpoints: Vec<Endpoint> = (1..)
        .zip(&targets)
        .map(|(number, url)| Endpoint::new(number, url, SECRET))
        .collect();
    let outrider = Setup::guarded(&Resources::outgoing(&endpoints))
        .start()
        .await;
    let mut client = outrider.client();
    for (number, target) in (1..).zip(&targets) {
        let reply = client
            .publish_to(&uid(number), "a", json!({}))
            .await
            .unwrap();
        assert_eq!(reply.status, 201, "{target}: {}", reply.text());
        let ended = f64::from(number);
        let denied = ["result=\"egress_denied\""];
        outrider
            .wait_for_metric(
                "outrider_deliveries_finished_total",
                &denied,
                ended,
                DEADLINE,
            )
            .await;
    }
    assert_eq!(receiver.connections(), 0);
    let blocked = outrider.metric("outrider_egress_denied_total", &[]).await;
    assert!(blocked >= 6.0, "refusals by rule: {blocked}");
}

#[tokio::test]
async fn a_name_that_leads_inside_is_refused_after_its_lookup_and_tried_again_later() {
    let receiver = Receiver::start().await;
    let endpoint = Endpoint::new(1, "http://hooks.customer.example/in", SECRET);
    let to_loopback = format!("hooks.customer.example={}", receiver.address());
    let outrider = Setup::guarded(&Resources::outgoing(&[endpoint]))
        .flag("--unsafe-resolve", &to_loopback)
        .start()
        .await;
    outrider
        .client()
        .publish_to(&uid(1), "a", json!({}))
        .await
        .unwrap()
        .event_uid();
    // A lookup may have been poisoned for a moment: it is a scheduled retry, twice seen here.
    outrider
        .wait_for_metric(
            "outrider_delivery_attempts_total",
            &["outcome=\"blocked\""],
            2.0,
            DEADLINE,
        )
        .await;
    let ended = outrider
        .metric("outrider_deliveries_finished_total", &[])
        .await;
    assert_eq!(ended, 0.0);
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn the_gateways_own_listeners_are_no_destination() {
    let admin = free_port();
    let own = Endpoint::new(1, &format!("http://{admin}/ready"), SECRET);
    let resources = Resources::outgoing(&[own]);
    let outrider = Setup::guarded(&resources).admin(admin).start().await;
    outrider
        .client()
        .publish_to(&uid(1), "a", json!({}))
        .await
        .unwrap()
        .event_uid();
    let denied = ["result=\"egress_denied\""];
    outrider
        .wait_for_metric("outrider_deliveries_finished_total", &denied, 1.0, DEADLINE)
        .await;
}

#[tokio::test]
async fn what_no_delivery_would_get_to_is_refused_when_it_is_saved() {
    let admin = free_port();
    let outrider = Setup::guarded(&Resources::outgoing(&[]))
        .admin(admin)
        .start()
        .await;
    let mut project = outrider
        .admin_api()
        .make_project("by api", "outgoing", &json!({}))
        .await;
    for (url, says) in [
        (format!("http://{admin}/ready"), "the gateway itself"),
        ("http://127.0.0.1:8080/".to_owned(), "`egress.internal`"),
        ("http://10.0.0.1/private".to_owned(), "`egress.internal`"),
        ("http://localhost/".to_owned(), "`egress.internal`"),
        ("http://169.254.169.254/".to_owned(), "no setting opens it"),
        ("http://192.0.2.1:22/".to_owned(), "reserved"),
        ("https://customer.example:22/".to_owned(), "`egress.ports`"),
    ] {
        let body = json!({"name": "customer", "url": url});
        let refusal = project.post("/endpoints", &body).await.refusal(400);
        assert!(refusal.starts_with("`url`: "), "{url}: {refusal}");
        assert!(refusal.contains(says), "{url}: {refusal}");
    }
    // What a name leads to is judged when it is called.
    project
        .make_endpoint("customer", "https://customer.example/in", &json!({}))
        .await;
}
