//! Producers and operators: an ordinary client on hyper, and a raw one for what no
//! well-behaved client sends.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::resources::{API_KEY, MASK, OUTGOING};
use super::wait::DEADLINE;

/// A complete reply.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The stable code of a refusal; empty when there is none.
    pub(crate) fn code(&self) -> &str {
        self.headers
            .get("x-outrider-error")
            .and_then(|code| code.to_str().ok())
            .unwrap_or_default()
    }

    /// The uid of an accepted event; panics on any other reply.
    pub(crate) fn event_uid(&self) -> String {
        let is_accepted = self.status == StatusCode::CREATED || self.status == StatusCode::OK;
        assert!(is_accepted, "not accepted: {} {}", self.status, self.text());
        let uid = self.json()["data"]["uid"].as_str().map(str::to_owned);
        uid.unwrap_or_else(|| panic!("no data.uid in {}", self.text()))
    }
}

/// One connection, opened when needed and again when it is gone.
pub(crate) struct Client {
    address: SocketAddr,
    open: Option<(SendRequest<Full<Bytes>>, JoinHandle<()>)>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            open: None,
        }
    }

    /// Sends one request and reads the whole reply. After an error the fate of the request is
    /// unknown; it is never sent twice.
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Reply, String> {
        let exchange = timeout(DEADLINE, self.exchange(request)).await;
        let reply = exchange.unwrap_or_else(|_| panic!("{} does not answer", self.address));
        if reply.is_err() {
            self.close();
        }
        reply
    }

    async fn exchange(&mut self, mut request: Request<Full<Bytes>>) -> Result<Reply, String> {
        let authority = self.address.to_string();
        request
            .headers_mut()
            .insert(http::header::HOST, authority.parse().unwrap());
        let reply = self
            .sender()
            .await?
            .send_request(request)
            .await
            .map_err(|error| error.to_string())?;
        let (head, body) = reply.into_parts();
        let body = body
            .collect()
            .await
            .map_err(|error| error.to_string())?
            .to_bytes();
        Ok(Reply {
            status: head.status,
            headers: head.headers,
            body,
        })
    }

    async fn sender(&mut self) -> Result<&mut SendRequest<Full<Bytes>>, String> {
        if let Some((sender, _)) = &mut self.open
            && sender.ready().await.is_err()
        {
            self.close();
        }
        if self.open.is_none() {
            let stream = TcpStream::connect(self.address)
                .await
                .map_err(|error| error.to_string())?;
            stream
                .set_nodelay(true)
                .map_err(|error| error.to_string())?;
            let (sender, connection) = handshake(TokioIo::new(stream))
                .await
                .map_err(|error| error.to_string())?;
            let driver = tokio::spawn(async move {
                // Its end shows as an error of the request it carries.
                let _ = connection.await;
            });
            self.open = Some((sender, driver));
        }
        self.open
            .as_mut()
            .map(|(sender, _)| sender)
            .ok_or_else(|| "closed".to_owned())
    }

    fn close(&mut self) {
        if let Some((_, driver)) = self.open.take() {
            driver.abort();
        }
    }

    /// `POST path` with these headers.
    pub(crate) async fn post(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Reply, String> {
        let mut request = Request::builder().method(Method::POST).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Full::new(body.into())).unwrap())
            .await
    }

    /// Publishes `event` in the outgoing project; `call` is the rest of the path after `events`.
    pub(crate) async fn publish(&mut self, call: &str, event: &Value) -> Result<Reply, String> {
        let path = format!("/api/v1/projects/{OUTGOING}/events{call}");
        let authorization = format!("Bearer {API_KEY}");
        let headers = [
            ("authorization", authorization.as_str()),
            ("content-type", "application/json"),
        ];
        self.post(&path, &headers, event.to_string()).await
    }

    /// Publishes an event for one endpoint.
    pub(crate) async fn publish_to(
        &mut self,
        endpoint: &str,
        event_type: &str,
        data: Value,
    ) -> Result<Reply, String> {
        self.publish(
            "",
            &json!({"endpoint_id": endpoint, "event_type": event_type, "data": data}),
        )
        .await
    }

    /// Sends a webhook as GitHub does.
    pub(crate) async fn github(
        &mut self,
        kind: &str,
        signature: &str,
        body: Bytes,
    ) -> Result<Reply, String> {
        let headers = [
            ("content-type", "application/json"),
            ("user-agent", "GitHub-Hookshot/044aadd"),
            ("x-github-event", kind),
            ("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958"),
            ("x-github-hook-id", "292430182"),
            ("x-hub-signature-256", signature),
        ];
        self.post(&format!("/ingest/{MASK}"), &headers, body).await
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.close();
    }
}

/// One GET on a connection of its own.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Result<Reply, String> {
    Client::new(address)
        .send(Request::get(path).body(Full::default()).unwrap())
        .await
}

/// How a raw request says where its body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length,
    Chunked,
}

/// A connection on which a test writes what it likes.
pub(crate) struct RawClient {
    stream: TcpStream,
    seen: Vec<u8>,
}

impl RawClient {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self {
            stream: TcpStream::connect(address).await.unwrap(),
            seen: Vec::new(),
        }
    }

    /// Writes these bytes. A peer that refuses may close before it has read them all: what it
    /// said is what counts, so that is no error.
    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// Says that nothing more will be written.
    pub(crate) async fn finish(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Writes a publishing call with more header lines and a body.
    pub(crate) async fn publish(&mut self, more: &str, framing: Framing, body: &[u8]) {
        let frame = match framing {
            Framing::Length => format!("Content-Length: {}\r\n", body.len()),
            Framing::Chunked => "Transfer-Encoding: chunked\r\n".to_owned(),
        };
        self.write(Self::publish_head(&format!("{frame}{more}")))
            .await;
        match framing {
            Framing::Length => self.write(body).await,
            Framing::Chunked => {
                for chunk in body.chunks(4096) {
                    self.write(format!("{:x}\r\n", chunk.len())).await;
                    self.write(chunk).await;
                    self.write("\r\n").await;
                }
                self.write("0\r\n\r\n").await;
            }
        }
    }

    /// The head of a publishing call; `more` are whole header lines.
    pub(crate) fn publish_head(more: &str) -> String {
        format!(
            "POST /api/v1/projects/{OUTGOING}/events HTTP/1.1\r\nHost: gateway.test\r\n\
             Authorization: Bearer {API_KEY}\r\nContent-Type: application/json\r\n{more}\r\n"
        )
    }

    /// Reads up to the end of the next head and gives its status; the body stays unread.
    pub(crate) async fn read_status(&mut self) -> u16 {
        let head = timeout(DEADLINE, self.read_head()).await.expect("no reply");
        Self::parse_head(&head).0.as_u16()
    }

    /// Reads the next reply with its body, whose length it says.
    pub(crate) async fn read_reply(&mut self) -> Reply {
        let head = timeout(DEADLINE, self.read_head()).await.expect("no reply");
        self.read_rest(&head).await
    }

    async fn read_rest(&mut self, head: &str) -> Reply {
        let (status, headers) = Self::parse_head(head);
        let length = headers.get(http::header::CONTENT_LENGTH);
        let length = length.unwrap_or_else(|| panic!("no length in {head:?}"));
        let length: usize = length.to_str().unwrap().parse().unwrap();
        let reading = async {
            while self.seen.len() < length {
                self.read_more().await;
            }
        };
        timeout(DEADLINE, reading).await.expect("no whole reply");
        let body = self.seen.drain(..length).collect::<Vec<u8>>().into();
        Reply {
            status,
            headers,
            body,
        }
    }

    fn parse_head(head: &str) -> (StatusCode, HeaderMap) {
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let status = status.and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status in {head:?}"));
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        (status, headers)
    }

    /// Writes a piece at a time, each well within any time limit for one read, until there is an
    /// answer.
    pub(crate) async fn drip_until_answered(&mut self, piece: &str) -> Reply {
        let dripping = async {
            loop {
                self.write(piece).await;
                let head = timeout(Duration::from_millis(50), self.read_head());
                if let Ok(head) = head.await {
                    return head;
                }
            }
        };
        let head = timeout(DEADLINE, dripping).await.expect("never cut");
        self.read_rest(&head).await
    }

    /// Everything up to the end of the connection, which the server has to end.
    pub(crate) async fn read_to_end(&mut self) -> String {
        let read = self.stream.read_to_end(&mut self.seen);
        timeout(DEADLINE, read)
            .await
            .expect("the connection stays open")
            .unwrap();
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    async fn read_head(&mut self) -> String {
        loop {
            if let Some(end) = self
                .seen
                .windows(4)
                .position(|window| window == b"\r\n\r\n")
            {
                let head: Vec<u8> = self.seen.drain(..end + 4).collect();
                return String::from_utf8(head).unwrap();
            }
            self.read_more().await;
        }
    }

    async fn read_more(&mut self) {
        let mut more = [0; 1024];
        let count = self.stream.read(&mut more).await.unwrap();
        assert!(
            count > 0,
            "closed after {:?}",
            String::from_utf8_lossy(&self.seen)
        );
        self.seen.extend_from_slice(&more[..count]);
    }
}
