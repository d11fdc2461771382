//! Logs in temporary directories, events to put in, and a sink to watch.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use outrider_webhook::event::{Audience, Decision, DeliveryMode, EventFacts, Origin, Target};
use outrider_webhook::id::{DeliveryKey, EndpointId, EventId, ProjectId, SubscriptionId, Uid};
use tempfile::TempDir;

use crate::*;

pub(super) const NOW_MS: i64 = 1_800_000_000_000;
pub(super) const MIB: u64 = 1 << 20;
pub(super) const MIB_LEN: usize = 1 << 20;

pub(super) struct TestClock(pub(super) AtomicI64);

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Collects what the log hands over; can be made to wait before it takes anything.
#[derive(Default, Clone)]
pub(super) struct Sink {
    pub(super) events: Arc<Mutex<Vec<Arc<StoredEvent>>>>,
    gate: Arc<(Mutex<bool>, Condvar)>,
}

impl Sink {
    pub(super) fn hold(&self) {
        *self.gate.0.lock().unwrap() = true;
    }

    pub(super) fn let_go(&self) {
        *self.gate.0.lock().unwrap() = false;
        self.gate.1.notify_all();
    }

    pub(super) fn ids(&self) -> Vec<EventId> {
        self.events
            .lock()
            .unwrap()
            .iter()
            .map(|event| event.id)
            .collect()
    }

    pub(super) fn last(&self) -> Arc<StoredEvent> {
        Arc::clone(self.events.lock().unwrap().last().unwrap())
    }
}

impl AcceptedSink for Sink {
    fn accepted(&mut self, events: &mut Vec<Arc<StoredEvent>>) {
        self.events.lock().unwrap().append(events);
        let held = self.gate.0.lock().unwrap();
        drop(self.gate.1.wait_while(held, |held| *held).unwrap());
    }
}

/// A log in a directory that lives as long as this.
pub(super) struct Bed {
    pub(super) dir: TempDir,
    pub(super) clock: Arc<TestClock>,
    pub(super) sink: Sink,
    pub(super) options: Options,
}

impl Bed {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::new(dir.path().join("log"));
        options.segment_bytes = MIB;
        options.free_bytes_min = Some(1);
        options.sync = Sync::Always;
        Self {
            dir,
            clock: Arc::new(TestClock(AtomicI64::new(NOW_MS))),
            sink: Sink::default(),
            options,
        }
    }

    pub(super) fn try_open(&self) -> Result<(LocalLog, Recovered), OpenError> {
        LocalLog::open(
            self.options.clone(),
            self.clock.clone(),
            Box::new(self.sink.clone()),
        )
    }

    pub(super) fn open(&self) -> (LocalLog, Recovered) {
        self.try_open().unwrap()
    }

    /// The directory as a power cut would leave it, in a bed of its own.
    pub(super) fn copy(&self) -> Self {
        let other = Self {
            options: self.options.clone(),
            ..Self::new()
        };
        let to = other.dir.path().join("log");
        copy_dir(&self.options.dir, &to);
        Self {
            options: Options {
                dir: to,
                faults: Default::default(),
                ..other.options.clone()
            },
            ..other
        }
    }

    pub(super) fn segment(&self, number: u32) -> std::path::PathBuf {
        crate::dir::segment_path(&self.options.dir, number)
    }
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "LOCK" {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

pub(crate) fn facts(body: usize) -> EventFacts {
    EventFacts {
        project: ProjectId::new(Uid::from_bits(1)),
        origin: Origin::Api,
        audience: Audience::Owner("owner".into()),
        event_type: "invoice.paid".into(),
        headers: vec![(
            HeaderName::from_static("x-test"),
            HeaderValue::from_static("yes"),
        )],
        query: "a=b".into(),
        path: "/in".into(),
        body: Bytes::from(vec![b'x'; body]),
        idempotency_key: None,
        idempotency_window_ms: 60_000,
        received_ms: NOW_MS,
    }
}

pub(super) fn keyed(key: &str) -> EventFacts {
    EventFacts {
        idempotency_key: Some(key.into()),
        ..facts(10)
    }
}

pub(super) fn targets(count: usize) -> Vec<Target> {
    let target = |number: usize| Target {
        endpoint: EndpointId::new(Uid::from_bits(number as u128)),
        subscription: Some(SubscriptionId::new(Uid::from_bits(2))),
        mode: DeliveryMode::AtLeastOnce,
        order_key: None,
    };
    (0..count).map(target).collect()
}

pub(crate) fn decision() -> Decision {
    Decision {
        revision: 42,
        ..Decision::default()
    }
}

/// Accepts an event with a body of `body` bytes for one endpoint.
pub(super) async fn put(log: &LocalLog, body: usize) -> EventId {
    put_for(log, facts(body), 1).await
}

pub(super) async fn put_for(log: &LocalLog, facts: EventFacts, count: usize) -> EventId {
    match log
        .accept_parts(facts, targets(count), decision())
        .await
        .unwrap()
    {
        Accepted::Stored(id) => id,
        other => panic!("{other:?}"),
    }
}

pub(super) fn attempt(
    key: DeliveryKey,
    position: Position,
    number: u32,
    result: DeliveryStatus,
) -> AttemptRecord {
    AttemptRecord {
        key,
        position,
        number,
        started_ms: NOW_MS,
        duration_us: 5,
        status: Some(200),
        error: None,
        source: None,
        destination: None,
        dns_us: 0,
        connect_us: 0,
        tls_us: 0,
        first_byte_us: 0,
        flags: 0,
        revision: 42,
        request_headers: Vec::new(),
        response_headers: Vec::new(),
        excerpt: Bytes::from_static(b"ok"),
        result,
        next_due_ms: (!result.is_final()).then_some(NOW_MS + 5_000),
        reason: None,
    }
}

/// Waits until something is so.
pub(super) async fn until(mut is_so: impl FnMut() -> bool) {
    tokio::time::timeout(Duration::from_secs(20), async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("the condition never came");
}
