//! What the machine itself can do, measured in the same run: a figure without its limit says little.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use crate::clock::now_us;
use crate::load::{self, End, Outcome, Plan};
use crate::nginx::{self, Nginx};
use crate::payload::{Payloads, Target};
use crate::sink::Sink;

/// Bytes written before each sync: a small group of the log.
const BLOCK_BYTES: usize = 4_096;
/// Blocks of the file that is written round and round, so that syncs do not grow it.
const BLOCKS: u64 = 256;

/// What the machine can do.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Requests per second from the generator straight to the sink, same clients and bodies.
    straight_per_s: f64,
    straight_p50_ms: f64,
    straight_p99_ms: f64,
    /// The generator to a server that answers and keeps nothing, same clients and bodies.
    nginx: Nginx,
    /// Synced 4 KiB writes per second where the log lies.
    fdatasync_per_s: f64,
    cores: usize,
}

impl Limits {
    pub(crate) fn json(&self) -> Value {
        json!({
            "straight_per_s": self.straight_per_s,
            "straight_p50_ms": self.straight_p50_ms,
            "straight_p99_ms": self.straight_p99_ms,
            "nginx": self.nginx.json(),
            "fdatasync_per_s": self.fdatasync_per_s,
            "cores": self.cores,
        })
    }

    /// CPU microseconds of a request that nginx answers, if that was measured.
    pub(crate) fn nginx_cpu_us(&self) -> Option<f64> {
        match &self.nginx {
            Nginx::Measured(figures) => Some(figures.cpu_us_per_request),
            Nginx::NotMeasured(_) => None,
        }
    }

    /// One limit a line.
    pub(crate) fn text(&self) -> String {
        format!(
            "limits of this machine, same run, {} cores:\n\
             generator straight to sink  {:.0}/s, p50 {:.2} ms, p99 {:.2} ms\n\
             nginx, static 202           {}\n\
             fdatasync                   {:.0}/s\n",
            self.cores,
            self.straight_per_s,
            self.straight_p50_ms,
            self.straight_p99_ms,
            self.nginx.text(),
            self.fdatasync_per_s,
        )
    }
}

/// The load that limits are measured with: bodies alone, in a closed loop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probe {
    pub(crate) clients: usize,
    pub(crate) body_bytes: usize,
    pub(crate) duration: Duration,
}

impl Probe {
    /// Measures everything; the disk is that of `directory`.
    pub(crate) async fn measure(self, sink: &Sink, directory: &Path) -> anyhow::Result<Limits> {
        let on_disk = directory.to_owned();
        let fdatasync_per_s =
            spawn_blocking(move || fdatasync_per_second(&on_disk, Duration::from_secs(1)))
                .await??;
        let first = now_us();
        sink.begin(first);
        let straight = self.load(sink.address(), first).await?;
        let load = async |address| self.load(address, now_us()).await;
        let nginx = nginx::measure(Path::new("nginx"), directory, load).await;
        Ok(Limits {
            straight_per_s: crate::report::per_second(straight.count(), straight.elapsed),
            straight_p50_ms: straight.ack.ms(0.5),
            straight_p99_ms: straight.ack.ms(0.99),
            nginx,
            fdatasync_per_s,
            cores: std::thread::available_parallelism()?.get(),
        })
    }

    async fn load(self, address: SocketAddr, first: u64) -> anyhow::Result<Outcome> {
        let plan = Plan {
            address,
            rate: None,
            clients: self.clients,
            end: End::After(self.duration),
            first,
        };
        let payloads = Payloads::new(&Target::Plain, &address.to_string(), self.body_bytes)?;
        load::run(&plan, Arc::new(payloads)).await
    }
}

/// Synced writes per second in `directory`, over `duration`. Blocks; call it on a blocking thread.
fn fdatasync_per_second(directory: &Path, duration: Duration) -> anyhow::Result<f64> {
    use std::os::unix::fs::FileExt;
    let path = directory.join("fdatasync.probe");
    let mut file = File::create(&path).context("the probe file cannot be created")?;
    let block = [0x5a_u8; BLOCK_BYTES];
    for _ in 0..BLOCKS {
        file.write_all(&block)?;
    }
    file.sync_all()?;
    let (begin, mut count) = (Instant::now(), 0_u64);
    while begin.elapsed() < duration {
        let offset = (count % BLOCKS) * u64::try_from(BLOCK_BYTES)?;
        file.write_all_at(&block, offset)?;
        file.sync_data()?;
        count += 1;
    }
    let rate = crate::report::per_second(count, begin.elapsed());
    drop(file);
    std::fs::remove_file(&path).context("the probe file cannot be removed")?;
    Ok(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        let nowhere = Path::new("/nonexistent/outrider-bench");
        assert!(fdatasync_per_second(nowhere, Duration::ZERO).is_err());
    }

    #[test]
    fn the_probe_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let rate = fdatasync_per_second(directory.path(), Duration::from_millis(20)).unwrap();
        assert!(rate > 0.0);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
