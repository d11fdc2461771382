//! A connection whose last words are heard.
//!
//! hyper takes an error that it reads while no request is under way for the connection's end, and
//! at an error of writing it reads no further. Either way it loses the alert by which a receiver
//! says that it wants another certificate, which with TLS 1.3 comes after the handshake; and with
//! the latter the answer of one that closes before it has read all.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::fault::{Fault, is_reset};

/// What was wrong with TLS when it was read for the last time, if anything was.
#[derive(Debug, Clone, Default)]
pub(super) struct LastWords(Arc<OnceLock<Fault>>);

impl LastWords {
    pub(super) fn get(&self) -> Option<Fault> {
        self.0.get().cloned()
    }
}

/// A stream that keeps them. What the other side takes no more is not written and no error: why
/// it does not is for reading to tell, which ends as well then.
pub(super) struct Heard<S> {
    stream: S,
    last: LastWords,
    is_deaf: bool,
}

impl<S> Heard<S> {
    pub(super) fn new(stream: S) -> (Self, LastWords) {
        let last = LastWords::default();
        let heard = Self {
            stream,
            last: last.clone(),
            is_deaf: false,
        };
        (heard, last)
    }

    /// The other side is gone: whoever reads at the same time is woken by its end.
    fn unless_deaf<T>(&mut self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match written {
            Poll::Ready(Err(error)) if is_reset(&error) => {
                self.is_deaf = true;
                Poll::Pending
            }
            written => written,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Poll::Ready(Err(error)) = &read
            && let Some(fault) = Fault::alert(error)
        {
            let _ = self.last.0.set(fault); // the first one is the reason
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_deaf {
            return Poll::Pending;
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.unless_deaf(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_deaf {
            return Poll::Pending;
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.unless_deaf(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_deaf {
            return Poll::Pending;
        }
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.unless_deaf(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_deaf {
            return Poll::Ready(Ok(())); // there is nobody to tell
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::task::Waker;

    use outrider_webhook::retry::Failure;

    use super::*;

    /// Takes nothing, and has these to be read.
    struct Closed(VecDeque<io::Result<&'static [u8]>>);

    impl AsyncRead for Closed {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            match self.0.pop_front() {
                Some(read) => Poll::Ready(read.map(|bytes| buf.put_slice(bytes))),
                None => Poll::Ready(Ok(())),
            }
        }
    }

    impl AsyncWrite for Closed {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
        }
    }

    fn read(heard: &mut Heard<Closed>) -> io::Result<Vec<u8>> {
        let (mut bytes, mut cx) = ([0; 16], Context::from_waker(Waker::noop()));
        let mut buf = ReadBuf::new(&mut bytes);
        match Pin::new(heard).poll_read(&mut cx, &mut buf) {
            Poll::Ready(read) => read.map(|()| buf.filled().to_vec()),
            Poll::Pending => panic!("there is something"),
        }
    }

    #[test]
    fn who_takes_nothing_more_is_read_to_the_end() {
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired);
        let alert = io::Error::new(io::ErrorKind::InvalidData, alert);
        let reset = io::ErrorKind::ConnectionReset.into();
        let (mut heard, last) =
            Heard::new(Closed([Ok(&b"early"[..]), Err(reset), Err(alert)].into()));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut heard).poll_write(&mut cx, b"a").is_pending());
        assert!(Pin::new(&mut heard).poll_flush(&mut cx).is_pending());
        assert_eq!(read(&mut heard).unwrap(), b"early");
        read(&mut heard).unwrap_err();
        assert!(last.get().is_none(), "a reset says nothing about TLS");
        read(&mut heard).unwrap_err();
        assert_eq!(last.get().unwrap().failure, Failure::TlsFailure);
        let end = Pin::new(&mut heard).poll_shutdown(&mut cx);
        assert!(
            matches!(end, Poll::Ready(Ok(()))),
            "nobody is there to be told"
        );
    }

    #[test]
    fn other_errors_of_writing_are_errors() {
        struct Full;
        impl AsyncWrite for Full {
            fn poll_write(
                self: Pin<&mut Self>,
                _: &mut Context<'_>,
                _: &[u8],
            ) -> Poll<io::Result<usize>> {
                Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()))
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }
        }
        let (mut heard, _) = Heard::new(Full);
        let mut cx = Context::from_waker(Waker::noop());
        let written = Pin::new(&mut heard).poll_write(&mut cx, b"a");
        assert!(matches!(written, Poll::Ready(Err(_))));
    }
}
