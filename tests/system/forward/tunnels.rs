//! CONNECT: a way for bytes, both ways, until both sides have ended.

use super::super::harness::{DEADLINE, LEAVES_FROM, until};
use super::support::{Origin, Proxy, connect};

#[tokio::test]
async fn bytes_go_both_ways_and_the_reply_says_between_whom() {
    let (proxy, origin) = (Proxy::start().await, Origin::start().await);
    let mut client = proxy.connect().await;
    client.write(connect(&origin)).await;
    let head = client.head().await;
    let lines: Vec<&str> = head.trim_end().split("\r\n").collect();
    assert_eq!(lines[0], "HTTP/1.1 200 OK");
    assert_eq!(lines[1], format!("x-outrider-source-ip: {LEAVES_FROM}"));
    assert_eq!(lines[2], "x-outrider-dest-ip: 127.0.0.1");
    assert!(lines[3].starts_with("x-outrider-timing: dns="), "{head}");
    assert!(lines[3].contains(",connect="), "{head}");
    assert_eq!(lines.len(), 4, "neither a length nor anything else: {head}");
    let mut server = origin.accept().await;
    // Whatever it looks like, it is bytes: nothing in it is read.
    let up = b"\0\xff GET / HTTP/1.1\r\n\r\nx-outrider-egress-error: a\r\n\r\n";
    client.write(up).await;
    server.expect(up).await;
    let down = "HTTP/1.1 502 Bad Gateway\r\nx-outrider-egress-error: connect_refused\r\n\r\n";
    server.write(down).await;
    client.expect(down).await;
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let ((), got) = tokio::join!(server.write(&large), client.exactly(large.len()));
    assert!(got == large);
    let ((), got) = tokio::join!(client.write(&large), server.exactly(large.len()));
    assert!(got == large);
    let tunnels = proxy.outrider.metric("outrider_egress_tunnels", &[]);
    assert_eq!(tunnels.await, 1.0);
    drop((client, server));
    until("the tunnel has ended", DEADLINE, async || {
        let open = proxy.outrider.metric("outrider_egress_tunnels", &[]).await;
        (open == 0.0).then_some(())
    })
    .await;
    let up = proxy
        .outrider
        .metric("outrider_egress_bytes_total", &["direction=\"up\""]);
    assert!(up.await >= 3_000_000.0);
}

#[tokio::test]
async fn what_comes_with_the_request_is_forwarded() {
    let (proxy, origin) = (Proxy::start().await, Origin::start().await);
    let mut client = proxy.connect().await;
    client
        .write(format!("{}first bytes", connect(&origin)))
        .await;
    let mut server = origin.accept().await;
    server.expect("first bytes").await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    client.write(" and more").await;
    server.expect(" and more").await;
    // Ended by the client in the same breath.
    let mut client = proxy.connect().await;
    client.write(format!("{}all", connect(&origin))).await;
    client.finish().await;
    let mut server = origin.accept().await;
    assert_eq!(server.rest().await, b"all");
    server.write("answer").await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    client.expect("answer").await;
}

#[tokio::test]
async fn each_side_may_end_before_the_other() {
    let (proxy, origin) = (Proxy::start().await, Origin::start().await);
    let (mut client, mut server) = proxy.tunnel(&origin).await;
    client.write("question").await;
    client.finish().await;
    assert_eq!(server.rest().await, b"question");
    server.write("a late answer").await;
    client.expect("a late answer").await;
    server.finish().await;
    assert_eq!(client.rest().await, b"");

    let (mut client, mut server) = proxy.tunnel(&origin).await;
    server.write("hello").await;
    server.finish().await;
    assert_eq!(client.rest().await, b"hello");
    client.write("still here").await;
    server.expect("still here").await;
    client.finish().await;
    assert_eq!(server.rest().await, b"");
}

#[tokio::test]
async fn a_side_that_is_gone_ends_the_other() {
    let (proxy, origin) = (Proxy::start().await, Origin::start().await);
    let (mut client, server) = proxy.tunnel(&origin).await;
    drop(server);
    assert_eq!(client.rest().await, b"");
    let (client, mut server) = proxy.tunnel(&origin).await;
    drop(client);
    assert_eq!(server.rest().await, b"");
}

#[tokio::test]
async fn tunnels_end_when_nothing_moves_and_after_their_life() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&[("TUNNEL_IDLE_MS", "300")]).await;
    let (mut client, mut server) = proxy.tunnel(&origin).await;
    assert_eq!((client.rest().await, server.rest().await), (vec![], vec![]));
    let ended = ["end=\"idle\""];
    let requests = "outrider_egress_requests_total";
    proxy
        .outrider
        .wait_for_metric(requests, &ended, 1.0, DEADLINE)
        .await;

    let proxy = Proxy::with(&[("TUNNEL_LIFE_MS", "300")]).await;
    let (mut client, mut server) = proxy.tunnel(&origin).await;
    assert_eq!((client.rest().await, server.rest().await), (vec![], vec![]));
    let ended = ["end=\"life\""];
    proxy
        .outrider
        .wait_for_metric(requests, &ended, 1.0, DEADLINE)
        .await;
}

#[tokio::test]
async fn established_tunnels_outlive_changes_of_the_configuration() {
    let (proxy, origin) = (Proxy::start().await, Origin::start().await);
    let mut admin = proxy.outrider.admin_api();
    let made = admin
        .make_project("tenant", "outgoing", &serde_json::json!({}))
        .await;
    let tenant = made.project().to_owned();
    let of_tenant = || {
        let to = origin.address();
        format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\nx-outrider-tenant: {tenant}\r\n\r\n")
    };
    let mut client = proxy.connect().await;
    client.write(of_tenant()).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    let mut server = origin.accept().await;
    let reply = admin.delete(&format!("/api/v1/projects/{tenant}")).await;
    assert!(reply.status.is_success(), "{}", reply.text());
    until("the project is gone", DEADLINE, async || {
        let mut client = proxy.connect().await;
        client.write(of_tenant()).await;
        let head = client.head().await;
        head.contains("denied:unknown_tenant").then_some(())
    })
    .await;
    client.write("still").await;
    server.expect("still").await;
    server.write("here").await;
    client.expect("here").await;
}
