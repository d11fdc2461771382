//! What a customer got, by the number of the event. Kept apart from the receiver's own record,
//! which is too slow to be looked through after every one of thousands of requests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use super::super::harness::{
    DEADLINE, Fault, Faults, Producer, Received, Receiver, convoy_advanced, until,
};
use super::SECRET;

/// Everything received of one event.
#[derive(Debug, Clone, Default)]
struct Delivered {
    webhook_ids: BTreeSet<String>,
    successes: u32,
}

#[derive(Debug, Default)]
struct Content {
    by_number: BTreeMap<u64, Delivered>,
    /// What is wrong with requests that should not have come like that.
    forged: Vec<String>,
    requests: usize,
}

/// All requests, with their signatures verified as they came.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    content: Mutex<Content>,
}

impl Ledger {
    /// A receiver with these faults that keeps this ledger.
    pub(super) async fn receiver(self: &Arc<Self>, faults: Faults) -> Receiver {
        let ledger = Arc::clone(self);
        let script = move |request: &Received| {
            let fault = faults.of(request);
            ledger.enter(request, &fault);
            fault
        };
        let greeting = move |number| faults.of_connection(number);
        let mut receiver = Receiver::greeting(greeting, script);
        receiver.open().await;
        receiver
    }

    fn enter(&self, request: &Received, fault: &Fault) {
        let signed = convoy_advanced(&request.headers, &request.body, SECRET);
        let mut content = self.content();
        content.requests += 1;
        if let Err(error) = signed {
            content.forged.push(error);
            return;
        }
        let delivered = content
            .by_number
            .entry(Producer::number(request))
            .or_default();
        delivered.successes += u32::from(fault.is_success());
        delivered
            .webhook_ids
            .insert(request.webhook_id().to_owned());
    }

    /// Waits until each of these was delivered with success. They came under their uid and no
    /// other, and everything that came was signed.
    pub(super) async fn wait_for_all(&self, acknowledged: &BTreeMap<u64, String>) {
        let what = format!(
            "all {} acknowledged events are delivered",
            acknowledged.len()
        );
        let mut missing: Vec<u64> = acknowledged.keys().copied().collect();
        let (mut newest, mut left) = (0, usize::MAX);
        // The deadline is for some progress: how long all takes is a matter of how many there are.
        while !missing.is_empty() {
            assert!(missing.len() < left, "{what}: missing {missing:?}");
            left = missing.len();
            until(
                &format!("{what}, {left} are missing"),
                DEADLINE,
                async || {
                    let content = self.content();
                    if content.requests == newest {
                        return None;
                    }
                    newest = content.requests;
                    missing.retain(|n| {
                        let delivered = content.by_number.get(n);
                        delivered.is_none_or(|delivered| delivered.successes == 0)
                    });
                    (missing.len() < left).then_some(())
                },
            )
            .await;
        }
        self.assert_true(acknowledged);
    }

    fn assert_true(&self, acknowledged: &BTreeMap<u64, String>) {
        let content = self.content();
        assert_eq!(content.forged, Vec::<String>::new());
        for (n, delivered) in &content.by_number {
            let ids: Vec<&String> = delivered.webhook_ids.iter().collect();
            assert_eq!(ids.len(), 1, "event {n} came under several ids: {ids:?}");
            if let Some(uid) = acknowledged.get(n) {
                assert_eq!(ids, [uid], "event {n} came under another id");
            }
        }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap()
    }
}
