//! Stage 1, ingest: the public listener.
//!
//! Reads a request within its limits, has it verified, routed and made durable, and only then
//! answers. The only module that knows Pingora's server side (RULINGS 36); what the request
//! means is decided in `source` and `events_api`.

mod events_api;
mod listener;
mod reply;
mod request;
mod source;

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use outrider_store::{Accepted, Clock, LocalLog};
use outrider_webhook::event::{RawEvent, VerifiedEvent};
use outrider_webhook::id::ProjectId;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::listener::{ListenError, PublicListener};
use self::reply::Reply;
pub use self::request::Limits;
use self::request::{Budget, Head, Reserved};
use crate::metrics::Metrics;
use crate::route::route;
use crate::table::RoutingTable;
use outrider_config::snapshot::ProjectTable;

/// The API version we speak, as Convoy's clients know it (contract 2.2).
const API_VERSION_HEADER: HeaderName = HeaderName::from_static("x-convoy-version");
const API_VERSION: HeaderValue = HeaderValue::from_static("2025-11-24");

/// What a request needs on its way from the socket to the log.
pub struct Intake {
    table: RoutingTable,
    log: LocalLog,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    limits: Limits,
    budget: Budget,
    /// Requests whose head was read and whose reply is not written yet.
    under_way: TaskTracker,
    stopping: CancellationToken,
}

/// Where a request wants to go.
enum Destination<'a> {
    Source { mask: &'a str },
    Events { project: &'a str, is_fanout: bool },
    Health,
}

impl Intake {
    /// The intake on a table and a log.
    #[must_use]
    pub fn new(
        table: RoutingTable,
        log: LocalLog,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        limits: Limits,
    ) -> Self {
        let budget = Budget::new(limits.in_flight_bytes_max);
        Self {
            table,
            log,
            clock,
            metrics,
            limits,
            budget,
            under_way: TaskTracker::new(),
            stopping: CancellationToken::new(),
        }
    }

    /// What the listener needs to stop: a sign for us, and the requests to wait for.
    fn stop_handles(&self) -> (CancellationToken, TaskTracker) {
        (self.stopping.clone(), self.under_way.clone())
    }

    fn is_stopping(&self, shutdown: &ShutdownWatch) -> bool {
        self.stopping.is_cancelled() || *shutdown.borrow()
    }

    /// Answers one request whose head has been read.
    async fn answer(&self, http: &mut ServerSession) -> Reply {
        let path = collapse_slashes(http.req_header().uri.path());
        let (kind, reply) = match destination(&path) {
            Some(Destination::Source { mask }) => {
                ("source", source::answer(self, http, mask).await)
            }
            Some(Destination::Events { project, is_fanout }) => (
                "api",
                events_api::answer(self, http, project, is_fanout).await,
            ),
            Some(Destination::Health) => return health(http),
            None => (
                "none",
                Err(Reply::refuse(
                    StatusCode::NOT_FOUND,
                    "no_route",
                    "no such path",
                )),
            ),
        };
        let (result, reply) = match reply {
            Ok((result, reply)) => (result, reply),
            Err(reply) => (reply.code.unwrap_or("error"), reply),
        };
        self.metrics
            .ingest_requests
            .with_label_values(&[kind, result])
            .inc();
        reply
    }

    /// Reads the body. It counts against the budget until the answer drops [`Reserved`].
    async fn read_body(
        &self,
        http: &mut ServerSession,
        project: ProjectId,
        limit: usize,
    ) -> Result<(Bytes, Reserved), Reply> {
        request::read_body(http, limit, &self.limits, self.budget.reserve(project)).await
    }

    /// Reads the body and takes the request as it stands.
    async fn read_event(
        &self,
        http: &mut ServerSession,
        project: ProjectId,
        limit: usize,
    ) -> Result<(RawEvent, Reserved), Reply> {
        let received_ms = self.clock.now_ms();
        let (body, reserved) = self.read_body(http, project, limit).await?;
        let head = http.req_header();
        let event = RawEvent {
            method: head.method.clone(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            headers: head.headers.clone(),
            body,
            received_ms,
        };
        Ok((event, reserved))
    }

    /// Routes a verified event and makes it durable. The reply may be sent after this.
    async fn accept(
        &self,
        event: VerifiedEvent,
        table: &ProjectTable,
        revision: u64,
    ) -> Result<Accepted, Reply> {
        let routed = route(event, table, revision);
        let result = if routed.targets().is_empty() {
            "unmatched"
        } else {
            "matched"
        };
        let started = Instant::now();
        let accepted = self.log.accept(routed).await.map_err(|error| {
            tracing::warn!(%error, "event refused by the log");
            Reply::not_stored(&error)
        })?;
        self.metrics
            .append_duration
            .observe(started.elapsed().as_secs_f64());
        self.metrics
            .events_routed
            .with_label_values(&[result])
            .inc();
        Ok(accepted)
    }
}

#[async_trait]
impl HttpServerApp for Intake {
    async fn process_new_http(
        self: &Arc<Self>,
        mut http: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let refused = |reply: &Reply| {
            let labels = ["none", reply.code.unwrap_or("error")];
            self.metrics
                .ingest_requests
                .with_label_values(&labels)
                .inc();
        };
        match request::read_head(&mut http, &self.limits).await {
            Head::Gone => None,
            Head::Unreadable(reply) => {
                refused(&reply);
                http.set_keepalive(None);
                // Whether it arrives is up to a client that does not speak HTTP.
                let _ = write(&mut http, reply).await;
                http.shutdown().await;
                None
            }
            Head::Refused(reply) => {
                refused(&reply);
                send(http, reply).await
            }
            Head::Read => {
                let _under_way = self.under_way.token();
                let started = Instant::now();
                // A client that did not ask for another request does not get to make one.
                let is_kept = http.get_keepalive().is_some() && !self.is_stopping(shutdown);
                http.set_keepalive(is_kept.then_some(self.limits.keepalive.as_secs().max(1)));
                let reply = self.answer(&mut http).await;
                self.metrics
                    .ingest_duration
                    .observe(started.elapsed().as_secs_f64());
                send(http, reply).await
            }
        }
    }
}

/// Writes the reply, and gives the connection back when another request may follow.
async fn send(mut http: ServerSession, reply: Reply) -> Option<ReusedHttpStream> {
    // A body that is still coming would be taken for the next request.
    let is_last = reply.is_last || !http.is_body_done();
    if is_last {
        http.set_keepalive(None);
    }
    if let Err(error) = write(&mut http, reply).await {
        // The event, if there was one, is durable; a sender that missed the reply sends again.
        tracing::debug!(
            class = error.etype().as_str(),
            "client went away before the reply"
        );
        return None;
    }
    if is_last {
        request::linger(&mut http).await;
        http.shutdown().await;
        return None;
    }
    let mut settings = HttpPersistentSettings::for_session(&http);
    settings.set_user_context(Box::new(())); // marks the connection as one that had a request
    let reusable = http.finish().await.ok()??;
    Some(ReusedHttpStream::from_reusable_stream(reusable, settings))
}

async fn write(http: &mut ServerSession, reply: Reply) -> pingora::Result<()> {
    let mut head = ResponseHeader::build(reply.status, Some(8))?;
    head.insert_header(API_VERSION_HEADER, API_VERSION)?;
    head.insert_header(header::CONTENT_LENGTH, reply.body.len())?;
    if !reply.body.is_empty() {
        head.insert_header(header::CONTENT_TYPE, reply.content_type)?;
    }
    if let Some(code) = reply.code {
        head.insert_header(
            HeaderName::from_static(reply::ERROR_HEADER),
            HeaderValue::from_static(code),
        )?;
    }
    if let Some(seconds) = reply.retry_after_s {
        head.insert_header(header::RETRY_AFTER, seconds)?;
    }
    if let Some(methods) = reply.allow {
        head.insert_header(header::ALLOW, methods)?;
    }
    http.write_response_header(Box::new(head)).await?;
    http.write_response_body(reply.body, true).await
}

fn destination(path: &str) -> Option<Destination<'_>> {
    if let Some(mask) = path.strip_prefix("/ingest/") {
        return (!mask.is_empty() && !mask.contains('/')).then_some(Destination::Source { mask });
    }
    if path == "/healthz" {
        return Some(Destination::Health);
    }
    let (project, rest) = path.strip_prefix("/api/v1/projects/")?.split_once('/')?;
    match rest {
        "events" => Some(Destination::Events {
            project,
            is_fanout: false,
        }),
        "events/fanout" => Some(Destination::Events {
            project,
            is_fanout: true,
        }),
        _ => None,
    }
}

/// Convoy's oldest client builds paths with doubled and trailing slashes (contract section 1).
fn collapse_slashes(path: &str) -> String {
    let mut collapsed = String::with_capacity(path.len());
    for part in path.split('/').filter(|part| !part.is_empty()) {
        collapsed.push('/');
        collapsed.push_str(part);
    }
    collapsed
}

fn health(http: &ServerSession) -> Reply {
    match http.req_header().method {
        Method::GET | Method::HEAD => Reply::done(concat!("Outrider ", env!("CARGO_PKG_VERSION"))),
        _ => Reply::wrong_method("GET"),
    }
}
