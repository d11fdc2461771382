//! What people hear of endpoints in trouble: by mail, in Slack and in Teams.

use serde_json::{Value, json};

use super::harness::{Api, DEADLINE, Fault, Mailbox, Outrider, Receiver, Rules, Setup, until};

async fn project(outrider: &Outrider) -> Api {
    let config = json!({"strategy": {"type": "linear", "duration": 1, "retry_count": 1}});
    outrider
        .admin_api()
        .make_project("shop", "outgoing", &config)
        .await
}

fn text_of(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(body.as_object().unwrap().len(), 1);
    body["text"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_nobody_can_be_told_with_is_refused_by_name() {
    let outrider = Setup::through_api().start().await;
    let mut project = project(&outrider).await;
    for (field, value, message) in [
        (
            "support_email",
            "nobody",
            "`support_email`: must be one address like ops@a.example",
        ),
        (
            "support_email",
            "a@b.example, c@d.example",
            "`support_email`: must be one address like ops@a.example",
        ),
        (
            "slack_webhook_url",
            "https://a.example/{b}",
            "`slack_webhook_url`: must be one URL, no template",
        ),
    ] {
        let mut body = json!({"name": "e", "url": "http://a.example/"});
        body[field] = value.into();
        let refused = project.post("/endpoints", &body).await;
        assert_eq!(refused.refusal(400), message);
    }
    let bad = Setup::through_api()
        .env("OUTRIDER__SMTP__HOST", "mail.example")
        .env("OUTRIDER__SMTP__SECURITY", "some")
        .run_to_end()
        .await;
    assert_eq!(bad.code, Some(78), "{}", bad.output);
    assert!(
        bad.output.contains("SMTP__SECURITY") && bad.output.contains("smtp.from"),
        "{}",
        bad.output
    );
}

#[tokio::test]
async fn people_hear_that_an_endpoint_was_switched_off_once_on_every_way() {
    let mailbox = Mailbox::with(Rules {
        refused: 1,
        ..Rules::default()
    })
    .await;
    let hooks = Receiver::with(|request| match request.attempt {
        1 => Fault::Status(500),
        _ => Fault::None,
    })
    .await;
    let gone = Receiver::with(|_| Fault::Status(410)).await;
    let outrider = mailbox.setup("none").start().await;
    let mut project = project(&outrider).await;
    let more = json!({
        "support_email": "ops@customer.example",
        "slack_webhook_url": hooks.url("/slack"),
        "teams_webhook_url": hooks.url("/teams"),
    });
    let endpoint = project
        .make_endpoint("till", &gone.url("/in?token=hunter2"), &more)
        .await;
    let path = format!("/endpoints/{endpoint}");
    let shown = project.get(&path).await.data(200);
    assert_eq!(shown["slack_webhook_url"], hooks.url("/slack"));
    // Twice, so that the second one is too soon to be heard of.
    for number in 0..2 {
        let event = project.publish(&endpoint, "a", &json!(number)).await;
        project.delivery(&event, "Failure").await;
        until("it is off", DEADLINE, async || {
            let shown = project.get(&path).await.data(200);
            (shown["status"] == "inactive").then_some(())
        })
        .await;
        let activate = format!("{path}/activate");
        project.post(&activate, &json!({})).await.data(202);
    }
    // Each failed once and was tried again.
    hooks
        .wait_until("both hooks have it", DEADLINE, |received| {
            received.iter().filter(|one| one.is_success()).count() == 2
        })
        .await;
    for request in hooks.received() {
        let text = text_of(&request.body);
        assert!(
            text.starts_with("shop: endpoint till was switched off\nreason: gone\n"),
            "{text}"
        );
        assert!(
            text.contains(&endpoint) && !text.contains("hunter2"),
            "{text}"
        );
    }
    let mails = mailbox.wait_for(1).await;
    for part in [
        "RCPT TO:<ops@customer.example>",
        "MAIL FROM:<hooks@outrider.example>",
        "Subject: shop: endpoint till was switched off",
        "reason: gone",
    ] {
        assert!(mails[0].contains(part), "{part}: {}", mails[0]);
    }
    let held = ["channel=\"all\"", "result=\"held_back\""];
    outrider
        .wait_for_metric("outrider_notifications_total", &held, 1.0, DEADLINE)
        .await;
    let sent = ["channel=\"mail\"", "result=\"sent\""];
    outrider
        .wait_for_metric("outrider_notifications_total", &sent, 1.0, DEADLINE)
        .await;
    assert_eq!((mailbox.seen().mails.len(), hooks.received().len()), (1, 4));
    // The messages are no events of the project; their attempts can be looked up.
    assert_eq!(project.uids("/events").await.len(), 2);
    let rows = project.rows("/meta-events").await;
    let mut kinds: Vec<_> = rows
        .iter()
        .map(|row| row["event_type"].as_str().unwrap())
        .collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["notification.slack", "notification.teams"]);
}

#[tokio::test]
async fn people_hear_when_as_many_deliveries_failed_as_the_subscription_says() {
    let hooks = Receiver::start().await;
    let receiver = Receiver::with(|_| Fault::Status(500)).await;
    let outrider = Setup::through_api().start().await;
    let mut project = project(&outrider).await;
    let more = json!({"slack_webhook_url": hooks.url("/slack")});
    let endpoint = project
        .make_endpoint("till", &receiver.url("/in"), &more)
        .await;
    let mut body = json!({
        "name": "s", "endpoint_id": endpoint, "filter_config": {"event_types": ["*"]},
        "alert_config": {"count": 3, "threshold": "soon"},
    });
    let refused = project.post("/subscriptions", &body).await;
    assert_eq!(
        refused.refusal(400),
        "`alert_config.threshold`: must be a time like 30s, 10m or 1h30m, at most 168h"
    );
    body["alert_config"]["threshold"] = "1h".into();
    let made = project.post("/subscriptions", &body).await.data(201);
    assert_eq!(made["alert_config"], json!({"count": 3, "threshold": "1h"}));
    for number in 0..3 {
        assert_eq!(hooks.received().len(), 0, "after {number}");
        let event = project.publish(&endpoint, "a", &json!(number)).await;
        project.delivery(&event, "Failure").await;
    }
    let received = hooks.wait_for(1, DEADLINE).await;
    let text = text_of(&received[0].body);
    assert!(
        text.contains("does not take what is delivered to it\nreason: retry_limit_exceeded"),
        "{text}"
    );
}
