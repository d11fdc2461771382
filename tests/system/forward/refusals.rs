//! What the proxy says itself: each with its status and code, never to be taken for an answer of
//! the destination.

use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::super::harness::{NameServer, Resources, Setup, until};
use super::support::{Answer, Origin, Proxy, connect};

/// A request that is refused: what it is, its bytes, status, code, type of error.
type Case<'a> = (&'a str, String, u16, &'a str, &'a str);

const BAD: (u16, &str, &str) = (400, "bad_request", "http_request_error");

fn bad<'a>(what: &'a str, request: impl Into<String>) -> Case<'a> {
    (what, request.into(), BAD.0, BAD.1, BAD.2)
}

async fn assert_refused(proxy: &Proxy, cases: &[Case<'_>]) {
    for (what, request, status, error, kind) in cases {
        let mut client = proxy.connect().await;
        // What stands behind a refused request is no request.
        let behind = "GET /behind HTTP/1.1\r\nHost: a\r\n\r\n";
        client.write(format!("{request}{behind}")).await;
        let answer = client.answer().await;
        answer.assert_refusal(what, *status, error, kind);
        assert_eq!(client.rest().await, b"", "{what}");
    }
}

#[tokio::test]
async fn what_is_no_request_to_a_proxy_is_a_bad_request() {
    let (proxy, origin) = (Proxy::start().await, Origin::start().await);
    let url = origin.url("/hook");
    let (host, head) = (
        origin.address(),
        format!("POST {url} HTTP/1.1\r\nHost: a\r\n"),
    );
    let with = |lines: &str| format!("{head}{lines}\r\n");
    let line = |line: &str| format!("{line}\r\nHost: a\r\n\r\n");
    let chunks = |body: &str| with("Transfer-Encoding: chunked\r\n") + body;
    let too_large = (431, "bad_request", "http_request_error");
    let large = |what, request| (what, request, too_large.0, too_large.1, too_large.2);
    let cases = [
        bad("a path", line("GET /hook HTTP/1.1")),
        bad("an asterisk", line("OPTIONS * HTTP/1.1")),
        bad(
            "https in clear",
            line("GET https://hooks.example.com/ HTTP/1.1"),
        ),
        bad(
            "a tunnel with a body",
            format!("CONNECT {host} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab"),
        ),
        bad("TLS that is not 1", with("x-outrider-tls: yes\r\n")),
        bad("no time", with("x-outrider-timeout: 0\r\n")),
        bad("too much time", with("x-outrider-timeout: 121\r\n")),
        bad("time in words", with("x-outrider-timeout: long\r\n")),
        bad(
            "a length and chunks",
            with("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"),
        ),
        bad(
            "chunks and a length",
            with("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n"),
        ),
        bad(
            "two lengths",
            with("Content-Length: 3\r\nContent-Length: 4\r\n"),
        ),
        bad("a signed length", with("Content-Length: +3\r\n")),
        bad("another coding", with("Transfer-Encoding: gzip\r\n")),
        bad("two codings", with("Transfer-Encoding: gzip, chunked\r\n")),
        bad(
            "chunks of an old client",
            format!("POST {url} HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ),
        bad("no Host", format!("GET {url} HTTP/1.1\r\n\r\n")),
        bad("two Hosts", with("Host: b\r\n")),
        bad("a blank before the colon", with("X-A : 1\r\n")),
        bad("a folded field", with("X-A: 1\r\n 2\r\n")),
        bad(
            "a line without CR",
            format!("POST {url} HTTP/1.1\nHost: a\n\n"),
        ),
        bad("HTTP/2", line(&format!("GET {url} HTTP/2.0"))),
        bad("TLS", "\x16\x03\x01\x02"),
        bad(
            "a tenant twice",
            with("x-outrider-tenant: a\r\nx-outrider-tenant: b\r\n"),
        ),
        bad("no size of a chunk", chunks("x\r\n")),
        bad(
            "a chunk longer than it says",
            chunks("1\r\nab\r\n0\r\n\r\n"),
        ),
        large(
            "a long line",
            line(&format!("GET {url}{} HTTP/1.1", "a".repeat(33_000))),
        ),
        large(
            "a large head",
            with(&format!("X-A: {}\r\n", "a".repeat(33_000))),
        ),
        large("many fields", with(&"X-A: 1\r\n".repeat(100))),
        bad(
            "CONNECT with a length and chunks",
            format!(
                "CONNECT {host} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
            ),
        ),
    ];
    assert_refused(&proxy, &cases).await;
}

/// Half a head is told that it is late; who says nothing is let go.
#[tokio::test]
async fn heads_are_not_waited_for_without_end() {
    let proxy = Proxy::start().await;
    let (mut half, mut silent) = (proxy.connect().await, proxy.connect().await);
    half.write("CONNECT a.example:443 HTTP/1.1\r\nHo").await;
    let (answer, said) = tokio::join!(half.answer(), silent.rest());
    answer.assert_refusal("half", 400, "bad_request", "http_request_error");
    assert_eq!(said, b"");
}

#[tokio::test]
async fn clients_over_the_limit_wait_for_one_to_leave() {
    let (proxy, origin) = (
        Proxy::with(&[
            ("CONNECTIONS_MAX", "2"),
            ("CONNECTIONS_PER_ADDRESS_MAX", "2"),
        ])
        .await,
        Origin::start().await,
    );
    let first = proxy.tunnel(&origin).await;
    let _second = proxy.tunnel(&origin).await;
    let mut third = proxy.connect().await;
    third.write(connect(&origin)).await;
    let (mut client, server) = first;
    client.finish().await;
    drop(server);
    assert_eq!(client.rest().await, b"");
    drop(client);
    assert!(third.head().await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn where_nobody_may_go_is_denied_with_the_reason() {
    let (proxy, origin) = (Proxy::start().await, Origin::start().await);
    let denied = |what, request: String, error| (what, request, 403, error, "http_request_denied");
    let by_address = |what, request: String| {
        (
            what,
            request,
            403,
            "denied:address_denied",
            "destination_ip_prohibited",
        )
    };
    let both = |to: &str| {
        [
            format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n"),
            format!("GET http://{to}/ HTTP/1.1\r\nHost: {to}\r\n\r\n"),
        ]
    };
    let [inside, inside_url] = both("10.0.0.1:443");
    let [metadata, metadata_url] = both("169.254.169.254:80");
    let [name, name_url] = both("localhost:443");
    let [port, port_url] = both("1.1.1.1:22");
    let [octal, octal_url] = both("0177.0.0.1:443");
    let [own, own_url] = both(&proxy.address.to_string());
    let (own_error, prohibited) = ("denied:self_address", "destination_ip_prohibited");
    let connect = |to: &str| format!("CONNECT {to} HTTP/1.1\r\nHost: a\r\n\r\n");
    let tenant = |tenant: &str| {
        let url = origin.url("/");
        format!("GET {url} HTTP/1.1\r\nHost: a\r\nx-outrider-tenant: {tenant}\r\n\r\n")
    };
    let cases = [
        by_address("a private address", inside),
        by_address("a private address", inside_url),
        by_address("metadata", metadata),
        by_address("metadata", metadata_url),
        denied("a local name", name, "denied:name_denied"),
        denied("a local name", name_url, "denied:name_denied"),
        denied("a port", port, "denied:port_not_allowed"),
        denied("a port", port_url, "denied:port_not_allowed"),
        denied("octal", octal, "denied:noncanonical_ip"),
        denied("octal", octal_url, "denied:noncanonical_ip"),
        ("the proxy itself", own, 403, own_error, prohibited),
        ("the proxy itself", own_url, 403, own_error, prohibited),
        denied("no port", connect("a.example"), "denied:invalid_authority"),
        denied(
            "a path",
            connect("a.example:443/x"),
            "denied:invalid_authority",
        ),
        denied(
            "a URL",
            connect("http://a.example:443"),
            "denied:invalid_authority",
        ),
        denied(
            "another scheme",
            "GET ftp://a.example/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            "denied:scheme_not_allowed",
        ),
        denied(
            "an unknown project",
            tenant("01JQ0000000000000000000009"),
            "denied:unknown_tenant",
        ),
        denied("no uid", tenant("shop"), "denied:unknown_tenant"),
    ];
    assert_refused(&proxy, &cases).await;
    origin.assert_nobody_came().await;
    let refused = proxy
        .outrider
        .metric("outrider_egress_refusals_total", &["code=\"denied\""]);
    assert!(refused.await >= 18.0);
}

#[tokio::test]
async fn a_destination_that_cannot_be_reached_is_told_apart() {
    let names = NameServer::start(60, |name, _| match name {
        "empty.example" => Some(Vec::new()),
        "away.example" => Some(vec!["127.0.0.1".parse().unwrap()]),
        _ => None,
    });
    let names = names.await;
    let (setting, servers) = names.setting();
    let setup = Setup::new(&Resources::outgoing(&[])).env(setting, &servers);
    let proxy = Proxy::of(setup, &[]).await;
    let closed = Origin::start().await.address().port();
    let both = |host: &str| {
        [
            format!("CONNECT {host}:{closed} HTTP/1.1\r\nHost: a\r\n\r\n"),
            format!("GET http://{host}:{closed}/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        ]
    };
    for (host, error, kind) in [
        ("127.0.0.1", "connect_refused", "connection_refused"),
        ("away.example", "connect_refused", "connection_refused"),
        ("nobody.example", "dns_failure", "dns_error"),
        ("empty.example", "dns_failure", "dns_error"),
    ] {
        for request in both(host) {
            proxy
                .ask(&request)
                .await
                .assert_refusal(&request, 502, error, kind);
        }
    }
    assert_eq!(names.lookups("away.example"), 1, "remembered");
}

/// The queue of a listener that accepts nothing is soon full; then nobody answers.
#[tokio::test]
async fn a_destination_that_takes_no_connection_is_a_connect_timeout() {
    let proxy = Proxy::start().await;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = timeout(Duration::from_secs(2), TcpStream::connect(address)).await {
        waiting.push(stream.unwrap());
    }
    let request = format!("CONNECT {address} HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = proxy.ask(request).await;
    answer.assert_refusal("full", 504, "connect_timeout", "connection_timeout");
}

/// As many as one project may have open at one destination, half of what that may get.
#[tokio::test]
async fn no_destination_gets_more_connections_than_it_may() {
    let (proxy, origin) = (Proxy::start().await, Origin::start().await);
    let mut open = Vec::new();
    for _ in 0..128 {
        open.push(proxy.tunnel(&origin).await);
    }
    let answer = proxy.ask(connect(&origin)).await;
    answer.assert_refusal("one more", 429, "limit", "connection_limit_reached");
    assert_eq!(answer.header("retry-after"), Some("1"));
    // Elsewhere there is room, and here as well when one has ended.
    let other = Origin::start().await;
    proxy.tunnel(&other).await;
    drop(open.pop());
    until(
        "there is room again",
        super::super::harness::DEADLINE,
        async || {
            let answer: Answer = {
                let mut client = proxy.connect().await;
                client.write(connect(&origin)).await;
                Answer {
                    head: client.head().await,
                    body: Vec::new(),
                }
            };
            (answer.status() == 200).then_some(())
        },
    )
    .await;
}
