//! A replay of an ordered event: another delivery, apart from the order, that says so.

use std::sync::{Arc, Mutex};

use http::Method;
use serde_json::{Value, json};

use super::super::harness::{
    Api, DEADLINE, Fault, Outrider, Received, Receiver, explain, uid_of, until,
};
use super::{KEYS, field, is_late, publish, start};

/// A receiver that fails what it is told to.
async fn failing(
    fails: impl Fn(&Received) -> bool + Send + Sync + 'static,
) -> (Receiver, Arc<Mutex<bool>>) {
    let is_failing = Arc::new(Mutex::new(true));
    let now = Arc::clone(&is_failing);
    let receiver = Receiver::with(
        move |request| match *now.lock().unwrap() && fails(request) {
            true => Fault::Status(500),
            false => Fault::None,
        },
    )
    .await;
    (receiver, is_failing)
}

async fn replay(project: &mut Api, event: &str) {
    let path = format!("/events/{event}/replay");
    project.call(Method::PUT, &path, None).await.data(200);
}

fn is_replay(request: &Received, number: u32) -> bool {
    request.header("outrider-replay") == number.to_string()
}

async fn explained(project: &mut Api, event: &str) -> Value {
    let path = format!("/events/{event}/explain");
    project.get(&path).await.data(200)
}

/// The text of `outrider explain`.
async fn told(outrider: &Outrider, event: &str) -> String {
    let api = format!("http://{}", outrider.api());
    let key = outrider.admin_key();
    let ended = explain(&[event, "--api", &api, "--key", &key]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    ended.output
}

#[tokio::test]
async fn a_replay_waits_for_nobody_says_so_and_leaves_no_gap_over_crashes() {
    // The second of the line holds it up, and the second replay does not get through.
    let (receiver, is_failing) =
        failing(|request| field(request, "n") == KEYS || is_replay(request, 2)).await;
    let (mut outrider, mut project, endpoint) = start(&receiver, 3600).await;
    publish(&mut project, &endpoint, 0..1).await;
    let first = receiver.wait_for(1, DEADLINE).await.remove(0);
    let event = first.webhook_id().to_owned();
    project.delivery(&event, "Success").await;
    publish(&mut project, &endpoint, KEYS..KEYS + 1).await;
    receiver.wait_for(2, DEADLINE).await;
    publish(&mut project, &endpoint, 2 * KEYS..2 * KEYS + 1).await;

    for number in 1..=2 {
        replay(&mut project, &event).await;
        let come = |received: &[Received]| received.iter().any(|one| is_replay(one, number));
        receiver.wait_until("it came", DEADLINE, come).await;
    }
    outrider.kill(); // it is apart after a start as well
    let before = receiver.received().len();
    outrider.start().await;
    let again = |received: &[Received]| received[before..].iter().any(|one| is_replay(one, 2));
    receiver.wait_until("it came again", DEADLINE, again).await;
    check_explained(&outrider, &mut project, &event).await;
    cancel_replay(&mut project, &event).await;

    outrider.kill(); // and what ended is no gap
    outrider.start().await;
    *is_failing.lock().unwrap() = false;
    let received = receiver
        .wait_until("the line went on", DEADLINE, |received| {
            received.iter().any(|one| field(one, "n") == 2 * KEYS)
        })
        .await;
    for request in &received {
        let is_again = !request.header("outrider-replay").is_empty();
        assert_eq!(is_late(request), is_again, "{:?}", request.headers);
        assert_eq!(request.header("outrider-order-gap"), "");
        if is_again {
            let sequence = "outrider-order-sequence";
            assert_eq!(request.header(sequence), first.header(sequence));
            assert_eq!(request.webhook_id(), event);
        }
    }
    let last = received.last().unwrap();
    assert!(field(last, "n") == 2 * KEYS && last.is_success());
}

/// The first delivery went in its order, the replays did not.
async fn check_explained(outrider: &Outrider, project: &mut Api, event: &str) {
    let is_attempted = |one: &Value| one["attempts"].get(0).is_some();
    let deliveries = until("all have an attempt", DEADLINE, async || {
        let told = explained(project, event).await["deliveries"].clone();
        let all = told.as_array().unwrap();
        (all.len() == 3 && all.iter().all(is_attempted)).then_some(told)
    })
    .await;
    let order = |n: usize| deliveries[n]["order"].clone();
    assert_eq!(
        (&order(0)["goes"], &order(0)["parked_at"]),
        (&json!("in_line"), &Value::Null)
    );
    assert_eq!(deliveries[0]["attempts"][0]["order"], "in_line");
    for n in 1..=2 {
        assert_eq!(
            (&order(n)["goes"], &order(n)["why"]),
            (&json!("apart"), &json!("replay"))
        );
        assert_eq!(deliveries[n]["attempts"][0]["order"], "apart");
    }
    let text = told(outrider, event).await;
    for part in ["it went in the order of its key", "it is of a replay"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

async fn cancel_replay(project: &mut Api, event: &str) {
    let path = format!("/eventdeliveries?eventId={event}&status=Retry");
    let waiting = until("it waits for its retry", DEADLINE, async || {
        project.rows(&path).await.pop()
    })
    .await;
    let path = format!("/eventdeliveries/{}/cancel", uid_of(&waiting));
    project.call(Method::PUT, &path, None).await.data(200);
    until("the replay is cancelled", DEADLINE, async || {
        let deliveries = explained(project, event).await["deliveries"].clone();
        (deliveries[2]["status"] == "Discarded").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_gap_is_not_filled_by_a_replay_of_it() {
    // The first one is parked, and only its replay arrives.
    let (receiver, is_failing) =
        failing(|request| field(request, "n") == 0 && request.header("outrider-replay").is_empty())
            .await;
    let (_outrider, mut project, endpoint) = start(&receiver, 1).await;
    publish(&mut project, &endpoint, 0..1).await;
    let parked = receiver
        .wait_until("it is parked", DEADLINE, |received| {
            received.iter().any(is_late)
        })
        .await;
    let event = parked[0].webhook_id().to_owned();
    replay(&mut project, &event).await;
    let come = |received: &[Received]| received.iter().any(|one| is_replay(one, 1));
    receiver.wait_until("the replay came", DEADLINE, come).await;
    until("the replay arrived", DEADLINE, async || {
        let rows = project
            .rows(&format!("/eventdeliveries?eventId={event}&status=Success"))
            .await;
        (rows.len() == 1).then_some(())
    })
    .await;
    publish(&mut project, &endpoint, KEYS..KEYS + 1).await;
    let next = |received: &[Received]| received.iter().any(|one| field(one, "n") == KEYS);
    let received = receiver.wait_until("the next came", DEADLINE, next).await;
    let next = received.iter().find(|one| field(one, "n") == KEYS).unwrap();
    // That delivery is still on its way.
    assert_eq!(next.header("outrider-order-gap"), event);

    *is_failing.lock().unwrap() = false;
    until("it arrived late", DEADLINE, async || {
        let rows = project
            .rows(&format!("/eventdeliveries?eventId={event}&status=Success"))
            .await;
        (rows.len() == 2).then_some(())
    })
    .await;
    let deliveries = explained(&mut project, &event).await["deliveries"].clone();
    let order = &deliveries[0]["order"];
    assert_eq!(
        (&order["goes"], &order["why"]),
        (&json!("apart"), &json!("parked"))
    );
    let attempts = deliveries[0]["attempts"].as_array().unwrap();
    let at = attempts.iter().position(|one| one["parked"] == true);
    let at = at.unwrap();
    assert!(order["parked_at"].is_string(), "{order}");
    assert!(attempts[..=at].iter().all(|one| one["order"] == "in_line"));
    let late = &attempts[at + 1..];
    assert!(!late.is_empty() && late.iter().all(|one| one["order"] == "apart"));
    // The list of attempts says the same.
    let path = format!(
        "/eventdeliveries/{}/deliveryattempts",
        deliveries[0]["uid"].as_str().unwrap()
    );
    let listed = project.get(&path).await.data(200);
    let said = |one: &Value| (one["order"].clone(), one["parked"].clone());
    let same: Vec<_> = attempts.iter().map(said).collect();
    let listed: Vec<_> = listed.as_array().unwrap().iter().map(said).collect();
    assert_eq!(listed, same);
}
