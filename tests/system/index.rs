//! The index is never a truth of its own: whatever becomes of it, the lists are the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::harness::{Api, DEADLINE, Fault, Outrider, Received, Receiver, Setup, uid_of, until};

const PRODUCERS: usize = 8;

/// What events with an `n` of this remainder by 5 meet.
const FAILS: u64 = 3;

fn number(request: &Received) -> u64 {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    body["n"].as_u64().unwrap_or(0)
}

async fn receiver() -> Receiver {
    Receiver::with(|request| match number(request) % 5 {
        FAILS => Fault::Status(500),
        _ => Fault::None,
    })
    .await
}

async fn start(receiver: &Receiver) -> (Outrider, Api, String) {
    let outrider = Setup::through_api().start().await;
    let config = json!({"strategy": {"type": "linear", "duration": 1, "retry_count": 1}});
    let mut admin = outrider.admin_api();
    let mut project = admin.make_project("shop", "outgoing", &config).await;
    let endpoint = project
        .make_endpoint("customer", &receiver.url("/in"), &json!({}))
        .await;
    (outrider, project, endpoint)
}

/// Every row of a list, page by page.
async fn all(api: &mut Api, path: &str) -> Vec<Value> {
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = format!("{path}?sort=ASC&perPage=200&next_page_cursor={cursor}");
        let list = api.list(&page).await;
        rows.extend(list["content"].as_array().unwrap().clone());
        if list["pagination"]["has_next_page"] == false {
            return rows;
        }
        let next = &list["pagination"]["next_page_cursor"];
        cursor = next.as_str().unwrap().to_owned();
    }
}

/// Everything that can be read about a project's events.
async fn everything(api: &mut Api) -> BTreeMap<String, Value> {
    let mut read = BTreeMap::new();
    let deliveries = all(api, "/eventdeliveries").await;
    for delivery in &deliveries {
        let one = format!("/eventdeliveries/{}", uid_of(delivery));
        let attempts = format!("{one}/deliveryattempts");
        for path in [one, attempts] {
            let data = api.get(&path).await.data(200);
            read.insert(path, data);
        }
    }
    let events = all(api, "/events").await;
    for event in &events {
        let path = format!("/events/{}", uid_of(event));
        let data = api.get(&path).await.data(200);
        read.insert(path, data);
    }
    for path in [
        "/events?idempotencyKey=key-7",
        "/events?ownerId=ann",
        "/events?perPage=3",
        "/eventdeliveries?status=Failure",
        "/eventdeliveries?status=Success&status=Scheduled",
        "/eventdeliveries?eventType=type-2",
    ] {
        read.insert(path.to_owned(), api.list(path).await);
    }
    read.insert("/eventdeliveries".to_owned(), deliveries.into());
    read.insert("/events".to_owned(), events.into());
    read
}

fn overwrite(file: &Path, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = fs::read(file).unwrap();
    assert!(bytes.len() > 8192, "{} bytes", bytes.len());
    change(&mut bytes);
    fs::write(file, bytes).unwrap();
}

/// What is done to the folder of the index, and in words.
type Damage = (&'static str, fn(&Path));

/// What is done to the index while the gateway is down.
const DAMAGES: [Damage; 8] = [
    ("the folder deleted", |dir| fs::remove_dir_all(dir).unwrap()),
    ("the file deleted", |dir| {
        fs::remove_file(dir.join("index.sqlite")).unwrap();
    }),
    ("the file emptied", |dir| {
        fs::write(dir.join("index.sqlite"), []).unwrap();
    }),
    ("the file cut in the middle", |dir| {
        overwrite(&dir.join("index.sqlite"), |bytes| {
            bytes.truncate(bytes.len() / 2 + 77);
        });
    }),
    ("the file with another head", |dir| {
        overwrite(&dir.join("index.sqlite"), |bytes| bytes[..100].fill(0x5a));
    }),
    ("the file with zeros behind its first page", |dir| {
        overwrite(&dir.join("index.sqlite"), |bytes| bytes[4096..].fill(0));
    }),
    ("another file in its place", |dir| {
        fs::write(dir.join("index.sqlite"), "no database".repeat(5000)).unwrap();
    }),
    ("garbage in the files beside it", |dir| {
        for name in ["index.sqlite-wal", "index.sqlite-shm"] {
            fs::write(dir.join(name), "garbage".repeat(9000)).unwrap();
        }
    }),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_becomes_of_the_index_the_lists_are_as_they_were() {
    let receiver = receiver().await;
    let (mut outrider, mut project, endpoint) = start(&receiver).await;
    let owned = json!({"owner_id": "ann"});
    let held = project
        .make_endpoint("held", &receiver.url("/held"), &owned)
        .await;
    project.subscribe(&held, &["*"]).await;
    let pause = format!("/endpoints/{held}/pause");
    project.put(&pause, &json!({})).await.data(202);
    for n in 0..25 {
        let event = json!({
            "endpoint_id": endpoint,
            "event_type": format!("type-{}", n % 4),
            "data": {"n": n},
            "idempotency_key": format!("key-{n}"),
        });
        project.post("/events", &event).await.event_uid();
        if n % 10 == 7 {
            let repeated = project.post("/events", &event).await;
            assert_eq!(repeated.json()["data"]["duplicate"], true);
        }
    }
    let to_ann = json!({"owner_id": "ann", "event_type": "a", "data": {"n": 100}});
    project.post("/events/fanout", &to_ann).await.event_uid();
    until(
        "all deliveries have ended but the held one",
        DEADLINE,
        async || {
            let open = "/eventdeliveries?status=Scheduled&status=Processing&status=Retry";
            (project.rows(open).await.len() == 1).then_some(())
        },
    )
    .await;
    let before = everything(&mut project).await;
    assert_eq!(before["/events"].as_array().unwrap().len(), 28);
    assert_eq!(before["/eventdeliveries"].as_array().unwrap().len(), 26);

    for (what, damage) in DAMAGES {
        assert_eq!(outrider.terminate().await, Some(0), "{}", outrider.stderr());
        damage(&outrider.data_dir().join("index"));
        outrider.start().await;
        let after = everything(&mut project.again()).await;
        for (path, expected) in &before {
            assert_eq!(&after[path], expected, "{path}, {what}");
        }
        assert_eq!(after.len(), before.len(), "{what}");
    }
    // It is the log that knows idempotency keys too.
    let again = json!({
        "endpoint_id": endpoint, "event_type": "a", "data": {"n": 0}, "idempotency_key": "key-7",
    });
    let reply = project.again().post("/events", &again).await;
    assert_eq!(reply.json()["data"]["duplicate"], true);
    let events = before["/events"].as_array().unwrap();
    let first = events
        .iter()
        .find(|event| event["idempotency_key"] == "key-7");
    assert_eq!(reply.event_uid(), uid_of(first.unwrap()));
}

#[tokio::test]
async fn a_restart_without_damage_does_not_make_the_index_again() {
    let receiver = receiver().await;
    let (mut outrider, mut project, endpoint) = start(&receiver).await;
    let event = project.publish(&endpoint, "a", &json!({"n": 0})).await;
    project.delivery(&event, "Success").await;
    let before = everything(&mut project).await;
    assert_eq!(outrider.terminate().await, Some(0), "{}", outrider.stderr());
    outrider.start().await;
    assert_eq!(everything(&mut project.again()).await, before);
    let rebuilds = outrider
        .metric("outrider_index", &["figure=\"rebuilds\""])
        .await;
    assert_eq!(rebuilds, 0.0);
}

/// What was acknowledged: number and uid.
type Acknowledged = BTreeMap<u64, String>;

fn event(endpoint: &str, n: u64) -> Value {
    json!({
        "endpoint_id": endpoint,
        "event_type": format!("type-{}", n % 4),
        "data": {"n": n},
        "idempotency_key": format!("key-{n}"),
    })
}

/// Publishes under load until `count` events are acknowledged, then kills the gateway.
async fn load_and_kill(
    outrider: &mut Outrider,
    project: &Api,
    endpoint: &str,
    next: &Arc<AtomicU64>,
    count: usize,
) -> Acknowledged {
    let stop = Arc::new(AtomicBool::new(false));
    let (sender, mut acknowledged) = watch::channel(Acknowledged::new());
    let mut producers = JoinSet::new();
    for _ in 0..PRODUCERS {
        let (mut client, sender) = (outrider.client(), sender.clone());
        let (stop, next) = (Arc::clone(&stop), Arc::clone(next));
        let (endpoint, path) = (
            endpoint.to_owned(),
            format!("/api/v1/projects/{}/events", project.project()),
        );
        let authorization = format!("Bearer {}", project.key());
        producers.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let headers = [("authorization", &*authorization)];
                let body = event(&endpoint, n).to_string();
                // An error is an event without an acknowledgement: nothing was promised.
                let Ok(reply) = client.post(&path, &headers, body).await else {
                    break;
                };
                sender.send_modify(|all| drop(all.insert(n, reply.event_uid())));
            }
        });
    }
    let enough = acknowledged.wait_for(|all| all.len() >= count);
    drop(
        tokio::time::timeout(DEADLINE, enough)
            .await
            .expect("events are acknowledged")
            .unwrap(),
    );
    outrider.kill();
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = producers.join_next().await {
        ended.unwrap();
    }
    acknowledged.borrow().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_kills_under_load_every_acknowledged_event_is_listed_with_its_end() {
    let receiver = receiver().await;
    let (mut outrider, mut project, endpoint) = start(&receiver).await;
    let (next, mut acknowledged) = (Arc::new(AtomicU64::new(0)), Acknowledged::new());
    for _ in 0..3 {
        let loaded = load_and_kill(&mut outrider, &project, &endpoint, &next, 150).await;
        acknowledged.extend(loaded);
        outrider.start().await;
    }
    until("all deliveries have ended", DEADLINE, async || {
        let open = "/eventdeliveries?status=Scheduled&status=Processing&status=Retry";
        project.rows(open).await.is_empty().then_some(())
    })
    .await;

    let events: BTreeMap<String, Value> = all(&mut project, "/events")
        .await
        .into_iter()
        .map(|event| (uid_of(&event), event))
        .collect();
    let deliveries = all(&mut project, "/eventdeliveries").await;
    assert_eq!(deliveries.len(), events.len(), "one for each event");
    let deliveries: BTreeMap<String, Value> = deliveries
        .into_iter()
        .map(|delivery| (delivery["event_id"].as_str().unwrap().to_owned(), delivery))
        .collect();
    for (n, uid) in &acknowledged {
        let listed = events
            .get(uid)
            .unwrap_or_else(|| panic!("{uid}, {n}, is not listed"));
        assert_eq!(listed["data"]["n"], *n);
        assert_eq!(listed["event_type"], format!("type-{}", n % 4));
        let delivery = &deliveries[uid];
        let expected = if n % 5 == FAILS { "Failure" } else { "Success" };
        assert_eq!(delivery["status"], expected, "{n}: {delivery}");
    }
    // Nothing is listed that was not sent, and what was in flight at a kill is either all there
    // or not at all.
    for event in events.values() {
        let n = event["data"]["n"].as_u64().unwrap();
        assert!(n < next.load(Ordering::Relaxed));
    }
    assert!(events.len() <= acknowledged.len() + 3 * PRODUCERS);

    // Each key is still known, whichever life of the process it is from.
    for (n, uid) in acknowledged.iter().step_by(7) {
        let reply = project.post("/events", &event(&endpoint, *n)).await;
        assert_eq!(reply.status, 201, "{}", reply.text());
        assert_eq!(reply.json()["data"]["duplicate"], true, "{n}");
        assert_eq!(&reply.event_uid(), uid, "{n}");
    }
    let keys = format!(
        "/events?idempotencyKey=key-{}",
        acknowledged.keys().next().unwrap()
    );
    let repeats: Vec<bool> = project
        .rows(&keys)
        .await
        .iter()
        .map(|row| row["is_duplicate_event"].as_bool().unwrap())
        .collect();
    assert_eq!(repeats, [true, false], "newest first");
}
