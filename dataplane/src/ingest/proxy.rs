//! What is not the data plane's own goes to the control plane (RULINGS 34): the API, the pages
//! and the metrics, on the same public address as the events.
//!
//! Streams both ways with bounded memory. Nothing is retried but what was never sent: a pooled
//! connection that its peer had closed before the request was written. What breaks after the
//! reply has begun ends the client's connection without a proper end, so that a short reply
//! never looks complete. Knows nothing of what is asked or answered.

mod client;
mod head;
mod upload;

use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use tokio::time::timeout;

use self::client::{Client, Clients};
use self::upload::{Feed, Upload};
use super::reply::Reply;
use super::request::{self, Limits};
use super::slots::{Full, Slots};

/// Until the control plane has taken a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// From the end of the request to the head of the answer.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two parts of the answer, and for the client to take one.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Shorter than the control plane keeps an idle connection: it should not close first.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle connections kept.
const POOL_IDLE_MAX: usize = 32;
/// Requests passed on at once, and so connections to the control plane.
const AT_ONCE_MAX: usize = 512;
/// Requests of one client among them.
const OF_CLIENT_MAX: usize = 64;
/// Bytes of a request body; the largest the API takes is a batch of events (RULINGS 29).
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of an answer without a length that are collected for an HTTP/1.0 client.
const COLLECTED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The way to the control plane's HTTP address.
pub(super) struct ControlPlane {
    http: legacy::Client<HttpConnector, Upload>,
    authority: String,
    clients: Clients,
    slots: Slots<Client>,
}

/// A request to be passed on, beside what its session knows.
pub(super) struct Call<'a> {
    /// Where to, slashes collapsed.
    pub(super) path: &'a str,
    pub(super) request_id: &'a HeaderValue,
    pub(super) limits: &'a Limits,
}

/// What came of an answer that was begun.
pub(super) struct Written {
    /// For the metric.
    pub(super) result: &'static str,
    /// Whether it reached its end. If not, the connection must end without one.
    pub(super) is_complete: bool,
}

impl ControlPlane {
    pub(super) fn new(authority: String) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let http = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .pool_max_idle_per_host(POOL_IDLE_MAX)
            .build(connector);
        Self {
            http,
            authority,
            clients: Clients::default(),
            slots: Slots::new(AT_ONCE_MAX, OF_CLIENT_MAX),
        }
    }

    /// Passes a request on and its answer back. An error is a reply that was not written yet.
    pub(super) async fn forward(
        &self,
        http: &mut ServerSession,
        call: &Call<'_>,
    ) -> Result<Written, Reply> {
        let client = self.clients.of(&http.req_header().headers, client_ip(http));
        let _slot = self.slots.take(client).map_err(overloaded)?;
        let (request, mut feed) = self.request(http, call)?;
        request::answer_expectation(http).await?;
        let answer = self.exchange(http, request, &mut feed, call).await?;
        // The feed stays until the end: without it the rest of the request would be an error,
        // and an early answer would go down with its connection.
        relay(http, answer, call.request_id).await
    }

    fn request(
        &self,
        http: &mut ServerSession,
        call: &Call<'_>,
    ) -> Result<(Request<Upload>, Option<Feed>), Reply> {
        let declared = request::declared_length(http)?;
        if declared.is_some_and(|length| length > BODY_BYTES_MAX) {
            return Err(Reply::too_large(BODY_BYTES_MAX));
        }
        let (feed, upload) = match http.is_body_done() {
            true => (None, Upload::empty()),
            false => {
                let (feed, upload) = Upload::channel(declared);
                (Some(feed), upload)
            }
        };
        let given = http.req_header();
        let mut request = Request::new(upload);
        *request.method_mut() = given.method.clone();
        *request.uri_mut() = head::uri(&self.authority, call.path, given.uri.query())
            .ok_or_else(|| request::bad_request("malformed_request", "the path is malformed"))?;
        let client = (client_ip(http), scheme(http));
        let mut headers = head::request_headers(given, client, call.request_id);
        match declared {
            Some(length) => {
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            }
            // Said here, as the client would send no body with a GET otherwise.
            None if feed.is_some() => {
                let chunked = HeaderValue::from_static("chunked");
                headers.insert(header::TRANSFER_ENCODING, chunked);
            }
            None => {}
        }
        *request.headers_mut() = headers;
        Ok((request, feed))
    }

    /// Sends the request, its body as it comes, until there is the head of an answer. That may
    /// be before the body's end: a refusal says what is wrong with it.
    async fn exchange(
        &self,
        http: &mut ServerSession,
        request: Request<Upload>,
        feed: &mut Option<Feed>,
        call: &Call<'_>,
    ) -> Result<Response<Incoming>, Reply> {
        let mut answer = self.http.request(request);
        if let Some(feed) = feed {
            // Either arm may be dropped half way: the answer is kept, and once it has begun the
            // rest of the body is not read any more.
            tokio::select! {
                biased;
                early = &mut answer => return early.map_err(|error| refusal(&error)),
                sent = feed.pump(http, call.limits) => sent?,
            }
        }
        match timeout(HEAD_TIMEOUT, answer).await {
            Ok(answer) => answer.map_err(|error| refusal(&error)),
            Err(_) => Err(no_answer()),
        }
    }
}

/// Writes the answer through to the client.
async fn relay(
    http: &mut ServerSession,
    answer: Response<Incoming>,
    request_id: &HeaderValue,
) -> Result<Written, Reply> {
    let (parts, mut body) = answer.into_parts();
    if parts.status.is_informational() {
        return Err(broken("it switched protocols")); // nobody asked for that
    }
    let mut head = head::response_head(&parts, request_id).map_err(|_| broken("its head"))?;
    if http.req_header().method == Method::HEAD || head::has_no_body(parts.status) {
        return Ok(write_all(http, head, None).await);
    }
    if !head.headers.contains_key(header::CONTENT_LENGTH) {
        if http.req_header().version < http::Version::HTTP_11 {
            return collect(http, head, body).await;
        }
        if !http.is_http2() {
            head.insert_header(header::TRANSFER_ENCODING, "chunked")
                .map_err(|_| broken("its head"))?;
        }
    }
    http.set_write_timeout(Some(IDLE_TIMEOUT));
    if http.write_response_header(Box::new(head)).await.is_err() {
        return Ok(Written::CLIENT_GONE);
    }
    loop {
        let (data, is_end) = match timeout(IDLE_TIMEOUT, body.frame()).await {
            Ok(None) => (bytes::Bytes::new(), true),
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => (data, false),
                Err(_) => continue, // trailers
            },
            Ok(Some(Err(error))) => {
                tracing::warn!(
                    ?error,
                    "the control plane broke off in the middle of an answer"
                );
                return Ok(Written::CUT);
            }
            Err(_) => {
                tracing::warn!("the control plane stopped in the middle of an answer");
                return Ok(Written::CUT);
            }
        };
        if http.write_response_body(data, is_end).await.is_err() {
            return Ok(Written::CLIENT_GONE);
        }
        if is_end {
            return Ok(Written::PASSED);
        }
    }
}

/// HTTP/1.0 has no chunks: the end of the connection would be the end of the answer, also when
/// it broke. So the answer is read first, and gets a length.
async fn collect(
    http: &mut ServerSession,
    mut head: ResponseHeader,
    body: Incoming,
) -> Result<Written, Reply> {
    let collected = Limited::new(body, COLLECTED_BYTES_MAX).collect();
    let body = match timeout(HEAD_TIMEOUT, collected).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return Err(Reply::refuse(
                StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                "http_version",
                "this answer is too large for HTTP/1.0: use HTTP/1.1",
            ));
        }
        Ok(Err(_)) => return Err(broken("it broke off in the middle of its answer")),
        Err(_) => return Err(no_answer()),
    };
    head.insert_header(header::CONTENT_LENGTH, body.len())
        .map_err(|_| broken("its head"))?;
    Ok(write_all(http, head, Some(body)).await)
}

async fn write_all(
    http: &mut ServerSession,
    head: ResponseHeader,
    body: Option<bytes::Bytes>,
) -> Written {
    http.set_write_timeout(Some(IDLE_TIMEOUT));
    let written = async {
        http.write_response_header(Box::new(head)).await?;
        let body = body.unwrap_or_default();
        http.write_response_body(body, true).await
    };
    match written.await {
        Ok(()) => Written::PASSED,
        Err(_) => Written::CLIENT_GONE,
    }
}

impl Written {
    const PASSED: Self = Self {
        result: "passed",
        is_complete: true,
    };
    /// The control plane ended before its answer did.
    const CUT: Self = Self {
        result: "control_plane_cut",
        is_complete: false,
    };
    /// The client did not take all of the answer.
    const CLIENT_GONE: Self = Self {
        result: "client_gone",
        is_complete: false,
    };
}

fn client_ip(http: &ServerSession) -> Option<IpAddr> {
    Some(http.client_addr()?.as_inet()?.ip())
}

/// How the client reached us.
fn scheme(http: &ServerSession) -> &'static str {
    let has_tls = http
        .digest()
        .is_some_and(|facts| facts.ssl_digest.is_some());
    if has_tls { "https" } else { "http" }
}

fn refusal(error: &legacy::Error) -> Reply {
    if error.is_connect() {
        tracing::debug!(%error, "the control plane cannot be reached");
        return unreachable_now();
    }
    tracing::warn!(?error, "the control plane gave no answer");
    broken("it closed the connection before its answer")
}

fn unreachable_now() -> Reply {
    let message = "the control plane is unreachable; events are still accepted";
    let code = "control_plane_unreachable";
    Reply::refuse(StatusCode::SERVICE_UNAVAILABLE, code, message).retry_after(1)
}

fn broken(how: &str) -> Reply {
    let message = format!("the control plane gave no valid answer: {how}");
    Reply::refuse(StatusCode::BAD_GATEWAY, "control_plane_broken", &message)
}

fn no_answer() -> Reply {
    Reply::refuse(
        StatusCode::GATEWAY_TIMEOUT,
        "control_plane_timeout",
        "the control plane did not answer in time",
    )
}

fn overloaded(full: Full) -> Reply {
    let message = match full {
        Full::All => "too many requests to the control plane at once",
        Full::One => "too many requests to the control plane at once with this key",
    };
    Reply::refuse(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message).retry_after(1)
}
