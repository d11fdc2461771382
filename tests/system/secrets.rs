//! Secrets stay where they belong: not in what operators see, not in the log, not in the clear
//! in replies.

use serde_json::json;

use super::harness::{
    API_KEY, DEADLINE, Endpoint, Fault, Receiver, Resources, Setup, get, github, payloads, uid,
};

const GITHUB_SECRET: &str = "planted-github-secret-5f3759df";
const INCOMING_SECRET: &str = "planted-incoming-secret-0badcafe";
const OUTGOING_SECRET: &str = "planted-outgoing-secret-deadbeef";
const URL_SECRET: &str = "planted-in-the-url-1234abcd";

#[tokio::test]
async fn planted_secrets_appear_in_no_page_no_reply_and_no_line_of_the_log() {
    let receiver = Receiver::failing_first(1, Fault::Status(500)).await;
    let incoming = Endpoint::new(1, &receiver.url("/in"), INCOMING_SECRET);
    let outgoing = Endpoint::new(
        2,
        &receiver.url(&format!("/out?token={URL_SECRET}")),
        OUTGOING_SECRET,
    );
    let resources =
        Resources::outgoing(&[outgoing]).and_all(Resources::incoming(GITHUB_SECRET, &[incoming]));
    let mut outrider = Setup::new(&resources)
        .env("OUTRIDER__LOG__LEVEL", "debug")
        .start()
        .await;
    let mut client = outrider.client();
    let mut seen = Vec::new();

    // Good and bad of everything that carries a secret, so that errors are covered too.
    let payload = payloads().swap_remove(0);
    let signature = github(GITHUB_SECRET, &payload.body);
    seen.push(
        client
            .github("push", &signature, payload.body.clone())
            .await
            .unwrap()
            .text(),
    );
    seen.push(
        client
            .github("push", &signature, "{}".into())
            .await
            .unwrap()
            .text(),
    );
    seen.push(
        client
            .publish_to(&uid(2), "a", json!({"n": 1}))
            .await
            .unwrap()
            .text(),
    );
    seen.push(
        client
            .publish_to(&uid(3), "a", json!({"n": 1}))
            .await
            .unwrap()
            .text(),
    );
    let almost = format!("Bearer {}x", API_KEY);
    let path = "/api/v1/projects/01JQ0000000000000000000001/events";
    seen.push(
        client
            .post(path, &[("authorization", &almost)], "{}")
            .await
            .unwrap()
            .text(),
    );
    receiver.wait_for(4, DEADLINE).await;

    for page in [
        "/stats/prometheus",
        "/metrics",
        "/server_info",
        "/ready",
        "/",
    ] {
        seen.push(get(outrider.admin(), page).await.unwrap().text());
    }
    let dump = outrider.admin_page("/config_dump").await;
    for uid in [uid(1), uid(2)] {
        assert!(dump.contains(&uid), "the dump lists every resource: {dump}");
    }
    assert_eq!(outrider.terminate().await, Some(0), "{}", outrider.stderr());
    let log = outrider.stderr();
    assert!(
        log.contains("DEBUG"),
        "not as talkative as this test needs it:\n{log}"
    );
    seen.push(log);
    seen.push(dump);
    let planted = [
        GITHUB_SECRET,
        INCOMING_SECRET,
        OUTGOING_SECRET,
        URL_SECRET,
        API_KEY,
    ];
    for text in &seen {
        for secret in planted {
            assert!(!text.contains(secret), "{secret} is in:\n{text}");
        }
    }
}

#[tokio::test]
async fn the_data_directory_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let receiver = Receiver::start().await;
    let outrider = Setup::new(&Resources::outgoing_to(&receiver, OUTGOING_SECRET))
        .start()
        .await;
    let mut waiting = vec![outrider.data_dir()];
    let mut files = 0;
    while let Some(path) = waiting.pop() {
        let metadata = std::fs::metadata(&path).unwrap();
        let mode = metadata.permissions().mode() & 0o777;
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
        if metadata.is_dir() {
            waiting.extend(
                std::fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else {
            files += 1;
        }
    }
    assert!(files >= 2, "the log and the journal");
}
