//! The first promise: what was acknowledged is delivered, whatever happens to the process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rand::RngExt;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::harness::{
    DEADLINE, Faults, Outrider, Received, Receiver, Resources, Setup, audit, convoy_advanced, uid,
};

const SECRET: &str = "shared-with-the-customer";
/// Producers that publish at the same time.
const PRODUCERS: usize = 16;

/// Producers that publish numbered events as fast as they are taken.
struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: watch::Receiver<BTreeMap<u64, String>>,
    producers: JoinSet<()>,
}

impl Load {
    /// Starts to publish; `next` is the number of the next event over all rounds.
    fn start(outrider: &Outrider, next: &Arc<AtomicU64>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, acknowledged) = watch::channel(BTreeMap::new());
        let mut producers = JoinSet::new();
        for _ in 0..PRODUCERS {
            let (mut client, sender) = (outrider.client(), sender.clone());
            let (stop, next) = (Arc::clone(&stop), Arc::clone(next));
            producers.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    // An error is an event without an acknowledgement: nothing was promised.
                    let Ok(reply) = client.publish_to(&uid(1), "load", json!({"n": n})).await
                    else {
                        break;
                    };
                    if reply.status == 201 {
                        sender.send_modify(|all| drop(all.insert(n, reply.event_uid())));
                    } else {
                        assert_eq!(reply.status, 503, "{}", reply.text());
                    }
                }
            });
        }
        Self {
            stop,
            acknowledged,
            producers,
        }
    }

    /// Waits until at least this many events of this load are acknowledged.
    async fn wait_for(&mut self, count: usize) {
        let enough = self.acknowledged.wait_for(|all| all.len() >= count);
        tokio::time::timeout(DEADLINE, enough)
            .await
            .expect("events are acknowledged")
            .unwrap();
    }

    /// Ends the producers; every event number that was acknowledged, with its uid.
    async fn finish(mut self) -> BTreeMap<u64, String> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.producers.join_next().await {
            ended.unwrap();
        }
        self.acknowledged.borrow().clone()
    }
}

fn number(request: &Received) -> u64 {
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    body["n"].as_u64().unwrap()
}

/// Every acknowledged event arrives at least once with success, signed, always under its uid.
async fn assert_all_delivered(receiver: &Receiver, acknowledged: &BTreeMap<u64, String>) {
    let received = receiver
        .wait_until(
            "all acknowledged events are delivered",
            DEADLINE,
            |received| {
                // Counting first: the exact look is too slow to be taken after every request.
                received.len() >= acknowledged.len() && {
                    let delivered: BTreeSet<u64> = received
                        .iter()
                        .filter(|request| request.is_success())
                        .map(number)
                        .collect();
                    acknowledged.keys().all(|n| delivered.contains(n))
                }
            },
        )
        .await;
    for request in &received {
        convoy_advanced(&request.headers, &request.body, SECRET).unwrap();
        if let Some(uid) = acknowledged.get(&number(request)) {
            assert_eq!(request.webhook_id(), uid, "a repeat has another id");
        }
    }
}

/// The log of a gateway that does not run proves one fate for each delivery, of at least as
/// many events as were acknowledged.
async fn assert_all_in_the_log(outrider: &Outrider, acknowledged: usize) {
    let ended = audit(&outrider.data_dir(), &["--json"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    let report: serde_json::Value = serde_json::from_str(&ended.output).unwrap();
    let events = report["records"]["events"].as_u64().unwrap();
    assert!(events >= acknowledged as u64, "{}", ended.output);
    assert_eq!(report["deliveries"]["total"], events, "{}", ended.output);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_event_is_delivered_after_five_kills_under_load() {
    let faults = Faults::new();
    let mut rng = faults.rng();
    let receiver = Receiver::with(move |request| faults.of(request)).await;
    let mut outrider = Setup::new(&Resources::outgoing_to(&receiver, SECRET))
        .small_segments()
        .start()
        .await;
    let (next, mut acknowledged) = (Arc::new(AtomicU64::new(0)), BTreeMap::new());
    for round in 1..=5 {
        let mut load = Load::start(&outrider, &next);
        load.wait_for(rng.random_range(50..400)).await;
        outrider.kill();
        let of_round = load.finish().await;
        eprintln!("round {round}: {} acknowledged", of_round.len());
        acknowledged.extend(of_round);
        assert_all_in_the_log(&outrider, acknowledged.len()).await;
        outrider.start().await;
    }
    assert_all_delivered(&receiver, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_under_load_ends_with_0_and_what_was_accepted_is_delivered_or_pending() {
    let faults = Faults::new();
    let receiver = Receiver::with(move |request| faults.of(request)).await;
    let mut outrider = Setup::new(&Resources::outgoing_to(&receiver, SECRET))
        .start()
        .await;
    let mut load = Load::start(&outrider, &Arc::new(AtomicU64::new(0)));
    load.wait_for(300).await;
    let started = tokio::time::Instant::now();
    assert_eq!(outrider.terminate().await, Some(0), "{}", outrider.stderr());
    // Attempts under way end within the second their endpoint gives them.
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "the drain took {:?}",
        started.elapsed()
    );
    let acknowledged = load.finish().await;
    let before = receiver.received().len();
    outrider.start().await;
    assert_all_delivered(&receiver, &acknowledged).await;
    eprintln!(
        "{} acknowledged, {before} requests before the restart",
        acknowledged.len()
    );
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
    let mut receiver = Receiver::refusing(|_| super::harness::Fault::None);
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
