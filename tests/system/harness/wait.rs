//! Waiting for conditions: a test never sleeps for a while and hopes.

use std::time::{Duration, Instant, UNIX_EPOCH};

/// How long a condition may take that holds at once on an idle machine. Generous, because a
/// loaded machine is slow and a deadline is only ever waited for by a failing test.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// How often a condition is looked at that nothing announces.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Looks until `look` finds something, and gives that back; panics after `deadline`.
pub(crate) async fn until<T>(
    what: &str,
    deadline: Duration,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(
            started.elapsed() < deadline,
            "not within {deadline:?}: {what}"
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The wall clock of the test, which is the one of its receivers.
#[expect(
    clippy::disallowed_methods,
    reason = "a receiver judges by its own wall clock"
)]
pub(crate) fn unix_s() -> u64 {
    let since = std::time::SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs()
}
