//! Time limits that cost nothing as long as they do not run out.
//!
//! To set a timer of the runtime takes a lock that all its threads share, to drop it takes the
//! lock again, and when it is the next one due the thread that waits for the sockets is woken by a
//! system call. At full load that was more than a tenth of what a request costs, for limits that
//! hardly any request meets.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use tokio::time::error::Elapsed;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

/// The timer of a connection, which stays set from one wait to the next.
///
/// A later deadline leaves it where it is: it rings at the time of the earlier one, and is set
/// anew then. So a connection that is busy sets it once per time limit and not once per request.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    timer: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// Ready when `deadline` has come.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if deadline < timer.deadline() {
            timer.as_mut().reset(deadline);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

/// As `timeout_at`, for what is nearly always ready at once: deadline and timer are made only when
/// it is not.
pub(super) async fn within<F: Future>(
    deadline: impl FnOnce() -> Instant,
    future: F,
) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let at_once = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx)));
    match at_once.await {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => timeout_at(deadline(), future).await,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn rings(alarm: &mut Alarm, deadline: Instant) -> Instant {
        poll_fn(|cx| alarm.poll(cx, deadline)).await;
        Instant::now()
    }

    async fn is_silent(alarm: &mut Alarm, deadline: Instant) -> bool {
        poll_fn(|cx| Poll::Ready(alarm.poll(cx, deadline).is_pending())).await
    }

    #[tokio::test(start_paused = true)]
    async fn it_rings_at_the_deadline_of_the_last_wait_whichever_came_before() {
        let (mut alarm, start) = (Alarm::default(), Instant::now());
        assert!(is_silent(&mut alarm, start + 10 * SECOND).await);
        let sooner = start + 3 * SECOND;
        assert_eq!(rings(&mut alarm, sooner).await, sooner);
        assert!(is_silent(&mut alarm, start + 10 * SECOND).await);
        let later = start + 30 * SECOND;
        assert_eq!(rings(&mut alarm, later).await, later);
        assert_eq!(rings(&mut alarm, later).await, later, "and goes on ringing");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_begins_after_the_timer_rang_is_not_ended_by_it() {
        let (mut alarm, start) = (Alarm::default(), Instant::now());
        assert!(is_silent(&mut alarm, start + SECOND).await);
        tokio::time::sleep(5 * SECOND).await;
        assert!(is_silent(&mut alarm, start + 6 * SECOND).await);
        let end = start + 7 * SECOND;
        assert_eq!(rings(&mut alarm, end).await, end);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_ready_has_its_time_and_no_more() {
        let begin = Instant::now();
        let end = || begin + SECOND;
        assert!(within(end, std::future::pending::<()>()).await.is_err());
        assert_eq!(begin.elapsed(), SECOND);
        let later = async {
            tokio::time::sleep(SECOND / 2).await;
            7
        };
        assert_eq!(within(|| begin + 2 * SECOND, later).await, Ok(7));
        assert_eq!(within(|| begin, async { 8 }).await, Ok(8));
    }
}
