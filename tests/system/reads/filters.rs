//! Rows are found by every filter, and others are not.

use serde_json::{Value, json};

use super::super::harness::{Api, DEADLINE, Fault, Receiver, uid_of, until};
use super::date::date;
use super::{incoming, outgoing, percent, publish, sorted};

/// Each query finds exactly these rows, in whatever order.
async fn assert_found(project: &mut Api, list: &str, cases: &[(String, Vec<&String>)]) {
    for (query, expected) in cases {
        let found = sorted(project.uids(&format!("{list}?{query}")).await);
        let expected = sorted(expected.iter().map(ToString::to_string).collect());
        assert_eq!(found, expected, "{list}?{query}");
    }
}

#[tokio::test]
async fn outgoing_events_are_found_by_every_filter() {
    let receiver = Receiver::start().await;
    let (_outrider, mut project) = outgoing().await;
    let mut endpoints = Vec::new();
    for (name, owner) in [("one", "ann"), ("two", "ann"), ("three", "bert")] {
        let owner = json!({"owner_id": owner});
        let url = receiver.url(&format!("/{name}"));
        endpoints.push(project.make_endpoint(name, &url, &owner).await);
        project.subscribe(endpoints.last().unwrap(), &["*"]).await;
    }
    let [one, two, three] = &endpoints[..] else {
        unreachable!()
    };
    let a = publish(
        &mut project,
        json!({
            "endpoint_id": one, "event_type": "invoice.paid", "idempotency_key": "key/1 + u",
            "data": {"amount": 10, "customer": {"id": "cus_1", "tags": ["vip", "ng"]}},
        }),
    )
    .await;
    let b = publish(
        &mut project,
        json!({
            "endpoint_id": two, "event_type": "invoice.failed", "idempotency_key": "key-2",
            "data": {"amount": 20, "customer": {"id": "cus_1", "tags": []}},
        }),
    )
    .await;
    let c = publish(
        &mut project,
        json!({
            "endpoint_id": three, "event_type": "order.made", "data": [1, 2, {"amount": 10}],
        }),
    )
    .await;
    let fanned = json!({"owner_id": "ann", "event_type": "order.made", "data": {"amount": 10}});
    let d = project.post("/events/fanout", &fanned).await.event_uid();
    let nobody = json!({"owner_id": "carl", "event_type": "order.made", "data": {"n": null}});
    let e = project.post("/events/fanout", &nobody).await.event_uid();

    let json = |text: &str| percent(text);
    let cases: Vec<(String, Vec<&String>)> = vec![
        (String::new(), vec![&a, &b, &c, &d, &e]),
        (format!("endpointId={one}"), vec![&a, &d]),
        (
            format!("endpointId={one}&endpointId={three}"),
            vec![&a, &c, &d],
        ),
        (format!("endpointId={one},{three}"), vec![]),
        ("ownerId=ann".into(), vec![&a, &b, &d]),
        ("ownerId=bert".into(), vec![&c]),
        ("ownerId=carl".into(), vec![&e]),
        (format!("ownerId=ann&endpointId={two}"), vec![&b, &d]),
        (format!("idempotencyKey={}", percent("key/1 + u")), vec![&a]),
        ("idempotencyKey=key-2".into(), vec![&b]),
        ("idempotencyKey=key".into(), vec![]),
        ("idempotencyKey=".into(), vec![&a, &b, &c, &d, &e]),
        ("query=invoice".into(), vec![&a, &b]),
        ("query=failed".into(), vec![&b]),
        ("query=key-2".into(), vec![&b]),
        (format!("query={}", &b[..26]), vec![&b]),
        ("query=nothing.like.this".into(), vec![]),
        (format!("query={}", percent("%")), vec![]),
        (format!("query={}", percent("_")), vec![]),
        (format!("query={}", json(r#"{"amount":10}"#)), vec![&a, &d]),
        (format!("body={}", json(r#"{"amount":10}"#)), vec![&a, &d]),
        (
            format!("body={}", json(r#"{"customer":{"id":"cus_1"}}"#)),
            vec![&a, &b],
        ),
        (
            format!("body={}", json(r#"{"customer":{"tags":["ng"]}}"#)),
            vec![&a],
        ),
        (
            format!("body={}", json(r#"{"customer":{"tags":["ng","vip"]}}"#)),
            vec![&a],
        ),
        (format!("body={}", json(r#"{"customer":{}}"#)), vec![&a, &b]),
        (format!("body={}", json(r#"{"amount":"10"}"#)), vec![]),
        (format!("body={}", json(r#"{"n":null}"#)), vec![&e]),
        (
            format!("query=paid&body={}", json(r#"{"amount":10}"#)),
            vec![&a],
        ),
        (
            format!(
                "query={}&body={}",
                json(r#"{"amount":20}"#),
                json(r#"{"customer":{"id":"cus_1"}}"#)
            ),
            vec![&b],
        ),
        (
            format!("startDate={}&endDate={}", date(-60), date(60)),
            vec![&a, &b, &c, &d, &e],
        ),
        (
            format!("startDate={}&endDate={}", date(-7200), date(-3600)),
            vec![],
        ),
        (
            format!("startDate={}&endDate={}", date(3600), date(7200)),
            vec![],
        ),
        (format!("endDate={}", date(-3600)), vec![]),
        (
            format!("startDate={}", date(-3600)),
            vec![&a, &b, &c, &d, &e],
        ),
    ];
    assert_found(&mut project, "/events", &cases).await;
}

#[tokio::test]
async fn deliveries_are_found_by_every_filter() {
    let receiver = Receiver::with(|request| match request.path_and_query.as_str() {
        "/bad" => Fault::Status(500),
        _ => Fault::None,
    })
    .await;
    let (_outrider, mut project) = outgoing().await;
    let mut made = Vec::new();
    for name in ["good", "bad", "paused"] {
        let url = receiver.url(&format!("/{name}"));
        let owner = json!({"owner_id": "ann"});
        let endpoint = project.make_endpoint(name, &url, &owner).await;
        let types: &[&str] = if name == "good" {
            &["*"]
        } else {
            &["invoice.paid"]
        };
        let subscription = project.subscribe(&endpoint, types).await;
        made.push((endpoint, subscription));
    }
    let [(good, to_good), (bad, to_bad), (paused, to_paused)] = &made[..] else {
        unreachable!()
    };
    let pause = format!("/endpoints/{paused}/pause");
    project.put(&pause, &json!({})).await.data(202);
    let all = json!({
        "owner_id": "ann", "event_type": "invoice.paid", "data": 1, "idempotency_key": "key-1",
    });
    let first = project.post("/events/fanout", &all).await.event_uid();
    let second = publish(
        &mut project,
        json!({
            "endpoint_id": good, "event_type": "order.made", "data": 2, "idempotency_key": "key-2",
        }),
    )
    .await;
    // No subscription of this one wants the type: there is no delivery.
    let none = publish(
        &mut project,
        json!({"endpoint_id": bad, "event_type": "order.made", "data": 3}),
    )
    .await;
    until("all have ended but the held one", DEADLINE, async || {
        let rows = project
            .rows("/eventdeliveries?status=Success&status=Failure")
            .await;
        (rows.len() == 3).then_some(())
    })
    .await;
    let rows = project.rows("/eventdeliveries").await;
    let of = |event: &str, endpoint: &str| {
        let found: Vec<&Value> = rows
            .iter()
            .filter(|row| row["event_id"] == event && row["endpoint_id"] == endpoint)
            .collect();
        assert_eq!(found.len(), 1, "{rows:?}");
        uid_of(found[0])
    };
    let (g, b, p, s) = (
        of(&first, good),
        of(&first, bad),
        of(&first, paused),
        of(&second, good),
    );
    assert_eq!(rows.len(), 4);
    let everything = || vec![&g, &b, &p, &s];
    let cases: Vec<(String, Vec<&String>)> = vec![
        (format!("endpointId={good}"), vec![&g, &s]),
        (
            format!("endpointId={good}&endpointId={bad}"),
            vec![&g, &s, &b],
        ),
        (format!("endpointId={good}&endpointId={good}"), vec![&g, &s]),
        (format!("eventId={first}"), vec![&g, &b, &p]),
        (format!("eventId={second}"), vec![&s]),
        (format!("eventId={none}"), vec![]),
        (format!("subscriptionId={to_good}"), vec![&g, &s]),
        (format!("subscriptionId={to_bad}"), vec![&b]),
        (
            format!("subscriptionId={to_paused}&endpointId={good}"),
            vec![],
        ),
        ("idempotencyKey=key-1".into(), vec![&g, &b, &p]),
        ("idempotencyKey=key-2".into(), vec![&s]),
        ("eventType=invoice.paid".into(), vec![&g, &b, &p]),
        ("event_type=invoice.paid".into(), vec![&g, &b, &p]),
        ("eventType=order.made".into(), vec![&s]),
        ("event_type=order.made".into(), vec![&s]),
        ("eventType=invoice".into(), vec![]),
        ("event_type=INVOICE.PAID".into(), vec![]),
        ("status=Success".into(), vec![&g, &s]),
        ("status=Failure".into(), vec![&b]),
        ("status=Scheduled".into(), vec![&p]),
        ("status=Retry".into(), vec![]),
        ("status=Discarded&status=Processing".into(), vec![]),
        ("status=Success&status=Failure".into(), vec![&g, &s, &b]),
        (
            "status=Failure&status=Scheduled&status=Failure".into(),
            vec![&b, &p],
        ),
        ("status=".into(), everything()),
        (
            format!("status=Success&eventId={first}&endpointId={good}&event_type=invoice.paid"),
            vec![&g],
        ),
        (
            format!("status=Failure&eventId={first}&endpointId={good}"),
            vec![],
        ),
        (
            format!("startDate={}&endDate={}", date(-60), date(60)),
            everything(),
        ),
        (
            format!("startDate={}&endDate={}", date(-7200), date(-3600)),
            vec![],
        ),
        (format!("startDate={}", date(-60)), everything()),
        (format!("endDate={}", date(-60)), vec![]),
    ];
    assert_found(&mut project, "/eventdeliveries", &cases).await;

    let failed = rows.iter().find(|row| row["uid"] == *b).unwrap();
    assert_eq!(failed["description"], "Retry limit exceeded");
    assert_eq!(failed["metadata"]["num_trials"], 2);
    let event = project.get(&format!("/events/{none}")).await.data(200);
    assert_eq!(event["status"], "Failure");
    assert_eq!(
        event["failure_reason"],
        "no subscription matched this event"
    );
    assert_eq!(event["endpoints"], json!([]));
    let event = project.get(&format!("/events/{first}")).await.data(200);
    assert_eq!(event["status"], "Success");
    assert!(event.get("failure_reason").is_none(), "{event}");
    let to: Vec<String> = serde_json::from_value(event["endpoints"].clone()).unwrap();
    assert_eq!(
        sorted(to),
        sorted(vec![good.clone(), bad.clone(), paused.clone()])
    );
}

#[tokio::test]
async fn incoming_events_are_read_back_as_they_came() {
    let receiver = Receiver::start().await;
    let (outrider, mut project) = incoming().await;
    let endpoint = project
        .make_endpoint("backend", &receiver.url("/in"), &json!({}))
        .await;
    let location = json!({"event_type_location": "request.query.kind"});
    let (wanted, mask) = project.make_source("shop-orders", &location).await;
    let subscription = project.subscribe_to(&endpoint, &wanted).await;
    let (unwanted, other_mask) = project.make_source("stock", &json!({})).await;

    let mut provider = outrider.client();
    let headers = [
        ("content-type", "application/xml"),
        ("x-trace", "one"),
        ("x-trace", "two"),
        ("authorization", "Basic cHJpdmF0ZQ=="),
        ("cookie", "session=private"),
    ];
    let xml = "<order>\n  <id>7 &amp; \u{e9}</id>\n</order>\n";
    let path = format!("/ingest/{mask}?kind=order.made&a=%20b");
    let a = provider
        .post(&path, &headers, xml)
        .await
        .unwrap()
        .event_uid();
    let binary = b"\xff\xfe{not text}".as_slice();
    let b = provider
        .post(&format!("/ingest/{mask}?kind=order.sent"), &[], binary)
        .await
        .unwrap()
        .event_uid();
    let spaced = r#"{ "id" : 1.0 }"#;
    let c = provider
        .post(&format!("/ingest/{other_mask}"), &[], spaced)
        .await
        .unwrap()
        .event_uid();

    let cases: Vec<(String, Vec<&String>)> = vec![
        (String::new(), vec![&a, &b, &c]),
        (format!("sourceId={wanted}"), vec![&a, &b]),
        (format!("sourceId={unwanted}"), vec![&c]),
        (
            format!("sourceId={wanted}&sourceId={unwanted}"),
            vec![&a, &b, &c],
        ),
        (
            format!("sourceId={wanted}&endpointId={endpoint}"),
            vec![&a, &b],
        ),
        (format!("sourceId={unwanted}&endpointId={endpoint}"), vec![]),
        ("query=order.sent".into(), vec![&b]),
        ("query=shop-ord".into(), vec![&a, &b]),
        (format!("body={}", percent(r#"{"id":1}"#)), vec![&c]),
    ];
    assert_found(&mut project, "/events", &cases).await;

    let event = project.get(&format!("/events/{a}")).await.data(200);
    assert_eq!(event["event_type"], "order.made");
    assert_eq!(event["source_id"], wanted);
    assert_eq!(event["source_metadata"]["name"], "shop-orders");
    assert_eq!(event["data"], json!(null), "no JSON");
    assert_eq!(event["raw"], xml);
    assert_eq!(event["url_query_params"], "kind=order.made&a=%20b");
    assert_eq!(event["url_path"], format!("/ingest/{mask}"));
    assert_eq!(event["headers"]["x-trace"], json!(["one", "two"]));
    assert_eq!(event["headers"]["x-convoy-source-id"], json!([mask]));
    assert_eq!(event["headers"]["content-type"], json!(["application/xml"]));
    for private in ["authorization", "cookie"] {
        assert!(event["headers"].get(private).is_none(), "{event}");
    }
    let delivery = project.delivery(&a, "Success").await;
    assert_eq!(delivery["subscription_id"], subscription);
    assert_eq!(delivery["source_metadata"]["uid"], wanted);
    assert_eq!(delivery["metadata"]["raw"], xml);
    assert_eq!(delivery["metadata"]["data"], json!(null));
    project.delivery(&b, "Success").await;

    let event = project.get(&format!("/events/{c}")).await.data(200);
    assert_eq!(
        (&event["event_type"], &event["status"]),
        (&json!(other_mask), &json!("Failure"))
    );
    assert_eq!(
        event["failure_reason"],
        "no subscription matched this event"
    );
    assert_eq!(event["raw"], spaced);
    let text = project.get(&format!("/events/{c}")).await.text();
    assert!(
        text.contains(r#""data":{ "id" : 1.0 }"#) || text.contains(r#""data":{"id":1.0}"#),
        "{text}"
    );
    assert_eq!(
        project.rows(&format!("/eventdeliveries?eventId={c}")).await,
        [json!(null); 0]
    );

    let received = receiver.wait_for(2, DEADLINE).await;
    let bodies: Vec<&[u8]> = received.iter().map(|request| &request.body[..]).collect();
    assert!(
        bodies.contains(&xml.as_bytes()) && bodies.contains(&binary),
        "{bodies:?}"
    );
}
