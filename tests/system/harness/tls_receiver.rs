//! A customer's server that speaks TLS and knows its callers by their certificates.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::authority::Authority;
use super::listed::{Callers, Witness};
use super::wait::DEADLINE;

/// Certificates of the callers of all requests, in order.
type Shown = watch::Sender<Vec<CertificateDer<'static>>>;

/// Answers 200 to callers with a certificate of an authority; it ends when dropped.
pub(crate) struct TlsReceiver {
    address: SocketAddr,
    shown: Arc<Shown>,
    task: JoinHandle<()>,
    _witness: Witness,
}

impl TlsReceiver {
    /// Has a certificate of `ours` for its address, and takes callers with one of `theirs`.
    pub(crate) async fn start(ours: &Authority, theirs: &Authority) -> Self {
        let identity = ours.identity(&["127.0.0.1"]);
        let leaf = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(theirs.root().as_bytes()).unwrap();
        roots.add(root).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(vec![leaf], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shown = Arc::new(watch::Sender::new(Vec::new()));
        let witness = Witness::default();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let task = tokio::spawn(accept(
            listener,
            acceptor,
            Arc::clone(&shown),
            witness.callers(),
        ));
        Self {
            address,
            shown,
            task,
            _witness: witness,
        }
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        format!("https://{}/hook", self.address)
    }

    /// Waits for this many requests; the certificates of their callers.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<CertificateDer<'static>> {
        let mut watch = self.shown.subscribe();
        let enough = watch.wait_for(|shown| shown.len() >= count);
        let shown = tokio::time::timeout(DEADLINE, enough).await;
        shown.expect("no request came").unwrap().clone()
    }
}

impl Drop for TlsReceiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, shown: Arc<Shown>, callers: Callers) {
    while let Ok((stream, peer)) = listener.accept().await {
        callers.saw(peer);
        let (acceptor, all) = (acceptor.clone(), Arc::clone(&shown));
        tokio::spawn(async move {
            let stream = match acceptor.accept(stream).into_fallible().await {
                Ok(stream) => stream,
                // One of us is a stranger to the other. What was sent already is read: closed upon
                // it, the system would send an RST, which can overtake the alert that says why.
                Err((_, refused)) => return until_closed(refused).await,
            };
            let chain = stream.get_ref().1.peer_certificates().unwrap();
            let caller = chain[0].clone().into_owned();
            let answer = service_fn(move |request: Request<Incoming>| {
                let (all, caller) = (Arc::clone(&all), caller.clone());
                async move {
                    request.into_body().collect().await.unwrap();
                    all.send_modify(|all| all.push(caller));
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
                }
            });
            // The gateway closes when it likes.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        });
    }
}

async fn until_closed(mut stream: TcpStream) {
    let mut sent = [0; 1024];
    while stream.read(&mut sent).await.is_ok_and(|count| count > 0) {}
}
