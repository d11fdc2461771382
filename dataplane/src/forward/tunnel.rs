//! The bytes of a tunnel, both ways, until both sides have ended or a limit is reached.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until};

use super::flow::Flow;
use super::scratch;

/// How long a tunnel may last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lasting {
    /// Without a byte in either direction.
    pub(super) idle: Duration,
    /// At all.
    pub(super) life: Duration,
}

/// What became of a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Carried {
    /// From the client.
    pub(super) up: u64,
    /// To the client.
    pub(super) down: u64,
    /// From its begin until the client had something.
    pub(super) first_byte: Option<Duration>,
    /// Why it ended: a closed list, for logs and metrics.
    pub(super) end: &'static str,
    /// One side did not end but was reset, and the other one is to see the same.
    pub(super) is_reset: bool,
}

/// One direction.
#[derive(Debug, Default)]
struct Pump {
    flow: Flow,
    is_ended: bool,
    is_reset: bool,
    is_done: bool,
}

/// Which side of a direction broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    Source,
    Sink,
}

impl Pump {
    /// Ready when the source has ended and the other side was told.
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
    ) -> Poll<Result<(), Broken>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        if self.is_done {
            return Poll::Ready(Ok(()));
        }
        loop {
            ready!(self.flow.poll_out(cx, to)).map_err(|_| Broken::Sink)?;
            if self.is_reset {
                // What came before it has gone out.
                ready!(Pin::new(&mut *to).poll_flush(cx)).map_err(|_| Broken::Sink)?;
                return Poll::Ready(Err(Broken::Source));
            }
            if self.is_ended {
                // Half-close: this direction has ended, the other one goes on.
                let _ = ready!(Pin::new(&mut *to).poll_shutdown(cx)); // it may be closed already
                self.is_done = true;
                return Poll::Ready(Ok(()));
            }
            let flow = &mut self.flow;
            let read = scratch::poll_with(from, cx, usize::MAX, |bytes, cx| {
                let is_end = bytes.is_empty();
                flow.pass(cx, to, bytes).map(|()| is_end)
            });
            match read {
                Poll::Ready(Ok(passed)) => self.is_ended = passed.map_err(|_| Broken::Sink)?,
                Poll::Ready(Err(_)) => self.is_reset = true,
                Poll::Pending => {
                    // With TLS, what was written may wait for more.
                    ready!(Pin::new(&mut *to).poll_flush(cx)).map_err(|_| Broken::Sink)?;
                    return Poll::Pending;
                }
            }
        }
    }
}

/// Carries bytes between the two until the tunnel ends, or is cut by the end of `cut`. Nothing is
/// held while nothing moves.
pub(super) async fn carry<A, B>(
    client: &mut A,
    upstream: &mut B,
    lasting: Lasting,
    cut: impl Future<Output = ()>,
) -> Carried
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (mut up, mut down) = (Pump::default(), Pump::default());
    let (mut is_cut, mut is_reset) = (false, false);
    let begun = Instant::now();
    let mut watch = Watch {
        moved: begun,
        idle: lasting.idle,
        ends: begun + lasting.life,
    };
    let mut timer = pin!(sleep_until(watch.deadline()));
    let (mut cut, mut first_byte) = (pin!(cut), None);
    let end = poll_fn(|cx| {
        let before = up.flow.bytes + down.flow.bytes;
        let asked = up.poll(cx, client, upstream);
        if asked == Poll::Ready(Err(Broken::Sink)) {
            // It takes nothing more, and may have answered before: what it said goes through.
            (up.is_done, is_cut) = (true, true);
        }
        let answered = down.poll(cx, upstream, client);
        if up.flow.bytes + down.flow.bytes > before {
            watch.moved = Instant::now();
            if first_byte.is_none() && down.flow.bytes > 0 {
                first_byte = Some(watch.moved - begun);
            }
        }
        if asked == Poll::Ready(Err(Broken::Source)) || matches!(answered, Poll::Ready(Err(_))) {
            is_reset = true;
            return Poll::Ready("reset");
        }
        if up.is_done && down.is_done {
            return Poll::Ready(if is_cut { "reset" } else { "closed" });
        }
        if cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready("drain");
        }
        watch.poll(cx, timer.as_mut())
    })
    .await;
    Carried {
        up: up.flow.bytes,
        down: down.flow.bytes,
        first_byte,
        end,
        is_reset,
    }
}

struct Watch {
    moved: Instant,
    idle: Duration,
    ends: Instant,
}

impl Watch {
    fn deadline(&self) -> Instant {
        self.ends.min(self.moved + self.idle)
    }

    /// The timer is not moved with every byte: when it fires it is asked how things are.
    fn poll(&self, cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>) -> Poll<&'static str> {
        loop {
            ready!(timer.as_mut().poll(cx));
            let (now, deadline) = (Instant::now(), self.deadline());
            if now >= self.ends {
                return Poll::Ready("life");
            }
            if now >= deadline {
                return Poll::Ready("idle");
            }
            timer.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::io::{self, ErrorKind};

    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf, duplex};

    const LASTING: Lasting = Lasting {
        idle: Duration::from_secs(60),
        life: Duration::from_secs(600),
    };

    #[tokio::test(start_paused = true)]
    async fn nothing_that_moves_is_idle_and_everything_has_an_end() {
        let (mut client, mut near) = duplex(64);
        let (mut far, mut server) = duplex(64);
        let tunnel =
            tokio::spawn(async move { carry(&mut near, &mut far, LASTING, pending()).await });
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_secs(29)).await;
            client.write_all(b"x").await.unwrap();
            assert_eq!(server.read_u8().await.unwrap(), b'x');
        }
        let carried = tunnel.await.unwrap();
        assert_eq!((carried.end, carried.up, carried.down), ("life", 20, 0));
        assert_eq!(carried.first_byte, None);

        let (_client, mut near) = duplex(64);
        let (mut far, _server) = duplex(64);
        let begun = Instant::now();
        let carried = carry(&mut near, &mut far, LASTING, pending()).await;
        assert_eq!((carried.end, begun.elapsed().as_secs()), ("idle", 60));
    }

    #[tokio::test]
    async fn one_way_may_end_before_the_other() {
        let (mut client, mut near) = duplex(1_000);
        let (mut far, mut server) = duplex(7); // smaller than what is sent: the rest is held
        let tunnel =
            tokio::spawn(async move { carry(&mut near, &mut far, LASTING, pending()).await });
        client.write_all(&[1; 900]).await.unwrap();
        client.shutdown().await.unwrap();
        let mut asked = Vec::new();
        server.read_to_end(&mut asked).await.unwrap();
        assert_eq!(asked, [1; 900]);
        server.write_all(b"answer").await.unwrap();
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "answer");
        let carried = tunnel.await.unwrap();
        assert_eq!((carried.up, carried.down, carried.end), (900, 6, "closed"));
        assert!(carried.first_byte.is_some() && !carried.is_reset);
    }

    /// A side that does not end but is reset.
    struct Resets(DuplexStream);

    impl AsyncRead for Resets {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let before = buf.filled().len();
            ready!(Pin::new(&mut self.0).poll_read(cx, buf))?;
            match buf.filled().len() {
                after if after == before => Poll::Ready(Err(ErrorKind::ConnectionReset.into())),
                _ => Poll::Ready(Ok(())),
            }
        }
    }

    impl AsyncWrite for Resets {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(cx, buf)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    #[tokio::test]
    async fn what_came_before_a_reset_arrives_and_then_the_reset() {
        let (mut client, mut near) = duplex(7); // smaller than what is sent: the rest is held
        let (far, mut server) = duplex(1_000);
        server.write_all(&[1; 900]).await.unwrap();
        drop(server);
        let tunnel = tokio::spawn(async move {
            let carried = carry(&mut near, &mut Resets(far), LASTING, pending()).await;
            (carried, near) // kept: the reset is for who holds the sockets
        });
        let mut answer = [0; 900];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, [1; 900]);
        let (carried, _near) = tunnel.await.unwrap();
        assert_eq!(
            (carried.down, carried.end, carried.is_reset),
            (900, "reset", true)
        );
    }

    #[tokio::test]
    async fn what_was_answered_before_a_side_closed_arrives() {
        let (mut client, mut near) = duplex(1_000);
        let (mut far, mut server) = duplex(1_000);
        server.write_all(b"too much").await.unwrap();
        drop(server); // reads nothing: what is written to it fails
        client.write_all(&[1; 900]).await.unwrap();
        let carried = carry(&mut near, &mut far, LASTING, pending());
        let answer = async {
            let mut answer = [0; 8];
            client.read_exact(&mut answer).await.unwrap();
            client.shutdown().await.unwrap();
            answer
        };
        let (carried, answer) = tokio::join!(carried, answer);
        assert_eq!(&answer, b"too much");
        assert_eq!((carried.down, carried.end), (8, "reset"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_cut_says_what_it_carried() {
        let (mut client, mut near) = duplex(64);
        let (mut far, mut server) = duplex(64);
        let cut = tokio::time::sleep(Duration::from_secs(5));
        let tunnel = tokio::spawn(async move { carry(&mut near, &mut far, LASTING, cut).await });
        client.write_all(b"asked").await.unwrap();
        server.write_all(b"yes").await.unwrap();
        let mut answer = [0; 3];
        client.read_exact(&mut answer).await.unwrap();
        let carried = tunnel.await.unwrap();
        assert_eq!((carried.up, carried.down, carried.end), (5, 3, "drain"));
    }
}
