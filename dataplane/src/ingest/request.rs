//! Reading a request within its limits: total time and size, of head and of body.
//!
//! Pingora bounds each read, not their sum, and the size of a body not at all
//! (`pingora-notes` section 4): a client that drips is cut here.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{StatusCode, header};
use outrider_webhook::http1::{HeadError, HeadLimits};
use outrider_webhook::id::ProjectId;
use pingora::protocols::http::ServerSession;
use tokio::time::Instant;

use super::alarm::within;
use super::guard::Access;
use super::reply::Reply;

/// A body that does not move for this long has lost its place.
pub(super) const BODY_IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Before this the rate of a body says nothing: the first packets of a good client may be lost.
const BODY_GRACE: Duration = Duration::from_secs(5);
/// Bodies up to this are not counted per project.
const SMALL_BODY_BYTES: usize = 64 * 1024;
/// One project may hold this part of the budget with large bodies.
const PROJECT_SHARE: usize = 8;

/// Bounds of one request; see the bootstrap section `intake`.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Whole request head, from the first byte.
    pub head_timeout: Duration,
    /// Whole request body.
    pub body_timeout: Duration,
    /// Idle time between two requests of a connection.
    pub keepalive: Duration,
    /// Bytes a second of a body, on average and after 5 s; 0 is no limit.
    pub body_rate_min: u64,
    /// Size of the request head.
    pub head: HeadLimits,
    /// Bytes of all bodies being read or stored at once; beyond it requests are answered 503.
    pub in_flight_bytes_max: usize,
    /// Connections at once.
    pub connections_max: usize,
    /// Connections at once from one address.
    pub connections_per_address_max: usize,
    /// Requests on one connection.
    pub requests_per_connection_max: u64,
    /// Who may send, and how often.
    pub access: Access,
}

/// What came of a head.
pub(super) enum Head {
    /// A request to be answered.
    Read,
    /// The client went away.
    Gone,
    /// To be answered with this, and no more: nothing may be asked of the request.
    Unreadable(Reply),
}

/// Has Pingora parse a head that was checked and is here as a whole: it waits for nothing.
pub(super) async fn parse_head(http: &mut ServerSession, limits: &Limits) -> Head {
    let deadline = || Instant::now() + limits.head_timeout;
    match within(deadline, http.read_request()).await {
        Ok(Ok(true)) => Head::Read,
        Ok(Ok(false)) => Head::Gone,
        Ok(Err(error)) => {
            // Only its class: the error itself quotes the head, credentials and all.
            tracing::debug!(class = error.etype().as_str(), "request head refused");
            Head::Unreadable(bad_request(
                "malformed_request",
                "the request head is malformed or its framing is ambiguous",
            ))
        }
        Err(_) => Head::Unreadable(head_too_slow(limits.head_timeout)),
    }
}

/// A head that does not have one meaning, or is over its limits.
pub(super) fn bad_head(error: &HeadError) -> Reply {
    Reply::refuse(error.status(), error.code(), &error.to_string()).last()
}

/// The head took longer than its time.
pub(super) fn head_too_slow(limit: Duration) -> Reply {
    too_slow("head_timeout", "the request head took", limit)
}

/// Reads the body, at most `limit` bytes, declared or chunked.
pub(super) async fn read_body(
    http: &mut ServerSession,
    limit: usize,
    limits: &Limits,
    mut reserved: Reserved,
) -> Result<(Bytes, Reserved), Reply> {
    let declared = declared_length(http)?;
    if declared.is_some_and(|length| length > limit) {
        return Err(Reply::too_large(limit));
    }
    answer_expectation(http).await?;
    http.set_read_timeout(Some(BODY_IDLE_TIMEOUT));
    let pace = Pace::new(limits);
    let body = read_chunks(http, limit, declared, (&mut reserved, &pace)).await?;
    Ok((body, reserved))
}

/// How fast a body has to come.
struct Pace {
    started: Instant,
    total: Duration,
    rate_min: u64,
}

impl Pace {
    fn new(limits: &Limits) -> Self {
        Self {
            started: Instant::now(),
            total: limits.body_timeout,
            rate_min: limits.body_rate_min,
        }
    }

    /// When more has to be there than so many bytes.
    fn deadline(&self, bytes: usize) -> Instant {
        self.started + self.total.min(self.within_rate(bytes))
    }

    /// How long so many bytes may take.
    fn within_rate(&self, bytes: usize) -> Duration {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        match bytes.saturating_mul(1000).checked_div(self.rate_min) {
            Some(ms) => BODY_GRACE.max(Duration::from_millis(ms)),
            None => Duration::MAX,
        }
    }

    /// Which of the two limits ended it.
    fn refusal(&self, bytes: usize) -> Reply {
        if self.within_rate(bytes) >= self.total {
            return too_slow("body_timeout", "the request body took", self.total);
        }
        let message = format!(
            "the request body came with less than {} bytes a second",
            self.rate_min
        );
        Reply::refuse(StatusCode::REQUEST_TIMEOUT, "body_too_slow", &message).last()
    }
}

/// The body took longer than its whole time.
pub(super) fn body_too_slow(limits: &Limits) -> Reply {
    too_slow("body_timeout", "the request body took", limits.body_timeout)
}

/// The budget for bodies is used up.
pub(super) fn overloaded() -> Reply {
    let busy = Reply::refuse(
        StatusCode::SERVICE_UNAVAILABLE,
        "overloaded",
        "too much is being received at once",
    );
    busy.retry_after(1).last()
}

fn too_slow(code: &'static str, what: &str, limit: Duration) -> Reply {
    let message = format!("{what} longer than {} ms", limit.as_millis());
    Reply::refuse(StatusCode::REQUEST_TIMEOUT, code, &message).last()
}

async fn read_chunks(
    http: &mut ServerSession,
    limit: usize,
    declared: Option<usize>,
    (reserved, pace): (&mut Reserved, &Pace),
) -> Result<Bytes, Reply> {
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    let mut length = 0;
    loop {
        let next = within(|| pace.deadline(length), http.read_request_body());
        let chunk = match next.await {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => break,
            Ok(Err(error)) => return Err(broken_body(&error)),
            Err(_) => return Err(pace.refusal(length)),
        };
        length += chunk.len();
        if length > limit {
            return Err(Reply::too_large(limit));
        }
        if !reserved.grow(chunk.len()) {
            return Err(overloaded());
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

pub(super) fn declared_length(http: &ServerSession) -> Result<Option<usize>, Reply> {
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

/// The body did not come as announced. Only the class of the error is logged.
pub(super) fn broken_body(error: &pingora::Error) -> Reply {
    tracing::debug!(class = error.etype().as_str(), "request body refused");
    if matches!(error.etype(), pingora::ErrorType::ReadTimedout) {
        let what = "the next part of the request body took";
        return too_slow("body_timeout", what, BODY_IDLE_TIMEOUT);
    }
    bad_request(
        "malformed_body",
        "the request body ended early or its framing is malformed",
    )
}

/// `Expect: 100-continue` must be answered before the body comes.
pub(super) async fn answer_expectation(http: &mut ServerSession) -> Result<(), Reply> {
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
    let keepalive = http.get_keepalive();
    http.write_continue_response()
        .await
        .map_err(|error| broken_body(&error))?;
    // Pingora gives the connection up when it answers before the body; this answer is no end.
    http.set_keepalive(keepalive);
    Ok(())
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

pub(super) fn bad_request(code: &'static str, message: &str) -> Reply {
    Reply::refuse(StatusCode::BAD_REQUEST, code, message).last()
}

/// Bytes of bodies in flight over all connections, and the large ones of each project.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    used: Arc<AtomicUsize>,
    shares: Arc<Mutex<HashMap<ProjectId, usize>>>,
    bytes_max: usize,
}

impl Budget {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            used: Arc::default(),
            shares: Arc::default(),
            bytes_max,
        }
    }

    /// Nothing yet, for a request to this project.
    pub(super) fn reserve(&self, project: ProjectId) -> Reserved {
        Reserved {
            budget: self.clone(),
            project,
            bytes: 0,
        }
    }

    fn shares(&self) -> MutexGuard<'_, HashMap<ProjectId, usize>> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A share of the budget, given back when dropped.
#[derive(Debug)]
pub(super) struct Reserved {
    budget: Budget,
    project: ProjectId,
    bytes: usize,
}

impl Reserved {
    /// Takes more; false when there is no more, for all or for this project. Small bodies are
    /// counted together only: they cannot use up the budget before the connections do.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        let counted = self.counted();
        self.bytes += bytes;
        let used = self.budget.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let more = self.counted() - counted;
        if more == 0 {
            return used <= self.budget.bytes_max;
        }
        let mut shares = self.budget.shares();
        let share = shares.entry(self.project).or_default();
        *share += more;
        used <= self.budget.bytes_max && *share <= self.budget.bytes_max / PROJECT_SHARE
    }

    /// Bytes that count for the project.
    const fn counted(&self) -> usize {
        if self.bytes > SMALL_BODY_BYTES {
            self.bytes
        } else {
            0
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
        let counted = self.counted();
        if counted == 0 {
            return;
        }
        let mut shares = self.budget.shares();
        if let Some(share) = shares.get_mut(&self.project) {
            *share -= counted;
            if *share == 0 {
                shares.remove(&self.project);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outrider_webhook::id::Uid;

    fn project(number: u128) -> ProjectId {
        ProjectId::new(Uid::from_bits(number))
    }

    #[test]
    fn large_bodies_of_one_project_leave_room_for_the_others() {
        let budget = Budget::new(8 << 20);
        let mut first = budget.reserve(project(1));
        assert!(first.grow(1 << 20));
        let mut second = budget.reserve(project(1));
        assert!(!second.grow(SMALL_BODY_BYTES + 1), "an eighth is used");
        assert!(
            budget.reserve(project(1)).grow(SMALL_BODY_BYTES),
            "small ones still pass"
        );
        assert!(budget.reserve(project(2)).grow(1 << 20));
        drop((first, second));
        assert!(budget.shares().is_empty());
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_budget_as_a_whole_is_a_limit_for_small_bodies_too() {
        let budget = Budget::new(100);
        let mut first = budget.reserve(project(1));
        assert!(first.grow(100));
        assert!(!budget.reserve(project(2)).grow(1));
    }
}
