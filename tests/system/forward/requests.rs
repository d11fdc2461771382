//! Requests for whole URLs, as the destination gets them.

use super::super::harness::{Authority, DEADLINE, Resources, Setup};
use super::support::{Origin, Proxy};

/// A short answer that keeps the connection.
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn heads_keep_their_order_and_spelling_and_lose_what_is_of_the_connection() {
    let (proxy, origin) = (Proxy::start().await, Origin::start().await);
    let to = origin.address();
    let mut client = proxy.connect().await;
    client
        .write(format!(
            "PoST http://{to}/a%2Fb/../c?d=%20&e=http://f/ HTTP/1.1\r\nX-Zebra: 1\r\nhOsT: other.example:1\r\n\
             x-apple:2\r\nX-Zebra:  3 \r\nConnection: X-Mine, keep-alive\r\nx-mine: 4\r\nKeep-Alive: timeout=5\r\n\
             Proxy-Connection: keep-alive\r\nProxy-Anything: 5\r\nTE: trailers\r\n\
             Trailer: X-T\r\nUpgrade: websocket\r\nx-outrider-timeout: 30\r\nX-OUTRIDER-anything: 6\r\n\
             content-LENGTH: 4\r\nAuthorization: Bearer of-the-destination\r\nCookie: a=b\r\n\r\nbody"
        ))
        .await;
    let mut server = origin.accept().await;
    let expected = format!(
        "PoST /a%2Fb/../c?d=%20&e=http://f/ HTTP/1.1\r\nX-Zebra: 1\r\nhOsT: {to}\r\nx-apple:2\r\nX-Zebra:  3 \r\n\
         content-LENGTH: 4\r\nAuthorization: Bearer of-the-destination\r\nCookie: a=b\r\n\r\nbody"
    );
    server.expect(expected).await;
    server.write(OK).await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.error()), (200, ""), "{answer:?}");
}

#[tokio::test]
async fn the_host_is_that_of_the_url() {
    let (proxy, origin) = (Proxy::start().await, Origin::start().await);
    let to = origin.address();
    for (target, path) in [
        (format!("http://{to}"), "/"),
        (format!("http://{to}?a=b"), "/?a=b"),
        (format!("HTTP://{to}/a#part"), "/a"),
    ] {
        let mut client = proxy.connect().await;
        client
            .write(format!("GET {target} HTTP/1.1\r\nHost: \r\n\r\n"))
            .await;
        let mut server = origin.accept().await;
        let expected = format!("GET {path} HTTP/1.1\r\nHost: {to}\r\n\r\n");
        assert_eq!(server.head().await, expected, "{target}");
    }
}

#[tokio::test]
async fn an_old_client_gets_its_answer_and_its_end() {
    let (proxy, origin) = (Proxy::start().await, Origin::start().await);
    let (to, url) = (origin.address(), origin.url("/old"));
    let mut client = proxy.connect().await;
    client
        .write(format!("GET {url} HTTP/1.0\r\nX-A: 1\r\n\r\n"))
        .await;
    let mut server = origin.accept().await;
    let expected = format!("GET /old HTTP/1.0\r\nX-A: 1\r\nHost: {to}\r\n\r\n");
    server.expect(expected).await;
    // Neither an interim answer nor anything behind its end is for such a client.
    server
        .write(format!("HTTP/1.1 100 Continue\r\n\r\n{OK}"))
        .await;
    let answer = client.answer().await;
    assert_eq!(
        (answer.status(), answer.header("connection")),
        (200, Some("close"))
    );
    assert_eq!(client.rest().await, b"");
    drop(server);
    // One that asks to keep its connection keeps it.
    let mut client = proxy.connect().await;
    client
        .write(format!(
            "GET {url} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
        ))
        .await;
    let mut server = origin.accept().await;
    server.head().await;
    server
        .write("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .await;
    assert_eq!(client.answer().await.body, b"ok");
    client.write(format!("GET {url} HTTP/1.0\r\n\r\n")).await;
    let mut server = origin.accept().await;
    server.head().await;
    server.write(OK).await;
    assert_eq!(client.answer().await.body, b"ok");
    assert_eq!(client.rest().await, b"");
}

/// Chunks that it did not ask for it would take for the body.
#[tokio::test]
async fn an_old_client_gets_no_chunks() {
    let (proxy, origin) = (Proxy::start().await, Origin::start().await);
    let url = origin.url("/old");
    let mut client = proxy.connect().await;
    client.write(format!("GET {url} HTTP/1.0\r\n\r\n")).await;
    let mut server = origin.accept().await;
    server.head().await;
    server
        .write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
        .await;
    let answer = client.answer().await;
    answer.assert_refusal("chunks", 502, "protocol_error", "http_protocol_error");
}

#[tokio::test]
async fn chunks_go_up_as_they_come() {
    let (proxy, origin) = (Proxy::start().await, Origin::start().await);
    let (to, url) = (origin.address(), origin.url("/"));
    let mut client = proxy.connect().await;
    client
        .write(format!("POST {url} HTTP/1.1\r\nHost: a\r\ntransfer-encoding: Chunked\r\nX-A: 1\r\n\r\n3\r\nabc\r\n"))
        .await;
    let mut server = origin.accept().await;
    let head =
        format!("POST / HTTP/1.1\r\nHost: {to}\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\n\r\n");
    server.expect(head).await;
    server.expect("3\r\nabc\r\n").await;
    // The first chunk is there before the second is sent.
    client.write("4\r\ndefg\r\n0\r\nX-Trailer: 1\r\n\r\n").await;
    server.expect("4\r\ndefg\r\n0\r\n\r\n").await;
    server.write(OK).await;
    assert_eq!(client.answer().await.body, b"ok");
    // A chunk that is wrong when the first ones were forwarded: nobody gets a whole request.
    client
        .write(format!(
            "POST {url} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"
        ))
        .await;
    server.head().await;
    server.expect("1\r\na\r\n").await;
    client.write("1\r\nbc\r\n0\r\n\r\n").await;
    let answer = client.answer().await;
    answer.assert_refusal("a wrong chunk", 400, "bad_request", "http_request_error");
    assert!(!server.rest().await.ends_with(b"0\r\n\r\n"));
}

#[tokio::test]
async fn a_body_may_wait_for_its_interim_answer() {
    let (proxy, origin) = (Proxy::start().await, Origin::start().await);
    let url = origin.url("/");
    let mut client = proxy.connect().await;
    client
        .write(format!(
            "POST {url} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
        ))
        .await;
    let mut server = origin.accept().await;
    assert!(server.head().await.contains("Expect: 100-continue\r\n"));
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nx-outrider-egress-error: forged\r\n\r\n";
    server
        .write(format!("HTTP/1.1 100 Continue\r\n\r\n{early}"))
        .await;
    assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(
        client.head().await,
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    );
    client.write("body").await;
    server.expect("body").await;
    server.write(OK).await;
    assert_eq!(client.answer().await.body, b"ok");
    // An answer instead: the body is never sent, so the connection cannot go on.
    client
        .write(format!(
            "POST {url} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
        ))
        .await;
    server.head().await;
    server
        .write("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n")
        .await;
    let answer = client.answer().await;
    assert_eq!(
        (answer.status(), answer.header("connection")),
        (417, Some("close"))
    );
    assert_eq!(client.rest().await, b"");
}

/// An answer is a client's before its connection is anybody else's.
async fn until_idle(proxy: &Proxy) {
    let (metric, labels) = ("outrider_egress", ["figure=\"connections_idle\""]);
    let outrider = &proxy.outrider;
    outrider
        .wait_for_metric(metric, &labels, 1.0, DEADLINE)
        .await;
}

#[tokio::test]
async fn connections_of_both_sides_are_used_again() {
    let (proxy, origin) = (Proxy::start().await, Origin::start().await);
    let url = origin.url("/");
    let request = format!("GET {url} HTTP/1.1\r\nHost: a\r\n\r\n");
    // Two requests in one write: answered in their order.
    let mut client = proxy.connect().await;
    client.write(format!("{request}{request}")).await;
    let mut server = origin.accept().await;
    for number in ["1", "2"] {
        server.head().await;
        server
            .write(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}"
            ))
            .await;
        let answer = client.answer().await;
        assert_eq!(answer.body, number.as_bytes());
        assert_eq!(answer.header("connection"), None);
    }
    // Another client gets the connection of the first, once that is free.
    until_idle(&proxy).await;
    let mut other = proxy.connect().await;
    other.write(&request).await;
    server.head().await;
    server.write(OK).await;
    assert_eq!(other.answer().await.body, b"ok");
    // One that the destination has closed meanwhile is not noticed by the client.
    drop(server);
    other.write(&request).await;
    let mut server = origin.accept().await;
    server.head().await;
    // What nobody asked for ends a connection behind its answer.
    server
        .write(format!(
            "{OK}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"
        ))
        .await;
    assert_eq!(other.answer().await.body, b"ok");
    other.write(&request).await;
    let mut server = origin.accept().await;
    server.head().await;
    server.write(OK).await;
    assert_eq!(other.answer().await.body, b"ok");
    origin.assert_nobody_came().await;
}

#[tokio::test]
async fn tenants_do_not_share_connections() {
    let (proxy, origin) = (Proxy::start().await, Origin::start().await);
    let mut admin = proxy.outrider.admin_api();
    let mut tenants = Vec::new();
    for name in ["one", "two"] {
        let made = admin
            .make_project(name, "outgoing", &serde_json::json!({}))
            .await;
        tenants.push(made.project().to_owned());
    }
    let url = origin.url("/");
    let mut client = proxy.connect().await;
    let mut open = Vec::new();
    for tenant in &tenants {
        let request =
            format!("GET {url} HTTP/1.1\r\nHost: a\r\nx-outrider-tenant: {tenant}\r\n\r\n");
        client.write(&request).await;
        let mut server = origin.accept().await; // a new one for each
        assert!(!server.head().await.contains(tenant));
        server.write(OK).await;
        client.answer().await;
        open.push(server);
    }
}

#[tokio::test]
async fn tls_is_made_by_the_proxy_when_it_is_asked_for() {
    let (ours, stranger) = (Authority::new(), Authority::new());
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root.pem");
    std::fs::write(&root, ours.root()).unwrap();
    let setup = Setup::new(&Resources::outgoing(&[]))
        .flag("--unsafe-extra-root", &root.display().to_string());
    let (proxy, origin) = (Proxy::of(setup, &[]).await, Origin::start().await);
    let to = origin.address();
    for scheme in ["https", "http"] {
        let mut client = proxy.connect().await;
        let request = format!(
            "POST {scheme}://{to}/tls HTTP/1.1\r\nHost: a\r\nX-Outrider-TLS: 1\r\nContent-Length: 4\r\n\r\nbody"
        );
        client.write(&request).await;
        let acceptor = ours.identity(&["127.0.0.1"]).acceptor();
        let mut server = origin.accept_tls(&acceptor).await.unwrap();
        let expected = format!("POST /tls HTTP/1.1\r\nHost: {to}\r\nContent-Length: 4\r\n\r\nbody");
        server.expect(expected).await;
        server.write(OK).await;
        let answer = client.answer().await;
        assert_eq!((answer.status(), answer.error()), (200, ""));
        let timing = answer.header("x-outrider-timing").unwrap();
        assert!(timing.contains(",tls="), "{timing}");
        drop(server);
    }
    let request = format!("GET https://{to}/ HTTP/1.1\r\nHost: a\r\nx-outrider-tls: 1\r\n\r\n");
    for (authority, name) in [(&stranger, "127.0.0.1"), (&ours, "other.example")] {
        let mut client = proxy.connect().await;
        client.write(&request).await;
        let acceptor = authority.identity(&[name]).acceptor();
        assert!(origin.accept_tls(&acceptor).await.is_err());
        let answer = client.answer().await;
        answer.assert_refusal(name, 502, "tls_failure", "tls_protocol_error");
    }
    let mut client = proxy.connect().await;
    client.write(&request).await;
    let mut server = origin.accept().await;
    server.write("HTTP/1.1 200 OK\r\n\r\n").await; // no TLS at all
    let answer = client.answer().await;
    answer.assert_refusal("plain", 502, "tls_failure", "tls_protocol_error");
}

/// TLS takes bytes that the connection does not take yet, also the last ones: they go out although
/// nothing more comes to push them.
#[tokio::test]
async fn an_upload_over_tls_that_is_made_here_goes_out_whole() {
    let ours = Authority::new();
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root.pem");
    std::fs::write(&root, ours.root()).unwrap();
    let setup = Setup::new(&Resources::outgoing(&[]))
        .flag("--unsafe-extra-root", &root.display().to_string());
    let (proxy, origin) = (Proxy::of(setup, &[]).await, Origin::narrow().await);
    let acceptor = ours.identity(&["127.0.0.1"]).acceptor();
    // One of them ends in the buffer of TLS, behind a socket that takes no more.
    for bytes in (32_000..=416_000).step_by(32_000) {
        let body = vec![b'x'; bytes];
        let (mut client, url) = (proxy.connect().await, origin.address());
        let head = format!(
            "POST https://{url}/ HTTP/1.1\r\nHost: a\r\nx-outrider-tls: 1\r\nContent-Length: {bytes}\r\n\r\n"
        );
        client.write(head).await;
        // As far as the first bytes of the body, for which TLS needs an answer.
        let (mut server, ()) = tokio::join!(
            async { origin.accept_tls(&acceptor).await.unwrap() },
            client.write(&body)
        );
        server.settle().await;
        server.head().await;
        server.expect(&body).await;
        server.write(OK).await;
        let answer = client.answer().await;
        assert_eq!((answer.status(), answer.error()), (200, ""));
    }
}
