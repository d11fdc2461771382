//! What is told of connections: the addresses of a name, the trace of a request, and a line for each
//! new connection of a delivery, for who asks for lines at `debug`: attempts have a record anyhow.

use std::fmt;
use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::Full;
use outrider_config::resource::HOST_ROUTE;
use outrider_webhook::id::ProjectId;
use outrider_webhook::trace::trace_id;

use super::exchange::Timing;
use super::pool::{Connection, Key};
use super::resolve::Answers;
use super::source::Leave;
use super::via::TRACEPARENT;

/// Addresses of a name that are written down; how many there were is, too.
const RESOLVED_MAX: usize = 16;
/// Length of a `traceparent` that is sent on: that of its version 00, which has nothing behind.
const TRACEPARENT_BYTES: usize = 55;

/// The first of the addresses of a name, with commas between.
pub(crate) struct Resolved<'a>(pub(crate) &'a [IpAddr]);

impl fmt::Display for Resolved<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, address) in self.0.iter().take(RESOLVED_MAX).enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(f, "{comma}{address}")?;
        }
        Ok(())
    }
}

/// The one `traceparent` of a request.
pub(super) fn traceparent(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut all = headers.get_all(TRACEPARENT).iter();
    let value = all.next()?;
    let is_one = all.next().is_none() && value.len() == TRACEPARENT_BYTES;
    (is_one && trace_id(value.as_bytes()).is_some()).then_some(value)
}

/// A new connection of a delivery.
pub(super) struct Opened<'a> {
    pub(super) project: ProjectId,
    pub(super) request: &'a Request<Full<Bytes>>,
    pub(super) key: &'a Key,
    pub(super) connection: &'a Connection,
    pub(super) answers: Option<&'a Answers>,
}

impl Opened<'_> {
    /// Writes the line. Where nobody asks for it, this is one look at a flag.
    pub(super) fn tell(&self, leave: &Leave, timing: &Timing) {
        let Self {
            key, connection, ..
        } = self;
        let answers = self.answers.map(Answers::addresses);
        // Which one a proxy falls back to is in its own log.
        let pool = match &key.through {
            Some(_) => leave.pool(),
            None => key.source.pool().map(|pool| pool.name),
        };
        tracing::debug!(
            target: "outrider::egress",
            trace_id = traceparent(self.request.headers()).and_then(|value| trace_id(value.as_bytes())),
            project = %self.project,
            endpoint = leave.endpoint().map(display),
            host = &*key.server_name,
            port = connection.remote.port(),
            resolved = answers.map(|all| display(Resolved(all))),
            resolved_count = answers.map(<[_]>::len),
            pool = pool.map_or(HOST_ROUTE, |pool| &**pool),
            source_ip = %connection.local.ip().to_canonical(),
            dest_ip = %connection.remote.ip().to_canonical(),
            policy_version = key.policy_version.revision,
            dns_us = timing.dns_us,
            connect_us = timing.connect_us,
            tls_us = timing.tls_us,
            "egress connection"
        );
    }
}
