//! The way through a forward proxy of ours (`outrider egress`), which owns the source addresses:
//! names are resolved, addresses checked and pools chosen there, by the same code.
//!
//! Everything goes through CONNECT, so what is signed and encrypted here is seen by the receiver
//! alone. Faults of the proxy itself are ours: they are never charged to an endpoint (`egress`
//! section 3.5).

mod pulse;
mod refusal;
mod request;

use std::hash::{Hash, Hasher};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use outrider_config::snapshot::{AddressState, EgressPool, PoolSelection};
use outrider_webhook::address::{Host, ProjectRef};
use outrider_webhook::http1::{AnswerHead, AnswerLimits, answer_head};
use outrider_webhook::id::Uid;
use outrider_webhook::retry::Failure;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::pulse::Pulses;
use self::refusal::{lost, refused, value};
use super::fault::Fault;
use super::link::Link;
use super::pool::Key;
use super::route::{Destination, Refusal};
use super::source::{Leave, Source};
use super::vetting::Vetting;

pub(crate) const TENANT: HeaderName = HeaderName::from_static("x-outrider-tenant");
pub(crate) const ENDPOINT: HeaderName = HeaderName::from_static("x-outrider-endpoint");
pub(crate) const TLS: HeaderName = HeaderName::from_static("x-outrider-tls");
pub(crate) const CERTIFICATE: HeaderName = HeaderName::from_static("x-outrider-client-certificate");
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(crate) const TIMEOUT: HeaderName = HeaderName::from_static("x-outrider-timeout");
pub(crate) const ERROR: HeaderName = HeaderName::from_static("x-outrider-egress-error");
pub(crate) const POLICY: HeaderName = HeaderName::from_static("x-outrider-egress-policy");
pub(crate) const SOURCE_IP: HeaderName = HeaderName::from_static("x-outrider-source-ip");
pub(crate) const DEST_IP: HeaderName = HeaderName::from_static("x-outrider-dest-ip");
pub(crate) const PULSE: HeaderName = HeaderName::from_static("x-outrider-pulse");
pub(crate) const TIMING: HeaderName = HeaderName::from_static("x-outrider-timing");

/// What the proxy may answer.
const LIMITS: AnswerLimits = AnswerLimits {
    bytes_max: 16 * 1024,
    headers_max: 100,
};
/// How long the addresses of the proxy's name are used.
const ADDRESSES_FOR: Duration = Duration::from_secs(30);
/// A look-up of the proxy's name.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// A forward proxy that everything goes through.
pub struct ProxySettings {
    /// Its name or address. A name is asked of the host's resolver: it is ours, not a customer's.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// TLS to it, and the name in its certificate.
    pub tls: Option<(ServerName<'static>, Arc<ClientConfig>)>,
    /// `Proxy-Authorization`.
    pub authorization: Option<HeaderValue>,
}

/// The proxy, and where it was found.
pub(super) struct Proxy {
    settings: ProxySettings,
    found: Mutex<Option<(Instant, Vec<SocketAddr>)>>,
    pulses: Pulses,
}

/// A destination behind the proxy. Connections are shared by those that are the same in all but the
/// proxy, of which there is one.
#[derive(Clone)]
pub(super) struct Through {
    proxy: Arc<Proxy>,
    /// Host and port.
    authority: Box<str>,
    port: u16,
    /// The project, and the pool that is meant.
    tenant: Box<str>,
    /// Where the pool gives each endpoint its own address.
    endpoint: Option<Uid>,
    /// The certificate that the proxy has: requests are given to it whole, and it makes TLS.
    certificate: Option<Arc<str>>,
    /// Of the request that a tunnel is opened for; of no account for what is the same.
    traceparent: Option<HeaderValue>,
    /// The pool, and what it falls back to, as they are known here now; of no account for what is
    /// the same.
    pools: Vec<Arc<EgressPool>>,
}

impl PartialEq for Through {
    fn eq(&self, other: &Self) -> bool {
        self.authority == other.authority
            && self.tenant == other.tenant
            && self.endpoint == other.endpoint
            && self.certificate == other.certificate
    }
}

impl Eq for Through {}

impl Hash for Through {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (
            &self.authority,
            &self.tenant,
            self.endpoint,
            &self.certificate,
        )
            .hash(state);
    }
}

impl std::fmt::Debug for Through {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Through({} for {})", self.authority, self.tenant)
    }
}

/// A tunnel to a destination.
pub(super) struct Tunnel {
    pub(super) link: Link,
    /// Our side of it, at the proxy.
    pub(super) local: SocketAddr,
    /// The address that the proxy has checked.
    pub(super) remote: SocketAddr,
}

impl Proxy {
    /// Looks after its addresses in `tasks`, until `stop`.
    pub(super) fn new(
        settings: ProxySettings,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            settings,
            found: Mutex::default(),
            pulses: Pulses::new(tasks, stop),
        })
    }

    /// The ways to a destination: one for each address of the proxy. What can be judged without
    /// its addresses is judged here already.
    pub(super) async fn keys(
        self: &Arc<Self>,
        vetting: &Vetting,
        project: &ProjectRef<'_>,
        destination: Destination<'_>,
        leave: &Leave,
    ) -> Result<Vec<Key>, Refusal> {
        let (host, port) = (destination.host, destination.port);
        let guard = vetting.guard();
        let checked = guard.check_place(project, host, port).and_then(|()| {
            let literal = match host {
                Host::Ip(ip) => Some(guard.check_answers(project, (host, port), &[*ip])),
                Host::Name(_) => None,
            };
            literal.transpose().map(drop)
        });
        checked.map_err(|denied| Refusal::denied(&denied, true))?;
        let uid = project.id.uid();
        let (tenant, endpoint, pools) = match leave {
            Leave::HostRoute => (uid.to_string(), None, Vec::new()),
            Leave::Pool {
                pool,
                fallback,
                caller,
                only: _, // the choice is the proxy's
            } => {
                let endpoint = caller
                    .endpoint
                    .filter(|_| pool.selection() == PoolSelection::Sticky);
                let pools = std::iter::once(pool).chain(fallback).cloned();
                let tenant = format!("{uid}.{}", pool.name());
                (tenant, endpoint, pools.collect())
            }
            Leave::Missing(name) => return Err(Fault::no_pool(name).into()),
        };
        let through = Arc::new(Through {
            proxy: Arc::clone(self),
            authority: format!("{host}:{port}").into(),
            port,
            tenant: tenant.into(),
            endpoint,
            certificate: destination.certificate,
            traceparent: destination.traceparent,
            pools,
        });
        let addresses = self.addresses().await?;
        let keys = addresses.into_iter().map(|address| Key {
            project: project.id,
            source: Source::HostRoute, // the proxy's business
            address,
            through: Some(Arc::clone(&through)),
            tls: destination.tls.clone(),
            server_name: destination.server_name.clone(),
            policy_version: vetting.version,
        });
        Ok(keys.collect())
    }

    /// Where it is; first where it was reached when it was tried last.
    async fn addresses(&self) -> Result<Vec<SocketAddr>, Fault> {
        let mut found = self.found().await?;
        if found.len() > 1 {
            found.sort_by_key(|address| self.pulses.is_unreached(*address)); // else as they came
        }
        Ok(found)
    }

    async fn found(&self) -> Result<Vec<SocketAddr>, Fault> {
        let ProxySettings { host, port, .. } = &self.settings;
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, *port)]);
        }
        let now = Instant::now();
        if let Some((since, found)) = &*self.lock()
            && now < *since + ADDRESSES_FOR
        {
            return Ok(found.clone());
        }
        let looked = tokio::net::lookup_host((host.as_str(), *port));
        let found: Vec<_> = match timeout_at(now + LOOKUP_TIMEOUT, looked).await {
            Ok(Ok(found)) => found.collect(),
            Ok(Err(error)) => return Err(lost(format!("its name cannot be resolved: {error}"))),
            Err(_) => return Err(lost("its name was not resolved in time")),
        };
        *self.lock() = Some((now, found.clone()));
        Ok(found)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Instant, Vec<SocketAddr>)>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection to it. The caller bounds the time.
    async fn reach(&self, address: SocketAddr) -> io::Result<Link> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?; // one small request at a time
        Ok(match &self.settings.tls {
            None => Link::Left(stream),
            Some((name, config)) => {
                let connector = TlsConnector::from(Arc::clone(config));
                Link::Right(Box::new(connector.connect(name.clone(), stream).await?))
            }
        })
    }

    /// Its answer to a request without a body: the head, and what came with it.
    async fn ask(&self, link: &mut Link, request: &[u8]) -> Result<(AnswerHead, Vec<u8>), Fault> {
        let broken = |error: io::Error| lost(error);
        link.write_all(request).await.map_err(broken)?;
        link.flush().await.map_err(broken)?;
        let mut head = Vec::with_capacity(512);
        loop {
            if link.read_buf(&mut head).await.map_err(broken)? == 0 {
                return Err(lost("it closed the connection"));
            }
            let read = answer_head(&head, &LIMITS, true);
            if let Some(answer) = read.map_err(lost)? {
                return Ok((answer, head));
            }
        }
    }
}

impl Through {
    /// A tunnel through the proxy at one of its addresses: `limit` is for the way to the proxy,
    /// `until` for what it does then. Out of the first it is the proxy that is lost, out of the
    /// second it is the destination that does not answer.
    pub(super) async fn open(
        &self,
        address: SocketAddr,
        (limit, until): (Instant, Instant),
    ) -> Result<Tunnel, Fault> {
        let (proxy, begun) = (&self.proxy, Instant::now());
        let reached = timeout_at(limit, proxy.reach(address)).await;
        let link = match reached {
            Ok(reached) => reached.map_err(lost),
            Err(_) => Err(lost("it did not answer in time")),
        };
        proxy.pulses.used(proxy, address, link.is_ok());
        match timeout_at(until, self.tunnel(link?)).await {
            Ok(opened) => opened,
            Err(_) if proxy.pulses.is_lost(address, begun).await => {
                Err(lost("it does not answer any more"))
            }
            Err(_) => {
                let detail = format!("egress proxy: no connection to {} in time", self.authority);
                Err(Fault::new(Failure::ConnectTimeout, detail))
            }
        }
    }

    async fn tunnel(&self, mut link: Link) -> Result<Tunnel, Fault> {
        if self.is_forwarded() {
            // Where it leads is told with each answer.
            let unknown = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
            return Ok(Tunnel {
                link,
                local: unknown,
                remote: unknown,
            });
        }
        let (answer, head) = self.proxy.ask(&mut link, &self.request()).await?;
        if answer.status != 200 {
            return Err(refused(answer.status, &head));
        }
        if head.len() > answer.bytes {
            // HTTP and TLS begin with us.
            let words = "the receiver sent something before it was asked";
            return Err(Fault::new(Failure::ProtocolError, words));
        }
        let of = |name: HeaderName| {
            value(&head, name.as_str()).and_then(|text| text.parse::<IpAddr>().ok())
        };
        match (of(SOURCE_IP), of(DEST_IP)) {
            (Some(local), Some(remote)) => Ok(Tunnel {
                link,
                local: SocketAddr::new(local, 0), // its port is the proxy's secret
                remote: SocketAddr::new(remote, self.port),
            }),
            _ => Err(lost(
                "it does not say which addresses it uses: it is not ours",
            )),
        }
    }

    /// Whether an open tunnel from this address of ours will do: while the pool has it as active,
    /// and unless the proxy was lost since it was opened `through` one of its addresses. From where
    /// it sends each request that it gets whole the proxy itself decides.
    pub(super) fn accepts(&self, local: SocketAddr, through: (SocketAddr, Instant)) -> bool {
        if self.proxy.pulses.was_lost(through) {
            return false;
        }
        if self.is_forwarded() || self.pools.is_empty() {
            return true;
        }
        let local = local.ip().to_canonical();
        let mut addresses = self.pools.iter().flat_map(|pool| pool.addresses().iter());
        addresses.any(|one| one.address == local && one.state == AddressState::Active)
    }

    /// Whose fault it is that an exchange on a connection that was opened then came to nothing.
    /// What a destination does the proxy says, or passes on while it lives itself.
    pub(super) async fn blame(
        &self,
        fault: Fault,
        (address, opened): (SocketAddr, Instant),
        has_begun: bool,
    ) -> Fault {
        let is_lost = match fault.failure {
            // Before an answer it tells what is wrong with the destination.
            Failure::ConnectReset | Failure::TlsFailure if self.is_forwarded() && !has_begun => {
                true
            }
            Failure::ConnectReset | Failure::TlsFailure | Failure::ResponseTimeout => {
                self.proxy.pulses.is_lost(address, opened).await
            }
            _ => false,
        };
        if !is_lost {
            return fault;
        }
        let detail = format!("egress proxy: lost in the middle of it ({})", fault.detail);
        Fault::new(Failure::ProxyLost, detail)
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn is_forwarded(&self) -> bool {
        self.certificate.is_some()
    }
}

#[cfg(test)]
mod tests;
