//! A token endpoint of OAuth 2.0: records what it is asked, and hands out numbered tokens.

use std::collections::HashMap;
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
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::listed::{Callers, Witness};

/// What it was asked once.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// `Authorization`; empty when there was none.
    pub(crate) authorization: String,
    /// The fields of the form.
    pub(crate) form: HashMap<String, String>,
}

type Script = dyn Fn(usize) -> (u16, Value) + Send + Sync;

/// A running token endpoint; it ends when dropped.
pub(crate) struct TokenEndpoint {
    address: SocketAddr,
    asked: Arc<watch::Sender<Vec<Asked>>>,
    task: JoinHandle<()>,
    _witness: Witness,
}

impl TokenEndpoint {
    /// Answers the request with this number, from 1, with a status and JSON.
    pub(crate) async fn start(
        script: impl Fn(usize) -> (u16, Value) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(watch::Sender::new(Vec::new()));
        let witness = Witness::default();
        let task = tokio::spawn(accept(
            listener,
            Arc::new(script),
            Arc::clone(&asked),
            witness.callers(),
        ));
        Self {
            address,
            asked,
            task,
            _witness: witness,
        }
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/token", self.address)
    }

    /// All it was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.borrow().clone()
    }
}

impl Drop for TokenEndpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    script: Arc<Script>,
    asked: Arc<watch::Sender<Vec<Asked>>>,
    callers: Callers,
) {
    while let Ok((stream, peer)) = listener.accept().await {
        callers.saw(peer);
        let (script, asked) = (Arc::clone(&script), Arc::clone(&asked));
        tokio::spawn(async move {
            let answer = service_fn(move |request: Request<Incoming>| {
                let (script, asked) = (Arc::clone(&script), Arc::clone(&asked));
                async move { Ok::<_, Infallible>(answer(request, &*script, &asked).await) }
            });
            // The gateway closes when it likes.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    script: &Script,
    asked: &watch::Sender<Vec<Asked>>,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let text = |name: &str| {
        head.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    };
    let is_right = (head.method.as_str(), head.uri.path(), text("content-type"))
        == ("POST", "/token", "application/x-www-form-urlencoded");
    let body = body.collect().await.unwrap().to_bytes();
    let one = Asked {
        authorization: text("authorization").to_owned(),
        form: form_urlencoded::parse(&body).into_owned().collect(),
    };
    let mut number = 0;
    asked.send_modify(|all| {
        all.push(one);
        number = all.len();
    });
    let (status, json) = match is_right {
        true => script(number),
        false => (400, Value::Null),
    };
    let body = Full::new(Bytes::from(json.to_string()));
    Response::builder().status(status).body(body).unwrap()
}
