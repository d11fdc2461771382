//! Wall time. The only place of the product that asks the system what time it is.

use std::time::{SystemTime, UNIX_EPOCH};

/// Wall time that is signed or stored. Timeouts use tokio's clock instead.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch. May step back: nothing may rely on order.
    fn now_ms(&self) -> i64;
}

/// The system's clock, moved by a fixed offset in tests.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock {
    offset_ms: i64,
}

impl SystemClock {
    /// A clock that shows `unix_s` seconds now and runs on from there. For tests.
    #[must_use]
    pub fn starting_at(unix_s: i64) -> Self {
        Self {
            offset_ms: unix_s.saturating_mul(1000).saturating_sub(system_ms()),
        }
    }
}

/// A clock that always shows the same time. For tests of limits that a second would cross.
#[derive(Debug, Clone, Copy)]
pub struct HeldClock {
    unix_s: i64,
}

impl HeldClock {
    /// A clock that shows `unix_s` seconds and stays there.
    #[must_use]
    pub fn at(unix_s: i64) -> Self {
        Self { unix_s }
    }
}

impl Clock for HeldClock {
    fn now_ms(&self) -> i64 {
        self.unix_s.saturating_mul(1000)
    }
}

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        system_ms().saturating_add(self.offset_ms)
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock")]
fn system_ms() -> i64 {
    // A clock before 1970 counts as 1970: ids are then made by counting on from the last one.
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
