//! Opening TCP connections: to checked addresses, within limits of time and number, the peer
//! compared with the address that was checked. Deliveries and the forward proxy open theirs here.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use outrider_webhook::retry::Failure;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::fault::Fault;
use super::gate::{Entered, Gate, Permit};
use super::link::Link;
use super::pool::{Key, Pool, Pooled};
use super::source::{Source, Sources};
use super::via::Tunnel;
use crate::metrics::EgressMetrics;

/// How long one family has for itself before the other is tried as well (RFC 8305, section 8).
const STAGGER: Duration = Duration::from_millis(250);

/// How long a client of the forward proxy waits for a place in the count of connections.
const CLIENT_ROOM_TIMEOUT: Duration = Duration::from_millis(250);

/// The least time that a proxy of ours has to take a connection.
const PROXY_TIMEOUT_MIN: Duration = Duration::from_millis(250);

/// Time limits of opening a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) connect: Duration,
    pub(super) connect_total: Duration,
    pub(super) tls: Duration,
}

/// When opening one connection has to be done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Until {
    /// For one address.
    each: Duration,
    /// For a place in the count of connections.
    room: Instant,
    /// For all of them.
    connected: Instant,
    /// With TLS, where that has no limit of its own.
    pub(super) encrypted: Option<Instant>,
    /// Whoever opens it has waited for its turn: what it leaves from may have changed.
    has_waited: bool,
}

impl Limits {
    /// From now on; `own` is the limit of an endpoint that has one, for all of it. Who waits for a
    /// place is told at `room`, before its time is over: it is no fault of the receiver that there
    /// was none.
    pub(super) fn until(&self, own: Option<Duration>, room: Instant, has_waited: bool) -> Until {
        let now = Instant::now();
        let connected = now + own.unwrap_or(self.connect_total);
        Until {
            each: own.unwrap_or(self.connect),
            room: connected.min(room),
            connected,
            encrypted: own.map(|own| now + own),
            has_waited,
        }
    }

    /// As [`Limits::until`], for who can come back: it waits for a place as long only as an idle
    /// connection takes to make one.
    pub(super) fn until_for_client(&self) -> Until {
        self.until(None, Instant::now() + CLIENT_ROOM_TIMEOUT, false)
    }
}

/// A new connection, and its place in the count of them.
pub(super) struct Opened {
    pub(super) link: Link,
    /// To be kept until the socket is closed.
    pub(super) permit: Permit,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
}

/// How a request gets to its destination.
pub(super) enum Way<C> {
    New(Opened),
    /// One that was in use became idle while this waited for room.
    Idle(C),
}

/// Opens connections.
pub(super) struct Opener {
    pub(super) limits: Limits,
    gate: Arc<Gate>,
    sources: Arc<Sources>,
}

impl Opener {
    pub(super) fn new(limits: Limits, gate: Arc<Gate>, sources: Arc<Sources>) -> Self {
        Self {
            limits,
            gate,
            sources,
        }
    }

    /// Where connections are counted.
    pub(super) fn metrics(&self) -> &EgressMetrics {
        self.sources.metrics()
    }

    /// A connection to the first of the checked addresses that can be reached, and which one
    /// that is. Where they are of both families, the next one is tried as well when there is no
    /// connection after [`STAGGER`], and the first that comes up is taken.
    pub(super) async fn first<C: Pooled>(
        &self,
        keys: Vec<Key>,
        pool: &Pool<C>,
        until: Until,
    ) -> Result<(Key, Way<C>), Fault> {
        let is_ipv4 = |key: &Key| key.address.is_ipv4();
        let is_mixed = keys.iter().any(is_ipv4) && !keys.iter().all(is_ipv4);
        let mut waiting = keys.into_iter().enumerate();
        let (mut running, mut failed) = (FuturesUnordered::new(), Vec::new());
        loop {
            let is_late = Instant::now() >= until.connected && !failed.is_empty();
            let next = if is_late { None } else { waiting.next() };
            let has_more = next.is_some();
            if let Some((position, key)) = next {
                running.push(async move {
                    let way = self.one(&key, pool, until).await;
                    (position, key, way)
                });
            }
            let stagger = async {
                if is_mixed && has_more {
                    tokio::time::sleep(STAGGER).await;
                } else {
                    std::future::pending::<()>().await;
                }
            };
            let ended = tokio::select! {
                biased;
                ended = running.next() => ended, // the others go on
                () = stagger => continue,
            };
            match ended {
                Some((_, key, Ok(way))) => return Ok((key, way)),
                Some((position, _, Err(fault))) => failed.push((position, fault)),
                None => return Err(together(failed)),
            }
        }
    }

    async fn one<C: Pooled>(
        &self,
        key: &Key,
        pool: &Pool<C>,
        until: Until,
    ) -> Result<Way<C>, Fault> {
        let address = key.address;
        let entered = timeout_at(until.room, self.gate.enter(key, pool))
            .await
            .map_err(|_| Fault::limit(address))?;
        let (permit, has_waited) = match entered {
            Entered::Room { permit, has_waited } => (permit, has_waited || until.has_waited),
            Entered::Idle(connection) => return Ok(Way::Idle(connection)),
        };
        let limit = until.connected.min(Instant::now() + until.each);
        if let Some(through) = &key.through {
            // Before the time of the attempt is over: that would be the receiver's fault.
            let reached = limit.min(until.room.max(Instant::now() + PROXY_TIMEOUT_MIN));
            let Tunnel {
                link,
                local,
                remote,
            } = through.open(address, (reached, until.connected)).await?;
            return Ok(Way::New(Opened {
                link,
                permit,
                local,
                remote,
            }));
        }
        let (stream, permit) = match &key.source {
            Source::HostRoute => {
                let connecting = self.sources.connect_by_host_route(address, limit);
                let (stream, active) = connecting.await?;
                (stream, permit.active(active))
            }
            Source::Pool(leaving) => {
                let sources = &self.sources;
                let anew = has_waited.then(|| sources.look_again(leaving));
                let anew = anew.transpose()?;
                let leaving = anew.as_ref().unwrap_or(leaving);
                let (stream, counted) = sources.connect(leaving, address, limit).await?;
                (stream, permit.counted(counted))
            }
        };
        let (local, remote) = ends(&stream, address)?;
        Ok(Way::New(Opened {
            link: Link::Left(stream),
            permit,
            local,
            remote,
        }))
    }
}

/// The first address is the preferred one: its class stands for all, whichever failed first. But
/// what is said of the destination comes before what is only ours, as where one proxy is lost and
/// another one has tried.
fn together(mut failed: Vec<(usize, Fault)>) -> Fault {
    failed.sort_by_key(|(position, fault)| (fault.failure.is_infrastructure(), *position));
    let faults = failed.into_iter().map(|(_, fault)| fault);
    let all = faults.reduce(|mut first, fault| {
        first.detail.push_str("; ");
        first.detail.push_str(&fault.detail);
        first
    });
    all.unwrap_or_else(|| Fault::new(Failure::ConnectUnreachable, "no address to connect to"))
}

/// Both ends of a connection, the far one compared with the address that was checked.
fn ends(stream: &TcpStream, checked: SocketAddr) -> Result<(SocketAddr, SocketAddr), Fault> {
    let look = || -> io::Result<(SocketAddr, SocketAddr)> {
        stream.set_nodelay(true)?; // one small request at a time: nothing to wait for
        Ok((stream.local_addr()?, stream.peer_addr()?))
    };
    let (local, remote) = look().map_err(|error| Fault::connect(checked, &error))?;
    if remote.ip().to_canonical() != checked.ip().to_canonical() || remote.port() != checked.port()
    {
        let detail = format!("connected to {remote} instead of the checked {checked}");
        return Err(Fault::new(Failure::Internal, detail));
    }
    Ok((local, remote))
}
