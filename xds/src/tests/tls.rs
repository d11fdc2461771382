//! Mutual TLS over TCP, with certificates of private roots.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::fake::{DataPlane, Journal, endpoints, soon};
use crate::{ClientSettings, ServeError, Server, Tls, channel, serve_tcp};

struct Authority {
    root: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { root, issuer }
    }

    /// A certificate of this authority for `name`, beside trust in `other`.
    fn side(&self, name: &str, other: &Self) -> Tls {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        let key = key.serialize_pem();
        Tls::from_pem(
            other.root.as_bytes(),
            certificate.as_bytes(),
            key.as_bytes(),
        )
    }
}

struct Served {
    journal: Arc<Journal>,
    port: u16,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), ServeError>>,
}

async fn serve(tls: Tls) -> Served {
    let journal = Journal::new(endpoints(3));
    // Not loopback by its address, which TLS allows.
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let shutdown = CancellationToken::new();
    let server = Server::new(journal.clone());
    let task = tokio::spawn(serve_tcp(server, listener, Some(tls), shutdown.clone()));
    Served {
        journal,
        port,
        shutdown,
        task,
    }
}

impl Served {
    fn client(&self, scheme: &str, tls: Option<&Tls>) -> DataPlane {
        let uri = format!("{scheme}://localhost:{}", self.port);
        let channel = channel(&uri, tls).unwrap();
        DataPlane::start_with(&channel, Arc::default(), ClientSettings::default())
    }

    async fn stop(self) {
        self.shutdown.cancel();
        soon(self.task).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn each_side_must_know_the_root_of_the_other() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let served = serve(ours.side("localhost", &ours)).await;
    let cases = [
        ("no TLS", "http", None),
        (
            "a certificate of another root",
            "https",
            Some(theirs.side("node", &ours)),
        ),
        (
            "another root trusted",
            "https",
            Some(ours.side("node", &theirs)),
        ),
    ];
    for (what, scheme, tls) in &cases {
        let mut data = served.client(scheme, tls.as_ref());
        let status = data.until(|status| status.last_error.is_some()).await;
        assert!(!status.is_synced && status.version.is_none(), "{what}");
        data.stop().await;
    }
    let good = ours.side("node", &ours);
    let mut data = served.client("https", Some(&good));
    data.reaches(served.journal.version()).await;
    data.stop().await;
    served.stop().await;
}

#[tokio::test]
async fn a_server_of_another_name_is_not_believed() {
    let ours = Authority::new();
    let served = serve(ours.side("elsewhere.example.com", &ours)).await;
    let tls = ours.side("node", &ours);
    let mut data = served.client("https", Some(&tls));
    let status = data.until(|status| status.last_error.is_some()).await;
    let error = status.last_error.unwrap();
    assert!(error.contains("localhost"), "{error}");
    data.stop().await;
    served.stop().await;
}

#[tokio::test]
async fn files_that_are_no_certificates_are_refused_at_the_start() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server::new(Journal::new(endpoints(1)));
    let bad = || Tls::from_pem(b"x", b"y", b"z");
    let served = serve_tcp(server, listener, Some(bad()), CancellationToken::new());
    assert_eq!(soon(served).await.unwrap_err().code(), "xds_transport");
    assert!(channel("https://localhost:1", Some(&bad())).is_err());
}
