//! Why an event went where it went: told from what was recorded, through the API and on the
//! command line.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::harness::{Api, DEADLINE, Fault, Outrider, Receiver, Setup, explain, uid_of};

const NO_SUCH_ID: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

/// A gateway with a project of two attempts, a second apart.
async fn start() -> (Outrider, Api) {
    let outrider = Setup::through_api().start().await;
    let config = json!({
        "strategy": {"type": "linear", "duration": 1, "retry_count": 2},
        "multiple_endpoint_subscriptions": true,
    });
    let project = outrider
        .admin_api()
        .make_project("shop", "outgoing", &config)
        .await;
    (outrider, project)
}

async fn subscribe(project: &mut Api, name: &str, endpoint: &str, config: Value) -> String {
    let body = json!({"name": name, "endpoint_id": endpoint, "filter_config": config});
    project.post("/subscriptions", &body).await.uid()
}

async fn explained(project: &mut Api, event: &str) -> Value {
    let path = format!("/events/{event}/explain");
    project.get(&path).await.data(200)
}

#[tokio::test]
async fn what_is_no_event_of_the_project_is_404() {
    let (outrider, mut project) = start().await;
    let mut other = outrider
        .admin_api()
        .make_project("other", "outgoing", &json!({}))
        .await;
    let receiver = Receiver::start().await;
    let endpoint = project
        .make_endpoint("e", &receiver.url("/in"), &json!({}))
        .await;
    let event = project.publish(&endpoint, "a", &json!({})).await;
    for id in [NO_SUCH_ID, "x", &*endpoint] {
        let path = format!("/events/{id}/explain");
        assert_eq!(project.get(&path).await.refusal(404), "event not found");
    }
    let path = format!("/events/{event}/explain");
    assert_eq!(other.get(&path).await.refusal(404), "event not found");
    explained(&mut project, &event).await;
}

#[tokio::test]
async fn a_filter_is_named_as_it_was_when_it_refused_whatever_it_is_now() {
    let (_outrider, mut project) = start().await;
    let receiver = Receiver::start().await;
    let endpoint = project
        .make_endpoint("e", &receiver.url("/in"), &json!({}))
        .await;
    let paid = |filter: Value| json!({"event_types": ["paid"], "filter": {"body": filter}});
    let dear = paid(json!({"amount": {"$gt": 1000}}));
    let dear = subscribe(&mut project, "dear", &endpoint, dear).await;
    let gone = paid(json!({"currency": "NGN"}));
    let gone = subscribe(&mut project, "gone", &endpoint, gone).await;
    let other = json!({"event_types": ["refunded"]});
    subscribe(&mut project, "other", &endpoint, other).await;
    let data = json!({"amount": 5, "currency": "EUR"});
    let event = project.publish(&endpoint, "paid", &data).await;

    // It wants something else now, and the second one is gone.
    let now = json!({
        "name": "dear", "endpoint_id": endpoint,
        "filter_config": {"event_types": ["paid"], "filter": {"body": {"shop": "s"}}},
    });
    let path = format!("/subscriptions/{dear}");
    project.put(&path, &now).await.data(202);
    project
        .delete(&format!("/subscriptions/{gone}"))
        .await
        .data(200);
    let told = explained(&mut project, &event).await;
    let routing = &told["routing"];
    assert_eq!(routing["matched"], 0);
    assert_eq!(routing["type_mismatches"], 1);
    assert_eq!(routing["refused_more"], 0);
    let refused = routing["refused"].as_array().unwrap();
    let mut conditions: Vec<(&str, &str)> = refused
        .iter()
        .map(|one| {
            (
                one["name"].as_str().unwrap(),
                one["condition"].as_str().unwrap(),
            )
        })
        .collect();
    conditions.sort_unstable();
    assert_eq!(
        conditions,
        [("dear", "body.amount.$gt"), ("gone", "body.currency")]
    );
    let ids: Vec<&Value> = refused.iter().map(|one| &one["subscription_id"]).collect();
    assert!(ids.contains(&&json!(dear)) && ids.contains(&&json!(gone)));
    let says = refused[0]["says"].as_str().unwrap();
    assert!(says.contains("does not hold"), "{says}");
    let says = routing["says"].as_str().unwrap();
    assert!(
        says.starts_with("no subscription matched this event"),
        "{says}"
    );
    assert_eq!(told["deliveries"], json!([]));
}

#[tokio::test]
async fn of_many_refusals_the_first_are_named_and_the_rest_is_counted() {
    let (_outrider, mut project) = start().await;
    let receiver = Receiver::start().await;
    let endpoint = project
        .make_endpoint("e", &receiver.url("/in"), &json!({}))
        .await;
    for n in 0..40 {
        let config = json!({"event_types": ["a"], "filter": {"body": {"n": n}}});
        subscribe(&mut project, &format!("s{n}"), &endpoint, config).await;
    }
    let event = project.publish(&endpoint, "a", &json!({"n": 100})).await;
    let routing = explained(&mut project, &event).await["routing"].clone();
    assert_eq!(routing["refused"].as_array().unwrap().len(), 32);
    assert_eq!(routing["refused_more"], 8);
}

#[tokio::test]
async fn attempts_are_told_with_what_followed_and_so_are_holds() {
    let (outrider, mut project) = start().await;
    let mood = Arc::new(Mutex::new(Fault::Status(500)));
    let now = Arc::clone(&mood);
    let receiver = Receiver::with(move |request| match request.attempt {
        1 => now.lock().unwrap().clone(),
        _ => Fault::None,
    })
    .await;
    let endpoint = project
        .make_endpoint("e", &receiver.url("/in"), &json!({}))
        .await;
    let event = project.publish(&endpoint, "a", &json!({})).await;
    project.delivery(&event, "Success").await;
    *mood.lock().unwrap() = Fault::Later(429, "3");
    let held = project.publish(&endpoint, "a", &json!({})).await;
    project.delivery(&held, "Success").await;

    let told = explained(&mut project, &event).await;
    assert_eq!(told["verification"]["method"], "api_key");
    assert_eq!(told["schema"]["result"], "nothing_recorded");
    assert_eq!(told["routing"]["audience"]["kind"], "endpoint");
    assert_eq!(told["deliveries"].as_array().unwrap().len(), 1);
    let delivery = &told["deliveries"][0];
    assert_eq!(
        (&delivery["status"], &delivery["attempts_total"]),
        (&json!("Success"), &json!(2))
    );
    assert_eq!(delivery["says"], "delivered, after 2 attempts");
    let attempts = delivery["attempts"].as_array().unwrap();
    let results: Vec<(&Value, &Value)> = attempts
        .iter()
        .map(|attempt| (&attempt["http_status"], &attempt["result"]))
        .collect();
    let (failed, sent) = ((json!(500), json!("Retry")), (json!(200), json!("Success")));
    assert_eq!(results, [(&failed.0, &failed.1), (&sent.0, &sent.1)]);
    assert_eq!(attempts[0]["next_due_at"], attempts[1]["due_at"]);
    let says = attempts[0]["says"].as_str().unwrap();
    assert!(
        says.contains("answered 500") && says.contains("was due at"),
        "{says}"
    );

    let told = explained(&mut project, &held).await;
    let delivery = &told["deliveries"][0];
    assert_eq!(delivery["attempts"][0]["is_counted"], false);
    let held_until = delivery["limits"].as_array().unwrap();
    let held_until = held_until
        .iter()
        .find(|one| one["condition"] == "held")
        .unwrap();
    assert_eq!(held_until["reason"], "retry_after");

    // The same on the command line, with the key of the data directory.
    let api = format!("http://{}", outrider.api());
    let data_dir = outrider.data_dir();
    let arguments = [
        &*event,
        "--api",
        &api,
        "--data-dir",
        data_dir.to_str().unwrap(),
    ];
    let shown = explain(&arguments).await;
    assert_eq!(shown.code, Some(0), "{}", shown.output);
    for part in [
        &*event,
        "answered 500",
        "delivered, after 2 attempts",
        "with a key of the project",
    ] {
        assert!(shown.output.contains(part), "{part} in {}", shown.output);
    }
    let json = [&arguments[..], &["--json"]].concat();
    let shown = explain(&json).await;
    let shown: Value = serde_json::from_str(&shown.output).unwrap();
    assert_eq!(shown["event"]["uid"], event);
    let own = [
        &*event,
        "--api",
        &api,
        "--key",
        project.key(),
        "--project",
        project.project(),
    ];
    assert_eq!(explain(&own).await.code, Some(0));
}

#[tokio::test]
async fn the_command_line_says_what_it_cannot_do() {
    let (outrider, project) = start().await;
    let api = format!("http://{}", outrider.api());
    for (arguments, code, says) in [
        (
            vec!["x", "--api", &api, "--key", &outrider.admin_key()],
            69,
            "there is no event x",
        ),
        (
            vec!["x", "--api", "https://x", "--key", "k"],
            64,
            "must be like",
        ),
        (vec!["x", "--api", &api, "--key", "k"], 69, "--project"),
        (
            vec!["x", "--api", &api, "--data-dir", "/nowhere"],
            78,
            "admin-key",
        ),
        (
            vec![
                "x",
                "--api",
                "http://127.0.0.1:1",
                "--key",
                "k",
                "--project",
                project.project(),
            ],
            69,
            "cannot reach",
        ),
        (vec![], 64, "EVENT"),
    ] {
        let ended = explain(&arguments).await;
        assert_eq!(ended.code, Some(code), "{arguments:?}: {}", ended.output);
        assert!(
            ended.output.contains(says),
            "{arguments:?}: {}",
            ended.output
        );
    }
}

#[tokio::test]
async fn a_repeat_names_what_it_repeats_and_the_first_its_repeats() {
    let (_outrider, mut project) = start().await;
    let receiver = Receiver::start().await;
    let endpoint = project
        .make_endpoint("e", &receiver.url("/in"), &json!({}))
        .await;
    let body = json!({
        "endpoint_id": endpoint, "event_type": "a", "data": {}, "idempotency_key": "key",
    });
    let first = project.post("/events", &body).await.event_uid();
    project.delivery(&first, "Success").await;
    project.post("/events", &body).await.data(201);
    let rows = project.rows("/events?idempotencyKey=key").await;
    let repeat = rows.iter().find(|row| row["is_duplicate_event"] == true);
    let repeat = uid_of(repeat.unwrap());
    let told = explained(&mut project, &repeat).await;
    assert_eq!(told["event"]["duplicate_of"], first);
    assert!(told["says"].as_str().unwrap().contains(&first));
    let told = explained(&mut project, &first).await;
    assert_eq!(told["repeats"], json!([repeat]));
    assert_eq!(told["deliveries"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_event_of_a_source_says_what_verified_it_also_after_a_restart() {
    let mut outrider = Setup::through_api().start().await;
    let mut project = outrider
        .admin_api()
        .make_project("in", "incoming", &json!({}))
        .await;
    let receiver = Receiver::start().await;
    let endpoint = project
        .make_endpoint("e", &receiver.url("/in"), &json!({}))
        .await;
    let verifier = json!({"verifier": {
        "type": "api_key", "api_key": {"header_name": "x-key", "header_value": "secret"},
    }});
    let mut told = Vec::new();
    for (name, more, key) in [("keyed", verifier, "secret"), ("open", json!({}), "")] {
        let (source, mask) = project.make_source(name, &more).await;
        project.subscribe_to(&endpoint, &source).await;
        let headers = [("x-key", key), ("content-type", "application/json")];
        let path = format!("/ingest/{mask}");
        let reply = outrider.client().post(&path, &headers, "{}").await.unwrap();
        told.push((reply.event_uid(), source));
    }
    receiver.wait_for(2, DEADLINE).await;
    outrider.kill();
    outrider.start().await;
    for ((event, source), method) in told.iter().zip(["api_key", "noop"]) {
        let told = explained(&mut project, event).await;
        let verification = &told["verification"];
        assert_eq!(verification["method"], method);
        assert_eq!(verification["source_id"], *source);
        assert!(verification["says"].as_str().unwrap().contains(source));
        assert_eq!(told["routing"]["audience"]["kind"], "source");
    }
}
