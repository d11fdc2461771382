//! The way through a forward proxy of ours (`outrider egress`), which owns the source addresses:
//! names are resolved, addresses checked and pools chosen there, by the same code.
//!
//! Everything goes through CONNECT, so what is signed and encrypted here is seen by the receiver
//! alone. Faults of the proxy itself are ours: they are never charged to an endpoint (`egress`
//! section 3.5).

use std::hash::{Hash, Hasher};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::PROXY_AUTHORIZATION;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Request, Uri};
use http_body_util::Full;
use outrider_config::snapshot::PoolSelection;
use outrider_webhook::address::{Host, ProjectRef};
use outrider_webhook::http1::{AnswerLimits, answer_head, blanks_off, field, lines};
use outrider_webhook::id::Uid;
use outrider_webhook::retry::Failure;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::exchange::Draft;
use super::fault::Fault;
use super::link::Link;
use super::pool::Key;
use super::route::{Destination, Refusal, Vetting};
use super::source::{Leave, Source};

pub(crate) const TENANT: HeaderName = HeaderName::from_static("x-outrider-tenant");
pub(crate) const ENDPOINT: HeaderName = HeaderName::from_static("x-outrider-endpoint");
pub(crate) const TLS: HeaderName = HeaderName::from_static("x-outrider-tls");
pub(crate) const CERTIFICATE: HeaderName = HeaderName::from_static("x-outrider-client-certificate");
pub(crate) const TIMEOUT: HeaderName = HeaderName::from_static("x-outrider-timeout");
pub(crate) const ERROR: HeaderName = HeaderName::from_static("x-outrider-egress-error");
pub(crate) const SOURCE_IP: HeaderName = HeaderName::from_static("x-outrider-source-ip");
pub(crate) const DEST_IP: HeaderName = HeaderName::from_static("x-outrider-dest-ip");
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
/// Most that an attempt may take, seconds: no tunnel is cut before (RULINGS section E).
const ATTEMPT_MAX_S: u64 = 120;

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
    pub(super) fn new(settings: ProxySettings) -> Arc<Self> {
        Arc::new(Self {
            settings,
            found: Mutex::default(),
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
        let policy = &vetting.policy;
        let checked = policy.check_place(project, host, port).and_then(|()| {
            let literal = match host {
                Host::Ip(ip) => Some(policy.check_answers(project, port, &[*ip])),
                Host::Name(_) => None,
            };
            literal.transpose().map(drop)
        });
        checked.map_err(|denied| Refusal::denied(&denied, true))?;
        let uid = project.id.uid();
        let (tenant, endpoint) = match leave {
            Leave::HostRoute => (uid.to_string(), None),
            Leave::Pool { pool, caller, .. } => {
                let endpoint = caller
                    .endpoint
                    .filter(|_| pool.selection() == PoolSelection::Sticky);
                (format!("{uid}.{}", pool.name()), endpoint)
            }
            Leave::Missing(name) => return Err(Fault::no_pool(name).into()),
        };
        let through = Arc::new(Through {
            proxy: Arc::clone(self),
            authority: format!("{host}:{port}").into(),
            port,
            tenant: tenant.into(),
            endpoint,
            certificate: destination.certificate.clone(),
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

    async fn addresses(&self) -> Result<Vec<SocketAddr>, Fault> {
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
        let link = match timeout_at(limit, self.reach(address)).await {
            Ok(reached) => reached?,
            Err(_) => return Err(lost("it did not answer in time")),
        };
        match timeout_at(until, self.tunnel(link)).await {
            Ok(opened) => opened,
            Err(_) => {
                let detail = format!("egress proxy: no connection to {} in time", self.authority);
                Err(Fault::new(Failure::ConnectTimeout, detail))
            }
        }
    }

    async fn reach(&self, address: SocketAddr) -> Result<Link, Fault> {
        let broken = |error: io::Error| lost(error);
        let stream = TcpStream::connect(address).await.map_err(broken)?;
        stream.set_nodelay(true).map_err(broken)?; // one small request at a time
        Ok(match &self.proxy.settings.tls {
            None => Link::Left(stream),
            Some((name, config)) => {
                let connector = TlsConnector::from(Arc::clone(config));
                let stream = connector.connect(name.clone(), stream).await;
                Link::Right(Box::new(stream.map_err(broken)?))
            }
        })
    }

    async fn tunnel(&self, mut link: Link) -> Result<Tunnel, Fault> {
        let broken = |error: io::Error| lost(error);
        if self.is_forwarded() {
            // Where it leads is told with each answer.
            let unknown = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
            return Ok(Tunnel {
                link,
                local: unknown,
                remote: unknown,
            });
        }
        link.write_all(&self.request()).await.map_err(broken)?;
        link.flush().await.map_err(broken)?;
        let mut head = Vec::with_capacity(512);
        let answer = loop {
            if link.read_buf(&mut head).await.map_err(broken)? == 0 {
                return Err(lost("it closed the connection"));
            }
            let read = answer_head(&head, &LIMITS, true);
            if let Some(answer) = read.map_err(lost)? {
                break answer;
            }
        };
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

    pub(super) fn is_forwarded(&self) -> bool {
        self.certificate.is_some()
    }

    /// A request as the proxy gets it, which sends it on.
    pub(super) fn forward(&self, request: &mut Request<Full<Bytes>>) -> Result<(), Fault> {
        let refuse = |what| Fault::new(Failure::Internal, format!("request not possible: {what}"));
        let path = request
            .uri()
            .path_and_query()
            .map_or("/", PathAndQuery::as_str);
        let uri = Uri::builder()
            .scheme("https")
            .authority(&*self.authority)
            .path_and_query(path);
        let uri = uri.build().map_err(|_| refuse("no URL for the proxy"))?;
        let text =
            |text: &str| HeaderValue::from_str(text).map_err(|_| refuse("a name is no header"));
        let certificate = self.certificate.as_deref().unwrap_or_default();
        let own = [
            (TLS, HeaderValue::from_static("1")),
            (CERTIFICATE, text(certificate)?),
            (TENANT, text(&self.tenant)?),
            (TIMEOUT, HeaderValue::from(ATTEMPT_MAX_S)),
        ];
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        // What an event brought must not be taken for ours; here as in all other forms it ends.
        let foreign: Vec<HeaderName> = headers
            .keys()
            .filter(|name| {
                name.as_str().starts_with("x-outrider-") || **name == PROXY_AUTHORIZATION
            })
            .cloned()
            .collect();
        for name in foreign {
            headers.remove(name);
        }
        for (name, value) in own {
            headers.insert(name, value);
        }
        if let Some(endpoint) = self.endpoint {
            let endpoint = text(&endpoint.to_string())?;
            request.headers_mut().insert(ENDPOINT, endpoint);
        }
        if let Some(authorization) = &self.proxy.settings.authorization {
            let authorization = authorization.clone();
            request
                .headers_mut()
                .insert(PROXY_AUTHORIZATION, authorization);
        }
        Ok(())
    }

    /// An answer that came through the proxy, or is its own.
    pub(super) fn answered(&self, status: u16, draft: &mut Draft) -> Result<(), Fault> {
        let headers = draft.headers();
        if let Some(error) = headers.remove(ERROR) {
            headers.clear();
            return Err(refused_by(status, error.to_str().unwrap_or_default()));
        }
        let mut take = |name| {
            let value = headers.remove(name)?;
            value.to_str().ok()?.parse::<IpAddr>().ok()
        };
        let (local, remote) = (take(SOURCE_IP), take(DEST_IP));
        headers.remove(TIMING);
        match (local, remote) {
            (Some(local), Some(remote)) => {
                let (local, remote) = (
                    SocketAddr::new(local, 0), // its port is the proxy's secret
                    SocketAddr::new(remote, self.port),
                );
                draft.on(local, remote);
                Ok(())
            }
            _ => Err(lost(
                "it does not say which addresses it uses: it is not ours",
            )),
        }
    }

    fn request(&self) -> Vec<u8> {
        let authority = &self.authority;
        let mut head = format!(
            "CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\nx-outrider-tenant: {}\r\n\
             x-outrider-timeout: {ATTEMPT_MAX_S}\r\n",
            self.tenant
        )
        .into_bytes();
        if let Some(endpoint) = self.endpoint {
            head.extend_from_slice(format!("x-outrider-endpoint: {endpoint}\r\n").as_bytes());
        }
        if let Some(authorization) = &self.proxy.settings.authorization {
            head.extend_from_slice(b"Proxy-Authorization: ");
            head.extend_from_slice(authorization.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        head
    }
}

/// A fault of the proxy, or of the way to it.
fn lost(why: impl std::fmt::Display) -> Fault {
    Fault::new(Failure::NoHealthySource, format!("egress proxy: {why}"))
}

/// What a refusal of the proxy means for the attempt.
fn refused(status: u16, head: &[u8]) -> Fault {
    match value(head, ERROR.as_str()) {
        Some(error) => refused_by(status, error),
        None => lost(format!("status {status}, which is not of our proxy")),
    }
}

/// The same, by the error's name.
fn refused_by(status: u16, code: &str) -> Fault {
    let (code, reason) = code.split_once(':').unwrap_or((code, ""));
    let failure = match (code, reason) {
        // Larger than the proxy takes: it will never be smaller.
        _ if status == 431 => Failure::ProtocolError,
        // The configuration has not come there yet, or its identity may not act for the project.
        ("denied", reason) if is_of_tenant(reason) => Failure::NoHealthySource,
        ("denied", _) => Failure::EgressDenied { literal: false },
        (code, _) => Failure::ALL
            .into_iter()
            .find(|failure| failure.code() == code)
            // `auth_required`, `bad_request`, `limit`, `draining`.
            .unwrap_or(Failure::NoHealthySource),
    };
    let code: String = code.chars().take(64).collect();
    let reason: String = reason.chars().take(64).collect();
    let detail = match reason.as_str() {
        "" => format!("egress proxy: {code}"),
        reason => format!("egress proxy: {code}, {reason}"),
    };
    if failure.is_infrastructure() {
        tracing::warn!(status, code, reason, "the egress proxy refuses");
    }
    Fault::new(failure, detail)
}

fn is_of_tenant(reason: &str) -> bool {
    matches!(
        reason,
        "tenant_required"
            | "tenant_not_allowed"
            | "unknown_tenant"
            | "unknown_pool"
            | "unknown_endpoint"
            | "unknown_certificate"
    )
}

/// The text of a field.
fn value<'h>(head: &'h [u8], name: &str) -> Option<&'h str> {
    let found = lines(head).skip(1).find_map(|line| {
        let (own, value) = field(line).ok()?;
        own.eq_ignore_ascii_case(name.as_bytes()).then_some(value)
    });
    std::str::from_utf8(blanks_off(found?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(line: &str) -> Failure {
        let head = format!("HTTP/1.1 502 Bad Gateway\r\n{line}\r\n\r\n");
        refused(502, head.as_bytes()).failure
    }

    #[test]
    fn faults_of_the_proxy_are_ours_and_those_of_the_destination_are_not() {
        for (code, expected) in [
            (
                "denied:address_denied",
                Failure::EgressDenied { literal: false },
            ),
            ("denied:unknown_tenant", Failure::NoHealthySource),
            ("denied:unknown_pool", Failure::NoHealthySource),
            ("auth_required", Failure::NoHealthySource),
            ("limit", Failure::NoHealthySource),
            ("draining", Failure::NoHealthySource),
            ("bad_request", Failure::NoHealthySource),
            ("of_a_later_version", Failure::NoHealthySource),
            ("port_exhausted", Failure::PortExhausted),
            ("no_healthy_source", Failure::NoHealthySource),
            ("dns_failure", Failure::DnsFailure),
            ("connect_refused", Failure::ConnectRefused),
            ("connect_timeout", Failure::ConnectTimeout),
        ] {
            let line = format!("X-Outrider-Egress-Error: {code}");
            assert_eq!(failure(&line), expected, "{code}");
        }
        assert_eq!(failure("server: other"), Failure::NoHealthySource);
    }

    #[test]
    fn what_an_event_brought_is_not_taken_for_what_we_say() {
        let settings = ProxySettings {
            host: "127.0.0.1".to_owned(),
            port: 3128,
            tls: None,
            authorization: Some(HeaderValue::from_static("Basic b3Vycw==")),
        };
        let through = Through {
            proxy: Proxy::new(settings),
            authority: "bank.example.com:443".into(),
            port: 443,
            tenant: "01JQ0000000000000000000001".into(),
            endpoint: None,
            certificate: Some("bank".into()),
        };
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = Uri::from_static("/hook?a=b");
        let headers = request.headers_mut();
        headers.insert("x-mine", HeaderValue::from_static("1"));
        for name in [
            TENANT,
            ENDPOINT,
            TLS,
            CERTIFICATE,
            TIMEOUT,
            PROXY_AUTHORIZATION,
        ] {
            headers.insert(name, HeaderValue::from_static("theirs"));
        }
        through.forward(&mut request).unwrap();
        let headers = request.headers();
        assert!(
            !headers.values().any(|value| value == "theirs"),
            "{headers:?}"
        );
        assert_eq!(headers.get_all(CERTIFICATE).iter().count(), 1);
        assert_eq!([&headers[CERTIFICATE], &headers[TLS]], ["bank", "1"]);
        assert_eq!(headers["x-mine"], "1");
        assert_eq!(request.uri(), "https://bank.example.com:443/hook?a=b");
    }
}
