//! Stage 1, ingest: the public listener.
//!
//! Reads a request within its limits, has it verified, routed and made durable, and only then
//! answers. The only module that knows Pingora's server side (RULINGS 36); what the request
//! means is decided in `source` and `events_api`; what is not ours goes through `proxy` to the
//! control plane.

mod alarm;
mod bearer;
mod certificate;
mod coded;
mod destination;
mod egress_ips;
mod events_api;
mod front;
mod gate;
mod guard;
pub mod handshake;
mod hop_by_hop;
mod listener;
mod load;
mod proxy;
pub mod rejected;
mod reply;
mod request;
mod request_id;
mod schema;
pub(crate) mod slots;
mod source;
mod stopping;
#[cfg(test)]
mod tests;
mod tls;
mod wire;
mod workers;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use outrider_store::{Accepted, Clock, LocalLog};
use outrider_webhook::event::{RawEvent, VerifiedEvent};
use outrider_webhook::id::ProjectId;
use pingora::apps::{HttpPersistentSettings, ReusedHttpStream};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use tokio_util::task::TaskTracker;

use self::certificate::Certificates;
use self::coded::Decoder;
use self::destination::{Destination, collapse_slashes, passed_on};
use self::egress_ips::EgressIps;
use self::front::Peer;
use self::gate::Gate;
pub(crate) use self::gate::client_of;
pub use self::guard::Access;
use self::guard::{Guard, Quota, RATE_LIMITED};
pub use self::listener::{ListenError, PublicListener};
use self::proxy::{Call, ControlPlane, Written};
use self::rejected::Rejected;
use self::reply::Reply;
pub use self::request::Limits;
use self::request::{Budget, Head, Reserved};
use self::request_id::{REQUEST_ID, RequestIds};
use self::schema::{NotTaken, Verdict};
use self::slots::Slots;
use self::stopping::Stopping;
pub use self::tls::{PublicCertificates, TlsError};
use crate::alerts::Alerts;
use crate::egress::Egress;
use crate::made::MadeEndpoints;
use crate::metrics::Metrics;
use crate::route::route;
use crate::table::RoutingTable;
use outrider_config::snapshot::ProjectTable;

/// The API version we speak, as Convoy's clients know it (contract 2.2).
const API_VERSION_HEADER: HeaderName = HeaderName::from_static("x-convoy-version");
const API_VERSION: HeaderValue = HeaderValue::from_static("2025-11-24");

/// How requests are taken.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bounds of a request.
    pub limits: Limits,
    /// Host and port of the control plane's API, which answers what the data plane does not.
    pub control_plane: String,
    /// Random bits of this process, in the ids it gives to requests.
    pub process: u64,
    /// Where samples of refused requests are kept.
    pub rejected: Rejected,
    /// Where requests of sources are counted.
    pub alerts: Alerts,
    /// Endpoints that events made.
    pub made: MadeEndpoints,
}

/// Where a request may lead: into the log, or to somebody who is asked about it.
pub struct Ways {
    /// Where events are made durable.
    pub log: LocalLog,
    /// The way out, for certificates and handshakes.
    pub egress: Egress,
}

/// What a request needs on its way from the socket to the log.
pub struct Intake {
    table: RoutingTable,
    log: LocalLog,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    limits: Limits,
    control_plane: ControlPlane,
    request_ids: RequestIds,
    rejected: Rejected,
    alerts: Alerts,
    made: MadeEndpoints,
    certificates: Certificates,
    decoder: Decoder,
    handshake_calls: Slots<ProjectId>,
    egress: Egress,
    budget: Budget,
    guard: Guard,
    egress_ips: EgressIps,
    /// Requests whose head was read and whose reply is not written yet.
    under_way: TaskTracker,
    stopping: Stopping,
}

/// One request of a connection.
struct Turn<'a> {
    peer: &'a Peer,
    /// No other one may follow.
    is_last: bool,
}

/// What came of a request.
enum Answer {
    /// To be written, with what is left of a rate.
    Reply(Reply, Option<Quota>),
    /// Written by the proxy as it came.
    Written(Written),
}

impl Intake {
    /// The intake on a table, a log and a way out.
    #[must_use]
    pub fn new(
        table: RoutingTable,
        ways: Ways,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        settings: Settings,
    ) -> Self {
        Self {
            guard: Guard::new(settings.limits.access.clone(), Arc::clone(&metrics)),
            table,
            log: ways.log,
            egress: ways.egress,
            certificates: Certificates::new(),
            decoder: Decoder::new(),
            handshake_calls: Slots::new(handshake::CALLS_MAX, handshake::CALLS_OF_PROJECT_MAX),
            clock,
            metrics,
            control_plane: ControlPlane::new(settings.control_plane),
            request_ids: RequestIds::new(settings.process),
            rejected: settings.rejected,
            alerts: settings.alerts,
            made: settings.made,
            budget: Budget::new(settings.limits.in_flight_bytes_max),
            limits: settings.limits,
            egress_ips: EgressIps::default(),
            under_way: TaskTracker::new(),
            stopping: Stopping::default(),
        }
    }

    /// A count of connections within the limits.
    fn gate(&self) -> Gate {
        let limits = &self.limits;
        let per_address = limits.connections_per_address_max;
        let caps = [limits.connections_max, per_address];
        let proxies = limits.access.trusted_proxies.clone();
        Gate::new(caps, proxies, Arc::clone(&self.metrics))
    }

    /// What the listener needs to stop: a sign for us, and the requests to wait for.
    fn stop_handles(&self) -> (Stopping, TaskTracker) {
        (self.stopping.clone(), self.under_way.clone())
    }

    /// Answers one request whose head has been read.
    async fn answer(
        &self,
        http: &mut ServerSession,
        turn: &Turn<'_>,
        request_id: &HeaderValue,
    ) -> Answer {
        let head = http.req_header();
        let path = collapse_slashes(head.uri.path());
        let mut visit = self.guard.visit(turn.peer, &head.headers);
        let (kind, reply) = match Destination::of(&head.method, &path) {
            Some(Destination::ControlPlane) => {
                let path = passed_on(head.uri.path(), path);
                return self.pass_on(http, &path, request_id).await;
            }
            Some(Destination::Health) => return Answer::Reply(health(http), None),
            Some(Destination::EgressIps) => ("egress_ips", egress_ips::answer(self, http).await),
            Some(Destination::Source { mask }) => {
                let answer = source::answer(self, http, mask, (request_id, &mut visit));
                ("source", answer.await)
            }
            Some(Destination::Events { project, call }) => {
                let answer = events_api::answer(self, http, (project, call), &mut visit);
                ("api", answer.await)
            }
            None => ("none", Err(no_route())),
        };
        let (result, reply) = match reply {
            Ok((result, reply)) => (result, reply),
            Err(reply) => (reply.code.unwrap_or("error"), reply),
        };
        // Others are strangers, perhaps, who need not know.
        let is_told = matches!(reply.code, None | Some(RATE_LIMITED));
        self.count(kind, result);
        Answer::Reply(reply, visit.quota.filter(|_| is_told))
    }

    /// Lets the control plane answer.
    async fn pass_on(
        &self,
        http: &mut ServerSession,
        path: &str,
        request_id: &HeaderValue,
    ) -> Answer {
        let call = Call {
            path,
            request_id,
            limits: &self.limits,
        };
        match self.control_plane.forward(http, &call).await {
            Ok(written) => {
                self.count("control", written.result);
                Answer::Written(written)
            }
            Err(reply) => {
                self.count("control", reply.code.unwrap_or("error"));
                Answer::Reply(reply, None)
            }
        }
    }

    fn count(&self, kind: &str, result: &str) {
        self.metrics
            .ingest_requests
            .with_label_values(&[kind, result])
            .inc();
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
        let stored = self.store(event, table, revision).await;
        stored.map_err(Reply::from)
    }

    /// As above, with the refusal itself: one of several events is no reply yet.
    async fn store(
        &self,
        event: VerifiedEvent,
        table: &ProjectTable,
        revision: u64,
    ) -> Result<Accepted, NotTaken> {
        let (event, verdict) = schema::judge(&self.metrics, event, table).await?;
        let routed = self.metrics.note_faults(route(event, table, revision));
        let routed = match verdict {
            Verdict::Fits => routed,
            Verdict::Flawed(flaw) => routed.flawed(&flaw),
            Verdict::Refused(misfit) => return schema::refuse(&self.log, routed, misfit).await,
        };
        let result = if routed.targets().is_empty() {
            "unmatched"
        } else {
            "matched"
        };
        let started = Instant::now();
        let accepted = self.log.accept(routed).await.inspect_err(|error| {
            tracing::warn!(%error, "event refused by the log");
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

impl Intake {
    /// Answers a request whose head is there. Gives the connection back when another one may
    /// follow.
    async fn exchange(&self, mut http: ServerSession, turn: &Turn<'_>) -> Option<ReusedHttpStream> {
        match request::parse_head(&mut http, &self.limits).await {
            Head::Gone => None,
            Head::Unreadable(reply) => {
                self.count("none", reply.code.unwrap_or("error"));
                http.set_keepalive(None);
                // Whether it arrives is up to a client that does not speak HTTP.
                let _ = write(&mut http, reply, (self.request_ids.fresh(), None)).await;
                http.shutdown().await;
                None
            }
            Head::Read => {
                let _under_way = self.under_way.token();
                let started = Instant::now();
                // A client that did not ask for another request does not get to make one.
                let is_kept = http.get_keepalive().is_some() && !turn.is_last;
                http.set_keepalive(is_kept.then_some(self.limits.keepalive.as_secs().max(1)));
                let request_id = self.request_ids.of(&http.req_header().headers);
                match self.answer(&mut http, turn, &request_id).await {
                    Answer::Reply(reply, quota) => {
                        self.metrics
                            .ingest_duration
                            .observe(started.elapsed().as_secs_f64());
                        send(http, reply, (request_id, quota)).await
                    }
                    Answer::Written(written) => finish(http, !written.is_complete).await,
                }
            }
        }
    }
}

/// Writes the reply, and gives the connection back when another request may follow.
async fn send(
    mut http: ServerSession,
    reply: Reply,
    beside: (HeaderValue, Option<Quota>),
) -> Option<ReusedHttpStream> {
    // A body that is still coming would be taken for the next request.
    let is_last = reply.is_last || !http.is_body_done();
    if is_last {
        http.set_keepalive(None);
    }
    if let Err(error) = write(&mut http, reply, beside).await {
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
    reuse(http).await
}

/// After an answer that was passed through: as for a reply, but one that was cut gets no end.
async fn finish(mut http: ServerSession, is_cut: bool) -> Option<ReusedHttpStream> {
    if is_cut || !http.is_body_done() {
        if !is_cut {
            request::linger(&mut http).await;
        }
        http.shutdown().await;
        return None;
    }
    reuse(http).await
}

async fn reuse(http: ServerSession) -> Option<ReusedHttpStream> {
    let settings = HttpPersistentSettings::for_session(&http);
    let reusable = http.finish().await.ok()??;
    Some(ReusedHttpStream::from_reusable_stream(reusable, settings))
}

async fn write(
    http: &mut ServerSession,
    reply: Reply,
    (request_id, quota): (HeaderValue, Option<Quota>),
) -> pingora::Result<()> {
    let mut head = ResponseHeader::build(reply.status, Some(9))?;
    head.insert_header(REQUEST_ID, request_id)?;
    head.insert_header(API_VERSION_HEADER, API_VERSION)?;
    if reply.status != StatusCode::NOT_MODIFIED {
        // Of a 304 it would be that of what is not sent.
        head.insert_header(header::CONTENT_LENGTH, reply.body.len())?;
    }
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
    for (name, value) in quota.iter().flat_map(Quota::headers) {
        head.insert_header(name, value)?;
    }
    for (name, value) in reply.headers {
        head.insert_header(name, value)?;
    }
    http.write_response_header(Box::new(head)).await?;
    http.write_response_body(reply.body, true).await
}

fn no_route() -> Reply {
    Reply::refuse(StatusCode::NOT_FOUND, "no_route", "no such path")
}

fn health(http: &ServerSession) -> Reply {
    match http.req_header().method {
        Method::GET | Method::HEAD => Reply::done(concat!("Outrider ", env!("CARGO_PKG_VERSION"))),
        _ => Reply::wrong_method("GET"),
    }
}
