//! Reading a request within its limits: total time and size, of head and of body.
//!
//! Pingora bounds each read, not their sum, and the size of a body not at all
//! (`pingora-notes` section 4): a client that drips is cut here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{StatusCode, header};
use pingora::protocols::http::ServerSession;

use super::reply::Reply;

/// Bounds of one request; see the bootstrap section `intake`.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Whole request head, from the first byte.
    pub head_timeout: Duration,
    /// Whole request body.
    pub body_timeout: Duration,
    /// Idle time between two requests of a connection.
    pub keepalive: Duration,
    /// Bytes of the request head.
    pub head_bytes_max: usize,
    /// Header lines.
    pub headers_max: usize,
    /// Bytes of all bodies being read or stored at once; beyond it requests are answered 503.
    pub in_flight_bytes_max: usize,
}

/// What came of waiting for a request.
pub(super) enum Head {
    /// A request to be answered.
    Read,
    /// The client went away, or stayed silent.
    Gone,
    /// To be answered with this, and no more.
    Refused(Reply),
}

/// Waits for a request head and checks its framing.
pub(super) async fn read_head(http: &mut ServerSession, limits: &Limits) -> Head {
    // Only a connection that had a request before may stay silent for the idle time.
    let is_reused = http.take_connection_user_context().is_some();
    let wait = if is_reused {
        limits.keepalive
    } else {
        limits.head_timeout
    };
    match tokio::time::timeout(wait, http.read_request()).await {
        Ok(Ok(true)) => match check_head(http, limits) {
            Ok(()) => Head::Read,
            Err(reply) => Head::Refused(reply.last()),
        },
        Ok(Ok(false)) => Head::Gone,
        Ok(Err(error)) => {
            tracing::debug!(%error, "request head refused");
            Head::Refused(bad_request(
                "malformed_request",
                "the request head is malformed or its framing is ambiguous",
            ))
        }
        Err(_) if is_reused => Head::Gone,
        Err(_) => Head::Refused(
            Reply::refuse(
                StatusCode::REQUEST_TIMEOUT,
                "head_timeout",
                "the request head took too long",
            )
            .last(),
        ),
    }
}

fn check_head(http: &ServerSession, limits: &Limits) -> Result<(), Reply> {
    let head = http.req_header();
    if head.headers.contains_key(header::TRANSFER_ENCODING) && sent_content_length(http) {
        // Pingora drops the length and goes on; two framings in one request are an attack or a bug.
        return Err(bad_request(
            "ambiguous_framing",
            "Content-Length and Transfer-Encoding exclude each other",
        ));
    }
    let bytes = http
        .as_http1()
        .map_or(0, |h1| h1.get_headers_raw_bytes().len());
    if bytes > limits.head_bytes_max || head.headers.len() > limits.headers_max {
        let message = format!(
            "request head too large: at most {} bytes and {} headers",
            limits.head_bytes_max, limits.headers_max
        );
        return Err(Reply::refuse(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "head_too_large",
            &message,
        ));
    }
    Ok(())
}

/// Whether the head as received had a length: Pingora has removed it by now.
fn sent_content_length(http: &ServerSession) -> bool {
    let Some(h1) = http.as_http1() else {
        return http
            .req_header()
            .headers
            .contains_key(header::CONTENT_LENGTH);
    };
    h1.get_headers_raw_bytes()
        .split(|byte| *byte == b'\n')
        .any(|line| {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            name.trim_ascii().eq_ignore_ascii_case(b"content-length")
        })
}

/// Reads the body, at most `limit` bytes, declared or chunked.
pub(super) async fn read_body(
    http: &mut ServerSession,
    limit: usize,
    limits: &Limits,
    budget: &Budget,
) -> Result<(Bytes, Reserved), Reply> {
    let declared = declared_length(http)?;
    if declared.is_some_and(|length| length > limit) {
        return Err(Reply::too_large(limit));
    }
    answer_expectation(http).await?;
    let mut reserved = budget.reserve();
    match tokio::time::timeout(
        limits.body_timeout,
        read_chunks(http, limit, declared, &mut reserved),
    )
    .await
    {
        Ok(body) => Ok((body?, reserved)),
        Err(_) => Err(Reply::refuse(
            StatusCode::REQUEST_TIMEOUT,
            "body_timeout",
            "the request body took too long",
        )
        .last()),
    }
}

async fn read_chunks(
    http: &mut ServerSession,
    limit: usize,
    declared: Option<usize>,
    reserved: &mut Reserved,
) -> Result<Bytes, Reply> {
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    let mut length = 0;
    loop {
        let chunk = match http.read_request_body().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            Err(error) => {
                tracing::debug!(%error, "request body refused");
                return Err(bad_request(
                    "malformed_body",
                    "the request body ended early or its framing is malformed",
                ));
            }
        };
        length += chunk.len();
        if length > limit {
            return Err(Reply::too_large(limit));
        }
        if !reserved.grow(chunk.len()) {
            let busy = Reply::refuse(
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded",
                "too much is being received at once",
            );
            return Err(Reply {
                retry_after_s: Some(1),
                ..busy
            }
            .last());
        }
        if first.is_empty() && more.is_empty() {
            first = chunk; // nearly every body comes as one chunk: no copy
            continue;
        }
        if more.is_empty() {
            let known = declared.unwrap_or(length * 2);
            more.reserve(known.min(limit));
            more.extend_from_slice(&first);
        }
        more.extend_from_slice(&chunk);
    }
    if declared.is_some_and(|bytes| bytes != length) {
        return Err(bad_request(
            "malformed_body",
            "the request body is shorter than its Content-Length",
        ));
    }
    Ok(if more.is_empty() {
        first
    } else {
        more.freeze()
    })
}

fn declared_length(http: &ServerSession) -> Result<Option<usize>, Reply> {
    let Some(value) = http.get_header(header::CONTENT_LENGTH) else {
        return Ok(None);
    };
    let length = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().split(',').next()?.trim().parse().ok());
    length
        .map(Some)
        .ok_or_else(|| bad_request("malformed_request", "Content-Length is not a number"))
}

/// `Expect: 100-continue` must be answered before the body comes.
async fn answer_expectation(http: &mut ServerSession) -> Result<(), Reply> {
    let Some(expect) = http.get_header(header::EXPECT) else {
        return Ok(());
    };
    if !expect.as_bytes().eq_ignore_ascii_case(b"100-continue") {
        let message = "only `Expect: 100-continue` is understood";
        return Err(Reply::refuse(
            StatusCode::EXPECTATION_FAILED,
            "expectation_failed",
            message,
        )
        .last());
    }
    http.write_continue_response().await.map_err(|error| {
        tracing::debug!(%error, "client went away before its body");
        bad_request("malformed_body", "the connection ended before the body")
    })
}

/// Reads on for a moment after a refusal, so that the reply is not lost to a reset: a client
/// that is still sending would see its connection break before it reads the answer.
pub(super) async fn linger(http: &mut ServerSession) {
    const LINGER: Duration = Duration::from_secs(1);
    const LINGER_BYTES: usize = 1024 * 1024;
    let drain = async {
        let mut seen = 0;
        while let Ok(Some(chunk)) = http.read_request_body().await {
            seen += chunk.len();
            if seen > LINGER_BYTES {
                break;
            }
        }
    };
    // Running out of time is the expected end for a client that never stops.
    let _ = tokio::time::timeout(LINGER, drain).await;
}

fn bad_request(code: &'static str, message: &str) -> Reply {
    Reply::refuse(StatusCode::BAD_REQUEST, code, message).last()
}

/// Bytes of bodies in flight over all connections.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    used: Arc<AtomicUsize>,
    bytes_max: usize,
}

impl Budget {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            used: Arc::new(AtomicUsize::new(0)),
            bytes_max,
        }
    }

    fn reserve(&self) -> Reserved {
        Reserved {
            budget: self.clone(),
            bytes: 0,
        }
    }
}

/// A share of the budget, given back when dropped.
#[derive(Debug)]
pub(super) struct Reserved {
    budget: Budget,
    bytes: usize,
}

impl Reserved {
    fn grow(&mut self, bytes: usize) -> bool {
        let before = self.budget.used.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        before + bytes <= self.budget.bytes_max
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
