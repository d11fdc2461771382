//! A client's connection: what it sent is read once, the rest of it stays for what comes next.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use outrider_webhook::http1::{HeadError, HeadLimits, HeadScanner, RequestHead};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use super::crowd::Place;
use super::scratch;

/// How long, and how much, a client that was refused may go on sending until it is closed: closed
/// at once, it would lose the reply.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 64 * 1024;

/// Read of the next request before its turn, at once.
const AHEAD_BYTES_MAX: usize = 4 * 1024;

/// For a reply of ours, which is small.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection of a client, with TLS or without.
pub(super) type Io = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// A client.
pub(super) struct Client {
    io: Io,
    /// Came, and was not read.
    unread: Vec<u8>,
    /// Where it comes from.
    pub(super) address: SocketAddr,
    /// The names in its certificate.
    pub(super) names: Vec<String>,
    /// Its place among those from there, if it has one.
    _place: Option<Place>,
}

/// A head that came whole.
pub(super) struct Head {
    pub(super) bytes: Vec<u8>,
    pub(super) framing: outrider_webhook::http1::Framing,
}

/// Why there is no head.
pub(super) enum NoHead {
    /// The connection ended, or failed, before a request began; or nothing came in time.
    Gone,
    /// Part of one came in time.
    Late,
    Bad(HeadError),
}

impl Client {
    pub(super) fn new(
        io: Io,
        address: SocketAddr,
        names: Vec<String>,
        place: Option<Place>,
    ) -> Self {
        Self {
            io,
            unread: Vec::new(),
            address,
            names,
            _place: place,
        }
    }

    /// The next head. `idle`: how long until its first byte; `limit`: from there to its end.
    pub(super) async fn head(
        &mut self,
        limits: &HeadLimits,
        idle: Duration,
        limit: Duration,
    ) -> Result<Head, NoHead> {
        let mut scanner = HeadScanner::of_proxy();
        if self.unread.is_empty() {
            let more = timeout(idle, self.more()).await;
            if !matches!(more, Ok(Ok(true))) {
                return Err(NoHead::Gone);
            }
        }
        let whole = timeout(limit, async {
            loop {
                let scanned = scanner.advance(&self.unread, limits);
                if let Some(head) = scanned.map_err(NoHead::Bad)? {
                    return Ok(head);
                }
                match self.more().await {
                    Ok(true) => {}
                    Ok(false) | Err(_) => return Err(NoHead::Gone),
                }
            }
        });
        let RequestHead { bytes, framing } = whole.await.map_err(|_| NoHead::Late)??;
        let rest = self.unread.split_off(bytes.min(self.unread.len()));
        let head = std::mem::replace(&mut self.unread, rest);
        Ok(Head {
            bytes: head,
            framing,
        })
    }

    /// Reads what is there. False at the end.
    async fn more(&mut self) -> io::Result<bool> {
        let (io, unread) = (&mut self.io, &mut self.unread);
        poll_fn(|cx| {
            scratch::poll_with(io, cx, usize::MAX, |bytes, _| {
                unread.extend_from_slice(bytes);
                !bytes.is_empty()
            })
        })
        .await
    }

    /// Puts bytes back that were read too far.
    pub(super) fn unread(&mut self, bytes: &[u8]) {
        self.unread.splice(..0, bytes.iter().copied());
    }

    /// Gives a part of what came already, at most `max` bytes.
    pub(super) fn take_unread(&mut self, max: usize) -> Vec<u8> {
        let rest = self.unread.split_off(max.min(self.unread.len()));
        std::mem::replace(&mut self.unread, rest)
    }

    /// What came and was not read.
    pub(super) fn waiting(&self) -> &[u8] {
        &self.unread
    }

    /// Sends a reply. An error is the client's end.
    pub(super) async fn reply(&mut self, reply: &[u8]) -> io::Result<()> {
        let writing = async {
            self.io.write_all(reply).await?;
            self.io.flush().await
        };
        // One that reads nothing would hold what was opened for it.
        match timeout(REPLY_TIMEOUT, writing).await {
            Ok(written) => written,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Whether the client has ended its side, or is gone; asked while it has nothing to say. What
    /// it sends all the same is kept, and it is asked no more then.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.unread.is_empty() {
            return false;
        }
        let (io, unread) = (&mut self.io, &mut self.unread);
        let read = scratch::poll_with(io, cx, AHEAD_BYTES_MAX, |bytes, _| {
            unread.extend_from_slice(bytes);
            bytes.is_empty()
        });
        match read {
            Poll::Ready(Ok(is_end)) => is_end,
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        }
    }

    /// Lets the connection be seen to break, and not to end, when it is dropped.
    pub(super) fn reset(&self) {
        let socket = match &self.io {
            Io::Left(stream) => stream,
            Io::Right(stream) => stream.get_ref().0,
        };
        let _ = socket.set_zero_linger(); // one that is gone has seen its end
    }

    /// Closes after a reply, and lets the client read it.
    pub(super) async fn close(mut self) {
        let closing = async {
            self.io.shutdown().await?;
            let mut read = 0;
            while read < LINGER_BYTES_MAX {
                self.unread.clear();
                if !self.more().await? {
                    break;
                }
                read += self.unread.len();
            }
            io::Result::Ok(())
        };
        let _ = timeout(LINGER, closing).await; // it has had its chance
    }
}

/// What came already is read first.
impl AsyncRead for Client {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let own = self.get_mut();
        if own.unread.is_empty() {
            return Pin::new(&mut own.io).poll_read(cx, buf);
        }
        let taken = own.take_unread(buf.remaining());
        buf.put_slice(&taken);
        if own.unread.is_empty() {
            own.unread = Vec::new(); // an idle connection holds no memory
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Client {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut own = self;
        ready!(Pin::new(&mut own.io).poll_shutdown(cx))?;
        Poll::Ready(Ok(()))
    }
}
