//! What is spoken before the first request: TLS with certificates of clients, and the PROXY
//! protocol of balancers.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::super::harness::{Authority, DEADLINE, Identity, OUTGOING, TlsClient};
use super::support::{Answer, Origin, Proxy, Wire, connect};

const PASSWORD: &str = "the-password-in-use-0";

/// The request for a tunnel by who has the password.
fn connect_with_password(origin: &Origin) -> String {
    let encoded = "b3RoZXI6dGhlLXBhc3N3b3JkLWluLXVzZS0w"; // other:the-password-in-use-0
    let to = origin.address();
    format!("CONNECT {to} HTTP/1.1\r\nHost: a\r\nProxy-Authorization: basic {encoded}\r\n\r\n")
}

/// A proxy behind balancers at these addresses.
async fn behind(balancers: &str) -> Proxy {
    let identities =
        json!([{"name": "other", "passwords": [PASSWORD], "projects": [OUTGOING]}]).to_string();
    Proxy::with(&[("PROXY_PROTOCOL", balancers), ("IDENTITIES", &identities)]).await
}

/// A proxy with TLS whose clients may show certificates.
struct Secured {
    proxy: Proxy,
    server: Authority,
    clients: Authority,
    _dir: TempDir,
}

impl Secured {
    async fn start() -> Self {
        let (server, clients) = (Authority::new(), Authority::new());
        let dir = tempfile::tempdir().unwrap();
        let files = server
            .identity(&["proxy.example"])
            .write(dir.path(), "proxy");
        let ca = dir.path().join("clients.pem");
        std::fs::write(&ca, clients.root()).unwrap();
        let tls = files.replace('}', &format!(", client_ca: {}}}", ca.display()));
        let identities = json!([
            {"name": "shop", "certificate": "shop.clients.example", "projects": [OUTGOING]},
            {"name": "other", "passwords": [PASSWORD], "projects": [OUTGOING]},
        ]);
        let settings = [("TLS", tls), ("IDENTITIES", identities.to_string())];
        let settings = settings.each_ref().map(|(name, value)| (*name, &value[..]));
        Self {
            proxy: Proxy::with(&settings).await,
            server,
            clients,
            _dir: dir,
        }
    }

    /// A client that shows this.
    async fn connect(&self, shown: Option<&Identity>) -> Wire {
        let config = TlsClient::new(&self.server, shown).config();
        let tcp = TcpStream::connect(self.proxy.address).await.unwrap();
        let name = ServerName::try_from("proxy.example").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        Wire::on(connector.connect(name, tcp).await.unwrap())
    }
}

#[tokio::test]
async fn a_certificate_is_an_identity() {
    let (secured, origin) = (Secured::start().await, Origin::start().await);
    let known = secured
        .clients
        .identity(&["a.example", "shop.clients.example"]);
    let mut client = secured.connect(Some(&known)).await;
    client.write(format!("{}first", connect(&origin))).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    let mut server = origin.accept().await;
    server.expect("first").await;
    client.finish().await;
    assert_eq!(server.rest().await, b"");
    server.write("last").await;
    server.finish().await;
    assert_eq!(client.rest().await, b"last");
    // A body that is larger than what TLS takes at once.
    let mut client = secured.connect(Some(&known)).await;
    let (url, body) = (origin.url("/"), vec![b'x'; 300_000]);
    let head = format!("POST {url} HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n");
    client.write(head).await;
    let mut server = origin.accept().await;
    server.head().await;
    let ((), got) = tokio::join!(client.write(&body), server.exactly(body.len()));
    assert!(got == body);
    server
        .write("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n")
        .await;
    let ((), answer) = tokio::join!(server.write(&body), client.answer());
    assert!(answer.body == body);
}

#[tokio::test]
async fn a_certificate_of_nobody_is_none() {
    let (secured, origin) = (Secured::start().await, Origin::start().await);
    let nobody = secured.clients.identity(&["nobody.clients.example"]);
    for shown in [None, Some(&nobody)] {
        let mut client = secured.connect(shown).await;
        client.write(connect(&origin)).await;
        let answer = client.answer().await;
        answer.assert_refusal("unknown", 407, "auth_required", "http_request_denied");
    }
    // Its password counts where there is one.
    let mut client = secured.connect(None).await;
    client.write(connect_with_password(&origin)).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    // One of another authority is refused in the handshake.
    let stranger = Authority::new().identity(&["shop.clients.example"]);
    let client = TlsClient::new(&secured.server, Some(&stranger));
    let request = connect(&origin);
    let asked = client.ask(secured.proxy.address, "proxy.example", &request);
    assert!(asked.await.is_err());
    // Without TLS nothing is said.
    let mut client = secured.proxy.connect().await;
    client.write(connect(&origin)).await;
    assert!(!client.rest().await.starts_with(b"HTTP/"));
}

/// Version 2: PROXY, TCP over IPv4, 203.0.113.7:4711 to 127.0.0.1:3128, and a TLV.
fn version_2() -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10".to_vec();
    header.extend([203, 0, 113, 7, 127, 0, 0, 1, 0x12, 0x67, 0x0c, 0x38]);
    header.extend([0x04, 0, 1, 0]); // a NOOP
    header
}

/// Version 2: LOCAL, as a balancer asks whether we are there.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

#[tokio::test]
async fn a_balancer_says_whom_a_connection_is_from() {
    let origin = Origin::start().await;
    let proxy = behind("[127.0.0.1]").await;
    let request = connect_with_password(&origin);
    let v1 = "PROXY TCP4 203.0.113.8 127.0.0.1 4712 3128\r\n";
    for (header, from) in [
        (version_2(), "203.0.113.7:4711"),
        (v1.into(), "203.0.113.8:4712"),
        ("PROXY UNKNOWN\r\n".into(), "127.0.0.1:"),
        (LOCAL.to_vec(), "127.0.0.1:"),
    ] {
        for is_dripped in [false, true] {
            let mut client = proxy.connect().await;
            let bytes = [&header[..], request.as_bytes(), b"first"].concat();
            if is_dripped {
                for piece in header.chunks(9) {
                    client.write(piece).await;
                }
                client.write(&bytes[header.len()..]).await;
            } else {
                client.write(bytes).await;
            }
            assert!(client.head().await.starts_with("HTTP/1.1 200 "));
            let mut server = origin.accept().await;
            server.expect("first").await; // and nothing of the header: that is for us
            drop((client, server));
        }
        super::super::harness::until(&format!("{from} is in the log"), DEADLINE, async || {
            proxy.outrider.stderr().contains(from).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn where_balancers_are_nothing_else_is_taken() {
    let origin = Origin::start().await;
    let proxy = behind("[127.0.0.1]").await;
    let mut cut = version_2();
    cut[15] = 4; // shorter than its addresses
    let long = format!("PROXY UNKNOWN {}\r\n", "a".repeat(200));
    for header in [
        b"".to_vec(),
        b"PROXY TCP4 203.0.113.8 127.0.0.1 4712\r\n".to_vec(),
        b"PROXY TCP4 203.0.113.08 127.0.0.1 4712 3128\r\n".to_vec(),
        b"PROXY  TCP4 203.0.113.8 127.0.0.1 4712 3128\r\n".to_vec(),
        b"PROXY TCP4 203.0.113.8 127.0.0.1 4712 3128\n".to_vec(),
        b"proxy TCP4 203.0.113.8 127.0.0.1 4712 3128\r\n".to_vec(),
        long.into_bytes(),
        cut,
    ] {
        let mut client = proxy.connect().await;
        client
            .write([&header[..], connect_with_password(&origin).as_bytes()].concat())
            .await;
        let said = client.rest().await;
        assert_eq!(said, b"", "{:?}", String::from_utf8_lossy(&header));
    }
    // One that says nothing, and one that says half, are not waited for.
    let mut silent = proxy.connect().await;
    assert_eq!(silent.rest().await, b"");
    let mut half = proxy.connect().await;
    half.write("PROXY TCP4 203.0.").await;
    assert_eq!(half.rest().await, b"");
    // From elsewhere even a whole one is not believed.
    let proxy = behind("[192.0.2.0/24]").await;
    let mut client = proxy.connect().await;
    client
        .write([&version_2()[..], connect_with_password(&origin).as_bytes()].concat())
        .await;
    assert_eq!(client.rest().await, b"");
    origin.assert_nobody_came().await;
}

/// Without it, the header is what it is elsewhere: not a request.
#[tokio::test]
async fn without_balancers_their_header_is_a_bad_request() {
    let (proxy, origin) = (Proxy::start().await, Origin::start().await);
    let v1 = "PROXY TCP4 203.0.113.8 127.0.0.1 4712 3128\r\n";
    for header in [v1.as_bytes(), &version_2()] {
        let request = [header, connect(&origin).as_bytes()].concat();
        let answer: Answer = proxy.ask(request).await;
        answer.assert_refusal("a header", 400, "bad_request", "http_request_error");
    }
    origin.assert_nobody_came().await;
}
