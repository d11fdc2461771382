//! Order keys: what belongs together arrives one after the other, also over crashes, and what is
//! missing is told.

mod replay;
mod twice;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::harness::{Api, DEADLINE, Fault, Outrider, Received, Receiver, Setup, audit};

const KEYS: u64 = 50;
/// Events of the long test; `make crash` asks for 10,000.
const EVENTS: u64 = 1_500;
/// Events of one request.
const BATCH: u64 = 250;

/// A gateway whose endpoint gets events in the order of their `/k`, as the receiver allows.
async fn start(receiver: &Receiver, park_after_s: u64) -> (Outrider, Api, String) {
    start_with(receiver, park_after_s, 1).await
}

/// The same with so many subscriptions, each of which gets every event.
async fn start_with(
    receiver: &Receiver,
    park_after_s: u64,
    subscriptions: usize,
) -> (Outrider, Api, String) {
    let outrider = Setup::through_api().start().await;
    let strategy = json!({"type": "linear", "duration": 1, "retry_count": 50});
    let config = json!({
        "strategy": strategy, "circuit_breaker": {"is_enabled": false},
        "multiple_endpoint_subscriptions": subscriptions > 1,
    });
    let mut admin = outrider.admin_api();
    let mut project = admin.make_project("shop", "outgoing", &config).await;
    let endpoint = project
        .make_endpoint("e", &receiver.url("/in"), &json!({}))
        .await;
    let order = json!({"key": "pointer", "pointer": "/k", "park_after_s": park_after_s});
    let subscription = json!({"name": "in order", "endpoint_id": endpoint, "order": order});
    for _ in 0..subscriptions {
        let made = project.post("/subscriptions", &subscription).await;
        assert_eq!(made.data(201)["order"]["pointer"], "/k");
    }
    (outrider, project, endpoint)
}

fn field(request: &Received, name: &str) -> u64 {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    body[name].as_u64().unwrap()
}

fn is_late(request: &Received) -> bool {
    request.header("outrider-order-late") == "true"
}

/// Publishes the numbers of a range; the key of each is its remainder.
async fn publish(project: &mut Api, endpoint: &str, numbers: std::ops::Range<u64>) {
    let events = numbers.map(
        |n| json!({"endpoint_id": endpoint, "event_type": "a", "data": {"k": n % KEYS, "n": n}}),
    );
    let body = json!({"events": events.collect::<Vec<_>>()});
    let reply = project.post("/events/batch", &body).await;
    let items = reply.data(200);
    let items = items.as_array().unwrap().iter();
    assert!(items.clone().all(|item| item["status"] == 201), "{items:?}");
}

#[tokio::test]
async fn one_of_a_key_after_the_other_over_crashes_and_what_is_parked_is_told() {
    let events = std::env::var("OUTRIDER_ORDER_EVENTS");
    let events = events.map_or(EVENTS, |count| count.parse().unwrap());
    // One attempt in twenty fails, and one event in 301 often enough to be parked.
    let receiver = Receiver::with(|request| {
        let n = field(request, "n");
        let is_stubborn = n % 301 == 7 && request.attempt <= 4;
        match is_stubborn || (n + u64::from(request.attempt) * 7).is_multiple_of(20) {
            true => Fault::Status(500),
            false => Fault::None,
        }
    })
    .await;
    let (mut outrider, mut project, endpoint) = start(&receiver, 2).await;
    let mut from = 0;
    while from < events {
        publish(&mut project, &endpoint, from..events.min(from + BATCH)).await;
        if from == events / 3 / BATCH * BATCH || from == events * 2 / 3 / BATCH * BATCH {
            let some = usize::try_from(from * 3 / 4).unwrap();
            receiver.wait_for(some, DEADLINE).await;
            outrider.kill();
            outrider.start().await;
        }
        from += BATCH;
    }
    let all = usize::try_from(events).unwrap();
    let received = receiver
        .wait_until("all of them arrived", 5 * DEADLINE, |received| {
            let arrived = received.iter().filter(|one| one.is_success());
            let numbers: BTreeSet<u64> = arrived.map(|one| field(one, "n")).collect();
            numbers.len() == all
        })
        .await;
    let parked = check_order(&received);
    eprintln!("{} requests, {parked} parked", received.len());
    assert!(parked > 0, "nothing was parked");
    outrider.terminate().await;
    let audit = audit(&outrider.data_dir(), &[]).await;
    assert_eq!(audit.code, Some(0), "{}", audit.output);
}

/// Each key's events arrived in order, repeats right after each other, but for those that say
/// that they are late: the ones in between name them. Returns how many were late.
fn check_order(received: &[Received]) -> usize {
    let mut by_key: BTreeMap<u64, Vec<&Received>> = BTreeMap::new();
    for request in received {
        by_key.entry(field(request, "k")).or_default().push(request);
    }
    let mut late = 0;
    for (key, requests) in by_key {
        let mut last = None;
        // Those that were passed over, by number, until they arrive late.
        let mut arrived = BTreeSet::new();
        for request in requests.iter().filter(|one| !is_late(one)) {
            let n = field(request, "n");
            assert!(last <= Some(n), "key {key}: {n} after {last:?}");
            last = Some(n);
            if request.is_success() {
                arrived.insert(n);
            }
        }
        for request in requests
            .iter()
            .filter(|one| is_late(one) && one.is_success())
        {
            late += usize::from(arrived.insert(field(request, "n")));
            let id = request.webhook_id();
            let at = requests.iter().position(|one| std::ptr::eq(*one, *request));
            let n = field(request, "n");
            // Every one of its key that came in between says that it is missing.
            let passing = requests[..at.unwrap()]
                .iter()
                .filter(|one| !is_late(one) && field(one, "n") > n);
            for other in passing {
                let gap = other.header("outrider-order-gap");
                assert!(
                    gap.split(',').any(|missing| missing == id),
                    "{n} not in {gap:?}"
                );
            }
        }
        let all: Vec<u64> = arrived.into_iter().collect();
        let steps = all.windows(2).all(|pair| pair[1] - pair[0] == KEYS);
        assert!(steps, "key {key}: {all:?}");
    }
    late
}

#[tokio::test]
async fn a_key_that_fails_holds_up_no_other() {
    let receiver = Receiver::with(|request| match field(request, "k") {
        0 => Fault::Status(500),
        _ => Fault::None,
    })
    .await;
    let (_outrider, mut project, endpoint) = start(&receiver, 3600).await;
    publish(&mut project, &endpoint, 0..200).await;
    let received = receiver
        .wait_until("the others arrived", DEADLINE, |received| {
            received.iter().filter(|one| one.is_success()).count() == 196
        })
        .await;
    let of_key_0 = received.iter().filter(|one| field(one, "k") == 0);
    assert!(of_key_0.clone().all(|one| field(one, "n") == 0));
    let sequence = |one: &Received| {
        one.header("outrider-order-sequence")
            .parse::<u64>()
            .unwrap()
    };
    let of_key_1: Vec<u64> = received
        .iter()
        .filter(|one| field(one, "k") == 1)
        .map(sequence)
        .collect();
    assert!(of_key_1.is_sorted() && of_key_1.len() == 4, "{of_key_1:?}");
}

#[tokio::test]
async fn a_dead_letter_is_told_to_the_next_one_and_a_resend_comes_apart() {
    let receiver = Receiver::with(|request| match (field(request, "n"), request.attempt) {
        (0, 1) => Fault::Status(413),
        _ => Fault::None,
    })
    .await;
    let (mut outrider, mut project, endpoint) = start(&receiver, 3600).await;
    publish(&mut project, &endpoint, 0..1).await;
    let dead = receiver.wait_for(1, DEADLINE).await[0]
        .webhook_id()
        .to_owned();
    project.delivery(&dead, "Failure").await;
    outrider.kill(); // known after a start as well
    outrider.start().await;
    publish(&mut project, &endpoint, KEYS..KEYS + 1).await;
    let told = receiver.wait_for(2, DEADLINE).await;
    assert_eq!(told[1].header("outrider-order-gap"), dead);
    let told_id = told[1].webhook_id().to_owned();
    project.delivery(&told_id, "Success").await;
    publish(&mut project, &endpoint, 2 * KEYS..2 * KEYS + 1).await;
    assert_eq!(
        receiver.wait_for(3, DEADLINE).await[2].header("outrider-order-gap"),
        ""
    );
    let failed = project.delivery(&dead, "Failure").await;
    let path = format!(
        "/eventdeliveries/{}/resend",
        super::harness::uid_of(&failed)
    );
    project.put(&path, &Value::Null).await.data(200);
    let again = receiver.wait_for(4, DEADLINE).await;
    assert!(is_late(&again[3]) && again[3].webhook_id() == dead);
    project.delivery(&dead, "Success").await;
    let path = format!("/events/{dead}/explain");
    let order = project.get(&path).await.data(200)["deliveries"][0]["order"].clone();
    assert_eq!(
        (&order["goes"], &order["why"]),
        (&json!("apart"), &json!("asked_again"))
    );
}

#[tokio::test]
async fn what_is_no_order_is_refused_by_name() {
    let receiver = Receiver::start().await;
    let (_outrider, mut project, endpoint) = start(&receiver, 1).await;
    for (order, refusal) in [
        (
            json!({"key": "type"}),
            "`order.key`: must be `endpoint`, `header`, `pointer` or `none`",
        ),
        (
            json!({"key": "pointer", "pointer": "k"}),
            "`order.pointer`: must be a JSON pointer",
        ),
        (
            json!({"key": "endpoint", "park_after_s": 604_801}),
            "`order.park_after_s`: must be from 1 to 604800",
        ),
    ] {
        let body = json!({"name": "s", "endpoint_id": endpoint, "order": order});
        let refused = project.post("/subscriptions", &body).await.refusal(400);
        assert!(refused.contains(refusal), "{refused}");
    }
}
