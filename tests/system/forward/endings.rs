//! How connections end, and that the other side sees the same end: what is whole is told from what
//! was cut, an end from a reset, and who has gone is not waited for.

use super::super::harness::DEADLINE;
use super::support::{Origin, Proxy, Wire};

/// A request to the origin, and both ends of its way.
async fn asked(proxy: &Proxy, origin: &Origin, version: &str, more: &str) -> (Wire, Wire) {
    let url = origin.url("/");
    let mut client = proxy.connect().await;
    client
        .write(format!("GET {url} HTTP/{version}\r\nHost: a\r\n{more}\r\n"))
        .await;
    let mut server = origin.accept().await;
    server.head().await;
    (client, server)
}

async fn ended(proxy: &Proxy, end: &str, count: f64) {
    let label = format!("end=\"{end}\"");
    let requests = "outrider_egress_requests_total";
    proxy
        .outrider
        .wait_for_metric(requests, &[&label], count, DEADLINE)
        .await;
}

#[tokio::test]
async fn a_tunnel_passes_a_reset_on_as_a_reset_and_an_end_as_an_end() {
    let (proxy, origin) = (Proxy::start().await, Origin::start().await);
    let (mut client, mut server) = proxy.tunnel(&origin).await;
    server.write("last words").await;
    client.expect("last words").await;
    server.reset();
    assert_eq!(client.end().await, (vec![], true));
    let (client, mut server) = proxy.tunnel(&origin).await;
    client.reset();
    assert_eq!(server.end().await, (vec![], true));
    ended(&proxy, "reset", 2.0).await;
    let (mut client, server) = proxy.tunnel(&origin).await;
    drop(server);
    assert_eq!(client.end().await, (vec![], false));
    let (client, mut server) = proxy.tunnel(&origin).await;
    drop(client);
    assert_eq!(server.end().await, (vec![], false));
}

/// What ends with the destination's connection is told apart by its last chunk.
#[tokio::test]
async fn a_body_to_the_end_of_the_connection_comes_in_chunks() {
    let (proxy, origin) = (Proxy::start().await, Origin::start().await);
    for version in ["1.1", "1.0"] {
        let (mut client, mut server) = asked(&proxy, &origin, "1.1", "").await;
        for _ in 0..2 {
            server
                .write(format!("HTTP/{version} 200 Fine\r\n\r\nall of "))
                .await;
            let head = client.head().await;
            assert!(head.starts_with("HTTP/1.1 200 Fine\r\n"), "{head}");
            assert!(
                head.ends_with("\r\nTransfer-Encoding: chunked\r\n\r\n"),
                "{head}"
            );
            client.expect("7\r\nall of \r\n").await;
            server.write("a good answer").await;
            client.expect("d\r\na good answer\r\n").await;
            drop(server);
            client.expect("0\r\n\r\n").await;
            // The client's connection goes on.
            let url = origin.url("/");
            client
                .write(format!("GET {url} HTTP/1.1\r\nHost: a\r\n\r\n"))
                .await;
            server = origin.accept().await;
            server.head().await;
        }
    }
    // One that has no chunks: its connection ends as the destination's did.
    let (mut client, mut server) = asked(&proxy, &origin, "1.0", "").await;
    server.write("HTTP/1.1 200 OK\r\n\r\nall of ").await;
    let head = client.head().await;
    assert!(head.ends_with("\r\nConnection: close\r\n\r\n"), "{head}");
    assert!(!head.contains("Transfer-Encoding"), "{head}");
    server.write("it").await;
    drop(server);
    assert_eq!(client.end().await, (b"all of it".to_vec(), false));
}

#[tokio::test]
async fn an_answer_that_is_cut_never_looks_whole() {
    let (proxy, origin) = (Proxy::start().await, Origin::start().await);
    let soon = "x-outrider-timeout: 1\r\n";
    for (version, half, is_reset) in [("1.1", "4\r\nhalf\r\n", false), ("1.0", "half", true)] {
        let (mut client, mut server) = asked(&proxy, &origin, version, "").await;
        server.write("HTTP/1.1 200 OK\r\n\r\nhalf").await;
        client.head().await;
        client.expect(half).await;
        server.reset();
        assert_eq!(client.end().await, (vec![], is_reset), "reset, {version}");
        let (mut client, mut server) = asked(&proxy, &origin, version, soon).await;
        server.write("HTTP/1.1 200 OK\r\n\r\nhalf").await;
        client.head().await;
        client.expect(half).await;
        assert_eq!(client.end().await, (vec![], is_reset), "late, {version}");
    }
    ended(&proxy, "connect_reset", 2.0).await;
    ended(&proxy, "response_timeout", 2.0).await;
}

#[tokio::test]
async fn a_client_that_goes_away_is_not_waited_for() {
    let (proxy, origin) = (Proxy::start().await, Origin::start().await);
    let late = "x-outrider-timeout: 120\r\n"; // longer than this test waits
    let (client, mut server) = asked(&proxy, &origin, "1.1", late).await;
    drop(client);
    server.rest().await;
    let (client, mut server) = asked(&proxy, &origin, "1.1", late).await;
    client.reset();
    server.rest().await;
    let (mut client, mut server) = asked(&proxy, &origin, "1.1", late).await;
    server
        .write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        .await;
    client.head().await;
    drop(client);
    server.rest().await;
    ended(&proxy, "client_gone", 3.0).await;
    // The next request is none of that.
    let (mut client, mut server) = asked(&proxy, &origin, "1.1", "").await;
    let url = origin.url("/next");
    client
        .write(format!("GET {url} HTTP/1.1\r\nHost: a\r\n\r\n"))
        .await;
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    server.write(ok).await;
    assert_eq!(client.answer().await.body, b"ok");
    assert!(server.head().await.starts_with("GET /next "));
    server.write(ok).await;
    assert_eq!(client.answer().await.body, b"ok");
}

/// An error of ours comes behind interim answers that are on their way.
#[tokio::test]
async fn a_destination_that_ends_after_an_interim_answer_is_told_of() {
    let (proxy, origin) = (Proxy::start().await, Origin::start().await);
    for is_reset in [false, true] {
        let (mut client, mut server) = asked(&proxy, &origin, "1.1", "").await;
        let early = "HTTP/1.1 103 Early Hints\r\nX-A: 1\r\n\r\n";
        server.write(early).await;
        assert_eq!(client.head().await, early);
        match is_reset {
            true => server.reset(),
            false => drop(server),
        }
        let answer = client.answer().await;
        answer.assert_refusal("early", 502, "connect_reset", "connection_terminated");
    }
}
