//! What bad receivers and backlogs do to good ones, and what a delivery costs.
//!
//! Each scenario starts gateways of its own. What a good receiver gets is measured without the bad
//! ones and with them, in turn, in one run: the ratio of the two is the figure, the milliseconds
//! are the machine's. Latency counts from the time an event was meant to be sent to its arrival.

mod fanout;
mod figures;
mod hostile;
mod isolation;
mod limited;
mod recovery;
mod rig;
mod rotation;
mod rude;
mod tenants;
mod world;

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args as ClapArgs;
use serde_json::{Value, json};

use self::figures::Scenario;
use self::limited::Window;
use self::rude::Manners;

/// Arguments of `deliver`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// The binary to measure
    #[arg(long)]
    outrider: PathBuf,
    /// Scenarios, by name or by what it begins with (`hostile`) [default: all]
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Stretches without and with what is bad, in turn
    #[arg(long, default_value_t = 2)]
    rounds: u32,
    /// Length of each stretch, seconds [default: 10, beside hostile receivers and a backlog 20]
    #[arg(long)]
    seconds: Option<u64>,
    /// Connections of the generator, each with one event at a time
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// Bytes of each event's JSON, about
    #[arg(long, default_value_t = 1_024)]
    body_bytes: usize,
    /// `tenants`: events to a thousand endpoints each that wait
    #[arg(long, default_value_t = 1_000)]
    backlog: u64,
    /// `isolation`: what the bad receivers do
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "dead,slow,resets"
    )]
    bad: Vec<isolation::Bad>,
    /// `recovery`, `churn`: events that wait
    #[arg(long, default_value_t = 50_000)]
    queued: u64,
    /// Where the data directories are made [default: the temporary directory]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Also write the JSON to this file
    #[arg(long)]
    out: Option<PathBuf>,
}

/// What is measured.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Isolation { has_breaker: bool },
    Tenants { timeout_s: u64 },
    Hostile(Manners),
    Churn,
    Recovery(Window),
    Fanout(usize),
}

const ALL: [(&str, Kind); 17] = [
    ("isolation-bare", Kind::Isolation { has_breaker: false }),
    ("isolation-breaker", Kind::Isolation { has_breaker: true }),
    ("tenants-still", Kind::Tenants { timeout_s: 120 }),
    ("tenants-busy", Kind::Tenants { timeout_s: 10 }),
    ("hostile-slow", Kind::Hostile(Manners::SLOW)),
    ("hostile-closes", Kind::Hostile(Manners::Closes)),
    ("hostile-drip", Kind::Hostile(Manners::Drips)),
    ("hostile-endless", Kind::Hostile(Manners::Endless)),
    ("hostile-headers", Kind::Hostile(Manners::Headers)),
    ("hostile-reset", Kind::Hostile(Manners::Resets)),
    ("hostile-mute", Kind::Hostile(Manners::NeverReads)),
    ("churn", Kind::Churn),
    ("recovery-fixed", Kind::Recovery(Window::Fixed)),
    ("recovery-sliding", Kind::Recovery(Window::Sliding)),
    ("fanout-1", Kind::Fanout(1)),
    ("fanout-10", Kind::Fanout(10)),
    ("fanout-1000", Kind::Fanout(1_000)),
];

/// Runs the scenarios and prints their figures.
pub(crate) async fn command(args: Args) -> anyhow::Result<()> {
    let asked = chosen(&args.only)?;
    let mut scenarios = Vec::new();
    for (name, kind) in asked {
        eprintln!("{name}");
        let mut scenario = Scenario::new(name);
        match kind {
            Kind::Isolation { has_breaker } => {
                Box::pin(isolation::run(&args, has_breaker, &mut scenario)).await
            }
            Kind::Tenants { timeout_s } => {
                Box::pin(tenants::run(&args, timeout_s, &mut scenario)).await
            }
            Kind::Hostile(manners) => {
                let hostile = (manners, hostile::QUEUED);
                Box::pin(hostile::run(&args, hostile, &mut scenario)).await
            }
            // Enough that they are under way all the time.
            Kind::Churn => {
                let hostile = (Manners::Closes, args.queued);
                Box::pin(hostile::run(&args, hostile, &mut scenario)).await
            }
            Kind::Recovery(window) => Box::pin(recovery::run(&args, window, &mut scenario)).await,
            Kind::Fanout(wide) => Box::pin(fanout::run(&args, wide, &mut scenario)).await,
        }
        .with_context(|| format!("`{name}` could not be measured"))?;
        print!("{}", scenario.table());
        scenarios.push(scenario);
    }
    report(&args, &scenarios)
}

/// The scenarios that are asked for.
fn chosen(only: &[String]) -> anyhow::Result<Vec<(&'static str, Kind)>> {
    for asked in only {
        if !ALL.iter().any(|(name, _)| is_asked(name, asked)) {
            let names = ALL.map(|(name, _)| name).join(", ");
            bail!("there is no scenario `{asked}`, but: {names}");
        }
    }
    let is_chosen = |name: &str| only.is_empty() || only.iter().any(|asked| is_asked(name, asked));
    let chosen = ALL.into_iter().filter(|(name, _)| is_chosen(name));
    Ok(chosen.collect())
}

/// By the whole name, or by its first word.
fn is_asked(name: &str, asked: &str) -> bool {
    name.strip_prefix(asked)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn report(args: &Args, scenarios: &[Scenario]) -> anyhow::Result<()> {
    let command: Vec<String> = std::env::args().collect();
    let figures: serde_json::Map<String, Value> = scenarios.iter().map(Scenario::json).collect();
    let json = format!("{:#}\n", json!({"command": command, "scenarios": figures}));
    print!("{json}");
    if let Some(path) = &args.out {
        std::fs::write(path, &json)
            .with_context(|| format!("`{}` cannot be written", path.display()))?;
    }
    let faults: Vec<String> = scenarios.iter().flat_map(Scenario::faults).collect();
    if !faults.is_empty() {
        bail!("the run is not clean:\n{}", faults.join("\n"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(only: &[&str]) -> anyhow::Result<Vec<&'static str>> {
        let only: Vec<String> = only.iter().map(ToString::to_string).collect();
        Ok(chosen(&only)?.into_iter().map(|(name, _)| name).collect())
    }

    #[test]
    fn a_scenario_that_is_not_there_is_refused() {
        for asked in ["", "host", "hostile-", "fanout-100", "recovery-1"] {
            assert!(names(&[asked]).is_err(), "{asked:?}");
        }
    }

    #[test]
    fn a_name_or_its_first_word_chooses() {
        assert_eq!(names(&[]).unwrap().len(), ALL.len());
        assert_eq!(names(&["fanout-10"]).unwrap(), ["fanout-10"]);
        let isolation = ["isolation-bare", "isolation-breaker"];
        assert_eq!(names(&["isolation"]).unwrap(), isolation);
        assert_eq!(
            names(&["recovery", "tenants"]).unwrap(),
            [
                "tenants-still",
                "tenants-busy",
                "recovery-fixed",
                "recovery-sliding"
            ]
        );
    }
}
