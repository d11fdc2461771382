//! New connections of deliveries: opened, TLS where asked, HTTP/1.1.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use outrider_webhook::retry::Failure;
use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::task::TaskTracker;

use super::draft::{Draft, Phase};
use super::fault::Fault;
use super::gate::Permit;
use super::heard::{Heard, LastWords};
use super::link::Link;
use super::open::{Opened, Opener, Until, Way};
use super::pool::{Alive, Broken, Connection, Key, Pool};
use super::tls::{Profile, Profiles};

/// Head of an answer: headers and bytes accepted (`egress` section 9).
const HEADERS_MAX: usize = 100;
/// Read and write buffer of one connection, at most.
const BUFFER_BYTES_MAX: usize = 128 * 1024;

/// How long an orderly close may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection to one of the addresses asked for.
pub(super) struct Dialled {
    pub(super) key: Key,
    pub(super) connection: Connection,
    /// It was open already and became idle while this attempt waited for room.
    pub(super) is_reused: bool,
}

impl Dialled {
    pub(super) fn reused(key: Key, connection: Connection, draft: &mut Draft) -> Self {
        draft.takes(&key, connection.opened);
        Self {
            key,
            connection,
            is_reused: true,
        }
    }
}

/// Opens connections and owns their tasks.
pub(super) struct Dialler {
    opener: Opener,
    profiles: Profiles,
    tasks: TaskTracker,
    http: Builder,
}

impl Dialler {
    pub(super) fn new(
        opener: Opener,
        profiles: Profiles,
        tasks: TaskTracker,
        head_bytes_max: usize,
    ) -> Self {
        let mut http = Builder::new();
        // Only when it differs from the default of hyper: a set number costs an allocation.
        const { assert!(HEADERS_MAX == 100) };
        http.max_header_size(head_bytes_max);
        http.max_buf_size(BUFFER_BYTES_MAX.max(head_bytes_max));
        Self {
            opener,
            profiles,
            tasks,
            http,
        }
    }

    /// What opens the connections.
    pub(super) fn opener(&self) -> &Opener {
        &self.opener
    }

    /// The roots that TLS trusts.
    pub(super) fn roots(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.profiles.roots)
    }

    /// Opens a connection to the first checked address that can be reached; gives back which one
    /// it was.
    pub(super) async fn dial(
        &self,
        keys: Vec<Key>,
        pool: &Pool<Connection>,
        until: Until,
        draft: &mut Draft,
    ) -> Result<Dialled, Fault> {
        let (key, way) = self.opener.first(keys, pool, until).await?;
        match way {
            Way::New(opened) => Ok(Dialled {
                connection: self.establish(&key, opened, until, draft).await?,
                key,
                is_reused: false,
            }),
            Way::Idle(connection) => Ok(Dialled::reused(key, connection, draft)),
        }
    }

    async fn establish(
        &self,
        key: &Key,
        opened: Opened,
        until: Until,
        draft: &mut Draft,
    ) -> Result<Connection, Fault> {
        let Opened {
            link,
            permit,
            local,
            remote,
        } = opened;
        draft.on(local, remote);
        draft.takes(key, Instant::now());
        let (sender, last_words, (alive, broken)) = match &key.tls {
            None => self.speak(link, permit).await?,
            Some(profile) => {
                draft.enter(Phase::Handshake);
                let stream = self.encrypt(key, profile, link, until).await?;
                self.speak(stream, permit).await?
            }
        };
        Ok(Connection {
            sender,
            _alive: alive,
            last_words,
            broken,
            opened: Instant::now(),
            local,
            remote,
        })
    }

    /// TLS on an open connection.
    pub(super) async fn encrypt(
        &self,
        key: &Key,
        profile: &Profile,
        link: Link,
        until: Until,
    ) -> Result<TlsStream<Link>, Fault> {
        // An address is checked against the addresses in the certificate, and sent in no SNI.
        let name = ServerName::try_from(key.server_name.to_string()).map_err(|_| {
            let detail = format!("no certificate can be for `{}`", key.server_name);
            Fault::new(Failure::TlsFailure, detail)
        })?;
        let config = self.profiles.config(key.project, profile);
        let config = config.map_err(|error| Fault::new(Failure::Internal, error.to_string()))?;
        let _timer = self.opener.metrics().shaking_hands();
        let started = Instant::now();
        let limit = until.encrypted.unwrap_or(started + self.opener.limits.tls);
        let connecting = TlsConnector::from(config).connect(name, link);
        match timeout_at(limit, connecting).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(Fault::handshake(&error)),
            Err(_) => Err(Fault::new(
                Failure::TlsFailure,
                format!("TLS handshake: not finished within {:?}", limit - started),
            )),
        }
    }

    async fn speak<S>(
        &self,
        stream: S,
        permit: Permit,
    ) -> Result<(SendRequest<Full<Bytes>>, LastWords, (Alive, Broken)), Fault>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (stream, last_words) = Heard::new(stream);
        let (sender, connection) = self
            .http
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Fault::http(&error, "HTTP set-up"))?;
        let (alive, dropped) = oneshot::channel();
        let (broke, broken) = oneshot::channel();
        self.tasks.spawn(async move {
            let _permit = permit; // until the socket is closed
            if let Some(fault) = drive(connection, dropped).await {
                let _ = broke.send(fault); // nobody may want to know
            }
        });
        Ok((sender, last_words, (alive, broken)))
    }
}

/// Runs a connection until it ends, and says why when it broke; not much longer than somebody holds its sending half: a
/// receiver that does not read would otherwise keep the socket and the request for ever.
async fn drive<C>(connection: C, dropped: oneshot::Receiver<Infallible>) -> Option<Fault>
where
    C: Future<Output = hyper::Result<()>>,
{
    tokio::pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = &mut connection => ended, // polled on below if not at its end
        _ = dropped => timeout(CLOSE_TIMEOUT, connection).await.unwrap_or(Ok(())),
    };
    // Whoever waits for an answer gets it as well; this one may have been idle.
    ended
        .inspect_err(|error| tracing::debug!(%error, "connection ended"))
        .err()
        .map(|error| Fault::http(&error, "the connection ended"))
}
