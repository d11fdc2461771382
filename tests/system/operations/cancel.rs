//! Cancel: no further attempt, whether the delivery waits or a worker has it.

use http::Method;
use serde_json::json;

use super::super::harness::{Api, DEADLINE, Fault, Reply, uid_of, until};
use super::{Moody, assert_log_is_sound, publish, start};

async fn cancel(project: &mut Api, delivery: &str) -> Reply {
    let path = format!("/eventdeliveries/{delivery}/cancel");
    project.call(Method::PUT, &path, None).await
}

async fn resend(project: &mut Api, delivery: &str) -> Reply {
    let path = format!("/eventdeliveries/{delivery}/resend");
    project.call(Method::PUT, &path, None).await
}

#[tokio::test]
async fn what_has_ended_or_is_nothing_is_not_cancelled() {
    let moody = Moody::start(Fault::None).await;
    let (_outrider, mut project, endpoint) = start(&moody, 1).await;
    let events = publish(&mut project, &endpoint, 1).await;
    let sent = uid_of(&project.delivery(&events[0], "Success").await);
    let refusal = cancel(&mut project, &sent).await.refusal(400);
    assert!(refusal.contains("has ended"), "{refusal}");
    let refusal = cancel(&mut project, &events[0]).await.refusal(404);
    assert_eq!(refusal, "event delivery not found");
    project.delivery(&events[0], "Success").await;
}

#[tokio::test]
async fn a_delivery_that_waits_for_its_retry_ends_at_once_and_can_be_resent() {
    let moody = Moody::start(Fault::Status(500)).await;
    let (mut outrider, mut project, endpoint) = start(&moody, 10).await;
    let events = publish(&mut project, &endpoint, 1).await;
    let waiting = uid_of(&project.delivery(&events[0], "Retry").await);
    let ended = cancel(&mut project, &waiting).await.data(200);
    let of = |row: &serde_json::Value| {
        let trials = row["metadata"]["num_trials"].clone();
        (row["status"].clone(), row["reason"].clone(), trials)
    };
    let expected = (json!("Discarded"), json!("cancelled"), json!(1));
    assert_eq!(of(&ended), expected);
    // So it is after a restart, and what waits in memory is not in its way.
    outrider.kill();
    outrider.start().await;
    let row = project.delivery(&events[0], "Discarded").await;
    assert_eq!(of(&row), expected);
    moody.will(Fault::None);
    resend(&mut project, &waiting).await.data(200);
    project.delivery(&events[0], "Success").await;
    assert_eq!(moody.receiver.received().len(), 2);
    assert_log_is_sound(&mut outrider).await;
}

#[tokio::test]
async fn a_cancelled_delivery_that_is_resent_gets_one_attempt_although_it_still_stands_in_line() {
    let moody = Moody::start(Fault::Status(500)).await;
    let (mut outrider, mut project, endpoint) = start(&moody, 10).await;
    let events = publish(&mut project, &endpoint, 1).await;
    let waiting = uid_of(&project.delivery(&events[0], "Retry").await);
    for attempts in 2..5 {
        cancel(&mut project, &waiting).await;
        resend(&mut project, &waiting).await.data(200);
        moody.receiver.wait_for(attempts, DEADLINE).await;
        project.delivery(&events[0], "Failure").await;
    }
    let refusal = cancel(&mut project, &waiting).await.refusal(400);
    assert!(refusal.contains("has ended"), "{refusal}");
    assert_eq!(moody.receiver.received().len(), 4);
    assert_log_is_sound(&mut outrider).await;
}

#[tokio::test]
async fn a_delivery_that_a_worker_has_gets_no_attempt_after_this_one() {
    let moody = Moody::start(Fault::Stall).await;
    let (mut outrider, mut project, endpoint) = start(&moody, 10).await;
    let path = format!("/endpoints/{endpoint}");
    let short = json!({"name": "customer", "url": moody.receiver.url("/in"), "http_timeout": 2});
    project.put(&path, &short).await.data(202);
    let events = publish(&mut project, &endpoint, 1).await;
    moody.receiver.wait_for(1, DEADLINE).await;
    let row = project.delivery(&events[0], "Scheduled").await;
    cancel(&mut project, &uid_of(&row)).await.data(200);
    let row = project.delivery(&events[0], "Discarded").await;
    assert_eq!(row["reason"], "cancelled");
    assert_eq!(row["metadata"]["num_trials"], 1);
    assert_eq!(moody.receiver.received().len(), 1);
    assert_log_is_sound(&mut outrider).await;
}

#[tokio::test]
async fn a_cancel_during_an_attempt_survives_a_kill() {
    let moody = Moody::start(Fault::Stall).await;
    let (mut outrider, mut project, endpoint) = start(&moody, 10).await;
    let events = publish(&mut project, &endpoint, 1).await;
    moody.receiver.wait_for(1, DEADLINE).await;
    let row = project.delivery(&events[0], "Scheduled").await;
    cancel(&mut project, &uid_of(&row)).await.data(200);
    outrider.kill();
    moody.will(Fault::None);
    outrider.start().await;
    let row = project.delivery(&events[0], "Discarded").await;
    assert_eq!(row["reason"], "cancelled");
    // Whatever had been begun would be here before this.
    let marker = publish(&mut project, &endpoint, 1).await;
    project.delivery(&marker[0], "Success").await;
    assert_eq!(moody.receiver.received().len(), 2);
    assert_log_is_sound(&mut outrider).await;
}

#[tokio::test]
async fn a_delivery_that_arrives_while_it_is_cancelled_has_arrived() {
    let moody = Moody::start(Fault::None).await;
    let (mut outrider, mut project, endpoint) = start(&moody, 10).await;
    // Some are caught before their attempt, some during it, some after it.
    let mut uids = Vec::new();
    for event in publish(&mut project, &endpoint, 30).await {
        let path = format!("/eventdeliveries?eventId={event}");
        let rows = project.get(&path).await.data(200)["content"].clone();
        if let Some(row) = rows.get(0) {
            cancel(&mut project, &uid_of(row)).await;
            uids.push(event);
        }
    }
    for event in &uids {
        until("each has ended", DEADLINE, async || {
            let path = format!("/eventdeliveries?eventId={event}");
            let rows = project.rows(&path).await;
            let status = rows[0]["status"].as_str().unwrap().to_owned();
            (status == "Success" || status == "Discarded").then_some(())
        })
        .await;
    }
    assert_log_is_sound(&mut outrider).await;
}
