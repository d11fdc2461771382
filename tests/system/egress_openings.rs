//! New connections to one destination come evenly.

use std::time::{Duration, Instant};

use serde_json::json;

use super::egress_sources::make_project;
use super::harness::{DEADLINE, Fault, Receiver, Setup};

const EVENTS: u32 = 200;
/// Connections that may be opened in a second, and at once.
const RATE: u32 = 100;
const AT_ONCE: u32 = 32;

#[tokio::test]
async fn a_receiver_that_keeps_no_connection_gets_all_in_turn() {
    // Too long to be read to its end, which would keep the connection.
    let receiver = Receiver::with(|_| Fault::Oversize(2 * 1024 * 1024)).await;
    let limit = "OUTRIDER__EGRESS__NEW_CONNECTIONS_PER_DESTINATION";
    let outrider = Setup::through_api()
        .env(limit, &RATE.to_string())
        .start()
        .await;
    let mut project = make_project(&mut outrider.admin_api(), "shop", None).await;
    let endpoint = project
        .make_endpoint("e", &receiver.url("/"), &json!({}))
        .await;
    let pause = format!("/endpoints/{endpoint}/pause");
    project.put(&pause, &json!({})).await.data(202);
    for number in 0..EVENTS {
        project.publish(&endpoint, "a", &json!(number)).await;
    }
    let start = Instant::now();
    project.put(&pause, &json!({})).await.data(202); // all are due at once
    let (attempts, success) = ("outrider_delivery_attempts_total", "outcome=\"success\"");
    outrider
        .wait_for_metric(attempts, &[success], f64::from(EVENTS), DEADLINE)
        .await;
    // However slow the machine is: never sooner.
    let least = Duration::from_secs(1) * (EVENTS - AT_ONCE) / RATE;
    assert!(start.elapsed() >= least, "{:?}", start.elapsed());
    assert_eq!(receiver.received().len(), usize::try_from(EVENTS).unwrap());
    assert_eq!(outrider.metric(attempts, &[]).await, f64::from(EVENTS));
}
