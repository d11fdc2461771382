//! A connection of the public listener, from its acceptance to its end: a place at the gate,
//! then request after request.
//!
//! Ours and not Pingora's own loop, because the caps come before the first byte is read, and
//! because each head is checked before the parser sees it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use http::StatusCode;
use pingora::apps::HttpPersistentSettings;
use pingora::protocols::http::ServerSession;
use pingora::protocols::l4::stream::Stream as PlainStream;
use pingora::protocols::{GetSocketDigest, SocketDigest, Stream};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::gate::{Full, Gate};
use super::guard::Accepted;
use super::load::Counted;
use super::reply::Reply;
use super::tls::{ClientTls, PublicCertificates};
use super::wire::{Start, Wire};
use super::{Intake, Turn};

/// Connections beyond the caps that are told so at once; others are closed without a word.
const REFUSALS_MAX: usize = 64;

/// Who is at the other end of a connection.
#[derive(Debug)]
pub(super) struct Peer {
    /// The address it comes from, an IPv4 one never in the form of IPv6.
    pub(super) address: IpAddr,
    /// What it showed, where TLS is spoken.
    pub(super) tls: Option<ClientTls>,
    /// The last source that its certificate was good for.
    pub(super) accepted: Accepted,
}

/// One listening address.
pub(super) struct Front {
    intake: Arc<Intake>,
    gate: Arc<Gate>,
    certificates: Option<Arc<PublicCertificates>>,
    refusals: Arc<Semaphore>,
}

impl Front {
    /// TLS is spoken where there are certificates.
    pub(super) fn new(
        intake: Arc<Intake>,
        gate: Arc<Gate>,
        certificates: Option<Arc<PublicCertificates>>,
    ) -> Self {
        Self {
            intake,
            gate,
            certificates,
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
        }
    }

    /// Tells a client that there is no place for it, as long as not too many have to be told.
    async fn turn_away(&self, stream: Stream, full: Full) {
        let Ok(_permit) = self.refusals.try_acquire() else {
            return;
        };
        if self.certificates.is_some() {
            return; // to tell would take the handshake that there is no place for
        }
        let refusal = Reply::refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            full.code(),
            &full.to_string(),
        );
        let refusal = refusal.retry_after(1).last();
        let request_id = self.intake.request_ids.fresh();
        Wire::new(stream).refuse(&refusal, &request_id).await;
    }

    /// The connection with TLS on it, where that is spoken, and who is behind it.
    async fn secured(&self, stream: Stream, address: IpAddr) -> Option<(Stream, Peer)> {
        let (stream, tls) = match &self.certificates {
            None => (stream, None),
            Some(certificates) => {
                let shaken = certificates.handshake(stream).await;
                let result = shaken
                    .as_ref()
                    .map_or_else(|error| error.as_str(), |_| "ok");
                let counts = &self.intake.metrics.tls_handshakes;
                counts.with_label_values(&[result]).inc();
                let (stream, client) = shaken.ok()?;
                (stream, Some(client))
            }
        };
        let peer = Peer {
            address,
            tls,
            accepted: Accepted::default(),
        };
        Some((stream, peer))
    }

    /// Answers requests until the connection ends.
    async fn serve(&self, stream: Stream, peer: &Peer, mut counted: Counted) {
        let mut stopping = self.intake.stopping.lookout();
        let mut wire = Box::new(Wire::new(stream));
        let mut kept: Option<HttpPersistentSettings> = None;
        for count in 1_u64.. {
            let is_last = count >= self.intake.limits.requests_per_connection_max;
            match wire.start(&self.intake.limits, &mut stopping).await {
                Start::Head => {}
                Start::Gone => return,
                Start::Refused(reply) => return self.refuse(*wire, reply).await,
            }
            let mut http = ServerSession::new_http1(wire);
            http.set_keepalive(Some(1)); // bounds nothing: the head is here
            if let Some(settings) = kept.take() {
                settings.apply_to_session(&mut http);
            }
            let turn = Turn {
                peer,
                is_last: is_last || self.intake.stopping.is_given(),
            };
            counted.begin();
            let Some(reused) = self.intake.exchange(http, &turn).await else {
                return;
            };
            counted.end();
            let (stream, settings) = reused.consume();
            let Ok(same) = stream.into_any().downcast::<Wire>() else {
                return; // it is the one that was given
            };
            if same.has_more() {
                return;
            }
            (wire, kept) = (same, settings);
        }
    }

    async fn refuse(&self, wire: Wire, reply: Reply) {
        self.intake.count("none", reply.code.unwrap_or("error"));
        wire.refuse(&reply, &self.intake.request_ids.fresh()).await;
    }

    /// Serves a connection to its end.
    pub(super) async fn connected(
        &self,
        stream: std::net::TcpStream,
        address: SocketAddr,
        counted: Counted,
    ) {
        let stream = match plain(stream, address) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%error, "a connection was gone before it was served");
                return;
            }
        };
        let address = address.ip().to_canonical();
        match self.gate.enter(address) {
            Ok(_place) => {
                if let Some((stream, peer)) = self.secured(stream, address).await {
                    self.serve(stream, &peer, counted).await;
                }
            }
            Err(full) => self.turn_away(stream, full).await,
        }
    }
}

/// The connection as Pingora knows it, on the runtime of this thread.
fn plain(stream: std::net::TcpStream, address: SocketAddr) -> io::Result<Stream> {
    stream.set_nodelay(true)?; // replies are written at once
    let mut stream = PlainStream::from(TcpStream::from_std(stream)?);
    let digest = SocketDigest::from_raw_fd(stream.as_raw_fd());
    // It is new, so this is its first value; without it the system would be asked.
    let _ = digest.peer_addr.set(Some(address.into()));
    stream.set_socket_digest(digest);
    Ok(Box::new(stream))
}
