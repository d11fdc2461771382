//! A resource that this data plane refuses is not deleted: what waits for it keeps waiting.

use rusqlite::Connection;
use serde_json::{Value, json};

use super::harness::{DEADLINE, Endpoint, Fault, Receiver, Resources, Setup, WEAKER, uid};

const SECRET: &str = "shared-with-the-customer";

/// Changes a stored document behind the back of the control plane, as a binary with stricter
/// rules would find it.
fn edit(journal: &std::path::Path, from: &str, to: &str) {
    let journal = Connection::open(journal).unwrap();
    let changed = journal
        .execute(
            "UPDATE resources SET document = CAST(replace(CAST(document AS TEXT), ?1, ?2) AS BLOB)
             WHERE instr(CAST(document AS TEXT), ?1) > 0",
            [from, to],
        )
        .unwrap();
    assert_eq!(changed, 1);
}

#[tokio::test]
async fn deliveries_of_a_quarantined_endpoint_are_held_and_go_on_when_it_is_mended() {
    let receiver = Receiver::failing_first(1, Fault::Status(500)).await;
    let url = receiver.url("/in");
    let resources = Resources::outgoing(&[Endpoint::new(1, &url, SECRET)]);
    let mut outrider = Setup::new(&resources).start().await;
    let event = outrider
        .client()
        .publish_to(&uid(1), "a", json!({}))
        .await
        .unwrap()
        .event_uid();
    receiver.wait_for(1, DEADLINE).await;
    outrider.kill();

    let journal = outrider.data_dir().join("control/journal.sqlite");
    let broken = url.replace("http://", "ftp://");
    edit(&journal, &url, &broken);
    outrider.start_without_resources().await;
    outrider
        .wait_for_metric("outrider_queue_depth", &["state=\"held\""], 1.0, DEADLINE)
        .await;
    assert_eq!(
        outrider
            .metric("outrider_deliveries_finished_total", &[])
            .await,
        0.0
    );
    outrider.kill();

    edit(&journal, &broken, &url);
    outrider.start_without_resources().await;
    let received = receiver.wait_for(2, DEADLINE).await;
    assert_eq!(received[1].webhook_id(), event);
}

#[tokio::test]
async fn the_old_endpoint_stays_in_force_while_the_new_one_is_in_quarantine() {
    let (old, new) = (Receiver::start().await, Receiver::start().await);
    let outrider = Setup::through_api().start().await;
    let mut admin = outrider.admin_api();
    let mut project = admin.make_project("shop", "outgoing", &json!({})).await;
    let url = old.url("/old");
    let endpoint = project.make_endpoint("customer", &url, &json!({})).await;
    let journal = outrider.data_dir().join("control/journal.sqlite");
    let journal = Connection::open(journal).unwrap();
    journal.execute_batch(WEAKER).unwrap();

    let path = format!("/endpoints/{endpoint}");
    let change = json!({"name": "customer", "url": new.url("/new")});
    project.put(&path, &change).await.data(202);
    let quarantined = "outrider_config_quarantined";
    outrider
        .wait_for_metric(quarantined, &[], 1.0, DEADLINE)
        .await;
    let event = project.publish(&endpoint, "a", &json!(1)).await;
    let received = old.wait_for(1, DEADLINE).await;
    assert_eq!(received[0].webhook_id(), event);
    assert_eq!(new.connections(), 0);
    let dump = outrider.admin_page("/config_dump").await;
    let dump: Value = serde_json::from_str(&dump).unwrap();
    let shown = &dump["quarantined"][0];
    assert_eq!(
        (&shown["kind"], &shown["uid"]),
        (&json!("endpoint"), &json!(endpoint))
    );
    assert_eq!(
        shown["reason"],
        "`url`: only http and https are delivered to"
    );
    assert_eq!(dump["projects"][0]["endpoints"][0]["url"], url);
    assert!(outrider.stderr().contains("resource quarantined"));

    journal.execute_batch("DROP TRIGGER weaker").unwrap();
    let mended = json!({"name": "customer", "url": new.url("/new"), "http_timeout": 2});
    project.put(&path, &mended).await.data(202);
    let event = project.publish(&endpoint, "a", &json!(2)).await;
    let received = new.wait_for(1, DEADLINE).await;
    assert_eq!(received[0].webhook_id(), event);
    assert_eq!(outrider.metric(quarantined, &[]).await, 0.0);
    assert_eq!(old.received().len(), 1);
}
