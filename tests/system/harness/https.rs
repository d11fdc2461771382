//! A server of documents over https, for names that the gateway is told to find here.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::authority::Authority;
use super::listed::{Callers, Witness};

type Asked = Arc<Mutex<Vec<String>>>;

/// Serves documents by host and path, for as long as it is held; 404 for others.
pub(crate) struct Https {
    address: SocketAddr,
    root: String,
    asked: Asked,
    task: JoinHandle<()>,
    _witness: Witness,
}

impl Https {
    /// A server with a certificate for these names, of an authority of its own.
    pub(crate) async fn start(names: &[&str], documents: HashMap<String, String>) -> Self {
        let authority = Authority::new();
        let acceptor = authority.identity(names).acceptor();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Asked::default();
        let witness = Witness::default();
        let task = tokio::spawn(serve(
            listener,
            acceptor,
            Arc::new(documents),
            Arc::clone(&asked),
            witness.callers(),
        ));
        Self {
            address,
            root: authority.root().to_owned(),
            asked,
            task,
            _witness: witness,
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Writes the root of its authority, and more certificates to be trusted, to a file.
    pub(crate) fn write_roots(&self, file: &Path, more: &str) {
        std::fs::write(file, format!("{}{more}", self.root)).unwrap();
    }

    /// The URLs asked for so far, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Https {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    documents: Arc<HashMap<String, String>>,
    asked: Asked,
    callers: Callers,
) {
    while let Ok((stream, peer)) = listener.accept().await {
        callers.saw(peer);
        let (acceptor, documents) = (acceptor.clone(), Arc::clone(&documents));
        let asked = Arc::clone(&asked);
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return; // who does not trust us goes away
            };
            let answer = service_fn(move |request: Request<Incoming>| {
                let (documents, asked) = (Arc::clone(&documents), Arc::clone(&asked));
                async move {
                    let host = request.headers()["host"].to_str().unwrap().to_owned();
                    let url = format!("https://{host}{}", request.uri());
                    let document = documents.get(&url).cloned();
                    asked.lock().unwrap().push(url);
                    let status = if document.is_some() { 200 } else { 404 };
                    let body = Full::new(Bytes::from(document.unwrap_or_default()));
                    let reply = Response::builder().status(status).body(body).unwrap();
                    Ok::<_, Infallible>(reply)
                }
            });
            // The gateway closes when it likes.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        });
    }
}
