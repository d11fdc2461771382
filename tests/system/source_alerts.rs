//! Sources that fall silent, are flooded or refuse too much are told, once, until it is over.

use serde_json::{Value, json};

use super::harness::{DEADLINE, Setup, get, until};

fn kinds(shown: &Value) -> Vec<String> {
    let content = shown["content"].as_array().unwrap();
    let mut kinds: Vec<_> = content
        .iter()
        .map(|alert| alert["kind"].as_str().unwrap().to_owned())
        .collect();
    kinds.sort();
    kinds
}

#[tokio::test]
async fn thresholds_out_of_range_or_unknown_are_refused() {
    let outrider = Setup::through_api().start().await;
    let mut api = outrider.admin_api();
    let mut api = api.make_project("in", "incoming", &json!({})).await;
    for (alerts, says) in [
        (
            json!({"silent_after_s": 2_592_001}),
            "`alerts.silent_after_s`: must be from 1 to 2592000 seconds",
        ),
        (
            json!({"spike_per_min": 100_000_001}),
            "`alerts.spike_per_min`: must be from 1 to 100000000 requests a minute",
        ),
        (
            json!({"rejected_per_min": 100_000_001}),
            "`alerts.rejected_per_min`: must be from 1 to 100000000 requests a minute",
        ),
        (
            json!({"handshake_after_s": 2_592_001}),
            "`alerts.handshake_after_s`: must be from 1 to 2592000 seconds",
        ),
    ] {
        let body =
            json!({"name": "s", "type": "http", "verifier": {"type": "noop"}, "alerts": alerts});
        assert_eq!(api.post("/sources", &body).await.refusal(400), says);
    }
}

#[tokio::test]
async fn alerts_are_raised_shown_counted_logged_and_cleared() {
    let outrider = Setup::through_api().start().await;
    let mut admin = outrider.admin_api();
    let mut other = admin.make_project("other", "incoming", &json!({})).await;
    let mut api = admin.make_project("in", "incoming", &json!({})).await;
    let alerts = json!({"silent_after_s": 2, "spike_per_min": 3, "rejected_per_min": 4});
    let (source, mask) = api.make_source("watched", &json!({"alerts": alerts})).await;
    let shown = api.get(&format!("/sources/{source}")).await.data(200);
    assert_eq!(shown["alerts"]["spike_per_min"], 3);

    let silent = until("it is silent", DEADLINE, async || {
        let shown = api.get("/alerts").await.data(200);
        (kinds(&shown) == ["silent"]).then_some(shown)
    })
    .await;
    let alert = &silent["content"][0];
    assert_eq!(
        (&alert["source_id"], &alert["threshold"]),
        (&json!(source), &json!(2))
    );
    assert_eq!(
        (&alert["dataplane"], &alert["project_id"]),
        (&json!(0), &json!(api.project()))
    );
    assert_eq!(other.get("/alerts").await.data(200)["content"], json!([]));

    // Events end the silence; three of them are a spike, and four refused requests too many.
    let mut client = outrider.client();
    for _ in 0..4 {
        let coded = [("content-encoding", "x")];
        let reply = client
            .post(&format!("/ingest/{mask}"), &coded, "a")
            .await
            .unwrap();
        assert_eq!(reply.code(), "unsupported_coding");
    }
    let mut events = 0;
    until(
        "the silence is over, and three were sent",
        DEADLINE,
        async || {
            let sent = client.post(&format!("/ingest/{mask}"), &[], "a").await;
            sent.unwrap().event_uid();
            events += 1;
            let is_over = outrider.stderr().contains("source alert cleared");
            (is_over && events >= 3).then_some(())
        },
    )
    .await;
    for kind in ["spike", "rejected"] {
        let label = format!("kind=\"{kind}\"");
        outrider
            .wait_for_metric("outrider_source_alerts", &[&label], 1.0, DEADLINE)
            .await;
    }
    let page: Value = serde_json::from_str(&outrider.admin_page("/alerts").await).unwrap();
    let on_page = page["alerts"].as_array().unwrap();
    assert!(
        on_page
            .iter()
            .any(|alert| alert["kind"] == "spike" && alert["threshold"] == 3),
        "{page}"
    );

    // A source that is to refuse everything has no alerts.
    let disabled = json!({"name": "watched", "type": "http", "is_disabled": true});
    api.put(&format!("/sources/{source}"), &disabled)
        .await
        .data(202);
    until("nothing is raised", DEADLINE, async || {
        let shown = api.get("/alerts").await.data(200);
        kinds(&shown).is_empty().then_some(())
    })
    .await;
    assert_eq!(outrider.metric("outrider_source_alerts", &[]).await, 0.0);
    let log = outrider.stderr();
    for text in [
        "source alert raised",
        "\"kind\":\"silent\"",
        "\"kind\":\"spike\"",
        "\"kind\":\"rejected\"",
    ] {
        assert!(log.contains(text), "{text}");
    }
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_an_alert_until_it_does() {
    let outrider = Setup::through_api().start().await;
    let mut admin = outrider.admin_api();
    let mut api = admin.make_project("in", "incoming", &json!({})).await;
    let twitter = json!({
        "verifier": null, "preset": "twitter", "secrets": ["tw-secret"], "alerts": {"handshake_after_s": 2},
    });
    let (_, mask) = api.make_source("twitter", &twitter).await;
    until("the handshake is missed", DEADLINE, async || {
        let shown = api.get("/alerts").await.data(200);
        (kinds(&shown) == ["handshake"]).then_some(())
    })
    .await;
    until("the handshake ends it", DEADLINE, async || {
        let path = format!("/ingest/{mask}?crc_token=crc-abc123");
        let reply = get(outrider.public(), &path).await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
        let log = outrider.stderr();
        log.contains("source alert cleared").then_some(())
    })
    .await;
}
