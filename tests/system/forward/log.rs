//! What the log says of each connection.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};

use super::super::harness::{
    DEADLINE, Endpoint, NameServer, Outrider, Resources, Setup, uid, until,
};
use super::support::{Origin, Proxy, Wire, connect};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// The line of the log about a connection to this port, when it is there.
async fn line(outrider: &Outrider, port: u16) -> Value {
    let asked = format!("the line of port {port}");
    until(&asked, DEADLINE, async || {
        lines(&outrider.stderr(), port).pop()
    })
    .await
}

/// All lines about connections to a port.
pub(super) fn lines(log: &str, port: u16) -> Vec<Value> {
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    lines
        .filter(|line: &Value| line["message"] == "egress connection" && line["port"] == port)
        .collect()
}

fn number(line: &Value, name: &str) -> u64 {
    line[name]
        .as_u64()
        .unwrap_or_else(|| panic!("no {name} in {line}"))
}

/// Plays one answer.
async fn answer(origin: &Origin, wire: &mut Wire, request: &str) -> String {
    wire.write(request).await;
    let mut server = origin.accept().await;
    let head = server.head().await;
    server
        .write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        .await;
    assert_eq!(wire.answer().await.body, b"ok");
    head
}

#[tokio::test]
async fn what_is_no_trace_is_passed_on_and_not_noted() {
    let proxy = Proxy::start().await;
    for value in [
        "00",
        "not a trace",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01, 00",
    ] {
        let (origin, mut client) = (Origin::start().await, proxy.connect().await);
        let url = origin.url("/secret?token=1");
        let request = format!("GET {url} HTTP/1.1\r\nHost: a\r\nTraceParent: {value}\r\n\r\n");
        let sent = answer(&origin, &mut client, &request).await;
        assert!(
            sent.contains(&format!("\r\nTraceParent: {value}\r\n")),
            "{sent}"
        );
        let line = line(&proxy.outrider, origin.address().port()).await;
        assert_eq!(line["trace_id"], Value::Null, "{value}");
    }
    // Two of them are none.
    let (origin, mut client) = (Origin::start().await, proxy.connect().await);
    let field = format!("traceparent: 00-{TRACE}-00f067aa0ba902b7-01\r\n");
    let url = origin.url("/");
    let request = format!("GET {url} HTTP/1.1\r\nHost: a\r\n{field}{field}\r\n");
    answer(&origin, &mut client, &request).await;
    let line = line(&proxy.outrider, origin.address().port()).await;
    assert_eq!(line["trace_id"], Value::Null);
    let log = proxy.outrider.stderr();
    assert!(!log.contains("secret") && !log.contains("token"), "{log}");
}

#[tokio::test]
async fn a_request_and_a_tunnel_are_told_from_others_and_with_their_trace() {
    let endpoint = Endpoint::new(1, "https://customer.example/in", "shared-with-the-customer");
    let resources =
        Resources::outgoing(&[endpoint]).and_egress_pool("default", &["127.0.0.3"], &json!({}));
    let proxy = Proxy::of(Setup::new(&resources), &[]).await;
    let traced = format!(
        "traceparent: 00-{TRACE}-00f067aa0ba902b7-01\r\nx-outrider-tenant: {}\r\nx-outrider-endpoint: {}\r\n",
        super::super::harness::OUTGOING,
        uid(1)
    );
    let (one, other) = (Origin::start().await, Origin::start().await);
    let url = one.url("/");
    let mut client = proxy.connect().await;
    let request = format!("GET {url} HTTP/1.1\r\nHost: a\r\n{traced}\r\n");
    let sent = answer(&one, &mut client, &request).await;
    assert!(sent.contains(TRACE), "{sent}");

    let mut client = proxy.connect().await;
    let to = other.address();
    client
        .write(format!("CONNECT {to} HTTP/1.1\r\nHost: a\r\n{traced}\r\n"))
        .await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    let mut server = other.accept().await;
    client.write("asked").await;
    server.expect("asked").await;
    server.write("yes").await;
    client.expect("yes").await;
    drop((client, server));

    let forwarded = line(&proxy.outrider, one.address().port()).await;
    let tunnelled = line(&proxy.outrider, other.address().port()).await;
    for line in [&forwarded, &tunnelled] {
        assert_eq!(line["trace_id"], TRACE, "{line}");
        assert_eq!(line["endpoint"], uid(1), "{line}");
        assert_eq!(line["project"], super::super::harness::OUTGOING, "{line}");
        assert_eq!(
            (&line["pool"], &line["source_ip"]),
            (&json!("default"), &json!("127.0.0.3"))
        );
        assert!(number(line, "first_byte_us") <= number(line, "total_us"));
        assert_eq!(line["id"].as_str().unwrap().len(), 26);
        // An address was not asked for.
        assert_eq!(line["resolved"], Value::Null);
    }
    assert_ne!(forwarded["id"], tunnelled["id"]);
    assert_eq!(
        (
            number(&tunnelled, "bytes_up"),
            number(&tunnelled, "bytes_down")
        ),
        (5, 3)
    );
}

#[tokio::test]
async fn what_a_name_was_is_noted_within_bounds_and_when_it_is_denied() {
    let many = |count: u8| (1..=count).map(|last| IpAddr::V4(Ipv4Addr::new(127, 0, 1, last)));
    let names = NameServer::start(300, move |name, _| match name {
        "few.customer.example" => Some(many(2).collect()),
        "many.customer.example" => Some(many(40).collect()),
        "inside.customer.example" => Some(vec![
            "127.0.0.1".parse().unwrap(),
            "10.0.0.1".parse().unwrap(),
        ]),
        _ => None,
    })
    .await;
    let (name, value) = names.setting();
    let setup = Setup::by_host_route(&Resources::outgoing(&[])).env(name, &value);
    let proxy = Proxy::of(setup, &[]).await;
    // Nobody is there.
    let asked = async |name: &str| {
        let port = Origin::start().await.address().port();
        let request = format!("CONNECT {name}.customer.example:{port} HTTP/1.1\r\nHost: a\r\n\r\n");
        let error = proxy.ask(request).await.error().to_owned();
        (error, line(&proxy.outrider, port).await)
    };
    let (error, few) = asked("few").await;
    assert_eq!(
        (&*error, &few["resolved"]),
        ("connect_refused", &json!("127.0.1.1,127.0.1.2"))
    );
    assert_eq!(
        (number(&few, "resolved_count"), &few["pool"]),
        (2, &json!("dynamic"))
    );
    let (error, many) = asked("many").await;
    assert_eq!(
        (&*error, number(&many, "resolved_count")),
        ("connect_refused", 40)
    );
    assert_eq!(many["resolved"].as_str().unwrap().split(',').count(), 16);
    let (error, inside) = asked("inside").await;
    assert_eq!(error, "denied:address_denied");
    assert_eq!(inside["resolved"], "127.0.0.1,10.0.0.1");
    assert_eq!(
        (&inside["reason"], &inside["source_ip"]),
        (&json!("address_denied"), &Value::Null)
    );
    let (error, gone) = asked("gone").await;
    assert_eq!(
        (&*error, number(&gone, "resolved_count")),
        ("dns_failure", 0)
    );
}

#[tokio::test]
async fn what_a_destination_never_said_has_no_first_byte() {
    let (proxy, origin) = (Proxy::start().await, Origin::start().await);
    let mut client = proxy.connect().await;
    client.write(connect(&origin)).await;
    client.head().await;
    let server = origin.accept().await;
    drop((client, server));
    let line = line(&proxy.outrider, origin.address().port()).await;
    assert_eq!(line["first_byte_us"], Value::Null, "{line}");
    assert_eq!(line["end"], "closed", "{line}");
}
