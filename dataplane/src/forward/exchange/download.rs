//! The answer on its way to the client.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use outrider_webhook::http1::AnswerHead;
use outrider_webhook::retry::Failure;
use tokio::io::AsyncWrite;
use tokio::time::Instant;

use super::Trouble;
use crate::egress::Upstream;
use crate::forward::body::Left;
use crate::forward::client::Client;
use crate::forward::flow::Flow;
use crate::forward::scratch;

/// The answer, as far as it is not passed on.
pub(super) struct Download {
    pub(super) flow: Flow,
    /// Of the head, until it is whole.
    pub(super) head: Vec<u8>,
    /// When its first byte came.
    pub(super) heard: Option<Instant>,
    pub(super) answer: Option<AnswerHead>,
    /// Interim answers before it.
    pub(super) interim: usize,
    pub(super) left: Left,
    pub(super) closes: bool,
    /// It ends with the destination's connection, and for the client with a last chunk.
    pub(super) is_wrapped: bool,
    /// There was more than the answer.
    pub(super) has_more: bool,
}

impl Download {
    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
        upstream: &mut Upstream,
    ) -> Poll<Result<(), Trouble>> {
        const BROKEN: Trouble = Trouble::Upstream(
            Failure::ProtocolError,
            "the chunks of the answer are malformed",
        );
        if !self.head.is_empty() {
            // What came with the head.
            let with_head = std::mem::take(&mut self.head);
            let part = self.left.take(&with_head).map_err(|_| BROKEN)?;
            self.has_more |= part.taken < with_head.len();
            if self.is_wrapped {
                self.flow.push_chunk(part.passed);
            } else {
                self.flow.push(part.passed);
                self.flow.push(part.end);
            }
        }
        let is_wrapped = self.is_wrapped;
        loop {
            if ready!(self.flow.poll_out(cx, client)).is_err() {
                return Poll::Ready(Err(Trouble::Client));
            }
            if self.left.is_nothing() {
                return Pin::new(client).poll_flush(cx).map_err(|_| Trouble::Client);
            }
            let (flow, left, has_more) = (&mut self.flow, &mut self.left, &mut self.has_more);
            let read = scratch::poll_with(upstream, cx, usize::MAX, |bytes, cx| {
                let part = left.take(bytes).map_err(|_| BROKEN)?;
                *has_more |= part.taken < bytes.len();
                if is_wrapped {
                    flow.push_chunk(part.passed);
                    return Ok(bytes.is_empty());
                }
                let passed = flow.pass(cx, client, part.passed);
                passed.map_err(|_| Trouble::Client)?;
                flow.push(part.end);
                Ok(bytes.is_empty())
            });
            match read {
                Poll::Ready(Ok(Ok(false))) => {}
                Poll::Ready(Ok(Ok(true))) if matches!(self.left, Left::UntilClose) => {
                    self.left = Left::Nothing;
                    if is_wrapped {
                        self.flow.push(b"0\r\n\r\n");
                    }
                }
                Poll::Ready(Ok(Err(trouble))) => return Poll::Ready(Err(trouble)),
                Poll::Ready(Ok(Ok(true)) | Err(_)) => {
                    return Poll::Ready(Err(Trouble::Upstream(
                        Failure::ConnectReset,
                        "the answer broke off",
                    )));
                }
                Poll::Pending => {
                    let _ = Pin::new(client).poll_flush(cx); // an error shows at the next write
                    return Poll::Pending;
                }
            }
        }
    }
}
