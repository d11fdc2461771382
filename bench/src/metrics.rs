//! A page of metrics, as the gateway's admin port shows it.

use std::net::SocketAddr;

use http::StatusCode;

use crate::http1;

/// What the gateway says about itself at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Page(String);

impl Page {
    pub(crate) async fn read(admin: SocketAddr) -> anyhow::Result<Self> {
        let (status, page) = http1::get(admin, "/stats/prometheus").await?;
        if status != StatusCode::OK {
            anyhow::bail!("the metrics are not there: {status}");
        }
        Ok(Self(String::from_utf8_lossy(&page).into_owned()))
    }

    /// Sum of a metric over the label sets that contain `label`.
    pub(crate) fn sum(&self, name: &str, label: &str) -> u64 {
        let series = self.0.lines().filter_map(|line| line.rsplit_once(' '));
        let asked = series.filter(|(series, _)| {
            let (found, labels) = series.split_once('{').unwrap_or((series, ""));
            found == name && labels.contains(label)
        });
        asked
            .filter_map(|(_, value)| value.parse::<u64>().ok())
            .sum()
    }
}

#[cfg(test)]
impl From<&str> for Page {
    fn from(page: &str) -> Self {
        Self(page.to_owned())
    }
}
