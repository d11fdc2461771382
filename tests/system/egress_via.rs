//! Deliveries through `outrider egress`: from the addresses that are there, with the certificates
//! that are there, and at nobody's cost while it is away.

use std::fs;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use super::harness::{
    Authority, DEADLINE, DataPlane, EgressRole, Endpoint, Identity, OUTGOING, Planes, Receiver,
    Resources, TlsReceiver, uid, until,
};

const PASSWORD: &str = "a-password-of-the-dispatcher";
pub(super) const SECRET: &str = "shared-with-the-customer";
/// One try: what is charged for an absent proxy would end a delivery at once.
const FEW: &str = r#"{"type": "linear", "duration": 1, "retry_count": 1}"#;

/// A data plane that delivers through an egress role; neither is started.
pub(super) fn through(planes: &Planes, certificates: &str) -> (DataPlane, EgressRole) {
    let mut egress = planes.egress("egress");
    let identities = format!("[{{name: dispatcher, passwords: [{PASSWORD}], projects: ['*']}}]");
    egress
        .process
        .set("OUTRIDER__EGRESS__IDENTITIES", &identities);
    egress
        .process
        .set("OUTRIDER__EGRESS__CLIENT_CERTIFICATES", certificates);
    let mut data = planes.data_plane("data", 0);
    let proxy = format!("http://{}", egress.listen);
    data.process.set("OUTRIDER__EGRESS__VIA__PROXY", &proxy);
    data.process
        .set("OUTRIDER__EGRESS__VIA__USERNAME", "dispatcher");
    data.process
        .set("OUTRIDER__EGRESS__VIA__PASSWORD", PASSWORD);
    (data, egress)
}

pub(super) async fn publish(data: &DataPlane, number: u32) -> String {
    let reply = data
        .client()
        .publish_to(&uid(1), "a", json!({"n": number}))
        .await;
    reply.unwrap().event_uid()
}

/// Waits until so many attempts of the data plane had this outcome.
pub(super) async fn attempts(data: &DataPlane, outcome: &str, count: u64) {
    until(&format!("{count} of {outcome}"), DEADLINE, async || {
        let page = data.admin_page("/metrics").await;
        let label = format!("outcome=\"{outcome}\"");
        let lines = page.lines().filter(|line| {
            line.starts_with("outrider_delivery_attempts_total") && line.contains(&label)
        });
        let counts = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        (counts.sum::<u64>() >= count).then_some(())
    })
    .await;
}

pub(super) fn strategy() -> Value {
    serde_json::from_str(FEW).unwrap()
}

#[tokio::test]
async fn deliveries_leave_from_the_host_of_the_pool_and_wait_for_it_uncharged() {
    let receiver = Receiver::start().await;
    let endpoint = Endpoint::new(1, &receiver.url("/hook"), SECRET);
    let resources = Resources::outgoing(&[endpoint.with("strategy", strategy())]).and_egress_pool(
        "default",
        &["127.0.0.3"],
        &json!({}),
    );
    let mut planes = Planes::new(Some(&resources));
    planes.control.start().await;
    let (mut data, mut egress) = through(&planes, "[]");
    data.start().await;
    let first = publish(&data, 1).await;
    attempts(&data, "no_healthy_source", 3).await;
    assert!(receiver.received().is_empty());

    egress.start().await;
    let received = receiver.wait_for(1, DEADLINE).await;
    assert_eq!(received[0].webhook_id(), first);
    assert_eq!(received[0].peer.ip().to_string(), "127.0.0.3");
    // The tunnel is kept for the next one.
    attempts(&data, "success", 1).await;
    publish(&data, 2).await;
    let received = receiver.wait_for(2, DEADLINE).await;
    assert_eq!(received[1].peer, received[0].peer);
    attempts(&data, "success", 2).await; // else it would be sent again

    egress.process.kill();
    let third = publish(&data, 3).await;
    attempts(&data, "no_healthy_source", 5).await;
    egress.start().await;
    let received = receiver.wait_for(3, DEADLINE).await;
    assert_eq!(received[2].webhook_id(), third);
    assert_eq!(received[2].peer.ip().to_string(), "127.0.0.3");
}

#[tokio::test]
async fn what_the_proxy_says_of_a_destination_is_charged_to_it() {
    let mut closed = Receiver::start().await;
    let url = closed.url("/hook");
    closed.close().await;
    let endpoint = Endpoint::new(1, &url, SECRET).with("strategy", strategy());
    let mut planes = Planes::new(Some(&Resources::outgoing(&[endpoint])));
    planes.control.start().await;
    let (mut data, mut egress) = through(&planes, "[]");
    egress.start().await;
    data.start().await;
    publish(&data, 1).await;
    attempts(&data, "connect_refused", 1).await;
    // It has no other try.
    until("it has its end", DEADLINE, async || {
        let page = data.admin_page("/metrics").await;
        let ended = "outrider_deliveries_finished_total{result=\"retry_limit_exceeded\"} 1";
        page.contains(ended).then_some(())
    })
    .await;
    let wrong = data.admin_page("/metrics").await;
    assert!(!wrong.contains("outcome=\"no_healthy_source\""), "{wrong}");
}

fn certificate(identity: &Identity) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()
}

/// The setting of a certificate called `bank`, in files that only some process is told of.
pub(super) fn bank(planes: &Planes, identity: &Identity, theirs: &Authority) -> String {
    let files = identity.write(planes.dir(), "bank");
    let ca = planes.dir().join("theirs.pem");
    fs::write(&ca, theirs.root()).unwrap();
    let files = files.trim_matches(['{', '}']);
    format!(
        "[{{name: bank, {files}, ca: {}, projects: ['*']}}]",
        ca.display()
    )
}

fn known_by_name(url: &str) -> Resources {
    let endpoint = Endpoint::new(1, url, SECRET)
        .with("http_timeout", 10)
        .with("strategy", strategy())
        .with("tls", json!({"client_certificate": "bank"}));
    Resources::outgoing(&[endpoint])
}

#[tokio::test]
async fn a_receiver_knows_us_by_a_certificate_that_only_the_egress_host_has() {
    let (theirs, ours) = (Authority::new(), Authority::new());
    let receiver = TlsReceiver::start(&theirs, &ours).await;
    let resources = known_by_name(&receiver.url());
    let resources = resources.and_egress_pool("default", &["127.0.0.4"], &json!({}));
    let mut planes = Planes::new(Some(&resources));
    planes.control.start().await;
    let identity = ours.identity(&["bank-client"]);
    let (mut data, mut egress) = through(&planes, &bank(&planes, &identity, &theirs));
    egress.start().await;
    data.start().await;
    for number in 1..=2 {
        publish(&data, number).await;
        let callers = receiver.wait_for(usize::try_from(number).unwrap()).await;
        assert_eq!(callers.last().unwrap(), &certificate(&identity));
    }
    attempts(&data, "success", 2).await;
    let log = egress.process.stderr();
    assert!(log.contains("\"source_ip\":\"127.0.0.4\""), "{log}");
}

#[tokio::test]
async fn a_certificate_that_the_host_has_not_got_is_waited_for() {
    let (theirs, ours) = (Authority::new(), Authority::new());
    let receiver = TlsReceiver::start(&theirs, &ours).await;
    let mut planes = Planes::new(Some(&known_by_name(&receiver.url())));
    planes.control.start().await;
    let identity = ours.identity(&["bank-client"]);
    let setting = bank(&planes, &identity, &theirs);

    // Through a proxy that has none.
    let (mut data, mut egress) = through(&planes, "[]");
    egress.start().await;
    data.start().await;
    publish(&data, 1).await;
    attempts(&data, "no_healthy_source", 3).await;
    egress.process.kill();
    egress
        .process
        .set("OUTRIDER__EGRESS__CLIENT_CERTIFICATES", &setting);
    egress.start().await;
    receiver.wait_for(1).await;
    data.process.kill();

    // And without a proxy, where the data plane is the host.
    let mut other = planes.data_plane("other", 1);
    let name = "OUTRIDER__EGRESS__CLIENT_CERTIFICATES";
    let foreign = setting.replace("'*'", OUTGOING);
    other.process.set(name, &foreign);
    other.start().await;
    publish(&other, 2).await;
    let callers = receiver.wait_for(2).await;
    assert_eq!(callers.last().unwrap(), &certificate(&identity));
}

#[tokio::test]
async fn the_proxy_hears_of_the_trace_of_a_delivery() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let receiver = Receiver::start().await;
    let resources = Resources::outgoing(&[Endpoint::new(1, &receiver.url("/hook"), SECRET)]);
    let mut planes = Planes::new(Some(&resources));
    planes.control.start().await;
    let (mut data, mut egress) = through(&planes, "[]");
    data.process
        .set("OUTRIDER__LOG__LEVEL", "info,outrider::egress=debug");
    egress.start().await;
    data.start().await;
    let traceparent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let event = json!({
        "endpoint_id": uid(1), "event_type": "a", "data": 1,
        "custom_headers": {"traceparent": traceparent},
    });
    data.client().publish("", &event).await.unwrap().event_uid();
    let received = receiver.wait_for(1, DEADLINE).await;
    let sent = received[0].headers.get("traceparent");
    assert_eq!(
        sent.and_then(|value| value.to_str().ok()),
        Some(&*traceparent)
    );
    attempts(&data, "success", 1).await;
    // Where the line is of a new connection, both say whose it is; the proxy at its end.
    egress.process.signal();
    data.process.kill();
    assert_eq!(egress.process.ended().await, Some(0));
    let lines = |log: String| -> Vec<Value> {
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        lines
            .filter(|line: &Value| line["message"] == "egress connection")
            .collect()
    };
    for log in [egress.process.stderr(), data.process.stderr()] {
        let lines = lines(log);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!(lines[0]["trace_id"], TRACE, "{lines:?}");
        assert_eq!(lines[0]["project"], OUTGOING, "{lines:?}");
        assert_eq!(lines[0]["dest_ip"], "127.0.0.1", "{lines:?}");
    }
}
