//! A connection of the public listener, between the socket and Pingora's parser.
//!
//! Waits for each request head and has it checked (`outrider_webhook::http1`) before the parser
//! sees a byte of it, and checks the chunks of a body while they pass. Pingora bounds each read
//! and not their sum, and reads more than one meaning into some heads; here a head has one time
//! in all and one meaning. It does not bound what is written either, once that is gathered: a
//! client that takes nothing of its answers is given up here, however they are written.

#[cfg(test)]
mod tests;
mod write_limit;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use http::HeaderValue;
use outrider_webhook::http1::{ChunkGuard, Framing, HeadError, HeadScanner, RequestHead};
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::{SslDigest, TlsRef};
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    Stream, TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter, ReadBuf};
use tokio::time::{Instant, timeout};

use self::write_limit::{WRITE_TIMEOUT, WriteLimit};
use super::alarm::{Alarm, within};
use super::reply::Reply;
use super::request::{self, Limits};
use super::stopping::Lookout;

/// Bytes asked for at once while a head is read: nearly every head, with its body, is smaller.
const READ_BYTES: usize = 4 * 1024;
/// Bytes of a reply that are gathered, so that its head and its body leave together: what a packet
/// has room for.
const WRITE_BYTES: usize = 1_460;
/// For a client to take a refusal.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of a refused request that are read on, so that the refusal is not lost to a reset.
const LINGER_BYTES: usize = 1024 * 1024;

/// What came of waiting for a request.
pub(super) enum Start {
    /// Its head is here, and has one meaning.
    Head,
    /// The client went away, or stayed silent.
    Gone,
    /// To be answered with this, and no more.
    Refused(Reply),
}

/// A connection. As long as a session of Pingora has it, it is read through `AsyncRead`.
#[derive(Debug)]
pub(super) struct Wire {
    stream: BufWriter<Stream>,
    /// Read, and not taken by the parser yet.
    ahead: BytesMut,
    /// Bytes of the head that the parser has not taken.
    head_left: usize,
    /// Of a body in chunks.
    guard: Option<ChunkGuard>,
    had_request: bool,
    /// For the wait between requests.
    alarm: Alarm,
    write_limit: WriteLimit,
}

/// What ended the wait for a request.
enum Waited {
    Read(io::Result<usize>),
    TooLong,
    Stopping,
}

impl Wire {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream: BufWriter::with_capacity(WRITE_BYTES, stream),
            ahead: BytesMut::new(),
            head_left: 0,
            guard: None,
            had_request: false,
            alarm: Alarm::default(),
            write_limit: WriteLimit::default(),
        }
    }

    /// Whether more has come than the request that was answered: a client that does not wait
    /// for its answers, or a request that was hidden in another one.
    pub(super) fn has_more(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// Waits for a request, and for the whole of its head. A connection that had a request may
    /// be silent for the idle time, and until `stopping`.
    pub(super) async fn start(&mut self, limits: &Limits, stopping: &mut Lookout) -> Start {
        if let Err(start) = self.first_byte(limits, stopping).await {
            return start;
        }
        self.had_request = true;
        let mut scanner = HeadScanner::default();
        let found = match scanner.advance(&self.ahead, &limits.head) {
            Ok(None) => match timeout(limits.head_timeout, self.rest(scanner, limits)).await {
                Ok(found) => found,
                Err(_) => return Start::Refused(request::head_too_slow(limits.head_timeout)),
            },
            Ok(Some(head)) => Ok(head), // the usual case, without a timer
            Err(error) => Err(Broken::Head(error)),
        };
        match found {
            Ok(head) => {
                self.head_left = head.bytes;
                self.guard = (head.framing == Framing::Chunked).then(ChunkGuard::default);
                Start::Head
            }
            Err(Broken::Head(error)) => Start::Refused(request::bad_head(&error)),
            Err(Broken::Gone) => Start::Gone,
        }
    }

    async fn first_byte(&mut self, limits: &Limits, stopping: &mut Lookout) -> Result<(), Start> {
        if !self.ahead.is_empty() {
            return Ok(());
        }
        let is_reused = self.had_request;
        let wait = if is_reused {
            limits.keepalive
        } else {
            limits.head_timeout
        };
        match self.wait(wait, stopping).await {
            Waited::Read(Ok(1..)) => Ok(()),
            Waited::Read(Ok(0) | Err(_)) | Waited::Stopping => Err(Start::Gone),
            Waited::TooLong if is_reused => Err(Start::Gone),
            Waited::TooLong => Err(Start::Refused(request::head_too_slow(wait))),
        }
    }

    /// Waits for some bytes, at most for `limit`. Cancel-safe: a read that was not finished has
    /// taken nothing.
    async fn wait(&mut self, limit: Duration, stopping: &mut Lookout) -> Waited {
        let is_reused = self.had_request;
        let alarm = &mut self.alarm;
        let mut read = pin!(fill(&mut self.stream, &mut self.ahead));
        let mut deadline = None;
        poll_fn(|cx| {
            if let Poll::Ready(read) = read.as_mut().poll(cx) {
                return Poll::Ready(Waited::Read(read));
            }
            if is_reused && stopping.poll(cx).is_ready() {
                return Poll::Ready(Waited::Stopping);
            }
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + limit);
            alarm.poll(cx, deadline).map(|()| Waited::TooLong)
        })
        .await
    }

    async fn rest(
        &mut self,
        mut scanner: HeadScanner,
        limits: &Limits,
    ) -> Result<RequestHead, Broken> {
        loop {
            match self.fill().await {
                Ok(1..) => {}
                Ok(0) => return Err(Broken::Head(HeadError::Malformed("it ends early"))),
                Err(_) => return Err(Broken::Gone),
            }
            let found = scanner.advance(&self.ahead, &limits.head);
            if let Some(head) = found.map_err(Broken::Head)? {
                return Ok(head);
            }
        }
    }

    /// Reads some more ahead of the parser. Cancel-safe.
    async fn fill(&mut self) -> io::Result<usize> {
        fill(&mut self.stream, &mut self.ahead).await
    }

    /// Answers where there is no session to answer with, and ends the connection.
    pub(super) async fn refuse(mut self, reply: &Reply, request_id: &HeaderValue) {
        let bytes = reply.to_http1(request_id);
        let told = async {
            self.stream.write_all(&bytes).await?;
            self.stream.flush().await
        };
        // Whether it arrives is up to the client.
        if let Ok(Ok(())) = timeout(REFUSAL_TIMEOUT, told).await {
            let _ = timeout(REFUSAL_TIMEOUT, self.linger()).await;
        }
        let _ = timeout(REFUSAL_TIMEOUT, Shutdown::shutdown(&mut self)).await;
    }

    async fn linger(&mut self) -> io::Result<()> {
        // The end of what we write, said before we stop to read: the client need not wait.
        AsyncWriteExt::shutdown(&mut self.stream).await?;
        let mut seen = 0;
        while seen < LINGER_BYTES {
            self.ahead.clear();
            match self.fill().await? {
                0 => break,
                count => seen += count,
            }
        }
        Ok(())
    }

    /// What the parser may take now. With a guard the head comes alone: an error of the chunks
    /// belongs to the body.
    fn on_hand(&self) -> &[u8] {
        let limit = match self.guard {
            Some(_) if self.head_left > 0 => self.head_left,
            _ => usize::MAX,
        };
        let count = self.ahead.len().min(limit);
        self.ahead.get(..count).unwrap_or_default()
    }

    /// Checks what the parser is about to get.
    fn check(&mut self, bytes: &[u8]) -> io::Result<()> {
        let head = self.head_left.min(bytes.len());
        self.head_left -= head;
        let body = bytes.get(head..).unwrap_or_default();
        match &mut self.guard {
            Some(guard) if !body.is_empty() => guard
                .advance(body)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
            _ => Ok(()),
        }
    }
}

async fn fill(stream: &mut BufWriter<Stream>, ahead: &mut BytesMut) -> io::Result<usize> {
    ahead.reserve(READ_BYTES);
    stream.read_buf(ahead).await
}

/// Why there is no head.
enum Broken {
    Head(HeadError),
    Gone,
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if self.ahead.is_empty() {
            ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        } else {
            let on_hand = self.on_hand();
            let count = on_hand.len().min(buf.remaining());
            buf.put_slice(on_hand.get(..count).unwrap_or_default());
            self.ahead.advance(count);
        }
        Poll::Ready(self.check(buf.filled().get(before..).unwrap_or_default()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.write_limit.bound(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.write_limit.bound(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.write_limit.bound(cx, shut)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.write_limit.bound(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

// What Pingora asks of every connection is asked of the one below.

#[async_trait]
impl Shutdown for Wire {
    async fn shutdown(&mut self) {
        // Who does not take his answer, or went away, does not miss its end: the socket is closed
        // when we are dropped.
        if self.write_limit.has_failed() || AsyncWriteExt::flush(self).await.is_err() {
            return;
        }
        // TLS has an end of its own, which has to be taken too.
        let end = Shutdown::shutdown(&mut **self.stream.get_mut());
        let _ = within(|| Instant::now() + WRITE_TIMEOUT, end).await;
    }
}

impl UniqueID for Wire {
    fn id(&self) -> UniqueIDType {
        self.stream.get_ref().id()
    }
}

impl Ssl for Wire {
    fn get_ssl(&self) -> Option<&TlsRef> {
        self.stream.get_ref().get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.stream.get_ref().get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.stream.get_ref().selected_alpn_proto()
    }
}

impl GetTimingDigest for Wire {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.stream.get_ref().get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.stream.get_ref().get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.stream.get_ref().get_write_pending_time()
    }
}

impl GetProxyDigest for Wire {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.stream.get_ref().get_proxy_digest()
    }
}

impl GetSocketDigest for Wire {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.stream.get_ref().get_socket_digest()
    }

    fn set_socket_digest(&mut self, digest: SocketDigest) {
        self.stream.get_mut().set_socket_digest(digest);
    }
}

impl Peek for Wire {}
