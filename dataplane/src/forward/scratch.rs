//! One read buffer per thread: a connection that waits holds none.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// Bytes read at once. Larger ones stop paying where they no longer fit a core's second cache.
const BYTES: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; BYTES].into_boxed_slice());
}

/// Reads at most `max` bytes and gives them to `take`, together with the context; none are the end.
/// `take` must not read here again.
pub(super) fn poll_with<R, T>(
    from: &mut R,
    cx: &mut Context<'_>,
    max: usize,
    take: impl FnOnce(&[u8], &mut Context<'_>) -> T,
) -> Poll<io::Result<T>>
where
    R: AsyncRead + Unpin,
{
    SCRATCH.with_borrow_mut(|scratch| {
        let room = max.min(scratch.len());
        let mut read = ReadBuf::new(scratch.get_mut(..room).unwrap_or_default());
        ready!(Pin::new(from).poll_read(cx, &mut read))?;
        Poll::Ready(Ok(take(read.filled(), cx)))
    })
}
