//! Encrypted destinations, with certificates of a private root.

use std::sync::Arc;

use outrider_webhook::client_tls::{self, ClientIdentity, ClientTls};
use outrider_webhook::retry::{Failure, Outcome};
use outrider_webhook::secret::Secret;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;

use super::support::*;
use crate::egress::{Egress, EgressError, Exchange};

const NAME: &str = "hooks.example.com";

struct Authority {
    root: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().der().clone();
        let issuer = Issuer::new(params, key);
        Self { root, issuer }
    }

    fn certificate(&self, name: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        (certificate.der().clone(), key)
    }

    fn root_pem(&self) -> String {
        pem("CERTIFICATE", &self.root)
    }

    /// Settings of an endpoint: our certificate from `shown`, this authority as its only root.
    fn own(&self, shown: Option<&Self>) -> Arc<ClientTls> {
        let identity = shown.map(|issuer| {
            let (certificate, key) = issuer.certificate("client.example.com");
            let key = Secret::new(pem("PRIVATE KEY", key.secret_der()));
            ClientIdentity::new(vec![certificate], &key).unwrap()
        });
        let roots = client_tls::roots(&self.root_pem()).unwrap();
        Arc::new(ClientTls::new(Some(roots), identity).unwrap().unwrap())
    }

    fn server(
        &self,
        name: &str,
        versions: &[&'static rustls::SupportedProtocolVersion],
        wants_client_certificate: bool,
    ) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .unwrap();
        let (certificate, key) = self.certificate(name);
        let builder = if wants_client_certificate {
            let mut roots = RootCertStore::empty();
            roots.add(self.root.clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        builder.with_single_cert(vec![certificate], key).unwrap()
    }
}

/// A TLS receiver that also tells which SNI it saw, in a header.
async fn encrypted(config: ServerConfig) -> Receiver {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Receiver::start(move |_, stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            let sni = stream
                .get_ref()
                .1
                .server_name()
                .unwrap_or("none")
                .to_owned();
            let answer = format!("HTTP/1.1 200 OK\r\nx-sni: {sni}\r\ncontent-length: 0\r\n\r\n");
            while read_request(&mut stream).await.is_some() {
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

fn trusting(authority: &Authority, receiver: &Receiver) -> Egress {
    let mut settings = settings();
    settings.extra_roots = vec![authority.root.clone()];
    settings.resolve_overrides = vec![(NAME.to_owned(), receiver.address)];
    Egress::new(settings).unwrap()
}

fn assert_tls_failure(exchange: &Exchange) {
    assert_eq!(
        exchange.outcome,
        Outcome::Failed(Failure::TlsFailure),
        "{exchange:?}"
    );
}

async fn send_to_name(egress: &Egress) -> Exchange {
    send(egress, &format!("https://{NAME}/hook")).await
}

#[test]
fn an_extra_root_that_is_no_certificate_is_refused_at_start() {
    let mut settings = settings();
    settings.extra_roots = vec![CertificateDer::from(vec![1, 2, 3])];
    let refused = Egress::new(settings).err();
    assert!(matches!(refused, Some(EgressError::Root { index: 0, .. })));
}

#[tokio::test]
async fn an_untrusted_root_is_refused() {
    let authority = Authority::new();
    let receiver = encrypted(authority.server(NAME, rustls::ALL_VERSIONS, false)).await;
    let egress = trusting(&Authority::new(), &receiver);
    let exchange = send_to_name(&egress).await;
    assert_tls_failure(&exchange);
    assert!(exchange.detail.unwrap().contains("certificate"));
    until("the connection is closed", || egress.stats().open == 0).await;
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let authority = Authority::new();
    let other = authority.server("other.example.com", rustls::ALL_VERSIONS, false);
    let receiver = encrypted(other).await;
    let exchange = send_to_name(&trusting(&authority, &receiver)).await;
    assert_tls_failure(&exchange);
}

#[tokio::test]
async fn a_receiver_that_speaks_no_tls_is_a_tls_failure() {
    let receiver = Receiver::start(|_, mut stream| async move {
        // A plain receiver that takes the client hello for a bad request.
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        until_closed(&mut stream).await;
    })
    .await;
    let exchange = send_to_name(&trusting(&Authority::new(), &receiver)).await;
    assert_tls_failure(&exchange);
}

#[tokio::test]
async fn a_handshake_that_stalls_ends_at_its_limit_or_the_attempts() {
    let receiver =
        Receiver::start(|_, mut stream| async move { until_closed(&mut stream).await }).await;
    let mut settings = settings();
    settings.tls_timeout = SHORT;
    let url = format!("https://{}/", receiver.address);
    let egress = Egress::new(settings).unwrap();
    assert_tls_failure(&send(&egress, &url).await);
    let exchange = egress
        .send(&project(1), request(&url), Terms::new(SHORT / 2, EXCERPT))
        .await;
    assert_tls_failure(&exchange);
    assert!(exchange.timing.tls_us > 0);
    until("the connections are closed", || egress.stats().open == 0).await;
}

#[tokio::test]
async fn a_receiver_that_wants_a_client_certificate_is_a_tls_failure() {
    let authority = Authority::new();
    for version in rustls::ALL_VERSIONS {
        let receiver = encrypted(authority.server(NAME, &[version], true)).await;
        let exchange = send_to_name(&trusting(&authority, &receiver)).await;
        assert_tls_failure(&exchange);
    }
}

#[tokio::test]
async fn both_versions_are_spoken_and_the_name_is_sent() {
    let authority = Authority::new();
    for version in rustls::ALL_VERSIONS {
        let receiver = encrypted(authority.server(NAME, &[version], false)).await;
        let egress = trusting(&authority, &receiver);
        let first = send_to_name(&egress).await;
        assert_eq!(
            first.outcome,
            Outcome::Answered { status: 200 },
            "{first:?}"
        );
        assert_eq!(first.response_headers["x-sni"], NAME);
        assert!(first.timing.tls_us > 0);
        let second = send_to_name(&egress).await;
        assert!(second.timing.is_reused);
        assert_eq!((second.timing.tls_us, receiver.accepted()), (0, 1));
    }
}

#[tokio::test]
async fn an_address_is_checked_against_the_certificate_and_sent_in_no_sni() {
    let authority = Authority::new();
    let receiver = encrypted(authority.server("127.0.0.1", rustls::ALL_VERSIONS, false)).await;
    let egress = trusting(&authority, &receiver);
    let exchange = send(&egress, &format!("https://{}/", receiver.address)).await;
    assert_eq!(
        exchange.outcome,
        Outcome::Answered { status: 200 },
        "{exchange:?}"
    );
    assert_eq!(exchange.response_headers["x-sni"], "none");
    // The same certificate says nothing about the name.
    assert_tls_failure(&send_to_name(&egress).await);
}

fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

async fn send_with(egress: &Egress, own: &Arc<ClientTls>) -> Exchange {
    let mut terms = Terms::new(LONG, EXCERPT);
    terms.tls = Some(Arc::clone(own));
    let url = format!("https://{NAME}/hook");
    egress.send(&project(1), request(&url), terms).await
}

const ANSWERED: Outcome = Outcome::Answered { status: 200 };

#[tokio::test]
async fn roots_of_an_endpoint_are_the_only_ones_it_trusts() {
    let (authority, other) = (Authority::new(), Authority::new());
    let receiver = encrypted(authority.server(NAME, rustls::ALL_VERSIONS, false)).await;
    let egress = trusting(&authority, &receiver);
    // Open and idle, and of no use to one that trusts another root.
    assert_eq!(send_to_name(&egress).await.outcome, ANSWERED);
    assert_tls_failure(&send_with(&egress, &other.own(None)).await);
    // And what only the endpoint trusts nobody else gets to.
    let receiver = encrypted(authority.server(NAME, rustls::ALL_VERSIONS, false)).await;
    let egress = trusting(&other, &receiver);
    let own = authority.own(None);
    assert_eq!(send_with(&egress, &own).await.outcome, ANSWERED);
    assert_tls_failure(&send_to_name(&egress).await);
}

#[tokio::test]
async fn a_client_certificate_is_shown_and_its_connection_is_nobody_elses() {
    let (authority, other) = (Authority::new(), Authority::new());
    for version in rustls::ALL_VERSIONS {
        let receiver = encrypted(authority.server(NAME, &[version], true)).await;
        let egress = trusting(&authority, &receiver);
        let ours = authority.own(Some(&authority));
        let first = send_with(&egress, &ours).await;
        assert_eq!(first.outcome, ANSWERED, "{first:?}");
        let second = send_with(&egress, &ours).await;
        assert!(second.timing.is_reused, "{second:?}");
        for stranger in [authority.own(Some(&other)), authority.own(None)] {
            let exchange = send_with(&egress, &stranger).await;
            assert_tls_failure(&exchange);
            assert!(!exchange.timing.is_reused);
        }
        assert_tls_failure(&send_to_name(&egress).await);
        // Another certificate that is as good has a connection of its own.
        let another = send_with(&egress, &authority.own(Some(&authority))).await;
        assert_eq!(
            (another.outcome, another.timing.is_reused),
            (ANSWERED, false)
        );
    }
}

#[tokio::test]
async fn a_limit_of_an_endpoint_until_there_is_a_connection_includes_tls() {
    let receiver =
        Receiver::start(|_, mut stream| async move { until_closed(&mut stream).await }).await;
    let mut settings = settings();
    settings.tls_timeout = LONG * 2;
    let egress = Egress::new(settings).unwrap();
    let mut terms = Terms::new(LONG, EXCERPT);
    terms.connect_timeout = Some(SHORT);
    let url = format!("https://{}/", receiver.address);
    let exchange = egress.send(&project(1), request(&url), terms).await;
    assert_tls_failure(&exchange);
    assert!(
        exchange
            .detail
            .unwrap()
            .starts_with("TLS handshake: not finished")
    );
}
