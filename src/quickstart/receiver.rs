//! The example's receiver: what a customer would run. Checks our signature with nothing but
//! HMAC, and fails the first attempt it ever sees of an invoice, so that a retry can be watched.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

/// Largest body the receiver reads, bytes.
const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;

/// One request as the receiver saw it.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) path: String,
    pub(super) event_id: String,
    pub(super) event_type: Option<String>,
    pub(super) body_bytes: usize,
    pub(super) is_signature_valid: bool,
    pub(super) answer: StatusCode,
}

/// What the receiver knows: path to secret.
pub(super) struct Receiver {
    pub(super) secrets: Vec<(&'static str, String)>,
    pub(super) has_failed_once: AtomicBool,
    pub(super) seen: mpsc::Sender<Seen>,
}

impl Receiver {
    /// Serves until dropped.
    pub(super) async fn serve(self, listener: TcpListener) {
        let (receiver, tasks) = (Arc::new(self), TaskTracker::new());
        while let Ok((stream, _)) = listener.accept().await {
            let receiver = Arc::clone(&receiver);
            tasks.spawn(async move {
                let service = service_fn(move |request| {
                    let receiver = Arc::clone(&receiver);
                    async move { Ok::<_, Infallible>(receiver.answer(request).await) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "receiver connection ended");
                }
            });
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let text = |name: &str| {
            head.headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned)
        };
        let path = head.uri.path().to_owned();
        let body = match Limited::new(body, BODY_BYTES_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) => return status(StatusCode::BAD_REQUEST),
        };
        let signature = text("x-convoy-signature").unwrap_or_default();
        let secret = self
            .secrets
            .iter()
            .find(|(known, _)| *known == path)
            .map(|(_, secret)| secret);
        let is_signature_valid = secret.is_some_and(|secret| is_valid(secret, &signature, &body));
        let answer = match (is_signature_valid, path.as_str()) {
            (false, _) => StatusCode::UNAUTHORIZED,
            (true, "/customer") if !self.has_failed_once.swap(true, Ordering::Relaxed) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            (true, _) => StatusCode::OK,
        };
        let seen = Seen {
            path,
            event_id: text("webhook-id").unwrap_or_default(),
            event_type: text("x-github-event"),
            body_bytes: body.len(),
            is_signature_valid,
            answer,
        };
        // The story may be over already; the answer to the sender does not depend on it.
        let _ = self.seen.send(seen).await;
        status(answer)
    }
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = status;
    response
}

/// `t=<unix>,v1=<hex>`: HMAC-SHA256 of time, comma, body. Any of several `v1` may match.
fn is_valid(secret: &str, signature: &str, body: &[u8]) -> bool {
    let pairs = || signature.split(',').filter_map(|pair| pair.split_once('='));
    let Some((_, time)) = pairs().find(|(name, _)| *name == "t") else {
        return false;
    };
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        return false;
    };
    mac.update(time.as_bytes());
    mac.update(b",");
    mac.update(body);
    pairs()
        .filter(|(name, _)| *name == "v1")
        .filter_map(|(_, value)| hex::decode(value).ok())
        .any(|value| mac.clone().verify_slice(&value).is_ok())
}

#[cfg(test)]
mod tests {
    use super::is_valid;

    /// The worked example of Convoy's wire contract, section 6.
    const SIGNATURE: &str =
        "t=1767225600,v1=0d88a20d0b9cf6e9f6a1444764490463e04b40ad68768818800f78142086ac6b";
    const BODY: &str =
        r#"{"amount":1250,"currency":"NGN","customer":{"id":"cus_01","tags":["vip","ng"]}}"#;

    #[test]
    fn a_changed_body_secret_or_time_is_refused() {
        assert!(!is_valid("whsec_outrider_demo_1", SIGNATURE, b"{}"));
        assert!(!is_valid(
            "whsec_outrider_demo_2",
            SIGNATURE,
            BODY.as_bytes()
        ));
        assert!(!is_valid(
            "whsec_outrider_demo_1",
            &SIGNATURE.replace("600", "601"),
            BODY.as_bytes()
        ));
        assert!(!is_valid("whsec_outrider_demo_1", "", BODY.as_bytes()));
    }

    #[test]
    fn the_published_example_is_valid() {
        assert!(is_valid(
            "whsec_outrider_demo_1",
            SIGNATURE,
            BODY.as_bytes()
        ));
    }
}
