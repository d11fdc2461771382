//! Latencies in microseconds, up to ten minutes, to three digits.

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// Longest latency told apart, microseconds; longer ones count as this.
const MAX_US: u64 = 600_000_000;

/// A distribution of latencies.
#[derive(Debug, Clone)]
pub(crate) struct Latency(Histogram<u64>);

impl Latency {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1, MAX_US, 3)?))
    }

    pub(crate) fn record_us(&mut self, us: u64) {
        self.0.saturating_record(us.clamp(1, MAX_US));
    }

    pub(crate) fn join(&mut self, other: &Self) -> anyhow::Result<()> {
        Ok(self.0.add(&other.0)?)
    }

    pub(crate) fn clear(&mut self) {
        self.0.reset();
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// Milliseconds at a quantile; 0 when nothing was recorded.
    pub(crate) fn ms(&self, quantile: f64) -> f64 {
        // At most 6e8, which a float holds exactly.
        let us = u32::try_from(self.0.value_at_quantile(quantile)).unwrap_or(u32::MAX);
        f64::from(us) / 1_000.0
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "count": self.0.len(),
            "p50_ms": self.ms(0.5),
            "p90_ms": self.ms(0.9),
            "p99_ms": self.ms(0.99),
            "p999_ms": self.ms(0.999),
            "max_ms": self.ms(1.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_out_of_range_are_clamped() {
        let mut latency = Latency::new().unwrap();
        latency.record_us(0);
        latency.record_us(u64::MAX);
        assert!(latency.ms(1.0) >= 600_000.0 * 0.999);
        assert!(latency.ms(0.1) <= 0.001);
    }

    #[test]
    fn nothing_recorded_is_zero() {
        assert!(Latency::new().unwrap().ms(0.99).abs() < f64::EPSILON);
    }
}
