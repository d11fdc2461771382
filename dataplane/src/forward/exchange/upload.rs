//! The request on its way to the destination.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::Trouble;
use crate::egress::Upstream;
use crate::forward::body::Left;
use crate::forward::client::Client;
use crate::forward::flow::Flow;
use crate::forward::scratch;

/// The request, as far as it is not sent.
pub(super) struct Upload {
    pub(super) flow: Flow,
    pub(super) left: Left,
    /// The destination takes nothing more: it may have answered already.
    pub(super) has_failed: bool,
    pub(super) is_done: bool,
}

impl Upload {
    /// Whether the destination took all of it.
    pub(super) fn is_sent(&self) -> bool {
        self.is_done && !self.has_failed
    }

    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
        upstream: &mut Upstream,
    ) -> Poll<Result<(), Trouble>> {
        loop {
            if self.is_done {
                return Poll::Ready(Ok(()));
            }
            if ready!(self.flow.poll_out(cx, upstream)).is_err() {
                // It may have answered, and closed, before it read all: the answer tells.
                (self.has_failed, self.is_done) = (true, true);
                continue;
            }
            if self.left.is_nothing() {
                // With TLS, what was taken may not be on its way yet.
                self.has_failed |= ready!(Pin::new(upstream).poll_flush(cx)).is_err();
                self.is_done = true;
                return Poll::Ready(Ok(()));
            }
            let max = match &self.left {
                Left::Bytes(left) => usize::try_from(*left).unwrap_or(usize::MAX),
                _ => usize::MAX,
            };
            let (flow, left) = (&mut self.flow, &mut self.left);
            let read = scratch::poll_with(client, cx, max, |bytes, cx| {
                if bytes.is_empty() {
                    return Err(Trouble::Client);
                }
                let part = left.take(bytes).map_err(|_| Trouble::Chunks)?;
                let passed = flow.pass(cx, upstream, part.passed);
                flow.push(part.end);
                let behind = bytes.get(part.taken..).unwrap_or_default();
                Ok((passed.is_err(), behind.to_vec()))
            });
            match read {
                Poll::Ready(Ok(Ok((has_failed, behind)))) => {
                    if has_failed {
                        (self.has_failed, self.is_done) = (true, true);
                    }
                    client.unread(&behind); // its next request
                }
                Poll::Ready(Ok(Err(trouble))) => return Poll::Ready(Err(trouble)),
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Trouble::Client)),
                Poll::Pending => {
                    let _ = Pin::new(upstream).poll_flush(cx); // an error shows at the next write
                    return Poll::Pending;
                }
            }
        }
    }
}
