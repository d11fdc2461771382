//! A delivery that ended without success is tried once more when somebody asks for it.

use std::sync::Arc;
use std::sync::Mutex;

use http::Method;
use serde_json::{Value, json};

use super::harness::{Api, DEADLINE, Fault, Outrider, Receiver, Reply, Setup};

const NO_SUCH_ID: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

/// A receiver that does what it was told last.
struct Moody {
    receiver: Receiver,
    mood: Arc<Mutex<Fault>>,
}

impl Moody {
    async fn start() -> Self {
        let mood = Arc::new(Mutex::new(Fault::Status(500)));
        let now = Arc::clone(&mood);
        let receiver = Receiver::with(move |_| now.lock().unwrap().clone()).await;
        Self { receiver, mood }
    }

    fn will(&self, fault: Fault) {
        *self.mood.lock().unwrap() = fault;
    }
}

/// A project with one attempt for each delivery, and an endpoint at the receiver.
async fn start(setup: Setup, moody: &Moody, retry_count: u32) -> (Outrider, Api, String) {
    let outrider = setup.start().await;
    let strategy = json!({"type": "linear", "duration": 3600, "retry_count": retry_count});
    let mut project = outrider
        .admin_api()
        .make_project("shop", "outgoing", &json!({"strategy": strategy}))
        .await;
    let endpoint = project
        .make_endpoint("customer", &moody.receiver.url("/in"), &json!({}))
        .await;
    (outrider, project, endpoint)
}

/// Publishes an event whose only attempt fails; its delivery.
async fn failed(project: &mut Api, endpoint: &str) -> (String, String) {
    let event = project
        .publish(endpoint, "order.made", &json!({"n": 1}))
        .await;
    let delivery = project.delivery(&event, "Failure").await;
    assert_eq!(delivery["description"], "Retry limit exceeded");
    assert_eq!(delivery["metadata"]["num_trials"], 1);
    (event, super::harness::uid_of(&delivery))
}

async fn resend(project: &mut Api, delivery: &str) -> Reply {
    let path = format!("/eventdeliveries/{delivery}/resend");
    project.call(Method::PUT, &path, None).await
}

async fn attempts(project: &mut Api, delivery: &str) -> Vec<Value> {
    let path = format!("/eventdeliveries/{delivery}/deliveryattempts");
    let all = project.get(&path).await.data(200);
    all.as_array().unwrap().clone()
}

fn results(attempts: &[Value]) -> Vec<bool> {
    let result = |attempt: &Value| attempt["status"].as_bool().unwrap();
    attempts.iter().map(result).collect()
}

#[tokio::test]
async fn what_is_no_delivery_of_the_project_is_404() {
    let moody = Moody::start().await;
    let (outrider, mut project, endpoint) = start(Setup::through_api(), &moody, 1).await;
    let (event, delivery) = failed(&mut project, &endpoint).await;
    for id in [NO_SUCH_ID, "x", &event, &endpoint] {
        let refusal = resend(&mut project, id).await.refusal(404);
        assert_eq!(refusal, "event delivery not found", "{id}");
    }
    let mut other = outrider
        .admin_api()
        .make_project("other", "outgoing", &json!({}))
        .await;
    let refusal = resend(&mut other, &delivery).await.refusal(404);
    assert_eq!(refusal, "event delivery not found");
    assert_eq!(moody.receiver.received().len(), 1);
}

#[tokio::test]
async fn a_delivery_that_waits_for_its_next_attempt_is_not_resent() {
    let moody = Moody::start().await;
    let (_outrider, mut project, endpoint) = start(Setup::through_api(), &moody, 5).await;
    let event = project.publish(&endpoint, "a", &json!(1)).await;
    let delivery = project.delivery(&event, "Retry").await;
    let uid = super::harness::uid_of(&delivery);
    let refusal = resend(&mut project, &uid).await.refusal(400);
    assert_eq!(refusal, "cannot resend event that did not fail previously");
    assert_eq!(attempts(&mut project, &uid).await.len(), 1);
}

#[tokio::test]
async fn nothing_is_resent_to_an_endpoint_that_is_paused_inactive_or_gone() {
    let moody = Moody::start().await;
    let (_outrider, mut project, endpoint) = start(Setup::through_api(), &moody, 1).await;
    let (event, delivery) = failed(&mut project, &endpoint).await;
    moody.will(Fault::None);
    let path = format!("/endpoints/{endpoint}");

    let paused = project.put(&format!("{path}/pause"), &json!({})).await;
    assert_eq!(paused.data(202)["status"], "paused");
    let refusal = resend(&mut project, &delivery).await.refusal(400);
    assert_eq!(refusal, "the endpoint is currently paused");

    let url = moody.receiver.url("/in");
    let off = json!({"name": "customer", "url": url, "is_disabled": true});
    assert_eq!(
        project.put(&path, &off).await.data(202)["status"],
        "inactive"
    );
    let refusal = resend(&mut project, &delivery).await.refusal(400);
    assert_eq!(refusal, "the endpoint is currently inactive");

    // None of the refusals has left anything behind.
    let unchanged = project.delivery(&event, "Failure").await;
    assert_eq!(unchanged["metadata"]["num_trials"], 1);
    project.delete(&path).await.data(200);
    let refusal = resend(&mut project, &delivery).await.refusal(400);
    assert_eq!(refusal, "the endpoint of this delivery was deleted");
    assert_eq!(attempts(&mut project, &delivery).await.len(), 1);
    assert_eq!(moody.receiver.received().len(), 1);
}

#[tokio::test]
async fn a_resend_is_one_more_attempt_whether_it_fails_or_not() {
    let moody = Moody::start().await;
    let (_outrider, mut project, endpoint) = start(Setup::through_api(), &moody, 1).await;
    let (event, delivery) = failed(&mut project, &endpoint).await;

    // The first time the receiver is as it was.
    let resent = resend(&mut project, &delivery).await.data(200);
    assert_eq!(resent["uid"], delivery);
    moody.receiver.wait_for(2, DEADLINE).await;
    super::harness::until("the second failure", DEADLINE, async || {
        let row = project.delivery(&event, "Failure").await;
        (row["metadata"]["num_trials"] == 2).then_some(())
    })
    .await;

    moody.will(Fault::None);
    let resent = resend(&mut project, &delivery).await.data(200);
    assert_eq!(
        (&resent["uid"], &resent["event_id"]),
        (&json!(delivery), &json!(event))
    );
    let row = project.delivery(&event, "Success").await;
    assert_eq!(
        (&row["uid"], &row["metadata"]["num_trials"]),
        (&json!(delivery), &json!(3))
    );
    assert_eq!(row["description"], "");
    let attempts = attempts(&mut project, &delivery).await;
    assert_eq!(results(&attempts), [false, false, true]);
    let received = moody.receiver.received();
    assert_eq!(received.len(), 3);
    for request in &received {
        assert_eq!(
            (request.webhook_id(), &request.body[..]),
            (&*event, &b"{\"n\":1}"[..])
        );
    }

    let refusal = resend(&mut project, &delivery).await.refusal(400);
    assert_eq!(refusal, "event already sent");
    // Whatever a refused one had set going would be here before this.
    let marker = project.publish(&endpoint, "a", &json!("marker")).await;
    let received = moody.receiver.wait_for(4, DEADLINE).await;
    assert_eq!((received.len(), received[3].webhook_id()), (4, &*marker));
}

#[tokio::test]
async fn resends_that_come_at_once_make_one_attempt() {
    let moody = Moody::start().await;
    let (_outrider, mut project, endpoint) = start(Setup::through_api(), &moody, 1).await;
    let (event, delivery) = failed(&mut project, &endpoint).await;
    moody.will(Fault::None);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (mut caller, delivery) = (project.again(), delivery.clone());
        tasks.spawn(async move { resend(&mut caller, &delivery).await });
    }
    let replies = tasks.join_all().await;
    let done = replies.iter().filter(|reply| reply.status == 200).count();
    assert_eq!(done, 1);
    for refused in replies.iter().filter(|reply| reply.status != 200) {
        refused.refusal(400);
    }
    project.delivery(&event, "Success").await;
    assert_eq!(moody.receiver.received().len(), 2);
}

#[tokio::test]
async fn a_resend_that_a_kill_cut_short_is_attempted_after_the_restart() {
    let moody = Moody::start().await;
    let (mut outrider, mut project, endpoint) = start(Setup::through_api(), &moody, 1).await;
    let (event, delivery) = failed(&mut project, &endpoint).await;
    moody.will(Fault::Stall);
    resend(&mut project, &delivery).await.data(200);
    moody.receiver.wait_for(2, DEADLINE).await;
    outrider.kill();
    moody.will(Fault::None);
    outrider.start().await;
    let received = moody.receiver.wait_for(3, DEADLINE).await;
    assert_eq!(received[2].webhook_id(), event);
    let row = project.delivery(&event, "Success").await;
    // The attempt that was cut short left no trace.
    assert_eq!(
        (&row["uid"], &row["metadata"]["num_trials"]),
        (&json!(delivery), &json!(2))
    );
    assert_eq!(
        results(&attempts(&mut project, &delivery).await),
        [false, true]
    );
}

#[tokio::test]
async fn a_resend_that_had_to_wait_is_attempted_after_a_clean_restart() {
    let moody = Moody::start().await;
    // One attempt at a time, so that a slow one keeps the resent one waiting.
    let setup = Setup::through_api().env("OUTRIDER__DELIVERY__LANE_CONCURRENCY", "1");
    let (mut outrider, mut project, endpoint) = start(setup, &moody, 1).await;
    let (event, delivery) = failed(&mut project, &endpoint).await;
    let slow = json!({"name": "customer", "url": moody.receiver.url("/in"), "http_timeout": 5});
    let path = format!("/endpoints/{endpoint}");
    project.put(&path, &slow).await.data(202);
    moody.will(Fault::Stall);
    let before = project.publish(&endpoint, "a", &json!("slow")).await;
    moody.receiver.wait_for(2, DEADLINE).await;
    resend(&mut project, &delivery).await.data(200);
    project.delivery(&event, "Scheduled").await;
    // The slow one times out in the drain; nothing is begun after it.
    assert_eq!(outrider.terminate().await, Some(0), "{}", outrider.stderr());
    assert_eq!(moody.receiver.received().len(), 2);

    moody.will(Fault::None);
    outrider.start().await;
    let received = moody.receiver.wait_for(3, DEADLINE).await;
    assert_eq!(received[2].webhook_id(), event);
    let row = project.delivery(&event, "Success").await;
    assert_eq!(row["metadata"]["num_trials"], 2);
    assert_eq!(
        results(&attempts(&mut project, &delivery).await),
        [false, true]
    );
    project.delivery(&before, "Failure").await;
}

#[tokio::test]
async fn a_resend_that_was_carried_out_is_not_repeated_by_a_restart_of_either_kind() {
    let moody = Moody::start().await;
    let (mut outrider, mut project, endpoint) = start(Setup::through_api(), &moody, 1).await;
    let (event, delivery) = failed(&mut project, &endpoint).await;
    moody.will(Fault::None);
    resend(&mut project, &delivery).await.data(200);
    project.delivery(&event, "Success").await;
    for is_clean in [true, false] {
        if is_clean {
            assert_eq!(outrider.terminate().await, Some(0), "{}", outrider.stderr());
        } else {
            outrider.kill();
        }
        let before = moody.receiver.received().len();
        outrider.start().await;
        let marker = project.publish(&endpoint, "a", &json!("marker")).await;
        let received = moody.receiver.wait_for(before + 1, DEADLINE).await;
        assert_eq!(
            (received.len(), received[before].webhook_id()),
            (before + 1, &*marker)
        );
        project.delivery(&marker, "Success").await;
        assert_eq!(
            results(&attempts(&mut project, &delivery).await),
            [false, true]
        );
        let refusal = resend(&mut project, &delivery).await.refusal(400);
        assert_eq!(refusal, "event already sent");
    }
}
