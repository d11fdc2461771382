//! That the public listener stops, and who has to know.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A sign to all connections, given once.
#[derive(Debug, Clone, Default)]
pub(super) struct Stopping {
    /// Whether it was given: the token itself takes a lock to tell.
    is_given: Arc<AtomicBool>,
    /// Wakes who waits for it.
    token: CancellationToken,
}

impl Stopping {
    /// Gives the sign.
    pub(super) fn begin(&self) {
        self.is_given.store(true, Ordering::Release);
        self.token.cancel();
    }

    /// Whether it was given.
    pub(super) fn is_given(&self) -> bool {
        self.is_given.load(Ordering::Acquire)
    }

    /// Waits for it, once.
    pub(super) async fn given(&self) {
        self.token.cancelled().await;
    }

    /// Looks out for the sign, for a task that waits for it again and again.
    pub(super) fn lookout(&self) -> Lookout {
        Lookout {
            stopping: self.clone(),
            given: Box::pin(self.token.clone().cancelled_owned()),
            waker: None,
        }
    }
}

/// One task's wait for the sign. Its place among those to be woken is taken once and kept: to
/// take and leave it with every wait goes through a lock that all connections share.
#[derive(Debug)]
pub(super) struct Lookout {
    stopping: Stopping,
    given: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Who is woken.
    waker: Option<Waker>,
}

impl Lookout {
    /// Ready when the sign was given.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.stopping.is_given() {
            return Poll::Ready(());
        }
        let waker = cx.waker();
        if self.waker.as_ref().is_some_and(|one| one.will_wake(waker)) {
            return Poll::Pending;
        }
        let given = self.given.as_mut().poll(cx);
        self.waker = Some(waker.clone());
        given
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn who_waits_in_whichever_task_is_woken() {
        let stopping = Stopping::default();
        let mut lookout = stopping.lookout();
        let once = |lookout: &mut Lookout, cx: &mut Context<'_>| Poll::Ready(lookout.poll(cx));
        assert!(poll_fn(|cx| once(&mut lookout, cx)).await.is_pending());
        assert!(poll_fn(|cx| once(&mut lookout, cx)).await.is_pending());
        // Another task has it now, and the first one is not the one to be woken.
        let elsewhere = tokio::spawn(async move {
            let first = poll_fn(|cx| once(&mut lookout, cx)).await;
            (first, poll_fn(|cx| lookout.poll(cx)).await)
        });
        tokio::task::yield_now().await;
        assert!(!stopping.is_given());
        stopping.begin();
        assert!(elsewhere.await.unwrap().0.is_pending());
        assert!(stopping.is_given());
        let late = poll_fn(|cx| Poll::Ready(stopping.lookout().poll(cx)));
        assert!(late.await.is_ready());
    }
}
