//! TLS on the public listener: the right certificate for a name, renewed without a stop, and
//! clients that have to show theirs.

use std::path::Path;

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::harness::{
    Authority, DEADLINE, MASK, Outrider, RawClient, Resources, Setup, TlsClient, free_port, get,
    github, until,
};

const SECRET: &str = "shared-with-github";
const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// A gateway with these certificates.
fn setup(resources: &Resources, certificates: &[String]) -> Setup {
    let list = format!("[{}]", certificates.join(", "));
    Setup::new(resources).env("OUTRIDER__PUBLIC__TLS__CERTIFICATES", &list)
}

fn nothing() -> Resources {
    Resources::incoming(SECRET, &[])
}

fn dir() -> TempDir {
    tempfile::tempdir().unwrap()
}

async fn certs(outrider: &Outrider) -> Value {
    serde_json::from_str(&outrider.admin_page("/certs").await).unwrap()
}

async fn handshakes(outrider: &Outrider, result: &str) {
    let label = format!("result=\"{result}\"");
    let name = "outrider_ingest_tls_handshakes_total";
    outrider
        .wait_for_metric(name, &[&label], 1.0, DEADLINE)
        .await;
}

/// A webhook of GitHub's, with its signature or without.
fn webhook(is_signed: bool) -> String {
    let body = "{}";
    let signature = match is_signed {
        true => format!(
            "X-Hub-Signature-256: {}\r\n",
            github(SECRET, body.as_bytes())
        ),
        false => String::new(),
    };
    format!(
        "POST /ingest/{MASK} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-GitHub-Event: push\r\n\
         Content-Type: application/json\r\nContent-Length: 2\r\n{signature}\r\n{body}"
    )
}

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn files_that_cannot_be_used_end_the_start() {
    let (dir, authority) = (dir(), Authority::new());
    let one = authority.identity(&["a.example.com"]);
    let mut mixed = authority.identity(&["b.example.com"]);
    mixed.key.clone_from(&one.key);
    let mut empty = one.clone();
    empty.certificate.clear();
    let mut no_key = one.clone();
    no_key.key = "hunter2".to_owned();
    for (identity, says) in [
        (&mixed, "does not belong to the certificate"),
        (&empty, "must be PEM with a certificate"),
        (&no_key, "must be PEM with a private key"),
    ] {
        let ended = setup(&nothing(), &[identity.write(dir.path(), "bad")])
            .run_to_end()
            .await;
        assert_eq!(ended.code, Some(78), "{}", ended.output);
        assert!(ended.output.contains(says), "{}", ended.output);
        assert!(!ended.output.contains("hunter2"), "{}", ended.output);
    }
    let good = one.write(dir.path(), "good");
    let ca = write(dir.path(), "ca.pem", "no roots");
    let ended = setup(&nothing(), &[good])
        .env("OUTRIDER__PUBLIC__TLS__CLIENT_CA", &ca)
        .run_to_end()
        .await;
    assert_eq!(ended.code, Some(78), "{}", ended.output);
    assert!(
        ended.output.contains("ca.pem must be PEM"),
        "{}",
        ended.output
    );
}

#[tokio::test]
async fn a_client_gets_the_certificate_of_the_name_it_asks_for_or_the_first() {
    let (dir, authority) = (dir(), Authority::new());
    let first = authority
        .identity(&["a.example.com"])
        .write(dir.path(), "a");
    let second = authority.identity(&["*.b.example.com", "b.example.com"]);
    let second = second.write(dir.path(), "b");
    let plain = free_port();
    let outrider = setup(&nothing(), &[first, second])
        .env("OUTRIDER__PUBLIC__TLS__MIN_VERSION", "'1.3'")
        .env("OUTRIDER__PUBLIC__PLAIN_LISTEN", &plain.to_string())
        .start()
        .await;
    let address = outrider.public();
    let client = TlsClient::new(&authority, None).offering(&["h2", "http/1.1"]);
    for name in [
        "a.example.com",
        "A.EXAMPLE.COM",
        "b.example.com",
        "x.b.example.com",
    ] {
        let answer = client.ask(address, name, HEALTH).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{name}: {answer}");
    }
    // Nobody's name, and one label too many for the wildcard: the first certificate is shown,
    // which is not for them.
    for name in ["c.example.com", "x.y.b.example.com"] {
        let refused = client.ask(address, name, HEALTH).await.unwrap_err();
        assert!(refused.contains("not valid for name"), "{name}: {refused}");
        assert!(refused.contains("a.example.com"), "{name}: {refused}");
    }
    let old = TlsClient::of_versions(&authority, None, &[&rustls::version::TLS12]);
    assert!(old.ask(address, "a.example.com", HEALTH).await.is_err());
    let h2 = TlsClient::new(&authority, None).offering(&["h2"]);
    assert!(h2.ask(address, "a.example.com", HEALTH).await.is_err());
    let mut not_tls = RawClient::connect(address).await;
    not_tls.write(HEALTH).await;
    assert!(!not_tls.read_to_end().await.contains("HTTP/1.1 200"));
    handshakes(&outrider, "failed").await;
    // Beside it no TLS is spoken.
    assert_eq!(get(plain, "/healthz").await.unwrap().status, 200);
    let shown = certs(&outrider).await;
    assert_eq!(shown["error"], Value::Null);
    assert_eq!(shown["certificates"][0]["names"], json!(["a.example.com"]));
    assert!(shown["certificates"][1]["days_left"].as_i64().unwrap() > 0);
    assert_ne!(
        shown["certificates"][0]["serial"],
        shown["certificates"][1]["serial"]
    );
}

#[tokio::test]
async fn certificates_are_renewed_while_it_runs_and_bad_ones_are_not_taken() {
    let (dir, authority) = (dir(), Authority::new());
    let written = authority
        .identity(&["a.example.com"])
        .write(dir.path(), "a");
    let mut outrider = setup(&nothing(), &[written]).start().await;
    let client = TlsClient::new(&authority, None);
    let answers = async |name| client.ask(outrider.public(), name, HEALTH).await;
    answers("a.example.com").await.unwrap();
    let before = certs(&outrider).await["certificates"][0]["serial"].clone();

    let renewed = authority.identity(&["b.example.com"]);
    // As when one of two files is written: a key without its certificate.
    write(dir.path(), "a.key", &renewed.key);
    until("the trouble is shown", DEADLINE, async || {
        certs(&outrider).await["error"].as_str().map(str::to_owned)
    })
    .await;
    assert_eq!(certs(&outrider).await["certificates"][0]["serial"], before);
    answers("a.example.com").await.unwrap();

    write(dir.path(), "a.pem", &renewed.certificate);
    until("the new certificate is in force", DEADLINE, async || {
        answers("b.example.com").await.ok()
    })
    .await;
    assert!(answers("a.example.com").await.is_err());
    let shown = certs(&outrider).await;
    assert_eq!(shown["error"], Value::Null);
    assert_ne!(shown["certificates"][0]["serial"], before);

    let renewals = || outrider.stderr().matches("certificates renewed").count();
    let known = renewals();
    kill_process(outrider.pid(), Signal::HUP).unwrap();
    until("it was asked to read them again", DEADLINE, async || {
        (renewals() > known).then_some(())
    })
    .await;
    answers("b.example.com").await.unwrap();
    assert_eq!(outrider.terminate().await, Some(0));
}

#[tokio::test]
async fn a_handshake_has_a_place_and_a_time() {
    let (dir, authority) = (dir(), Authority::new());
    let written = authority
        .identity(&["a.example.com"])
        .write(dir.path(), "a");
    let outrider = setup(&nothing(), &[written])
        .env("OUTRIDER__PUBLIC__TLS__HANDSHAKE_TIMEOUT_MS", "300")
        .env("OUTRIDER__INTAKE__CONNECTIONS_MAX", "2")
        .env("OUTRIDER__INTAKE__CONNECTIONS_PER_ADDRESS_MAX", "2")
        .start()
        .await;
    let mut silent = RawClient::connect(outrider.public()).await;
    let mut dripping = RawClient::connect(outrider.public()).await;
    dripping.write(b"\x16").await;
    assert_eq!(silent.read_to_end().await, "");
    assert_eq!(dripping.read_to_end().await, "");
    handshakes(&outrider, "timed_out").await;
    let client = TlsClient::new(&authority, None);
    until("the places are free", DEADLINE, async || {
        client
            .ask(outrider.public(), "a.example.com", HEALTH)
            .await
            .ok()
    })
    .await;
}

#[tokio::test]
async fn a_source_takes_clients_with_the_right_certificate_only() {
    let (dir, authority, other) = (dir(), Authority::new(), Authority::new());
    let written = authority
        .identity(&["a.example.com"])
        .write(dir.path(), "a");
    let ca = write(dir.path(), "ca.pem", authority.root());
    let right = authority.identity(&["provider.example.com"]);
    let misnamed = authority.identity(&["somebody.example.com"]);
    let foreign = other.identity(&["provider.example.com"]);
    let names = json!({"sans": ["provider.example.com"]});
    let own = json!({"ca": other.root(), "subjects": ["provider.example.com"]});
    let cases = [
        (None, 401, 401, "client_certificate"),
        (Some(&misnamed), 403, 403, "client_certificate"),
        (Some(&foreign), 403, 200, "client_certificate"),
        (Some(&right), 200, 403, "client_certificate"),
    ];
    for (rule, is_own) in [(names, false), (own, true)] {
        let resources = nothing().each_source("client_certificate", rule);
        let plain = free_port();
        let outrider = setup(&resources, std::slice::from_ref(&written))
            .env("OUTRIDER__PUBLIC__TLS__CLIENT_CA", &ca)
            .env("OUTRIDER__PUBLIC__PLAIN_LISTEN", &plain.to_string())
            .start()
            .await;
        for (shown, of_listener, of_source, code) in cases {
            for versions in [&[&rustls::version::TLS12], &[&rustls::version::TLS13]] {
                let client = TlsClient::of_versions(&authority, shown, versions);
                let ask = async |request: String| {
                    let asked = client.ask(outrider.public(), "a.example.com", &request);
                    asked.await.unwrap()
                };
                let status = if is_own { of_source } else { of_listener };
                let answer = ask(webhook(true)).await;
                let expected = format!("HTTP/1.1 {status} ");
                assert!(answer.starts_with(&expected), "{answer}");
                assert_eq!(answer.contains(code), status != 200, "{answer}");
                // Other paths ask nothing of the certificate, and a certificate is no signature.
                assert!(ask(HEALTH.to_owned()).await.starts_with("HTTP/1.1 200 "));
                let unsigned = ask(webhook(false)).await;
                assert_eq!(unsigned.contains("verification_failed"), status == 200);
            }
        }
        let mut without = RawClient::connect(plain).await;
        without.write(webhook(true)).await;
        let reply = without.read_reply().await;
        assert_eq!(
            (reply.status.as_u16(), reply.code()),
            (401, "client_certificate")
        );
        let rejected = outrider.metric(
            "outrider_ingest_requests_total",
            &["result=\"client_certificate\""],
        );
        assert!(rejected.await >= 7.0);
    }
}
