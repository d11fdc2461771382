//! What the API says about events and deliveries after a crash.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::harness::{API_KEY, Api, DEADLINE, OUTGOING, Outrider, Producer, uid_of, until};

/// Final deliveries that are looked at before a crash.
const SAMPLE: usize = 20;

/// A final delivery: its status and how many attempts it took.
type Final = (String, u64);

/// The project of the load, through the public listener.
pub(super) fn project(outrider: &Outrider) -> Api {
    Api::of_project(outrider.public(), OUTGOING, API_KEY)
}

/// Deliveries that were shown as final, over all runs of the gateway.
#[derive(Default)]
pub(super) struct Finals(BTreeMap<String, Final>);

impl Finals {
    /// Notes some that are final now.
    pub(super) async fn sample(&mut self, api: &mut Api) {
        let path = format!("/eventdeliveries?status=Success&perPage={SAMPLE}");
        let list = api.get(&path).await.data(200);
        for row in list["content"].as_array().unwrap() {
            self.0.insert(uid_of(row), fate(row));
        }
    }

    /// Every one is as it was; from now on all of these are watched.
    fn check(&mut self, deliveries: &[Value]) {
        let now: BTreeMap<String, Final> = deliveries
            .iter()
            .map(|row| (uid_of(row), fate(row)))
            .collect();
        for (uid, before) in &self.0 {
            assert_eq!(now.get(uid), Some(before), "delivery {uid} was final");
        }
        self.0 = now;
    }
}

fn fate(row: &Value) -> Final {
    let status = row["status"].as_str().unwrap().to_owned();
    (status, row["metadata"]["num_trials"].as_u64().unwrap())
}

/// The key of this event is one event, this one; its repeats are listed as such.
pub(super) async fn assert_one_event(api: &mut Api, n: u64, uid: &str) {
    let path = format!("/events?idempotencyKey={}", Producer::key(n));
    let rows = api.rows(&path).await;
    let first: Vec<String> = rows
        .iter()
        .filter(|row| row["is_duplicate_event"] == false)
        .map(uid_of)
        .collect();
    assert_eq!(first, [uid], "events with the key of {n}: {rows:?}");
}

/// The numbers of acknowledged events that the API does not know.
pub(super) async fn lost(api: &mut Api, acknowledged: &BTreeMap<u64, String>) -> Vec<u64> {
    let mut lost = Vec::new();
    for (n, uid) in acknowledged {
        let reply = api.get(&format!("/events/{uid}")).await;
        match reply.status.as_u16() {
            200 => {}
            404 => lost.push(*n),
            _ => panic!("event {n}: {} {}", reply.status, reply.text()),
        }
    }
    lost
}

/// Waits until nothing is under way. Then every acknowledged event is in the lists once, with
/// one delivery that succeeded; and what was final before is so still.
pub(super) async fn assert_lists_agree(
    api: &mut Api,
    acknowledged: &BTreeMap<u64, String>,
    finals: &mut Finals,
) {
    let open = "/eventdeliveries?status=Scheduled&status=Processing&status=Retry&perPage=1";
    until("all deliveries are final", DEADLINE, async || {
        api.rows(open).await.is_empty().then_some(())
    })
    .await;
    let (mut uids, mut by_key) = (BTreeSet::new(), BTreeMap::new());
    for row in all(api, "/events").await {
        if row["is_duplicate_event"] == true {
            continue;
        }
        let (uid, key) = (uid_of(&row), row["idempotency_key"].as_str().unwrap());
        let other = by_key.insert(key.to_owned(), uid.clone());
        assert_eq!(other, None, "two events with the key {key}");
        uids.insert(uid);
    }
    for (n, uid) in acknowledged {
        assert_eq!(by_key.get(&Producer::key(*n)), Some(uid), "event {n}");
    }
    let deliveries = all(api, "/eventdeliveries").await;
    let mut of_events = BTreeSet::new();
    for row in &deliveries {
        assert_eq!(row["status"], "Success", "{row}");
        let event = row["event_id"].as_str().unwrap().to_owned();
        assert!(of_events.insert(event), "a second delivery: {row}");
    }
    assert_eq!(of_events, uids, "deliveries and events");
    finals.check(&deliveries);
}

/// Every row of a list, page by page.
async fn all(api: &mut Api, path: &str) -> Vec<Value> {
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = format!("{path}?sort=ASC&perPage=1000&next_page_cursor={cursor}");
        let list = api.list(&page).await;
        rows.extend(list["content"].as_array().unwrap().iter().map(facts));
        if list["pagination"]["has_next_page"] == false {
            return rows;
        }
        let next = &list["pagination"]["next_page_cursor"];
        cursor = next.as_str().unwrap().to_owned();
    }
}

/// What of a row is looked at. The rest is the payload, of every event there ever was.
fn facts(row: &Value) -> Value {
    let fields = [
        "uid",
        "event_id",
        "idempotency_key",
        "is_duplicate_event",
        "status",
    ];
    let mut facts: serde_json::Map<String, Value> = fields
        .iter()
        .filter_map(|field| Some(((*field).to_owned(), row.get(*field)?.clone())))
        .collect();
    let trials = row["metadata"]["num_trials"].clone();
    facts.insert(
        "metadata".to_owned(),
        serde_json::json!({"num_trials": trials}),
    );
    facts.into()
}
