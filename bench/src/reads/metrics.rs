//! Figures of the gateway under test, from its admin port.

use std::net::SocketAddr;

use crate::metrics::Page;

/// What a page of metrics says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Figures {
    /// Deliveries with a final state.
    pub(super) finished: u64,
    /// Age of the oldest record the index has not seen, milliseconds.
    pub(super) lag_ms: u64,
    /// Bytes of the log it has not seen.
    pub(super) lag_bytes: u64,
}

impl Figures {
    pub(super) async fn read(admin: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self::of(&Page::read(admin).await?))
    }

    fn of(page: &Page) -> Self {
        Self {
            finished: page.sum("outrider_deliveries_finished_total", ""),
            lag_ms: page.sum("outrider_index", r#"figure="lag_ms""#),
            lag_bytes: page.sum("outrider_index", r#"figure="lag_bytes""#),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_sets_are_summed_and_other_metrics_left_out() {
        let page = "# HELP outrider_index x\n\
            outrider_index{figure=\"lag_ms\"} 12\n\
            outrider_index{figure=\"lag_bytes\"} 34\n\
            outrider_index_other{figure=\"lag_ms\"} 5\n\
            outrider_deliveries_finished_total{result=\"success\"} 7\n\
            outrider_deliveries_finished_total{result=\"failed\"} 1\n";
        let figures = Figures::of(&Page::from(page));
        let expected = Figures {
            finished: 8,
            lag_ms: 12,
            lag_bytes: 34,
        };
        assert_eq!(figures, expected);
    }
}
