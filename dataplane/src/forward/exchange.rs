//! A request to its destination and the answer back, both passed on as they come.

mod download;
mod upload;

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use outrider_webhook::http1::{AnswerFraming, AnswerHead, AnswerLimits, Framing, answer_head};
use outrider_webhook::retry::Failure;
use tokio::time::{Instant, timeout, timeout_at};

use self::download::Download;
use self::upload::Upload;
use super::body::Left;
use super::client::Client;
use super::flow::Flow;
use super::head;
use super::scratch;
use crate::egress::Upstream;

/// What a destination's head may have (`egress` section 9).
const LIMITS: AnswerLimits = AnswerLimits {
    bytes_max: 64 * 1024,
    headers_max: 100,
};

/// For an interim answer to go out, before it is told that no other one comes.
const INTERIM_TIMEOUT: Duration = Duration::from_secs(5);

/// Interim answers to one request. Nobody is known to send more than two.
const INTERIM_MAX: usize = 16;

/// A request on its way.
pub(super) struct Outgoing<'a> {
    /// Its head, as the destination gets it.
    pub(super) head: Vec<u8>,
    pub(super) framing: Framing,
    /// A HEAD: its answer has no body.
    pub(super) is_head: bool,
    /// The client speaks HTTP/1.0.
    pub(super) is_old: bool,
    /// The client's connection ends with this answer.
    pub(super) closes: bool,
    /// Lines of ours in the answer's head.
    pub(super) own: &'a str,
    /// From now to the head of the answer, and to its end.
    pub(super) limits: [Duration; 2],
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Done {
    /// The client has the whole answer.
    Answered(Answered),
    /// The client has nothing yet: it is told so.
    Failed(Failure, &'static str),
    /// The client's chunks have no reading, and it has nothing yet.
    Malformed,
    /// Nothing of the request was taken: the connection had ended before.
    Stale(Vec<u8>),
    /// The answer broke off: the client sees its connection end.
    Broken {
        /// For the log: a closed list.
        end: &'static str,
        status: u16,
        /// To this client the end of the connection would be that of the answer.
        looks_whole: bool,
    },
}

/// A whole answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) up: u64,
    pub(super) down: u64,
    /// Both requests and answers were read to their ends.
    pub(super) is_client_reusable: bool,
    pub(super) is_upstream_reusable: bool,
}

/// How an exchange can go wrong.
enum Trouble {
    /// The client.
    Client,
    /// The chunks of the client.
    Chunks,
    /// The destination.
    Upstream(Failure, &'static str),
}

/// What came of a request, and when.
pub(super) struct Exchanged {
    pub(super) done: Done,
    /// From its begin to the first byte of an answer.
    pub(super) first_byte: Option<Duration>,
}

/// Sends the request and passes the answer on.
pub(super) async fn exchange(
    client: &mut Client,
    upstream: &mut Upstream,
    outgoing: Outgoing<'_>,
) -> Exchanged {
    let begun = Instant::now();
    let [to_head, to_end] = outgoing.limits.map(|limit| begun + limit);
    let kept = upstream.is_reused.then(|| outgoing.head.clone());
    let mut left = Left::from(outgoing.framing);
    let mut first = outgoing.head;
    // The part of the body that came with the head goes out with it.
    let Ok(part) = left.take(client.waiting()) else {
        return Exchanged {
            done: Done::Malformed,
            first_byte: None,
        };
    };
    let taken = part.taken;
    first.extend_from_slice(part.passed);
    first.extend_from_slice(part.end);
    client.take_unread(taken);
    let with_head = first.len();
    let mut run = Run {
        up: Upload {
            flow: Flow::of(first),
            left,
            has_failed: false,
            is_done: false,
        },
        down: Download {
            flow: Flow::default(),
            head: Vec::new(),
            heard: None,
            answer: None,
            interim: 0,
            left: Left::Nothing,
            closes: outgoing.closes,
            is_wrapped: false,
            has_more: false,
        },
        is_head: outgoing.is_head,
        is_old: outgoing.is_old,
        own: outgoing.own,
    };
    let answered = timeout_at(
        to_head.min(to_end),
        poll_fn(|cx| run.poll(cx, client, upstream, true)),
    )
    .await;
    let result = match answered {
        Ok(Ok(())) => timeout_at(to_end, poll_fn(|cx| run.poll(cx, client, upstream, false)))
            .await
            .unwrap_or(Err(Trouble::Upstream(
                Failure::ResponseTimeout,
                "no whole answer in time",
            ))),
        Ok(Err(trouble)) => Err(trouble),
        Err(_) => Err(Trouble::Upstream(
            Failure::ResponseTimeout,
            "no answer in time",
        )),
    };
    if run.down.answer.is_none() && matches!(result, Err(Trouble::Upstream(..))) {
        let rest = poll_fn(|cx| run.down.flow.poll_out(cx, client));
        let _ = timeout(INTERIM_TIMEOUT, rest).await; // if not, it cannot be told
    }
    let sent = run.up.flow.bytes;
    let first_byte = run.down.heard.map(|heard| heard - begun);
    let done = match (result, kept) {
        // Whole in memory, and nothing of it was taken: it is as it was.
        (Err(Trouble::Upstream(Failure::ConnectReset, _)), Some(kept))
            if sent == 0 && run.up.left.is_nothing() && with_head == kept.len() =>
        {
            Done::Stale(kept)
        }
        (result, _) => run.end(result),
    };
    Exchanged { done, first_byte }
}

struct Run<'a> {
    up: Upload,
    down: Download,
    is_head: bool,
    is_old: bool,
    own: &'a str,
}

impl Run<'_> {
    /// Moves both ways. Ready at the head of the answer, or at its end.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
        upstream: &mut Upstream,
        to_head: bool,
    ) -> Poll<Result<(), Trouble>> {
        if let Poll::Ready(Err(trouble)) = self.up.poll(cx, client, upstream) {
            return Poll::Ready(Err(trouble));
        }
        // A client that ends its side while it waits has gone: the destination need not go on.
        if self.up.is_sent() && client.poll_gone(cx) {
            return Poll::Ready(Err(Trouble::Client));
        }
        if self.down.answer.is_none() {
            ready!(self.poll_head(cx, client, upstream))?;
        }
        if to_head {
            return Poll::Ready(Ok(()));
        }
        self.down.poll_body(cx, client, upstream)
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
        upstream: &mut Upstream,
    ) -> Poll<Result<(), Trouble>> {
        loop {
            while let Some(head) = self.whole_head()? {
                let is_final = head.status >= 200;
                self.take_head(head);
                if is_final {
                    return Poll::Ready(Ok(()));
                }
            }
            // Interim answers do not wait for the final one, and no more of them are read than
            // the client takes.
            if ready!(self.down.flow.poll_out(cx, client)).is_err() {
                return Poll::Ready(Err(Trouble::Client));
            }
            let head = &mut self.down.head;
            let read = scratch::poll_with(upstream, cx, usize::MAX, |bytes, _| {
                head.extend_from_slice(bytes);
                bytes.is_empty()
            });
            match ready!(read) {
                Ok(false) => {
                    self.down.heard.get_or_insert_with(Instant::now);
                }
                Ok(true) | Err(_) if self.down.head.is_empty() => {
                    return Poll::Ready(Err(Trouble::Upstream(
                        Failure::ConnectReset,
                        "the connection ended without an answer",
                    )));
                }
                Ok(true) | Err(_) => {
                    let words = "the connection ended in the head of the answer";
                    return Poll::Ready(Err(Trouble::Upstream(Failure::ProtocolError, words)));
                }
            }
        }
    }

    fn whole_head(&self) -> Result<Option<AnswerHead>, Trouble> {
        if self.down.head.is_empty() {
            return Ok(None);
        }
        let refuse = |words| Trouble::Upstream(Failure::ProtocolError, words);
        let read = answer_head(&self.down.head, &LIMITS, self.is_head);
        match read.map_err(|_| refuse("the head of the answer is malformed or too large"))? {
            Some(head) if head.status < 200 && self.down.interim >= INTERIM_MAX => {
                Err(refuse("the destination sends interim answers without end"))
            }
            Some(head) if head.status == 101 => Err(refuse("the destination changed the protocol")),
            Some(head) if self.is_old && head.framing == AnswerFraming::Chunked => Err(refuse(
                "the answer came in chunks, which the client's HTTP/1.0 does not have",
            )),
            read => Ok(read),
        }
    }

    /// A head that is whole, rewritten for the client. What came with it goes where it belongs.
    fn take_head(&mut self, head: AnswerHead) {
        let down = &mut self.down;
        let bytes = head.bytes.min(down.head.len());
        let rest = down.head.split_off(bytes);
        let raw = std::mem::replace(&mut down.head, rest);
        if head.status < 200 {
            down.interim += 1;
            if !self.is_old {
                down.flow.push(&head::for_client(&raw, false, false, ""));
            }
            return;
        }
        let is_open = head.framing == AnswerFraming::UntilClose;
        down.is_wrapped = is_open && !self.is_old;
        let is_chunked = head.framing == AnswerFraming::Chunked || down.is_wrapped;
        down.closes |= (is_open && self.is_old) || !self.up.is_sent();
        down.flow
            .push(&head::for_client(&raw, is_chunked, down.closes, self.own));
        down.left = Left::from(head.framing);
        down.answer = Some(head);
    }

    fn end(self, result: Result<(), Trouble>) -> Done {
        let status = self.down.answer.map_or(0, |answer| answer.status);
        let is_open = |answer: AnswerHead| answer.framing == AnswerFraming::UntilClose;
        let looks_whole = self.is_old && self.down.answer.is_some_and(is_open);
        // Interim answers that went out whole leave room for an error of ours.
        let has_begun = match self.down.answer {
            Some(_) => self.down.flow.bytes > 0,
            None => !self.down.flow.is_empty(),
        };
        match (result, self.down.answer) {
            (Ok(()), Some(answer)) => {
                let is_sent = self.up.is_sent();
                Done::Answered(Answered {
                    status,
                    up: self.up.flow.bytes,
                    down: self.down.flow.bytes,
                    is_client_reusable: is_sent && !self.down.closes,
                    is_upstream_reusable: is_sent && answer.is_persistent && !self.down.has_more,
                })
            }
            (Err(Trouble::Client), _) | (Ok(()), None) => Done::Broken {
                end: "client_gone",
                status,
                looks_whole,
            },
            (Err(Trouble::Chunks), _) if !has_begun => Done::Malformed,
            (Err(Trouble::Chunks), _) => Done::Broken {
                end: "bad_request",
                status,
                looks_whole,
            },
            (Err(Trouble::Upstream(failure, words)), _) if !has_begun => {
                Done::Failed(failure, words)
            }
            (Err(Trouble::Upstream(failure, _)), _) => Done::Broken {
                end: failure.code(),
                status,
                looks_whole,
            },
        }
    }
}
