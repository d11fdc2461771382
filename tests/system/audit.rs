//! What the log of a stopped data directory proves about its events.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use http::Method;
use serde_json::{Value, json};

use super::harness::{Api, Ended, Fault, Outrider, Receiver, Setup, audit, uid_of};

/// A gateway with a project of two attempts for each delivery, and its endpoints.
struct Shop {
    outrider: Outrider,
    project: Api,
    /// Takes everything.
    good: String,
    /// Does what it was told last; at first it fails.
    bad: String,
    mood: Arc<Mutex<Fault>>,
    _receivers: [Receiver; 2],
}

impl Shop {
    async fn start() -> Self {
        let mood = Arc::new(Mutex::new(Fault::Status(500)));
        let now = Arc::clone(&mood);
        let moody = Receiver::with(move |_| now.lock().unwrap().clone()).await;
        let receiver = Receiver::start().await;
        let outrider = Setup::through_api().start().await;
        let strategy = json!({"type": "linear", "duration": 1, "retry_count": 2});
        let mut project = outrider
            .admin_api()
            .make_project("shop", "outgoing", &json!({"strategy": strategy}))
            .await;
        let none = json!({});
        let good = project
            .make_endpoint("good", &receiver.url("/in"), &none)
            .await;
        let bad = project.make_endpoint("bad", &moody.url("/in"), &none).await;
        Self {
            outrider,
            project,
            good,
            bad,
            mood,
            _receivers: [receiver, moody],
        }
    }

    /// Publishes an event for an endpoint and waits for the end of its delivery.
    async fn publish(&mut self, endpoint: &str, n: u32, status: &str) -> (String, String) {
        let data = json!({"n": n, "mark": format!("needle-{n}-")});
        let event = self.project.publish(endpoint, "a", &data).await;
        let delivery = self.project.delivery(&event, status).await;
        (event, uid_of(&delivery))
    }

    async fn stop(&mut self) {
        let code = self.outrider.terminate().await;
        assert_eq!(code, Some(0), "{}", self.outrider.stderr());
    }

    /// The report on the stopped gateway, which has to be clean.
    async fn report(&self) -> Value {
        let ended = audit(&self.outrider.data_dir(), &["--json"]).await;
        assert_eq!(ended.code, Some(0), "{}", ended.output);
        serde_json::from_str(&ended.output).unwrap()
    }
}

fn last_line(ended: &Ended) -> &str {
    ended.output.lines().last().unwrap_or_default()
}

#[tokio::test]
async fn the_audit_counts_exactly_what_was_published_and_what_became_of_it() {
    let mut shop = Shop::start().await;
    let (good, bad) = (shop.good.clone(), shop.bad.clone());
    let (first, _) = shop.publish(&good, 0, "Success").await;
    for n in 1..5 {
        shop.publish(&good, n, "Success").await;
    }
    let (_, failed) = shop.publish(&bad, 5, "Failure").await;
    shop.publish(&bad, 6, "Failure").await;
    let keyed = json!({
        "endpoint_id": good, "event_type": "a", "data": {}, "idempotency_key": "once",
    });
    let once = shop.project.post("/events", &keyed).await.event_uid();
    shop.project.delivery(&once, "Success").await;
    shop.project.post("/events", &keyed).await.data(201);
    let pause = format!("/endpoints/{good}/pause");
    shop.project.put(&pause, &json!({})).await.data(202);
    let waiting = shop.project.publish(&good, "a", &json!("waits")).await;
    shop.stop().await;

    let report = shop.report().await;
    assert_eq!(
        report["deliveries"],
        json!({
            "total": 9, "delivered": 6, "failed": 2, "discarded": 0, "scheduled": 1, "retrying": 0,
        })
    );
    assert_eq!(
        report["records"],
        json!({
            "events": 9, "events_unfinished": 0, "duplicates": 1, "attempts": 10, "late": 0,
            "unjudged": 0, "payloads_erased": 0,
        })
    );
    assert_eq!(
        (
            &report["is_clean"],
            &report["is_closed"],
            &report["torn_tail"]
        ),
        (&json!(true), &json!(true), &Value::Null)
    );
    let ends = [&report["first_event"]["uid"], &report["last_event"]["uid"]];
    assert_eq!(ends, [&json!(first), &json!(waiting)]);

    // A resend changes the fate of one delivery, and costs it one more attempt.
    shop.outrider.start().await;
    *shop.mood.lock().unwrap() = Fault::None;
    let resend = format!("/eventdeliveries/{failed}/resend");
    let resent = shop
        .project
        .call(Method::PUT, &resend, None)
        .await
        .data(200);
    let event = resent["event_id"].as_str().unwrap().to_owned();
    shop.project.delivery(&event, "Success").await;
    shop.stop().await;
    let report = shop.report().await;
    let fates = &report["deliveries"];
    assert_eq!(
        (&fates["delivered"], &fates["failed"], &fates["scheduled"]),
        (&json!(7), &json!(1), &json!(1))
    );
    assert_eq!(report["records"]["attempts"], 11);

    let ended = audit(&shop.outrider.data_dir(), &[]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    let told = "deliveries  9: 7 delivered, 1 failed, 0 discarded, 1 pending";
    assert!(ended.output.contains(told), "{}", ended.output);
    assert!(last_line(&ended).starts_with("clean: "), "{}", ended.output);
}

#[tokio::test]
async fn one_flipped_bit_of_the_log_exits_65_and_is_named_with_segment_and_offset() {
    let mut shop = Shop::start().await;
    let good = shop.good.clone();
    for n in 0..3 {
        shop.publish(&good, n, "Success").await;
    }
    shop.stop().await;
    let path = shop.outrider.data_dir().join("log/00000001.log");
    let mut bytes = fs::read(&path).unwrap();
    let needle = b"needle-1-";
    let at = bytes.windows(needle.len()).position(|part| part == needle);
    let at = at.expect("the event is in the first segment");
    bytes[at] ^= 0x10;
    fs::write(&path, &bytes).unwrap();

    let data_dir = shop.outrider.data_dir();
    let ended = audit(&data_dir, &["--json"]).await;
    assert_eq!(ended.code, Some(65), "{}", ended.output);
    let report: Value = serde_json::from_str(&ended.output).unwrap();
    let violation = &report["violations"][0];
    assert_eq!(
        (&report["is_clean"], &violation["code"]),
        (&json!(false), &json!("corrupt"))
    );
    assert_eq!(violation["position"]["segment"], 1);
    // The group that the byte is in.
    let offset = violation["position"]["offset"].as_u64().unwrap();
    let before = bytes[..at]
        .windows(5)
        .rposition(|part| part == b"GROUP")
        .unwrap();
    assert!(
        offset < before as u64 && before as u64 - offset < 64,
        "{offset}, and the group's mark is at {before}"
    );
    let ended = audit(&data_dir, &[]).await;
    assert_eq!(ended.code, Some(65), "{}", ended.output);
    let place =
        format!("violation   corrupt at segment 1 offset {offset}: malformed payload checksum");
    assert!(ended.output.contains(&place), "{}", ended.output);
    assert_eq!(last_line(&ended), "not clean: 1 violation(s)");

    bytes[at] ^= 0x10;
    fs::write(&path, &bytes).unwrap();
    assert_eq!(shop.report().await["records"]["events"], 3);
}

#[tokio::test]
async fn a_running_gateway_is_not_audited_and_serves_on() {
    let mut shop = Shop::start().await;
    let data_dir = shop.outrider.data_dir();
    let ended = audit(&data_dir, &[]).await;
    assert_eq!(ended.code, Some(69), "{}", ended.output);
    let says = format!("{} is in use", data_dir.join("log").display());
    assert!(ended.output.contains(&says), "{}", ended.output);
    let good = shop.good.clone();
    shop.publish(&good, 1, "Success").await;
    // A killed one is: whatever it had acknowledged is there.
    shop.outrider.kill();
    let report = shop.report().await;
    let (events, is_closed) = (&report["records"]["events"], &report["is_closed"]);
    assert_eq!((events, is_closed), (&json!(1), &json!(false)));
}

#[tokio::test]
async fn what_is_no_data_directory_exits_78_with_the_file_looked_for() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    let absent = dir.path().join("absent");
    for data_dir in [dir.path(), &absent, &file] {
        let ended = audit(data_dir, &[]).await;
        assert_eq!(ended.code, Some(78), "{}", ended.output);
        let looked_for = data_dir.join("log/meta.json").display().to_string();
        assert!(ended.output.contains(&looked_for), "{}", ended.output);
    }
    assert!(!absent.exists() && entries(dir.path()) == ["file"]);
    let ended = audit(dir.path(), &["--repair"]).await;
    assert_eq!(ended.code, Some(64), "{}", ended.output);
    // One whose meta file cannot be read, and one whose meta file is damaged.
    let meta = dir.path().join("log/meta.json");
    fs::create_dir_all(&meta).unwrap();
    let ended = audit(dir.path(), &[]).await;
    assert_eq!(ended.code, Some(74), "{}", ended.output);
    fs::remove_dir(&meta).unwrap();
    fs::write(&meta, "{\"format\": 1}").unwrap();
    let ended = audit(dir.path(), &[]).await;
    assert_eq!(ended.code, Some(65), "{}", ended.output);
    assert!(ended.output.contains("meta.json"), "{}", ended.output);
}

fn entries(dir: &Path) -> Vec<std::ffi::OsString> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect()
}
