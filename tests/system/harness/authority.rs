//! Certificates for tests, and clients that speak TLS.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::wait::DEADLINE;

/// A certificate authority.
pub(crate) struct Authority {
    root: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Identity {
    /// For a server that shows it, and asks its clients for none.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::new(self.server_config(&[])))
    }

    /// The same as a configuration, with these protocols.
    pub(crate) fn server_config(&self, protocols: &[&str]) -> ServerConfig {
        let leaf = CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf], key)
            .unwrap();
        let bytes = |protocol: &&str| protocol.as_bytes().to_vec();
        config.alpn_protocols = protocols.iter().map(bytes).collect();
        config
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // Clients that trust two of them look for the one of a certificate by its name.
        let name = format!("authority {}", MADE.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { root, issuer }
    }

    /// Its own certificate, as PEM.
    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    /// A certificate for these DNS names, the first of which is its subject's as well.
    pub(crate) fn identity(&self, names: &[&str]) -> Identity {
        let key = KeyPair::generate().unwrap();
        let owned: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(owned).unwrap();
        params.distinguished_name.push(DnType::CommonName, names[0]);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Identity {
    /// Writes both files; the setting that names them.
    pub(crate) fn write(&self, dir: &Path, name: &str) -> String {
        let path = |ending: &str| dir.join(format!("{name}.{ending}"));
        let (certificate, key): (PathBuf, PathBuf) = (path("pem"), path("key"));
        fs::write(&certificate, &self.certificate).unwrap();
        fs::write(&key, &self.key).unwrap();
        format!(
            "{{certificate: {}, key: {}}}",
            certificate.display(),
            key.display()
        )
    }
}

/// A client that speaks TLS.
pub(crate) struct TlsClient {
    config: ClientConfig,
}

impl TlsClient {
    /// Trusts the authority, and shows an identity if it has one.
    pub(crate) fn new(trusted: &Authority, shown: Option<&Identity>) -> Self {
        Self::of_versions(trusted, shown, rustls::ALL_VERSIONS)
    }

    /// Speaks these versions only.
    pub(crate) fn of_versions(
        trusted: &Authority,
        shown: Option<&Identity>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(trusted.root.as_bytes()).unwrap();
        roots.add(root).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let config = match shown {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = CertificateDer::from_pem_slice(identity.certificate.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
                let chain = vec![chain.unwrap()];
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        Self { config }
    }

    /// Offers these protocols.
    pub(crate) fn offering(mut self, protocols: &[&str]) -> Self {
        let bytes = |protocol: &&str| protocol.as_bytes().to_vec();
        self.config.alpn_protocols = protocols.iter().map(bytes).collect();
        self
    }

    /// What a connector of the test's own needs.
    pub(crate) fn config(self) -> ClientConfig {
        self.config
    }

    /// Connects by a name, sends a request that ends its connection, and reads the answer.
    pub(crate) async fn ask(
        &self,
        address: SocketAddr,
        name: &str,
        request: &str,
    ) -> Result<String, String> {
        let exchange = async {
            let tcp = TcpStream::connect(address).await?;
            let connector = TlsConnector::from(Arc::new(self.config.clone()));
            let name = ServerName::try_from(name.to_owned()).unwrap();
            let mut stream = connector.connect(name, tcp).await?;
            stream.write_all(request.as_bytes()).await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).into_owned())
        };
        let answer = timeout(DEADLINE, exchange).await.expect("no answer");
        answer.map_err(|error| error.to_string())
    }
}
