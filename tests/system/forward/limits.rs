//! What one project, and one address, may take of the proxy.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use serde_json::json;
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;

use super::super::harness::{Authority, DEADLINE, OUTGOING, Resources, Setup, TlsClient, until};
use super::support::{Answer, Origin, Proxy, Wire, connect};

const RATE: &str = "NEW_CONNECTIONS_PER_PROJECT";

/// What is said to a request for a tunnel, which ends at once.
async fn asked(proxy: &Proxy, request: &str) -> Answer {
    let mut client = proxy.connect().await;
    client.write(request).await;
    Answer {
        head: client.head().await,
        body: Vec::new(),
    }
}

/// A connection of a client at this address of loopback.
async fn from(last: u8, proxy: SocketAddr) -> Wire {
    let socket = TcpSocket::new_v4().unwrap();
    socket
        .bind(SocketAddr::from(([127, 0, 0, last], 0)))
        .unwrap();
    Wire::on(socket.connect(proxy).await.unwrap())
}

#[tokio::test]
async fn bad_limits_are_refused_with_their_names() {
    for (settings, says) in [
        ("{count: 0, duration: 1}", ".count: must be from 1"),
        ("{count: 1}", ".duration: is missing"),
        ("{count: 1, duration: 1, burst: 2}", "burst"),
        ("often", RATE),
    ] {
        let name = format!("OUTRIDER__EGRESS__{RATE}");
        let setup = Setup::new(&Resources::outgoing(&[])).env(&name, settings);
        let ended = setup.run_to_end().await;
        assert_eq!(ended.code, Some(78), "{}", ended.output);
        assert!(ended.output.contains(says), "{says}: {}", ended.output);
    }
}

#[tokio::test]
async fn a_project_opens_so_many_connections_and_others_have_their_own() {
    // Within a day nothing comes back.
    let proxy = Proxy::with(&[(RATE, "{count: 3, duration: 86400}")]).await;
    let origin = Origin::start().await;
    let mut client = proxy.connect().await;
    let request = format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", origin.url("/"));
    client.write(&request).await;
    let mut server = origin.accept().await;
    for _ in 0..5 {
        // One connection to the destination, whatever comes on it.
        server.head().await;
        server
            .write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await;
        assert_eq!(client.answer().await.body, b"ok");
        client.write(&request).await;
    }
    let _open = (proxy.tunnel(&origin).await, proxy.tunnel(&origin).await);
    for request in [
        connect(&origin),
        format!(
            "GET {} HTTP/1.1\r\nHost: a\r\nx-outrider-tls: 1\r\n\r\n",
            origin.url("/")
        ),
    ] {
        let answer = proxy.ask(request).await;
        answer.assert_refusal("one more", 429, "limit", "connection_limit_reached");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    // What is open goes on.
    server.head().await;
    server
        .write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .await;
    assert_eq!(client.answer().await.body, b"ok");
    let to = origin.address();
    let of_another =
        format!("CONNECT {to} HTTP/1.1\r\nHost: a\r\nx-outrider-tenant: {OUTGOING}\r\n\r\n");
    assert_eq!(asked(&proxy, &of_another).await.status(), 200);
}

#[tokio::test]
async fn new_connections_come_back_with_time() {
    let proxy = Proxy::with(&[(RATE, "{count: 1, duration: 1}")]).await;
    let origin = Origin::start().await;
    for expected in [429, 200] {
        until(&format!("it says {expected}"), DEADLINE, async || {
            let answer = asked(&proxy, &connect(&origin)).await;
            (answer.status() == expected).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_others_have_their_own() {
    let proxy = Proxy::with(&[("CONNECTIONS_PER_ADDRESS_MAX", "2")]).await;
    let origin = Origin::start().await;
    let open = [proxy.tunnel(&origin).await, proxy.tunnel(&origin).await];
    // It is told before it asks, and nothing it sends is looked at.
    let mut third = proxy.connect().await;
    let answer = third.answer().await;
    answer.assert_refusal("one more", 429, "limit", "connection_limit_reached");
    third.write(connect(&origin)).await;
    assert_eq!(third.rest().await, b"");
    let crowded = proxy.outrider.metric("outrider_egress_crowded_total", &[]);
    assert_eq!(crowded.await, 1.0);
    let mut other = from(2, proxy.address).await;
    other.write(connect(&origin)).await;
    assert!(other.head().await.starts_with("HTTP/1.1 200 "));
    drop(open);
    until("there is room again", DEADLINE, async || {
        let answer = asked(&proxy, &connect(&origin)).await;
        (answer.status() == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn where_tls_is_spoken_there_is_nothing_to_say_it_in() {
    let authority = Authority::new();
    let dir = tempfile::tempdir().unwrap();
    let files = authority
        .identity(&["proxy.example"])
        .write(dir.path(), "proxy");
    let settings = [("TLS", &*files), ("CONNECTIONS_PER_ADDRESS_MAX", "1")];
    let (proxy, origin) = (Proxy::with(&settings).await, Origin::start().await);
    let config = TlsClient::new(&authority, None).config();
    let connector = TlsConnector::from(Arc::new(config));
    let secured = async || {
        let tcp = tokio::net::TcpStream::connect(proxy.address).await?;
        let name = ServerName::try_from("proxy.example").unwrap();
        connector.connect(name, tcp).await.map(Wire::on)
    };
    let mut first = secured().await.unwrap();
    first.write(connect(&origin)).await;
    assert!(first.head().await.starts_with("HTTP/1.1 200 "));
    assert!(secured().await.is_err());
    drop(first);
    until("there is room again", DEADLINE, async || {
        secured().await.ok()
    })
    .await;
}

#[tokio::test]
async fn behind_a_balancer_it_is_the_address_of_the_client_that_counts() {
    let password = "the-password-in-use-0";
    let identities = json!([{"name": "other", "passwords": [password], "projects": [OUTGOING]}]);
    let proxy = Proxy::with(&[
        ("PROXY_PROTOCOL", "[127.0.0.1]"),
        ("IDENTITIES", &identities.to_string()),
        ("CONNECTIONS_PER_ADDRESS_MAX", "1"),
    ])
    .await;
    let mut open = Vec::new();
    let header = |last: u8| format!("PROXY TCP4 203.0.113.{last} 127.0.0.1 4712 3128\r\n");
    let arrive = async |last: u8| {
        let mut client = proxy.connect().await;
        client.write(header(last)).await;
        client
    };
    let origin = Origin::start().await;
    let known = "Proxy-Authorization: basic b3RoZXI6dGhlLXBhc3N3b3JkLWluLXVzZS0w"; // other:the-password-in-use-0
    let request = format!(
        "CONNECT {} HTTP/1.1\r\nHost: a\r\n{known}\r\n\r\n",
        origin.address()
    );
    for (last, status) in [(1, 200), (1, 429), (2, 200), (1, 429)] {
        let mut client = arrive(last).await;
        client.write(&request).await;
        let answer = Answer {
            head: client.head().await,
            body: Vec::new(),
        };
        assert_eq!(answer.status(), status, "{last}: {}", answer.head);
        open.push(client);
    }
}

#[tokio::test]
async fn one_reflector_of_a_family_is_warned_of() {
    let says = "only one of `egress.reflectors` is of this family";
    for (reflectors, count) in [
        ("['127.0.0.1:1', '127.0.0.2:1']", 0),
        ("['127.0.0.1:1', '[::1]:1']", 2),
    ] {
        let proxy = Proxy::with(&[("REFLECTORS", reflectors)]).await;
        let found = proxy.outrider.stderr().matches(says).count();
        assert_eq!(found, count, "{reflectors}");
    }
}
