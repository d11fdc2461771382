//! Filling the gateway, and what that took.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use serde_json::{Value, json};

use super::metrics::Figures;
use super::tally::Tally;
use super::traffic::Traffic;
use crate::load::{self, End, Outcome, Plan};
use crate::process::{Gateway, MemoryWatch, cpu_time, resident_kib};
use crate::report::{float, per_second};

/// Figures that do not move for this long will not move any more.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What the load took.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) sent: Outcome,
    pub(super) deliveries: u64,
    /// From the first event until the last delivery had its final state.
    pub(super) delivered_in: Duration,
    /// CPU time of the gateway until the last answer.
    pub(super) cpu_at_end: Duration,
    /// The same until everything was delivered and in the index.
    pub(super) cpu: Duration,
    /// How far the index was behind at the last answer.
    pub(super) lag_at_end: Figures,
    /// The most it was behind at any look after that, milliseconds.
    pub(super) lag_ms_max: u64,
    /// From the last answer until the index had everything that there was.
    pub(super) indexed_after_load: Duration,
    /// From the last final state until the index had it.
    pub(super) indexed_after_delivery: Duration,
    pub(super) idle_kib: u64,
    pub(super) peak_kib: u64,
    /// Once everything was done.
    pub(super) resident_kib: u64,
    pub(super) index_bytes: u64,
    pub(super) log_bytes: u64,
}

impl Loaded {
    pub(super) fn accepted_per_s(&self) -> f64 {
        per_second(self.sent.count(), self.sent.elapsed)
    }

    pub(super) fn deliveries_per_s(&self) -> f64 {
        per_second(self.deliveries, self.delivered_in)
    }

    /// Events per second that are accepted and delivered.
    pub(super) fn sustained_per_s(&self) -> f64 {
        per_second(self.sent.count(), self.delivered_in.max(self.sent.elapsed))
    }

    pub(super) fn us_per_event(&self, cpu: Duration) -> f64 {
        cpu.as_secs_f64() * 1e6 / float(self.sent.count().max(1))
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "sent": self.sent.json(),
            "deliveries": self.deliveries,
            "delivered_per_s": self.deliveries_per_s(),
            "delivered_in_s": self.delivered_in.as_secs_f64(),
            "cpu_us_per_event_at_end_of_load": self.us_per_event(self.cpu_at_end),
            "cpu_us_per_event_delivered_and_indexed": self.us_per_event(self.cpu),
            "index_lag_ms_at_end_of_load": self.lag_at_end.lag_ms,
            "index_lag_bytes_at_end_of_load": self.lag_at_end.lag_bytes,
            "index_lag_ms_max_after": self.lag_ms_max,
            "indexed_after_load_s": self.indexed_after_load.as_secs_f64(),
            "indexed_after_delivery_s": self.indexed_after_delivery.as_secs_f64(),
            "rss_idle_kib": self.idle_kib,
            "rss_peak_kib": self.peak_kib,
            "rss_after_kib": self.resident_kib,
            "index_bytes": self.index_bytes,
            "log_bytes": self.log_bytes,
        })
    }
}

/// The gateway that is filled.
pub(super) struct Loader<'b> {
    pub(super) gateway: &'b mut Gateway,
    pub(super) admin: SocketAddr,
    pub(super) public: SocketAddr,
    pub(super) data_dir: &'b Path,
}

impl Loader<'_> {
    /// Sends the events of `tally` and waits until all is delivered and indexed.
    pub(super) async fn fill(
        &mut self,
        traffic: &Arc<Traffic>,
        tally: &Tally,
        first: u64,
        clients: usize,
    ) -> anyhow::Result<Loaded> {
        let pid = self.gateway.id();
        let plan = Plan {
            address: self.public,
            rate: None,
            clients,
            end: End::Events(tally.load),
            first,
        };
        let idle_kib = resident_kib(pid)?;
        let memory = MemoryWatch::start(pid);
        let (cpu_before, begin) = (cpu_time(pid)?, Instant::now());
        let sent = load::run(&plan, Arc::clone(traffic) as _).await?;
        let lag_at_end = Figures::read(self.admin).await?;
        let cpu_at_end = cpu_time(pid)?.saturating_sub(cpu_before);
        let done = self.until_done(tally.deliveries, lag_at_end).await?;
        Ok(Loaded {
            delivered_in: done.delivered_at.saturating_duration_since(begin),
            indexed_after_load: done
                .caught_up_at
                .saturating_duration_since(begin + sent.elapsed),
            indexed_after_delivery: done.at.saturating_duration_since(done.delivered_at),
            lag_ms_max: done.lag_ms_max,
            sent,
            deliveries: tally.deliveries,
            cpu_at_end,
            cpu: cpu_time(pid)?.saturating_sub(cpu_before),
            lag_at_end,
            idle_kib,
            peak_kib: memory.peak_kib(),
            resident_kib: resident_kib(pid)?,
            index_bytes: bytes_below(&self.data_dir.join("index"))?,
            log_bytes: bytes_below(&self.data_dir.join("log"))?,
        })
    }

    async fn until_done(&mut self, deliveries: u64, at_end: Figures) -> anyhow::Result<Done> {
        let (mut before, mut moved_at) = (at_end, Instant::now());
        let (mut caught_up_at, mut delivered_at, mut lag_ms_max) = (None, None, at_end.lag_ms);
        loop {
            let figures = Figures::read(self.admin).await?;
            let now = Instant::now();
            lag_ms_max = lag_ms_max.max(figures.lag_ms);
            if figures.lag_bytes == 0 {
                caught_up_at.get_or_insert(now);
            }
            if figures.finished >= deliveries {
                delivered_at.get_or_insert(now);
            }
            if let (Some(caught_up_at), Some(delivered_at), 0) =
                (caught_up_at, delivered_at, figures.lag_bytes)
            {
                return Ok(Done {
                    at: now,
                    delivered_at,
                    caught_up_at,
                    lag_ms_max,
                });
            }
            if figures != before {
                (before, moved_at) = (figures, now);
            } else if moved_at.elapsed() >= STALL_TIMEOUT {
                bail!("nothing moves any more: {figures:?} with {deliveries} deliveries expected");
            }
            self.gateway.check_alive()?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

struct Done {
    at: Instant,
    delivered_at: Instant,
    /// When the index had everything for the first time.
    caught_up_at: Instant,
    lag_ms_max: u64,
}

/// Bytes on disk of all files in a directory.
fn bytes_below(directory: &Path) -> anyhow::Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        sum += match metadata.is_dir() {
            true => bytes_below(&entry.path())?,
            false => metadata.blocks() * 512,
        };
    }
    Ok(sum)
}
