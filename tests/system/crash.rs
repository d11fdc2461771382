//! The first promise: what was acknowledged is delivered, whatever happens to the process, and
//! to the power of the machine.

mod ledger;
mod power;
mod reads;
mod rounds;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use self::ledger::Ledger;
use super::harness::{DEADLINE, Fault, Faults, Producer, Receiver, Resources, Setup, uid};

const SECRET: &str = "shared-with-the-customer";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_under_load_ends_with_0_and_what_was_accepted_is_delivered_or_pending() {
    let faults = Faults::new();
    let ledger = Arc::new(Ledger::default());
    let receiver = ledger.receiver(faults).await;
    let mut outrider = Setup::new(&Resources::outgoing_to(&receiver, SECRET))
        .start()
        .await;
    let producer = Producer::to_endpoints(1);
    let mut load = producer.start(&outrider);
    load.wait_for(300).await;
    let started = tokio::time::Instant::now();
    assert_eq!(outrider.terminate().await, Some(0), "{}", outrider.stderr());
    // Attempts under way end within the second their endpoint gives them.
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "the drain took {:?}",
        started.elapsed()
    );
    load.finish().await;
    outrider.start().await;
    ledger.wait_for_all(&producer.acknowledged()).await;
    eprintln!("{} acknowledged", producer.count_acknowledged());
}

#[tokio::test]
async fn a_restart_after_a_drain_repeats_nothing() {
    let receiver = Receiver::start().await;
    let mut outrider = Setup::new(&Resources::outgoing_to(&receiver, SECRET))
        .start()
        .await;
    let mut client = outrider.client();
    for n in 0..50 {
        assert_eq!(
            client
                .publish_to(&uid(1), "load", json!({"n": n}))
                .await
                .unwrap()
                .status,
            201
        );
    }
    receiver.wait_for(50, DEADLINE).await;
    assert_eq!(outrider.terminate().await, Some(0), "{}", outrider.stderr());
    outrider.start().await;
    let last = outrider
        .client()
        .publish_to(&uid(1), "load", json!({"n": 50}))
        .await
        .unwrap()
        .event_uid();
    let received = receiver.wait_for(51, DEADLINE).await;
    assert_eq!(
        (received.len(), received[50].webhook_id()),
        (51, last.as_str())
    );
}

#[tokio::test]
async fn a_retry_that_was_pending_at_a_kill_is_made_after_the_restart() {
    let mut receiver = Receiver::refusing(|_| Fault::None);
    let mut outrider = Setup::new(&Resources::outgoing_to(&receiver, SECRET))
        .start()
        .await;
    let uid = outrider
        .client()
        .publish_to(&uid(1), "load", json!({"n": 1}))
        .await
        .unwrap()
        .event_uid();
    outrider
        .wait_for_metric("outrider_delivery_attempts_total", &[], 1.0, DEADLINE)
        .await;
    outrider.kill();
    receiver.open().await;
    outrider.start().await;
    assert_eq!(receiver.wait_for(1, DEADLINE).await[0].webhook_id(), uid);
}
