//! Forward proxies beside each other, and beside direct connections.
//!
//! Everything is measured in one run, in rounds: the direct way and each proxy in turn. Generator,
//! proxy and destination share the cores, so rates are those of the machine; what counts is the
//! ratio within a run, and the CPU time of each proxy.

mod echo;
mod ends;
mod figures;
mod idle;
mod proxies;
mod server;
mod stream;
mod subject;
#[cfg(test)]
mod tests;
mod tunnel;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args as ClapArgs;
use serde_json::json;

use self::ends::Ends;
use self::proxies::{Kind, Running, Start};
use self::server::Server;
use self::subject::Subject;

/// Arguments of `forward`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// The binary to measure
    #[arg(long, default_value = "target/release/outrider")]
    outrider: PathBuf,
    /// Proxies to start
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "outrider,squid,tinyproxy"
    )]
    only: Vec<Kind>,
    /// A proxy that runs already, as `name=address:port:pid`; instead of those that would be started
    #[arg(long)]
    proxy: Vec<Running>,
    /// Stretches of each kind of load for each proxy, in turn
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Length of each stretch, seconds
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Connections of the generator, each with one tunnel or request at a time
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// Tunnels a second at which all are compared; half of what is to be reached, by default
    #[arg(long, default_value_t = 2_500)]
    tunnels_per_s: u32,
    /// Requests a second at which all are compared; half of what is to be reached, by default
    #[arg(long, default_value_t = 12_500)]
    requests_per_s: u32,
    /// Idle tunnels whose memory is measured
    #[arg(long, default_value_t = 1_000)]
    tunnels: u32,
    /// Tunnels that are filled at a time
    #[arg(long, default_value_t = 4)]
    streams: usize,
    /// Bytes of each request's JSON, about
    #[arg(long, default_value_t = 1_024)]
    body_bytes: usize,
    /// Where configurations and logs are made [default: the temporary directory]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Also write the JSON to this file
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Measures the proxies and prints their figures.
pub(crate) async fn command(args: Args) -> anyhow::Result<()> {
    let counts = [args.rounds, args.tunnels_per_s, args.requests_per_s];
    if args.seconds == 0 || args.clients == 0 || args.streams == 0 || counts.contains(&0) {
        bail!("rounds, seconds, clients, streams and rates must be at least 1");
    }
    idle::allow_sockets(args.tunnels.into())?;
    let base = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    // Squid becomes another account, which has to find its files.
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    let work = tempfile::Builder::new()
        .prefix("outrider-bench-")
        .permissions(everybody)
        .tempdir_in(&base)
        .with_context(|| format!("no directory can be made in `{}`", base.display()))?;
    let stretch = Duration::from_secs(args.seconds);
    let loads = (args.clients, args.streams);
    let ends = ends::start(loads, args.body_bytes, stretch).await?;
    let mut subjects = vec![Subject::direct()];
    subjects.extend(started(&args, &ends, work.path()).await?);
    Box::pin(measure(&args, &ends, &mut subjects)).await;
    report(&args, &subjects)
}

/// The proxies, those that forward; the others with the reason why they do not.
async fn started(args: &Args, ends: &Ends, work: &Path) -> anyhow::Result<Vec<Subject>> {
    let mut subjects = Vec::new();
    for running in &args.proxy {
        let server = Server::running(running.address, running.pid);
        let name = running.name.clone();
        subjects.push(Subject::ready(name, Ok(server), ends).await);
    }
    let to_start: &[Kind] = if args.proxy.is_empty() {
        &args.only
    } else {
        &[]
    };
    for kind in to_start {
        let directory = work.join(kind.as_str());
        std::fs::create_dir(&directory)?;
        let start = Start {
            outrider: &args.outrider,
            directory: &directory,
            tunnels: args.tunnels,
        };
        let name = kind.as_str().to_owned();
        subjects.push(Subject::ready(name, start.start(*kind), ends).await);
    }
    Ok(subjects)
}

/// In rounds, so that what the machine does meanwhile is everybody's. A proxy that fails keeps the
/// figures it has, and the reason.
async fn measure(args: &Args, ends: &Ends, subjects: &mut [Subject]) {
    eprintln!("{} idle tunnels", args.tunnels);
    for subject in subjects.iter_mut() {
        let measured = subject.idle(ends, args.tunnels.into()).await;
        subject.keep(measured);
    }
    for round in 1..=args.rounds {
        for subject in subjects.iter_mut().filter(|subject| subject.is_measured()) {
            eprintln!("round {round}: {}, as fast as it goes", subject.name);
            let measured = Box::pin(subject.at_capacity(ends)).await;
            subject.keep(measured);
        }
    }
    for round in 1..=args.rounds {
        // The direct way is in the stretches of each proxy.
        for subject in subjects
            .iter_mut()
            .skip(1)
            .filter(|subject| subject.is_measured())
        {
            eprintln!(
                "round {round}: {}, at half of that, and at the rate of all",
                subject.name
            );
            let measured = Box::pin(subject.at_half(ends)).await;
            subject.keep(measured);
            if subject.is_measured() {
                let rates = (args.tunnels_per_s, args.requests_per_s);
                let measured = Box::pin(subject.at_rates(ends, rates)).await;
                subject.keep(measured);
            }
        }
    }
}

fn report(args: &Args, subjects: &[Subject]) -> anyhow::Result<()> {
    print!("{}", figures::table(subjects));
    let command: Vec<String> = std::env::args().collect();
    let cores = std::thread::available_parallelism()?.get();
    let ways = figures::json(subjects);
    let json = format!(
        "{:#}\n",
        json!({"command": command, "cores": cores, "ways": ways})
    );
    print!("{json}");
    if let Some(path) = &args.out {
        std::fs::write(path, &json)
            .with_context(|| format!("`{}` cannot be written", path.display()))?;
    }
    // What other proxies fail at is a figure; the gateway must not.
    let own = subjects
        .iter()
        .filter(|subject| subject.name == Kind::Outrider.as_str());
    let failed: u64 = own.map(|subject| subject.figures.failed).sum();
    if failed > 0 {
        bail!("the run is not clean: {failed} tunnels or requests of the gateway failed");
    }
    Ok(())
}
