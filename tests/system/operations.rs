//! What an operator asks of deliveries: by force, not at all any more, and for many at once.

mod batches;
mod cancel;
mod forced;
mod replay;

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::harness::{Api, DEADLINE, Fault, Outrider, Receiver, Setup, audit, until};

/// A receiver that does what it was told last.
struct Moody {
    receiver: Receiver,
    mood: Arc<Mutex<Fault>>,
}

impl Moody {
    async fn start(first: Fault) -> Self {
        let mood = Arc::new(Mutex::new(first));
        let now = Arc::clone(&mood);
        let receiver = Receiver::with(move |_| now.lock().unwrap().clone()).await;
        Self { receiver, mood }
    }

    fn will(&self, fault: Fault) {
        *self.mood.lock().unwrap() = fault;
    }
}

/// A project with so many attempts for each delivery, an hour apart, and an endpoint.
async fn start(moody: &Moody, retry_count: u32) -> (Outrider, Api, String) {
    start_with(Setup::through_api(), moody, retry_count).await
}

/// The same with batches that take their time: to be met on their way.
async fn start_slow(moody: &Moody, retry_count: u32) -> (Outrider, Api, String) {
    let setup = Setup::through_api().env("OUTRIDER__DELIVERY__BATCH_PAUSE_MS", "2000");
    start_with(setup, moody, retry_count).await
}

async fn start_with(setup: Setup, moody: &Moody, retry_count: u32) -> (Outrider, Api, String) {
    let outrider = setup.start().await;
    let strategy = json!({"type": "linear", "duration": 3600, "retry_count": retry_count});
    // What fails goes on failing, each for itself.
    let config = json!({"strategy": strategy, "circuit_breaker": {"is_enabled": false}});
    let mut project = outrider
        .admin_api()
        .make_project("shop", "outgoing", &config)
        .await;
    let endpoint = project
        .make_endpoint("customer", &moody.receiver.url("/in"), &json!({}))
        .await;
    (outrider, project, endpoint)
}

/// Publishes so many events.
async fn publish(project: &mut Api, endpoint: &str, count: usize) -> Vec<String> {
    let mut events = Vec::new();
    for n in 0..count {
        events.push(
            project
                .publish(endpoint, "order.made", &json!({"n": n}))
                .await,
        );
    }
    events
}

/// Waits until so many deliveries have this status.
async fn with_status(project: &mut Api, status: &str, count: usize) {
    until(&format!("{count} are {status}"), DEADLINE, async || {
        (total(project, status).await == count).then_some(())
    })
    .await;
}

async fn total(project: &mut Api, status: &str) -> usize {
    let totals = project.get("/eventdeliveries/statustotals").await.data(200);
    usize::try_from(totals["totals"][status].as_u64().unwrap()).unwrap()
}

/// The newest batch, once it has this status.
async fn batch(project: &mut Api, status: &str) -> Value {
    until(&format!("the batch is {status}"), DEADLINE, async || {
        let all = project.get("/batches").await.data(200);
        let newest = all["content"][0].clone();
        (newest["status"] == status).then_some(newest)
    })
    .await
}

/// Stops the gateway and has its log looked through.
async fn assert_log_is_sound(outrider: &mut Outrider) {
    outrider.kill();
    let report = audit(&outrider.data_dir(), &[]).await;
    assert_eq!(report.code, Some(0), "{}", report.output);
}
