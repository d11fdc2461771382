//! `outrider explain EVENT`: what became of an event and why, as the API of a running gateway
//! tells it.

mod ask;
mod text;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use serde_json::Value;

use self::ask::Api;
use crate::cli::ExplainArgs;
use crate::exit::Failure;

/// Where the key of the instance is in a data directory.
const ADMIN_KEY: &str = "admin-key";
/// Projects that are looked through for an event whose project was not named.
const PROJECTS_MAX: usize = 1_000;

pub(crate) fn run(args: &ExplainArgs) -> Result<ExitCode, Failure> {
    let key = match &args.key {
        Some(key) => key.clone(),
        None => admin_key(&args.data_dir).map_err(Failure::configuration)?,
    };
    let api = Api::new(&args.api, &key).map_err(Failure::usage)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::io)?;
    let explained = runtime.block_on(explained(&api, args));
    let explained = explained.map_err(Failure::unavailable)?;
    let text = match args.json {
        true => format!("{explained}\n"),
        false => text::of(&explained),
    };
    match io::stdout().write_all(text.as_bytes()) {
        // Who stopped reading has read enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::io(error)),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn admin_key(data_dir: &Path) -> anyhow::Result<String> {
    let path = data_dir.join(ADMIN_KEY);
    let key = std::fs::read_to_string(&path).with_context(|| {
        format!(
            "no --key was given, and there is no key of the instance in {}",
            path.display()
        )
    })?;
    Ok(key.trim().to_owned())
}

async fn explained(api: &Api, args: &ExplainArgs) -> anyhow::Result<Value> {
    let projects = match &args.project {
        Some(project) => vec![project.clone()],
        None => projects(api).await?,
    };
    for project in &projects {
        let path = format!("/api/v1/projects/{project}/events/{}/explain", args.event);
        if let Some(explained) = api.get(&path).await? {
            return Ok(explained);
        }
    }
    Err(anyhow!("there is no event {}", args.event))
}

async fn projects(api: &Api) -> anyhow::Result<Vec<String>> {
    let all = api.get("/api/v1/projects").await;
    let all = all.context("name the project with --project")?;
    let all = all.unwrap_or_default();
    let uid = |project: &Value| Some(project.get("uid")?.as_str()?.to_owned());
    let all = all.as_array().into_iter().flatten();
    Ok(all.filter_map(uid).take(PROJECTS_MAX).collect())
}
