//! A resource that this data plane refuses is not deleted: what waits for it keeps waiting.

use rusqlite::Connection;
use serde_json::json;

use super::harness::{DEADLINE, Endpoint, Fault, Receiver, Resources, Setup, uid};

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
