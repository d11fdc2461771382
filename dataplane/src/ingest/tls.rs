//! TLS on the public listener: the certificates, which of them a client is shown, and their
//! renewal while connections come in.
//!
//! Everything read from the files is one value, made as a whole and swapped as a whole. Files
//! that cannot be used leave the old value in force, and say so in the log and on `/certs`.

mod certificate;
mod names;
mod watch;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use outrider_config::bootstrap::{CertificateFiles, PublicTls, TlsVersion};
use outrider_store::Clock;
use outrider_webhook::client_certificate::{ClientRoots, RootsError};
use pingora::listeners::tls::Acceptor;
use pingora::protocols::l4::stream::Stream as TcpStream;
use pingora::protocols::{Ssl, Stream};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::version::{TLS12, TLS13};
use serde_json::{Value, json};

use self::certificate::{Loaded, load};
use self::names::{AnyClient, Names};
pub(super) use self::watch::watch;
use self::watch::{Stamp, stamps_of};

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file has no certificate.
    #[error("{} must be PEM with a certificate, and what leads to its root", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
    },
    /// A file has no key, or one of a kind that is not known.
    #[error("{} must be PEM with a private key: RSA, ECDSA or Ed25519", path.display())]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// A key of another certificate.
    #[error("the key in {} does not belong to the certificate in {}", key.display(), certificate.display())]
    NotAPair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The roots of client certificates cannot be used.
    #[error("{} {source}", path.display())]
    ClientCa {
        /// The file.
        path: PathBuf,
        /// Why.
        source: RootsError,
    },
    /// rustls refuses the settings.
    #[error("TLS settings: {0}")]
    Settings(#[from] rustls::Error),
}

/// What a client showed in its handshake.
#[derive(Debug)]
pub(super) struct ClientTls {
    /// Its certificates, its own first; empty when it showed none.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// The listener's roots, as they were then.
    pub(super) roots: Option<ClientRoots>,
}

/// How a handshake ended that gave no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unshaken {
    Failed,
    TimedOut,
}

/// The certificates of the public listener.
pub struct PublicCertificates {
    settings: PublicTls,
    clock: Arc<dyn Clock>,
    current: ArcSwap<InForce>,
    /// Why the files as they are now are not in force.
    trouble: Mutex<Option<String>>,
    /// How the files looked before they were first read.
    read_at: Vec<Stamp>,
}

/// One reading of the files.
struct InForce {
    acceptor: Acceptor,
    certificates: Vec<Loaded>,
    client_roots: Option<ClientRoots>,
    since_ms: i64,
}

impl PublicCertificates {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`] for the first file that cannot be used.
    pub fn load(settings: PublicTls, clock: Arc<dyn Clock>) -> Result<Self, TlsError> {
        let read_at = stamps_of(&settings);
        let current = InForce::read(&settings, clock.now_ms())?;
        Ok(Self {
            settings,
            clock,
            current: ArcSwap::from_pointee(current),
            trouble: Mutex::default(),
            read_at,
        })
    }

    /// Reads the files again, and puts what they hold in force for new connections.
    fn reload(&self) {
        let read = InForce::read(&self.settings, self.clock.now_ms());
        let trouble = match read {
            Ok(fresh) => {
                tracing::info!(
                    certificates = fresh.certificates.len(),
                    "certificates renewed"
                );
                self.current.store(Arc::new(fresh));
                None
            }
            Err(error) => {
                tracing::warn!(%error, "certificates not renewed, the old ones stay in force");
                Some(error.to_string())
            }
        };
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// The certificates in force, for operators.
    #[must_use]
    pub fn shown(&self) -> Value {
        let (current, now_ms) = (self.current.load(), self.clock.now_ms());
        let shown = |one: &Loaded| one.shown(now_ms / 1000);
        json!({
            "certificates": current.certificates.iter().map(shown).collect::<Vec<_>>(),
            "loaded_at_s": current.since_ms / 1000,
            "error": *self.trouble.lock().unwrap_or_else(PoisonError::into_inner),
        })
    }

    /// The address beside, where no TLS is spoken.
    #[must_use]
    pub fn plain_listen(&self) -> Option<SocketAddr> {
        self.settings.plain_listen
    }

    /// Speaks TLS on a connection.
    pub(super) async fn handshake(&self, stream: Stream) -> Result<(Stream, ClientTls), Unshaken> {
        let tcp = stream.into_any().downcast::<TcpStream>();
        let tcp = tcp.map_err(|_| Unshaken::Failed)?; // all of our listeners are TCP
        let current = self.current.load_full();
        let shaking = current.acceptor.tls_handshake(*tcp);
        match tokio::time::timeout(self.settings.handshake_timeout, shaking).await {
            Ok(Ok(stream)) => {
                let chain = stream.get_ssl().and_then(|tls| tls.peer_cert_chain_der());
                let client = ClientTls {
                    chain: chain.unwrap_or_default().to_vec(),
                    roots: current.client_roots.clone(),
                };
                Ok((Box::new(stream), client))
            }
            Ok(Err(error)) => {
                tracing::debug!(class = error.etype().as_str(), "TLS handshake failed");
                Err(Unshaken::Failed)
            }
            Err(_) => Err(Unshaken::TimedOut),
        }
    }
}

impl Unshaken {
    /// The metric's label.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
        }
    }
}

impl InForce {
    fn read(settings: &PublicTls, now_ms: i64) -> Result<Self, TlsError> {
        let client_roots = settings
            .client_ca
            .as_deref()
            .map(client_roots)
            .transpose()?;
        let pairs = settings.certificates.iter();
        let certificates: Vec<Loaded> = pairs
            .map(|CertificateFiles { certificate, key }| load(certificate, key))
            .collect::<Result<_, _>>()?;
        let versions = match settings.version_min {
            TlsVersion::Tls12 => &[&TLS13, &TLS12][..],
            TlsVersion::Tls13 => &[&TLS13],
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)?;
        let builder = if settings.asks_clients {
            builder.with_client_cert_verifier(Arc::new(AnyClient::new(provider)))
        } else {
            builder.with_no_client_auth()
        };
        let mut config = builder.with_cert_resolver(Arc::new(Names::of(&certificates)));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            acceptor: Acceptor::from_server_config(Arc::new(config)),
            certificates,
            client_roots,
            since_ms: now_ms,
        })
    }
}

fn client_roots(path: &Path) -> Result<ClientRoots, TlsError> {
    let pem = read(path)?;
    ClientRoots::from_pem(&pem).map_err(|source| TlsError::ClientCa {
        path: path.to_owned(),
        source,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })
}

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
