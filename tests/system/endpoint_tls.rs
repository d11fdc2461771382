//! TLS of endpoints: certificates that receivers ask for, and roots of their own.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use super::endpoint_authentication::attempt_of;
use super::harness::{Api, Authority, Identity, Setup, TlsReceiver};

fn shown(identity: &Identity) -> Value {
    json!({"client_cert": identity.certificate, "client_key": identity.key})
}

fn certificate(identity: &Identity) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()
}

/// Changes an endpoint, of which name and URL have to be given again.
async fn change(project: &mut Api, endpoint: &str, url: &str, more: Value) -> Value {
    let mut body = json!({"name": "e", "url": url});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let path = format!("/endpoints/{endpoint}");
    project.put(&path, &body).await.data(202)
}

#[tokio::test]
async fn receivers_know_us_by_our_certificate_and_we_know_them_by_a_root_of_their_own() {
    let (theirs, ours) = (Authority::new(), Authority::new());
    let receiver = TlsReceiver::start(&theirs, &ours).await;
    let url = receiver.url();
    let mut outrider = Setup::through_api().start().await;
    let strategy = json!({"type": "linear", "duration": 3600, "retry_count": 1});
    let mut admin = outrider.admin_api();
    let mut project = admin
        .make_project("shop", "outgoing", &json!({"strategy": strategy}))
        .await;
    let limits = json!({"http_timeout": 10, "connect_timeout_s": 5});
    let endpoint = project.make_endpoint("e", &url, &limits).await;

    // A stranger to us, and then we to it.
    let event = project.publish(&endpoint, "a", &json!(1)).await;
    let attempt = attempt_of(&mut project, &event, "Failure").await;
    assert_eq!(attempt["error_class"], "tls_failure", "{attempt}");
    assert_eq!(attempt["response_flags"], "UF,URX");
    let root = json!({"tls": {"ca": theirs.root()}});
    let changed = change(&mut project, &endpoint, &url, root.clone()).await;
    assert_eq!(
        (&changed["tls"], &changed["connect_timeout_s"]),
        (&root["tls"], &json!(5))
    );
    let event = project.publish(&endpoint, "a", &json!(2)).await;
    let attempt = attempt_of(&mut project, &event, "Failure").await;
    assert_eq!(attempt["error_class"], "tls_failure", "{attempt}");

    let [first, second] = [["client-1"], ["client-2"]].map(|names| ours.identity(&names));
    let hidden = json!({"client_cert": first.certificate, "client_key": "[REDACTED]"});
    let changed = change(
        &mut project,
        &endpoint,
        &url,
        json!({"mtls_client_cert": shown(&first)}),
    )
    .await;
    assert_eq!(changed["mtls_client_cert"], hidden);
    let event = project.publish(&endpoint, "a", &json!(3)).await;
    let attempt = attempt_of(&mut project, &event, "Success").await;
    assert!(
        attempt["timings_us"]["tls"].as_u64().unwrap() > 0,
        "{attempt}"
    );
    // What comes back hidden is kept, also over a restart.
    change(
        &mut project,
        &endpoint,
        &url,
        json!({"mtls_client_cert": hidden}),
    )
    .await;
    outrider.kill();
    outrider.start().await;
    let event = project.publish(&endpoint, "a", &json!(4)).await;
    project.delivery(&event, "Success").await;

    // Another endpoint there is another caller: no connection is shared.
    let more = json!({"mtls_client_cert": shown(&second), "tls": {"ca": theirs.root()}, "http_timeout": 10});
    let other = project.make_endpoint("other", &url, &more).await;
    for endpoint in [&other, &endpoint, &other] {
        let event = project.publish(endpoint, "a", &json!(5)).await;
        project.delivery(&event, "Success").await;
    }
    let callers = receiver.wait_for(5).await;
    let [a, b] = [&first, &second].map(certificate);
    assert_eq!(callers, [&a, &a, &b, &a, &b].map(Clone::clone));
    let dump = outrider.admin_page("/config_dump").await;
    assert!(!dump.contains("PRIVATE KEY"), "{dump}");
}

#[tokio::test]
async fn what_cannot_work_is_refused_when_it_is_configured() {
    let authority = Authority::new();
    let [one, other] = [["one"], ["other"]].map(|names| authority.identity(&names));
    let outrider = Setup::through_api().start().await;
    let mut admin = outrider.admin_api();
    let mut project = admin.make_project("shop", "outgoing", &json!({})).await;
    let crossed = json!({"client_cert": one.certificate, "client_key": other.key});
    for (url, more, says) in [
        (
            "https://a.example",
            json!({"mtls_client_cert": crossed}),
            "`mtls_client_cert.client_key`: is not the key of the first certificate",
        ),
        (
            "https://a.example",
            json!({"mtls_client_cert": {"client_cert": one.certificate}}),
            "`mtls_client_cert.client_key`: is missing",
        ),
        (
            "https://a.example",
            json!({"tls": {"ca": one.key}}),
            "`tls.ca`: must be PEM with 1 to 32 certificates",
        ),
        (
            "http://a.example",
            json!({"tls": {"ca": authority.root()}}),
            "`url`: must be https: nothing else has certificates",
        ),
        (
            "http://a.example",
            json!({"mtls_client_cert": shown(&one)}),
            "`url`: must be https: nothing else has certificates",
        ),
        (
            "http://a.example",
            json!({"http_timeout": 5, "connect_timeout_s": 6}),
            "`connect_timeout_s`: must be from 1 to 5 seconds",
        ),
    ] {
        let mut body = json!({"name": "e", "url": url});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        assert_eq!(project.post("/endpoints", &body).await.refusal(400), says);
    }
}
