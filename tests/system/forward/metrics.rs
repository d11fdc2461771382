//! What is counted of connections to receivers and destinations, and of what is denied.

use serde_json::json;

use super::super::harness::{
    Authority, DEADLINE, Endpoint, NameServer, Outrider, Receiver, Resources, Setup, TlsReceiver,
    uid, until,
};
use super::support::{Origin, Proxy, connect};

const SECRET: &str = "shared-with-the-customer";
const DYNAMIC: [&str; 2] = ["pool=\"dynamic\"", "source_ip=\"\""];

/// How many look-ups, connects and handshakes had their time taken.
async fn timed(outrider: &Outrider) -> [f64; 3] {
    let mut counts = [0.0; 3];
    for (part, count) in ["dns", "connect", "tls"].iter().zip(&mut counts) {
        let name = format!("outrider_egress_{part}_seconds_count");
        *count = outrider.metric(&name, &[]).await;
    }
    counts
}

async fn open(outrider: &Outrider) -> f64 {
    let name = "outrider_egress_active_connections";
    outrider.metric(name, &DYNAMIC).await
}

#[tokio::test]
async fn denials_are_counted_by_their_reason_whoever_asks() {
    let proxy = Proxy::start().await;
    for (request, reason) in [
        ("CONNECT 10.0.0.1:443 HTTP/1.1", "address_denied"),
        ("CONNECT localhost:443 HTTP/1.1", "name_denied"),
        ("CONNECT 0x7f.1:443 HTTP/1.1", "noncanonical_ip"),
        ("GET http://192.0.2.1:80/ HTTP/1.1", "address_denied"),
        ("GET ftp://example.com/ HTTP/1.1", "scheme_not_allowed"),
        (
            "CONNECT example.com:443 HTTP/1.1\r\nx-outrider-tenant: nobody",
            "unknown_tenant",
        ),
    ] {
        let label = [&*format!("reason=\"{reason}\"")];
        let name = "outrider_egress_denied_total";
        let before = proxy.outrider.metric(name, &label).await;
        let answer = proxy.ask(format!("{request}\r\nHost: a\r\n\r\n")).await;
        assert_eq!(answer.error(), format!("denied:{reason}"), "{request}");
        let after = proxy.outrider.metric(name, &label).await;
        assert_eq!(after - before, 1.0, "{request}");
    }
    assert_eq!(timed(&proxy.outrider).await, [0.0; 3]);
}

#[tokio::test]
async fn a_delivery_on_an_open_connection_to_a_known_name_counts_nothing() {
    let receiver = Receiver::start().await;
    let names = NameServer::start(300, |name, _| {
        (name == "hooks.customer.example").then(|| vec!["127.0.0.1".parse().unwrap()])
    })
    .await;
    let port = receiver.address().port();
    let url = format!("http://hooks.customer.example:{port}/in");
    let resources = Resources::outgoing(&[Endpoint::new(1, &url, SECRET)]);
    let (name, value) = names.setting();
    let outrider = Setup::by_host_route(&resources)
        .env(name, &value)
        .start()
        .await;
    for number in 1..=3 {
        let (mut client, event) = (outrider.client(), json!({"n": number}));
        let sent = client.publish_to(&uid(1), "a", event).await;
        sent.unwrap().event_uid();
        // One after the other, so that the connection is free again.
        let sent = ["outcome=\"success\""];
        let name = "outrider_delivery_attempts_total";
        let count = f64::from(number);
        outrider.wait_for_metric(name, &sent, count, DEADLINE).await;
    }
    assert_eq!(receiver.connections(), 1);
    assert_eq!(timed(&outrider).await, [1.0, 1.0, 0.0]);
    let [pool, source] = DYNAMIC;
    let labels = [pool, source, "family=\"ipv4\"", "result=\"connected\""];
    let connected = outrider
        .metric("outrider_egress_connections_total", &labels)
        .await;
    assert_eq!((connected, open(&outrider).await), (1.0, 1.0));
}

#[tokio::test]
async fn handshakes_with_receivers_have_their_time_taken() {
    let (theirs, ours) = (Authority::new(), Authority::new());
    let receiver = TlsReceiver::start(&theirs, &ours).await;
    let identity = ours.identity(&["client"]);
    let outrider = Setup::through_api().start().await;
    let mut admin = outrider.admin_api();
    let mut project = admin.make_project("shop", "outgoing", &json!({})).await;
    let known = json!({
        "http_timeout": 10,
        "tls": {"ca": theirs.root()},
        "mtls_client_cert": {"client_cert": identity.certificate, "client_key": identity.key},
    });
    let endpoint = project.make_endpoint("e", &receiver.url(), &known).await;
    project.publish(&endpoint, "a", &json!(1)).await;
    receiver.wait_for(1).await;
    assert_eq!(timed(&outrider).await, [0.0, 1.0, 1.0]);
}

#[tokio::test]
async fn tunnels_are_counted_by_where_they_leave_from() {
    let pools = Resources::outgoing(&[]).and_egress_pool("default", &["127.0.0.3"], &json!({}));
    let without = Setup::by_host_route(&Resources::outgoing(&[]));
    let without = Proxy::of(without, &[]).await;
    let with = Proxy::of(Setup::new(&pools), &[]).await;
    let origin = Origin::start().await;
    for (proxy, labels) in [
        (without, DYNAMIC),
        (with, ["pool=\"default\"", "source_ip=\"127.0.0.3\""]),
    ] {
        let (client, server) = proxy.tunnel(&origin).await;
        let name = "outrider_egress_active_connections";
        let open = async || proxy.outrider.metric(name, &labels).await;
        assert_eq!((open().await, timed(&proxy.outrider).await[1]), (1.0, 1.0));
        drop((client, server));
        until("it is closed", DEADLINE, async || {
            (open().await == 0.0).then_some(())
        })
        .await;
        let refused = {
            let gone = Origin::start().await;
            connect(&gone)
        };
        let answer = proxy.ask(refused).await;
        assert_eq!(answer.error(), "connect_refused");
        let [pool, source] = labels;
        let labels = [pool, source, "result=\"connect_refused\""];
        let name = "outrider_egress_connections_total";
        assert_eq!(proxy.outrider.metric(name, &labels).await, 1.0);
    }
}
