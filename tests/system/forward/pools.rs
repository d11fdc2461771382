//! Where the connections of the proxy's clients come from, as their destinations see it.

use std::net::{IpAddr, SocketAddr};

use serde_json::json;
use tokio::net::TcpSocket;

use super::super::egress_sources::{change_pool, ip, make_pool, make_project};
use super::super::harness::{Api, DEADLINE, LEAVES_FROM, Setup, is_inside, run, until};
use super::destination::Destination;
use super::support::{Answer, Origin, Proxy, Wire};
use super::vectors::own_all_addresses;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Both forms of a request to a place with these lines.
fn both(to: impl std::fmt::Display, lines: &str) -> [String; 2] {
    [
        format!("CONNECT {to} HTTP/1.1\r\nHost: a\r\n{lines}\r\n"),
        format!("GET http://{to}/ HTTP/1.1\r\nHost: a\r\n{lines}\r\n"),
    ]
}

fn of(tenant: &str) -> String {
    format!("x-outrider-tenant: {tenant}\r\n")
}

/// The address that a tunnel of these lines comes from, and both its ends.
async fn tunnel(proxy: &Proxy, origin: &Origin, lines: &str) -> (IpAddr, Wire, Wire) {
    let [connect, _] = both(origin.address(), lines);
    let mut client = proxy.connect().await;
    client.write(connect).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let (server, peer) = origin.accept_from().await;
    let (head, body) = (head, Vec::new());
    let answer = Answer { head, body };
    let source = answer.header("x-outrider-source-ip");
    assert_eq!(source, Some(&peer.to_string()[..]));
    (peer, client, server)
}

/// The address that a request of these lines comes from, on a new connection.
async fn request(proxy: &Proxy, origin: &Origin, lines: &str) -> (IpAddr, Wire) {
    let [_, request] = both(origin.address(), lines);
    let mut client = proxy.connect().await;
    client.write(request).await;
    let (mut server, peer) = origin.accept_from().await;
    server.head().await;
    server.write(OK).await;
    let answer = client.answer().await;
    let source = answer.header("x-outrider-source-ip");
    assert_eq!(source, Some(&peer.to_string()[..]));
    (peer, server)
}

async fn start() -> (Proxy, Origin, Api) {
    let proxy = Proxy::of(Setup::through_api(), &[]).await;
    let admin = proxy.outrider.admin_api();
    (proxy, Origin::start().await, admin)
}

#[tokio::test]
async fn clients_leave_from_the_pool_of_their_tenant() {
    let (proxy, origin, mut admin) = start().await;
    make_pool(&mut admin, "eu", &[ip("127.0.0.2")], json!({})).await;
    make_pool(&mut admin, "us", &[ip("127.0.0.3")], json!({})).await;
    let mut shop = make_project(&mut admin, "shop", Some("eu")).await;
    let other = make_project(&mut admin, "other", Some("us")).await;
    let owner = json!({"mode": "dedicated", "projects": [other.project()]});
    make_pool(&mut admin, "own", &[ip("127.0.0.4")], owner).await;
    let in_us = json!({"egress_pool": "us"});
    let endpoint = shop.make_endpoint("e", &origin.url("/"), &in_us).await;
    let endpoint = format!("x-outrider-endpoint: {endpoint}\r\n");
    let (shop, other) = (shop.project().to_owned(), other.project().to_owned());
    let mut open = Vec::new(); // idle connections are not taken by who leaves from elsewhere
    for (lines, expected) in [
        (String::new(), LEAVES_FROM),
        (of(&shop), "127.0.0.2"),
        (of(&other), "127.0.0.3"),
        (of(&format!("{shop}.us")), "127.0.0.3"),
        (of(&format!("{other}.own")), "127.0.0.4"),
    ] {
        let (from, client, server) = tunnel(&proxy, &origin, &lines).await;
        assert_eq!(from, ip(expected), "{lines}");
        let (from, kept) = request(&proxy, &origin, &lines).await;
        assert_eq!(from, ip(expected), "{lines}");
        open.push((client, server, kept));
    }
    let (from, ..) = tunnel(&proxy, &origin, &(of(&shop) + &endpoint)).await;
    assert_eq!(from, ip("127.0.0.3"), "of the endpoint");
    for (what, lines, reason) in [
        ("another's pool", of(&format!("{shop}.own")), "unknown_pool"),
        (
            "a pool that is not",
            of(&format!("{shop}.no")),
            "unknown_pool",
        ),
        (
            "another's endpoint",
            of(&other) + &endpoint,
            "unknown_endpoint",
        ),
    ] {
        for request in both(origin.address(), &lines) {
            let error = format!("denied:{reason}");
            let answer = proxy.ask(request).await;
            answer.assert_refusal(what, 403, &error, "http_request_denied");
        }
    }
    origin.assert_nobody_came().await;
}

#[tokio::test]
async fn what_is_open_keeps_its_address_when_the_pool_changes() {
    let (proxy, origin, mut admin) = start().await;
    let pool = make_pool(&mut admin, "eu", &[ip("127.0.0.2")], json!({})).await;
    let project = make_project(&mut admin, "shop", Some("eu")).await;
    let tenant = of(project.project());
    let (from, mut client, mut server) = tunnel(&proxy, &origin, &tenant).await;
    let (idle_from, _idle) = request(&proxy, &origin, &tenant).await;
    assert_eq!([from, idle_from], [ip("127.0.0.2"); 2]);
    let moved = json!([{"address": "127.0.0.2", "state": "draining"}, {"address": "127.0.0.5"}]);
    change_pool(&mut admin, &pool, "eu", moved).await;
    until("new ones come from elsewhere", DEADLINE, async || {
        let (from, ..) = tunnel(&proxy, &origin, &tenant).await;
        (from == ip("127.0.0.5")).then_some(())
    })
    .await;
    // The idle connection is not used again either.
    let (from, _) = request(&proxy, &origin, &tenant).await;
    assert_eq!(from, ip("127.0.0.5"));
    client.write("still").await;
    server.expect("still").await;
    server.write("here").await;
    client.expect("here").await;
}

#[tokio::test]
async fn without_an_address_of_its_pool_a_client_goes_nowhere() {
    let (proxy, origin, mut admin) = start().await;
    make_pool(&mut admin, "far", &[ip("203.0.113.77")], json!({})).await;
    let project = make_project(&mut admin, "shop", Some("far")).await;
    for request in both(origin.address(), &of(project.project())) {
        let answer = proxy.ask(&request).await;
        answer.assert_refusal(&request, 503, "no_healthy_source", "proxy_internal_error");
    }
    origin.assert_nobody_came().await;
}

#[tokio::test]
async fn ports_end_and_families_do_not_mix() {
    let name = "ports_end_and_families_do_not_mix";
    if !is_inside(&format!("{}::{name}", module_path!())) {
        return;
    }
    // Nothing leads anywhere yet.
    let (proxy, origin, mut admin) = start().await;
    for request in both("1.1.1.1:80", "") {
        let answer = proxy.ask(&request).await;
        let kind = "destination_ip_unroutable";
        answer.assert_refusal(&request, 502, "connect_unreachable", kind);
    }
    own_all_addresses();
    make_pool(&mut admin, "eu", &[ip("10.77.0.2")], json!({})).await;
    let project = make_project(&mut admin, "shop", Some("eu")).await;
    let tenant = of(project.project());
    // An address of the pool is of the other family than the destination.
    let destination = Destination::everywhere([80]).await;
    for request in both("[2606:2800:21f:cb07:6820:80da:af6b:8b2c]:80", &tenant) {
        let answer = proxy.ask(&request).await;
        let kind = "destination_ip_unroutable";
        answer.assert_refusal(&request, 502, "connect_unreachable", kind);
    }
    assert_eq!(destination.take_reached(), []);
    let ports = |range| {
        let setting = format!("net.ipv4.ip_local_port_range={range}");
        run("sysctl", &["-qw", &setting]);
    };
    ports("40000 40009");
    let mut open = Vec::new();
    let [connect, forward] = both(origin.address(), &tenant);
    for number in 0..10 {
        let mut client = client(&proxy, number).await;
        client.write(&connect).await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{number}: {head}");
        let (server, peer) = origin.accept_from().await;
        assert_eq!(peer, ip("10.77.0.2"));
        open.push((client, server));
    }
    for (number, request) in [(10, &connect), (11, &forward)] {
        let mut client = client(&proxy, number).await;
        client.write(request).await;
        let answer = client.answer().await;
        answer.assert_refusal(request, 503, "port_exhausted", "proxy_internal_error");
    }
    // For another destination the same ports are free.
    let other = Origin::start().await;
    let [connect, _] = both(other.address(), &tenant);
    let mut client = client(&proxy, 12).await;
    client.write(&connect).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(other.accept_from().await.1, ip("10.77.0.2"));
    ports("32768 60999");
}

/// A client with a port outside of the few: one that is bound is skipped by all other addresses.
async fn client(proxy: &Proxy, number: u16) -> Wire {
    let socket = TcpSocket::new_v4().unwrap();
    let own = SocketAddr::from(([127, 0, 0, 1], 31_000 + number));
    socket.bind(own).unwrap();
    Wire::on(socket.connect(proxy.address).await.unwrap())
}
