//! Figures of the gateway under test, from its admin port.

use std::net::SocketAddr;

use http::StatusCode;

use crate::http1;

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
        let (status, page) = http1::get(admin, "/stats/prometheus").await?;
        if status != StatusCode::OK {
            anyhow::bail!("the metrics are not there: {status}");
        }
        Ok(Self::parse(&String::from_utf8_lossy(&page)))
    }

    fn parse(page: &str) -> Self {
        Self {
            finished: sum(page, "outrider_deliveries_finished_total", ""),
            lag_ms: sum(page, "outrider_index", r#"figure="lag_ms""#),
            lag_bytes: sum(page, "outrider_index", r#"figure="lag_bytes""#),
        }
    }
}

/// Sum of a metric over the label sets that contain `label`.
fn sum(page: &str, name: &str, label: &str) -> u64 {
    let series = page.lines().filter_map(|line| line.rsplit_once(' '));
    let asked = series.filter(|(series, _)| {
        let (found, labels) = series.split_once('{').unwrap_or((series, ""));
        found == name && labels.contains(label)
    });
    asked
        .filter_map(|(_, value)| value.parse::<u64>().ok())
        .sum()
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
        let figures = Figures::parse(page);
        let expected = Figures {
            finished: 8,
            lag_ms: 12,
            lag_bytes: 34,
        };
        assert_eq!(figures, expected);
    }
}
