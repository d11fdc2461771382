//! `outrider check FILE`: all problems of a bootstrap or resource file at once.

use anyhow::{Context, anyhow};

use crate::cli::CheckArgs;
use crate::exit::Failure;

pub(crate) fn run(args: &CheckArgs) -> Result<(), Failure> {
    let name = args.file.display();
    let text = std::fs::read_to_string(&args.file)
        .with_context(|| format!("cannot read {name}"))
        .map_err(Failure::configuration)?;
    let problems = outrider_config::check(&text);
    if problems.is_empty() {
        println!("{name}: no problems");
        return Ok(());
    }
    for problem in &problems {
        eprintln!("{name}: {problem}");
    }
    Err(Failure::configuration(anyhow!(
        "{name}: {} problem(s)",
        problems.len()
    )))
}
