//! Batches: counted before, watched while they go, stopped, and not repeated by a kill.

use std::collections::BTreeSet;

use std::collections::HashMap;

use http::Method;
use serde_json::{Value, json};

use super::super::harness::{Api, DEADLINE, Fault, Reply};
use super::{Moody, assert_log_is_sound, batch, publish, start, start_slow, total, with_status};

async fn post(project: &mut Api, path: &str) -> Reply {
    project.call(Method::POST, path, None).await
}

async fn count(project: &mut Api, query: &str) -> Value {
    let path = format!("/eventdeliveries/countbatchretryevents{query}");
    project.get(&path).await.data(200)
}

#[tokio::test]
async fn bad_filters_and_unknown_batches_are_refused() {
    let moody = Moody::start(Fault::None).await;
    let (_outrider, mut project, _) = start(&moody, 1).await;
    for query in [
        "?status=Lost",
        "?startDate=yesterday",
        "?reason=lost",
        "?reason=gone&reason=Gone",
        "?reason=endpoint_paused&endpointId=x",
    ] {
        let retry = format!("/eventdeliveries/batchretry{query}");
        post(&mut project, &retry).await.refusal(400);
        let cancel = format!("/eventdeliveries/batchcancel{query}");
        post(&mut project, &cancel).await.refusal(400);
        let count = format!("/eventdeliveries/countbatchretryevents{query}");
        project.get(&count).await.refusal(400);
        for list in ["/deadletters", "/eventdeliveries"] {
            project.get(&format!("{list}{query}")).await.refusal(400);
        }
    }
    let refused = project.get("/deadletters?reason=lost").await.refusal(400);
    let says = "`reason` must be one of retry_limit_exceeded, age_limit_exceeded, gone,";
    assert!(refused.starts_with(says), "{refused}");
    for id in ["x", "01ARZ3NDEKTSV4RRFFQ69G5FAV"] {
        let path = format!("/batches/{id}");
        assert_eq!(project.get(&path).await.refusal(404), "batch not found");
        let stop = project.put(&format!("{path}/cancel"), &json!({})).await;
        assert_eq!(stop.refusal(404), "batch not found");
    }
    assert_eq!(
        project.get("/batches").await.data(200)["content"],
        json!([])
    );
}

#[tokio::test]
async fn a_batch_retry_is_about_what_failed_and_says_what_it_left_out() {
    let moody = Moody::start(Fault::None).await;
    let (mut outrider, mut project, endpoint) = start(&moody, 1).await;
    let other = project
        .make_endpoint("other", &moody.receiver.url("/other"), &json!({}))
        .await;
    publish(&mut project, &endpoint, 2).await;
    with_status(&mut project, "Success", 2).await;
    moody.will(Fault::Status(500));
    publish(&mut project, &endpoint, 5).await;
    publish(&mut project, &other, 3).await;
    with_status(&mut project, "Failure", 8).await;
    assert_eq!(count(&mut project, "").await, json!({"num": 8}));
    assert_eq!(
        count(&mut project, "?status=Success").await,
        json!({"num": 0})
    );
    let own = format!("?endpointId={endpoint}");
    assert_eq!(count(&mut project, &own).await, json!({"num": 5}));
    project
        .put(&format!("/endpoints/{other}/pause"), &json!({}))
        .await
        .data(202);

    moody.will(Fault::None);
    let reply = post(&mut project, "/eventdeliveries/batchretry").await;
    assert_eq!(reply.json()["message"], "Batch retry processing");
    assert_eq!(reply.data(200), Value::Null);
    let ended = batch(&mut project, "finished").await;
    let said = [
        &ended["kind"],
        &ended["total"],
        &ended["done"],
        &ended["left_out"],
    ];
    let expected = [
        json!("retry"),
        json!(8),
        json!(5),
        json!({"endpoint_paused": 3}),
    ];
    assert_eq!(
        said,
        [&expected[0], &expected[1], &expected[2], &expected[3]]
    );
    with_status(&mut project, "Success", 7).await;
    assert_eq!(moody.receiver.received().len(), 15);
    // What it is about is over, and so is it.
    let path = format!("/batches/{}", ended["uid"].as_str().unwrap());
    let stop = project.put(&format!("{path}/cancel"), &json!({})).await;
    assert_eq!(stop.refusal(400), "the batch is finished");
    assert_log_is_sound(&mut outrider).await;
}

#[tokio::test]
async fn dead_letters_have_their_reason() {
    let moody = Moody::start(Fault::Status(500)).await;
    let (_outrider, mut project, endpoint) = start(&moody, 1).await;
    publish(&mut project, &endpoint, 1).await;
    with_status(&mut project, "Failure", 1).await;
    moody.will(Fault::Status(413));
    publish(&mut project, &endpoint, 1).await;
    with_status(&mut project, "Failure", 2).await;
    moody.will(Fault::None);
    publish(&mut project, &endpoint, 1).await;
    with_status(&mut project, "Success", 1).await;
    let rows = project.rows("/deadletters").await;
    let reasons: Vec<&Value> = rows.iter().map(|row| &row["reason"]).collect();
    assert_eq!(
        reasons,
        [&json!("payload_too_large"), &json!("retry_limit_exceeded")]
    );
    let sent = project.rows("/eventdeliveries?status=Success").await;
    assert!(sent[0].get("reason").is_none(), "{sent:?}");
}

#[tokio::test]
async fn dead_letters_are_listed_and_tried_again_by_their_reason() {
    let moody = Moody::start(Fault::Status(500)).await;
    let (mut outrider, mut project, endpoint) = start(&moody, 1).await;
    publish(&mut project, &endpoint, 5).await;
    with_status(&mut project, "Failure", 5).await;
    moody.will(Fault::Status(413));
    let large = publish(&mut project, &endpoint, 3).await;
    with_status(&mut project, "Failure", 8).await;

    // Pages of it hold what they are asked for, both ways.
    let by = "/deadletters?reason=retry_limit_exceeded&perPage=2";
    let mut pages = vec![project.list(by).await];
    for _ in 0..2 {
        let next = pages.last().unwrap()["pagination"]["next_page_cursor"].clone();
        let path = format!(
            "{by}&direction=next&next_page_cursor={}",
            next.as_str().unwrap()
        );
        pages.push(project.list(&path).await);
    }
    let rows = |page: &Value| page["content"].as_array().unwrap().clone();
    let lengths: Vec<usize> = pages.iter().map(|page| rows(page).len()).collect();
    assert_eq!(lengths, [2, 2, 1]);
    assert_eq!(pages[2]["pagination"]["has_next_page"], false);
    let all: Vec<Value> = pages.iter().flat_map(rows).collect();
    assert!(
        all.iter()
            .all(|row| row["reason"] == "retry_limit_exceeded")
    );
    let uids: BTreeSet<&str> = all.iter().map(|row| row["uid"].as_str().unwrap()).collect();
    assert_eq!(uids.len(), 5);
    let back = pages[2]["pagination"]["prev_page_cursor"].clone();
    let path = format!(
        "{by}&direction=prev&prev_page_cursor={}",
        back.as_str().unwrap()
    );
    assert_eq!(rows(&project.list(&path).await), rows(&pages[1]));

    // With other conditions, of several reasons, and of none that there is.
    let both = "/deadletters?reason=payload_too_large&reason=retry_limit_exceeded&reason=";
    assert_eq!(project.rows(both).await.len(), 8);
    for none in [
        "/deadletters?reason=cancelled",
        "/eventdeliveries?reason=payload_too_large&status=Discarded",
        "/eventdeliveries?reason=payload_too_large&endpointId=01ARZ3NDEKTSV4RRFFQ69G5FAV",
    ] {
        assert_eq!(project.rows(none).await, [Value::Null; 0], "{none}");
    }
    let of_one = format!("/deadletters?reason=payload_too_large&eventId={}", large[0]);
    assert_eq!(project.rows(&of_one).await.len(), 1);

    // A batch is about those alone, and after a start the list is what it was.
    let query = "?reason=payload_too_large";
    assert_eq!(count(&mut project, query).await, json!({"num": 3}));
    moody.will(Fault::None);
    let retry = format!("/eventdeliveries/batchretry{query}");
    post(&mut project, &retry).await.data(200);
    let ended = batch(&mut project, "finished").await;
    assert_eq!((&ended["total"], &ended["done"]), (&json!(3), &json!(3)));
    with_status(&mut project, "Success", 3).await;
    assert_eq!(count(&mut project, query).await, json!({"num": 0}));
    outrider.kill();
    outrider.start().await;
    let left = project
        .rows("/deadletters?reason=retry_limit_exceeded")
        .await;
    assert_eq!(left.len(), 5);
    assert_eq!(total(&mut project, "Failure").await, 5);
    assert_log_is_sound(&mut outrider).await;
}

#[tokio::test]
async fn a_batch_that_a_kill_cuts_short_goes_on_and_repeats_nothing() {
    let moody = Moody::start(Fault::Status(500)).await;
    let (mut outrider, mut project, endpoint) = start_slow(&moody, 1).await;
    let events = publish(&mut project, &endpoint, 350).await;
    with_status(&mut project, "Failure", 350).await;
    moody.will(Fault::None);
    post(&mut project, "/eventdeliveries/batchretry")
        .await
        .data(200);
    // The second of a project has to wait.
    let second = post(&mut project, "/eventdeliveries/batchretry").await;
    assert_eq!(second.refusal(400), "an active batch retry already exists");
    super::until("it has begun", DEADLINE, async || {
        let all = project.get("/batches").await.data(200);
        let batch = all["content"][0].clone();
        (batch["done"].as_u64() > Some(0)).then_some(())
    })
    .await;
    outrider.kill();
    outrider.start().await;
    let ended = batch(&mut project, "finished").await;
    assert_eq!(
        (&ended["total"], &ended["done"]),
        (&json!(350), &json!(350))
    );
    with_status(&mut project, "Success", 350).await;
    let mut attempts: HashMap<String, u32> = HashMap::new();
    for request in moody.receiver.received() {
        *attempts.entry(request.webhook_id().to_owned()).or_default() += 1;
    }
    // One attempt before, one by the batch, and one more of those that the kill cut short.
    for event in &events {
        assert!(
            (2..=3).contains(&attempts[event]),
            "{event}: {}",
            attempts[event]
        );
    }
    let twice = attempts.values().filter(|attempts| **attempts > 2).count();
    assert!(twice <= 100, "{twice} were in flight");
    // It is shown after another restart too, and is not begun again.
    outrider.kill();
    outrider.start().await;
    let before = moody.receiver.received().len();
    assert_eq!(batch(&mut project, "finished").await["done"], 350);
    let marker = publish(&mut project, &endpoint, 1).await;
    project.delivery(&marker[0], "Success").await;
    assert_eq!(moody.receiver.received().len(), before + 1);
    assert_log_is_sound(&mut outrider).await;
}

#[tokio::test]
async fn a_batch_cancel_ends_what_waits_and_leaves_what_has_ended() {
    let moody = Moody::start(Fault::None).await;
    let (mut outrider, mut project, endpoint) = start(&moody, 10).await;
    publish(&mut project, &endpoint, 2).await;
    with_status(&mut project, "Success", 2).await;
    moody.will(Fault::Status(500));
    publish(&mut project, &endpoint, 250).await;
    with_status(&mut project, "Retry", 250).await;
    let begun = post(&mut project, "/eventdeliveries/batchcancel")
        .await
        .data(200);
    assert_eq!(
        (&begun["kind"], &begun["total"]),
        (&json!("cancel"), &json!(250))
    );
    assert_eq!(batch(&mut project, "finished").await["done"], 250);
    with_status(&mut project, "Discarded", 250).await;
    assert_eq!(total(&mut project, "Success").await, 2);
    assert_eq!(moody.receiver.received().len(), 252);
    assert_log_is_sound(&mut outrider).await;
}

#[tokio::test]
async fn a_batch_that_is_stopped_stays_so_over_a_restart() {
    let moody = Moody::start(Fault::Status(500)).await;
    let (mut outrider, mut project, endpoint) = start_slow(&moody, 1).await;
    publish(&mut project, &endpoint, 350).await;
    with_status(&mut project, "Failure", 350).await;
    post(&mut project, "/eventdeliveries/batchretry")
        .await
        .data(200);
    let all = project.get("/batches").await.data(200);
    let path = format!(
        "/batches/{}/cancel",
        all["content"][0]["uid"].as_str().unwrap()
    );
    let stopped = project.put(&path, &json!({})).await.data(200);
    assert_eq!(stopped["status"], "stopped");
    let done = stopped["done"].as_u64().unwrap();
    assert!(done < 350, "{done}");
    outrider.kill();
    outrider.start().await;
    assert_eq!(batch(&mut project, "stopped").await["done"], done);
    with_status(&mut project, "Failure", 350).await;
    // As many were tried again as it says; those whose record the kill took along once more.
    let received = moody.receiver.received();
    let again = received.iter().filter(|request| request.attempt > 1);
    let again: BTreeSet<&str> = again.map(|request| request.webhook_id()).collect();
    assert_eq!(u64::try_from(again.len()).unwrap(), done);
    assert_log_is_sound(&mut outrider).await;
}
