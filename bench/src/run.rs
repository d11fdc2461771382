//! The whole measurement: limits of the machine, then each kind of traffic through its own
//! freshly started gateway, first as fast as it goes, then at a fixed rate for the latencies.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args as ClapArgs;

use crate::clock::now_us;
use crate::limits::Probe;
use crate::load::{self, End, Plan};
use crate::payload::{Mode, Payloads, Target};
use crate::process::{Gateway, MemoryWatch, cpu_time, resident_kib, until_at_rest};
use crate::report::{Phase, Report, Traffic};
use crate::resources;
use crate::sink::Sink;
use crate::start::{Ports, Start};
use crate::threads::Threads;

/// Deliveries that make no progress for this long are given up and counted as missing.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Share of the capacity at which latencies are measured, percent.
const PACED_PERCENT: f64 = 30.0;

/// Arguments of `run`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// The binary to measure
    #[arg(long)]
    outrider: PathBuf,
    /// Kinds of traffic, each through its own gateway process
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "intake,ingest,events"
    )]
    mode: Vec<Mode>,
    /// Connections of the generator, each with one event at a time
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// Events per second while latencies are measured [default: 30 % of the capacity found]
    #[arg(long)]
    rate: Option<u32>,
    /// Length of each stretch of load, seconds
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Load before the first stretch that is measured, seconds
    #[arg(long, default_value_t = 2)]
    warm_up_seconds: u64,
    /// Bytes of each event's JSON, about
    #[arg(long, default_value_t = 1_024)]
    body_bytes: usize,
    /// Where the data directories are made; its disk is what is measured [default: the temporary directory]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Also write the JSON to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// More arguments for `outrider serve`
    #[arg(last = true)]
    serve_args: Vec<String>,
}

/// Runs everything and prints the report.
pub(crate) async fn command(args: Args) -> anyhow::Result<()> {
    let base = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let work = tempfile::Builder::new()
        .prefix("outrider-bench-")
        .tempdir_in(&base)
        .with_context(|| format!("no directory can be made in `{}`", base.display()))?;
    let sink = Sink::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    eprintln!("measuring the machine");
    let probe = Probe {
        clients: args.clients,
        body_bytes: args.body_bytes,
        duration: Duration::from_secs(args.seconds.min(3)),
    };
    let limits = probe.measure(&sink, work.path()).await?;
    let mut traffic = Vec::new();
    for mode in &args.mode {
        let directory = work.path().join(mode.as_str());
        std::fs::create_dir(&directory)?;
        traffic.push(measure(&args, *mode, &sink, &directory).await?);
    }
    let command = std::env::args().collect();
    let report = Report {
        command,
        limits,
        traffic,
    };
    print!("{}", report.table());
    let json = format!("{:#}\n", report.json());
    print!("{json}");
    if let Some(path) = &args.json {
        std::fs::write(path, &json)
            .with_context(|| format!("`{}` cannot be written", path.display()))?;
    }
    let faults: Vec<String> = report.traffic.iter().flat_map(Traffic::faults).collect();
    if !faults.is_empty() {
        bail!("the run is not clean:\n{}", faults.join("\n"));
    }
    Ok(())
}

/// One kind of traffic, from the start of its gateway to its end.
async fn measure(
    args: &Args,
    mode: Mode,
    sink: &Sink,
    directory: &Path,
) -> anyhow::Result<Traffic> {
    if mode == Mode::Plain {
        bail!("`plain` needs no gateway: `run` measures it as a limit of the machine anyway");
    }
    eprintln!("{}: starting the gateway", mode.as_str());
    let ports = Ports::free()?;
    let file = directory.join("resources.yaml");
    std::fs::write(&file, resources::file(sink.address()))?;
    let start = Start {
        program: &args.outrider,
        directory,
        ports,
        resources: Some(&file),
        more: &args.serve_args,
    };
    let mut bench = Bench {
        gateway: start.until_ready().await?,
        sink,
        public: ports.public,
        mode,
        target: resources::target(mode),
        clients: args.clients,
        body_bytes: args.body_bytes,
    };
    let idle_kib = resident_kib(bench.gateway.id())?;

    eprintln!("{}: warming up", mode.as_str());
    bench.phase(None, args.warm_up_seconds).await?;
    eprintln!("{}: closed loop, {} clients", mode.as_str(), args.clients);
    let capacity = bench.phase(None, args.seconds).await?;
    let sustained = match mode.is_delivered() {
        true => capacity.accepted_per_s().min(capacity.delivered_per_s()),
        false => capacity.accepted_per_s(),
    };
    let rate = match args.rate {
        Some(rate) => rate,
        None => whole_rate(sustained * PACED_PERCENT / 100.0),
    };
    eprintln!("{}: {rate} events per second", mode.as_str());
    let paced = bench.phase(Some(rate), args.seconds).await?;
    let exit = bench.gateway.stop().await?.to_string();
    Ok(Traffic {
        mode,
        idle_kib,
        capacity,
        paced,
        exit,
    })
}

/// A gateway under load.
struct Bench<'a> {
    gateway: Gateway,
    sink: &'a Sink,
    public: SocketAddr,
    mode: Mode,
    target: Target,
    clients: usize,
    body_bytes: usize,
}

impl Bench<'_> {
    /// One stretch of load, until its last delivery.
    async fn phase(&mut self, rate: Option<u32>, seconds: u64) -> anyhow::Result<Phase> {
        let pid = self.gateway.id();
        let payloads = Payloads::new(&self.target, &self.public.to_string(), self.body_bytes)?;
        let plan = Plan {
            address: self.public,
            rate,
            clients: self.clients,
            end: End::After(Duration::from_secs(seconds)),
            first: now_us(), // above every number before: no run sends a million per second
        };
        self.sink.begin(plan.first);
        let memory = MemoryWatch::start(pid);
        let (cpu_before, threads_before) = (cpu_time(pid)?, Threads::of(pid)?);
        let begin = Instant::now();
        let sent = load::run(&plan, Arc::new(payloads)).await?;
        self.gateway.check_alive()?;
        if self.mode.is_delivered() {
            self.until_delivered(sent.count()).await?;
        }
        until_at_rest(pid).await?;
        let cpu = cpu_time(pid)?.saturating_sub(cpu_before);
        let threads = Threads::of(pid)?.since(&threads_before);
        let received = self.sink.counts();
        let delivered_in = received
            .last_at
            .map_or(Duration::ZERO, |last| last.saturating_duration_since(begin));
        Ok(Phase {
            rate,
            missing: match self.mode.is_delivered() {
                true => self.sink.missing(&sent.accepted),
                false => 0,
            },
            sent,
            received,
            delivered_in,
            cpu,
            threads,
            peak_kib: memory.peak_kib(),
        })
    }

    /// Waits until as many events have arrived as were accepted, or none arrives any more.
    async fn until_delivered(&mut self, accepted: u64) -> anyhow::Result<()> {
        let (mut before, mut moved) = (0, Instant::now());
        loop {
            let arrived = self.sink.events();
            if arrived >= accepted {
                return Ok(());
            }
            if arrived != before {
                (before, moved) = (arrived, Instant::now());
            } else if moved.elapsed() >= STALL_TIMEOUT {
                eprintln!("deliveries stalled at {arrived} of {accepted}");
                return Ok(());
            }
            self.gateway.check_alive()?;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Whole events per second, at least one.
pub(crate) fn whole_rate(rate: f64) -> u32 {
    // Digits before the point, through text: a cast would cut silently.
    format!("{:.0}", rate.clamp(1.0, 1e9)).parse().unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_whole_and_at_least_one() {
        assert_eq!(whole_rate(f64::NAN), 1);
        assert_eq!(whole_rate(-3.0), 1);
        assert_eq!(whole_rate(0.2), 1);
        assert_eq!(whole_rate(5_999.6), 6_000);
    }
}
