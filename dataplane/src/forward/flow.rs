//! What is on its way out: written as far as the other side takes it, kept only for the rest.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

/// Bytes that were not taken yet.
#[derive(Debug, Default)]
pub(super) struct Flow {
    held: Vec<u8>,
    at: usize,
    /// All that was taken so far.
    pub(super) bytes: u64,
}

impl Flow {
    pub(super) const fn of(held: Vec<u8>) -> Self {
        Self {
            held,
            at: 0,
            bytes: 0,
        }
    }

    /// Whether nothing waits to be taken.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Behind what is there already.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// The same as a chunk of its own.
    pub(super) fn push_chunk(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            let size = format!("{:x}\r\n", bytes.len());
            self.push(size.as_bytes());
            self.push(bytes);
            self.push(b"\r\n");
        }
    }

    /// Ready when nothing is left; then no memory is held either.
    pub(super) fn poll_out<W>(&mut self, cx: &mut Context<'_>, to: &mut W) -> Poll<io::Result<()>>
    where
        W: AsyncWrite + Unpin,
    {
        while let Some(rest) = self.held.get(self.at..).filter(|rest| !rest.is_empty()) {
            let taken = ready!(Pin::new(&mut *to).poll_write(cx, rest))?;
            self.took(taken)?;
            self.at += taken;
        }
        if !self.held.is_empty() {
            (self.held, self.at) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes new bytes at once; what is not taken is kept. Nothing must be held when it is called.
    pub(super) fn pass<W>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut W,
        bytes: &[u8],
    ) -> io::Result<()>
    where
        W: AsyncWrite + Unpin,
    {
        let mut rest = bytes;
        while !rest.is_empty() {
            match Pin::new(&mut *to).poll_write(cx, rest) {
                Poll::Ready(taken) => {
                    let taken = taken?;
                    self.took(taken)?;
                    rest = rest.get(taken..).unwrap_or_default();
                }
                Poll::Pending => {
                    self.push(rest);
                    break;
                }
            }
        }
        Ok(())
    }

    fn took(&mut self, bytes: usize) -> io::Result<()> {
        if bytes == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }
}
