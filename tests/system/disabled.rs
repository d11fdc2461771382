//! Endpoints that are switched off by what their receivers do, and switched on by people.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::harness::{
    API_KEY, Api, DEADLINE, Endpoint, Fault, OUTGOING, Outrider, Planes, Receiver, Resources,
    Setup, uid, until,
};

const OFF: &str = "outrider_endpoints_off_locally";

/// A receiver that answers as it was told last.
async fn receiver(first: Fault) -> (Receiver, Arc<Mutex<Fault>>) {
    let mood = Arc::new(Mutex::new(first));
    let now = Arc::clone(&mood);
    let receiver = Receiver::with(move |_| now.lock().unwrap().clone()).await;
    (receiver, mood)
}

async fn project(outrider: &Outrider, more: Value) -> Api {
    let mut config = json!({"strategy": {"type": "linear", "duration": 1, "retry_count": 1}});
    for (field, value) in more.as_object().unwrap() {
        config[field] = value.clone();
    }
    outrider
        .admin_api()
        .make_project("shop", "outgoing", &config)
        .await
}

/// Waits until the endpoint has this status; gives it.
async fn status(project: &mut Api, endpoint: &str, wanted: &str) -> Value {
    let path = format!("/endpoints/{endpoint}");
    until(&format!("{endpoint} is {wanted}"), DEADLINE, async || {
        let shown = project.get(&path).await.data(200);
        (shown["status"] == wanted).then_some(shown)
    })
    .await
}

#[tokio::test]
async fn a_410_switches_the_endpoint_off_until_a_person_activates_it() {
    let (receiver, mood) = receiver(Fault::Status(410)).await;
    let outrider = Setup::through_api().start().await;
    let mut project = project(&outrider, json!({})).await;
    let endpoint = project
        .make_endpoint("e", &receiver.url("/in"), &json!({}))
        .await;
    let first = project.publish(&endpoint, "a", &json!(1)).await;
    assert_eq!(
        project.delivery(&first, "Failure").await["description"],
        "gone"
    );
    let off = status(&mut project, &endpoint, "inactive").await;
    assert_eq!(off["disabled_reason"], "gone");
    let second = project.publish(&endpoint, "a", &json!(2)).await;
    project.delivery(&second, "Discarded").await;

    *mood.lock().unwrap() = Fault::None;
    let path = format!("/endpoints/{endpoint}/activate");
    let on = project.post(&path, &json!({})).await.data(202);
    assert_eq!(
        (
            &on["status"],
            &on["activation_epoch"],
            on.get("disabled_reason")
        ),
        (&json!("active"), &json!(1), None)
    );
    let third = project.publish(&endpoint, "a", &json!(3)).await;
    project.delivery(&third, "Success").await;
    assert_eq!(receiver.received().len(), 2);
    outrider.wait_for_metric(OFF, &[], 0.0, DEADLINE).await;
}

#[tokio::test]
async fn used_up_attempts_switch_off_only_where_the_project_says_so() {
    let (receiver, _) = receiver(Fault::Status(500)).await;
    let outrider = Setup::through_api().start().await;
    let mut tame = project(&outrider, json!({})).await;
    let endpoint = tame
        .make_endpoint("e", &receiver.url("/in"), &json!({}))
        .await;
    let event = tame.publish(&endpoint, "a", &json!(1)).await;
    tame.delivery(&event, "Failure").await;

    let config = json!({"disable_endpoint": true, "strategy": {"type": "linear", "duration": 1, "retry_count": 2}});
    let mut strict = outrider
        .admin_api()
        .make_project("strict", "outgoing", &config)
        .await;
    let off = strict
        .make_endpoint("e", &receiver.url("/in"), &json!({}))
        .await;
    // What waits for its next attempt ends as what comes later does.
    let waiting = strict.publish(&off, "a", &json!(1)).await;
    strict.delivery(&waiting, "Failure").await;
    let shown = status(&mut strict, &off, "inactive").await;
    assert_eq!(shown["disabled_reason"], "retries_exhausted");
    let later = strict.publish(&off, "a", &json!(2)).await;
    strict.delivery(&later, "Discarded").await;
    // The first project's endpoint goes on.
    let again = tame.publish(&endpoint, "a", &json!(2)).await;
    tame.delivery(&again, "Failure").await;
    assert_eq!(
        status(&mut tame, &endpoint, "active")
            .await
            .get("disabled_reason"),
        None
    );
}

#[tokio::test]
async fn an_endpoint_of_a_file_is_off_over_restarts_until_the_file_counts_it_up() {
    let (receiver, mood) = receiver(Fault::Status(410)).await;
    let file = |epoch: u64| {
        let endpoint = Endpoint::new(1, &receiver.url("/in"), "s").with("activation_epoch", epoch);
        Resources::outgoing(&[endpoint])
    };
    let mut outrider = Setup::new(&file(0)).start().await;
    let mut project = Api::of_project(outrider.public(), OUTGOING, API_KEY);
    let first = project.publish(&uid(1), "a", &json!(1)).await;
    project.delivery(&first, "Failure").await;
    // Counted once it is on disk.
    let gone = ["reason=\"gone\""];
    outrider
        .wait_for_metric("outrider_endpoints_disabled_total", &gone, 1.0, DEADLINE)
        .await;
    *mood.lock().unwrap() = Fault::None;
    outrider.kill();
    outrider.start().await;
    let second = project.publish(&uid(1), "a", &json!(2)).await;
    project.delivery(&second, "Discarded").await;
    outrider.wait_for_metric(OFF, &[], 1.0, DEADLINE).await;

    outrider.kill();
    outrider.replace_resources(&file(1));
    outrider.start().await;
    let third = project.publish(&uid(1), "a", &json!(3)).await;
    project.delivery(&third, "Success").await;
    assert_eq!(receiver.received().len(), 2);
}

#[tokio::test]
async fn without_a_control_plane_it_holds_over_a_restart_and_is_told_later() {
    let (receiver, mood) = receiver(Fault::Status(410)).await;
    let (mut planes, mut data) = Planes::start(None).await;
    let mut admin = planes.control.admin();
    let mut project = admin.make_project("shop", "outgoing", &json!({})).await;
    let endpoint = project
        .make_endpoint("e", &receiver.url("/in"), &json!({}))
        .await;
    planes
        .control
        .until("it has all", "node-0", |one| one["is_current"] == true)
        .await;
    planes.control.process.kill();
    let mut producer = Api::of_project(data.public(), project.project(), project.key());
    producer.publish(&endpoint, "a", &json!(1)).await;
    let line = async |data: &super::harness::DataPlane, line: &str| {
        until(line, DEADLINE, async || {
            let page = data.admin_page("/stats/prometheus").await;
            page.lines().any(|one| one == line).then_some(())
        })
        .await;
    };
    line(&data, "outrider_endpoints_off_locally 1").await;
    line(
        &data,
        "outrider_endpoints_disabled_total{reason=\"gone\"} 1",
    )
    .await; // on disk
    *mood.lock().unwrap() = Fault::None;
    data.process.kill();
    data.start().await;
    let mut producer = Api::of_project(data.public(), project.project(), project.key());
    producer.publish(&endpoint, "a", &json!(2)).await;
    line(
        &data,
        "outrider_deliveries_finished_total{result=\"discarded\"} 1",
    )
    .await;
    assert_eq!(receiver.received().len(), 1);

    planes.control.start().await;
    let mut project = project.again();
    let off = status(&mut project, &endpoint, "inactive").await;
    assert_eq!(off["disabled_reason"], "gone");
    line(&data, "outrider_endpoints_off_locally 0").await;
    let path = format!("/endpoints/{endpoint}/activate");
    project.post(&path, &json!({})).await.data(202);
    producer.publish(&endpoint, "a", &json!(3)).await;
    receiver.wait_for(2, DEADLINE).await;
}
