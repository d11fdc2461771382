//! What a crash leaves of endpoints that were being made.

use serde_json::json;

use super::super::harness::{DEADLINE, Fault, Receiver, convoy_advanced};
use super::{endpoints_at, event, retrying, settled, start};

#[tokio::test]
async fn an_event_that_was_acknowledged_before_a_kill_is_delivered_and_its_endpoint_made() {
    let mut receiver = Receiver::refusing(|_| Fault::None);
    let (mut outrider, mut project) = start(&retrying()).await;
    let mut acknowledged = Vec::new();
    for n in 0..8 {
        let url = receiver.url(&format!("/{n}"));
        let mut made = event(&url);
        made["secret"] = format!("secret-{n}").into();
        let uid = project.post("/events/dynamic", &made).await.event_uid();
        acknowledged.push((n, url, uid));
    }
    outrider.kill();
    receiver.open().await;
    outrider.start().await;
    let received = receiver.wait_for(8, DEADLINE).await;
    for (n, url, uid) in &acknowledged {
        let request = received.iter().find(|request| request.webhook_id() == uid);
        let request = request.unwrap_or_else(|| panic!("event {n} is not delivered"));
        convoy_advanced(&request.headers, &request.body, &format!("secret-{n}")).unwrap();
        let endpoint = endpoints_at(&mut project, url, 1).await.remove(0);
        assert_eq!(endpoint["secrets"][0]["value"], format!("secret-{n}"));
    }
    settled(&outrider).await;
}

#[tokio::test]
async fn an_endpoint_that_was_deleted_does_not_come_back_with_a_restart() {
    let receiver = Receiver::start().await;
    let (mut outrider, mut project) = start(&json!({})).await;
    let url = receiver.url("/in");
    project
        .post("/events/dynamic", &event(&url))
        .await
        .event_uid();
    let endpoint = endpoints_at(&mut project, &url, 1).await.remove(0);
    settled(&outrider).await;
    let path = format!("/endpoints/{}", endpoint["uid"].as_str().unwrap());
    project.delete(&path).await.data(200);
    assert_eq!(outrider.terminate().await, Some(0));
    outrider.start().await;
    settled(&outrider).await;
    project.get(&path).await.refusal(404);
    // An event makes it again, as it was made the first time.
    project
        .post("/events/dynamic", &event(&url))
        .await
        .event_uid();
    let again = endpoints_at(&mut project, &url, 1).await.remove(0);
    assert_eq!(again["uid"], endpoint["uid"]);
    receiver.wait_for(2, DEADLINE).await;
}

#[tokio::test]
async fn what_is_in_the_log_is_not_readable_there() {
    let receiver = Receiver::start().await;
    let (mut outrider, mut project) = start(&json!({})).await;
    let mut made = event(&receiver.url("/in?token=in-the-url"));
    made["secret"] = "a-secret-of-a-customer".into();
    project.post("/events/dynamic", &made).await.event_uid();
    receiver.wait_for(1, DEADLINE).await;
    assert_eq!(outrider.terminate().await, Some(0));
    let mut segments = 0;
    for entry in std::fs::read_dir(outrider.data_dir().join("log")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let holds = |text: &str| {
            bytes
                .windows(text.len())
                .any(|window| window == text.as_bytes())
        };
        segments += usize::from(holds("invoice.paid"));
        assert!(!holds("a-secret-of-a-customer"));
    }
    assert!(segments > 0, "the event itself is there");
}
