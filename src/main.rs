//! `outrider`: one binary in roles. Command line to role; everything else lives in the libraries.

mod audit;
mod carry;
mod check;
mod cli;
mod control;
mod controlplane;
mod dataplane;
mod egress;
mod ending;
mod exit;
mod explain;
mod logging;
mod proxy;
mod quickstart;
mod serve;
mod settings;
mod start;
mod state_key;
mod tasks;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::exit::Failure;

/// An event is a few dozen small allocations on one thread that are freed on another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return exit::usage(&error),
    };
    let result = match cli.command {
        Command::Serve(args) => serve::run(*args),
        Command::Controlplane(args) => controlplane::run(*args),
        Command::Dataplane(args) => dataplane::run(*args),
        Command::Egress(args) => egress::run(*args),
        Command::Check(args) => check::run(&args),
        Command::Explain(args) => return explain::run(&args).unwrap_or_else(Failure::report),
        Command::Audit(args) => return audit::run(&args).unwrap_or_else(Failure::report),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
