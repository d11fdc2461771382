//! Reading on when nobody wants the rest of a body. A connection that is closed while its client still sends breaks
//! under the client's hands, and the answer with it: so what is left of a body is read and
//! thrown away, within bounds, before the reply.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

/// Bytes read and thrown away. The public listener passes no larger body on.
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long that may take.
const TIME_MAX: Duration = Duration::from_secs(5);

/// What is left of the body of a request that somebody else handles.
pub(super) struct Rest {
    body: Shared,
    /// The client waits to be asked for its body, and need not be.
    is_unasked: bool,
}

/// Lends the body of a request to its handler.
pub(super) fn lend(request: Request) -> (Request, Rest) {
    let is_unasked = request.headers().contains_key(header::EXPECT);
    let (parts, body) = request.into_parts();
    let body = Shared(Arc::new(Mutex::new(body)));
    let lent = Request::from_parts(parts, Body::new(body.clone()));
    (lent, Rest { body, is_unasked })
}

impl Rest {
    /// Reads on to the end, when the handler did not.
    pub(super) async fn discard(mut self) {
        if self.is_unasked || self.body.is_end_stream() {
            return;
        }
        let read_on = async {
            let mut seen = 0;
            while let Some(Ok(frame)) = self.body.frame().await {
                seen += frame.data_ref().map_or(0, Bytes::len);
                if seen > BYTES_MAX {
                    break;
                }
            }
        };
        // Running out of time is the expected end for a client that never stops.
        let _ = tokio::time::timeout(TIME_MAX, read_on).await;
    }
}

/// A body that two hold: first the handler reads, then what is left is discarded.
#[derive(Clone)]
struct Shared(Arc<Mutex<Body>>);

impl Shared {
    fn body(&self) -> MutexGuard<'_, Body> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpBody for Shared {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut *self.body()).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body().size_hint()
    }
}
