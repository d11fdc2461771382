//! Replay: the same event, through the subscriptions of today, with deliveries of its own.

use std::collections::HashMap;

use http::Method;
use serde_json::{Value, json};

use super::super::harness::{Api, DEADLINE, Fault, Reply, uid_of, until};
use super::{Moody, assert_log_is_sound, batch, publish, start, start_slow, with_status};

const NO_SUCH_ID: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

async fn replay(project: &mut Api, event: &str) -> Reply {
    let path = format!("/events/{event}/replay");
    project.call(Method::PUT, &path, None).await
}

#[tokio::test]
async fn what_is_no_event_is_not_replayed_and_a_batch_does_not_search() {
    let moody = Moody::start(Fault::None).await;
    let (outrider, mut project, endpoint) = start(&moody, 1).await;
    let events = publish(&mut project, &endpoint, 1).await;
    let delivery = uid_of(&project.delivery(&events[0], "Success").await);
    for id in [NO_SUCH_ID, "x", &*delivery] {
        assert_eq!(
            replay(&mut project, id).await.refusal(404),
            "event not found"
        );
    }
    let mut other = outrider
        .admin_api()
        .make_project("other", "outgoing", &json!({}))
        .await;
    assert_eq!(
        replay(&mut other, &events[0]).await.refusal(404),
        "event not found"
    );
    for query in ["query=x", "body=%7B%22n%22:1%7D", "startDate=yesterday"] {
        let path = format!("/events/batchreplay?{query}");
        project.call(Method::POST, &path, None).await.refusal(400);
        let path = format!("/events/countbatchreplayevents?{query}");
        project.get(&path).await.refusal(400);
    }
    assert_eq!(moody.receiver.received().len(), 1);
}

#[tokio::test]
async fn a_replay_asks_the_subscriptions_of_today_and_keeps_the_id() {
    let moody = Moody::start(Fault::None).await;
    let (mut outrider, mut project, before) = start(&moody, 10).await;
    let now = project
        .make_endpoint("now", &moody.receiver.url("/now"), &json!({}))
        .await;
    let subscription = project.subscribe(&before, &["paid"]).await;
    let body = json!({
        "event_type": "paid", "data": {"n": 1}, "idempotency_key": "key",
        // Who sends an event does not say that it is a replay.
        "custom_headers": {"outrider-replay": "7", "x-own": "kept"},
    });
    let event = project.post("/events/broadcast", &body).await.event_uid();
    project.delivery(&event, "Success").await;
    project
        .delete(&format!("/subscriptions/{subscription}"))
        .await
        .data(200);
    project.subscribe(&now, &["paid"]).await;

    for number in 1..=2 {
        let replayed = replay(&mut project, &event).await.data(200);
        assert_eq!(replayed["uid"], event);
        let received = moody.receiver.wait_for(1 + number, DEADLINE).await;
        let (first, again) = (&received[0], &received[number]);
        assert_eq!(
            (&*first.path_and_query, first.header("outrider-replay")),
            ("/in", "")
        );
        assert_eq!(again.path_and_query, "/now");
        assert_eq!(again.header("outrider-replay"), number.to_string());
        for name in ["webhook-id", "x-convoy-idempotency-key", "x-own"] {
            assert_eq!(again.header(name), first.header(name), "{name}");
            assert_ne!(again.header(name), "", "{name}");
        }
        assert_eq!(again.body, first.body);
        let own = "x-convoy-eventdelivery-id";
        assert_ne!(again.header(own), first.header(own));
    }
    // To people it is one event with three deliveries, and no repeat.
    assert_eq!(project.uids("/events").await, [&*event]);
    let deliveries = project
        .rows(&format!("/eventdeliveries?eventId={event}"))
        .await;
    let endpoints: Vec<&Value> = deliveries.iter().map(|row| &row["endpoint_id"]).collect();
    assert_eq!(endpoints, [&json!(now), &json!(now), &json!(before)]);
    assert!(deliveries.iter().all(|row| row["event_id"] == event));
    let path = format!("/events/{event}/explain");
    let told = project.get(&path).await.data(200);
    assert_eq!(
        (&told["replays"], &told["repeats"]),
        (&json!(2), &json!([]))
    );
    assert_eq!(told["deliveries"][2]["replay"], 2);
    // Its key is still the first one's.
    let repeat = project.post("/events/broadcast", &body).await.data(201);
    assert_eq!(
        (&repeat["uid"], &repeat["duplicate"]),
        (&json!(event), &json!(true))
    );
    assert_log_is_sound(&mut outrider).await;
}

#[tokio::test]
async fn a_replay_survives_a_kill_and_is_retried_as_the_one_it_is() {
    let moody = Moody::start(Fault::None).await;
    let (mut outrider, mut project, endpoint) = start(&moody, 10).await;
    let events = publish(&mut project, &endpoint, 1).await;
    project.delivery(&events[0], "Success").await;
    moody.will(Fault::Stall);
    replay(&mut project, &events[0]).await.data(200);
    moody.receiver.wait_for(2, DEADLINE).await;
    outrider.kill();
    moody.will(Fault::None);
    outrider.start().await;
    let received = moody.receiver.wait_for(3, DEADLINE).await;
    for again in &received[1..] {
        assert_eq!(
            (again.webhook_id(), again.header("outrider-replay")),
            (&*events[0], "1")
        );
    }
    with_status(&mut project, "Success", 2).await;
    replay(&mut project, &events[0]).await.data(200);
    let received = moody.receiver.wait_for(4, DEADLINE).await;
    assert_eq!(received[3].header("outrider-replay"), "2");
    assert_log_is_sound(&mut outrider).await;
}

#[tokio::test]
async fn a_batch_of_replays_says_how_it_went() {
    let moody = Moody::start(Fault::None).await;
    let (mut outrider, mut project, endpoint) = start(&moody, 1).await;
    publish(&mut project, &endpoint, 5).await;
    let keyed =
        json!({"endpoint_id": endpoint, "event_type": "a", "data": {}, "idempotency_key": "k"});
    for _ in 0..2 {
        project.post("/events", &keyed).await.data(201);
    }
    with_status(&mut project, "Success", 6).await;
    let count = project
        .get("/events/countbatchreplayevents")
        .await
        .data(200);
    assert_eq!(count, json!({"num": 7}));
    let reply = project
        .call(Method::POST, "/events/batchreplay", None)
        .await;
    assert_eq!(reply.json()["message"], "6 successful, 1 failed");
    assert_eq!(reply.data(200), Value::Null);
    assert_eq!(
        batch(&mut project, "finished").await["left_out"],
        json!({"repeat": 1})
    );
    with_status(&mut project, "Success", 12).await;
    let none = "/events/batchreplay?idempotencyKey=nobody";
    let reply = project.call(Method::POST, none, None).await;
    assert_eq!(reply.json()["message"], "0 successful, 0 failed");
    assert_log_is_sound(&mut outrider).await;
}

#[tokio::test]
async fn a_batch_of_replays_that_a_kill_cuts_short_replays_each_event_once() {
    let moody = Moody::start(Fault::None).await;
    let (mut outrider, mut project, endpoint) = start_slow(&moody, 10).await;
    let events = publish(&mut project, &endpoint, 350).await;
    with_status(&mut project, "Success", 350).await;
    let mut caller = project.again();
    let begun = tokio::spawn(async move {
        let reply = caller.call(Method::POST, "/events/batchreplay", None).await;
        reply.status
    });
    // At two different moments of its steps.
    for least in [50, 150] {
        let received = moody.receiver.wait_for(350 + least, DEADLINE).await;
        assert!(received.len() < 700, "it was over too soon");
        outrider.kill();
        outrider.start().await;
    }
    // The connection of the call that began it is gone.
    assert!(begun.await.is_err());
    let ended = batch(&mut project, "finished").await;
    assert_eq!(
        (&ended["total"], &ended["done"]),
        (&json!(350), &json!(350))
    );
    with_status(&mut project, "Success", 700).await;
    let mut numbers: HashMap<String, Vec<String>> = HashMap::new();
    for request in moody.receiver.received() {
        let of = numbers.entry(request.webhook_id().to_owned()).or_default();
        of.push(request.header("outrider-replay").to_owned());
    }
    for event in &events {
        let of = numbers.get_mut(event).unwrap();
        of.sort_unstable();
        // An attempt that a kill cut short was made again.
        of.dedup();
        assert_eq!(of, &["", "1"], "{event}");
    }
    until("nothing is open", DEADLINE, async || {
        let open = "/eventdeliveries?status=Scheduled&status=Retry&status=Processing";
        project.rows(open).await.is_empty().then_some(())
    })
    .await;
    assert_log_is_sound(&mut outrider).await;
}
