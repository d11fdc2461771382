//! A request body on its way to the control plane: read from the client as fast as the control
//! plane takes it, and no faster.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use pingora::protocols::http::ServerSession;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::super::reply::Reply;
use super::super::request::{self, BODY_IDLE_TIMEOUT, Limits};
use super::{BODY_BYTES_MAX, HEAD_TIMEOUT, no_answer};

/// Parts between the two connections; a part is what came with one read, at most 64 KiB.
const PARTS_MAX: usize = 4;

enum Part {
    Chunk(Bytes),
    /// Said in so many words: a feed that is gone must not look like the end of the body.
    End,
}

/// The body as the client library sends it.
pub(super) struct Upload {
    /// `None` once it has ended.
    parts: Option<mpsc::Receiver<Part>>,
    declared: Option<u64>,
}

/// Where the body comes from.
pub(super) struct Feed {
    parts: mpsc::Sender<Part>,
}

/// The request ended before its body did. Ends the connection to the control plane, which would
/// take what it has for the whole otherwise.
#[derive(Debug, thiserror::Error)]
#[error("the client's request was given up before its end")]
pub(super) struct GivenUp;

impl Upload {
    /// No body.
    pub(super) fn empty() -> Self {
        Self {
            parts: None,
            declared: Some(0),
        }
    }

    /// A body that is still to come, and its other end.
    pub(super) fn channel(declared: Option<usize>) -> (Feed, Self) {
        let (sender, receiver) = mpsc::channel(PARTS_MAX);
        let upload = Self {
            parts: Some(receiver),
            declared: declared.and_then(|length| u64::try_from(length).ok()),
        };
        (Feed { parts: sender }, upload)
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = GivenUp;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, GivenUp>>> {
        let Some(parts) = &mut self.parts else {
            return Poll::Ready(None);
        };
        let Poll::Ready(part) = parts.poll_recv(cx) else {
            return Poll::Pending;
        };
        if let Some(Part::Chunk(chunk)) = part {
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        self.parts = None;
        Poll::Ready(part.is_none().then_some(Err(GivenUp)))
    }

    fn is_end_stream(&self) -> bool {
        self.parts.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.declared
            .map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

impl Feed {
    /// Reads the client's body and hands it on, to its end or until nobody wants more of it.
    /// May be dropped at any await: no chunk is held over one.
    pub(super) async fn pump(
        &mut self,
        http: &mut ServerSession,
        limits: &Limits,
    ) -> Result<(), Reply> {
        http.set_read_timeout(Some(BODY_IDLE_TIMEOUT));
        let pumped = timeout(limits.body_timeout, self.pump_all(http)).await;
        pumped.unwrap_or_else(|_| Err(request::body_too_slow(limits)))
    }

    async fn pump_all(&mut self, http: &mut ServerSession) -> Result<(), Reply> {
        let mut length = 0_usize;
        loop {
            // The place comes first: what was read always has one.
            let Ok(place) = timeout(HEAD_TIMEOUT, self.parts.reserve()).await else {
                return Err(no_answer());
            };
            let Ok(place) = place else {
                return Ok(()); // the exchange is over, one way or the other: its result says how
            };
            if http.is_body_done() {
                place.send(Part::End);
                return Ok(());
            }
            match http.read_request_body().await {
                Ok(Some(chunk)) if chunk.is_empty() => {} // part of a chunk's frame
                Ok(Some(chunk)) => {
                    length = length.saturating_add(chunk.len());
                    if length > BODY_BYTES_MAX {
                        return Err(Reply::too_large(BODY_BYTES_MAX));
                    }
                    place.send(Part::Chunk(chunk));
                }
                Ok(None) => {
                    place.send(Part::End);
                    return Ok(());
                }
                Err(error) => return Err(request::broken_body(&error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_feed_that_is_gone_is_not_the_end_of_the_body() {
        let (feed, upload) = Upload::channel(None);
        feed.parts.try_send(Part::Chunk("ab".into())).unwrap();
        drop(feed);
        assert!(upload.collect().await.is_err());
    }

    #[tokio::test]
    async fn a_body_ends_where_its_feed_says() {
        let (feed, upload) = Upload::channel(Some(2));
        assert_eq!(upload.size_hint().exact(), Some(2));
        feed.parts.try_send(Part::Chunk("ab".into())).unwrap();
        feed.parts.try_send(Part::End).unwrap();
        assert_eq!(upload.collect().await.unwrap().to_bytes(), "ab");
        assert!(Upload::empty().is_end_stream());
    }
}
