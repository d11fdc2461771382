//! Both ends of what goes through a proxy: the generator, and the destinations.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::Full;

use super::echo::Echo;
use super::stream::{self, Streamed};
use super::tunnel::{self, Proxy, TENANT, Tunnels, Way};
use crate::clock::now_us;
use crate::http1::Connection;
use crate::load::{self, End, Outcome, Plan};
use crate::payload::{Payloads, Requests, Target};
use crate::sink::Sink;

/// The ends, and how they are used.
pub(super) struct Ends {
    pub(super) echo: Arc<Echo>,
    pub(super) sink: Sink,
    /// Connections of the generator, each with one tunnel or request at a time.
    pub(super) clients: usize,
    /// Tunnels that are filled at a time.
    pub(super) streams: usize,
    pub(super) body_bytes: usize,
    /// Length of a stretch of load.
    pub(super) stretch: Duration,
}

impl Ends {
    pub(super) async fn tunnels(&self, way: &Way, rate: Option<u32>) -> anyhow::Result<Tunnels> {
        tunnel::run(way, &self.echo, rate, self.clients, self.stretch).await
    }

    pub(super) async fn streamed(&self, way: &Way) -> anyhow::Result<Streamed> {
        stream::run(way, &self.echo, self.streams, self.stretch).await
    }

    /// Requests to the sink; with them those that were answered and never got there.
    pub(super) async fn requests(
        &self,
        way: &Way,
        rate: Option<u32>,
        keeps_connections: bool,
    ) -> anyhow::Result<(Outcome, u64)> {
        let plan = Plan {
            address: match way {
                Way::Direct => self.sink.address(),
                Way::Through(proxy) => proxy.address,
            },
            rate,
            clients: self.clients,
            end: End::After(self.stretch),
            first: now_us(), // above every number before: no run sends a million per second
        };
        self.sink.begin(plan.first);
        let requests = self.requests_for(way, keeps_connections)?;
        let outcome = load::run(&plan, requests).await?;
        let missing = self.sink.missing(&outcome.accepted);
        Ok((outcome, missing))
    }

    /// One request through the proxy at the other end of a connection.
    pub(super) async fn probe(
        &self,
        way: &Way,
        connection: &mut Connection,
    ) -> anyhow::Result<StatusCode> {
        let requests = self.requests_for(way, true)?;
        let answer = connection.send(requests.request(0, now_us())?).await?;
        Ok(answer.status())
    }

    fn requests_for(
        &self,
        way: &Way,
        keeps_connections: bool,
    ) -> anyhow::Result<Arc<dyn Requests>> {
        let authority = self.sink.address().to_string();
        let plain = Payloads::new(&Target::Plain, &authority, self.body_bytes)?;
        let Way::Through(proxy) = way else {
            return Ok(Arc::new(plain));
        };
        let uri = format!("http://{authority}/");
        Ok(Arc::new(AbsoluteForm {
            plain,
            proxy: proxy.clone(),
            uri: uri.parse().context("the sink's address is no URL")?,
            keeps_connections,
        }))
    }
}

/// Ends on loopback.
pub(super) async fn start(
    (clients, streams): (usize, usize),
    body_bytes: usize,
    stretch: Duration,
) -> anyhow::Result<Ends> {
    Ok(Ends {
        echo: Arc::new(Echo::start().await?),
        sink: Sink::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?,
        clients,
        streams,
        body_bytes,
        stretch,
    })
}

/// What a forward proxy is asked: the whole URL stands in the request line.
struct AbsoluteForm {
    plain: Payloads,
    proxy: Proxy,
    uri: Uri,
    keeps_connections: bool,
}

impl Requests for AbsoluteForm {
    fn request(&self, number: u64, sent_us: u64) -> anyhow::Result<Request<Full<Bytes>>> {
        let mut request = self.plain.request(number, sent_us)?;
        *request.uri_mut() = self.uri.clone();
        if let Some(tenant) = self.proxy.tenant(number) {
            request.headers_mut().insert(TENANT, tenant.parse()?);
        }
        Ok(request)
    }

    fn keeps_connections(&self) -> bool {
        self.keeps_connections
    }
}
