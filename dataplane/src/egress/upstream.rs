//! Connections for the clients of the forward proxy: judged, opened and counted as those of
//! deliveries are, but what is spoken on them is the client's business.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::{io, mem};

use outrider_webhook::address::{Denial, Host, ProjectRef};
use outrider_webhook::retry::Failure;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::draft::micros_since;
use super::fault::Fault;
use super::gate::Permit;
use super::link::{Link, socket};
use super::open::{Opened, Way};
use super::pool::{Key, Pooled};
use super::route::{self, Destination, Refusal};
use super::tls::Profile;
use super::{Answers, Egress, Leave};

/// Where a client wants to go.
pub(crate) struct Wish<'a> {
    /// For whom.
    pub(crate) project: ProjectRef<'a>,
    /// The host.
    pub(crate) host: &'a Host,
    /// The port, 1 to 65535.
    pub(crate) port: u16,
    /// What the connection is for.
    pub(crate) purpose: Purpose<'a>,
    /// Where it comes from.
    pub(crate) leave: Leave,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose<'a> {
    /// Bytes of the client, unseen; never used by another.
    Tunnel,
    /// Requests in clear, one after the other.
    Requests,
    /// The same, inside of TLS that is made here.
    RequestsOverTls,
    /// The same, known to the destination by a certificate of this host.
    RequestsAs(&'a str),
}

/// Why there is no connection.
pub(crate) enum Unopened {
    /// The address policy refuses: what for.
    Denied(Denial),
    /// This host has no certificate of that name for the project.
    Certificate,
    /// There are as many connections as there may be.
    Limit,
    /// It could not be had.
    Failed(Failure),
}

/// An open connection to a checked address.
pub(crate) struct Upstream {
    io: Io,
    key: Key,
    opened: Instant,
    _permit: Permit,
    /// Our side of it.
    pub(crate) local: SocketAddr,
    /// The far side.
    pub(crate) remote: SocketAddr,
    /// How long it took.
    pub(crate) timing: OpenTiming,
    /// Whether it was open already.
    pub(crate) is_reused: bool,
}

/// How long the parts of opening a connection took, microseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OpenTiming {
    /// Name to addresses, and their check.
    pub(crate) dns_us: u64,
    /// TCP.
    pub(crate) connect_us: u64,
    /// TLS, where it is made here.
    pub(crate) tls_us: u64,
}

/// As it is, or inside of TLS that is made here.
type Io = Either<Link, Box<TlsStream<Link>>>;

impl Egress {
    /// A connection to where a client wants to go. `may_open` is asked before a new one is opened;
    /// `answers` becomes what the name servers said, whatever came of it.
    ///
    /// # Errors
    /// Why there is none, with the words for it: they may name addresses, and nothing of what the
    /// client sent.
    pub(crate) async fn open(
        &self,
        wish: &Wish<'_>,
        may_open: impl FnOnce() -> bool,
        answers: &mut Option<Arc<Answers>>,
    ) -> Result<Upstream, (Unopened, String)> {
        let started = Instant::now();
        let inner = &self.inner;
        let mut destination = wish.destination();
        if let Purpose::RequestsAs(name) = wish.purpose {
            let profile = inner.profile_named(wish.project.id, name);
            let profile = profile.map_err(|fault| (Unopened::Certificate, fault.detail))?;
            destination.tls = Some(profile);
        }
        let keys = inner
            .route(&wish.project, destination, &wish.leave, answers)
            .await;
        let keys = keys.map_err(Unopened::of_refusal)?;
        let mut timing = OpenTiming {
            dns_us: micros_since(started),
            ..OpenTiming::default()
        };
        let taken = keys.iter().find_map(|key| inner.upstreams.take(key));
        if let Some(idle) = taken {
            inner.counters.taken.fetch_add(1, Ordering::Relaxed);
            return Ok(idle.again(timing));
        }
        if !may_open() {
            let words = "too many new connections of this project in a short time";
            return Err((Unopened::Limit, words.to_owned()));
        }
        let opener = inner.dialler.opener();
        let until = opener.limits.until_for_client();
        let connecting = Instant::now();
        let opening = opener.first(keys, &inner.upstreams, until);
        let (key, way) = Box::pin(opening).await.map_err(Unopened::of_fault)?;
        timing.connect_us = micros_since(connecting);
        let Opened {
            link,
            permit,
            local,
            remote,
        } = match way {
            Way::New(opened) => opened,
            Way::Idle(idle) => {
                inner.counters.taken.fetch_add(1, Ordering::Relaxed);
                return Ok(idle.again(timing));
            }
        };
        let io = match &key.tls {
            None => Io::Left(link),
            Some(profile) => {
                let shaking = Instant::now();
                let shaken = inner.dialler.encrypt(&key, profile, link, until);
                let stream = Box::pin(shaken).await.map_err(Unopened::of_fault)?;
                timing.tls_us = micros_since(shaking);
                Io::Right(Box::new(stream))
            }
        };
        inner.counters.opened.fetch_add(1, Ordering::Relaxed);
        Ok(Upstream {
            io,
            key,
            opened: Instant::now(),
            _permit: permit,
            local,
            remote,
            timing,
            is_reused: false,
        })
    }

    /// Gives back a connection whose last answer was read to its end.
    pub(crate) fn give_back(&self, upstream: Upstream) {
        let key = upstream.key.clone();
        self.inner.upstreams.put(key, upstream, None);
        self.kept();
    }
}

impl Wish<'_> {
    fn destination(&self) -> Destination<'_> {
        let (tls, server_name) = match self.purpose {
            // No connection for requests has this name, so none is ever taken for a tunnel.
            Purpose::Tunnel => (None, Box::default()),
            Purpose::Requests => (None, route::server_name(self.host)),
            Purpose::RequestsOverTls | Purpose::RequestsAs(_) => {
                (Some(Profile::Default), route::server_name(self.host))
            }
        };
        Destination {
            host: self.host,
            port: self.port,
            tls,
            certificate: None,
            server_name,
            traceparent: None,
        }
    }
}

impl Unopened {
    fn of_refusal(refusal: Refusal) -> (Self, String) {
        match refusal.fault.denial {
            Some(denial) => (Self::Denied(denial), refusal.fault.detail),
            None => Self::of_fault(refusal.fault),
        }
    }

    fn of_fault(fault: Fault) -> (Self, String) {
        let why = match fault.is_limit {
            true => Self::Limit,
            false => Self::Failed(fault.failure),
        };
        (why, fault.detail)
    }
}

impl Upstream {
    fn again(mut self, timing: OpenTiming) -> Self {
        self.timing = timing;
        self.is_reused = true;
        self
    }

    /// The pool it leaves from; `None` for the host's route.
    pub(crate) fn pool(&self) -> Option<&Arc<str>> {
        self.key.source.pool().map(|pool| pool.name)
    }

    /// The newest revision among the policies that it was judged by.
    pub(crate) fn policy_version(&self) -> u64 {
        self.key.policy_version.revision
    }

    /// Lets the connection be seen to break, and not to end, when it is dropped.
    pub(crate) fn reset(&self) {
        let _ = self.socket().set_zero_linger(); // one that is gone has seen its end
    }

    fn socket(&self) -> &TcpStream {
        match &self.io {
            Io::Left(link) => socket(link),
            Io::Right(stream) => socket(stream.get_ref().0),
        }
    }
}

impl Pooled for Upstream {
    fn opened(&self) -> Instant {
        self.opened
    }

    /// Whether there is nothing to read: neither the end nor what nobody asked for.
    fn is_ready(&self) -> bool {
        let mut byte = [mem::MaybeUninit::uninit()];
        let looked = SockRef::from(self.socket()).peek(&mut byte);
        looked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    fn local(&self) -> SocketAddr {
        self.local
    }
}

impl AsyncRead for Upstream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Upstream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
