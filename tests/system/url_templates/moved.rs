//! What becomes of deliveries that wait while somebody gives their endpoint another URL.

use serde_json::json;

use super::super::harness::{Api, DEADLINE, Receiver, convoy_advanced};
use super::{SECRET, UNRESOLVED, endpoint, publish, start};

/// Publishes while the endpoint is paused, then gives it another URL and lets it go on; the
/// uid of the event.
async fn moved(project: &mut Api, endpoint: &str, named: &str, to: &str) -> String {
    let path = format!("/endpoints/{endpoint}");
    let paused = project.put(&format!("{path}/pause"), &json!({})).await;
    assert_eq!(paused.data(202)["status"], "paused");
    let event = publish(project, named).await;
    let edited = json!({"name": endpoint, "url": to});
    project.put(&path, &edited).await.data(202);
    let active = project.post(&format!("{path}/activate"), &json!({})).await;
    assert_eq!(active.data(202)["status"], "active");
    event
}

#[tokio::test]
async fn the_old_place_of_an_endpoint_gets_nothing_more() {
    let (old, new) = (Receiver::start().await, Receiver::start().await);
    let (_outrider, mut project) = start(&json!({})).await;
    for (from, named, to) in [
        (old.url("/a/{x}"), old.url("/a/1"), new.url("/a/{x}")),
        (old.url("/b/{x}"), old.url("/b/1"), old.url("/c/{x}")),
        (old.url("/d/{x}"), old.url("/d/1"), old.url("/d/{x}?v=2")),
        (old.url("/e/{x}"), old.url("/e/1"), old.url("/e/{x}/{y}")),
    ] {
        let templated = endpoint(&mut project, &from, &from).await;
        let event = moved(&mut project, &templated, &named, &to).await;
        let discarded = project.delivery(&event, "Discarded").await;
        assert_eq!(discarded["description"], UNRESOLVED, "{to}");
        assert_eq!(discarded["target_url"], named);
        assert_eq!(discarded["metadata"]["num_trials"], 0);
    }
    assert_eq!((old.connections(), new.connections()), (0, 0));
}

#[tokio::test]
async fn an_endpoint_that_has_one_url_now_gets_it_there() {
    let (old, new) = (Receiver::start().await, Receiver::start().await);
    let (_outrider, mut project) = start(&json!({})).await;
    let templated = endpoint(&mut project, "t", &old.url("/{x}")).await;
    let event = moved(&mut project, &templated, &old.url("/1"), &new.url("/plain")).await;
    let delivery = project.delivery(&event, "Success").await;
    assert_eq!(delivery["target_url"], new.url("/plain"));
    let request = new.wait_for(1, DEADLINE).await.remove(0);
    assert_eq!(request.path_and_query, "/plain");
    convoy_advanced(&request.headers, &request.body, SECRET).unwrap();
    assert_eq!(old.connections(), 0);
}

#[tokio::test]
async fn a_template_that_still_has_the_url_changes_nothing() {
    let receiver = Receiver::start().await;
    let (_outrider, mut project) = start(&json!({})).await;
    let templated = endpoint(&mut project, "t", &receiver.url("/a/{x}")).await;
    let (named, to) = (receiver.url("/a/1"), receiver.url("/{any}/{x}"));
    let event = moved(&mut project, &templated, &named, &to).await;
    project.delivery(&event, "Success").await;
    let received = receiver.wait_for(1, DEADLINE).await;
    assert_eq!(received[0].path_and_query, "/a/1");
    // One that had a URL of its own has no place for what waits.
    let plain = endpoint(&mut project, "p", &receiver.url("/p/1")).await;
    let (named, to) = (receiver.url("/p/1"), receiver.url("/p/{x}"));
    let event = moved(&mut project, &plain, &named, &to).await;
    let discarded = project.delivery(&event, "Discarded").await;
    assert_eq!(discarded["description"], UNRESOLVED);
}
