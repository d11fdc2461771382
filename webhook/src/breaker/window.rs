//! Attempts of the last while, counted in slices of time.

use std::time::Duration;

/// Slices of a window: what is forgotten is forgotten a tenth of it late at most.
const SLICES: usize = 10;

/// Attempts that were counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) succeeded: u32,
    pub(super) failed: u32,
}

impl Seen {
    pub(super) fn all(self) -> u32 {
        self.succeeded.saturating_add(self.failed)
    }
}

/// A ring of slices. The window's length may change between calls; then it begins anew.
#[derive(Debug, Clone, Default)]
pub(super) struct Window {
    slices: [Seen; SLICES],
    /// Number of the newest slice, counted from the epoch.
    newest: i64,
    slice_ms: i64,
}

impl Window {
    /// Counts an attempt, and says what is in the window with it.
    pub(super) fn add(&mut self, window: Duration, is_success: bool, now_ms: i64) -> Seen {
        self.advance(slice_ms(window), now_ms);
        let slice = &mut self.slices[index(self.newest)];
        let count = if is_success {
            &mut slice.succeeded
        } else {
            &mut slice.failed
        };
        *count = count.saturating_add(1);
        self.sum()
    }

    /// What is in it now; a tenth of the window may be over already.
    pub(super) fn seen(&self, now_ms: i64) -> Seen {
        match self.is_over(now_ms) {
            true => Seen::default(),
            false => self.sum(),
        }
    }

    fn sum(&self) -> Seen {
        let sum = |sum: Seen, slice: &Seen| Seen {
            succeeded: sum.succeeded.saturating_add(slice.succeeded),
            failed: sum.failed.saturating_add(slice.failed),
        };
        self.slices.iter().fold(Seen::default(), sum)
    }

    /// Whether nothing in it counts any more.
    pub(super) fn is_over(&self, now_ms: i64) -> bool {
        self.slice_ms == 0 || {
            let newest_ms = self.newest.saturating_mul(self.slice_ms);
            let whole_ms = self.slice_ms.saturating_mul(SLICES as i64);
            now_ms.saturating_sub(newest_ms) >= whole_ms
        }
    }

    pub(super) fn shift(&mut self, by_ms: i64) {
        if self.slice_ms > 0 {
            self.newest = self.newest.saturating_add(by_ms.div_euclid(self.slice_ms));
        }
    }

    fn advance(&mut self, slice_ms: i64, now_ms: i64) {
        let now = now_ms.div_euclid(slice_ms);
        let passed = now.saturating_sub(self.newest);
        if self.slice_ms != slice_ms || passed < 0 || passed >= SLICES as i64 {
            *self = Self {
                newest: now,
                slice_ms,
                ..Self::default()
            };
            return;
        }
        while self.newest < now {
            self.newest += 1;
            self.slices[index(self.newest)] = Seen::default();
        }
    }
}

fn slice_ms(window: Duration) -> i64 {
    let slice = window.as_millis() / SLICES as u128;
    i64::try_from(slice).unwrap_or(i64::MAX).max(1)
}

fn index(slice: i64) -> usize {
    usize::try_from(slice.rem_euclid(SLICES as i64)).unwrap_or(0)
}
