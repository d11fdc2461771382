//! One request and its answer on an open connection, read within bounds.
//!
//! Whatever the receiver does - nothing, too slowly, too much, half - ends as an [`Exchange`].
//! Redirects are answers like any other; their `Location` is kept with the headers, not followed.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::header::HeaderName;
use outrider_webhook::address::Denial;
use outrider_webhook::retry::{Failure, Outcome};
use tokio::time::timeout;

use super::draft::{Draft, Phase};
use super::fault::Fault;
use super::pool::{Connection, Key};

/// What became of one request: complete, also when nothing was sent.
#[derive(Debug)]
pub struct Exchange {
    /// The result the retry rules decide on.
    pub outcome: Outcome,
    /// Headers of the answer, at most 100 and 64 KiB; empty when there was none.
    pub response_headers: HeaderMap,
    /// The beginning of the response body.
    pub excerpt: Bytes,
    /// Bytes of the response body that were read, at most [`super::Settings::response_bytes_max`];
    /// fewer of one that does not say how long it is, or is longer.
    pub body_bytes: u64,
    /// Whether the response body is longer than `excerpt`, as far as it was read.
    pub is_truncated: bool,
    /// What the address policy refused it for, if it did.
    pub denial: Option<Denial>,
    /// What went wrong, for the operator: may name addresses, has no header values and no bodies.
    pub detail: Option<String>,
    /// How long the parts took.
    pub timing: Timing,
    /// Whether the request was handed to a connection.
    pub was_sent: bool,
    /// Our side of the connection; `None` when there was none.
    pub local: Option<SocketAddr>,
    /// The receiver's side of the connection; `None` when there was none.
    pub remote: Option<SocketAddr>,
}

impl Exchange {
    /// That of a request which was not even begun.
    pub(crate) fn unsent(failure: Failure, detail: &str) -> Self {
        Draft::new().finish(Err(Fault::new(failure, detail)))
    }
}

/// How long the parts of an exchange took, in microseconds; 0 (or close to it)
/// for a part that was not needed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timing {
    /// Name to addresses and their check; close to 0 when the addresses were remembered.
    pub dns_us: u64,
    /// TCP connects, failed ones included, and waiting for a free connection slot.
    pub connect_us: u64,
    /// TLS handshake.
    pub tls_us: u64,
    /// Request handed to the connection until the head of the answer was read.
    pub first_byte_us: u64,
    /// Everything, until the last byte of the answer.
    pub total_us: u64,
    /// Whether an open connection was used.
    pub is_reused: bool,
}

/// How long the task of a connection that broke may take to say why.
const REASON_TIMEOUT: Duration = Duration::from_millis(50);

/// Bounds of reading an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadBounds {
    pub(super) excerpt_max: usize,
    pub(super) body_max: u64,
}

/// A body that does not say how long it is is read so far: more costs more than the connection
/// that is kept by reading it.
const UNTOLD_BODY_MAX: u64 = 64 * 1024;

impl ReadBounds {
    /// Bytes that are read of a body, by the length it announces. What will not be read to its
    /// end, which would keep the connection, is read for its beginning alone.
    fn of_body(self, announced: Option<u64>) -> u64 {
        let excerpt = u64::try_from(self.excerpt_max).unwrap_or(u64::MAX);
        let excerpt = excerpt.saturating_add(1); // to see that there is more
        let bytes = match announced {
            Some(length) if length <= self.body_max => self.body_max,
            Some(_) => excerpt,
            None => excerpt.max(UNTOLD_BODY_MAX),
        };
        bytes.min(self.body_max)
    }
}

/// A complete answer.
pub(super) struct Answer {
    pub(super) status: u16,
    /// The connection, when it may carry another request.
    pub(super) reusable: Option<Reusable>,
    is_complete: bool,
    keep: Option<Duration>,
}

/// A connection after its answer.
pub(super) struct Reusable {
    pub(super) key: Key,
    pub(super) connection: Connection,
    /// How long the receiver promised to keep it open without use.
    pub(super) keep: Option<Duration>,
}

impl Answer {
    /// Joins the answer and the connection it came on; one that was not read to the end of the
    /// answer is closed here.
    pub(super) fn on(mut self, key: Key, connection: Connection) -> Self {
        let keep = self.keep;
        self.reusable = self.is_complete.then_some(Reusable {
            key,
            connection,
            keep,
        });
        self
    }
}

/// What came of putting a request on a connection.
pub(super) enum Sent {
    /// The answer is here.
    Answered(Answer),
    /// The connection was closed before any byte was written: the request is as it was.
    Unwritten(Request<Full<Bytes>>),
}

/// Sends the request and reads the answer to its end or to the bound.
pub(super) async fn exchange(
    connection: &mut Connection,
    request: Request<Full<Bytes>>,
    bounds: ReadBounds,
    draft: &mut Draft,
) -> Result<Sent, Fault> {
    draft.on(connection.local, connection.remote);
    draft.enter(Phase::Answer);
    let response = match connection.sender.try_send_request(request).await {
        Ok(response) => response,
        Err(mut refused) => {
            return match refused.take_message() {
                Some(request) => Ok(Sent::Unwritten(request)),
                None => Err(why(Fault::http(refused.error(), "no answer"), connection).await),
            };
        }
    };
    draft.enter(Phase::Body);
    let (head, body) = response.into_parts();
    draft.headers = head.headers;
    let is_complete = read_body(body, bounds, draft).await?;
    Ok(Sent::Answered(Answer {
        status: head.status.as_u16(),
        reusable: None,
        is_complete,
        keep: promised_idle(&draft.headers),
    }))
}

/// A request that the connection was closed upon is told no more than that; the connection may know
/// that TLS was the reason.
async fn why(fault: Fault, connection: &mut Connection) -> Fault {
    if fault.failure != Failure::ConnectReset {
        return fault;
    }
    match connection.reason().await {
        Some(reason) if reason.failure == Failure::TlsFailure => reason,
        _ => fault,
    }
}

impl Connection {
    /// Why a new one did not take the request: what the receiver said instead, if it said anything.
    /// That it wants a certificate, for one, it says after the handshake.
    pub(super) async fn unwritten(&mut self) -> Fault {
        self.reason().await.unwrap_or_else(|| {
            let words = "the connection was closed before the request was sent";
            Fault::new(Failure::ConnectReset, words)
        })
    }

    /// Why it broke, if that is known.
    pub(super) async fn reason(&mut self) -> Option<Fault> {
        if let Some(said) = self.last_words.get() {
            return Some(said);
        }
        let told = timeout(REASON_TIMEOUT, &mut self.broken).await;
        self.last_words.get().or_else(|| told.ok()?.ok())
    }
}

/// Reads until the end (true) or the bound (false). Dropping a body that has not ended closes
/// its connection.
async fn read_body(
    mut body: Incoming,
    bounds: ReadBounds,
    draft: &mut Draft,
) -> Result<bool, Fault> {
    let read_max = bounds.of_body(body.size_hint().exact());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Fault::http(&error, "the response body broke off"))?;
        let Ok(chunk) = frame.into_data() else {
            continue; // trailers are not kept
        };
        // Copied, as the chunk may be a small part of a large read buffer.
        let room = bounds.excerpt_max.saturating_sub(draft.excerpt.len());
        let (kept, _) = chunk.split_at(room.min(chunk.len()));
        draft.excerpt.extend_from_slice(kept);
        let read = draft
            .body_bytes
            .saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
        draft.body_bytes = read.min(read_max);
        if read > read_max {
            return Ok(false);
        }
    }
    Ok(true)
}

/// How long the receiver keeps the connection idle, from `Keep-Alive: timeout=<s>`. We stop using
/// it earlier: a request that crosses the close on the wire is lost, and is not sent twice.
fn promised_idle(headers: &HeaderMap) -> Option<Duration> {
    let text = headers
        .get(HeaderName::from_static("keep-alive"))?
        .to_str()
        .ok()?;
    let seconds: u64 = text
        .split(',')
        .filter_map(|part| part.trim().split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"))
        .and_then(|(_, value)| value.trim().parse().ok())?;
    Some(Duration::from_millis(
        seconds.saturating_mul(1_000).saturating_sub(500),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_promise_that_is_no_number_is_no_promise() {
        for text in [
            "",
            "timeout",
            "timeout=",
            "timeout=-1",
            "timeout=inf",
            "max=5",
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("keep-alive", HeaderValue::from_static(text));
            assert_eq!(promised_idle(&headers), None, "{text}");
        }
        assert_eq!(promised_idle(&HeaderMap::new()), None);
    }

    #[test]
    fn a_connection_is_left_before_the_receiver_closes_it() {
        for (text, expected_ms) in [
            ("timeout=5, max=100", 4_500),
            ("max=1,Timeout = 60", 59_500),
            ("timeout=0", 0),
            ("timeout=18446744073709551615", u64::MAX - 500),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("keep-alive", HeaderValue::from_static(text));
            let expected = Some(Duration::from_millis(expected_ms));
            assert_eq!(promised_idle(&headers), expected, "{text}");
        }
    }
}
