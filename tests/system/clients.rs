//! Convoy's own Python clients, unmodified, against a fresh gateway each. What they do and expect
//! stands in `tests/clients`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use super::harness::{Reply, Setup, until};

/// Longer than the watchdog of the drivers, which says where they hang.
const DEADLINE: Duration = Duration::from_secs(180);

fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A file or folder of the cache, which has to be there.
fn cached(name: &str) -> PathBuf {
    let path = top().join("tests/.cache").join(name);
    assert!(
        path.exists(),
        "{} is missing: run `make clients`",
        path.display()
    );
    path
}

/// The Python that the clients were fetched for.
fn interpreter() -> PathBuf {
    let text = fs::read_to_string(cached("convoy-clients-python")).unwrap();
    let python = PathBuf::from(text.trim_end());
    assert!(
        python.exists(),
        "{} is gone: run `make clients`",
        python.display()
    );
    python
}

/// Runs a driver with the client of this version to its end, which has to be a good one.
async fn assert_works(version: &str, driver: &str, skip: &[&str]) {
    let (python, client) = (interpreter(), cached(&format!("convoy-python-{version}")));
    let outrider = Setup::through_api().start().await;
    let given = json!({
        "root": format!("http://{}", outrider.public()),
        "admin_key": outrider.admin_key(),
        "org_id": "default",
        "skip": skip,
    });
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("output");
    let log = fs::File::create(&output).unwrap();
    let mut child = Command::new(python)
        .arg(top().join("tests/clients").join(driver))
        .arg(given.to_string())
        .env("PYTHONPATH", client)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let status = until(&format!("{driver} ends"), DEADLINE, async || {
        child.try_wait().unwrap()
    })
    .await;
    let said = read(&output);
    assert!(status.success(), "{driver} ended with {status}:\n{said}");
    assert!(said.ends_with("ok\n"), "{driver} did not say so:\n{said}");
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()
}

#[tokio::test]
async fn the_generated_python_client_works_unmodified() {
    // What this version answers with 501.
    let not_yet = [];
    assert_works("1.0.0a1", "convoy_1_0_0a1.py", &not_yet).await;
}

#[tokio::test]
async fn the_older_python_client_works_unmodified() {
    assert_works("0.2.0", "convoy_0_2_0.py", &[]).await;
}

/// The clients never look at this header; people do.
#[tokio::test]
async fn what_the_older_client_sends_in_vain_is_named() {
    let outrider = Setup::through_api().start().await;
    let mut project = outrider
        .admin_api()
        .make_project("shop", "outgoing", &json!({}))
        .await;
    let ignored = |reply: &Reply| {
        let header = reply.headers.get("x-outrider-ignored-fields");
        let text = header.map_or("", |value| value.to_str().unwrap());
        let mut names: Vec<String> = text.split(',').map(str::to_owned).collect();
        names.sort_unstable();
        names
    };
    let endpoint = json!({"name": "a", "url": "https://customer.example", "events": ["*"]});
    let reply = project.post("/endpoints", &endpoint).await;
    assert_eq!(ignored(&reply), ["events"]);
    let subscription = json!({
        "name": "a", "endpoint_id": reply.uid(), "source_id": "",
        "alert_config": {"count": 10, "threshold": "1h"},
        "retry_config": {"type": "linear", "duration": "3s", "retry_count": 3},
        "filter_config": {"event_types": ["payment.success"]},
    });
    let reply = project.post("/subscriptions", &subscription).await;
    assert_eq!(ignored(&reply), ["retry_config"]);
    let path = format!("/subscriptions/{}", reply.uid());
    let reply = project.put(&path, &subscription).await;
    reply.data(202);
    assert_eq!(ignored(&reply), ["retry_config"]);
}
