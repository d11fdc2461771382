//! What every role begins with: its bootstrap, its logs, its runtime, its data directory.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use outrider_config::bootstrap::{Bootstrap, ENV_PREFIX, TlsFiles};
use outrider_config::file;
use outrider_store::{Clock, HeldClock, SystemClock};
use outrider_xds::Tls;

use crate::cli::{BootstrapArgs, UnsafeArgs};
use crate::exit::Failure;

/// Reads the bootstrap file, if there is one, and the environment.
pub(crate) fn bootstrap(args: &BootstrapArgs) -> Result<Bootstrap, Failure> {
    let config = args.config.as_deref();
    let text = config
        .map(|path| {
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
        })
        .transpose()
        .map_err(Failure::configuration)?;
    let mut bootstrap =
        Bootstrap::load(text.as_deref(), environment()?.into_iter()).map_err(|problems| {
            let name = config.map_or("environment".into(), |path| path.display().to_string());
            all_problems(&name, &problems)
        })?;
    if let Some(dir) = &args.data_dir {
        bootstrap.data_dir.clone_from(dir);
    }
    Ok(bootstrap)
}

/// Lets the process have as many open files as the system allows it. What is set for a shell is
/// often less than the connections that are wanted, and then they fail one by one.
pub(crate) fn raise_open_files(connections_max: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let reached = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    // Deliveries and the log have files, too.
    let wanted = u64::try_from(connections_max)
        .unwrap_or(u64::MAX)
        .saturating_mul(2);
    if let Some(files) = reached.filter(|files| *files < wanted) {
        tracing::warn!(
            files,
            connections_max,
            "fewer open files are allowed than connections are: raise the limit or lower `intake.connections_max`"
        );
    }
}

/// The runtime of a role.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("outrider")
        .build()
        .context("cannot start the runtime")
        .map_err(Failure::unavailable)
}

/// The wall clock, or the one of a test.
pub(crate) fn clock(testing: &UnsafeArgs) -> Arc<dyn Clock> {
    match testing.unsafe_now {
        Some(unix_s) if testing.unsafe_hold_clock => Arc::new(HeldClock::at(unix_s)),
        Some(unix_s) => Arc::new(SystemClock::starting_at(unix_s)),
        None => Arc::new(SystemClock::default()),
    }
}

/// Switches for tests open what must stay closed: never beside a listener that others reach.
pub(crate) fn guard_testing(
    testing: &UnsafeArgs,
    listener: std::net::SocketAddr,
) -> Result<(), Failure> {
    let in_use = testing.in_use();
    if in_use.is_empty() || listener.ip().is_loopback() {
        return Ok(());
    }
    let message = format!(
        "{} is for tests and refused with a public listener on {listener}: listen on loopback or leave it out",
        in_use.join(", "),
    );
    Err(Failure::usage(anyhow!(message)))
}

/// The files of one side of mutual TLS.
pub(crate) fn tls(files: &TlsFiles) -> Result<Tls, Failure> {
    let read = |path: &Path| {
        std::fs::read(path)
            .with_context(|| format!("cannot read {}", path.display()))
            .map_err(Failure::configuration)
    };
    Ok(Tls::from_pem(
        &read(&files.ca)?,
        &read(&files.certificate)?,
        &read(&files.key)?,
    ))
}

/// Our variables; what else is in the environment need not even be text.
fn environment() -> Result<Vec<(String, String)>, Failure> {
    std::env::vars_os()
        .filter(|(name, _)| name.as_encoded_bytes().starts_with(ENV_PREFIX.as_bytes()))
        .map(
            |(name, value)| match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => Ok((name, value)),
                (Ok(name), Err(_)) => Err(Failure::configuration(anyhow!("{name} is not UTF-8"))),
                (Err(name), _) => Err(Failure::configuration(anyhow!(
                    "{} is not UTF-8",
                    name.display()
                ))),
            },
        )
        .collect()
}

pub(crate) fn resource_file(path: &Path) -> Result<file::File, Failure> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read {name}"))
        .map_err(Failure::configuration)?;
    file::parse(&text).map_err(|problems| all_problems(&name, &problems))
}

/// Prints every problem, then fails once.
pub(crate) fn all_problems(name: &str, problems: &[outrider_config::Problem]) -> Failure {
    for problem in problems {
        eprintln!("{name}: {problem}");
    }
    Failure::configuration(anyhow!(
        "{name}: {} problem(s), nothing was started",
        problems.len()
    ))
}

/// Makes the data directory. Its name must survive a power cut as well as what is in it, and so
/// must the name of every directory above that is made with it.
pub(crate) fn prepare_dir(dir: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt;
    let missing = dir.ancestors().take_while(|dir| !dir.exists()).count();
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir);
    // Also when it was there: the start that made it may have ended before this.
    let named = dir.ancestors().take(missing.max(1));
    made.and_then(|()| named.filter_map(Path::parent).try_for_each(sync_dir))
        .with_context(|| format!("cannot create the data directory {}", dir.display()))
        .map_err(Failure::io)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    let dir = match dir.as_os_str().is_empty() {
        true => Path::new("."),
        false => dir,
    };
    match File::open(dir).and_then(|dir| dir.sync_all()) {
        // What we may not read we did not make: whoever prepared it for us has it in his care.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        done => done,
    }
}
