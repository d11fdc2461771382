//! Wall time. The generator stamps events with it and the sink subtracts, so both must read the
//! same clock: they may be two processes of one machine.

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since the Unix epoch.
#[allow(
    clippy::disallowed_methods,
    reason = "this is the clock of the benchmark"
)]
pub(crate) fn now_us() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
