//! The administration listener: Envoy's vocabulary, loopback by default.
//!
//! Not a Pingora service, so that it survives a drain to its very end (RULINGS 19). Shows state,
//! never secrets; nothing here changes anything.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use outrider_webhook::id::SourceId;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ingest::PublicCertificates;
use crate::stats::Figures;

/// Connections served at once; operators and probes need few.
const CONNECTIONS_MAX: usize = 64;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// One request and its answer; a client that does not read must not keep its slot.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// Where the process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The log is being recovered.
    PreInitializing,
    /// Waits for its first configuration.
    Initializing,
    /// Serves.
    Live,
    /// Finishes what it has, takes nothing new.
    Draining,
}

impl State {
    /// The word `/ready` answers with.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PreInitializing => "PRE_INITIALIZING",
            Self::Initializing => "INITIALIZING",
            Self::Live => "LIVE",
            Self::Draining => "DRAINING",
        }
    }
}

/// What the listener shows. [`Figures`] come once recovery is through.
#[derive(Clone)]
pub struct View {
    /// State of the process.
    pub state: watch::Receiver<State>,
    /// Everything with figures; `None` until the data plane is assembled.
    pub stats: watch::Receiver<Option<Arc<dyn Figures>>>,
    /// When the process started.
    pub started: Instant,
    /// The certificates of the public listener, where it speaks TLS.
    pub certificates: Option<Arc<PublicCertificates>>,
}

const PATHS: &str = "/ready\n/livez\n/server_info\n/config_dump\n/certs\n/stats/prometheus (alias /metrics)\n\
     /rejected?source=<uid>\n/alerts\n";

/// Serves until `stop` fires, then ends its connections.
pub async fn serve(listener: TcpListener, view: View, stop: CancellationToken) {
    let (tasks, permits) = (
        TaskTracker::new(),
        Arc::new(Semaphore::new(CONNECTIONS_MAX)),
    );
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            break;
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted, // cancel-safe
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "admin listener: accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await; // out of descriptors: not a busy loop
                continue;
            }
        };
        let (view, stop) = (view.clone(), stop.clone());
        tasks.spawn(async move {
            let _permit = permit;
            let service = service_fn(move |request: Request<Incoming>| {
                let view = view.clone();
                async move { Ok::<_, Infallible>(answer(&view, &request)) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .keep_alive(false) // few slots: nobody keeps one without need
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(CONNECTION_TIMEOUT) => {
                    tracing::debug!("admin connection took too long");
                }
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%error, "admin connection ended");
                },
            }
        });
    }
    tasks.close();
    tasks.wait().await;
}

/// Binds the listener.
///
/// # Errors
/// What the system said, when the address cannot be had.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

fn answer(view: &View, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n");
        reply
            .headers_mut()
            .insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
        return reply;
    }
    let state = *view.state.borrow();
    match request.uri().path() {
        "/" | "/help" => text(StatusCode::OK, PATHS),
        "/ready" if state == State::Live => text(StatusCode::OK, "LIVE\n"),
        "/ready" => text(
            StatusCode::SERVICE_UNAVAILABLE,
            &format!("{}\n", state.as_str()),
        ),
        "/livez" => text(StatusCode::OK, "alive\n"),
        "/server_info" => json(&server_info(view, state)),
        "/certs" => json(&certificates(view)),
        "/config_dump" => with_stats(view, |stats| json(&stats.config_dump())),
        "/rejected" => match source_asked(request.uri().query().unwrap_or_default()) {
            Some(source) => with_stats(view, |stats| json(&stats.rejected(source))),
            None => text(
                StatusCode::BAD_REQUEST,
                "`source` must be the uid of a source\n",
            ),
        },
        "/alerts" => with_stats(view, |stats| json(&stats.alerts())),
        "/stats/prometheus" | "/metrics" => with_stats(view, prometheus_text),
        _ => text(StatusCode::NOT_FOUND, "no such path; / lists them\n"),
    }
}

fn source_asked(query: &str) -> Option<SourceId> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let (_, uid) = pairs.find(|(name, _)| *name == "source")?;
    uid.parse().ok()
}

fn with_stats(
    view: &View,
    show: impl Fn(&dyn Figures) -> Response<Full<Bytes>>,
) -> Response<Full<Bytes>> {
    match view.stats.borrow().as_ref() {
        Some(stats) => show(&**stats),
        None => text(StatusCode::SERVICE_UNAVAILABLE, "not initialised yet\n"),
    }
}

fn prometheus_text(stats: &dyn Figures) -> Response<Full<Bytes>> {
    match stats.prometheus() {
        Ok(body) => reply(
            StatusCode::OK,
            "text/plain; version=0.0.4; charset=utf-8",
            body.into(),
        ),
        Err(error) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            &format!("metrics cannot be written: {error}\n"),
        ),
    }
}

fn server_info(view: &View, state: State) -> serde_json::Value {
    let revision = view
        .stats
        .borrow()
        .as_ref()
        .and_then(|stats| stats.revision());
    serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "state": state.as_str(),
        "uptime_seconds": view.started.elapsed().as_secs(),
        "config_revision": revision,
    })
}

fn certificates(view: &View) -> serde_json::Value {
    match &view.certificates {
        Some(certificates) => certificates.shown(),
        None => serde_json::json!({"certificates": []}),
    }
}

fn json(value: &serde_json::Value) -> Response<Full<Bytes>> {
    let body = serde_json::to_vec_pretty(value).unwrap_or_default();
    reply(StatusCode::OK, "application/json", body.into())
}

fn text(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    reply(
        status,
        "text/plain; charset=utf-8",
        Bytes::copy_from_slice(body.as_bytes()),
    )
}

fn reply(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static(content_type),
    );
    reply
}
