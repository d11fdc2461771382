//! Force resend: one more attempt of what was delivered.

use serde_json::{Value, json};

use super::super::harness::{Api, DEADLINE, Fault, Reply, uid_of};
use super::{Moody, assert_log_is_sound, publish, start, with_status};

const ROUTE: &str = "/eventdeliveries/forceresend";

async fn force(project: &mut Api, ids: &[String]) -> Reply {
    project.post(ROUTE, &json!({"ids": ids})).await
}

async fn delivery_of(project: &mut Api, event: &str, status: &str) -> (String, Value) {
    let row = project.delivery(event, status).await;
    (uid_of(&row), row["metadata"]["num_trials"].clone())
}

#[tokio::test]
async fn what_did_not_arrive_or_is_nothing_is_not_force_resent() {
    let moody = Moody::start(Fault::None).await;
    let (_outrider, mut project, endpoint) = start(&moody, 1).await;
    let sent = publish(&mut project, &endpoint, 1).await;
    let (sent, _) = delivery_of(&mut project, &sent[0], "Success").await;
    moody.will(Fault::Status(500));
    let failed = publish(&mut project, &endpoint, 1).await;
    let (failed, _) = delivery_of(&mut project, &failed[0], "Failure").await;

    let refusal = project.post(ROUTE, &json!({"ids": []})).await.refusal(400);
    assert!(refusal.contains("1 to 500"), "{refusal}");
    let many: Vec<String> = vec![sent.clone(); 501];
    force(&mut project, &many).await.refusal(400);
    project.post(ROUTE, &json!({})).await.refusal(400);
    let nothing = ["x".to_owned(), endpoint];
    for id in nothing {
        let refusal = force(&mut project, &[sent.clone(), id]).await.refusal(404);
        assert_eq!(refusal, "event delivery not found");
    }
    let refusal = force(&mut project, &[sent, failed]).await.refusal(400);
    assert!(refusal.contains("Success"), "{refusal}");
    assert_eq!(moody.receiver.received().len(), 2);
}

#[tokio::test]
async fn what_arrived_is_sent_once_more_and_only_once_however_that_ends() {
    let moody = Moody::start(Fault::None).await;
    // More attempts are left than the one that is asked for.
    let (mut outrider, mut project, endpoint) = start(&moody, 10).await;
    let events = publish(&mut project, &endpoint, 3).await;
    let mut ids = Vec::new();
    for event in &events {
        ids.push(delivery_of(&mut project, event, "Success").await.0);
    }
    let reply = force(&mut project, &ids).await;
    assert_eq!(reply.json()["message"], "3 successful, 0 failed");
    assert_eq!(reply.data(200), Value::Null);
    let received = moody.receiver.wait_for(6, DEADLINE).await;
    let again: Vec<&str> = received[3..].iter().map(|one| one.webhook_id()).collect();
    assert!(events.iter().all(|event| again.contains(&&**event)));
    with_status(&mut project, "Success", 3).await;

    moody.will(Fault::Status(500));
    let reply = force(&mut project, &ids[..1]).await;
    assert_eq!(reply.json()["message"], "1 successful, 0 failed");
    moody.receiver.wait_for(7, DEADLINE).await;
    let (_, trials) = delivery_of(&mut project, &events[0], "Failure").await;
    assert_eq!(trials, 3);

    // An endpoint that takes nothing is told in the numbers.
    project
        .put(&format!("/endpoints/{endpoint}/pause"), &json!({}))
        .await
        .data(202);
    let reply = force(&mut project, &ids[1..]).await;
    assert_eq!(reply.json()["message"], "0 successful, 2 failed");
    assert_eq!(moody.receiver.received().len(), 7);
    assert_log_is_sound(&mut outrider).await;
}
