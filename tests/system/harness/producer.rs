//! Producers that publish numbered events as fast as they are taken, and know what became of
//! each: the promise is about what was acknowledged, and about what is asked again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::http_client::{Client, Reply};
use super::outrider::Outrider;
use super::receiver::Received;
use super::resources::uid;
use super::wait::DEADLINE;

/// Clients that publish at the same time.
const CLIENTS: usize = 16;

/// What a producer knows of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// A success, with this uid.
    Acknowledged(String),
    /// 503: nothing is promised, and nothing says that it was not taken.
    Refused,
    /// The connection broke before there was a reply.
    Unanswered,
}

/// All events of one producer, over all runs of the gateway. Each has an idempotency key of its
/// own and goes to one of the endpoints `uid(1)` to `uid(endpoints)`.
pub(crate) struct Producer {
    endpoints: u32,
    next: Arc<AtomicU64>,
    fates: watch::Sender<BTreeMap<u64, Fate>>,
}

impl Producer {
    pub(crate) fn to_endpoints(endpoints: u32) -> Self {
        Self {
            endpoints,
            next: Arc::default(),
            fates: watch::Sender::default(),
        }
    }

    /// Starts to publish, many clients at once.
    pub(crate) fn start(&self, outrider: &Outrider) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let (stop, next) = (Arc::clone(&stop), Arc::clone(&self.next));
            let (client, fates) = (outrider.client(), self.fates.clone());
            let endpoints = self.endpoints;
            clients.spawn(publish(client, endpoints, next, stop, fates));
        }
        Load {
            stop,
            before: self.count_acknowledged(),
            fates: self.fates.subscribe(),
            clients,
        }
    }

    /// What became of every event.
    pub(crate) fn fates(&self) -> BTreeMap<u64, Fate> {
        self.fates.borrow().clone()
    }

    /// Every acknowledged event with its uid.
    pub(crate) fn acknowledged(&self) -> BTreeMap<u64, String> {
        let fates = self.fates();
        let acknowledged = fates.into_iter().filter_map(|(n, fate)| match fate {
            Fate::Acknowledged(uid) => Some((n, uid)),
            _ => None,
        });
        acknowledged.collect()
    }

    pub(crate) fn count_acknowledged(&self) -> usize {
        count_acknowledged(&self.fates.borrow())
    }

    /// The events without a reply.
    pub(crate) fn unanswered(&self) -> Vec<u64> {
        let fates = self.fates.borrow();
        let unanswered = fates.iter().filter(|(_, fate)| **fate == Fate::Unanswered);
        unanswered.map(|(n, _)| *n).collect()
    }

    /// Publishes an event once more, with the key it has, to a gateway that answers. The reply
    /// has to be a success, and with the uid it had if it had one; it is acknowledged then.
    pub(crate) async fn repeat(&self, client: &mut Client, n: u64) -> String {
        let reply = client.publish("", &event(n, self.endpoints)).await;
        let reply = reply.unwrap_or_else(|error| panic!("event {n} again: {error}"));
        let uid = reply.event_uid();
        self.fates.send_modify(|fates| {
            let before = fates.insert(n, Fate::Acknowledged(uid.clone()));
            if let Some(Fate::Acknowledged(first)) = before {
                assert_eq!(uid, first, "event {n} again is another event");
            }
        });
        uid
    }

    /// The idempotency key of an event.
    pub(crate) fn key(n: u64) -> String {
        format!("load-{n}")
    }

    /// The number of the event in a request.
    pub(crate) fn number(request: &Received) -> u64 {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        body["n"].as_u64().unwrap()
    }
}

/// A producer at work.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    before: usize,
    fates: watch::Receiver<BTreeMap<u64, Fate>>,
    clients: JoinSet<()>,
}

impl Load {
    /// Waits until at least this many more events are acknowledged than at its start.
    pub(crate) async fn wait_for(&mut self, count: usize) {
        let count = self.before + count;
        let enough = self
            .fates
            .wait_for(|fates| fates.len() >= count && count_acknowledged(fates) >= count);
        let waited = timeout(DEADLINE, enough).await;
        waited.expect("events are acknowledged").unwrap();
    }

    /// Ends the clients, each after the reply it waits for.
    pub(crate) async fn finish(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
    }
}

/// One client. A broken connection ends it: the gateway is gone.
async fn publish(
    mut client: Client,
    endpoints: u32,
    next: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    fates: watch::Sender<BTreeMap<u64, Fate>>,
) {
    while !stop.load(Ordering::Relaxed) {
        let n = next.fetch_add(1, Ordering::Relaxed);
        let reply = client.publish("", &event(n, endpoints)).await;
        let is_broken = reply.is_err();
        let fate = reply.as_ref().map_or(Fate::Unanswered, fate);
        fates.send_modify(|fates| drop(fates.insert(n, fate)));
        if is_broken {
            break;
        }
    }
}

fn fate(reply: &Reply) -> Fate {
    match reply.status.as_u16() {
        503 => Fate::Refused,
        _ => Fate::Acknowledged(reply.event_uid()),
    }
}

fn count_acknowledged(fates: &BTreeMap<u64, Fate>) -> usize {
    let is_acknowledged = |fate: &&Fate| matches!(fate, Fate::Acknowledged(_));
    fates.values().filter(is_acknowledged).count()
}

/// Most events are small; one in sixteen has some KiB, so that writes differ in their sectors
/// and segments fill up.
fn event(n: u64, endpoints: u32) -> Value {
    let filling = match n % 16 {
        7 => 700 * (n / 16 % 12),
        _ => n * 31 % 400,
    };
    let endpoint = u32::try_from(n % u64::from(endpoints)).unwrap() + 1;
    json!({
        "endpoint_id": uid(endpoint),
        "event_type": "load",
        "idempotency_key": Producer::key(n),
        "data": {"n": n, "filling": "x".repeat(usize::try_from(filling).unwrap())},
    })
}
