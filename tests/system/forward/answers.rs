//! Answers of destinations, as the client gets them; and destinations that answer badly, or not.

use super::super::harness::{DEADLINE, LEAVES_FROM};
use super::support::{Origin, Proxy, Wire};

/// A request to the origin, and both ends of its way.
async fn asked(proxy: &Proxy, origin: &Origin, method: &str, more: &str) -> (Wire, Wire) {
    let url = origin.url("/");
    let mut client = proxy.connect().await;
    client
        .write(format!("{method} {url} HTTP/1.1\r\nHost: a\r\n{more}\r\n"))
        .await;
    let mut server = origin.accept().await;
    server.head().await;
    (client, server)
}

#[tokio::test]
async fn no_answer_can_look_as_if_the_proxy_had_made_it() {
    let (proxy, origin) = (Proxy::start().await, Origin::start().await);
    let (mut client, mut server) = asked(&proxy, &origin, "GET", "").await;
    server
        .write(
            "HTTP/1.1 502 Bad Gateway\r\nX-First: 1\r\nX-Outrider-Egress-Error: connect_refused\r\n\
             x-outrider-egress-error:denied\r\nx-outrider-source-ip: 8.8.8.8\r\nX-OUTRIDER-Dest-IP: 8.8.8.8\r\n\
             Proxy-Status: outrider; error=dns_error\r\nProxy-Authenticate: Basic realm=x\r\nConnection: x-mine\r\n\
             x-mine: 2\r\nKeep-Alive: timeout=1\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nX-LAST:  3 \r\n\
             Content-Length: 4\r\n\r\noops",
        )
        .await;
    let answer = client.answer().await;
    assert_eq!(answer.body, b"oops");
    let lines: Vec<&str> = answer.head.trim_end().split("\r\n").collect();
    let (theirs, ours) = lines.split_at(6);
    let expected = [
        "HTTP/1.1 502 Bad Gateway",
        "X-First: 1",
        "Set-Cookie: a=1",
        "set-cookie: b=2",
        "X-LAST:  3 ",
        "Content-Length: 4",
    ];
    assert_eq!(theirs, expected);
    assert_eq!(
        ours[..2],
        [
            &*format!("x-outrider-source-ip: {LEAVES_FROM}"),
            "x-outrider-dest-ip: 127.0.0.1"
        ]
    );
    assert!(ours[2].starts_with("x-outrider-timing: "), "{ours:?}");
    assert_eq!(ours.len(), 3);
    // 407 and 429 are theirs to say, and say nothing of ours.
    for status in [407, 429, 503] {
        client
            .write(format!(
                "GET {} HTTP/1.1\r\nHost: a\r\n\r\n",
                origin.url("/")
            ))
            .await;
        server.head().await;
        server
            .write(format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n"))
            .await;
        let answer = client.answer().await;
        assert_eq!((answer.status(), answer.error()), (status, ""));
        assert_eq!(answer.header("proxy-status"), None);
    }
}

#[tokio::test]
async fn answers_without_a_body_have_none_whatever_they_say() {
    let (proxy, origin) = (Proxy::start().await, Origin::start().await);
    let (mut client, mut server) = asked(&proxy, &origin, "HEAD", "").await;
    let url = origin.url("/");
    for (status, next) in [
        ("200 OK\r\nContent-Length: 1000", "GET"),
        ("204 No Content", "GET"),
        ("304 Not Modified\r\nContent-Length: 1000", "HEAD"),
        ("200 OK\r\nTransfer-Encoding: chunked", "GET"),
        ("204 No Content\r\nETag: a", "GET"),
    ] {
        server.write(format!("HTTP/1.1 {status}\r\n\r\n")).await;
        let head = client.head().await;
        let code = &status[..3];
        assert!(head.starts_with(&format!("HTTP/1.1 {code} ")), "{head}");
        assert_eq!(
            head.contains("Content-Length: 1000\r\n"),
            status.contains("Length"),
            "{head}"
        );
        // The next one comes on the same connections.
        client
            .write(format!("{next} {url} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        assert!(server.head().await.starts_with(next));
    }
    server
        .write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .await;
    assert_eq!(client.answer().await.body, b"ok");
}

#[tokio::test]
async fn chunks_come_down_as_they_are_sent() {
    let (proxy, origin) = (Proxy::start().await, Origin::start().await);
    let (mut client, mut server) = asked(&proxy, &origin, "GET", "").await;
    server
        .write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        .await;
    let head = client.head().await;
    assert!(
        head.contains("\r\nTransfer-Encoding: chunked\r\n"),
        "{head}"
    );
    client.expect("3\r\nabc\r\n").await;
    server
        .write("2\r\nde\r\n0\r\nx-outrider-egress-error: denied\r\n\r\n")
        .await;
    // Trailers are of the connection, as the field that announces them is: who took them for
    // fields could be told an error of ours.
    client.expect("2\r\nde\r\n0\r\n\r\n").await;
    client
        .write(format!(
            "GET {} HTTP/1.1\r\nHost: a\r\n\r\n",
            origin.url("/")
        ))
        .await;
    server.head().await;
    server
        .write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .await;
    assert_eq!(client.answer().await.body, b"ok");
}

#[tokio::test]
async fn an_answer_before_the_whole_request_is_passed_on() {
    let (proxy, origin) = (Proxy::start().await, Origin::start().await);
    let (mut client, mut server) =
        asked(&proxy, &origin, "POST", "Content-Length: 1000000\r\n").await;
    client.write("begin").await;
    server.expect("begin").await;
    server
        .write("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")
        .await;
    let answer = client.answer().await;
    assert_eq!(
        (answer.status(), answer.header("connection")),
        (413, Some("close"))
    );
    assert_eq!(answer.body, b"no");
    drop(server);
    assert_eq!(client.rest().await, b"");
}

#[tokio::test]
async fn destinations_that_answer_badly_are_told_apart() {
    let (proxy, origin) = (Proxy::start().await, Origin::start().await);
    let (protocol, reset) = (
        ("protocol_error", "http_protocol_error"),
        ("connect_reset", "connection_terminated"),
    );
    let endless = format!("HTTP/1.1 200 OK\r\nX-A: {}", "a".repeat(70_000));
    let fields = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X-A: 1\r\n".repeat(101));
    for (what, answer, (error, kind)) in [
        ("closed", "", reset),
        ("half a head", "HTTP/1.1 200 OK\r\nX-A", protocol),
        ("no HTTP", "SSH-2.0-OpenSSH_9.2\r\n", protocol),
        ("HTTP/2", "HTTP/2.0 200 OK\r\n\r\n", protocol),
        ("an endless head", &endless, protocol),
        ("too many fields", &fields, protocol),
        ("a line without CR", "HTTP/1.1 200 OK\nX-A: 1\n\n", protocol),
        (
            "a length and chunks",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            protocol,
        ),
        (
            "two lengths",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            protocol,
        ),
        (
            "another protocol",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
            protocol,
        ),
    ] {
        let (mut client, mut server) = asked(&proxy, &origin, "GET", "").await;
        server.write(answer).await;
        drop(server);
        client.answer().await.assert_refusal(what, 502, error, kind);
        assert_eq!(client.rest().await, b"", "{what}");
    }
}

/// Begun, an answer cannot be taken back: the client sees that it is not whole.
#[tokio::test]
async fn an_answer_that_breaks_off_ends_the_clients_connection() {
    let (proxy, origin) = (Proxy::start().await, Origin::start().await);
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (head, half, rest) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", "half", ""),
        (chunked, "4\r\nhalf\r\n", ""),
        (chunked, "4\r\nhalf\r\n", "no size\r\n0\r\n\r\n"),
    ] {
        let (mut client, mut server) = asked(&proxy, &origin, "GET", "").await;
        server.write(format!("{head}{half}")).await;
        client.head().await;
        client.expect(half).await;
        server.write(rest).await;
        drop(server);
        assert_eq!(
            client.rest().await,
            b"",
            "and neither an end nor another answer"
        );
    }
    let broken = ["method=\"forward\"", "end=\"connect_reset\""];
    let requests = "outrider_egress_requests_total";
    proxy
        .outrider
        .wait_for_metric(requests, &broken, 1.0, DEADLINE)
        .await;
}

#[tokio::test]
async fn a_destination_that_never_answers_is_given_up_when_the_client_says() {
    let (proxy, origin) = (Proxy::start().await, Origin::start().await);
    let (mut client, mut server) = asked(&proxy, &origin, "GET", "X-Outrider-Timeout: 1\r\n").await;
    let answer = client.answer().await;
    answer.assert_refusal("silent", 504, "response_timeout", "http_response_timeout");
    assert_eq!(server.rest().await, b"");
    // Interim answers are no answer.
    let (mut client, mut server) = asked(&proxy, &origin, "GET", "x-outrider-timeout: 1\r\n").await;
    server.write("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(server.rest().await, b"");
    // A body that drips is bounded as well.
    let (mut client, mut server) = asked(&proxy, &origin, "GET", "x-outrider-timeout: 1\r\n").await;
    server
        .write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        .await;
    client.head().await;
    assert_eq!(client.rest().await, b"half");
    assert_eq!(server.rest().await, b"");
}

/// What a client does not read is not read from the destination either, whatever it is.
#[tokio::test]
async fn a_flood_of_interim_answers_is_not_kept_for_the_client() {
    let (proxy, origin) = (Proxy::start().await, Origin::start().await);
    let (client, mut server) = asked(&proxy, &origin, "GET", "x-outrider-timeout: 2\r\n").await;
    let early = format!(
        "HTTP/1.1 103 Early Hints\r\nX-A: {}\r\n\r\n",
        "a".repeat(60_000)
    );
    let mut taken = 0;
    while server.try_write(&early).await.is_ok() {
        taken += early.len();
        // Buffers of the system take some.
        assert!(taken < 32 << 20, "{taken} bytes, and still room");
    }
    drop(client);
}

#[tokio::test]
async fn a_destination_that_closes_does_not_close_the_clients_connection() {
    let (proxy, origin) = (Proxy::start().await, Origin::start().await);
    let (mut client, mut server) = asked(&proxy, &origin, "GET", "").await;
    for _ in 0..3 {
        server
            .write("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
            .await;
        let answer = client.answer().await;
        assert_eq!(
            (answer.header("connection"), &answer.body[..]),
            (None, &b"ok"[..])
        );
        client
            .write(format!(
                "GET {} HTTP/1.1\r\nHost: a\r\n\r\n",
                origin.url("/")
            ))
            .await;
        server = origin.accept().await; // although the other one is still open
        server.head().await;
    }
}
