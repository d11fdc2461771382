//! Fills a gateway with events and measures how they are read back: every list with every filter,
//! every look-up by id, at the API's own port and through the public listener's proxy.
//!
//! What each event of the load is follows from its number ([`mix`]), so every reply is checked.

mod ask;
mod chance;
mod ground;
mod kinds;
mod loading;
mod measure;
mod metrics;
mod mix;
mod reader;
mod report;
mod tally;
mod traffic;
mod world;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args as ClapArgs;

use self::ground::Ground;
use self::kinds::Kind;
use self::loading::{Loaded, Loader};
use self::measure::Run;
use self::report::{Beside, Line, Report};
use self::tally::Tally;
use self::traffic::Traffic;
use self::world::World;
use crate::clock::now_us;
use crate::load::{self, End, Plan};
use crate::process::{cpu_time, machine_time};
use crate::run::whole_rate;
use crate::sink::Sink;
use crate::start::{Ports, Start};

/// Fewer events than this do not hold every case that is looked for.
const EVENTS_MIN: u64 = 10_000;
/// Share of the capacity that comes in during the second pass, percent.
const BESIDE_PERCENT: f64 = 30.0;
/// How long it has been coming in when the reads begin.
const BESIDE_BEFORE: Duration = Duration::from_secs(1);
/// How long the second pass takes at least.
const BESIDE_MIN: Duration = Duration::from_secs(15);

/// Arguments of `reads`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// The binary to measure
    #[arg(long)]
    outrider: PathBuf,
    /// Events to fill it with
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(EVENTS_MIN..))]
    events: u64,
    /// Connections of the generator, each with one event at a time
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// Reads of each kind at each port
    #[arg(long, default_value_t = 400)]
    requests: usize,
    /// Bytes of each event's JSON, about
    #[arg(long, default_value_t = 1_024)]
    body_bytes: usize,
    /// Where the data directory is made; its disk is what is measured [default: the temporary directory]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Leave the data directory where it is, to look at it afterwards
    #[arg(long)]
    keep: bool,
    /// Also write the JSON to this file
    #[arg(long)]
    out: Option<PathBuf>,
    /// More arguments for `outrider serve`
    #[arg(last = true)]
    serve_args: Vec<String>,
}

/// Runs everything and prints the report.
pub(crate) async fn command(args: Args) -> anyhow::Result<()> {
    let base = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let mut work = tempfile::Builder::new()
        .prefix("outrider-bench-reads-")
        .tempdir_in(&base)
        .with_context(|| format!("no directory can be made in `{}`", base.display()))?;
    if args.keep {
        work.disable_cleanup(true);
        eprintln!("the data stays in {}", work.path().display());
    }
    let report = measure(&args, work.path()).await?;
    print!("{}", report.text());
    let json = format!("{:#}\n", report.json());
    match &args.out {
        None => print!("{json}"),
        Some(path) => std::fs::write(path, &json)
            .with_context(|| format!("`{}` cannot be written", path.display()))?,
    }
    let faults = report.faults();
    if !faults.is_empty() {
        bail!("the run is not clean:\n{}", faults.join("\n"));
    }
    Ok(())
}

async fn measure(args: &Args, directory: &std::path::Path) -> anyhow::Result<Report> {
    let sink = Sink::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let ports = Ports::free()?;
    let start = Start {
        program: &args.outrider,
        directory,
        ports,
        resources: None,
        more: &args.serve_args,
    };
    eprintln!("starting the gateway");
    let mut gateway = start.until_ready().await?;
    let data_dir = start.data_dir();
    let admin_key = std::fs::read_to_string(data_dir.join("admin-key"))
        .context("the gateway made no admin key")?;
    let world = World::make(ports.public, admin_key.trim().to_owned(), sink.address()).await?;

    eprintln!("sending {} events", args.events);
    let (tally, first) = (Tally::of(args.events), now_us());
    let traffic = |first| {
        let host = ports.public.to_string();
        Arc::new(Traffic::new(
            &world,
            &host,
            first,
            args.events,
            args.body_bytes,
        ))
    };
    let (sent, more) = (traffic(first), traffic(first + args.events));
    sink.begin(first);
    let mut loader = Loader {
        gateway: &mut gateway,
        admin: ports.admin,
        public: ports.public,
        data_dir: &data_dir,
    };
    let loaded = loader.fill(&sent, &tally, first, args.clients).await?;

    eprintln!("looking around");
    let ground = Ground::survey(world, tally, &sent, first, ports.api).await?;
    let bench = Bench {
        args,
        ports,
        gateway: gateway.id(),
        ground: &ground,
    };
    let (others, mut at_rest) = (Others::watch(gateway.id())?, Vec::new());
    for kind in kinds::ALL {
        eprintln!("{}", kind.name);
        at_rest.push(bench.line(kind).await?);
    }
    let others = others.cores()?;
    let (beside, under_load) = bench.under_load(&loaded, more, first + args.events).await?;
    gateway.check_alive()?;
    Ok(Report {
        command: std::env::args().collect(),
        tally: ground.tally,
        loaded,
        at_rest,
        others,
        beside,
        under_load,
        exit: gateway.stop().await?.to_string(),
    })
}

struct Bench<'b> {
    args: &'b Args,
    ports: Ports,
    /// Its process.
    gateway: u32,
    ground: &'b Ground,
}

impl Bench<'_> {
    /// One kind, first at the one port, then at the other.
    async fn line(&self, kind: &'static Kind) -> anyhow::Result<Line> {
        let mut pair = self.pair(kind).await?;
        let before = cpu_time(self.gateway)?;
        for run in [&mut pair.api, &mut pair.public] {
            for _ in 0..self.args.requests {
                run.step().await?;
            }
        }
        let cpu = cpu_time(self.gateway)?.saturating_sub(before);
        Ok(pair.finish(Some(cpu)))
    }

    async fn pair(&self, kind: &'static Kind) -> anyhow::Result<Pair<'_>> {
        Ok(Pair {
            kind,
            api: Run::open(self.ground, kind, self.ports.api).await?,
            public: Run::open(self.ground, kind, self.ports.public).await?,
        })
    }

    /// The second pass: some kinds in turn, while a share of the capacity comes in.
    async fn under_load(
        &self,
        loaded: &Loaded,
        traffic: Arc<Traffic>,
        first: u64,
    ) -> anyhow::Result<(Beside, Vec<Line>)> {
        let rate = whole_rate(loaded.sustained_per_s() * BESIDE_PERCENT / 100.0);
        eprintln!("reading with {rate} events per second coming in");
        let told = Arc::new(AtomicBool::new(false));
        let plan = Plan {
            address: self.ports.public,
            rate: Some(rate),
            clients: self.args.clients,
            end: End::Told(Arc::clone(&told)),
            first,
        };
        let mut pairs = Vec::new();
        for kind in kinds::UNDER_LOAD {
            pairs.push(self.pair(kind).await?);
        }
        let load = tokio::spawn(async move { load::run(&plan, traffic).await });
        tokio::time::sleep(BESIDE_BEFORE).await;
        let (begin, mut rounds) = (Instant::now(), 0);
        while rounds < self.args.requests || begin.elapsed() < BESIDE_MIN {
            for pair in &mut pairs {
                pair.api.step().await?;
                pair.public.step().await?;
            }
            rounds += 1;
        }
        told.store(true, Ordering::Relaxed);
        let sent = load.await.context("the load failed")??;
        let lines = pairs.into_iter().map(|pair| pair.finish(None)).collect();
        Ok((Beside { rate, sent }, lines))
    }
}

/// CPU time of everything that is neither the gateway nor the bench: figures are worth less the
/// more there is of it.
struct Others {
    gateway: u32,
    begin: Instant,
    used: Duration,
}

impl Others {
    fn watch(gateway: u32) -> anyhow::Result<Self> {
        Ok(Self {
            gateway,
            begin: Instant::now(),
            used: Self::used(gateway)?,
        })
    }

    /// Cores they kept busy since.
    fn cores(&self) -> anyhow::Result<f64> {
        let used = Self::used(self.gateway)?.saturating_sub(self.used);
        Ok(used.as_secs_f64() / self.begin.elapsed().as_secs_f64().max(1e-3))
    }

    fn used(gateway: u32) -> anyhow::Result<Duration> {
        let ours = cpu_time(gateway)? + cpu_time(std::process::id())?;
        Ok(machine_time()?.saturating_sub(ours))
    }
}

/// The same reads at both ports.
struct Pair<'b> {
    kind: &'static Kind,
    api: Run<'b>,
    public: Run<'b>,
}

impl Pair<'_> {
    /// `cpu`: what the gateway used for it, if that can be told.
    fn finish(self, cpu: Option<Duration>) -> Line {
        Line {
            kind: self.kind,
            cpu,
            api: self.api.finish(),
            public: self.public.finish(),
        }
    }
}
