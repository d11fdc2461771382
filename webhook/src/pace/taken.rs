//! What a receiver took in the last second.

/// Slices of a second.
const SLICES: usize = 20;
const SLICE_MS: i64 = 1_000 / SLICES as i64;
/// The second may begin within a slice, and end within another.
const KEPT: usize = SLICES + 1;

/// A count over the second that ends now, wherever that is in anybody's own seconds.
#[derive(Debug, Clone, Default)]
pub(super) struct Taken {
    slices: [u32; KEPT],
    /// Number of the newest slice, counted from the epoch.
    newest: i64,
}

impl Taken {
    pub(super) fn count(&mut self, now_ms: i64) {
        self.advance(now_ms);
        let slice = &mut self.slices[index(self.newest)];
        *slice = slice.saturating_add(1);
    }

    /// How many, to a slice: of the one in which the second began, its part.
    pub(super) fn per_s(&mut self, now_ms: i64) -> f64 {
        self.advance(now_ms);
        let all: u32 = self
            .slices
            .iter()
            .fold(0, |sum, slice| sum.saturating_add(*slice));
        let oldest = f64::from(self.slices[index(self.newest + 1)]);
        #[expect(clippy::cast_precision_loss, reason = "less than a slice")]
        let begun = (now_ms.rem_euclid(SLICE_MS) + 1) as f64 / SLICE_MS as f64;
        f64::from(all) - oldest * begun
    }

    /// The wall clock was set.
    pub(super) fn shift(&mut self, by_ms: i64) {
        let by = by_ms.div_euclid(SLICE_MS);
        self.newest = self.newest.saturating_add(by);
        // Each slice keeps its place relative to the newest one.
        self.slices.rotate_right(index(by));
    }

    fn advance(&mut self, now_ms: i64) {
        let now = now_ms.div_euclid(SLICE_MS);
        let passed = now.saturating_sub(self.newest);
        if passed < 0 || passed >= KEPT as i64 {
            *self = Self {
                newest: now,
                ..Self::default()
            };
            return;
        }
        while self.newest < now {
            self.newest += 1;
            self.slices[index(self.newest)] = 0;
        }
    }
}

fn index(slice: i64) -> usize {
    usize::try_from(slice.rem_euclid(KEPT as i64)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_800_000_000_000;

    #[test]
    fn what_is_a_second_ago_does_not_count_any_more() {
        let mut taken = Taken::default();
        assert!(taken.per_s(NOW_MS) < 0.1);
        for ms in 0..3_000 {
            taken.count(NOW_MS + ms);
        }
        assert!((taken.per_s(NOW_MS + 2_999) - 1_000.0).abs() < 1.5);
        assert!((taken.per_s(NOW_MS + 3_499) - 500.0).abs() < 1.5);
        assert!(taken.per_s(NOW_MS + 4_000) < 1.5);
        assert!(taken.per_s(NOW_MS + 1_000_000) < 0.1);
    }

    #[test]
    fn a_clock_that_is_set_forgets_nothing() {
        for by_ms in [-3_600_000, 777, 86_400_000] {
            let mut taken = Taken::default();
            for ms in 0..1_000 {
                taken.count(NOW_MS + ms);
            }
            taken.shift(by_ms);
            let now = taken.per_s(NOW_MS + 999 + by_ms);
            assert!((now - 1_000.0).abs() < 60.0, "{now}");
        }
    }
}
