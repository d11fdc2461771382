//! Load generator, sink, and the runs that measure a gateway between the two.
//!
//! `outrider-bench run` is the whole measurement: it starts the given binary, loads it, samples
//! its process and prints the figures next to the limits of the machine in the same run. `load`
//! and `sink` are its halves, for use against something that is already running. `reads` fills a
//! gateway with events and measures the lists and look-ups of its API. `deliver` measures what bad
//! receivers and backlogs do to good ones. `forward` measures forward proxies beside each other.

mod clock;
mod deliver;
mod feed;
mod forward;
mod http1;
mod latency;
mod limits;
mod load;
mod metrics;
mod nginx;
mod payload;
mod process;
mod reads;
mod report;
mod resources;
mod run;
mod sequence;
mod sink;
mod start;
mod threads;

use anyhow::Context;
use clap::{Parser, Subcommand};

/// Measures a webhooks gateway.
#[derive(Debug, Parser)]
#[command(name = "outrider-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answers 200 to everything; counts deliveries and their latency until Ctrl-C
    Sink(sink::Args),
    /// Sends events to a running gateway
    Load(load::Args),
    /// Starts a gateway, loads it, and prints what it did next to the limits of the machine
    Run(run::Args),
    /// Starts a gateway, loads it with many events, and measures how they are read back
    Reads(reads::Args),
    /// Starts gateways and measures what bad receivers and backlogs do to good ones
    Deliver(deliver::Args),
    /// Measures forward proxies, tunnels and forwarded requests, beside direct connections
    Forward(forward::Args),
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Runtime::new().context("the runtime cannot start")?;
    runtime.block_on(async {
        match cli.command {
            Command::Sink(args) => sink::command(args).await,
            Command::Load(args) => load::command(args).await,
            Command::Run(args) => Box::pin(run::command(args)).await,
            Command::Reads(args) => Box::pin(reads::command(args)).await,
            Command::Deliver(args) => Box::pin(deliver::command(args)).await,
            Command::Forward(args) => Box::pin(forward::command(args)).await,
        }
    })
}
